"""The name of the person whom an invitation is for."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("invites") as invites:
        invites.add_column(sa.Column("name", sa.String(64), nullable=False, server_default=""))
