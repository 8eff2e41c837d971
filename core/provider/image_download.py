"""The fetch of a picture from the address that a service gave in its place.

An address is whatever the other side likes: it is asked without key or cookie, and only where it may lead.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2

from core.provider.response_limits import event_hooks

LARGEST = 50 * 2**20
_USUAL_PORTS = {"http": 80, "https": 443}
# Addresses that carry another one inside, which may be anybody's.
_CARRIERS = tuple(ipaddress.ip_network(net) for net in ("2002::/16", "2001::/32", "64:ff9b::/96"))
Resolve = Callable[[str, int], frozenset[str]]


def resolved(host: str, port: int) -> frozenset[str]:
    """The addresses of `host`. Raises ValueError where it has none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ValueError(f"{host} has no address") from error
    return frozenset(str(address[0]) for *_, address in found)


def is_public(address: str) -> bool:
    """Whether `address` is one of the internet's, and neither this machine's nor its neighbours'."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found
    if any(found in carrier for carrier in _CARRIERS if carrier.version == found.version):
        return False
    return found.is_global and not found.is_multicast


class Pictures:
    """Fetches from the service at `base`, and from `hosts` by HTTPS or the service's own scheme.

    The service may be a private address itself; `hosts` must be public ones, and what they are looked up to
    is what is connected to.
    """

    def __init__(
        self,
        base: httpx2.URL,
        hosts: frozenset[str],
        *,
        transport: httpx2.BaseTransport | None,
        clock: Callable[[], float],
        resolve: Resolve = resolved,
    ) -> None:
        self._base = base
        self._hosts = hosts
        self._resolve = resolve
        self._wire = httpx2.Client(
            transport=transport,
            follow_redirects=False,
            event_hooks=event_hooks(clock),
            headers={"Accept-Encoding": "identity"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            # A connection was made for one host's certificate: none is used for another's.
            limits=httpx2.Limits(max_keepalive_connections=0),
        )

    def close(self) -> None:
        self._wire.close()

    def fetch(self, url: str, timeout: httpx2.Timeout) -> bytes:
        """The bytes at `url`, which may be relative to the service's. Raises ValueError or HTTPError."""
        with self._answer(self._request(self._base.join(url), timeout)) as response:
            if response.status_code != httpx2.codes.OK:
                raise ValueError(f"the image's address answered {response.status_code}")
            picture = bytearray()
            for chunk in response.iter_bytes():
                picture += chunk
                if len(picture) > LARGEST:
                    raise ValueError(f"the image is larger than {LARGEST:,} bytes")
        return bytes(picture)

    @contextmanager
    def _answer(self, request: httpx2.Request) -> Iterator[httpx2.Response]:
        response = self._wire.send(request, stream=True)
        try:
            yield response
        finally:
            response.close()

    def _request(self, url: httpx2.URL, timeout: httpx2.Timeout) -> httpx2.Request:
        if _origin(url) == _origin(self._base):
            return self._wire.build_request("GET", url, timeout=timeout)
        pinned = url.copy_with(host=self._checked(url))
        told = {"Host": url.netloc.decode("ascii")}
        name = {"sni_hostname": url.host}
        return self._wire.build_request("GET", pinned, headers=told, timeout=timeout, extensions=name)

    def _checked(self, url: httpx2.URL) -> str:
        """The address to connect to for what lies elsewhere. Raises ValueError where it may not be asked."""
        usual = url.port in (None, _USUAL_PORTS.get(url.scheme)) and not url.userinfo
        if url.host.rstrip(".").lower() not in self._hosts or not usual:
            raise ValueError(
                f"the image is at {url.scheme}://{url.host}, which is neither the service's own address nor "
                "one of IMAGE_HOSTS"
            )
        if url.scheme not in {"https", self._base.scheme}:
            raise ValueError(f"the image is at {url.scheme}://{url.host}, which isn't https")
        addresses = self._resolve(url.host, _USUAL_PORTS[url.scheme])
        if not addresses or not all(is_public(address) for address in addresses):
            raise ValueError(f"{url.host} isn't a public address")
        return min(addresses, key=lambda address: (":" in address, address))


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
