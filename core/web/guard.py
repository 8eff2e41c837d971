"""The wall before every route: whom a request is addressed to, and which site made a browser send it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from core import errors
from core.common.media_types import MEGABYTE
from core.settings import Settings, is_loopback
from core.web.access_rules import is_closed
from core.web.cookies import without_plain_cookie
from core.web.error_responses import failure
from core.web.security_headers import is_https, wanted
from core.web.urls import EDIT

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
# The longest prompt, each letter written as two escapes of JSON, and the rest. What is received is kept in
# memory until it is whole, but for files.
MAX_BODY = 512 * 1024
_LONGEST_DETAILS = 200
_LONGEST_NUMBER = 20
_SESSIONS = "/auth/"
_OWN_SHAPE = ("/api/", _SESSIONS)
_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[a-z0-9._:-]+")
_NETLOC = re.compile(r"(\[[^\[\]@]+\]|[^\[\]@:]+)(:\d*)?", re.ASCII)
_POLICY_VIOLATION = 1008
log = structlog.get_logger(__name__)


class Guard:
    """ASGI middleware that refuses names other than this server's, other sites' pages, and closed paths.

    By HTTPS the cookie of plain HTTP is kept from all that is behind it, but for the routes that clear it.
    Every answer gets the headers of `security_headers`; `policy` is the pages' Content-Security-Policy.
    `X-Forwarded-Host` is never read: whoever sends a request can write it.
    """

    def __init__(self, app: ASGIApp, get_settings: Callable[[], Settings], policy: str = "") -> None:
        self._app = app
        self._get_settings = get_settings
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        settings = self._get_settings()
        https = is_https(scope["scheme"], settings)
        send = _dressed(send, wanted(_path(scope), self._policy, settings, https=https))
        try:
            check(scope, settings)
        except errors.RequestRejected as error:
            log.warning("refused", code=error.code, path=_cut(scope["path"]), details=error.details)
            await _refusal(scope, error)(scope, receive, send)
        else:
            if https and not _path(scope).startswith(_SESSIONS):
                scope = {**scope, "headers": without_plain_cookie(scope["headers"])}
            most = most_bytes(scope, settings)
            await self._app(scope, _bounded(receive, most) if scope["type"] == "http" else receive, send)


def _dressed(send: Send, wanted: Mapping[str, str]) -> Send:
    """`send`, adding the `wanted` headers to an answer that has none of that name."""

    async def dressed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in wanted.items():
                headers.setdefault(name, value)
        await send(message)

    return dressed


def most_bytes(scope: Scope, settings: Settings) -> int:
    """How large a body may be: at the one address that takes files, a picture and its mask are more."""
    return MAX_BODY + (2 * settings.max_upload_mb * MEGABYTE if _path(scope) == EDIT else 0)


def _bounded(receive: Receive, most: int) -> Receive:
    """`receive`, raising BodyTooLarge as soon as more has come than any request needs."""
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > most:
            raise errors.BodyTooLarge
        return message

    return bounded


def check(scope: Scope, settings: Settings) -> None:
    """Raise HostRejected, OriginRejected, BodyTooLarge or PageNotFound unless this request may go on."""
    # No pattern of a route takes a new line, and Streamlit has an answer of its own for some of the others.
    if any(unicodedata.category(sign) == "Cc" for sign in scope["path"]):
        raise errors.PageNotFound
    headers = Headers(scope=scope)
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not is_served(hosts[0], settings):
        raise errors.HostRejected(details=_cut(f"Host: {', '.join(hosts)}"))
    changes = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
    if changes:
        _check_origin(headers, hosts[0])
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:_LONGEST_NUMBER]) > most_bytes(scope, settings):
        raise errors.BodyTooLarge
    if is_closed(_path(scope).rstrip("/")):
        raise errors.PageNotFound


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _check_origin(headers: Headers, host: str) -> None:
    """Raise OriginRejected for what another site's page made a browser send.

    A browser says where a change comes from, by `Origin` or at least by `Sec-Fetch-Site`: what has neither
    comes from no page, and carries only a cookie that somebody put there on purpose.
    """
    origins, sites = headers.getlist("origin"), headers.getlist("sec-fetch-site")
    if not all(is_same(origin, host) for origin in origins) or any(site != "same-origin" for site in sites):
        told = f"Origin: {', '.join(origins)}; Sec-Fetch-Site: {', '.join(sites)}; Host: {host}"
        raise errors.OriginRejected(details=_cut(told))


def _cut(foreign: str) -> str:
    return foreign[:_LONGEST_DETAILS]


def is_served(host: str, settings: Settings) -> bool:
    """Whether `host`, the header, names this server: by loopback always, else as ALLOWED_HOSTS says."""
    place = _place(f"http://{host}")
    if place is None:
        return False
    return is_loopback(place.name) or not settings.served_hosts.isdisjoint(("*", place.name))


def is_same(origin: str, host: str) -> bool:
    """Whether a page of `origin` was loaded from `host`, by name and port."""
    place = _place(origin)
    return place is not None and place == _place(f"{urlsplit(origin).scheme}://{host}")


@dataclass(frozen=True, slots=True)
class _Place:
    name: str
    port: int


def _place(url: str) -> _Place | None:
    """Where `url` is, when it is a scheme, a name and perhaps a port, and nothing else."""
    try:
        parts = urlsplit(url)
        usual = _PORTS[parts.scheme]
        place = _Place((parts.hostname or "").rstrip("."), parts.port or usual)
    except (ValueError, KeyError):
        return None
    # Python overlooks what stands around brackets.
    bare = _NETLOC.fullmatch(parts.netloc) and url == f"{parts.scheme}://{parts.netloc}"
    return place if bare and _NAME.fullmatch(place.name) else None


def _refusal(scope: Scope, error: errors.RequestRejected) -> ASGIApp:
    if scope["type"] == "websocket":
        return WebSocketClose(code=_POLICY_VIOLATION, reason=error.message)
    return _answer(scope["path"], error)


def _answer(path: str, error: errors.RequestRejected) -> Response:
    """Words for the person who opened an address; the one shape for the scripts that call ours."""
    if path.startswith(_OWN_SHAPE):
        return failure(error, error.status)
    text = "\n".join((f"{error.message} [{error.code}]", *(f"- {tip}" for tip in error.suggestions)))
    return PlainTextResponse(text, error.status, {"Cache-Control": "no-store"})
