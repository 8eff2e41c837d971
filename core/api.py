"""The HTTP side: a browser's session, and the bytes of a person's own images."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Annotated
from urllib.parse import quote

import structlog
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from core import errors
from core.accounts import SignedIn
from core.studio import Studio

COOKIE = "atelier"
# The name makes browsers refuse the cookie unless it is Secure, of this host alone, and for all paths.
SECURE_COOKIE = "__Host-atelier"
CACHE = "private, max-age=31536000, immutable"
log = structlog.get_logger(__name__)


class TicketExchange(BaseModel):
    ticket: str = Field(max_length=200)


def session_token(cookies: dict[str, str]) -> str | None:
    """The session's token among a browser's cookies."""
    return cookies.get(SECURE_COOKIE) or cookies.get(COOKIE)


def _studio(request: Request) -> Studio:
    studio: Studio = request.app.state.get_studio()
    return studio


CurrentStudio = Annotated[Studio, Depends(_studio)]


def _user(request: Request, studio: CurrentStudio) -> SignedIn:
    found = studio.accounts.signed_in(session_token(request.cookies))
    if found is None:
        raise errors.ImageAuthError
    return found


CurrentUser = Annotated[SignedIn, Depends(_user)]
images = APIRouter(prefix="/images")
sessions = APIRouter()


def create_api(get_studio: Callable[[], Studio]) -> FastAPI:
    """What is served below `/api`."""
    return _application(get_studio, images)


def create_auth(get_studio: Callable[[], Studio]) -> FastAPI:
    """What is served below `/auth`: these routes alone set and clear the session's cookie."""
    return _application(get_studio, sessions)


def _application(get_studio: Callable[[], Studio], router: APIRouter) -> FastAPI:
    application = FastAPI(title="Atelier", docs_url=None, redoc_url=None, openapi_url=None)
    application.state.get_studio = get_studio
    for kind, handler in _HANDLERS.items():
        application.add_exception_handler(kind, handler)
    application.include_router(router)
    return application


@images.get("/{image_id}")
def get_image(image_id: str, request: Request, studio: CurrentStudio, user: CurrentUser) -> Response:
    image = studio.gallery.get(user.user_id, image_id)
    if _is_known(request, image.sha256):
        return _unchanged(image.sha256)
    return _picture(studio.gallery.original(user.user_id, image_id), image.mime, image.sha256)


@images.get("/{image_id}/thumbnail")
def get_thumbnail(image_id: str, request: Request, studio: CurrentStudio, user: CurrentUser) -> Response:
    etag = f"t-{studio.gallery.get(user.user_id, image_id).sha256}"
    if _is_known(request, etag):
        return _unchanged(etag)
    return _picture(studio.gallery.thumbnail(user.user_id, image_id), "image/webp", etag)


@images.get("/{image_id}/download")
def download(image_id: str, studio: CurrentStudio, user: CurrentUser, prompt: bool = False) -> Response:
    file = studio.gallery.download(user.user_id, image_id, with_prompt=prompt)
    name = f"attachment; filename*=UTF-8''{quote(file.file_name)}"
    headers = _SAFE | {"Content-Disposition": name, "Cache-Control": "private, no-store"}
    return Response(file.data, media_type=file.mime, headers=headers)


@images.get("/jobs/{job_id}/partials/{number}")
def get_partial(job_id: str, number: int, studio: CurrentStudio, user: CurrentUser) -> Response:
    data = studio.jobs.partial(user.user_id, job_id, number)
    return _picture(data, _sniffed(data), f"p-{job_id}-{number}")


@sessions.post("/session", status_code=204)
def begin_session(exchange: TicketExchange, request: Request, studio: CurrentStudio) -> Response:
    browser = request.headers.get("user-agent", "")
    token = studio.accounts.redeem_ticket(exchange.ticket, browser=browser)
    # Not before: the same ticket sent twice must leave the session that it has just begun.
    _end_row(studio, request)
    response = Response(status_code=204)
    secure = studio.settings.public_https or request.url.scheme == "https"
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
    """Delete the session's row; a browser must be able to leave also while the database takes no writes."""
    try:
        studio.accounts.sign_out(session_token(request.cookies))
    except errors.ImageError as error:
        log.error(
            "a browser was signed out, but its session's row is still there and stands until it expires",
            code=error.code,
            details=error.details,
        )


_SAFE = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}


def _picture(data: bytes, mime: str, etag: str) -> Response:
    headers = _SAFE | {"ETag": f'"{etag}"', "Cache-Control": CACHE, "Vary": "Cookie"}
    return Response(data, media_type=mime, headers=headers)


def _unchanged(etag: str) -> Response:
    return Response(status_code=304, headers={"ETag": f'"{etag}"', "Cache-Control": CACHE, "Vary": "Cookie"})


def _is_known(request: Request, etag: str) -> bool:
    known = request.headers.get("if-none-match", "")
    return any(tag.strip().removeprefix("W/") == f'"{etag}"' for tag in known.split(","))


def _sniffed(data: bytes) -> str:
    """The type of a partial picture, which nothing has verified yet, by its first bytes."""
    if data.startswith(b"\x89PNG"):
        return "image/png"
    return "image/webp" if data[8:12] == b"WEBP" else "image/jpeg"


def _on_image_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, errors.ImageError):
        raise error
    _count(request, error)
    return failure(error, error.status)


def _on_http_error(_request: Request, error: Exception) -> JSONResponse:
    """The framework's own refusals: an unknown address, a wrong method."""
    if not isinstance(error, HTTPException):
        raise error
    kind = _REFUSALS.get(error.status_code, errors.RequestRejected)
    answer = failure(kind(details=str(error.detail)), error.status_code)
    answer.headers.update(error.headers or {})
    return answer


def _on_invalid(_request: Request, error: Exception) -> JSONResponse:
    """A request that doesn't fit its model; its values are not repeated."""
    if not isinstance(error, RequestValidationError):
        raise error
    wrong = (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    return failure(errors.FieldsRejected(details="; ".join(wrong)), 422)


def _on_fault(request: Request, error: Exception) -> JSONResponse:
    """A fault of ours; the server logs it."""
    fault = errors.ImageError(details=type(error).__name__)
    _count(request, fault)
    return failure(fault, 500)


def _count(request: Request, error: errors.ImageError) -> None:
    """Count a failure for the administrator.

    What anybody can bring about without signing in is left out: it would let them write to the database.
    """
    outside = isinstance(error, errors.RequestRejected) or type(error) is errors.ImageAuthError
    with suppress(Exception):
        if not outside:
            _studio(request).failures.count(error)


_REFUSALS: dict[int, type[errors.ImageError]] = {
    404: errors.PageNotFound,
    405: errors.MethodRejected,
    413: errors.BodyTooLarge,
    415: errors.TypeRejected,
    422: errors.FieldsRejected,
}
_HANDLERS: dict[type[Exception], Callable[[Request, Exception], JSONResponse]] = {
    errors.ImageError: _on_image_error,
    HTTPException: _on_http_error,
    RequestValidationError: _on_invalid,
    Exception: _on_fault,
}


def failure(error: errors.ImageError, status: int) -> JSONResponse:
    """The one shape of every failure."""
    body = {
        "code": error.code,
        "message": error.message,
        "details": error.details,
        "suggestions": list(error.suggestions),
        "retryable": error.retryable,
        "request_id": error.request_id,
    }
    return JSONResponse({"error": body}, status_code=status, headers={"Cache-Control": "no-store"})
