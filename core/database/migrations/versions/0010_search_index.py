"""The index of the gallery's search. It is filled in the background (core.images.search_index)."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("search_index", sa.Column("complete", sa.Boolean(), nullable=False))
    op.execute("INSERT INTO search_index (complete) SELECT NOT EXISTS (SELECT id FROM images)")
    if op.get_bind().dialect.name == "sqlite":
        # No id is used twice: a row may be deleted without its grams.
        op.execute(
            "CREATE TABLE search_entries"
            " (id INTEGER PRIMARY KEY AUTOINCREMENT, image_id VARCHAR(32) NOT NULL UNIQUE)"
        )
        op.execute(
            "CREATE VIRTUAL TABLE search_grams"
            " USING fts5 (grams, content = '', detail = none, columnsize = 0, tokenize = 'ascii')"
        )
        return
    op.create_table(
        "search_entries",
        sa.Column(
            "image_id", sa.String(32), sa.ForeignKey("images.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("grams", postgresql.ARRAY(sa.Integer()), nullable=False),
    )
    op.create_index("ix_search_entries_grams", "search_entries", ["grams"], postgresql_using="gin")
