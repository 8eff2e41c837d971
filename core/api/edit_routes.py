"""The route that makes images from a picture: one of the user's own, or one that comes with the request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import Any, BinaryIO, TypeVar

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import Field, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.requests import ClientDisconnect

from core import errors
from core.accounts.identity import SignedIn
from core.api.dependencies import CurrentStudio, Spender
from core.api.documented_errors import CHOICE, SERVICE
from core.api.events import LOOK_UP
from core.api.generation_routes import ACCEPTED, batch_response, kept_request
from core.api.schemas import Generated, IdempotencyKey, ImageRequest, Prefer, failures
from core.api.upload_queue import Turns
from core.common.media_types import MEGABYTE
from core.prompts.recipe import Recipe
from core.studio import Studio

T = TypeVar("T")
edits = APIRouter(prefix="/images", tags=["Images"])
_FILES = ("image", "mask")
# The longest prompt, in the longest letters.
_LONGEST_FIELD = 128 * 1024
_CHARSETS = (b"utf-8", b"utf8", b"us-ascii")
_PICTURE = {"type": "string", "format": "binary"}


class EditRequest(ImageRequest):
    """The fields of the form, its files aside."""

    prompt: str = Field(description="What to change", examples=["Make it night"])
    image_id: str = Field("", max_length=64, description="One of your own images; or send `image`")


def _documented() -> dict[str, Any]:
    """The form in the documentation: it is read by hand, so that nobody's body is before their sign-in."""
    schema = EditRequest.model_json_schema()
    schema["properties"] |= {
        "image": _PICTURE | {"description": "A PNG, JPEG or WebP to work from; or send `image_id`"},
        "mask": _PICTURE | {"description": "A PNG of the picture's size, transparent where it may change"},
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


@edits.post(
    "/edit",
    status_code=201,
    response_model=Generated,
    summary="Make images from a picture",
    responses=failures(
        *CHOICE,
        *SERVICE,
        errors.BadResponse,
        errors.BadImage,
        errors.JobCancelled,
        errors.ImageNotFound,
        errors.UploadRejected,
        errors.UploadTooLarge,
        errors.UploadGone,
        errors.MaskRejected,
        errors.ContentTypeRejected,
    )
    | ACCEPTED,
    openapi_extra=_documented(),
)
async def edit(
    request: Request,
    studio: CurrentStudio,
    user: Spender,
    prefer: Prefer = None,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Waits, answers and is kept under a key as `/generate` does.

    The picture is `image_id`, one of your own images, or the file `image`, of which only the pixels are kept,
    for as long as a job needs them. A file's name and declared type say nothing.
    """
    async with _form(request) as form:
        asked, files = _read(form)
        recipe = asked.recipe(studio.settings.default_image_model)
        said = asked.model_dump() | await run_in_threadpool(_digests, files)
        kept = kept_request(user, idempotency_key, "edit", said)
        # What was answered before is answered again, also when its picture has gone meanwhile.
        batch_id = await run_in_threadpool(studio.orders.earlier_batch, kept)
        if batch_id is None:
            # Before a picture is taken in: it would be kept for nothing, and hold up others.
            await run_in_threadpool(studio.edits.check, user, recipe, asked.n)
            take = partial(_with_inputs, studio, user, recipe, asked, files)
            recipe = await (in_turn(request, user.user_id, take) if files else run_in_threadpool(take))
            submit = partial(studio.orders.submit, user, recipe, asked.n, kept=kept)
            batch_id = await run_in_threadpool(submit)
    return await batch_response(request, studio, user, batch_id, kept=kept, prefer=prefer)


@asynccontextmanager
async def _form(request: Request) -> AsyncIterator[FormData]:
    """The form, whose files lie on the disk meanwhile. Raises RequestRejected for what is none."""
    _, options = parse_options_header(request.headers.get("content-type", ""))
    if options.get(b"charset", b"utf-8").lower() not in _CHARSETS:
        # Some that can be named take the square of a field's length, on the thread that serves everybody.
        raise errors.ContentTypeRejected(suggestions=("Send the form as UTF-8.",))
    try:
        async with request.form(
            max_files=len(_FILES), max_fields=len(EditRequest.model_fields), max_part_size=_LONGEST_FIELD
        ) as form:
            yield form
    except ClientDisconnect as error:
        raise errors.RequestRejected(details="the body was cut off") from error


def _read(form: FormData) -> tuple[EditRequest, dict[str, BinaryIO]]:
    """Raises RequestValidationError for fields that aren't known, twice there, or not of their kind."""
    files = {name: part.file for name, part in form.multi_items() if isinstance(part, UploadFile)}
    fields = {name: part for name, part in form.multi_items() if isinstance(part, str)}
    if len(files) + len(fields) != len(form.multi_items()):
        raise _invalid("form", "a field is there twice")
    if unknown := files.keys() - set(_FILES):
        raise _invalid(min(unknown), "isn't a file of this request")
    try:
        asked = EditRequest.model_validate(fields)
    except ValidationError as error:
        told = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in told]) from error
    if ("image" in files) == bool(asked.image_id):
        raise _invalid("image", "send either image_id or the file image")
    return asked, files


async def in_turn(request: Request, user_id: str, take: Callable[[], T]) -> T:
    """Pictures are made anew on a thread of their own: whoever waits for it holds up nobody else.

    Raises RequestRejected where its sender has gone before its turn.
    """
    turns: Turns = request.app.state.upload_turns
    turn = turns.take(user_id, take)
    taken = asyncio.wrap_future(turn)
    while not (await asyncio.wait([taken], timeout=LOOK_UP))[0]:
        if await request.is_disconnected() and turn.cancel():
            raise errors.RequestRejected(details="its sender has gone")
    return await taken


def _digests(files: dict[str, BinaryIO]) -> dict[str, str]:
    """The SHA-256 of each file, as it was sent."""
    found = {}
    for name, file in files.items():
        file.seek(0)
        digest = sha256()
        while piece := file.read(MEGABYTE):
            digest.update(piece)
        found[name] = digest.hexdigest()
    return found


def _invalid(name: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"loc": ("body", name), "msg": message, "type": "value_error"}])


def _with_inputs(
    studio: Studio, user: SignedIn, recipe: Recipe, asked: EditRequest, files: dict[str, BinaryIO]
) -> Recipe:
    """The recipe with its pictures, which are kept once all of them are good."""
    picture, mask = files.get("image"), files.get("mask")
    if picture and mask:
        kept, hole = studio.uploads.store_with_mask(user.user_id, picture, mask)
        return replace(recipe, references=(kept.key,), mask=hole.key)
    if picture:
        return replace(recipe, references=(studio.uploads.store(user.user_id, picture).key,))
    image = studio.gallery.get_untrashed(user.user_id, asked.image_id)
    recipe = replace(recipe, source_image=image.id)
    if mask is None:
        return recipe
    size = (image.width, image.height)
    return replace(recipe, mask=studio.uploads.store_mask(user.user_id, mask, size=size).key)
