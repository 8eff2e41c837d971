"""FastAPI dependencies: the studio, the authenticated user, their scopes and their rate limits."""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import Depends, Query, Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as ASGIScope

from core import errors
from core.accounts.identity import SignedIn
from core.database.models import Scope
from core.studio import Studio
from core.usage.rate_limits import Limit, LimitStatus, RateKind
from core.web.cookies import session_token

log = structlog.get_logger(__name__)


def current_studio(request: Request) -> Studio:
    studio: Studio = request.app.state.get_studio()
    return studio


CurrentStudio = Annotated[Studio, Depends(current_studio)]


def current_user(request: Request, studio: CurrentStudio) -> SignedIn:
    """The user of the bearer token or, without one, of the session cookie.

    Raises ImageAuthError without either. A wrong token raises TokenRejected, even beside a valid cookie.
    """
    scheme, *token = request.headers.get("authorization", "").split(None, 1) or [""]
    if scheme.casefold() == "bearer":
        user = _token_user(studio, "".join(token).strip())
    elif (session_user := studio.sessions.authenticate(session_token(request.cookies))) is not None:
        user = session_user
    else:
        raise errors.ImageAuthError
    request.state.authenticated = True
    return user


def _token_user(studio: Studio, token: str) -> SignedIn:
    user = studio.api_tokens.authenticate(token)
    if user is None:
        raise errors.TokenRejected
    return user


CurrentUser = Annotated[SignedIn, Depends(current_user)]


def reader(request: Request, studio: CurrentStudio, user: CurrentUser) -> SignedIn:
    """A user with the scope `read`; counts the request."""
    user.require(Scope.READ)
    try:
        _count_request(request, studio, user, RateKind.READ)
    except (errors.StorageError, errors.DatabaseError) as error:
        # Users can still see their images when the disk is full.
        log.warning("request_not_counted", code=error.code, details=error.details)
    return user


def image_viewer(request: Request, studio: CurrentStudio, user: CurrentUser) -> SignedIn:
    """A reader of image files. Requests with a session cookie aren't counted: one page loads many images."""
    return reader(request, studio, user) if user.token_id else user


def spender(request: Request, studio: CurrentStudio, user: CurrentUser) -> SignedIn:
    """A user with the scope `generate`, who may buy and change; counts the request."""
    user.require(Scope.GENERATE)
    _count_request(request, studio, user, RateKind.PAID)
    return user


def visible_image_owner(
    image_id: str,
    request: Request,
    studio: CurrentStudio,
    share: Annotated[
        str | None,
        Query(max_length=200, description="From a link that shares this image; needs no sign-in"),
    ] = None,
) -> str:
    """The id of the owner whose image may be shown: with a share link its owner, otherwise the user.

    Raises ImageNotFound for a link that doesn't show this image, unless the user is signed in.
    """
    if share is not None and (shared_image := studio.share_links.shared_image(share, image_id)):
        request.state.by_share_link = True
        return shared_image.owner_id
    try:
        return image_viewer(request, studio, current_user(request, studio)).user_id
    except errors.ImageAuthError as error:
        if share is None or isinstance(error, errors.TokenRejected | errors.ScopeMissing):
            raise
        raise errors.ImageNotFound from error


VisibleImageOwner = Annotated[str, Depends(visible_image_owner)]
Reader = Annotated[SignedIn, Depends(reader)]
ImageViewer = Annotated[SignedIn, Depends(image_viewer)]
Spender = Annotated[SignedIn, Depends(spender)]


def _count_request(request: Request, studio: Studio, user: SignedIn, kind: RateKind) -> None:
    """Count a request, and store its limit status for RateLimitHeaders. Raises RequestRateExceeded."""
    status = studio.rate_limits.acquire(kind, _rate_limits(studio, user, kind))
    request.state.limit_status = status
    if status.exceeded:
        raise errors.RequestRateExceeded(retry_after=status.reset)


def _rate_limits(studio: Studio, user: SignedIn, kind: RateKind) -> list[Limit]:
    """The user's limit, followed by the API token's if the request has one."""
    settings, reading = studio.settings, kind == RateKind.READ
    per_user = settings.user_reads_per_minute if reading else settings.user_paid_per_minute
    per_token = settings.token_reads_per_minute if reading else settings.token_paid_per_minute
    limits = [Limit(f"user:{user.user_id}", per_user)]
    return [*limits, Limit(f"token:{user.token_id}", per_token)] if user.token_id else limits


class RateLimitHeaders:
    """ASGI middleware that adds the `RateLimit-*` headers to the response of each counted request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        state = scope.setdefault("state", {})

        async def send_with_headers(message: Message) -> None:
            status: LimitStatus | None = state.get("limit_status")
            if message["type"] == "http.response.start" and status:
                MutableHeaders(scope=message).update(status.headers())
            await send(message)

        await self._app(scope, receive, send_with_headers)
