"""The one border to OpenAI-compatible services: prompts and pictures in, our values and errors out.

Requests go through the SDK's `post`, and answers are read here, as plain JSON: compatible servers
answer in ways that the SDK's models let pass. No exception of the SDK or its transport gets out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import httpx2
import structlog

from core.common.text import limit_combining_marks
from core.errors import (
    BadResponse,
    ImageError,
    ImagePromptError,
    NoImage,
    OutcomeUnknown,
    PromptEmpty,
    PromptFlagged,
    ResponseTruncated,
    ServiceBusy,
    SettingsError,
    WebPageReceived,
)
from core.prompts.extraction import extract_prompt, missing_facts, with_facts
from core.prompts.instructions import messages
from core.prompts.recipe import AUTO, GenerateParams
from core.prompts.request import PromptRequest
from core.prompts.styles import styled
from core.provider.catalogue import MAX_PROMPT, image_model, is_official, partials_of, text_model
from core.provider.chat import MAX_TEXT_LENGTH, NOT_A_PROMPT, refuse_longer, refuse_unfinished
from core.provider.connection import (
    LONGEST_PAUSE,
    OPENAI_URL,
    TEXT_ATTEMPTS,
    TRANSIENT_ERRORS,
    Answer,
    Connection,
    connect,
    data_frames,
    is_stream,
    json_object,
)
from core.provider.error_translation import (
    error_of,
    fault_of,
    fault_of_body,
    foreign,
    request_id_of,
    told,
    translated,
)
from core.provider.image_download import Pictures, Resolve, resolved
from core.provider.moderation import MODERATION_SECONDS, MODERATIONS_AT_ONCE
from core.provider.payloads import (
    CHAT_PATH,
    EDITS_PATH,
    IMAGES_PATH,
    MODERATION_MODEL,
    MODERATIONS_PATH,
    MULTIPART_HEADERS,
    NO_INPUTS,
    Call,
    Inputs,
)
from core.provider.pricing import cost, text_cost, text_room
from core.provider.response_limits import Deadline, drain, taken
from core.provider.responses import (
    Body,
    Enhanced,
    EnhanceStream,
    GeneratedImages,
    Painting,
    Writing,
    cost_on_error,
    decoded,
    flagged_in,
    text_of,
)
from core.settings import Moderation, Settings

if TYPE_CHECKING:
    pass

_log = structlog.get_logger(__name__)


# In characters of base64: twelve megabytes of a picture.
_LONGEST_PREVIEW = 16 * 2**20
OnPartial = Callable[[int, bytes], None]


def ignore(index: int, picture: bytes) -> None:
    """Take no notice of a partial picture."""


class _Previews:
    """The partial pictures of one call: each of the `most` that were asked for, once, for it is stored."""

    def __init__(self, most: int, on_partial: OnPartial) -> None:
        self._awaited = set(range(most))
        self._on_partial = on_partial

    def show(self, event: Body) -> None:
        """Hand a partial picture on; nothing that fails here may cost the paid answer."""
        number, encoded = event.get("partial_image_index") or 0, str(event.get("b64_json") or "")
        if not isinstance(number, int) or number not in self._awaited or len(encoded) > _LONGEST_PREVIEW:
            return
        self._awaited.remove(number)
        try:
            self._on_partial(int(number), decoded(encoded))
        except Exception as error:
            _log.warning("partial_picture_not_shown", error=f"{type(error).__name__}: {error}")


class ImageClient:
    """Enhances prompts and makes images at the service that the settings name.

    Safe to use from several threads. `transport` replaces the network, and `resolve` the names in it; with
    the offline engine a transport must be given. Raises SettingsError when OPENAI_BASE_URL isn't an address.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        transport: httpx2.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        resolve: Resolve = resolved,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        key = settings.openai_api_key
        self._secret = key.get_secret_value() if key else ""
        self._transport = transport
        self._connecting = threading.Lock()
        self._moderating = threading.BoundedSemaphore(MODERATIONS_AT_ONCE)
        self._resolve = resolve
        self._line: Connection | None = None
        self._fetching: Pictures | None = None
        try:
            self._official = is_official(settings)
            httpx2.URL(settings.openai_base_url or OPENAI_URL)
        except (httpx2.InvalidURL, ValueError) as error:
            raise SettingsError("OPENAI_BASE_URL isn't a valid address.", details=str(error)) from error

    def prepare(self) -> None:
        """Load the SDK, so that the first call needn't: a fifth of a second, too long for a start."""
        self._connected()

    def close(self) -> None:
        if self._fetching:
            self._fetching.close()
        if self._line:
            self._line.wire.close()

    def _connected(self) -> Connection:
        with self._connecting:
            if self._line is None:
                self._line = connect(self._settings, self._transport, self._clock)
            return self._line

    def enhance(self, request: PromptRequest, *, user_tag: str) -> EnhanceStream:
        """Start enhancing `request` with the default text model.

        Raises PromptEmpty at once; while iterating, any error of `error_translation`, EnhancementRefused,
        EnhancementTruncated, EnhancementTooLong, PromptBlocked or ImagePromptError.
        """
        if request.empty:
            raise PromptEmpty
        call = Call(CHAT_PATH, self._chat_body(request, user_tag))
        return EnhanceStream(self._enhance(request, call))

    def generate(
        self,
        params: GenerateParams,
        *,
        user_tag: str,
        inputs: Inputs = NO_INPUTS,
        on_partial: OnPartial = ignore,
    ) -> GeneratedImages:
        """Buy the images of `params`: one request that is never repeated once it may have been paid.

        With `inputs` they are made from these pictures as well as from the words.
        `on_partial(index, bytes)` is given each partial picture that was asked for, once; what it raises is
        logged. Raises any error of `error_translation`, OutcomeUnknown when it may have been paid, or
        BadResponse; these two have in `answer` what came in a picture's place.
        """
        started = self._clock()
        deadline = self._deadline(self._settings.image_timeout)
        path = EDITS_PATH if inputs.images else IMAGES_PATH
        answer = self._open(Call(path, self._image_body(params, user_tag), inputs), deadline)
        with _taping(answer), self._reading(answer, paid=True):
            painting = self._paint(answer, _Previews(partials_of(params, self._settings), on_partial))
            with cost_on_error(painting, lambda usage: cost(params.model, usage)):
                images = self._pictures(painting, answer, deadline)
        return GeneratedImages(
            images=tuple(picture for picture, _ in images),
            revised_prompts=tuple(revised for _, revised in images),
            usage=painting.usage,
            request_id=self._request_id(answer),
            model=params.model,
            price_micros=cost(params.model, painting.usage),
            seconds=self._clock() - started,
            answer=taken(answer.response) if painting.broken or len(images) < len(painting.items) else b"",
        )

    def moderate(self, texts: Sequence[str]) -> tuple[str, ...]:
        """The categories in which the service's moderation flags any of `texts`, by one call that is free.

        () where it is switched off (MODERATION). Raises any error of `error_translation`, and ServiceBusy at
        once while MODERATIONS_AT_ONCE others wait for an answer.
        """
        if not self._moderates:
            return ()
        if not self._moderating.acquire(blocking=False):
            raise ServiceBusy(details=f"{MODERATIONS_AT_ONCE} moderations are waited for already")
        try:
            return self._moderated(texts)
        finally:
            self._moderating.release()

    def screen(self, texts: Sequence[str]) -> None:
        """Have the service's moderation look at what is going to be paid for. Raises PromptFlagged.

        It is a courtesy: where it doesn't answer, the call goes on.
        """
        try:
            categories = self.moderate(texts)
        except ImageError as error:
            _log.warning("a prompt could not be looked at first", code=error.code, details=error.details)
            return
        if categories:
            raise PromptFlagged(categories=categories)

    def _moderated(self, texts: Sequence[str]) -> tuple[str, ...]:
        call = Call(MODERATIONS_PATH, {"model": MODERATION_MODEL, "input": list(texts)})
        answer = self._open(call, self._deadline(MODERATION_SECONDS))
        with self._reading(answer, paid=False):
            found = [name for event in self._events(answer, paid=False) for name in flagged_in(event)]
        return tuple(told(name, self._secret) for name in found)

    @property
    def _moderates(self) -> bool:
        chosen = self._settings.moderation
        wanted = self._official if chosen is Moderation.AUTO else chosen is Moderation.ON
        return wanted and not self._settings.offline

    def _chat_body(self, request: PromptRequest, user_tag: str) -> Body:
        model = text_model(self._settings.default_text_model)
        body: Body = {
            "model": model.name,
            "messages": messages(request),
            "max_completion_tokens": text_room(request),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if model.effort:
            body["reasoning_effort"] = model.effort
        return body | self._tag(user_tag)

    def _image_body(self, params: GenerateParams, user_tag: str) -> Body:
        model = image_model(params.model)
        own_style = params.style if params.style in model.api_styles else None
        partials = partials_of(params, self._settings)
        body: Body = {
            "model": model.name,
            "prompt": styled(params.prompt, params.style),
            "n": params.n,
            "size": params.size,
            "quality": params.quality,
            "background": params.background,
            "output_format": params.output_format if params.output_format != "png" else AUTO,
            "style": own_style or AUTO,
            "response_format": "b64_json" if model.sends_response_format else AUTO,
        }
        if partials:
            body |= {"stream": True, "partial_images": partials}
        return {name: value for name, value in body.items() if value != AUTO} | self._tag(user_tag)

    def _tag(self, user_tag: str) -> Body:
        return {"safety_identifier": user_tag} if self._official else {}

    def _deadline(self, seconds: float) -> Deadline:
        return Deadline(self._clock() + seconds, self._clock)

    def _timeout(self, deadline: Deadline) -> httpx2.Timeout:
        left = deadline.left
        return httpx2.Timeout(left, connect=min(left, self._settings.connect_timeout))

    def _open(self, call: Call, deadline: Deadline) -> Answer:
        """Send `call`, softened where the service refuses a part; its answer is still unread."""
        while True:
            try:
                return self._send(call, deadline)
            except foreign() as error:
                fault = fault_of(error)
                softened = call.softened(fault) if fault else None
                if softened is None or deadline.over:
                    raise translated(error, paid=call.paid, secret=self._secret) from error
                call = softened

    def _send(self, call: Call, deadline: Deadline) -> Answer:
        line = self._connected()
        import openai  # noqa: PLC0415

        parts = call.inputs.parts
        return line.sdk.post(
            call.path,
            cast_to=object,
            body=call.body,
            files=parts or None,
            options={"timeout": self._timeout(deadline), "headers": MULTIPART_HEADERS if parts else {}},
            stream=True,
            stream_cls=openai.Stream[object],
        )

    def _open_patiently(self, call: Call, deadline: Deadline) -> Answer:
        """Send a text call, again after a passing failure, as long as there is time."""
        for attempt in range(1, TEXT_ATTEMPTS + 1):
            try:
                return self._open(call, deadline)
            except TRANSIENT_ERRORS as error:
                pause = error.retry_after if error.retry_after is not None else 0.5 * attempt
                if attempt == TEXT_ATTEMPTS or pause >= deadline.left or pause > LONGEST_PAUSE:
                    raise
                self._sleep(pause)
        raise AssertionError("the last try returns or raises")

    @contextmanager
    def _reading(self, answer: Answer, *, paid: bool) -> Iterator[None]:
        """Close `answer` at the end, and translate what fails while it is read."""
        with closing(answer):
            try:
                yield
            except foreign() as error:
                raise translated(error, paid=paid, secret=self._secret, response=answer.response) from error

    def _events(self, answer: Answer, *, paid: bool) -> Iterator[Body]:
        """The JSON objects of `answer`: its stream's, or the one of a plain answer.

        Raises ValueError for what is none: in a stream only behind the rest, which may be a paid picture.
        """
        wrong: ValueError | None = None
        for frame in data_frames(answer, pictures=paid):
            try:
                event = json_object(frame, answer)
            except ValueError as error:
                wrong = error
                continue
            if event.get("error") or event.get("type") == "error":
                raise error_of(fault_of_body(event, answer.response), paid=paid, secret=self._secret)
            yield event
        if wrong is not None:
            raise wrong

    def _enhance(self, request: PromptRequest, call: Call) -> Generator[str, None, Enhanced]:
        started = self._clock()
        answer = self._open_patiently(call, self._deadline(self._settings.text_timeout))
        writing, model = Writing(), self._settings.default_text_model
        with cost_on_error(writing, lambda usage: text_cost(model, usage)):
            try:
                with self._reading(answer, paid=False):
                    for event in self._events(answer, paid=False):
                        piece = writing.take(event)
                        refuse_longer(writing.length, MAX_TEXT_LENGTH, self._request_id(answer))
                        if piece:
                            yield piece
            except BadResponse as error:
                if not isinstance(error, WebPageReceived):
                    error.message = NOT_A_PROMPT
                raise
            return self._enhanced(request, writing, self._request_id(answer), self._clock() - started)

    def _request_id(self, answer: Answer) -> str | None:
        return request_id_of(answer.response, secret=self._secret)

    def _enhanced(
        self, request: PromptRequest, writing: Writing, request_id: str | None, seconds: float
    ) -> Enhanced:
        refuse_unfinished(writing, request_id, self._secret)
        text = extract_prompt(writing.text)
        if not text:
            empty = ImagePromptError(details="empty answer", request_id=request_id)
            empty.charged = True
            raise empty
        refuse_longer(len(text), MAX_PROMPT, request_id)
        # With more marks on a letter it couldn't be generated.
        text = limit_combining_marks(text)
        missing = missing_facts(text, request)
        model = self._settings.default_text_model
        return Enhanced(
            text=with_facts(text, missing),
            added_back=missing,
            usage=writing.usage,
            request_id=request_id,
            model=model,
            price_micros=text_cost(model, writing.usage),
            seconds=seconds,
        )

    def _paint(self, answer: Answer, previews: _Previews) -> Painting:
        """Read the answer to its end. What has come complete is kept when the rest fails."""
        painting = Painting()
        try:
            for event in self._events(answer, paid=True):
                kind = str(event.get("type", ""))
                if kind.endswith(".partial_image"):
                    previews.show(event)
                elif kind.endswith(".completed") or not is_stream(answer):
                    painting.take(event)
        except foreign(ImageError) as error:
            if isinstance(error, httpx2.DecodingError):
                drain(answer.response)
            if not painting.items:
                raise
            painting.broken = True
            _log.warning("image_stream_broke_after_the_picture", error=type(error).__name__)
        if not painting.items and is_stream(answer):
            raise ResponseTruncated(
                details="the stream ended before the picture was complete",
                request_id=self._request_id(answer),
            )
        return painting

    def _pictures(
        self, painting: Painting, answer: Answer, deadline: Deadline
    ) -> list[tuple[bytes, str | None]]:
        """Every picture that can be had, with its revised prompt. Raises BadResponse if there is none."""
        pictures: list[tuple[bytes, str | None]] = []
        wrong: list[str] = []
        for item in painting.items:
            try:
                pictures.append((self._picture(item, deadline), text_of(item.get("revised_prompt")) or None))
            except foreign() as error:
                wrong.append(told(f"{type(error).__name__}: {error}", self._secret))
        if wrong:
            _log.warning("picture_unreadable", reasons=wrong, kept=len(pictures))
        if not pictures:
            kind = BadResponse if wrong else NoImage
            raise kind(details="; ".join(wrong) or "no image in it", request_id=self._request_id(answer))
        return pictures

    def _picture(self, item: Body, deadline: Deadline) -> bytes:
        """The bytes of one item, from its base64 text or its address. Raises ValueError or HTTPError."""
        encoded, url = item.get("b64_json"), item.get("url")
        if isinstance(encoded, str) and encoded:
            return decoded(encoded)
        if not isinstance(url, str) or not url:
            raise ValueError("an image without b64_json or url")
        if url.startswith("data:"):
            return decoded(url)
        return self._pictures_elsewhere().fetch(url, self._timeout(deadline))

    def _pictures_elsewhere(self) -> Pictures:
        """What fetches pictures that come as an address: most services never send one."""
        line = self._connected()
        with self._connecting:
            if self._fetching is None:
                self._fetching = Pictures(
                    line.sdk.base_url,
                    self._settings.picture_hosts,
                    transport=self._transport,
                    clock=self._clock,
                    resolve=self._resolve,
                )
            return self._fetching


@contextmanager
def _taping(answer: Answer) -> Iterator[None]:
    """Give an error what came of an answer that no picture could be read from: it may have been paid."""
    try:
        yield
    except (BadResponse, OutcomeUnknown) as error:
        error.answer = taken(answer.response)
        raise
