"""Buys images: sends one paid call, and reads as many images as possible from a damaged response."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Protocol

import httpx2
import structlog

from core.common.media_types import image_media_type
from core.errors import (
    BadResponse,
    ImageError,
    ImageNotDownloaded,
    NoImage,
    OutcomeUnknown,
    ResponseTruncated,
    ServiceFailed,
)
from core.prompts.recipe import GenerateParams
from core.provider.catalogue import count_partial_images, streams_images
from core.provider.connection import Connection, ResponseStream
from core.provider.image_download import ImageDownloader
from core.provider.payloads import NO_INPUTS, Call, InputImages, image_call
from core.provider.pricing import image_price
from core.responses.error_translation import sdk_errors
from core.responses.events import JsonObject, ResponseEvent, read_events
from core.responses.limits import Deadline, record_response, record_rest, recorded_bytes, write_to
from core.responses.parsing import (
    IMAGE_FIELDS,
    ImageResponse,
    TokenCount,
    cost_on_error,
    decode_image,
    text_content,
)
from core.settings import Settings

log = structlog.get_logger(__name__)

# In characters of base64, which encode an image of twelve megabytes.
_MAX_PARTIAL_LENGTH = 16 * 2**20
_PIECE_BYTES = 2**16
# The log and the error name at most this many reasons why images can't be read.
_MAX_REASONS = 10
_ABSOLUTE_URL = re.compile(r"https?://", re.IGNORECASE)
_ADDRESS_FIELDS = frozenset({"url", "image_url", "imageUrl", "imageURL"})
# The response headers that say how to read the body. Only these are kept with a received body.
_KEPT_HEADERS = ("content-type", "content-encoding", "x-request-id")
# How long a download is tried for a response that is read again.
READ_AGAIN_SECONDS = 5
_NO_MORE_STREAMS = (
    "the call asked for previews, which this service may not be able to stream; until Atelier is restarted, "
    "images are requested without previews"
)
OnPartial = Callable[[int, bytes], None]


class ResponseSink(Protocol):
    """Saves a response while it is received, so that a crash loses no part of it. The methods don't raise."""

    def begin(self, headers: dict[str, str]) -> None:
        """Begin a response. `headers` are the response headers that are needed to read its body."""

    def write(self, chunk: bytes) -> None:
        """Save the next bytes of the body, as they were received."""

    def finish(self) -> None:
        """Mark the response as received in full."""


class _NoSink:
    def begin(self, headers: dict[str, str]) -> None: ...

    def write(self, chunk: bytes) -> None: ...

    def finish(self) -> None: ...


_NO_SINK = _NoSink()


