"""The address, key and headers of a service, as values. core.settings reads them from variables."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

OPENAI_URL = "https://api.openai.com/v1"
# Shorter secrets aren't masked, because they also occur within ordinary words.
MIN_MASKED_LENGTH = 6
_USUAL_PORTS = {"http": 80, "https": 443}
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
# The connection sets these headers itself, for each call.
_OWN_HEADERS = frozenset(
    ("host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding")
)
_SECRET_HEADER = re.compile(r"auth|key|token|secret|passw|cookie|credential|signature", re.IGNORECASE)
# A header's value that is at least this long is masked in the log, whatever the header is called.
_MIN_MASKED_HEADER_LENGTH = 16
_NOT_HEADERS = "must be lines of the form Name: value, or a JSON object of texts"
_NOT_IN_HOST = re.compile(r"[:/@\s\[\]]")


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """The address of one service, its API key, and further headers for each request to it.

    `base_url` is None for OpenAI itself. `api_key` is "" if there is no key. `headers` are further headers.
    If neither a URL nor a key is set, the offline engine stands in for the service. The variables are the
    names under which an administrator finds the URL, the key and the headers.
    """

    base_url: str | None = None
    api_key: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    url_variable: str = "OPENAI_BASE_URL"
    key_variable: str = "OPENAI_API_KEY"
    headers_variable: str = "EXTRA_HEADERS"

    @property
    def offline(self) -> bool:
        return self.base_url is None and not self.api_key

    @property
    def is_official(self) -> bool:
        """Whether OpenAI itself is the service: not a compatible service, and not the offline engine."""
        if self.base_url is None:
            return not self.offline
        host = urlsplit(self.base_url).hostname or ""
        return host == "api.openai.com" or host.endswith(".api.openai.com")

    @property
    def shown_url(self) -> str:
        """The service's URL without user name, password and query, or "OpenAI" if no URL is set."""
        url = urlsplit(self.base_url or "")
        return url._replace(netloc=url.netloc.rpartition("@")[2], query="").geturl() or "OpenAI"

    @property
    def secrets(self) -> list[str]:
        """The key, and the texts in the URL and in the headers that may be secret.

        An `api-version` in the query isn't secret, nor is a short header with an ordinary name, such as
        `X-Title: Atelier`.
        """
        query = parse_qsl(urlsplit(self.base_url or "").query)
        found = [self.api_key, password_in(self.base_url)]
        found += [value for name, value in query if name.lower() != "api-version"]
        for name, value in self.headers.items():
            if _SECRET_HEADER.search(name):
                # Without the scheme before it, as in "Bearer sk-…".
                found.append(value.rpartition(" ")[2])
            elif len(value) >= _MIN_MASKED_HEADER_LENGTH:
                found.append(value)
        return [secret for secret in found if secret]

    def check_credentials(self) -> None:
        """Raise ValueError if a request would carry two credentials. One would silently replace the other."""
        authorization = any(name.lower() == "authorization" for name in self.headers)
        given = {
            self.key_variable: bool(self.api_key),
            f"the user name in {self.url_variable}": has_user(self.base_url),
            f"Authorization in {self.headers_variable}": authorization,
        }
        if len(named := [name for name, present in given.items() if present]) > 1:
            raise ValueError(f"{' and '.join(named)} can't be used together: remove one of them")


def clean_base_url(url: str) -> str:
    """Return `url` without empty parts in its path: `https://host//v1` becomes `https://host/v1`.

    Raises ValueError if `url` isn't an HTTP URL that a call's path can be added to. The message doesn't
    repeat `url`, which may contain a password.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://")
    try:
        address = urlsplit(url)
        _ = address.port
    except ValueError:
        raise ValueError("has an invalid host or port") from None
    if not address.hostname or "#" in url or re.search(r"\s", url):
        raise ValueError("needs a host, and can't contain # or white space")
    return address._replace(path=re.sub("/{2,}", "/", address.path)).geturl()


def read_headers(text: str) -> dict[str, str]:
    """Return the headers in `text`, which has lines of the form `Name: value` or is a JSON object of texts.

    Raises ValueError if `text` has another form, or a header that no request can carry. The message repeats
    no value, which may be a secret.
    """
    headers = _headers_in_json(text) if text.strip().startswith("{") else _headers_in_lines(text)
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not value.isascii() or not value.isprintable():
            raise ValueError(_NOT_HEADERS)
        if name.lower() in _OWN_HEADERS:
            raise ValueError(f"can't set {name}, which each request sets itself")
    return headers


def _headers_in_json(text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except ValueError:
        raise ValueError("isn't valid JSON") from None
    if not all(isinstance(value, str) for value in found.values()):
        raise ValueError(_NOT_HEADERS)
    return {name.strip(): value.strip() for name, value in found.items()}


def _headers_in_lines(text: str) -> dict[str, str]:
    lines = [line.partition(":") for line in text.splitlines() if line.strip()]
    if not all(colon for _, colon, _ in lines):
        raise ValueError(_NOT_HEADERS)
    return {name.strip(): value.strip() for name, _, value in lines}


def origin(url: str | None) -> tuple[str, str | None, int | None]:
    """Return the scheme, host and port of `url`. None stands for OpenAI itself."""
    address = urlsplit(url or OPENAI_URL)
    return address.scheme, address.hostname, address.port or _USUAL_PORTS.get(address.scheme)


def has_user(url: str | None) -> bool:
    return "@" in urlsplit(url or "").netloc


def password_in(url: str | None) -> str:
    """Return the password in `url`, or "" if there is none. The password stays percent-encoded."""
    return urlsplit(url or "").netloc.rpartition("@")[0].partition(":")[2]


def split_hosts(hosts: str | None) -> list[str]:
    """Return the hosts in the comma-separated list `hosts`, each as `host` or `host:port`.

    They are in lower case and without final dots. An IPv6 address has brackets only if a port follows it.
    """
    found = []
    for host in ((host.strip().lower()) for host in (hosts or "").split(",")):
        name, colon, port = host.rpartition(":")
        if colon and not is_ip(host.strip("[]")):
            found.append(f"{name.rstrip('.')}:{port}")
        else:
            found.append(host.strip("[]").rstrip("."))
    return [host for host in found if host]


def is_host(host: str) -> bool:
    """Whether `host`, an item of `split_hosts`, is a host name or an IP address, with or without a port."""
    if is_ip(host):
        return True
    name, colon, port = host.rpartition(":")
    if not colon:
        return not _NOT_IN_HOST.search(host)
    named = is_ip(name[1:-1]) if name.startswith("[") else bool(name) and not _NOT_IN_HOST.search(name)
    return named and port.isascii() and port.isdecimal() and 0 < int(port) <= 65535


def is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
