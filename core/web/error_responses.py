"""Error responses, which all have the same JSON structure, and pages that need no Streamlit."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from pydantic import BaseModel, Field
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import Scope

from core import errors
from core.common.text import storable_text
from core.web.base_path import route_path
from core.web.request_context import HEADER, current_request_id
from core.web.security_headers import hash_source

_API_PATHS = ("/api/", "/auth/")
# The colours of the pages' themes, as in .streamlit/config.toml.
STYLE = """
:root { color-scheme: light dark; }
body {
  background: light-dark(#fbfaf8, #15141b);
  color: light-dark(#14121c, #f1eef8);
  font: 1rem/1.5 system-ui, sans-serif;
  margin: 0 auto;
  max-width: 64rem;
  padding: 1.5rem 1rem 3rem;
}
a { color: light-dark(#5a3fc8, #b3a4ff); }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 1rem 0 0.25rem; overflow-wrap: anywhere; }
img {
  border-radius: 0.75rem;
  display: block;
  height: auto;
  margin: 0 auto;
  max-height: 80vh;
  max-width: 100%;
  width: auto;
}
p { margin: 0.25rem 0; overflow-wrap: anywhere; }
footer {
  border-top: 1px solid light-dark(#14121c22, #f1eef822);
  font-size: 0.9rem;
  margin-top: 2rem;
  padding-top: 1rem;
}
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta property="og:title" content="{title}">
<meta property="og:site_name" content="Atelier">
<title>{title} · Atelier</title>
<style>{style}</style>
</head>
<body>
<main>
{content}
</main>
<footer><a href="{start}">Open Atelier</a></footer>
</body>
</html>
"""
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "img-src 'self'",
        f"style-src {hash_source(STYLE)}",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


class ErrorBody(BaseModel):
    code: str = Field(examples=["IMG-FIND-001"])
    message: str = Field(description="For people")
    details: str = Field(description="Technical, and often empty")
    suggestions: list[str] = Field(description="What can be done")
    retryable: bool = Field(description="Whether the same request may succeed later")
    request_id: str = Field(description="As in the header `X-Request-ID`, and in the log")


class Failed(BaseModel):
    """The JSON of every error response."""

    error: ErrorBody


def error_body(error: errors.ImageError) -> dict[str, Any]:
    """Return the JSON of an error response, in the structure of `Failed`.

    If the image service gave the call a request id, that id is appended to `details`. If the service may have
    charged, or if the prompt was blocked, a sentence on the cost is appended too.
    """
    service_request = f"request {error.request_id} at the service" if error.request_id else ""
    might_cost = error.charged is not False or isinstance(error, errors.PromptBlocked)
    cost = errors.COST_MESSAGES[error.charged] if might_cost else ""
    body = ErrorBody(
        code=error.code,
        message=storable_text(error.message),
        details=storable_text("; ".join(filter(None, (error.details, service_request, cost)))),
        suggestions=list(error.suggestions),
        retryable=error.retryable,
        request_id=current_request_id(),
    )
    return Failed(error=body).model_dump()


def error_response(error: errors.ImageError, status: int) -> JSONResponse:
    """Return the JSON response for `error`, with the HTTP status `status`.

    Adds the headers that the error and the status need, such as `WWW-Authenticate` for status 401 and
    `Retry-After` for an error with a waiting time.
    """
    body = error_body(error)
    headers = {"Cache-Control": "no-store", HEADER: body["error"]["request_id"]}
    if status == 401:
        reason = ', error="invalid_token"' if isinstance(error, errors.TokenRejected) else ""
        headers["WWW-Authenticate"] = f'Bearer realm="Atelier"{reason}'
    if isinstance(error, errors.RangeRejected):
        headers["Content-Range"] = f"bytes */{error.size}"
    if error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    return JSONResponse(body, status, headers)


def rejection_response(scope: Scope, error: errors.RequestRejected) -> Response:
    """Return the response to a request that is rejected before its route runs.

    The response is JSON below `/api/` and `/auth/`, and plain text elsewhere. At an unknown path, a browser
    gets an HTML page. A program gets JSON, because it may look for another API there.
    """
    unknown_path = isinstance(error, errors.PageNotFound)
    if unknown_path and accepts_html(Headers(scope=scope).get("accept", "")):
        content = f"<h1>{escape(error.message)}</h1>\n<p>{error.code}</p>"
        return html_page(error.message, content, error.status, base=scope.get("root_path", ""))
    if unknown_path or route_path(scope).startswith(_API_PATHS):
        return error_response(error, error.status)
    text = "\n".join((f"{error.message} [{error.code}]", *(f"- {tip}" for tip in error.suggestions)))
    return PlainTextResponse(text, error.status, {"Cache-Control": "no-store"})


def html_page(title: str, content: str, status: int = 200, *, base: str) -> HTMLResponse:
    """Return a page with the plain text `title` and with `content`, which is HTML.

    `base` is the path below which Atelier is served.
    """
    page = _PAGE.format(title=escape(title), style=STYLE, content=content, start=escape(f"{base}/"))
    headers = {"Cache-Control": "private, no-store", "Content-Security-Policy": _POLICY, "Vary": "Accept"}
    return HTMLResponse(page, status, headers)


def accepts_html(accept: str) -> bool:
    """Return whether a request with this `Accept` header comes from somebody who has opened an address.

    Browsers ask so for a page, and not for an image inside a page. Programs seldom do.
    """
    return "text/html" in accept
