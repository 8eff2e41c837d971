"""Tokens, shares, kept answers, rates, budgets, the audit trail, counted failures; what edits came from."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# The trail can be added to, and nothing else.
_SQLITE = (
    "CREATE TRIGGER audit_entries_{verb} BEFORE {verb} ON audit_entries "
    "BEGIN SELECT RAISE(ABORT, 'audit_entries is append-only'); END"
)
_POSTGRESQL = (
    """CREATE FUNCTION audit_entries_fixed() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'audit_entries is append-only'; END $$""",
    """CREATE TRIGGER audit_entries_fixed BEFORE UPDATE OR DELETE ON audit_entries
    FOR EACH ROW EXECUTE FUNCTION audit_entries_fixed()""",
    """CREATE TRIGGER audit_entries_kept BEFORE TRUNCATE ON audit_entries
    EXECUTE FUNCTION audit_entries_fixed()""",
)


def upgrade() -> None:
    _doors()
    _limits()
    _trail()
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("reserved_micros", sa.BigInteger(), nullable=True))
    with op.batch_alter_table("images") as images:
        images.add_column(sa.Column("source_id", sa.String(length=32), nullable=True))


def _user(name: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([name], ["users.id"], ondelete="RESTRICT")


def _doors() -> None:
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=True),
        sa.Column("used_at", sa.DateTime(), nullable=True),
        _user("user_id"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_api_tokens_user_id", "api_tokens", ["user_id"])
    op.create_table(
        "shares",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("image_id", sa.String(length=32), nullable=False),
        sa.Column("owner_id", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        _user("owner_id"),
        sa.PrimaryKeyConstraint("id"),
    )
    for column in ("image_id", "owner_id", "expires_at"):
        op.create_index(f"ix_shares_{column}", "shares", [column])
    op.create_table(
        "kept_answers",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("request_hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("batch_id", sa.String(length=64), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("body", sa.JSON(), nullable=True),
        _user("user_id"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_kept_answers_created_at", "kept_answers", ["created_at"])


def _limits() -> None:
    op.create_table(
        "rates",
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("began_at", sa.DateTime(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "kind"),
    )
    op.create_index("ix_rates_began_at", "rates", ["began_at"])
    op.create_table(
        "budgets",
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("day_micros", sa.BigInteger(), nullable=True),
        sa.Column("month_micros", sa.BigInteger(), nullable=True),
        sa.Column("day_images", sa.Integer(), nullable=True),
        sa.Column("month_images", sa.Integer(), nullable=True),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        _user("user_id"),
        sa.PrimaryKeyConstraint("user_id"),
    )
    op.create_table(
        "failures",
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("hour", sa.DateTime(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("code", "hour"),
    )


def _trail() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("actor_id", sa.String(length=32), nullable=True),
        sa.Column("actor_name", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=128), nullable=False),
        sa.Column("details", sa.String(length=400), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("browser", sa.String(length=200), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_audit_entries_at", "audit_entries", ["at", "id"])
    op.create_index("ix_audit_entries_actor", "audit_entries", ["actor_id", "at", "id"])
    if op.get_bind().dialect.name == "postgresql":
        statements: tuple[str, ...] = _POSTGRESQL
    else:
        statements = tuple(_SQLITE.format(verb=verb) for verb in ("UPDATE", "DELETE"))
    for statement in statements:
        op.execute(statement)
