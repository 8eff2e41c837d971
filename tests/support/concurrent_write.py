"""Something that another connection does in the middle of a transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event, text

from core.database.database import Database
from tests.support.waiting import until

_WAITERS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@contextmanager
def meanwhile(database: Database, statement: str, action: Callable[[], object]) -> Iterator[None]:
    """Do `action` elsewhere once this thread comes to a `statement`, which goes on when that ends or waits.

    On SQLite it waits in any case, as every second writer does. It has ended by the end of the block.
    """
    here, begun = threading.get_ident(), list[Future[object]]()

    def before(_connection: Any, _cursor: Any, asked: str, *_: Any) -> None:
        if begun or threading.get_ident() != here or not asked.startswith(statement):
            return
        begun.append(pool.submit(action))
        if not database.is_sqlite:
            until(lambda: begun[0].done() or _somebody_waits(database))

    with ThreadPoolExecutor(1) as pool:
        event.listen(database.engine, "before_cursor_execute", before)
        try:
            yield
        finally:
            event.remove(database.engine, "before_cursor_execute", before)
    (done,) = begun
    done.result()


def _somebody_waits(database: Database) -> bool:
    with database.read() as session:
        return bool(session.execute(_WAITERS).scalar_one())
