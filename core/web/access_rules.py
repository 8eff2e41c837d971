"""The access rule of every route that the running app serves, including Streamlit's own routes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from core.database.models import Scope


class Rule(StrEnum):
    """The rule that says who may use a route.

    If an image or job belongs to another user, the response is the same 404 as if the image or job didn't
    exist.
    """

    PUBLIC = "public"
    PAGE_SHELL = "page shell"
    SIGN_IN = "sign-in and sign-out"
    SIGNED_IN = "signed-in"
    ADMIN = "administrator"
    OWNER = "owner"
    OWNER_OR_LINK = "owner, or anyone with a share link to it"
    SAME_ORIGIN_SOCKET = "websocket same-origin"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Route:
    """A path pattern with its HTTP methods and its access rule.

    `scope` is the permission that an API token needs. If `scope` is None, the route accepts only a browser
    session. Only a token with Scope.READ can read stored images and prompts. To other tokens, routes return
    ids, URLs and the fields of the client's own request.
    """

    path: str
    methods: tuple[str, ...]
    rule: Rule
    scope: Scope | None = None


def _route(path: str, methods: str, rule: Rule, scope: Scope | None = None) -> Route:
    return Route(path, tuple(methods.split()), rule, scope)


# The addresses of the pages. The page shell is served at each of them: the HTML that every page begins with.
PAGES = ("", "/gallery", "/account", "/audit")
_AGENT_METHODS = "GET HEAD POST PUT PATCH DELETE OPTIONS"
ROUTES = (
    # Atelier's own routes.
    _route("/api/openapi.json", "GET HEAD", Rule.SIGNED_IN, Scope.READ),
    _route("/api/docs", "GET HEAD", Rule.SIGNED_IN, Scope.READ),
    _route("/api/docs/{name}", "GET HEAD", Rule.SIGNED_IN, Scope.READ),
    _route("/api/images", "GET HEAD", Rule.SIGNED_IN, Scope.READ),
    _route("/api/images/generate", "POST", Rule.SIGNED_IN, Scope.GENERATE),
    _route("/api/images/enhance-prompt", "POST", Rule.SIGNED_IN, Scope.GENERATE),
    # Rule.OWNER applies to the image that a form field names.
    _route("/api/images/edit", "POST", Rule.OWNER, Scope.GENERATE),
    _route("/api/images/jobs/{job_id}", "GET HEAD", Rule.OWNER, Scope.READ),
    _route("/api/images/jobs/{job_id}/events", "GET HEAD", Rule.OWNER, Scope.READ),
    _route("/api/images/jobs/{job_id}/partials/{number}", "GET HEAD", Rule.OWNER, Scope.READ),
    _route("/api/images/{image_id}", "GET HEAD", Rule.OWNER_OR_LINK, Scope.READ),
    _route("/api/images/{image_id}", "PATCH DELETE", Rule.OWNER, Scope.GENERATE),
    _route("/api/images/{image_id}/thumbnail", "GET HEAD", Rule.OWNER_OR_LINK, Scope.READ),
    _route("/api/images/{image_id}/download", "GET HEAD", Rule.OWNER, Scope.READ),
    _route("/api/images/{image_id}/metadata", "GET HEAD", Rule.OWNER, Scope.READ),
    _route("/api/images/{image_id}/restore", "POST", Rule.OWNER, Scope.GENERATE),
    _route("/api/audit.csv", "GET HEAD", Rule.ADMIN),
    _route("/healthz", "GET HEAD", Rule.PUBLIC),
    _route("/readyz", "GET HEAD", Rule.PUBLIC),
    _route("/robots.txt", "GET HEAD", Rule.PUBLIC),
    _route("/auth/session", "POST", Rule.SIGN_IN),
    _route("/auth/sign-out", "POST", Rule.SIGN_IN),
    # Each page run checks the session itself.
    *(_route(path or "/", "GET HEAD", Rule.PAGE_SHELL) for path in PAGES),
    # Streamlit's routes that the pages need.
    _route("/_stcore/stream", "WEBSOCKET", Rule.SAME_ORIGIN_SOCKET),
    _route("/_stcore/health", "GET HEAD OPTIONS", Rule.PUBLIC),
    _route("/_stcore/host-config", "GET HEAD", Rule.PUBLIC),
    # Streamlit's routes that no page needs. They describe the app, accept files or run it without a page.
    _route("/_stcore/metrics", "GET HEAD OPTIONS", Rule.CLOSED),
    _route("/_stcore/upload_file/{session_id}/{file_id}", "PUT DELETE OPTIONS", Rule.CLOSED),
    _route("/_stcore/bidi-components/{path:path}", "GET HEAD OPTIONS", Rule.CLOSED),
    _route("/_stcore/agent/interact", _AGENT_METHODS, Rule.CLOSED),
    _route("/_stcore/agent/openapi.json", _AGENT_METHODS, Rule.CLOSED),
    _route("/_stcore/agent/mcp", _AGENT_METHODS, Rule.CLOSED),
    _route("/component/{path:path}", "GET HEAD OPTIONS", Rule.CLOSED),
    _route("/media/{file_id:path}", "GET HEAD OPTIONS", Rule.CLOSED),
    _route("/auth/login", "GET HEAD", Rule.CLOSED),
    _route("/auth/logout", "GET HEAD", Rule.CLOSED),
    _route("/oauth2callback", "GET HEAD", Rule.CLOSED),
)
# Applications that respond to unknown paths themselves.
_APPLICATIONS = ("/api", "/auth")


def is_open(path: str, files: Collection[str] = ()) -> bool:
    """Return whether Atelier serves `path`, which ends without a slash. Other paths get a 404 response.

    `files` are the paths of Streamlit's own files. Streamlit itself would serve its page shell at every path
    that it doesn't know, and some of its settings add further routes.
    """
    if any(_is_below(path, prefix) for prefix in _CLOSED):
        return False
    return path in PAGES or path in files or any(_is_below(path, prefix) for prefix in _OPEN)


def _is_below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}/")


def _prefix(route: Route) -> str:
    """Return the part of the route's path before the first variable: "/media" of "/media/{file_id}"."""
    return route.path.partition("{")[0].rstrip("/")


_CLOSED = tuple(_prefix(route) for route in ROUTES if route.rule is Rule.CLOSED)
_OPEN = (
    *_APPLICATIONS,
    *(
        _prefix(route)
        for route in ROUTES
        if route.rule not in (Rule.CLOSED, Rule.PAGE_SHELL) and not route.path.startswith(_APPLICATIONS)
    ),
)
