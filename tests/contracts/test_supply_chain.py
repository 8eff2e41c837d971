"""Dependencies: each is pinned, has a known licence, and is checked for advisories."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from tests.support import advisories
from tests.support.licences import (
    DOCUMENT,
    NOTED,
    PERMISSIVE,
    at_run_time,
    document,
    licence_of,
    parts_of,
    pinned,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", pinned())
def test_a_dependency_has_a_licence_that_lets_anybody_use_it(name: str) -> None:
    licence = licence_of(name)
    assert licence
    assert set(parts_of(licence)) <= PERMISSIVE | set(NOTED), licence


def test_only_the_database_driver_has_a_copyleft_licence() -> None:
    assert {name for name in pinned() if "LGPL" in licence_of(name)} == {"psycopg", "psycopg-binary"}


def test_every_runtime_package_is_pinned() -> None:
    assert at_run_time() <= {canonicalize_name(name) for name in pinned()}


def test_docs_licences_matches_the_packages() -> None:
    assert DOCUMENT.read_text() == document(), "python -m tests.support.licences writes it anew"


# Advisories

KNOWN = {
    "id": "PYSEC-0000-1",
    "summary": "opens every door",
    "modified": "2026-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"name": "leaky", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.0"}]}],
        }
    ],
}


@contextmanager
def osv(status: int = 200, *, garbled: bool = False) -> Iterator[str]:
    """The URL of an advisory service that has one advisory, for `leaky`."""

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["content-length"])))
            known = {"vulns": [KNOWN]} if asked["package"]["name"] == "leaky" else {}
            body = b"<html>" if garbled else json.dumps(known).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()
        serving.join()


@pytest.mark.parametrize(
    ("pins", "code", "said"),
    [
        pytest.param("sound==1.0\n", 0, "1 packages, 0 known", id="nothing known"),
        pytest.param("sound==1.0\nleaky==1.0\n", 1, "leaky 1.0: PYSEC-0000-1, mended in 2.0", id="one known"),
    ],
)  # fmt: skip
def test_an_advisory_against_a_pinned_package_fails_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pins: str, code: int, said: str
) -> None:
    (tmp_path / "pins.txt").write_text(pins)
    with osv() as address:
        assert advisories.is_reached(address)
        assert advisories.audit(tmp_path / "pins.txt", address=address) == code
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("fault", [{"status": 503}, {"garbled": True}])
def test_a_failing_advisory_service_is_reported_and_fails_nothing(
    capsys: pytest.CaptureFixture[str], fault: dict[str, Any]
) -> None:
    with osv(**fault) as address:
        assert advisories.main(address) == 0
    assert "can't be reached" in capsys.readouterr().out


def test_a_silent_advisory_service_times_out(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/v1/query"
        assert not advisories.is_reached(address, patience=0.2)


def test_a_lost_connection_to_the_advisory_service_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pins.txt").write_text("sound==1.0\n")
    assert advisories.audit(tmp_path / "pins.txt", address="http://127.0.0.1:9/v1/query") == 0
    assert "could not be read to their end" in capsys.readouterr().out
