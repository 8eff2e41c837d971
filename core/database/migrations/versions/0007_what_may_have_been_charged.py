"""What a call counts of a budget: money set aside for an unknown price, and pictures that never came."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# Until now this was looked up with the call's job, for these two outcomes alone.
_SET_ASIDE = """UPDATE usage
    SET reserved_micros = (SELECT jobs.reserved_micros FROM jobs WHERE jobs.id = usage.job_id)
    WHERE price_micros IS NULL AND job_id IS NOT NULL AND outcome IN ('ok', 'unknown')"""
_LOST = "UPDATE usage SET lost_images = 1 WHERE kind = 'generate' AND outcome = 'unknown' AND NOT offline"


def upgrade() -> None:
    with op.batch_alter_table("usage") as usage:
        usage.add_column(sa.Column("reserved_micros", sa.BigInteger(), nullable=True))
        usage.add_column(sa.Column("lost_images", sa.Integer(), nullable=False, server_default="0"))
    op.execute(_SET_ASIDE)
    op.execute(_LOST)
