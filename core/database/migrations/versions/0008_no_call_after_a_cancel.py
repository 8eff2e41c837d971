"""A job that was cancelled while its call was under way: no further call is bought for it."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("cancel_asked", sa.Boolean(), nullable=False, server_default=sa.false()))
