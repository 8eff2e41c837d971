"""The routes of the Images API: each reads a request, calls the studio, and says what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from hashlib import sha256
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from core import errors, events
from core.accounts import SignedIn
from core.addresses import IMAGES, job_url, with_query
from core.api_models import (
    Accepted,
    ChangeRequest,
    EnhancedPrompt,
    EnhanceRequest,
    Generated,
    GenerateRequest,
    IdempotencyKey,
    ImageList,
    JobStatus,
    Metadata,
    Prefer,
    failures,
)
from core.batches import Batch
from core.entry import CurrentStudio, OwnerOfShown, Reader, Spender, Viewer, user_of
from core.gallery import MAX_PAGE_SIZE, PAGE_SIZE, Filters
from core.kept import KeptRequest
from core.models import Scope
from core.pictures import SAFE, picture, sniffed
from core.recipe import Recipe
from core.studio import Studio

images = APIRouter(prefix="/images", tags=["Images"])
# How long a request waits for another one that answers the same key.
KEY_PAUSE, KEY_TRIES = 0.5, 60
# How soon it is noticed that nobody waits for a text, or for their turn, any more.
LOOK_UP = 0.5
CHOICE = (
    errors.PromptEmpty,
    errors.PromptTooLong,
    errors.PromptFlagged,
    errors.WordsRejected,
    errors.InvalidParameter,
    errors.ModelRetired,
    errors.ModelUnavailable,
    errors.BudgetSpent,
    errors.KeyReused,
)
SERVICE = (
    errors.RateLimited,
    errors.QuotaSpent,
    errors.BillingLimitReached,
    errors.PromptBlocked,
    errors.RequestTooLarge,
    errors.KeyRejected,
    errors.ServiceAccessDenied,
    errors.ServiceFailed,
    errors.ServiceBusy,
    errors.ServiceUnreachable,
    errors.OutcomeUnknown,
)
ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {
        "model": Accepted,
        "description": "The images are being made: ask at the address in `Location`",
        "headers": {"Location": {"schema": {"type": "string"}}},
    }
}
_PICTURE_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The bytes", "content": {"image/*": {}}},
    206: {"description": "The requested range", "content": {"image/*": {}}},
    304: {"description": "Unchanged since the version in `If-None-Match`"},
}


@images.post(
    "/generate",
    status_code=201,
    response_model=Generated,
    summary="Make images",
    responses=failures(*CHOICE, *SERVICE, errors.BadAnswer, errors.BadImage, errors.JobCancelled) | ACCEPTED,
)
async def generate(
    asked: GenerateRequest,
    request: Request,
    studio: CurrentStudio,
    user: Spender,
    prefer: Prefer = None,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Waits until all images have ended, and answers with those that came; `errors` says why others didn't.

    With `Prefer: respond-async` it answers 202 at once. It also does so where twenty requests of yours are
    waiting already, after four minutes, and when the server is stopped or its database is lost in the
    meantime: the images are still made.

    If the client disconnects, images not yet started are cancelled, unless an `Idempotency-Key` says that the
    same request may come again: then they are still made. Images already started are always finished and
    kept.

    A request whose outcome is unknown (504) may have been charged; it is never sent again automatically.
    """
    kept = kept_request(user, idempotency_key, "generate", asked.model_dump())
    recipe = asked.recipe(studio.settings.default_image_model)
    return await ordered(request, studio, user, recipe, asked.n, kept=kept, prefer=prefer)


async def ordered(
    request: Request,
    studio: Studio,
    user: SignedIn,
    recipe: Recipe,
    count: int,
    *,
    kept: KeptRequest | None,
    prefer: str | None,
    earlier: str | None = None,
    screened: bool = False,
) -> Any:
    """Submit what was asked for, or take up the `earlier` batch that it was submitted as.

    It answers with what came of it, or with where to ask for that. `screened` is as in `Studio.order`.
    """
    submit = partial(studio.order, user, recipe, count, kept=kept, screened=screened)
    batch_id = await run_in_threadpool(submit) if earlier is None else earlier
    if _wants_async(prefer):
        return _accepted(batch_id, {"Preference-Applied": "respond-async"})
    with _places(request).taken(user.user_id) as place:
        if not place:
            return _accepted(batch_id)
        try:
            batch = await events.ended(request, partial(studio.batches.find, user.user_id, batch_id))
        except (errors.DatabaseError, errors.StorageError):
            # It is submitted: without its address it would be asked for again, and bought again.
            return _accepted(batch_id)
    # Whoever has waited may not be let in any more.
    await run_in_threadpool(user_of, request, studio)
    if not batch.is_live:
        return _result(batch)
    if kept is None and await request.is_disconnected():
        await run_in_threadpool(studio.jobs.cancel_waiting, user.user_id, batch_id)
    return _accepted(batch_id)


