"""Enhancements that answer again for a day, what each image was made from, and what was saved by both."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "takes",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("added_back", sa.JSON(), nullable=False),
        sa.Column("input_tokens", sa.Integer(), nullable=True),
        sa.Column("output_tokens", sa.Integer(), nullable=True),
        sa.Column("price_micros", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("takes") as takes:
        takes.create_index(takes.f("ix_takes_created_at"), ["created_at"])
    with op.batch_alter_table("images") as images:
        images.add_column(sa.Column("request_hash", sa.String(length=64), nullable=True))
        images.create_index(
            "ix_images_request",
            ["owner_id", "request_hash", "created_at", "id", "trashed_at"],
            sqlite_where=sa.text("trashed_at IS NULL"),
            postgresql_where=sa.text("trashed_at IS NULL"),
        )
    with op.batch_alter_table("usage") as usage:
        usage.add_column(sa.Column("saved_micros", sa.BigInteger(), nullable=True))
