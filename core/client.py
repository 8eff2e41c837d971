"""The one border to OpenAI-compatible services: prompts and pictures in, our values and errors out.

Requests go through the SDK's `post`, and answers are read here, as plain JSON: compatible servers
answer in ways that the SDK's models let pass. No exception of the SDK or its transport gets out.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import TYPE_CHECKING, TypeAlias

import httpx2
import structlog

from core.answers import Body, Painting, Writing, decoded, flagged_in, text_of
from core.catalogue import (
    AUTO,
    MAX_PROMPT,
    GenerateParams,
    TokenCount,
    cost,
    image_model,
    is_official,
    partials_of,
    text_cost,
    text_model,
    text_room,
)
from core.deadline import Deadline, event_hooks
from core.errors import (
    AnswerCut,
    BadAnswer,
    ContentFiltered,
    EnhancementCut,
    EnhancementRefused,
    EnhancementTooLong,
    ImageError,
    ImagePromptError,
    NoImage,
    OutcomeUnknown,
    PromptEmpty,
    PromptFlagged,
    RateLimited,
    ServiceBusy,
    ServiceFailed,
    ServiceUnreachable,
    SettingsError,
    WebPage,
)
from core.fetching import Pictures, Resolve, resolved
from core.frames import frames
from core.imaging import extension_of
from core.marks import thinned
from core.prompts import PromptRequest, extract_prompt, messages, missing_facts, styled, with_facts
from core.settings import Moderation, Settings
from core.tape import drain, record, taken, unpacked
from core.translate import (
    ServiceFault,
    error_of,
    fault_of,
    fault_of_body,
    foreign,
    request_id_of,
    told,
    translated,
)

if TYPE_CHECKING:
    import openai

OPENAI_URL = "https://api.openai.com/v1"
OFFLINE_URL = "http://offline.invalid/v1"
OFFLINE_KEY = "offline"
NO_KEY = "none"

_IMAGES, _EDITS, _CHAT = "/images/generations", "/images/edits", "/chat/completions"
_MODERATIONS, _MODERATION_MODEL = "/moderations", "omni-moderation-latest"
# It is a courtesy, and somebody waits for it: a service that hangs may hold a few threads, not all there are.
_MODERATION_SECONDS, _MODERATIONS_AT_ONCE = 5.0, 8
_MULTIPART = {"Content-Type": "multipart/form-data"}
_END = b"[DONE]"
# What stands around each value in JSON. Read, a value takes thirty times its three bytes.
_JOINTS, _MOST_JOINTS = (b",", b"[", b"{"), 1_000_000
# What is packed can't be counted before it is unpacked, and pictures get no smaller by it.
_UNPACKED = {"Accept-Encoding": "identity"}
_KEPT = frozenset({"model", "prompt", "messages", "n", "size"})
_TEXT_TRIES = 3
_PASSING = (RateLimited, ServiceBusy, ServiceFailed, ServiceUnreachable)
_LONGEST_PAUSE = 10.0
# In characters of base64: twelve megabytes of a picture.
_LONGEST_PREVIEW = 16 * 2**20
# In characters: what MOST_ROOM tokens may be, a model's reasoning among them.
_MOST_WRITTEN = 100_000
_NOT_A_PROMPT = "The service answered with something that isn't a prompt."
_log = structlog.get_logger(__name__)

Answer: TypeAlias = "openai.Stream[object]"
Part = tuple[str, tuple[str, bytes, str]]
OnPartial = Callable[[int, bytes], None]


def ignore(index: int, picture: bytes) -> None:
    """Take no notice of a partial picture."""


@dataclass(frozen=True, slots=True)
class Attached:
    """A picture that goes with a call; `mime` is its type."""

    data: bytes = field(repr=False)
    mime: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """The pictures that an image is made from, and a PNG that is transparent where it may change."""

    images: tuple[Attached, ...] = ()
    mask: Attached | None = None

    @property
    def parts(self) -> list[Part]:
        """As parts of a form. A single one has the name that every compatible service knows."""
        name = "image" if len(self.images) == 1 else "image[]"
        named = [(name, f"image-{number}", image) for number, image in enumerate(self.images, 1)]
        masks = [("mask", "mask", self.mask)] if self.mask else []
        return [
            (field_name, (f"{stem}.{extension_of(file.mime)}", file.data, file.mime))
            for field_name, stem, file in (*named, *masks)
        ]


NO_INPUTS = Inputs()


@dataclass(frozen=True, slots=True)
class GeneratedImages:
    """One paid answer with every picture that came in it, as the service encoded them.

    `revised_prompts` is as long as `images`. `price_micros` is None when the price is unknown. `answer` is
    the whole of it where a part couldn't be read.
    """

    images: tuple[bytes, ...]
    revised_prompts: tuple[str | None, ...]
    usage: TokenCount
    request_id: str | None
    model: str
    price_micros: int | None
    seconds: float
    answer: bytes = b""


@dataclass(frozen=True, slots=True)
class Enhanced:
    """A finished prompt; `added_back` are the facts that the model had left out."""

    text: str
    added_back: tuple[str, ...]
    usage: TokenCount
    request_id: str | None
    model: str
    price_micros: int | None
    seconds: float


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


class EnhanceStream:
    """The pieces of an enhancement as they arrive. After the last one, `result` is there.

    Iterating raises the errors of `ImageClient.enhance`.
    """

    def __init__(self, pieces: Generator[str, None, Enhanced]) -> None:
        self._pieces = pieces
        self._result: Enhanced | None = None

    def __iter__(self) -> EnhanceStream:
        return self

    def __next__(self) -> str:
        try:
            return next(self._pieces)
        except StopIteration as stop:
            self._result = stop.value or self._result
            raise StopIteration from None

    @property
    def result(self) -> Enhanced:
        """The finished prompt; RuntimeError before the last piece was taken."""
        if self._result is None:
            raise RuntimeError("the enhancement isn't finished")
        return self._result


@dataclass(frozen=True, slots=True)
class _Line:
    """The SDK's client, and the connections below it."""

    sdk: openai.OpenAI
    wire: httpx2.Client


