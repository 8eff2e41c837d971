"""The two FastAPI applications: one serves `/api`, the other serves `/auth`.

This module combines the routes of the other modules, turns errors into responses, and has the routes that
begin and end a browser session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from core import errors
from core.api.audit_routes import audit
from core.api.dependencies import CurrentStudio, RateLimitHeaders, current_studio, current_user
from core.api.docs import DocumentedAPI, docs
from core.api.edit_routes import edits
from core.api.enhancement_routes import enhancement
from core.api.events import StreamSlots
from core.api.gallery_routes import gallery, share_page
from core.api.generation_routes import generation
from core.api.upload_queue import UploadQueue
from core.studio import Studio
from core.web.cookies import SECURE_PREFIX
from core.web.error_responses import error_response
from core.web.security_headers import is_https
from core.web.urls import API

sessions = APIRouter()
log = structlog.get_logger(__name__)
_DESCRIPTION = """Generate images from prompts, and keep them in a private gallery.

Sign in with a token from your account page (`Authorization: Bearer atl_…`) or with your browser's session.
All errors have the same format. The `RateLimit-*` headers show how many requests are left this minute."""


class TicketExchange(BaseModel):
    ticket: str = Field(max_length=200)


def create_api(
    get_studio: Callable[[], Studio], *, is_stopping: Callable[[], bool] = lambda: False
) -> FastAPI:
    """Create the application that serves `/api`.

    `get_studio` returns the process's Studio (core.studio). `is_stopping` returns True once the server is
    stopping. A request that waits for images then responds with the status 202 and waits no longer.
    """
    document = {"title": "Atelier: the Images API", "description": _DESCRIPTION, "servers": [{"url": API}]}
    routers = (generation, enhancement, edits, share_page, gallery, audit, docs)
    application = _application(get_studio, *routers, **document)
    application.state.is_stopping = is_stopping
    application.state.upload_queue = UploadQueue("upload")
    application.state.stream_slots = StreamSlots()
    application.add_middleware(RateLimitHeaders)
    application.add_exception_handler(RequestValidationError, _on_invalid_api_request)
    return application


def create_auth(get_studio: Callable[[], Studio]) -> FastAPI:
    """Create the application that serves `/auth`: signing in and out.

    No other route sets or clears the session cookie. `get_studio` returns the process's Studio (core.studio).
    """
    return _application(get_studio, sessions)


def _application(get_studio: Callable[[], Studio], *routers: APIRouter, **document: Any) -> FastAPI:
    application = DocumentedAPI(
        **document,
        generate_unique_id_function=lambda route: route.name,
        root_path_in_servers=False,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    application.state.get_studio = get_studio
    routers = (*routers, _head_routes(routers))
    application.state.routes = [route for router in routers for route in router.routes]
    for kind, handler in _HANDLERS.items():
        application.add_exception_handler(kind, handler)
    for router in routers:
        application.include_router(router)
    return application


def _head_routes(routers: Iterable[APIRouter]) -> APIRouter:
    """Return a route for HEAD beside each GET route of `routers`, which the API's document leaves out.

    The server leaves out the body.
    """
    heads = APIRouter()
    for route in (route for router in routers for route in router.routes):
        if isinstance(route, APIRoute) and "GET" in (route.methods or ()):
            heads.add_api_route(
                route.path,
                route.endpoint,
                methods=["HEAD"],
                include_in_schema=False,
                response_model=route.response_model,
                response_class=route.response_class,
                route_class_override=type(route),
            )
    return heads


@sessions.post("/session", status_code=204)
def begin_session(exchange: TicketExchange, request: Request, studio: CurrentStudio) -> Response:
    browser = request.headers.get("user-agent", "")
    token = studio.sessions.redeem_ticket(exchange.ticket, browser=browser)
    # Delete the old session only after redeeming the ticket. If the browser sends the ticket twice, the
    # second request fails above and can't delete the new session.
    _delete_session(studio, request)
    response = Response(status_code=204)
    secure = is_https(request.url.scheme, studio.settings)
    response.set_cookie(
        studio.cookie.secure if secure else studio.cookie.plain,
        token,
        max_age=studio.settings.session_days * 86_400,
        httponly=True,
        samesite="lax",
        secure=secure,
    )
    return response


@sessions.post("/sign-out", status_code=204)
def end_session(request: Request, studio: CurrentStudio) -> Response:
    _delete_session(studio, request)
    # The next person at this browser must not find this user's images in its cache.
    response = Response(status_code=204, headers={"Clear-Site-Data": '"cache"'})
    for name in studio.cookie.names_to_clear(request.cookies):
        secure = name.startswith(SECURE_PREFIX)
        response.delete_cookie(name, httponly=True, samesite="lax", secure=secure)
    return response


def _delete_session(studio: Studio, request: Request) -> None:
    """Delete the database rows of the sessions that the request's cookies name.

    If the database fails, the error is only logged, so that a user can always sign out of the browser.
    """
    try:
        for name in studio.cookie.names:
            studio.sessions.sign_out(request.cookies.get(name))
    except errors.ImageError as error:
        # The response signs the browser out, but the session's row stays valid until it expires.
        log.error("session_not_deleted", code=error.code, details=error.details)


def _on_image_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, errors.ImageError):
        raise error
    _count_error(request, error)
    return error_response(error, error.status)


def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    """Return the response to an HTTPException of the framework, such as an unknown path or a wrong method.

    If the exception was caused by an ImageError, the response describes the ImageError instead.
    """
    if not isinstance(error, HTTPException):
        raise error
    if isinstance(error.__cause__, errors.ImageError):
        return _on_image_error(request, error.__cause__)
    kind = _ERRORS_BY_STATUS.get(error.status_code, errors.RequestRejected)
    response = error_response(kind(details=str(error.detail)), error.status_code)
    response.headers.update(error.headers or {})
    if error.status_code == 405:
        response.headers["Allow"] = ", ".join(_allowed_methods(request))
    return response


def _allowed_methods(request: Request) -> list[str]:
    """Return all HTTP methods that the request's path allows, sorted.

    Starlette's own `Allow` header names the methods of only one of the routes with this path.
    """
    routes = (route for route in request.app.state.routes if route.matches(request.scope)[0] != Match.NONE)
    return sorted({method for route in routes for method in getattr(route, "methods", None) or ()})


def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    """Return the response to a request that fails validation.

    The response names the invalid fields, but doesn't repeat their values.
    """
    if not isinstance(error, RequestValidationError):
        raise error
    problems = (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    message = _BODY_MESSAGES.get(error.errors()[0]["type"]) if error.errors()[0]["loc"][0] == "body" else None
    suggestions = ("Send an object in JSON, with `Content-Type: application/json`.",) if message else None
    rejection = errors.FieldsRejected(message, details="; ".join(problems), suggestions=suggestions)
    _count_error(request, rejection)
    return error_response(rejection, rejection.status)


def _on_invalid_api_request(request: Request, error: Exception) -> JSONResponse:
    """Return the response of `_on_invalid`. Authenticate the user first if the body isn't valid JSON.

    FastAPI parses the body before it runs the dependencies, so the user hasn't been authenticated yet. An
    unauthenticated client gets the authentication error instead.
    """
    if isinstance(error, RequestValidationError) and error.errors()[0]["type"] == "json_invalid":
        try:
            current_user(request, current_studio(request))
        except errors.ImageError as auth_error:
            return _on_image_error(request, auth_error)
    return _on_invalid(request, error)


def _on_unexpected_error(request: Request, error: Exception) -> JSONResponse:
    """Return the response to an exception that has no handler of its own. The server logs the traceback."""
    unexpected = errors.ImageError(details=type(error).__name__)
    _count_error(request, unexpected)
    return error_response(unexpected, 500)


def _count_error(request: Request, error: errors.ImageError) -> None:
    """Count `error` for the list of failures that administrators see.

    An image that a page loads isn't counted: the page shows that it is missing, and a preview that is gone
    has been replaced by its image. Errors of unauthenticated requests aren't counted either. Otherwise
    anybody could make the server write to the database. If counting fails, the failure is ignored.
    """
    with suppress(Exception):
        seen = request.headers.get("sec-fetch-dest") != "image"
        if seen and getattr(request.state, "authenticated", False):
            current_studio(request).error_counts.count(error)


_ERRORS_BY_STATUS: dict[int, type[errors.ImageError]] = {
    404: errors.PageNotFound,
    405: errors.MethodRejected,
    413: errors.BodyTooLarge,
    415: errors.ContentTypeRejected,
    422: errors.FieldsRejected,
}
# Messages for a rejected body, by pydantic's type of the error.
_BODY_MESSAGES = {
    "json_invalid": "The body isn't valid JSON.",
    "model_attributes_type": "The body isn't JSON.",
}
_HANDLERS: dict[type[Exception], Callable[[Request, Exception], JSONResponse]] = {
    errors.ImageError: _on_image_error,
    HTTPException: _on_http_error,
    RequestValidationError: _on_invalid,
    Exception: _on_unexpected_error,
}
