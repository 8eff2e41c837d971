"""A process that holds the lock of orders in an open transaction: `python -m tests.support.lock_holder URL`.

It says "held", waits for a line, and prints what became of its transaction. Two more of its threads want the
lock meanwhile. Then it takes the lock once more, and says "again".
"""

from __future__ import annotations

import sys
import threading

from sqlalchemy import text

from core import errors
from core.database.database import AdvisoryLock, Database


def main(url: str) -> None:
    database = Database(url)
    asking = threading.Barrier(3)

    def want() -> None:
        asking.wait()
        with database.write() as session:
            database.lock(session, AdvisoryLock.SUBMISSION)

    others = [threading.Thread(target=want) for _ in range(2)]
    try:
        with database.write() as session:
            database.lock(session, AdvisoryLock.SUBMISSION)
            for other in others:
                other.start()
            asking.wait()
            _await_questions(database)
            print("held", flush=True)
            sys.stdin.readline()
            session.execute(text("SELECT 1"))
            print("kept", flush=True)
    except errors.DatabaseError as error:
        print(error.code, flush=True)
    for other in others:
        other.join()
    with database.write() as session:
        database.lock(session, AdvisoryLock.SUBMISSION)
        print("again", flush=True)
    database.close()


def _await_questions(database: Database) -> None:
    """Give both other threads the time to ask the server, if they may."""
    waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    for _ in range(20):
        with database.read() as session:
            if session.execute(waiting).scalar_one() == 2:
                return
        threading.Event().wait(0.02)


if __name__ == "__main__":
    main(sys.argv[1])
