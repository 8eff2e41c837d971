"""Alembic's script for running migrations. It uses the connection that core.database.database passes on."""

from typing import Any, Literal

from alembic import context

from core.database.models import Table, UtcDateTime


def render_item(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Return the text that Alembic writes for a type into a new migration, or False for Alembic's default.

    UtcDateTime becomes `sa.DateTime()`, because migrations must not depend on our classes.
    """
    return "sa.DateTime()" if kind == "type" and isinstance(item, UtcDateTime) else False


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Table.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    render_item=render_item,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
