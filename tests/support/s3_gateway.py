"""What may stand between Atelier and its bucket: hands on, refuses, or takes requests and says nothing."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2

# Answered to the client by the gateway itself, if at all.
_HOP = {"connection", "transfer-encoding", "content-length", "content-encoding", "date", "server"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer in place of the bucket's; `code` is S3's own word for it, "" where none speaks S3."""

    status: int
    code: str = ""

    @property
    def body(self) -> bytes:
        """With what AWS says of keys and signatures in its answers."""
        return (
            f"<?xml version='1.0'?><Error><Code>{self.code}</Code><AWSAccessKeyId>hunter2</AWSAccessKeyId>"
            f"<StringToSign>hunter2</StringToSign></Error>"
            if self.code
            else "page not found"
        ).encode()


@dataclass(slots=True)
class Gateway:
    """`script(...)` is what the next requests meet; afterwards, and for None, the bucket answers."""

    target: str
    client: httpx2.Client
    endpoint: str = ""
    methods: list[str] = field(default_factory=list)
    always: Refusal | None = None
    silent: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)
    _script: deque[Refusal | None] = field(default_factory=deque)

    def script(self, *answers: Refusal | None) -> None:
        self._script.extend(answers)

    @property
    def left(self) -> int:
        """How many of the scripted answers weren't given yet."""
        return len(self._script)

    def next(self) -> Refusal | None:
        return self._script.popleft() if self._script else self.always


@contextmanager
def gateway(target: str) -> Iterator[Gateway]:
    """A gateway to the S3 server at `target`, on a loopback port of its own."""
    # Plain HTTP: to read the certificates would take longer than all else.
    client = httpx2.Client(trust_env=False, verify=False)
    known = Gateway(target, client)

    class Handler(_Handler):
        gateway = known

    with client, ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        known.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield known
        finally:
            known.let_go.set()
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    gateway: Gateway

    def handle_one_request(self) -> None:
        self.close_connection = True
        super().handle_one_request()
        self.close_connection = True

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.gateway.methods.append(self.command)
        if self.gateway.silent.is_set():
            self.gateway.let_go.wait()
            return
        refusal = self.gateway.next()
        if refusal:
            self._send(refusal.status, {}, refusal.body)
            return
        # The Host header is signed, and goes on as it came.
        answer = self.gateway.client.request(
            self.command,
            f"{self.gateway.target}{self.path}",
            headers=dict(self.headers.items()),
            content=body,
        )
        self._send(answer.status_code, answer.headers, answer.content)

    def _send(self, status: int, headers: Any, body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        length = headers.get("content-length") if self.command == "HEAD" else len(body)
        self.send_header("Content-Length", str(length or 0))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_DELETE = answer

    def log_message(self, *_: object) -> None:
        pass
