"""Run by Alembic for `bridge.ledger`, on the connection that it hands over."""

from alembic import context

from bridge.ledger import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
