"""The installation's secret key, which all its processes share."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from sqlmodel import select

from core.database.database import Database
from core.database.models import Installation

KEY_BYTES = 32


def installation_key(database: Database, legacy_key: Callable[[], bytes | None]) -> bytes:
    """The stored key; at the first start the one from `legacy_key`, or else a new one, which is stored.

    Raises DatabaseError, and whatever `legacy_key` raises.
    """
    with database.read() as session:
        stored = session.exec(select(Installation.secret)).first()
    return bytes.fromhex(stored or _store(database, legacy_key() or secrets.token_bytes(KEY_BYTES)))


def _store(database: Database, secret: bytes) -> str:
    """Store `secret` unless another process was faster; returns the stored key."""
    with database.write() as session:
        session.execute(
            database.insert(Installation).values(id=1, secret=secret.hex()).on_conflict_do_nothing()
        )
        return session.exec(select(Installation.secret)).one()
