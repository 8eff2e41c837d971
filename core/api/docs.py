"""The routes of the API's documentation: the OpenAPI document, and a page that shows it with Swagger UI.

Only signed-in users can open them. The page loads nothing from other servers.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response

from core import errors
from core.api.dependencies import CurrentStudio, Reader
from core.api.documented_errors import error_schemas
from core.web.cookies import LEGACY_COOKIE

docs = APIRouter(include_in_schema=False)
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
_START = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#docs", deepLinking: true, validatorUrl: null});\n'
_ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}


class DocumentedAPI(FastAPI):
    """A FastAPI application whose OpenAPI document also describes error responses and authentication."""

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        document["components"]["schemas"] |= error_schemas()
        document["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "A token from your account page"},
            "session": {
                "type": "apiKey",
                "in": "cookie",
                "name": LEGACY_COOKIE,
                "description": "Your browser's session",
            },
        }
        document["security"] = [{"token": []}, {"session": []}]
        return document


@docs.get("/openapi.json")
def openapi(request: Request, studio: CurrentStudio, user: Reader) -> JSONResponse:
    """Respond with the document, which names the installation's own cookie and the path below which it is."""
    document = request.app.openapi()
    cookie = studio.cookie.secure if studio.settings.public_https else studio.cookie.plain
    document["components"]["securitySchemes"]["session"]["name"] = cookie
    document["servers"] = [{"url": studio.urls.api}]
    return JSONResponse(document, headers=_HEADERS)


@docs.get("/docs")
def page(user: Reader) -> Response:
    return Response(_PAGE, media_type="text/html", headers=_HEADERS)


@docs.get("/docs/{name}")
def asset(name: str, user: Reader) -> Response:
    if name == "start.js":
        return Response(_START, media_type="text/javascript", headers=_HEADERS)
    if name not in _ASSETS:
        raise errors.PageNotFound
    # The package `fastapi_swagger` is used only for its copies of Swagger UI's files. None of its code runs.
    data = (files("fastapi_swagger") / "resources" / name).read_bytes()
    return Response(
        data, media_type=_ASSETS[name], headers=_HEADERS | {"Cache-Control": "private, max-age=86400"}
    )