def _ignore_partial(index: int, image: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class GeneratedImages:
    """The images of one paid response, byte for byte as the service encoded them.

    `revised_prompts` has one entry per image: the prompt as the service rewrote it, or None. `price_micros`
    is in micro-USD, or None if the price is unknown. `seconds` is how long the call took. `error` is the
    error that the service reported beside the images, or None. If a part of the response couldn't be read,
    `response_body` is the whole response body; otherwise `response_body` is empty.
    """

    images: tuple[bytes, ...]
    revised_prompts: tuple[str | None, ...]
    usage: TokenCount
    request_id: str | None
    model: str
    price_micros: int | None
    seconds: float = 0.0
    error: ImageError | None = None
    response_body: bytes = b""


class ImagesClient:
    """Buys images from the service. A call that may have been charged is never sent again."""

    def __init__(self, connection: Connection, settings: Settings, downloader: ImageDownloader) -> None:
        self._connection = connection
        self._settings = settings
        self._downloader = downloader

    def generate(
        self,
        params: GenerateParams,
        *,
        user_tag: str,
        inputs: InputImages = NO_INPUTS,
        on_partial: OnPartial = _ignore_partial,
        sink: ResponseSink = _NO_SINK,
        listen_seconds: float = 0,
    ) -> GeneratedImages:
        """Buy images in one call: new images from `params` alone, or edits of `inputs` if there are any.

        `user_tag` is the user's pseudonym from `payloads.user_tag`. `on_partial(index, image)` is called with
        the index (from 0) and the bytes of each partial image. Exceptions of `on_partial` are only logged.
        `sink` gets the response while it arrives. A response that isn't complete within IMAGE_TIMEOUT is
        waited for `listen_seconds` longer.

        Raises OutcomeUnknown if the call may have been charged but its response is incomplete. Raises
        BadResponse if the response holds no readable image. Both errors carry the received response body in
        `response_body`. Any other failure raises the error that the service reported, or the error that
        `translate_error` returns.
        """
        connection = self._connection
        started = connection.clock()
        timeout = self._settings.image_timeout
        send_until, deadline = connection.deadline(timeout), connection.deadline(timeout + listen_seconds)
        call = image_call(params, self._settings, user_tag, inputs)
        with self._giving_up_streams(call):
            stream = connection.open(call, deadline, send_until=send_until)
            headers = stream.response.headers
            sink.begin({name: headers[name] for name in _KEPT_HEADERS if name in headers})
            write_to(stream.response, sink.write)
            partials = _PartialImages(count_partial_images(params, self._settings), on_partial)
            generated = self._receive(params, stream, partials, sink, download_seconds=timeout)
        return replace(generated, seconds=connection.clock() - started)

    def read_again(
        self, params: GenerateParams, *, headers: Mapping[str, str], body: bytes, seconds: float
    ) -> GeneratedImages:
        """Return the images in `body`, a response to a call with `params` that was received earlier.

        `headers` are the response's, as `ResponseSink.begin` got them. `seconds` is how long the call took.
        Images that are only an address in `body` are downloaded. Raises the same errors as `generate`.
        """
        request = httpx2.Request("POST", self._connection.base_url)
        received = httpx2.Response(200, headers=dict(headers), stream=_Body(body), request=request)
        record_response(received)
        no_partials = _PartialImages(0, _ignore_partial)
        generated = self._receive(
            params, _Received(received), no_partials, _NO_SINK, download_seconds=READ_AGAIN_SECONDS
        )
        return replace(generated, seconds=seconds)

    def _receive(
        self,
        params: GenerateParams,
        stream: ResponseStream,
        partials: _PartialImages,
        sink: ResponseSink,
        *,
        download_seconds: float,
    ) -> GeneratedImages:
        """Read the response and return its images. `seconds` of the result isn't set yet.

        Images that are only an address are downloaded, within `download_seconds`.
        """
        connection, response = self._connection, stream.response
        with _body_on_error(response), connection.reading(stream, paid=True):
            found = self._read(response, partials)
            if not found.incomplete:
                sink.finish()
            with cost_on_error(found, lambda usage: image_price(params.model, usage)):
                images = self._images(found, response, connection.deadline(download_seconds))
        return GeneratedImages(
            images=tuple(image for image, _ in images),
            revised_prompts=tuple(revised for _, revised in images),
            usage=found.usage,
            request_id=self._connection.request_id(response),
            model=params.model,
            price_micros=image_price(params.model, found.usage),
            error=found.error,
            response_body=recorded_bytes(response) if found.incomplete else b"",
        )

    @contextmanager
    def _giving_up_streams(self, call: Call) -> Iterator[None]:
        """Request no more streams from this service if the streamed `call` fails inside the service.

        Some services generate and charge an image and then fail to stream it, so the next call would lose its
        image too. The failed call isn't sent again, because it may have been charged. OpenAI itself and the
        offline engine are known to stream, so one failure of theirs changes nothing.
        """
        try:
            yield
        except ServiceFailed as error:
            if call.body.get("stream") and not streams_images(self._settings):
                self._settings = self._settings.model_copy(update={"partial_images": 0})
                error.details = f"{error.details}; {_NO_MORE_STREAMS}"
                log.warning("image_streaming_given_up", details=error.details, request_id=error.request_id)
            raise

    def _read(self, response: httpx2.Response, partials: _PartialImages) -> ImageResponse:
        """Read `response` to its end and return its images, which aren't decoded yet, and its first error.

        Partial images are passed to `partials`. If reading fails after an image or an error has arrived, what
        has arrived is returned with `incomplete` set. If reading fails before that, the failure is raised.
        """
        found = ImageResponse()
        try:
            self._read_events(response, found, partials)
        except sdk_errors() as error:
            if isinstance(error, httpx2.DecodingError):
                record_rest(response)
                self._read_as_received(response, found, partials)
            if not (found.items or found.error):
                raise
            found.incomplete = True
            log.warning("image_stream_broken_after_image", error=type(error).__name__)
        if not (found.items or found.error or found.answered):
            raise ResponseTruncated(
                details="the stream ended before the image was complete",
                request_id=self._connection.request_id(response),
            )
        return found

    def _read_events(self, response: httpx2.Response, found: ImageResponse, partials: _PartialImages) -> None:
        for event in read_events(response, images=True):
            found.error = found.error or self._connection.reported_error(event, response, paid=True)
            if _is_partial(event):
                partials.show(event.body)
            else:
                found.add(event)

    def _read_as_received(
        self, response: httpx2.Response, found: ImageResponse, partials: _PartialImages
    ) -> None:
        """Read the recorded body of `response` again, without decompressing it.

        Some services say that a body is compressed although it isn't.
        """
        if "content-encoding" in response.headers:
            plain = httpx2.Response(response.status_code, content=recorded_bytes(response))
            with suppress(ValueError, httpx2.HTTPError):
                self._read_events(plain, found, partials)

    def _images(
        self, found: ImageResponse, response: httpx2.Response, deadline: Deadline
    ) -> list[tuple[bytes, str | None]]:
        """Return the images in `found`, each as a pair of its bytes and its revised prompt (or None).

        An image that can't be read is logged and left out, and `found.incomplete` is set. If no image can be
        read, raises ImageNotDownloaded if one can still be downloaded, else the error that the service
        reported, or BadResponse if it reported none.
        """
        images: list[tuple[bytes, str | None]] = []
        problems: list[str] = []
        missing = False
        for item in found.items:
            try:
                revised = text_content(item.get("revised_prompt")) or None
                images.append((self._image_bytes(item, deadline), revised))
            except ImageNotDownloaded as error:
                missing = True
                problems.append(self._connection.redact(error.details))
            except sdk_errors() as error:
                problems.append(self._connection.redact(f"{type(error).__name__}: {error}"))
        if problems:
            found.incomplete = True
            log.warning("image_unreadable", reasons=problems[:_MAX_REASONS], readable=len(images))
        if images:
            return images
        if found.error and not missing:
            raise _without_image(found.error, found, response)
        kind = ImageNotDownloaded if missing else BadResponse if problems else NoImage
        raise kind(
            details="; ".join(problems[:_MAX_REASONS]) or "no image in it",
            request_id=self._connection.request_id(response),
        )

    def _image_bytes(self, item: JsonObject, deadline: Deadline) -> bytes:
        """Return the bytes of the image in `item`, decoded from base64 or downloaded from the image's URL.

        Raises ValueError if `item` holds no usable image, and ImageNotDownloaded or InvalidURL if the
        download fails.
        """
        problem: Exception = ValueError("an image without b64_json or url")
        for name in IMAGE_FIELDS:
            value = item.get(name)
            try:
                if isinstance(value, bytes) and value:
                    return value
                if isinstance(value, str) and value.strip():
                    return self._bytes_of(name, value.strip(), deadline)
            except sdk_errors() as error:
                problem = error
        raise problem

    def _bytes_of(self, name: str, value: str, deadline: Deadline) -> bytes:
        """Return the bytes of the image in `value`, the value of the field `name` of an image.

        `value` is base64 or an address, which some services put into the field of the other.
        """
        if not _ABSOLUTE_URL.match(value):
            try:
                image = decode_image(value)
            except ValueError:
                if name not in _ADDRESS_FIELDS or value[:5].lower() == "data:":
                    raise
            else:
                if name == "b64_json" or image_media_type(image) or value[:5].lower() == "data:":
                    return image
            if name not in _ADDRESS_FIELDS:
                raise ValueError(f"{name} is neither an image nor an address")
        return self._downloader.fetch(value, deadline)


class _Body(httpx2.SyncByteStream):
    """A response stream of bytes that were received earlier."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        # In pieces, because all lines of a piece are in memory at the same time.
        for start in range(0, len(self._body), _PIECE_BYTES):
            yield self._body[start : start + _PIECE_BYTES]


@dataclass(frozen=True, slots=True)
class _Received:
    """A response that was received earlier, in the form of an open one."""

    response: httpx2.Response

    def close(self) -> None:
        self.response.close()


def _is_partial(event: ResponseEvent) -> bool:
    return "partial_image" in event.kind or "partial_image_index" in event.body


def _without_image(error: ImageError, found: ImageResponse, response: httpx2.Response) -> ImageError:
    """Return `error`, which the service reported instead of a readable image.

    If the response held more than the error, the error carries the response body. If it held images, they may
    have been charged.
    """
    if found.items:
        error.charged = None
    if found.items or found.incomplete:
        error.response_body = recorded_bytes(response)
    return error


class _PartialImages:
    """Passes the partial images of a call to the callback `on_partial`.

    One image is passed for each index from 0 to `count` - 1. Images with other indexes, and repeated ones,
    are dropped, because the callback stores each image.
    """

    def __init__(self, count: int, on_partial: OnPartial) -> None:
        self._awaited = set(range(count))
        self._on_partial = on_partial

    def show(self, event: JsonObject) -> None:
        """Pass the partial image in `event` to the callback. A partial image that is too large is dropped.

        An exception is only logged, because the paid image is still to come.
        """
        index, encoded = event.get("partial_image_index") or 0, str(event.get("b64_json") or "")
        if not isinstance(index, int) or index not in self._awaited or len(encoded) > _MAX_PARTIAL_LENGTH:
            return
        self._awaited.remove(index)
        try:
            self._on_partial(int(index), decode_image(encoded))
        except Exception as error:
            log.warning("partial_image_not_shown", error=f"{type(error).__name__}: {error}")


@contextmanager
def _body_on_error(response: httpx2.Response) -> Iterator[None]:
    """Add the received response body to a BadResponse or OutcomeUnknown raised in the with-block.

    The call may have been charged, and a paid image may be recovered from the body.
    """
    try:
        yield
    except (BadResponse, OutcomeUnknown) as error:
        error.response_body = recorded_bytes(response)
        raise
