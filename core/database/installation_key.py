"""What belongs to an installation as a whole, whichever of its processes is asked."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from sqlmodel import select

from core.database.database import Database
from core.database.models import Installation

KEY_BYTES = 32


def installation_key(database: Database, earlier: Callable[[], bytes | None]) -> bytes:
    """The installation's own key: the stored one, else what `earlier` gives, else a new one.

    Raises DatabaseError, and what `earlier` does.
    """
    with database.read() as session:
        stored = session.exec(select(Installation.secret)).first()
    return bytes.fromhex(stored or _store(database, earlier() or secrets.token_bytes(KEY_BYTES)))


def _store(database: Database, secret: bytes) -> str:
    """What is stored now: of processes that start at once, one is the first."""
    with database.write() as session:
        session.execute(
            database.insert(Installation).values(id=1, secret=secret.hex()).on_conflict_do_nothing()
        )
        return session.exec(select(Installation.secret)).one()
