"""A replica that is frozen, or whose machine has vanished, keeps nobody from ordering; thawed, it goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from core import errors
from core.database.database import AdvisoryLock, Database
from core.database.engines import IDLE_TRANSACTION_MS
from core.database.models import Job, JobState, User
from tests.support.app_process import AppProcess
from tests.support.crashing_worker import RECIPE
from tests.support.forked_app import ROOT
from tests.support.generation import Studio
from tests.support.openai_service import OpenAIService
from tests.support.relay import relay
from tests.support.waiting import until

ON_POSTGRES = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
# A thawed process is told so by the server, whatever the words.
ENDED = (errors.DatabaseBusy.code, errors.DatabaseUnreachable.code)


@pytest.fixture(params=["frozen process", "vanished machine"])
def holder(request: pytest.FixtureRequest, database_url: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that holds the lock of orders, and the id of what is to be frozen: itself, or its network."""
    with ExitStack() as ending:
        address, frozen = make_url(database_url), None
        if request.param == "vanished machine":
            frozen, address = ending.enter_context(relay(database_url))
        url = address.render_as_string(hide_password=False)
        command = [sys.executable, "-m", "tests.support.lock_holder", url]
        process = ending.enter_context(
            subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        ending.callback(process.kill)
        yield process, (frozen or process).pid


@ON_POSTGRES
def test_orders_go_on_while_the_holder_of_their_lock_is_frozen(
    holder: tuple[subprocess.Popen[str], int],
    make_studio: Callable[..., Studio],
    database: Database,
    user: User,
) -> None:
    process, frozen = holder
    assert process.stdin
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    os.kill(frozen, signal.SIGSTOP)
    studio = make_studio(database, started=False)
    # This would raise DatabaseBusy if it waited for BUSY_TIMEOUT_MS.
    studio.jobs.submit(user.id, [RECIPE])
    assert len(studio.rows(Job)) == 1
    os.kill(frozen, signal.SIGCONT)
    said, _ = process.communicate("go on\n", timeout=60)
    code, *rest = said.split()
    assert code in ENDED
    assert rest == ["again"]


def test_others_wait_for_less_than_five_seconds() -> None:
    assert IDLE_TRANSACTION_MS < 5_000


@ON_POSTGRES
def test_a_thawed_app_goes_on_without_a_traceback_and_buys_nothing_twice(
    tmp_path: Path,
    service: OpenAIService,
    make_studio: Callable[..., Studio],
    database: Database,
    user: User,
) -> None:
    url = database.url.render_as_string(hide_password=False)
    env = {"DATABASE_URL": url, "OPENAI_BASE_URL": service.base_url, "PARTIAL_IMAGES": "0"}
    waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")

    def asks() -> bool:
        with database.read() as session:
            return bool(session.execute(waiting).scalar_one())

    studio = make_studio(database, started=False)
    with AppProcess(tmp_path, env=env) as app:
        with database.write() as session:
            session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            database.lock(session, AdvisoryLock.QUEUE)
            studio.jobs.submit(user.id, [RECIPE])
            until(asks)
            app.freeze()
        # The server now gives the lock to the frozen app.
        studio.work()
        app.thaw()
        studio.jobs.submit(user.id, [RECIPE, RECIPE])
        until(lambda: all(job.state == JobState.DONE for job in studio.rows(Job)))
        assert studio.paid() == 3
        assert "queue_unreadable" in app.output
        assert "Traceback" not in app.output
