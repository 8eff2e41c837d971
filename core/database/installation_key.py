"""The secret key of an installation, which all processes of the installation share."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from sqlmodel import select

from core.database.database import Database
from core.database.models import Installation

KEY_BYTES = 32


def installation_key(database: Database, legacy_key: Callable[[], bytes | None]) -> bytes:
    """Return the installation's secret key (32 bytes), which is stored in the database.

    If the database has no key yet, store a key first: the one that `legacy_key` returns, or a random key if
    `legacy_key` returns None. Raises DatabaseError, and any error that `legacy_key` raises.
    """
    with database.read() as session:
        stored = session.exec(select(Installation.secret)).first()
    return bytes.fromhex(stored or _store(database, legacy_key() or secrets.token_bytes(KEY_BYTES)))


def _store(database: Database, secret: bytes) -> str:
    """Store `secret` as the installation's key, and return the stored key in hexadecimal.

    If another process has stored a key meanwhile, that key stays stored and is returned.
    """
    with database.write() as session:
        session.execute(
            database.insert(Installation).values(id=1, secret=secret.hex()).on_conflict_do_nothing()
        )
        return session.exec(select(Installation.secret)).one()