@dataclass(frozen=True, slots=True)
class _Call:
    """One request, and how it was softened after the service had refused a part of it."""

    path: str
    body: Body
    inputs: Inputs = NO_INPUTS
    lightened: bool = False
    unstreamed: bool = False

    @property
    def paid(self) -> bool:
        return self.path in (_IMAGES, _EDITS)

    def softened(self, fault: ServiceFault) -> _Call | None:
        """The call without what `fault` complains of, each remedy once; None when there is none."""
        if fault.refuses_streaming and not self.unstreamed and self.body.get("stream"):
            return replace(self, body=_without(self.body, "stream", "partial_images"), unstreamed=True)
        name = fault.refused_parameter(frozenset(self.body) - _KEPT)
        if name is None or self.lightened:
            return None
        also = ("partial_images", "stream_options") if name == "stream" else ()
        return replace(self, body=_without(self.body, name, *also), lightened=True)


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
        self._moderating = threading.BoundedSemaphore(_MODERATIONS_AT_ONCE)
        self._resolve = resolve
        self._line: _Line | None = None
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

    def _connected(self) -> _Line:
        with self._connecting:
            if self._line is None:
                self._line = _line(self._settings, self._transport, self._clock)
            return self._line

    def enhance(self, request: PromptRequest, *, user_tag: str) -> EnhanceStream:
        """Start enhancing `request` with the default text model.

        Raises PromptEmpty at once; while iterating, any error of core.translate, EnhancementRefused,
        EnhancementCut, EnhancementTooLong, PromptBlocked or ImagePromptError.
        """
        if request.empty:
            raise PromptEmpty
        call = _Call(_CHAT, self._chat_body(request, user_tag))
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
        logged. Raises any error of core.translate, OutcomeUnknown when it may have been paid, or BadAnswer;
        these two have in `answer` what came in a picture's place.
        """
        started = self._clock()
        deadline = self._deadline(self._settings.image_timeout)
        path = _EDITS if inputs.images else _IMAGES
        answer = self._open(_Call(path, self._image_body(params, user_tag), inputs), deadline)
        with _taping(answer), self._reading(answer, paid=True):
            painting = self._paint(answer, _Previews(partials_of(params, self._settings), on_partial))
            with _costing(painting, lambda usage: cost(params.model, usage)):
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

        () where it is switched off (MODERATION). Raises any error of core.translate, and ServiceBusy at once
        while _MODERATIONS_AT_ONCE others wait for an answer.
        """
        if not self._moderates:
            return ()
        if not self._moderating.acquire(blocking=False):
            raise ServiceBusy(details=f"{_MODERATIONS_AT_ONCE} moderations are waited for already")
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
        call = _Call(_MODERATIONS, {"model": _MODERATION_MODEL, "input": list(texts)})
        answer = self._open(call, self._deadline(_MODERATION_SECONDS))
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

    def _open(self, call: _Call, deadline: Deadline) -> Answer:
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

    def _send(self, call: _Call, deadline: Deadline) -> Answer:
        line = self._connected()
        import openai  # noqa: PLC0415

        parts = call.inputs.parts
        return line.sdk.post(
            call.path,
            cast_to=object,
            body=call.body,
            files=parts or None,
            options={"timeout": self._timeout(deadline), "headers": _MULTIPART if parts else {}},
            stream=True,
            stream_cls=openai.Stream[object],
        )

    def _open_patiently(self, call: _Call, deadline: Deadline) -> Answer:
        """Send a text call, again after a passing failure, as long as there is time."""
        for attempt in range(1, _TEXT_TRIES + 1):
            try:
                return self._open(call, deadline)
            except _PASSING as error:
                pause = error.retry_after if error.retry_after is not None else 0.5 * attempt
                if attempt == _TEXT_TRIES or pause >= deadline.left or pause > _LONGEST_PAUSE:
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
        for frame in _frames(answer, pictures=paid):
            try:
                event = _object(frame, answer)
            except ValueError as error:
                wrong = error
                continue
            if event.get("error") or event.get("type") == "error":
                raise error_of(fault_of_body(event, answer.response), paid=paid, secret=self._secret)
            yield event
        if wrong is not None:
            raise wrong

    def _enhance(self, request: PromptRequest, call: _Call) -> Generator[str, None, Enhanced]:
        started = self._clock()
        answer = self._open_patiently(call, self._deadline(self._settings.text_timeout))
        writing, model = Writing(), self._settings.default_text_model
        with _costing(writing, lambda usage: text_cost(model, usage)):
            try:
                with self._reading(answer, paid=False):
                    for event in self._events(answer, paid=False):
                        piece = writing.take(event)
                        _refuse_longer(writing.length, _MOST_WRITTEN, self._request_id(answer))
                        if piece:
                            yield piece
            except BadAnswer as error:
                if not isinstance(error, WebPage):
                    error.message = _NOT_A_PROMPT
                raise
            return self._enhanced(request, writing, self._request_id(answer), self._clock() - started)

    def _request_id(self, answer: Answer) -> str | None:
        return request_id_of(answer.response, secret=self._secret)

    def _enhanced(
        self, request: PromptRequest, writing: Writing, request_id: str | None, seconds: float
    ) -> Enhanced:
        _refuse_unfinished(writing, request_id, self._secret)
        text = extract_prompt(writing.text)
        if not text:
            empty = ImagePromptError(details="empty answer", request_id=request_id)
            empty.charged = True
            raise empty
        _refuse_longer(len(text), MAX_PROMPT, request_id)
        # With more marks on a letter it couldn't be generated.
        text = thinned(text)
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
                elif kind.endswith(".completed") or not _is_stream(answer):
                    painting.take(event)
        except foreign(ImageError) as error:
            if isinstance(error, httpx2.DecodingError):
                drain(answer.response)
            if not painting.items:
                raise
            painting.broken = True
            _log.warning("image_stream_broke_after_the_picture", error=type(error).__name__)
        if not painting.items and _is_stream(answer):
            raise AnswerCut(
                details="the stream ended before the picture was complete",
                request_id=self._request_id(answer),
            )
        return painting

    def _pictures(
        self, painting: Painting, answer: Answer, deadline: Deadline
    ) -> list[tuple[bytes, str | None]]:
        """Every picture that can be had, with its revised prompt. Raises BadAnswer if there is none."""
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
            kind = BadAnswer if wrong else NoImage
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