def _places(request: Request) -> events.Places:
    places: events.Places = request.app.state.places
    return places


def _wants_async(prefer: str | None) -> bool:
    return "respond-async" in {wish.strip().casefold() for wish in (prefer or "").split(",")}


def _accepted(batch_id: str, more: dict[str, str] | None = None) -> JSONResponse:
    headers = {"Location": job_url(batch_id), "Cache-Control": "no-store"} | (more or {})
    return JSONResponse(Accepted.of(batch_id).model_dump(), 202, headers)


def _result(batch: Batch) -> Generated:
    """Raises the first failure where no image has come."""
    if not batch.images:
        raise batch.failures[0].to_error()
    return Generated.of(batch)


def kept_request(user: SignedIn, key: str | None, path: str, asked: dict[str, Any]) -> KeptRequest | None:
    return KeptRequest.of(user.user_id, key, path, asked) if key else None


@images.post(
    "/enhance-prompt",
    response_model=EnhancedPrompt,
    summary="Enhance a prompt",
    responses=failures(
        *CHOICE,
        *SERVICE,
        errors.ImagePromptError,
        errors.EnhancementRefused,
        errors.EnhancementCut,
        errors.EnhancementCancelled,
        errors.KeyBusy,
    )
    | {200: {"content": {events.MEDIA_TYPE: {"schema": events.SCHEMA}}}},
)
async def enhance_prompt(
    asked: EnhanceRequest,
    request: Request,
    studio: CurrentStudio,
    user: Spender,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """The same description within a day is answered with the same text, and costs nothing.

    With `Accept: text/event-stream` the text is streamed: `delta` events as it arrives, then `done` with the
    finished prompt, which may be tidier than its pieces, or `error`.
    """
    kept = kept_request(user, idempotency_key, "enhance-prompt", asked.model_dump())
    pieces: asyncio.Queue[str | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def tell(piece: str | None) -> None:
        loop.call_soon_threadsafe(pieces.put_nowait, piece)

    begin = partial(studio.write, user, asked.request(), tell, kept=kept)
    with _places(request).taken(user.user_id) as place:
        text = await _begun(begin, tries=KEY_TRIES if place else 0)
    text.add_done_callback(lambda _ended: tell(None))
    if events.MEDIA_TYPE not in request.headers.get("accept", ""):
        await heard(request, pieces, text, kept, until_end=True)
        await run_in_threadpool(user_of, request, studio)
        return EnhancedPrompt(enhanced_prompt=written(text))
    still = partial(run_in_threadpool, user_of, request, studio)
    first = await heard(request, pieces, text, kept)
    await still()
    if first is None:
        written(text)  # what fails at once is answered as what it is
    return StreamingResponse(_deltas(first, pieces, text, still), 200, events.HEADERS, events.MEDIA_TYPE)


async def heard(
    request: Request,
    pieces: asyncio.Queue[str | None],
    text: Future[str],
    kept: KeptRequest | None,
    *,
    until_end: bool = False,
) -> str | None:
    """The first piece of a text, or its end; whoever hangs up takes back what wasn't begun."""
    while True:
        try:
            piece = await asyncio.wait_for(pieces.get(), LOOK_UP)
        except TimeoutError:
            if kept is None and await request.is_disconnected():
                text.cancel()
        else:
            if piece is None or not until_end:
                return piece


def written(text: Future[str]) -> str:
    if text.cancelled():
        raise errors.EnhancementCancelled
    return text.result()


async def _begun(begin: Callable[[], Future[str]], *, tries: int) -> Future[str]:
    """Waits for another request that answers the same key. Raises KeyBusy when that takes too long."""
    for _ in range(tries):
        try:
            return await run_in_threadpool(begin)
        except errors.KeyBusy:
            await asyncio.sleep(KEY_PAUSE)
    return await run_in_threadpool(begin)


async def _deltas(
    first: str | None,
    pieces: asyncio.Queue[str | None],
    text: Future[str],
    still: Callable[[], Awaitable[object]],
) -> AsyncIterator[bytes]:
    """`still` raises for whoever isn't let in any more."""
    piece = first
    while piece is not None:
        yield events.event("delta", events.Delta(text=piece))
        piece = await pieces.get()
    try:
        await still()
        yield events.event("done", EnhancedPrompt(enhanced_prompt=written(text)))
    except errors.ImageError as error:
        yield events.failed(error)


@images.get(
    "/jobs/{job_id}",
    response_model=JobStatus,
    summary="Get a batch's status",
    responses=failures(errors.ImageNotFound),
)
def get_job(job_id: str, response: Response, studio: CurrentStudio, user: Reader) -> JobStatus:
    """Until the batch has ended, `Retry-After` says when to ask again."""
    batch = studio.batches.find(user.user_id, job_id)
    response.headers["Cache-Control"] = "no-store"
    if batch.is_live:
        response.headers["Retry-After"] = "1"
    return JobStatus.of(batch)


@images.get(
    "/jobs/{job_id}/events",
    summary="Watch a batch",
    response_class=StreamingResponse,
    responses=failures(errors.ImageNotFound)
    | {
        200: {
            "description": "Server-sent events",
            "content": {events.MEDIA_TYPE: {"schema": events.SCHEMA}},
        }
    },
)
async def watch_job(job_id: str, request: Request, studio: CurrentStudio, user: Reader) -> StreamingResponse:
    """`progress` has what the job's address answers, `partial` a preview, and `end` what the request itself
    would have been answered. A stream without an `end` was cut off: ask again.
    """
    await run_in_threadpool(studio.batches.find, user.user_id, job_id)

    def look() -> Batch:
        return studio.batches.find(user_of(request, studio).user_id, job_id)

    places = _places(request)
    if places.full(user.user_id):
        raise too_many()
    stream = events.batch_events(request, look, partial(studio.jobs.partial, user.user_id), _end)
    return StreamingResponse(streamed(places, user.user_id, stream), 200, events.HEADERS, events.MEDIA_TYPE)


def too_many() -> errors.RateExceeded:
    return errors.RateExceeded(
        "Too many streams and waiting requests at once.",
        suggestions=("Close a stream before you open another.",),
        retry_after=1,
    )


async def streamed(
    places: events.Places, user_id: str, stream: AsyncIterator[bytes]
) -> AsyncGenerator[bytes, None]:
    """A stream, which has one of its user's places while it is open.

    Of many that were let in at the same moment, those that find none left say so.
    """
    with places.taken(user_id) as place:
        if not place:
            yield events.failed(too_many())
            return
        async for piece in stream:
            yield piece


def _end(batch: Batch) -> bytes:
    try:
        return events.event("end", _result(batch))
    except errors.ImageError as error:
        return events.failed(error, "end")


@images.get(
    "/jobs/{job_id}/partials/{number}",
    summary="Get a partial picture",
    response_class=Response,
    responses=failures(errors.ImageNotFound, errors.RangeRejected) | _PICTURE_BYTES,
)
def get_partial(job_id: str, number: int, request: Request, studio: CurrentStudio, user: Viewer) -> Response:
    """A preview; `job_id` is the id of its place in the batch. It is gone once the image has come."""
    data = studio.jobs.partial(user.user_id, job_id, number)
    # A call after one that broke off counts from nought again.
    return picture(request, sha256(data).hexdigest(), sniffed(data), lambda: data)


@images.get("", response_model=ImageList, summary="List images", responses=failures(errors.RequestRejected))
def list_images(
    studio: CurrentStudio,
    user: Reader,
    cursor: Annotated[
        str | None, Query(max_length=200, description="From the previous page's `next`")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE)] = PAGE_SIZE,
    q: Annotated[
        str, Query(max_length=1000, description="Words that must all occur in what the image was made from")
    ] = "",
    favourite: Annotated[bool, Query(description="Favourites only")] = False,
    style: Annotated[str | None, Query(max_length=64)] = None,
    model: Annotated[str | None, Query(max_length=128)] = None,
    trash: Annotated[bool, Query(description="Deleted images only")] = False,
) -> ImageList:
    """Newest first; in the trash, the last deleted first."""
    filters = Filters(search=q, style=style, model=model, favourites=favourite, trash=trash)
    page = studio.gallery.older(user.user_id, filters, after=cursor, limit=limit)
    wanted = {"q": q, "style": style, "model": model, "favourite": favourite, "trash": trash}
    following = {"cursor": page.next, "limit": limit} | {
        name: "true" if value is True else value for name, value in wanted.items() if value
    }
    address = with_query(IMAGES, following) if page.next else None
    return ImageList(images=[Metadata.of(image) for image in page.images], next=address)


@images.head("/{image_id}", include_in_schema=False)
@images.get(
    "/{image_id}",
    summary="Get an image",
    response_class=Response,
    responses=failures(errors.ImageNotFound, errors.RangeRejected, errors.FileDamaged) | _PICTURE_BYTES,
)
def get_image(image_id: str, request: Request, studio: CurrentStudio, owner_id: OwnerOfShown) -> Response:
    """The bytes as the service sent them."""
    image = studio.gallery.get(owner_id, image_id)
    data = partial(studio.gallery.original, owner_id, image_id)
    return picture(request, image.sha256, image.mime, data, image.file_bytes)


@images.head("/{image_id}/thumbnail", include_in_schema=False)
@images.get(
    "/{image_id}/thumbnail",
    summary="Get an image's thumbnail",
    response_class=Response,
    responses=failures(errors.ImageNotFound, errors.RangeRejected, errors.FileDamaged) | _PICTURE_BYTES,
)
def get_thumbnail(image_id: str, request: Request, studio: CurrentStudio, owner_id: OwnerOfShown) -> Response:
    """A WebP of at most 512 pixels."""
    etag = f"t-{studio.gallery.get(owner_id, image_id).sha256}"
    return picture(request, etag, "image/webp", partial(studio.gallery.thumbnail, owner_id, image_id))


@images.get(
    "/{image_id}/download",
    summary="Download an image as a file",
    response_class=Response,
    responses=failures(errors.ImageNotFound, errors.FileDamaged) | {200: _PICTURE_BYTES[200]},
)
def download(
    image_id: str,
    studio: CurrentStudio,
    user: Viewer,
    prompt: Annotated[bool, Query(description="Write the prompt into the file")] = False,
) -> Response:
    """A copy with a file name; with `prompt`, a PNG's metadata says what it was made from."""
    file = studio.gallery.download(user.user_id, image_id, with_prompt=prompt)
    name = f"attachment; filename*=UTF-8''{quote(file.file_name)}"
    headers = SAFE | {"Content-Disposition": name, "Cache-Control": "private, no-store"}
    return Response(file.data, media_type=file.mime, headers=headers)


@images.get(
    "/{image_id}/metadata",
    response_model=Metadata,
    summary="Get an image's metadata",
    responses=failures(errors.ImageNotFound),
)
def get_metadata(image_id: str, studio: CurrentStudio, user: Reader) -> Metadata:
    return Metadata.of(studio.gallery.get(user.user_id, image_id))


@images.patch(
    "/{image_id}",
    response_model=Metadata,
    summary="Change an image's name, or whether it is a favourite",
    responses=failures(errors.ImageNotFound, errors.WordsRejected)
    | {204: {"description": "It is changed; a token that may not `read` is told no more"}},
)
def change_image(image_id: str, asked: ChangeRequest, studio: CurrentStudio, user: Spender) -> Any:
    """Answers with what is known of the image then, where the token may `read`."""
    image = studio.change(user, image_id, name=asked.name, favourite=asked.favourite)
    return Metadata.of(image) if user.may(Scope.READ) else Response(status_code=204)


@images.delete(
    "/{image_id}",
    status_code=204,
    summary="Move an image to the trash",
    responses=failures(errors.ImageNotFound),
)
def delete_image(image_id: str, studio: CurrentStudio, user: Spender) -> None:
    """It can be restored for as long as the installation keeps its trash."""
    studio.gallery.trash(user.user_id, image_id)


@images.post(
    "/{image_id}/restore",
    status_code=204,
    summary="Restore an image from the trash",
    responses=failures(errors.ImageNotFound),
)
def restore_image(image_id: str, studio: CurrentStudio, user: Spender) -> None:
    studio.gallery.restore(user.user_id, image_id)
