"""The routes that generate images and report their progress."""

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
from core.api.dependencies import CurrentStudio, ImageViewer, Reader, Spender, current_user
from core.api.documented_errors import IMAGE_RESPONSES, REQUEST_ERRORS, SERVICE_ERRORS, document_errors
from core.api.events import limited_stream, stream_slots, too_many_streams
from core.api.image_responses import image_response
from core.api.schemas import Accepted, Generated, GenerateRequest, IdempotencyKey, JobStatus, Prefer
from core.common.media_types import sniff_media_type
from core.generation.views import Batch
from core.studio import Studio
from core.usage.idempotency import IdempotentRequest
from core.web.urls import Urls

generation = APIRouter(prefix="/images", tags=["Images"])
ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {
        "model": Accepted,
        "description": "The images are being made; `Location` is the address of their status",
        "headers": {"Location": {"schema": {"type": "string"}}},
    }
}


@generation.post(
    "/generate",
    status_code=201,
    response_model=Generated,
    summary="Generate images",
    responses=document_errors(
        *REQUEST_ERRORS, *SERVICE_ERRORS, errors.BadResponse, errors.BadImage, errors.JobCancelled
    )
    | ACCEPTED,
)
async def generate(
    body: GenerateRequest,
    request: Request,
    studio: CurrentStudio,
    user: Spender,
    prefer: Prefer = None,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Waits for all images and responds with those that succeeded. `errors` has the reasons for the others.

    With `Prefer: respond-async` the response is 202 at once. The response is also 202 if the images take
    longer than four minutes, if you already have twenty waiting requests, and if the server stops or loses
    its database. In all these cases the images are still made.

    If the client disconnects, images that haven't started are cancelled. Images that have started are always
    finished and stored. If the request has an `Idempotency-Key`, no image is cancelled, because the client
    may send the request again.

    A request with an unknown outcome (504) may have been charged. It is never sent again automatically.
    """
    idempotent = idempotent_request(user, idempotency_key, "generate", body.model_dump())
    recipe = body.recipe(studio.settings.default_image_model)
    order = partial(studio.orders.order, user, recipe, body.n, idempotency=idempotent)
    batch_id = await run_in_threadpool(order)
    return await batch_response(request, studio, user, batch_id, idempotent=idempotent, prefer=prefer)


async def batch_response(
    request: Request,
    studio: Studio,
    user: SignedIn,
    batch_id: str,
    *,
    idempotent: IdempotentRequest | None,
    prefer: str | None,
) -> Any:
    """Return the response to a request that has created the batch `batch_id`, all images of this request.

    The response has the batch's finished images. If all images failed, the function raises the error of the
    first one. The response is 202 with the address of the batch's status if `prefer` contains
    `respond-async`, if the user has too many waiting requests, or if the images aren't ready in time. If the
    client has disconnected, the queued jobs are cancelled, unless the request has an idempotency key.
    """
    if _wants_async(prefer):
        return _accepted(batch_id, studio.urls, {"Preference-Applied": "respond-async"})
    with stream_slots(request).occupy(user.user_id) as has_slot:
        if not has_slot:
            return _accepted(batch_id, studio.urls)
        try:
            batch = await events.wait_for_end(request, partial(studio.batches.find, user.user_id, batch_id))
        except (errors.DatabaseError, errors.StorageError):
            # Without the batch's address the client would send the request again, and pay for the images
            # twice.
            return _accepted(batch_id, studio.urls)
    # The user may have lost access while the request waited.
    await run_in_threadpool(current_user, request, studio)
    if not batch.is_live:
        return _result(batch, studio.urls)
    if idempotent is None and await request.is_disconnected():
        await run_in_threadpool(studio.jobs.cancel_waiting, user.user_id, batch_id)
    return _accepted(batch_id, studio.urls)


def _wants_async(prefer: str | None) -> bool:
    return "respond-async" in {preference.strip().casefold() for preference in (prefer or "").split(",")}


def _accepted(batch_id: str, urls: Urls, extra_headers: dict[str, str] | None = None) -> JSONResponse:
    headers = {"Location": urls.job(batch_id), "Cache-Control": "no-store"} | (extra_headers or {})
    return JSONResponse(Accepted.of(batch_id, urls).model_dump(), 202, headers)


def _result(batch: Batch, urls: Urls) -> Generated:
    """Return the images of a finished batch. If all of them failed, raise the error of the first one."""
    if not batch.images:
        raise batch.failures[0].to_error()
    return Generated.of(batch, urls)


def idempotent_request(
    user: SignedIn, key: str | None, path: str, body: dict[str, Any]
) -> IdempotentRequest | None:
    return IdempotentRequest.of(user.user_id, key, path, body) if key else None


@generation.get(
    "/jobs/{job_id}",
    response_model=JobStatus,
    summary="Get a batch's status",
    responses=document_errors(errors.ImageNotFound),
)
def get_job(job_id: str, response: Response, studio: CurrentStudio, user: Reader) -> JobStatus:
    """While the batch is unfinished, `Retry-After` is the number of seconds to wait before you ask again."""
    batch = studio.batches.find(user.user_id, job_id)
    response.headers["Cache-Control"] = "no-store"
    if batch.is_live:
        response.headers["Retry-After"] = "1"
    return JobStatus.of(batch, studio.urls)


@generation.get(
    "/jobs/{job_id}/events",
    summary="Watch a batch",
    response_class=StreamingResponse,
    responses=document_errors(errors.ImageNotFound)
    | {
        200: {
            "description": "Server-sent events",
            "content": {events.MEDIA_TYPE: {"schema": events.SCHEMA}},
        }
    },
)
async def watch_job(job_id: str, request: Request, studio: CurrentStudio, user: Reader) -> Response:
    """Streams server-sent events. `progress` has the batch's status, and `partial` has a preview of an image.
    `end` has the response of the original request. If the stream stops without `end`, open it again.
    """
    await run_in_threadpool(studio.batches.find, user.user_id, job_id)
    if request.method == "HEAD":
        return Response(headers=events.HEADERS, media_type=events.MEDIA_TYPE)

    def read_batch() -> Batch:
        return studio.batches.find(current_user(request, studio).user_id, job_id)

    slots = stream_slots(request)
    if slots.full(user.user_id):
        raise too_many_streams()
    stream = events.batch_events(
        request, read_batch, partial(studio.jobs.partial, user.user_id), _end_event, studio.urls
    )
    limited = limited_stream(slots, user.user_id, stream)
    return StreamingResponse(limited, 200, events.HEADERS, events.MEDIA_TYPE)


def _end_event(batch: Batch, urls: Urls) -> bytes:
    try:
        return events.event("end", _result(batch, urls))
    except errors.ImageError as error:
        return events.error_event(error, "end")


@generation.get(
    "/jobs/{job_id}/partials/{number}",
    summary="Get a partial image",
    response_class=Response,
    responses=document_errors(errors.ImageNotFound, errors.RangeRejected) | IMAGE_RESPONSES,
)
def get_partial(
    job_id: str, number: int, request: Request, studio: CurrentStudio, user: ImageViewer
) -> Response:
    """Responds with a preview of an image that is being generated.

    `job_id` is the image's `id` in the batch's status. `number` counts the previews from 0. The preview is
    deleted once the image is finished.
    """
    data = studio.jobs.partial(user.user_id, job_id, number)
    # The ETag is a hash of the bytes, because a second attempt numbers its partial images from 0 again.
    return image_response(request, sha256(data).hexdigest(), sniff_media_type(data), lambda: data)