def _line(settings: Settings, transport: httpx2.BaseTransport | None, clock: Callable[[], float]) -> _Line:
    """The SDK's client over `transport`, with nothing left for it to look up in the environment.

    An empty organisation keeps it from reading OPENAI_ORG_ID, and None afterwards keeps the header
    away; OPENAI_CUSTOM_HEADERS has no argument that would keep it out.
    """
    import openai  # noqa: PLC0415

    wire = openai.DefaultHttpx2Client(
        transport=transport, follow_redirects=False, event_hooks=_hooks(clock), headers=_UNPACKED
    )
    key = settings.openai_api_key
    sdk = openai.OpenAI(
        api_key=OFFLINE_KEY if settings.offline else key.get_secret_value() if key else NO_KEY,
        admin_api_key="",
        organization="",
        project="",
        webhook_secret="",
        base_url=OFFLINE_URL if settings.offline else settings.openai_base_url or OPENAI_URL,
        max_retries=0,
        http_client=wire,
    )
    sdk.organization = sdk.project = None
    sdk._custom_headers = {}
    return _Line(sdk, wire)


def _refuse_unfinished(writing: Writing, request_id: str | None, secret: str) -> None:
    if writing.refusal:
        raise EnhancementRefused(details=told(writing.refusal, secret), request_id=request_id)
    if writing.finish == "content_filter":
        filtered = ContentFiltered(details="finish_reason content_filter", request_id=request_id)
        filtered.charged = None
        raise filtered
    if writing.finish == "length":
        raise EnhancementTooLong(details="finish_reason length", request_id=request_id)
    if writing.finish is None:
        raise EnhancementCut(details="the answer ended without a finish_reason", request_id=request_id)


