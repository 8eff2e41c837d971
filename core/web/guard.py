"""Checks of every request before its route runs: host name, origin, body size and unknown paths."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from core import errors
from core.common.media_types import MEGABYTE
from core.settings import Settings, is_loopback
from core.web.access_rules import is_open
from core.web.base_path import route_path, start_page_redirect
from core.web.cookies import without_plain_cookie
from core.web.error_responses import rejection_response
from core.web.security_headers import headers_for, is_https
from core.web.urls import EDIT

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
# Room for the longest prompt, with each character written as two JSON escapes, and for the other fields.
# A body is held in memory until it is complete. Uploaded files aren't held in memory.
MAX_BODY_BYTES = 512 * 1024
_MAX_DETAILS_LENGTH = 200
_MAX_DIGITS = 20
_SESSION_ROUTES = "/auth/"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST_NAME = re.compile(r"[a-z0-9._:-]+")
_NETLOC = re.compile(r"(\[[^\[\]@]+\]|[^\[\]@:]+)(:\d*)?", re.ASCII)
_POLICY_VIOLATION = 1008
log = structlog.get_logger(__name__)


class Guard:
    """ASGI middleware that checks every request before its route runs, and adds security headers.

    - Rejects wrong host names, requests that other sites cause, bodies that are too large, and closed or
      unknown paths. `files` are the paths of Streamlit's own files.
    - Removes the plain-HTTP session cookie from HTTPS requests. Below `/auth/`, the cookie stays, because the
      routes there clear it.
    - Adds the headers of core.web.security_headers to every response. `policy` is the pages'
      Content-Security-Policy.

    `X-Forwarded-Host` is never read, because any client can write that header.
    """

    def __init__(
        self,
        app: ASGIApp,
        get_settings: Callable[[], Settings],
        policy: str = "",
        files: Collection[str] = (),
    ) -> None:
        self._app = app
        self._get_settings = get_settings
        self._policy = policy
        self._files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        settings = self._get_settings()
        https = is_https(scope["scheme"], settings)
        send = _with_headers(send, headers_for(route_path(scope), self._policy, settings, https=https))
        try:
            check(scope, settings, self._files)
        except errors.RequestRejected as error:
            # Unknown addresses are requested all the time, by Streamlit's own page too.
            level = logging.DEBUG if isinstance(error, errors.PageNotFound) else logging.WARNING
            path = _truncate(scope["path"])
            log.log(level, "request_rejected", code=error.code, path=path, details=error.details)
            await _rejection(scope, error)(scope, receive, send)
        else:
            if scope["type"] == "http" and not route_path(scope):
                await start_page_redirect(scope)(scope, receive, send)
                return
            if https and not route_path(scope).startswith(_SESSION_ROUTES):
                scope = {**scope, "headers": without_plain_cookie(scope["headers"])}
            if scope["type"] == "http":
                receive = _limit_body(receive, max_body_bytes(scope, settings))
            await self._app(scope, receive, send)


def _with_headers(send: Send, defaults: Mapping[str, str]) -> Send:
    """Return a `send` that adds the headers in `defaults` to each response.

    A header that the response already has stays unchanged.
    """

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in defaults.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers


def max_body_bytes(scope: Scope, settings: Settings) -> int:
    """Return the maximum size of a request's body in bytes.

    The route for edits permits larger bodies, with room for an image and a mask.
    """
    return MAX_BODY_BYTES + (2 * settings.max_upload_mb * MEGABYTE if route_path(scope) == EDIT else 0)


def _limit_body(receive: Receive, max_bytes: int) -> Receive:
    """Return a `receive` that raises BodyTooLarge once the body is larger than `max_bytes`."""
    received = 0

    async def receive_limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > max_bytes:
            raise errors.BodyTooLarge
        return message

    return receive_limited


def check(scope: Scope, settings: Settings, files: Collection[str] = ()) -> None:
    """Raise HostRejected, OriginRejected, BodyTooLarge or PageNotFound if the request isn't permitted."""
    # No route has a control character in its path, but Streamlit would respond to some of these paths.
    if any(unicodedata.category(character) == "Cc" for character in scope["path"]):
        raise errors.PageNotFound
    # Streamlit would reject such a path itself, with a text that isn't one of Atelier's errors.
    if ".." in scope["path"].replace("\\", "/").split("/"):
        raise errors.PageNotFound
    headers = Headers(scope=scope)
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not is_served(hosts[0], settings):
        raise errors.HostRejected(details=_truncate(f"Host: {', '.join(hosts)}"))
    if scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS:
        _check_origin(headers, hosts[0])
    content_length = headers.get("content-length", "")
    if content_length.isdecimal() and int(content_length[:_MAX_DIGITS]) > max_body_bytes(scope, settings):
        raise errors.BodyTooLarge
    if not is_open(route_path(scope).rstrip("/"), files):
        raise errors.PageNotFound


def _check_origin(headers: Headers, host: str) -> None:
    """Raise OriginRejected if a page of another site made the browser send this request.

    Browsers send `Origin` or `Sec-Fetch-Site` with every request that changes something. A request without
    both headers comes from an API client, which no other site can control.
    """
    origins, sites = headers.getlist("origin"), headers.getlist("sec-fetch-site")
    if not all(is_same_origin(origin, host) for origin in origins) or any(
        site != "same-origin" for site in sites
    ):
        details = f"Origin: {', '.join(origins)}; Sec-Fetch-Site: {', '.join(sites)}; Host: {host}"
        raise errors.OriginRejected(details=_truncate(details))


def _truncate(text: str) -> str:
    return text[:_MAX_DETAILS_LENGTH]


def is_served(host: str, settings: Settings) -> bool:
    """Whether requests with the Host header `host` are accepted.

    Loopback names are accepted, and so are the names that ALLOWED_HOSTS permits.
    """
    parsed = _parse_origin(f"http://{host}")
    if parsed is None:
        return False
    return is_loopback(parsed.host) or not settings.served_hosts.isdisjoint(("*", parsed.host))


def is_same_origin(origin: str, host: str) -> bool:
    """Whether `origin` (an Origin header) and `host` (a Host header) have the same host name and port."""
    parsed = _parse_origin(origin)
    return parsed is not None and parsed == _parse_origin(f"{urlsplit(origin).scheme}://{host}")


@dataclass(frozen=True, slots=True)
class _HostAndPort:
    host: str
    port: int


def _parse_origin(url: str) -> _HostAndPort | None:
    """Return the host name and port in a URL such as `https://host:8501`.

    Returns None if the URL is invalid or has more parts, such as a path.
    """
    try:
        parts = urlsplit(url)
        default_port = _DEFAULT_PORTS[parts.scheme]
        parsed = _HostAndPort((parts.hostname or "").rstrip("."), parts.port or default_port)
    except (ValueError, KeyError):
        return None
    # `urlsplit` ignores characters around the brackets of an IPv6 address.
    is_bare = _NETLOC.fullmatch(parts.netloc) and url == f"{parts.scheme}://{parts.netloc}"
    return parsed if is_bare and _HOST_NAME.fullmatch(parsed.host) else None


def _rejection(scope: Scope, error: errors.RequestRejected) -> ASGIApp:
    if scope["type"] == "websocket":
        return WebSocketClose(code=_POLICY_VIOLATION, reason=error.message)
    return rejection_response(scope, error)
