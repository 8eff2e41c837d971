"""The routes of the Images API: each reads a request, calls the studio, and says what came of it."""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from core import errors
from core.accounts.identity import SignedIn
from core.api import events
from core.api.dependencies import CurrentStudio, Reader, Spender, Viewer, user_of
from core.api.documented_errors import CHOICE, PICTURE_BYTES, SERVICE
from core.api.events import stream_places, streamed, too_many
from core.api.image_responses import picture
from core.api.schemas import Accepted, Generated, GenerateRequest, IdempotencyKey, JobStatus, Prefer, failures
from core.common.media_types import sniff_media_type
from core.generation.views import Batch
from core.studio import Studio
from core.usage.idempotency import IdempotentRequest
from core.web.urls import job_url

generation = APIRouter(prefix="/images", tags=["Images"])
ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {
        "model": Accepted,
        "description": "The images are being made: ask at the address in `Location`",
        "headers": {"Location": {"schema": {"type": "string"}}},
    }
}


@generation.post(
    "/generate",
    status_code=201,
    response_model=Generated,
    summary="Make images",
    responses=failures(*CHOICE, *SERVICE, errors.BadResponse, errors.BadImage, errors.JobCancelled)
    | ACCEPTED,
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
    order = partial(studio.orders.order, user, recipe, asked.n, kept=kept)
    batch_id = await run_in_threadpool(order)
    return await batch_response(request, studio, user, batch_id, kept=kept, prefer=prefer)


async def batch_response(
    request: Request,
    studio: Studio,
    user: SignedIn,
    batch_id: str,
    *,
    kept: IdempotentRequest | None,
    prefer: str | None,
) -> Any:
    """The response to a request that has submitted a batch: its images, or 202 with the batch's address."""
    if _wants_async(prefer):
        return _accepted(batch_id, {"Preference-Applied": "respond-async"})
    with stream_places(request).taken(user.user_id) as place:
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


def kept_request(
    user: SignedIn, key: str | None, path: str, asked: dict[str, Any]
) -> IdempotentRequest | None:
    return IdempotentRequest.of(user.user_id, key, path, asked) if key else None


@generation.get(
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


@generation.get(
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

    places = stream_places(request)
    if places.full(user.user_id):
        raise too_many()
    stream = events.batch_events(request, look, partial(studio.jobs.partial, user.user_id), _end)
    return StreamingResponse(streamed(places, user.user_id, stream), 200, events.HEADERS, events.MEDIA_TYPE)


def _end(batch: Batch) -> bytes:
    try:
        return events.event("end", _result(batch))
    except errors.ImageError as error:
        return events.failed(error, "end")


@generation.get(
    "/jobs/{job_id}/partials/{number}",
    summary="Get a partial picture",
    response_class=Response,
    responses=failures(errors.ImageNotFound, errors.RangeRejected) | PICTURE_BYTES,
)
def get_partial(job_id: str, number: int, request: Request, studio: CurrentStudio, user: Viewer) -> Response:
    """A preview; `job_id` is the id of its place in the batch. It is gone once the image has come."""
    data = studio.jobs.partial(user.user_id, job_id, number)
    # A call after one that broke off counts from nought again.
    return picture(request, sha256(data).hexdigest(), sniff_media_type(data), lambda: data)
