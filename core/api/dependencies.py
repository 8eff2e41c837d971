"""FastAPI dependencies: values that the routes receive, and checks that run before the routes.

They provide the process's Studio (core.studio) and the signed-in user. They check API tokens, scopes and rate
limits.
"""

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

log = structlog.get_logger(__name__)


def current_studio(request: Request) -> Studio:
    studio: Studio = request.app.state.get_studio()
    return studio


CurrentStudio = Annotated[Studio, Depends(current_studio)]


def current_user(request: Request, studio: CurrentStudio) -> SignedIn:
    """Return the user whose API token or session cookie the request has. A token takes precedence.

    The token is in the `Authorization: Bearer` header. Raises TokenRejected if the token is invalid, whether
    or not the request also has a valid cookie. Raises ImageAuthError if the request has neither a token nor a
    valid cookie.
    """
    scheme, *token = request.headers.get("authorization", "").split(None, 1) or [""]
    if scheme.casefold() == "bearer":
        user = _token_user(studio, "".join(token).strip())
    elif (session_user := studio.sessions.authenticate(studio.cookie.token(request.cookies))) is not None:
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
    """Return the user of a request that reads data. Count the request against the user's rate limits.

    Raises ScopeMissing if the request's API token lacks the scope `read`. Raises RequestRateExceeded if the
    user or the token has sent too many requests. If the count can't be stored, the request is allowed.
    """
    user.require(Scope.READ)
    try:
        _count_request(request, studio, user, RateKind.READ)
    except (errors.StorageError, errors.DatabaseError) as error:
        # Allow the request, so that users can see their images while the disk is full.
        log.warning("request_not_counted", code=error.code, details=error.details)
    return user


def image_viewer(request: Request, studio: CurrentStudio, user: CurrentUser) -> SignedIn:
    """Return the user of a request for an image file.

    A request with an API token is checked and counted as by `reader`. A request with a session cookie isn't
    counted, because one page loads many images.
    """
    return reader(request, studio, user) if user.token_id else user


def spender(request: Request, studio: CurrentStudio, user: CurrentUser) -> SignedIn:
    """Return the user of a request that buys or changes images. Count the request against the rate limits.

    Raises ScopeMissing if the request's API token lacks the scope `generate`. Raises RequestRateExceeded if
    the user or the token has sent too many requests.
    """
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
    """Return the id of the user whose images this request may see.

    `share` is the secret from a share link. If it is valid for this image, the user is the image's owner, and
    nobody needs to be signed in. Otherwise the user is the signed-in user. If nobody is signed in, raises
    ImageNotFound if `share` is given, and ImageAuthError if it isn't.
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
    """Count the request against the rate limits for requests of `kind`.

    Stores the status of the limits in `request.state.limit_status`, from which RateLimitHeaders reads it.
    Raises RequestRateExceeded if no requests are left.
    """
    status = studio.rate_limits.acquire(kind, _rate_limits(studio, user, kind))
    request.state.limit_status = status
    if status.exceeded:
        raise errors.RequestRateExceeded(retry_after=status.reset)


def _rate_limits(studio: Studio, user: SignedIn, kind: RateKind) -> list[Limit]:
    """Return the user's rate limit for requests of `kind`. Add the limit of the API token if there is one."""
    settings, reading = studio.settings, kind == RateKind.READ
    per_user = settings.user_reads_per_minute if reading else settings.user_paid_per_minute
    per_token = settings.token_reads_per_minute if reading else settings.token_paid_per_minute
    limits = [Limit(f"user:{user.user_id}", per_user)]
    return [*limits, Limit(f"token:{user.token_id}", per_token)] if user.token_id else limits


class RateLimitHeaders:
    """ASGI middleware that adds `RateLimit-*` headers to the response of each rate-limited request.

    The headers say how many requests are left in the current minute.
    """

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
