"""What is served below `/api` and `/auth`, the shape of its refusals, and a browser's session."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from core import errors
from core.api.audit_routes import audit
from core.api.dependencies import CurrentStudio, RateHeaders, studio_of, user_of
from core.api.docs import Described, manual
from core.api.edit_routes import edits
from core.api.enhancement_routes import enhancement
from core.api.events import Places
from core.api.gallery_routes import gallery
from core.api.generation_routes import generation
from core.api.upload_queue import Turns
from core.studio import Studio
from core.web.cookies import COOKIE, SECURE_COOKIE
from core.web.error_responses import error_response
from core.web.security_headers import is_https

sessions = APIRouter()
log = structlog.get_logger(__name__)
_ABOUT = """Images made from words, and kept for you alone.

Sign in with a token from your account page (`Authorization: Bearer atl_…`) or with your browser's session.
Every failure has the same shape. The `RateLimit-*` headers say what is left of this minute."""


class TicketExchange(BaseModel):
    ticket: str = Field(max_length=200)


def create_api(get_studio: Callable[[], Studio], *, stopping: Callable[[], bool] = lambda: False) -> FastAPI:
    """What is served below `/api`; whoever waits there is answered once the server is `stopping`."""
    document = {"title": "Atelier: the Images API", "description": _ABOUT, "servers": [{"url": "/api"}]}
    application = _application(get_studio, generation, enhancement, edits, gallery, audit, manual, **document)
    application.state.stopping = stopping
    application.state.upload_turns = Turns("upload")
    application.state.places = Places()
    application.add_middleware(RateHeaders)
    application.add_exception_handler(RequestValidationError, _on_invalid_of_anybody)
    return application


def create_auth(get_studio: Callable[[], Studio]) -> FastAPI:
    """What is served below `/auth`: these routes alone set and clear the session's cookie."""
    return _application(get_studio, sessions)


def _application(get_studio: Callable[[], Studio], *routers: APIRouter, **document: Any) -> FastAPI:
    application = Described(
        **document,
        root_path_in_servers=False,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    application.state.get_studio = get_studio
    application.state.routes = [route for router in routers for route in router.routes]
    for kind, handler in _HANDLERS.items():
        application.add_exception_handler(kind, handler)
    for router in routers:
        application.include_router(router)
    return application


@sessions.post("/session", status_code=204)
def begin_session(exchange: TicketExchange, request: Request, studio: CurrentStudio) -> Response:
    browser = request.headers.get("user-agent", "")
    token = studio.sessions.redeem_ticket(exchange.ticket, browser=browser)
    # Not before: the same ticket sent twice must leave the session that it has just begun.
    _end_row(studio, request)
    response = Response(status_code=204)
    secure = is_https(request.url.scheme, studio.settings)
    response.set_cookie(
        SECURE_COOKIE if secure else COOKIE,
        token,
        max_age=studio.settings.session_days * 86_400,
        httponly=True,
        samesite="lax",
        secure=secure,
    )
    return response


@sessions.post("/sign-out", status_code=204)
def end_session(request: Request, studio: CurrentStudio) -> Response:
    _end_row(studio, request)
    # The next person at this browser must not find the last one's pictures in its cache.
    response = Response(status_code=204, headers={"Clear-Site-Data": '"cache"'})
    for name in (COOKIE, SECURE_COOKIE):
        response.delete_cookie(name, httponly=True, samesite="lax", secure=name == SECURE_COOKIE)
    return response


def _end_row(studio: Studio, request: Request) -> None:
    """Delete the session's row, whichever cookie names it.

    A browser must be able to leave also while the database takes no writes.
    """
    try:
        for name in (COOKIE, SECURE_COOKIE):
            studio.sessions.sign_out(request.cookies.get(name))
    except errors.ImageError as error:
        log.error(
            "a browser was signed out, but its session's row is still there and stands until it expires",
            code=error.code,
            details=error.details,
        )


def _on_image_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, errors.ImageError):
        raise error
    _count(request, error)
    return error_response(error, error.status)


def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    """The framework's own refusals: an unknown address, a wrong method, a body that can't be read."""
    if not isinstance(error, HTTPException):
        raise error
    if isinstance(error.__cause__, errors.ImageError):
        return _on_image_error(request, error.__cause__)
    kind = _REFUSALS.get(error.status_code, errors.RequestRejected)
    answer = error_response(kind(details=str(error.detail)), error.status_code)
    answer.headers.update(error.headers or {})
    if error.status_code == 405:
        answer.headers["Allow"] = ", ".join(_methods(request))
    return answer


def _methods(request: Request) -> list[str]:
    """All methods of an address: the framework names those of the first of its routes alone."""
    routes = (route for route in request.app.state.routes if route.matches(request.scope)[0] != Match.NONE)
    return sorted({method for route in routes for method in getattr(route, "methods", None) or ()})


def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    """A request that doesn't fit its model; its values are not repeated."""
    if not isinstance(error, RequestValidationError):
        raise error
    wrong = (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    message = _BODY_WORDS.get(error.errors()[0]["type"]) if error.errors()[0]["loc"][0] == "body" else None
    tips = ("Send an object in JSON, with `Content-Type: application/json`.",) if message else None
    refusal = errors.FieldsRejected(message, details="; ".join(wrong), suggestions=tips)
    _count(request, refusal)
    return error_response(refusal, refusal.status)


def _on_invalid_of_anybody(request: Request, error: Exception) -> JSONResponse:
    """As `_on_invalid`; what isn't even JSON has been read before anybody was asked who they are."""
    if isinstance(error, RequestValidationError) and error.errors()[0]["type"] == "json_invalid":
        try:
            user_of(request, studio_of(request))
        except errors.ImageError as unknown:
            return _on_image_error(request, unknown)
    return _on_invalid(request, error)


def _on_fault(request: Request, error: Exception) -> JSONResponse:
    """A fault of ours; the server logs it."""
    fault = errors.ImageError(details=type(error).__name__)
    _count(request, fault)
    return error_response(fault, 500)


def _count(request: Request, error: errors.ImageError) -> None:
    """Count a failure for the administrator.

    What anybody can bring about without signing in is left out: it would let them write to the database.
    """
    with suppress(Exception):
        if getattr(request.state, "known", False):
            studio_of(request).error_counts.count(error)


_REFUSALS: dict[int, type[errors.ImageError]] = {
    404: errors.PageNotFound,
    405: errors.MethodRejected,
    413: errors.BodyTooLarge,
    415: errors.ContentTypeRejected,
    422: errors.FieldsRejected,
}
# By pydantic's names of what is wrong.
_BODY_WORDS = {"json_invalid": "The body isn't valid JSON.", "model_attributes_type": "The body isn't JSON."}
_HANDLERS: dict[type[Exception], Callable[[Request, Exception], JSONResponse]] = {
    errors.ImageError: _on_image_error,
    HTTPException: _on_http_error,
    RequestValidationError: _on_invalid,
    Exception: _on_fault,
}
