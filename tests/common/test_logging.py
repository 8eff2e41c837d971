"""Foreign text in the log is readable and harmless."""

from __future__ import annotations

import asyncio
import errno
import io
import logging
import sqlite3
import sys
import threading
from collections.abc import Iterator

import pytest
import structlog
from starlette.applications import Starlette
from starlette.testclient import TestClient

from core.common.logging import configure_logging, escaped, limit_stray_errors
from core.settings import load_settings
from core.web.guard import Guard

FORGED = "2026-05-01T12:00:00Z [info     ] all is well"
HOSTILE = [
    pytest.param("\x1b[2J\x1b]0;owned\x07", id="terminal"),
    pytest.param("\x9b2J\x7f\x85", id="C1"),
    pytest.param(f"a\u2028{FORGED}", id="line separator"),
    pytest.param("\u202egpj.exe\u2066\u200f", id="turned around"),
    pytest.param(f"a\n{FORGED}", id="new line"),
    pytest.param(f"a\r{FORGED}", id="carriage return"),
    pytest.param("a\ud800", id="half a character"),
]


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """The output of our log and of a library's."""
    before, factory, out = structlog.get_config(), logging.getLogRecordFactory(), io.StringIO()
    configure_logging("INFO")
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(out), cache_logger_on_first_use=False)
    handler, library = logging.StreamHandler(out), logging.getLogger("a.library")
    library.addHandler(handler)
    yield out
    library.removeHandler(handler)
    logging.setLogRecordFactory(factory)
    structlog.configure(**before)


def is_safe(line: str) -> bool:
    return all(sign.isprintable() for sign in line) and not line.startswith("2026-05-01")


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_controls_the_terminal_or_forges_a_log_line(written: io.StringIO, text: str) -> None:
    log, library = structlog.get_logger(), logging.getLogger("a.library")
    log.warning(text)
    log.warning("refused", path=text, several=[text], spaced=f"a b{text}")
    library.warning("refused %s", text)
    library.warning(text)
    structlog.get_logger().error("broke off", exc_info=ValueError(text))
    library.error("broke off", exc_info=ValueError(text))
    lines = written.getvalue().split("\n")
    assert all(map(is_safe, lines))
    assert written.getvalue().encode()
    assert sum(line[:1].isdigit() for line in lines) == 3


def test_an_event_is_one_line(written: io.StringIO) -> None:
    structlog.get_logger().warning("a\nb", path="c\nd")
    assert written.getvalue().count("\n") == 1


def test_a_traceback_keeps_its_lines(written: io.StringIO) -> None:
    try:
        raise ValueError("a fox")
    except ValueError:
        structlog.get_logger().exception("broke off")
    first, *below, end = written.getvalue().split("\n")
    assert "broke off" in first
    assert below[0] == "  Traceback (most recent call last):"
    assert below[-1] == "  ValueError: a fox"
    assert end == ""


def nested(error: Exception) -> Exception:
    """`error` as the cause of another one."""
    try:
        raise ValueError("no image") from error
    except ValueError as outer:
        return outer


NO_SQLITE_FILE = sqlite3.OperationalError("unable to open database file")


@pytest.mark.parametrize(
    ("error", "missing"),
    [
        pytest.param(OSError(errno.EMFILE, "Too many open files"), "descriptors", id="EMFILE"),
        pytest.param(OSError(errno.ENFILE, "Too many open files in system"), "descriptors", id="ENFILE"),
        pytest.param(nested(NO_SQLITE_FILE), "descriptors", id="SQLite"),
        pytest.param(OSError(errno.ENOMEM, "Cannot allocate memory"), "memory", id="ENOMEM"),
        pytest.param(MemoryError(), "memory", id="MemoryError"),
        pytest.param(nested(RuntimeError("can't start new thread")), "threads", id="threads"),
    ],
)
def test_a_shortage_is_one_line_of_each_event_and_library(
    written: io.StringIO, error: Exception, missing: str
) -> None:
    for _ in range(3):
        structlog.get_logger().error("broke off", exc_info=error)
        logging.getLogger("a.library").error("broke off\nsocket: 3", exc_info=error)
    assert written.getvalue().count("\n") == 2
    assert written.getvalue().count(f"missing={missing}") == 2
    assert "Traceback" not in written.getvalue()


def test_a_shortage_in_the_details_of_an_error_is_one_line(written: io.StringIO) -> None:
    for number in range(3):
        structlog.get_logger().warning("failure_shown", code="IMG", details=str(NO_SQLITE_FILE), job=number)
        structlog.get_logger().warning("failure_shown", code="IMG", details="no such table", job=number)
    assert written.getvalue().count("unable to open") == 1
    assert written.getvalue().count("no such table") == 3


def test_errors_that_nobody_catches_are_lines_of_the_log(
    written: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)

    class HalfBuilt:
        def __del__(self) -> None:
            raise AttributeError("no socket")

    async def fail_everywhere() -> None:
        limit_stray_errors(asyncio.get_running_loop())
        for _ in range(3):
            HalfBuilt()
            asyncio.get_running_loop().call_soon(int, "no number")
            await asyncio.sleep(0)
        thread = threading.Thread(target=int, args=("no number",), name="counting")
        thread.start()
        thread.join()

    library = logging.getLogger("asyncio")
    library.addHandler(logging.getLogger("a.library").handlers[0])
    asyncio.run(fail_everywhere())
    library.removeHandler(library.handlers[-1])
    assert written.getvalue().count("error_ignored") == 1
    assert written.getvalue().count("Exception in callback") == 1
    assert written.getvalue().count("thread_failed") == 1


def test_ordinary_text_is_unchanged() -> None:
    text = "C:\\path, 狐 🦊, Füchsin\tש"
    assert escaped(text) == text


def test_the_path_of_an_unknown_page_is_escaped(written: io.StringIO) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))
    guarded = Guard(Starlette(), get_settings=lambda: load_settings())
    client = TestClient(guarded, base_url="http://localhost:8501")
    assert client.get("/%1B%5B2J%E2%80%AE").status_code == 404
    assert r"path=/\x1b[2J\u202e" in written.getvalue()