def _refuse_longer(length: int, most: int, request_id: str | None) -> None:
    """Raise EnhancementTooLong for more characters than `most`."""
    if length > most:
        raise EnhancementTooLong(details=f"more than {most:,} characters", request_id=request_id)


def _is_stream(answer: Answer) -> bool:
    return str(answer.response.headers.get("content-type", "")).startswith("text/event-stream")


def _frames(answer: Answer, *, pictures: bool) -> Iterator[bytes]:
    """What should be JSON: the data of a stream's events until its end is said, or a plain answer's body."""
    pieces = unpacked(answer.response, pictures=pictures)
    if not _is_stream(answer):
        return iter((b"".join(pieces),))
    return takewhile(lambda frame: not frame.startswith(_END), frames(pieces))


def _object(frame: bytes, answer: Answer) -> Body:
    """The JSON object in `frame`. Raises ValueError with its first words."""
    if sum(frame.count(sign) for sign in _JOINTS) > _MOST_JOINTS:
        raise ValueError(f"more than {_MOST_JOINTS:,} values in one object")
    try:
        value = json.loads(frame)
    except (ValueError, RecursionError) as error:
        kind = answer.response.headers.get("content-type", "no content type")
        raise ValueError(f"{error} in {kind}: {frame[:200].decode(errors='replace')}") from error
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, not {type(value).__name__}")
    return value


@contextmanager
def _taping(answer: Answer) -> Iterator[None]:
    """Give an error what came of an answer that no picture could be read from: it may have been paid."""
    try:
        yield
    except (BadAnswer, OutcomeUnknown) as error:
        error.answer = taken(answer.response)
        raise


@contextmanager
def _costing(answer: Writing | Painting, price: Callable[[TokenCount], int | None]) -> Iterator[None]:
    """Give an error what its answer says that it cost: what failed may have been charged all the same."""
    try:
        yield
    except ImageError as error:
        error.input_tokens = answer.usage.input_tokens
        error.output_tokens = answer.usage.output_tokens
        error.price_micros = price(answer.usage)
        raise


def _hooks(clock: Callable[[], float]) -> dict[str, list[Callable[..., None]]]:
    hooks = event_hooks(clock)
    return hooks | {"response": [*hooks["response"], record]}


def _without(body: Body, *names: str) -> Body:
    return {name: value for name, value in body.items() if name not in names}
