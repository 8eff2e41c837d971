"""Adapts texts to the columns of a table, so that storing a paid result never fails."""

from __future__ import annotations

from typing import Any

from sqlalchemy import String

from core.common.text import storable_text
from core.database.models import Table


def fit_to_columns(table: type[Table], fields: dict[str, Any]) -> dict[str, Any]:
    """Return `fields` in a form that the columns of `table` can store.

    `fields` has values by column name. Characters that a database can't store are replaced, and texts that
    are too long for their columns are cut.
    """
    columns = table.metadata.tables[str(table.__tablename__)].columns
    return {name: _fit(value, columns[name].type) for name, value in fields.items()}


def _fit(value: Any, kind: Any) -> Any:
    if isinstance(value, list | tuple):
        return [storable_text(item) for item in value]
    if not isinstance(value, str):
        return value
    return storable_text(value)[: kind.length if isinstance(kind, String) else None]
