"""Turns between users, and further tries of what was refused without charge."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("users") as users:
        users.add_column(sa.Column("served_at", sa.DateTime(), nullable=True))
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"))
        jobs.add_column(sa.Column("due_at", sa.DateTime(), nullable=True))
    with op.batch_alter_table("usage") as usage:
        usage.create_index("ix_usage_kind", ["kind", "started_at"])
