"""Who may come to which address: every route of the running app, Streamlit's own included, with its rule."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from core.database.models import Scope


class Rule(StrEnum):
    """What a route asks of whoever comes to it. Another person's things look like those that don't exist."""

    PUBLIC = "public"
    SHELL = "page shell"
    DOOR = "sign-in and sign-out"
    SIGNED_IN = "signed-in"
    ADMIN = "administrator"
    OWNER = "owner"
    SHOWN = "owner, or whoever has a link that shows it"
    SOCKET = "websocket same-origin"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Route:
    """One address as the server writes it, with the methods that it answers.

    A personal token must have `scope`; without one, only a browser's session counts. What was made is read
    with Scope.READ alone: a route of another scope answers with ids, addresses and what it was sent itself.
    """

    path: str
    methods: tuple[str, ...]
    rule: Rule
    scope: Scope | None = None


def _route(path: str, methods: str, rule: Rule, scope: Scope | None = None) -> Route:
    return Route(path, tuple(methods.split()), rule, scope)


_AGENT = "GET HEAD POST PUT PATCH DELETE OPTIONS"
ROUTES = (
    # Ours
    _route("/api/openapi.json", "GET", Rule.SIGNED_IN, Scope.READ),
    _route("/api/docs", "GET", Rule.SIGNED_IN, Scope.READ),
    _route("/api/docs/{name}", "GET", Rule.SIGNED_IN, Scope.READ),
    _route("/api/images", "GET", Rule.SIGNED_IN, Scope.READ),
    _route("/api/images/generate", "POST", Rule.SIGNED_IN, Scope.GENERATE),
    _route("/api/images/enhance-prompt", "POST", Rule.SIGNED_IN, Scope.GENERATE),
    # Its picture is one that a field of the form names.
    _route("/api/images/edit", "POST", Rule.OWNER, Scope.GENERATE),
    _route("/api/images/jobs/{job_id}", "GET", Rule.OWNER, Scope.READ),
    _route("/api/images/jobs/{job_id}/events", "GET", Rule.OWNER, Scope.READ),
    _route("/api/images/jobs/{job_id}/partials/{number}", "GET", Rule.OWNER, Scope.READ),
    _route("/api/images/{image_id}", "GET HEAD", Rule.SHOWN, Scope.READ),
    _route("/api/images/{image_id}", "PATCH DELETE", Rule.OWNER, Scope.GENERATE),
    _route("/api/images/{image_id}/thumbnail", "GET HEAD", Rule.SHOWN, Scope.READ),
    _route("/api/images/{image_id}/download", "GET", Rule.OWNER, Scope.READ),
    _route("/api/images/{image_id}/metadata", "GET", Rule.OWNER, Scope.READ),
    _route("/api/images/{image_id}/restore", "POST", Rule.OWNER, Scope.GENERATE),
    _route("/api/audit.csv", "GET", Rule.ADMIN),
    _route("/auth/session", "POST", Rule.DOOR),
    _route("/auth/sign-out", "POST", Rule.DOOR),
    # Streamlit's, which its pages need. Whoever is there, the page itself finds out at each run.
    _route("/", "GET HEAD", Rule.SHELL),
    _route("/_stcore/stream", "WEBSOCKET", Rule.SOCKET),
    _route("/_stcore/health", "GET HEAD OPTIONS", Rule.PUBLIC),
    _route("/_stcore/host-config", "GET HEAD", Rule.PUBLIC),
    # Streamlit's, which nobody here needs: they tell about the app, take files, or run it without a page.
    _route("/_stcore/metrics", "GET HEAD OPTIONS", Rule.CLOSED),
    _route("/_stcore/upload_file/{session_id}/{file_id}", "PUT DELETE OPTIONS", Rule.CLOSED),
    _route("/_stcore/bidi-components/{path:path}", "GET HEAD OPTIONS", Rule.CLOSED),
    _route("/_stcore/agent/interact", _AGENT, Rule.CLOSED),
    _route("/_stcore/agent/openapi.json", _AGENT, Rule.CLOSED),
    _route("/_stcore/agent/mcp", _AGENT, Rule.CLOSED),
    _route("/component/{path:path}", "GET HEAD OPTIONS", Rule.CLOSED),
    _route("/media/{file_id:path}", "GET HEAD OPTIONS", Rule.CLOSED),
    _route("/auth/login", "GET HEAD", Rule.CLOSED),
    _route("/auth/logout", "GET HEAD", Rule.CLOSED),
    _route("/oauth2callback", "GET HEAD", Rule.CLOSED),
)
# Below these, what no row opens is closed: Streamlit answers there to settings that may be switched on.
_KEPT_CLOSED = ("/_stcore", "/app/static")


def is_closed(path: str) -> bool:
    """Whether nothing is to be found at `path`, whatever the server beneath would answer."""
    return any(_is_below(path, closed) for closed in _CLOSED) and not any(
        _is_below(path, opened) for opened in _OPEN
    )


def _is_below(path: str, top: str) -> bool:
    return path == top or path.startswith(f"{top}/")


def _top(route: Route) -> str:
    """The address up to its first variable part."""
    return route.path.partition("{")[0].rstrip("/")


_CLOSED = (*_KEPT_CLOSED, *(_top(route) for route in ROUTES if route.rule is Rule.CLOSED))
_OPEN = tuple(
    _top(route) for route in ROUTES if route.rule is not Rule.CLOSED and route.path.startswith(_KEPT_CLOSED)
)
