"""Foreign text in the log is readable and harmless."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
import structlog
from starlette.applications import Starlette
from starlette.testclient import TestClient

from core.common.logging import configure_logging, escaped
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


def test_ordinary_text_is_unchanged() -> None:
    text = "C:\\path, 狐 🦊, Füchsin\tש"
    assert escaped(text) == text


def test_the_path_of_an_unknown_page_is_escaped(written: io.StringIO) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))
    guarded = Guard(Starlette(), get_settings=lambda: load_settings())
    client = TestClient(guarded, base_url="http://localhost:8501")
    assert client.get("/%1B%5B2J%E2%80%AE").status_code == 404
    assert r"path=/\x1b[2J\u202e" in written.getvalue()
