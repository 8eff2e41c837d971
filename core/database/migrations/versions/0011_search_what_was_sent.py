"""The gallery's search reads other texts. They and their index are made again in the background."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DELETE FROM search_entries")
    if op.get_bind().dialect.name == "sqlite":
        op.execute("INSERT INTO search_grams (search_grams) VALUES ('delete-all')")
    op.execute("UPDATE search_index SET complete = NOT EXISTS (SELECT id FROM images)")
