"""Who a request of the API comes from, what it may do, and how many more like it may come this minute."""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import Depends, Query, Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core import errors
from core.accounts.identity import SignedIn
from core.database.models import Scope as Allowed
from core.studio import Studio
from core.usage.rate_limits import Limit, LimitStatus, RateKind
from core.web.cookies import session_token

log = structlog.get_logger(__name__)


def studio_of(request: Request) -> Studio:
    studio: Studio = request.app.state.get_studio()
    return studio


CurrentStudio = Annotated[Studio, Depends(studio_of)]


def user_of(request: Request, studio: CurrentStudio) -> SignedIn:
    """Whoever the token or else the cookie stands for.

    Raises ImageAuthError without either, and TokenRejected for a wrong token whatever else is there.
    """
    scheme, *token = request.headers.get("authorization", "").split(None, 1) or [""]
    if scheme.casefold() == "bearer":
        found = _by_token(studio, "".join(token).strip())
    elif (by_cookie := studio.sessions.authenticate(session_token(request.cookies))) is not None:
        found = by_cookie
    else:
        raise errors.ImageAuthError
    request.state.known = True
    return found


def _by_token(studio: Studio, token: str) -> SignedIn:
    found = studio.api_tokens.authenticate(token)
    if found is None:
        raise errors.TokenRejected
    return found


def reader(request: Request, studio: CurrentStudio, user: Annotated[SignedIn, Depends(user_of)]) -> SignedIn:
    """Somebody who may look."""
    user.require(Allowed.READ)
    try:
        _count(request, studio, user, RateKind.READ)
    except (errors.StorageError, errors.DatabaseError) as fault:
        # A full disk keeps nobody from their pictures.
        log.warning("a request could not be counted", code=fault.code, details=fault.details)
    return user


def viewer(request: Request, studio: CurrentStudio, user: Annotated[SignedIn, Depends(user_of)]) -> SignedIn:
    """Somebody who may look at pictures: a page shows many at once, and a browser's aren't counted."""
    return reader(request, studio, user) if user.token_id else user


def spender(request: Request, studio: CurrentStudio, user: Annotated[SignedIn, Depends(user_of)]) -> SignedIn:
    """Somebody who may buy and change."""
    user.require(Allowed.GENERATE)
    _count(request, studio, user, RateKind.PAID)
    return user


def owner_of_shown(
    image_id: str,
    request: Request,
    studio: CurrentStudio,
    share: Annotated[
        str | None,
        Query(max_length=200, description="From a link that shares this image; needs no sign-in"),
    ] = None,
) -> str:
    """Whose image it is that may be shown: to the holder of a link to it, else to somebody signed in.

    Raises ImageNotFound for a link that shows nothing, unless its holder is signed in.
    """
    if share is not None and (shown := studio.share_links.shared_image(share, image_id)):
        request.state.shared = True
        return shown.owner_id
    try:
        return viewer(request, studio, user_of(request, studio)).user_id
    except errors.ImageAuthError as error:
        if share is None or isinstance(error, errors.TokenRejected | errors.ScopeMissing):
            raise
        raise errors.ImageNotFound from error


OwnerOfShown = Annotated[str, Depends(owner_of_shown)]
Reader = Annotated[SignedIn, Depends(reader)]
Viewer = Annotated[SignedIn, Depends(viewer)]
Spender = Annotated[SignedIn, Depends(spender)]


def _count(request: Request, studio: Studio, user: SignedIn, kind: RateKind) -> None:
    """Count a request, and note for RateHeaders what is left. Raises RequestRateExceeded."""
    window = studio.rate_limits.acquire(kind, limits(studio, user, kind))
    request.state.window = window
    if window.exceeded:
        raise errors.RequestRateExceeded(retry_after=window.reset)


def limits(studio: Studio, user: SignedIn, kind: RateKind) -> list[Limit]:
    """The user's own, and that of the token where one is used."""
    settings, reading = studio.settings, kind == RateKind.READ
    mine = settings.user_reads_per_minute if reading else settings.user_paid_per_minute
    tokens = settings.token_reads_per_minute if reading else settings.token_paid_per_minute
    found = [Limit(f"user:{user.user_id}", mine)]
    return [*found, Limit(f"token:{user.token_id}", tokens)] if user.token_id else found


class RateHeaders:
    """ASGI middleware that says in the answer to each counted request how much of the limit is left."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope.setdefault("state", {})

        async def told(message: Message) -> None:
            window: LimitStatus | None = state.get("window")
            if message["type"] == "http.response.start" and window:
                MutableHeaders(scope=message).update(window.headers())
            await send(message)

        await self._app(scope, receive, told)
