"""Downloads an image if the service sends the image's URL instead of its bytes.

The URL may lead to any host. Download requests therefore carry no API key and no cookies, and go only to
allowed hosts.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2

from core.common.media_types import MAX_IMAGE_BYTES
from core.errors import ImageNotDownloaded
from core.responses.limits import Deadline, deadline_hooks

MAX_REDIRECTS = 5
# Seconds between attempts to download an image. There is one more attempt than pauses.
RETRY_PAUSES = (0.5, 1, 2, 4, 8)
# With these statuses, and with those from 500 on, the image may still appear at its address.
_PASSING_STATUSES = frozenset({404, 408, 425, 429})
_DEFAULT_PORTS = {"http": 80, "https": 443}
# 6to4, Teredo and NAT64 addresses embed an IPv4 address, which may be private.
_EMBEDDING_NETWORKS = tuple(ipaddress.ip_network(net) for net in ("2002::/16", "2001::/32", "64:ff9b::/96"))
Resolve = Callable[[str, int], frozenset[str]]


def resolve_host(host: str, port: int) -> frozenset[str]:
    """Return the IP addresses of `host` as strings. Raises ValueError if the DNS look-up fails."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ValueError(f"{host} has no address") from error
    return frozenset(str(address[0]) for *_, address in found)


