"""The API's documentation, for whoever is signed in: its page and all that belongs to it come from here."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response

from core import errors
from core.api.dependencies import Reader
from core.api.schemas import failure_schemas
from core.web.cookies import COOKIE

manual = APIRouter(include_in_schema=False)
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Cache-Control": "private, no-cache",
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Atelier: the API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="docs"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = (
    'SwaggerUIBundle({url: "/api/openapi.json", dom_id: "#docs", deepLinking: true, validatorUrl: null});\n'
)
_ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}


class Described(FastAPI):
    """An application whose document tells also of failures and of the ways to sign in."""

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        document["components"]["schemas"] |= failure_schemas()
        document["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "A token from your account page"},
            "session": {
                "type": "apiKey",
                "in": "cookie",
                "name": COOKIE,
                "description": "Your browser's session",
            },
        }
        document["security"] = [{"token": []}, {"session": []}]
        return document


@manual.get("/openapi.json")
def openapi(request: Request, user: Reader) -> JSONResponse:
    return JSONResponse(request.app.openapi(), headers=_HEADERS)


@manual.get("/docs")
def page(user: Reader) -> Response:
    return Response(_PAGE, media_type="text/html", headers=_HEADERS)


@manual.get("/docs/{name}")
def asset(name: str, user: Reader) -> Response:
    if name == "start.js":
        return Response(_START, media_type="text/javascript", headers=_HEADERS)
    if name not in _ASSETS:
        raise errors.PageNotFound
    # Swagger UI as the package carries it; nothing of the package itself is run.
    data = (files("fastapi_swagger") / "resources" / name).read_bytes()
    return Response(
        data, media_type=_ASSETS[name], headers=_HEADERS | {"Cache-Control": "private, max-age=86400"}
    )
