"""A reverse proxy that ends TLS before a service on loopback, with a certificate of a private authority."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import trustme

_CHUNK_BYTES = 65536


@dataclass(frozen=True, slots=True)
class TlsProxy:
    """`ca_file` has the certificate of the private authority. `port` is where the proxy listens."""

    port: int
    ca_file: Path

    @property
    def base_url(self) -> str:
        return f"https://127.0.0.1:{self.port}/v1"


@contextmanager
def tls_proxy(port: int, folder: Path, *, name: str = "127.0.0.1") -> Iterator[TlsProxy]:
    """Run a proxy for the service on loopback at `port`. Its certificate is for `name`."""
    authority = trustme.CA()
    ca_file = folder / "private-ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_accept, args=(listener, context, port))
        thread.start()
        try:
            yield TlsProxy(listener.getsockname()[1], ca_file)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _accept(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    threads = []
    while True:
        try:
            connection = listener.accept()[0]
        except OSError:
            break
        threads.append(threading.Thread(target=_serve, args=(connection, context, port)))
        threads[-1].start()
    for thread in threads:
        thread.join()


def _serve(connection: socket.socket, context: ssl.SSLContext, port: int) -> None:
    """Pass one request on, and its response back. The client must close the connection after that."""
    with (
        suppress(OSError),
        connection,
        context.wrap_socket(connection, server_side=True) as client,
        socket.create_connection(("127.0.0.1", port)) as service,
    ):
        requests = threading.Thread(target=_copy, args=(client, service))
        requests.start()
        _copy(service, client)
        requests.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(_CHUNK_BYTES):
            target.sendall(chunk)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