def is_public(address: str) -> bool:
    """Return whether the IP address `address` is on the public internet.

    Loopback, private and multicast addresses aren't public. IPv6 addresses that embed an IPv4 address for
    tunnelling or translation don't count as public either.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip
    if any(ip in network for network in _EMBEDDING_NETWORKS if network.version == ip.version):
        return False
    return ip.is_global and not ip.is_multicast


class ImageDownloader:
    """Downloads images from the service at `base_url` and from the allowed `hosts`.

    The service may have a private address, and so may an item of `hosts` with a port, such as `minio:9000`,
    because the administrator has named exactly that. An item without a port must resolve to public addresses
    only, and its URLs must use the usual port, and HTTPS or the scheme of `base_url`. A download from one of
    `hosts` connects to the IP address that was checked, because a second DNS look-up could return a different
    address. `connect_timeout` is in seconds.
    """

    def __init__(
        self,
        base_url: httpx2.URL,
        hosts: frozenset[str],
        *,
        transport: httpx2.BaseTransport | None,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        connect_timeout: float,
        resolve: Resolve = resolve_host,
    ) -> None:
        self._base_url = base_url
        self._hosts = hosts
        self._transport = transport
        self._clock = clock
        self._sleep = sleep
        self._connect_timeout = connect_timeout
        self._resolve = resolve
        self._lock = threading.Lock()
        self._client: httpx2.Client | None = None

    def close(self) -> None:
        if self._client:
            self._client.close()

    def fetch(self, url: str, deadline: Deadline) -> bytes:
        """Return the bytes of the image at `url`, which may be relative to the service's base URL.

        The image is paid already, and a download costs nothing. So a download that failed and may succeed
        later is repeated until `deadline`, with the pauses RETRY_PAUSES. Redirects are followed to allowed
        hosts.

        Raises ImageNotDownloaded if the image isn't there or can't be reached, and ValueError if its address
        isn't allowed or the image is too large. Raises httpx2's InvalidURL if `url` isn't an address.
        """
        for pause in (*RETRY_PAUSES, None):
            try:
                return self._fetch_once(self._base_url.join(url.strip()), deadline)
            except (_NotThere, httpx2.TransportError) as error:
                passing = isinstance(error, httpx2.TransportError) or error.may_pass
                if not passing or pause is None or pause >= deadline.remaining:
                    raise ImageNotDownloaded(details=f"{type(error).__name__}: {error}") from error
                self._sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _fetch_once(self, url: httpx2.URL, deadline: Deadline) -> bytes:
        client = self._connect()
        for _ in range(MAX_REDIRECTS + 1):
            timeout = httpx2.Timeout(
                deadline.remaining, connect=min(deadline.remaining, self._connect_timeout)
            )
            with _streamed(client, self._request(client, url, timeout)) as response:
                if response.has_redirect_location:
                    url = url.join(response.headers["location"])
                    continue
                if response.status_code != httpx2.codes.OK:
                    raise _NotThere(response.status_code)
                image = bytearray()
                for chunk in response.iter_bytes():
                    image += chunk
                    if len(image) > MAX_IMAGE_BYTES:
                        raise ValueError(f"the image is larger than {MAX_IMAGE_BYTES:,} bytes")
                return bytes(image)
        raise ValueError(f"the image's address redirects more than {MAX_REDIRECTS} times")

    def _connect(self) -> httpx2.Client:
        """Return the HTTP client for downloads.

        The client is built on first use, because most services never send a URL.
        """
        with self._lock:
            if self._client is None:
                self._client = httpx2.Client(
                    transport=self._transport,
                    follow_redirects=False,
                    event_hooks=deadline_hooks(self._clock),
                    headers={"Accept-Encoding": "identity"},
                    cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                    # Don't reuse connections. A connection whose certificate was verified for one host would
                    # otherwise serve another host with the same IP address.
                    limits=httpx2.Limits(max_keepalive_connections=0),
                )
            return self._client

    def _request(self, client: httpx2.Client, url: httpx2.URL, timeout: httpx2.Timeout) -> httpx2.Request:
        if _origin(url) == _origin(self._base_url):
            return client.build_request("GET", url, timeout=timeout)
        pinned = url.copy_with(host=self._checked_address(url))
        headers = {"Host": url.netloc.decode("ascii")}
        tls_name = {"sni_hostname": url.host}
        return client.build_request("GET", pinned, headers=headers, timeout=timeout, extensions=tls_name)

    def _checked_address(self, url: httpx2.URL) -> str:
        """Return the IP address to connect to for `url`, whose host isn't the service.

        Raises ValueError with the rule that applied if downloads from `url` aren't allowed.
        """
        host, port = url.host.rstrip(".").lower(), url.port or _DEFAULT_PORTS.get(url.scheme, 0)
        place = f"{f'[{host}]' if ':' in host else host}:{port}"
        if url.scheme not in _DEFAULT_PORTS or url.userinfo:
            raise ValueError(
                f"the image is at {url.scheme}://{host}: its address has a user name or isn't http or https"
            )
        if place in self._hosts:
            return _preferred(self._resolve(host, port))
        if host not in self._hosts or port != _DEFAULT_PORTS[url.scheme]:
            raise ValueError(
                f"the image is at {url.scheme}://{place}, which is neither the service's own address nor one "
                f"of IMAGE_HOSTS; to allow exactly this host and port, add {place} there"
            )
        if url.scheme not in {"https", self._base_url.scheme}:
            raise ValueError(f"the image is at {url.scheme}://{host}, which isn't https")
        addresses = self._resolve(host, port)
        if not addresses or not all(is_public(address) for address in addresses):
            raise ValueError(
                f"{host} isn't a public address; to allow it all the same, name it with its port in "
                f"IMAGE_HOSTS: {place}"
            )
        return _preferred(addresses)


def _preferred(addresses: frozenset[str]) -> str:
    """Return the IPv4 address that comes first in alphabetical order, or else such an IPv6 address.

    The choice is therefore always the same.
    """
    return min(addresses, key=lambda address: (":" in address, address))


class _NotThere(Exception):
    """The image's address answered with the HTTP status `status` instead of the image."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the image's address answered {status}")
        self.may_pass = status in _PASSING_STATUSES or status >= httpx2.codes.INTERNAL_SERVER_ERROR


@contextmanager
def _streamed(client: httpx2.Client, request: httpx2.Request) -> Iterator[httpx2.Response]:
    response = client.send(request, stream=True)
    try:
        yield response
    finally:
        response.close()


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
