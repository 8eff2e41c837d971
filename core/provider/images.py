"""Buys images: sends one paid call, and reads as many images as possible from a damaged response."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import httpx2
import structlog

from core.errors import (
    BadResponse,
    ImageError,
    ImageNotDownloaded,
    NoImage,
    OutcomeUnknown,
    ResponseTruncated,
)
from core.prompts.recipe import GenerateParams
from core.provider.catalogue import count_partial_images
from core.provider.connection import Connection, ResponseStream
from core.provider.error_translation import sdk_errors
from core.provider.image_download import ImageDownloader
from core.provider.payloads import NO_INPUTS, InputImages, image_call
from core.provider.pricing import TokenCount, image_price
from core.provider.response_limits import Deadline, record_response, record_rest, recorded_bytes, write_to
from core.provider.responses import (
    ImageResponse,
    JsonObject,
    cost_on_error,
    decode_image,
    is_event_stream,
    text_content,
)
from core.settings import Settings

log = structlog.get_logger(__name__)

# In characters of base64, which encode an image of twelve megabytes.
_MAX_PARTIAL_LENGTH = 16 * 2**20
# The response headers that say how to read the body. Only these are kept with a received body.
_KEPT_HEADERS = ("content-type", "content-encoding", "x-request-id")
# How long a download is tried for a response that is read again.
READ_AGAIN_SECONDS = 5
OnPartial = Callable[[int, bytes], None]


class ResponseSink(Protocol):
    """Keeps a response while it is received, so that a crash loses no part of it. The methods don't raise."""

    def begin(self, headers: dict[str, str]) -> None:
        """Begin a response. `headers` are those that say how to read its body."""

    def write(self, chunk: bytes) -> None:
        """Keep the next bytes of the body, as they were received."""

    def finish(self) -> None:
        """Note that the whole response was received."""


class _NoSink:
    def begin(self, headers: dict[str, str]) -> None: ...

    def write(self, chunk: bytes) -> None: ...

    def finish(self) -> None: ...


_NO_SINK = _NoSink()


def ignore_partial(index: int, image: bytes) -> None:
    """Do nothing with a partial image. Callers that show no previews pass this function as `on_partial`."""


@dataclass(frozen=True, slots=True)
class GeneratedImages:
    """The images of one paid response, byte for byte as the service encoded them.

    `revised_prompts` has one entry per image: the prompt as the service rewrote it, or None. `price_micros`
    is in micro-USD, or None if the price is unknown. `seconds` is how long the call took. If a part of the
    response couldn't be read, `response_body` is the whole response body; otherwise `response_body` is empty.
    """

    images: tuple[bytes, ...]
    revised_prompts: tuple[str | None, ...]
    usage: TokenCount
    request_id: str | None
    model: str
    price_micros: int | None
    seconds: float
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
        on_partial: OnPartial = ignore_partial,
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
        `response_body`. Any other failure raises the error that `translate_error` returns.
        """
        connection = self._connection
        started = connection.clock()
        timeout = self._settings.image_timeout
        send_until, deadline = connection.deadline(timeout), connection.deadline(timeout + listen_seconds)
        call = image_call(params, self._settings, user_tag, inputs)
        stream = connection.open(call, deadline, send_until=send_until)
        sink.begin(
            {name: stream.response.headers[name] for name in _KEPT_HEADERS if name in stream.response.headers}
        )
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
        no_partials = _PartialImages(0, ignore_partial)
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
        connection = self._connection
        with _body_on_error(stream), connection.reading(stream, paid=True):
            response = self._read(stream, partials)
            if not response.incomplete:
                sink.finish()
            with cost_on_error(response, lambda usage: image_price(params.model, usage)):
                images = self._images(response, stream, connection.deadline(download_seconds))
        incomplete = response.incomplete or len(images) < len(response.items)
        return GeneratedImages(
            images=tuple(image for image, _ in images),
            revised_prompts=tuple(revised for _, revised in images),
            usage=response.usage,
            request_id=connection.request_id(stream),
            model=params.model,
            price_micros=image_price(params.model, response.usage),
            seconds=0.0,
            response_body=recorded_bytes(stream.response) if incomplete else b"",
        )

    def _read(self, stream: ResponseStream, partials: _PartialImages) -> ImageResponse:
        """Read the response to its end and return its images, which aren't decoded yet.

        Partial images are passed to `partials`. If reading fails after an image has arrived, the images so
        far are returned with `incomplete` set. If reading fails before that, the error is raised. Raises
        ResponseTruncated if a stream ends without an image.
        """
        response = ImageResponse()
        streamed = is_event_stream(stream.response)
        try:
            for event in self._connection.events(stream, paid=True):
                kind = str(event.get("type", ""))
                if kind.endswith(".partial_image"):
                    partials.show(event)
                elif kind.endswith(".completed") or not streamed:
                    response.add(event)
        except sdk_errors(ImageError) as error:
            if isinstance(error, httpx2.DecodingError):
                record_rest(stream.response)
            if not response.items:
                raise
            response.incomplete = True
            log.warning("image_stream_broken_after_image", error=type(error).__name__)
        if not response.items and streamed:
            raise ResponseTruncated(
                details="the stream ended before the image was complete",
                request_id=self._connection.request_id(stream),
            )
        return response

    def _images(
        self, response: ImageResponse, stream: ResponseStream, deadline: Deadline
    ) -> list[tuple[bytes, str | None]]:
        """Return the images in `response`, each as a pair of its bytes and its revised prompt (or None).

        An image that can't be read is logged and left out. Raises BadResponse if no image can be read.
        """
        images: list[tuple[bytes, str | None]] = []
        problems: list[str] = []
        missing = False
        for item in response.items:
            try:
                revised = text_content(item.get("revised_prompt")) or None
                images.append((self._image_bytes(item, deadline), revised))
            except ImageNotDownloaded as error:
                missing = True
                problems.append(self._connection.redact(error.details))
            except sdk_errors() as error:
                problems.append(self._connection.redact(f"{type(error).__name__}: {error}"))
        if problems:
            log.warning("image_unreadable", reasons=problems, readable=len(images))
        if not images:
            kind = ImageNotDownloaded if missing else BadResponse if problems else NoImage
            raise kind(
                details="; ".join(problems) or "no image in it",
                request_id=self._connection.request_id(stream),
            )
        return images

    def _image_bytes(self, item: JsonObject, deadline: Deadline) -> bytes:
        """Return the bytes of the image in `item`, decoded from base64 or downloaded from the image's URL.

        Raises ValueError if `item` holds no usable image, and ImageNotDownloaded or InvalidURL if the
        download fails.
        """
        encoded, url = item.get("b64_json"), item.get("url")
        if isinstance(encoded, str) and encoded:
            return decode_image(encoded)
        if not isinstance(url, str) or not url:
            raise ValueError("an image without b64_json or url")
        if url.startswith("data:"):
            return decode_image(url)
        return self._downloader.fetch(url, deadline)


class _Body(httpx2.SyncByteStream):
    """A response stream of bytes that were received earlier."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        yield self._body


@dataclass(frozen=True, slots=True)
class _Received:
    """A response that was received earlier, in the form of an open one."""

    response: httpx2.Response

    def close(self) -> None:
        self.response.close()


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
def _body_on_error(stream: ResponseStream) -> Iterator[None]:
    """Add the received response body to a BadResponse or OutcomeUnknown raised in the with-block.

    The call may have been charged, and a paid image may be recovered from the body.
    """
    try:
        yield
    except (BadResponse, OutcomeUnknown) as error:
        error.response_body = recorded_bytes(stream.response)
        raise
