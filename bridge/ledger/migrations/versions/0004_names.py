"""Tables are named after what they hold: readings of GitHub and RunPod, and leader leases."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Rename the tables."""
    op.rename_table("looks", "readings")
    op.rename_table("turns", "leader_leases")
