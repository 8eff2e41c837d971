"""The route that edits an image. The image is in the user's gallery or is uploaded with the request."""

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
from core.api.documented_errors import REQUEST_ERRORS, SERVICE_ERRORS, document_errors
from core.api.events import DISCONNECT_CHECK_SECONDS
from core.api.generation_routes import ACCEPTED, batch_response, idempotent_request
from core.api.schemas import Generated, IdempotencyKey, ImageRequest, Prefer
from core.api.upload_queue import UploadQueue
from core.common.media_types import MEGABYTE
from core.prompts.recipe import Recipe
from core.studio import Studio

T = TypeVar("T")
edits = APIRouter(prefix="/images", tags=["Images"])
_FILES = ("image", "mask")
# Enough for the longest prompt, even if each of its characters takes four bytes in UTF-8.
_MAX_FIELD_BYTES = 128 * 1024
_CHARSETS = (b"utf-8", b"utf8", b"us-ascii")
_FILE_SCHEMA = {"type": "string", "format": "binary"}


class EditRequest(ImageRequest):
    """The text fields of the form that a request to edit an image sends. `_validate` checks the files."""

    prompt: str = Field(description="The change to make", examples=["Make it night"])
    image_id: str = Field("", max_length=64, description="The id of one of your images; or send `image`")


def _openapi_form() -> dict[str, Any]:
    """Return the `requestBody` of the OpenAPI document: the form's text fields and its two files.

    The form isn't declared to FastAPI as a parameter of the route. FastAPI would then read the body before it
    authenticates the user.
    """
    schema = EditRequest.model_json_schema()
    schema["properties"] |= {
        "image": _FILE_SCHEMA | {"description": "A PNG, JPEG or WebP image to edit; or send `image_id`"},
        "mask": _FILE_SCHEMA
        | {"description": "A PNG of the image's size, transparent where the image may change"},
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


@edits.post(
    "/edit",
    status_code=201,
    response_model=Generated,
    summary="Edit an image",
    responses=document_errors(
        *REQUEST_ERRORS,
        *SERVICE_ERRORS,
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
    openapi_extra=_openapi_form(),
)
async def edit(
    request: Request,
    studio: CurrentStudio,
    user: Spender,
    prefer: Prefer = None,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Edits the image `image_id` of your gallery, or the uploaded file `image`.

    The waiting time, the response and the `Idempotency-Key` are as for `/generate`. Only the pixels of an
    uploaded file are stored, and only as long as a job needs them. The file's name and declared type are
    ignored.
    """
    async with _form(request) as form:
        body, files = _validate(form)
        recipe = body.recipe(studio.settings.default_image_model)
        content = body.model_dump() | await run_in_threadpool(_digests, files)
        idempotent = idempotent_request(user, idempotency_key, "edit", content)
        # A repeated request gets the first request's response, even if the image has been deleted since.
        batch_id = await run_in_threadpool(studio.orders.earlier_batch, idempotent)
        if batch_id is None:
            # Check the request first. Otherwise the upload of a rejected request would be stored for nothing,
            # and would delay other requests.
            await run_in_threadpool(studio.edits.check, user, recipe, body.n)
            add_images = partial(_with_images, studio, user, recipe, body, files)
            if files:
                recipe = await run_in_upload_queue(request, user.user_id, add_images)
            else:
                recipe = await run_in_threadpool(add_images)
            submit = partial(studio.orders.submit, user, recipe, body.n, idempotency=idempotent)
            batch_id = await run_in_threadpool(submit)
    return await batch_response(request, studio, user, batch_id, idempotent=idempotent, prefer=prefer)


@asynccontextmanager
async def _form(request: Request) -> AsyncIterator[FormData]:
    """Parse the request's form and yield it. The form's files stay on disk until the block ends.

    Raises ContentTypeRejected if the request declares another charset than UTF-8 or ASCII. Raises
    RequestRejected if the client disconnects before it has sent the whole body.
    """
    _, options = parse_options_header(request.headers.get("content-type", ""))
    if options.get(b"charset", b"utf-8").lower() not in _CHARSETS:
        # Some other charsets take quadratic time to decode. That would block the event loop for all requests.
        raise errors.ContentTypeRejected(suggestions=("Send the form as UTF-8.",))
    try:
        async with request.form(
            max_files=len(_FILES), max_fields=len(EditRequest.model_fields), max_part_size=_MAX_FIELD_BYTES
        ) as form:
            yield form
    except ClientDisconnect as error:
        raise errors.RequestRejected(details="the body was cut off") from error


def _validate(form: FormData) -> tuple[EditRequest, dict[str, BinaryIO]]:
    """Return the form's validated text fields, and the form's files by the names of their fields.

    Raises RequestValidationError if a field is unknown, repeated or invalid. The form must have either the
    file `image` or the field `image_id`.
    """
    files = {name: part.file for name, part in form.multi_items() if isinstance(part, UploadFile)}
    fields = {name: part for name, part in form.multi_items() if isinstance(part, str)}
    if len(files) + len(fields) != len(form.multi_items()):
        raise _invalid("form", "a field is repeated")
    if unknown := files.keys() - set(_FILES):
        raise _invalid(min(unknown), "isn't a known file field")
    try:
        body = EditRequest.model_validate(fields)
    except ValidationError as error:
        items = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in items]) from error
    if ("image" in files) == bool(body.image_id):
        raise _invalid("image", "send either image_id or the file image")
    return body, files


async def run_in_upload_queue(request: Request, user_id: str, work: Callable[[], T]) -> T:
    """Run the function `work` in the application's upload queue and return its result.

    Work on large images waits there for its turn, so that it doesn't delay other requests. Raises
    RequestRejected if the client disconnects before `work` has started.
    """
    queue: UploadQueue = request.app.state.upload_queue
    queued = queue.submit(user_id, work)
    result = asyncio.wrap_future(queued)
    while not (await asyncio.wait([result], timeout=DISCONNECT_CHECK_SECONDS))[0]:
        if await request.is_disconnected() and queued.cancel():
            raise errors.RequestRejected(details="the client disconnected")
    return await result


def _digests(files: dict[str, BinaryIO]) -> dict[str, str]:
    """Return the SHA-256 of each uploaded file in hex, by the name of its field."""
    digests = {}
    for name, file in files.items():
        file.seek(0)
        digest = sha256()
        while chunk := file.read(MEGABYTE):
            digest.update(chunk)
        digests[name] = digest.hexdigest()
    return digests


def _invalid(name: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"loc": ("body", name), "msg": message, "type": "value_error"}])


def _with_images(
    studio: Studio, user: SignedIn, recipe: Recipe, body: EditRequest, files: dict[str, BinaryIO]
) -> Recipe:
    """Return a copy of `recipe` with the keys of the image to edit and of the mask, if there is one.

    The uploaded files are stored first. If the image or the mask is invalid, none of them is stored.
    """
    image_file, mask_file = files.get("image"), files.get("mask")
    if image_file and mask_file:
        upload, mask = studio.uploads.store_with_mask(user.user_id, image_file, mask_file)
        return replace(recipe, references=(upload.key,), mask=mask.key)
    if image_file:
        return replace(recipe, references=(studio.uploads.store(user.user_id, image_file).key,))
    image = studio.gallery.get_untrashed(user.user_id, body.image_id)
    recipe = replace(recipe, source_image=image.id)
    if mask_file is None:
        return recipe
    size = (image.width, image.height)
    return replace(recipe, mask=studio.uploads.store_mask(user.user_id, mask_file, size=size).key)
