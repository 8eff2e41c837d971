"""The form of a username that is equal for names that look alike. The app fills it in."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("users") as users:
        users.add_column(sa.Column("skeleton", sa.String(255), nullable=True))
        users.create_index("ix_users_skeleton", ["skeleton"], unique=True)
