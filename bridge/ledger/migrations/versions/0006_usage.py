"""How jobs used the GPUs of their workers."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column."""
    op.add_column("submissions", sa.Column("gpu_usage", sa.JSON))
