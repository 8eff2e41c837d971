"""Buys images: sends one paid call, and reads as many images as possible from a damaged response."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2
import structlog

from core.errors import BadResponse, ImageError, NoImage, OutcomeUnknown, ResponseTruncated
from core.prompts.recipe import GenerateParams
from core.provider.catalogue import count_partial_images
from core.provider.connection import Connection, ResponseStream
from core.provider.error_translation import sdk_errors
from core.provider.image_download import ImageDownloader
from core.provider.payloads import NO_INPUTS, InputImages, image_call
from core.provider.pricing import TokenCount, image_price
from core.provider.response_limits import Deadline, record_rest, recorded_bytes
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
OnPartial = Callable[[int, bytes], None]


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
    ) -> GeneratedImages:
        """Buy images in one call: new images from `params` alone, or edits of `inputs` if there are any.

        `user_tag` is the user's pseudonym from `payloads.user_tag`. `on_partial(index, image)` is called with
        the index (from 0) and the bytes of each partial image. Exceptions of `on_partial` are only logged.

        Raises OutcomeUnknown if the call may have been charged but its response is incomplete. Raises
        BadResponse if the response holds no readable image. Both errors carry the received response body in
        `response_body`. Any other failure raises the error that `translate_error` returns.
        """
        connection = self._connection
        started = connection.clock()
        deadline = connection.deadline(self._settings.image_timeout)
        stream = connection.open(image_call(params, self._settings, user_tag, inputs), deadline)
        partials = _PartialImages(count_partial_images(params, self._settings), on_partial)
        with _body_on_error(stream), connection.reading(stream, paid=True):
            response = self._read(stream, partials)
            with cost_on_error(response, lambda usage: image_price(params.model, usage)):
                images = self._images(response, stream, deadline)
        incomplete = response.incomplete or len(images) < len(response.items)
        return GeneratedImages(
            images=tuple(image for image, _ in images),
            revised_prompts=tuple(revised for _, revised in images),
            usage=response.usage,
            request_id=connection.request_id(stream),
            model=params.model,
            price_micros=image_price(params.model, response.usage),
            seconds=connection.clock() - started,
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
        for item in response.items:
            try:
                revised = text_content(item.get("revised_prompt")) or None
                images.append((self._image_bytes(item, deadline), revised))
            except sdk_errors() as error:
                problems.append(self._connection.redact(f"{type(error).__name__}: {error}"))
        if problems:
            log.warning("image_unreadable", reasons=problems, readable=len(images))
        if not images:
            kind = BadResponse if problems else NoImage
            raise kind(
                details="; ".join(problems) or "no image in it",
                request_id=self._connection.request_id(stream),
            )
        return images

    def _image_bytes(self, item: JsonObject, deadline: Deadline) -> bytes:
        """Return the bytes of the image in `item`, decoded from base64 or downloaded from the image's URL.

        Raises ValueError if `item` holds no usable image. Raises InvalidURL or HTTPError if the download
        fails.
        """
        encoded, url = item.get("b64_json"), item.get("url")
        if isinstance(encoded, str) and encoded:
            return decode_image(encoded)
        if not isinstance(url, str) or not url:
            raise ValueError("an image without b64_json or url")
        if url.startswith("data:"):
            return decode_image(url)
        return self._downloader.fetch(url, self._connection.timeout(deadline))


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
