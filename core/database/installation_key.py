"""The secret key of an installation, which all processes of the installation share."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from sqlmodel import select

from core.database.database import Database
from core.database.models import Installation

KEY_BYTES = 32


def installation_key(database: Database, legacy_key: Callable[[], bytes | None]) -> bytes:
    """Return the key from the database. If none is stored, store the key from `legacy_key` or a new key.

    Raises DatabaseError, and any error that `legacy_key` raises.
    """
    with database.read() as session:
        stored = session.exec(select(Installation.secret)).first()
    return bytes.fromhex(stored or _store(database, legacy_key() or secrets.token_bytes(KEY_BYTES)))


def _store(database: Database, secret: bytes) -> str:
    """Store `secret` unless another process has stored a key meanwhile. Return the stored key in hex."""
    with database.write() as session:
        session.execute(
            database.insert(Installation).values(id=1, secret=secret.hex()).on_conflict_do_nothing()
        )
        return session.exec(select(Installation.secret)).one()
