"""A loopback server that speaks OpenAI's wire format, with latency, streaming and faults.

In tests, `with openai_service() as service:` gives its address, its journal of requests and
`service.script(...)`. For browser tests, `python -m tests.support.openai_service --port 8600 --latency 5`
runs the same server; markers in the prompt steer it from outside, for both kinds of call or for one:

    [[error:quota spent]]   [[image error:moderation]]   [[text error:overloaded]]   (see ERRORS)
    [[fault:truncated]]     [[image fault:html]]         (see FAULTS)
    [[latency:3]]           [[image pause:1.5]]          seconds before the response; between its parts
    [[flagged:violence]]    [[check fault:silent]]       moderation categories; a fault of the moderation call

The process prints its base URL when it is ready. `GET /journal` returns the requests so far, and the SHA-256
of each image that was sent completely.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gzip
import hashlib
import json
import re
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from io import BytesIO
from typing import Any

import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from core.prompts.recipe import GenerateParams

HELLO = "loopback service"
REQUEST_ID = "req_loopback"
_FLAGGED = re.compile(r"\[\[flagged:([^\]]+)\]\]")
_MARKER = re.compile(r"\[\[(?:(image|text|check) )?(error|fault|latency|pause):([^\]]+)\]\]")
_EVENT_STREAM = "text/event-stream"
_EVENT = re.compile(rb"^data:", re.MULTILINE)
_IMAGE = re.compile(rb'"b64_json":\s*"([A-Za-z0-9+/=]+)"')
KEY = "sk-loopback-0123456789"
TAG = "person-hash"
DALL_E = GenerateParams("a fox", "dall-e-3", size="1024x1024", quality="hd", style="vivid")


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """An error response. `body` is a text, or in OpenAI's format the value of the field `error`.

    With `whole`, it is the whole JSON of another service's format.
    """

    status: int
    body: dict[str, Any] | list[Any] | str
    headers: dict[str, str] = field(default_factory=dict)
    whole: bool = False


def _row(status: int, code: str | None, message: str, **more: Any) -> ErrorRow:
    headers = more.pop("headers", {})
    body = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return ErrorRow(status, body | more, headers)


ERRORS: dict[str, ErrorRow] = {
    "key rejected": _row(401, "invalid_api_key", "Incorrect API key provided: sk-proj-abcd****wxyz."),
    "organisation unverified": _row(403, None, "Your organization must be verified to use this model."),
    "unverified to stream": _row(400, None, "Your organization must be verified to stream this model."),
    "model forbidden": _row(403, "model_not_found", "Project has no access to the model."),
    "model unknown": _row(404, "model_not_found", "The model does not exist."),
    "region": _row(403, "unsupported_country_region_territory", "Country, region not supported."),
    "forbidden": _row(403, None, "You have insufficient permissions for this operation."),
    "quota spent": _row(
        429, "insufficient_quota", "You exceeded your current quota.", type="insufficient_quota"
    ),
    "credit spent": _row(429, "credit_balance_exhausted", "Your credit balance is exhausted."),
    "billing limit": _row(400, "billing_hard_limit_reached", "Billing hard limit has been reached."),
    "rate limit": _row(
        429, "rate_limit_exceeded", "Rate limit reached.", type="requests", headers={"Retry-After": "7"}
    ),
    "rate limit passing": _row(429, "rate_limit_exceeded", "Rate limit.", headers={"retry-after-ms": "250"}),
    "slow down": _row(429, "slow_down", "Slow down.", headers={"Retry-After": "3"}),
    "overloaded": _row(503, "server_is_overloaded", "The server is overloaded.", type="server_error"),
    "server error": _row(500, "server_error", "The server had an error.", type="server_error"),
    "server error without code": _row(500, None, "The server had an error.", type="server_error"),
    "gateway": ErrorRow(502, "<html><body>Bad gateway</body></html>"),
    "gateway timeout": ErrorRow(504, "<html><body>Gateway time-out</body></html>"),
    "moderation": _row(
        400,
        "moderation_blocked",
        "Your request was rejected by the safety system.",
        type="image_generation_user_error",
        moderation_details={"categories": ["violence", "self-harm"]},
    ),
    "content policy": _row(400, "content_policy_violation", "Your request was rejected."),
    "content filter": _row(
        400,
        "content_filter",
        "The response was filtered.",
        innererror={"content_filter_result": {"hate": {"filtered": True}, "sexual": {"filtered": False}}},
    ),
    "image user error": _row(400, None, "This can't be drawn.", type="image_generation_user_error"),
    "invalid size": _row(400, "invalid_value", "Invalid size '1x1'.", param="size"),
    "unsupported parameter": _row(
        400, "unsupported_parameter", "Unsupported parameter: 'quality'.", param="quality"
    ),
    "unsupported value": _row(400, "unsupported_value", "Unsupported value: 'quality'.", param="quality"),
    "unknown parameter": _row(400, "unknown_parameter", "Unknown parameter: 'size'.", param="size"),
    "too long": _row(400, "string_above_max_length", "Invalid 'prompt': string too long.", param="prompt"),
    "too large": ErrorRow(413, "<html><body>Request entity too large</body></html>"),
    "no such path": ErrorRow(404, "<html><body>Not found</body></html>"),
    "moved": ErrorRow(307, "", {"Location": "http://other.invalid/v1"}),
    "teapot": ErrorRow(418, "short and stout"),
}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How one request is answered.

    `latency` is the time before the response and `pause` the time between its parts, in seconds. `stall`
    says where the server stops sending until it is closed: "start" or "middle"; with "drip" it sends line
    ends for as long. `hold`, "start" or "middle", stops it until `OpenAIService.let_go`. `corrupt` replaces
    the complete response of an image call.
    """

    latency: float = 0
    pause: float = 0
    error: ErrorRow | None = None
    stall: str = ""
    hold: str = ""
    plain: bool = False
    frames: tuple[dict[str, Any], ...] = ()
    truncated: bool = False
    dropped: bool = False
    broken_after_completed: bool = False
    raw: bytes | None = None
    raw_type: str = "application/json"
    corrupt: Callable[[bytes], bytes] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    image_urls: tuple[str, ...] = ()
    extra_images: int = 0
    text: str | None = None
    refusal: str = ""
    finish: str | None = "stop"
    usage: bool = True


FAULTS: dict[str, Behaviour] = {
    "plain": Behaviour(plain=True),
    "truncated": Behaviour(truncated=True),
    "dropped": Behaviour(dropped=True),
    "stall": Behaviour(stall="middle"),
    "silent": Behaviour(stall="start"),
    "drip": Behaviour(stall="drip"),
    "drip of JSON": Behaviour(stall="drip", plain=True),
    "html": Behaviour(raw=b"<!doctype html><title>Sign in</title>", raw_type="text/html"),
    "malformed": Behaviour(raw=b'{"data": [{"b64_json":'),
    "not an object": Behaviour(raw=b'["data"]'),
    "no images": Behaviour(raw=b'{"created": 1, "data": []}'),
    "error frame": Behaviour(frames=({"error": ERRORS["moderation"].body},)),
    "flat error frame": Behaviour(
        frames=({"type": "error", "code": "server_error", "message": "The server had an error."},)
    ),
    "extra images": Behaviour(plain=True, extra_images=2),
    "refusal": Behaviour(text="", refusal="I can't help with that."),
    "length": Behaviour(finish="length"),
    "content filter": Behaviour(finish="content_filter"),
    "empty": Behaviour(text=""),
    "fenced": Behaviour(text='```json\n{"prompt": "A quiet harbour."}\n```'),
    "prose": Behaviour(text="Here is the enhanced prompt:\n\nA quiet harbour."),
}


@dataclass(slots=True)
class RecordedRequest:
    """One request as it arrived; header names are in lower case.

    `status` is 0 until it is answered. `delivered` has the SHA-256 of each image that was sent completely.
    `left` is the time at which the latest chunk was sent, in seconds since 1970; 0 before the first.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    status: int = 0
    delivered: list[str] = field(default_factory=list)
    left: float = 0


class OpenAIService:
    """The state of the server: its journal of requests, and its script of responses."""

    def __init__(self, latency: float = 0, pause: float = 0) -> None:
        self.requests: list[RecordedRequest] = []
        self.port = 0
        self._usual = self._first_usual = Behaviour(latency=latency, pause=pause)
        self._queue: deque[Behaviour] = deque()
        self._open_ends = asyncio.Event()
        self._gate = threading.Event()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1"

    def script(self, *behaviours: Behaviour | ErrorRow | str, always: bool = False) -> None:
        """Queue the responses to the next requests: a Behaviour, an ErrorRow, or a name in ERRORS or FAULTS.

        `always` keeps the one given behaviour for every request that nothing is queued for.
        """
        found = [_behaviour(behaviour) for behaviour in behaviours]
        if any(behaviour.hold for behaviour in found):
            self._gate.clear()
        if always:
            (self._usual,) = found
        else:
            self._queue.extend(found)

    def requests_to(self, path: str) -> list[RecordedRequest]:
        """The requests so far whose path ends in `path`."""
        return [seen for seen in self.requests if seen.path.endswith(path)]

    def let_go(self) -> None:
        """Continue the held responses; none is held until a script asks for it again."""
        self._gate.set()

    def reset(self) -> None:
        """Empty the journal and the script, and continue the held responses."""
        self.let_go()
        self.requests.clear()
        self._queue.clear()
        self._usual = self._first_usual

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/images/generations", self._images, methods=["POST"]),
                Route("/v1/images/edits", self._images, methods=["POST"]),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/moderations", self._moderations, methods=["POST"]),
                Route("/pictures/{rest:path}", self._download),
                Route("/journal", self._journal),
            ]
        )

    async def release(self) -> None:
        """End all stalled responses, so that the server can stop."""
        self._open_ends.set()

    async def _images(self, request: Request) -> Response:
        seen = await self._note(request)
        answer = await self._image_response(seen.body, seen.path.endswith("/edits"))
        seen.status = answer.status_code
        if isinstance(answer, StreamingResponse):
            answer.body_iterator = _watched(answer.body_iterator, seen)
        else:
            answer.background = BackgroundTask(seen.delivered.extend, images_in(bytes(answer.body)))
        return answer

    async def _image_response(self, body: dict[str, Any], edit: bool) -> Response:
        behaviour = self._next("image", str(body.get("prompt", "")))
        early = await self._early(behaviour)
        if early is not None:
            return early
        streamed = bool(body.get("stream")) and not behaviour.plain
        if behaviour.corrupt is not None:
            kind = _EVENT_STREAM if streamed else "application/json"
            return self._stream(self._corrupted(behaviour, body, streamed), kind, behaviour.headers)
        if streamed:
            events = self._image_events(behaviour, body, "image_edit" if edit else "image_generation")
            return self._stream(events)
        if behaviour.dropped:
            return self._stream(self._dropped_json(), "application/json")
        return JSONResponse(_image_answer(behaviour, body, self.origin), headers={"x-request-id": REQUEST_ID})

    async def _corrupted(
        self, behaviour: Behaviour, body: dict[str, Any], streamed: bool
    ) -> AsyncIterator[bytes]:
        good = replace(behaviour, broken_after_completed=False)
        if streamed:
            whole = b"".join([frame async for frame in self._image_events(good, body)])
        else:
            whole = json.dumps(_image_answer(good, body, self.origin)).encode()
        assert behaviour.corrupt
        yield behaviour.corrupt(whole)
        if behaviour.broken_after_completed:
            raise ConnectionAbortedError

    async def _chat(self, request: Request) -> Response:
        body = (await self._note(request)).body
        message = str(body["messages"][-1]["content"])
        behaviour = self._next("text", message)
        early = await self._early(behaviour)
        if early is not None:
            return early
        text = behaviour.text if behaviour.text is not None else _enhanced(message)
        if body.get("stream") and not behaviour.plain:
            return self._stream(self._chat_events(behaviour, text))
        return JSONResponse(_chat_answer(behaviour, text), headers={"x-request-id": REQUEST_ID})

    async def _moderations(self, request: Request) -> Response:
        """Flag the categories in a text's markers. Only `check` markers change how the call is answered."""
        texts = (await self._note(request)).body["input"]
        markers = [found for found in _MARKER.findall(" ".join(texts)) if found[0] == "check"]
        behaviour = Behaviour()
        for _, what, value in markers:
            behaviour = _marked(behaviour, what, value)
        early = await self._early(behaviour)
        return early or JSONResponse({"id": "modr_1", "results": [_moderated(text) for text in texts]})

    async def _download(self, request: Request) -> Response:
        self.requests.append(RecordedRequest(request.method, request.url.path, dict(request.headers), {}))
        picture = plain_image("download", "64x64")
        cookie = {"Set-Cookie": "kept=yes; Path=/"}
        named: dict[str, Callable[[], Response]] = {
            "missing.png": lambda: Response(status_code=404),
            "moved.png": lambda: _redirect("http://other.invalid/x.png"),
            "redirect.png": lambda: _redirect("/pictures/there.png"),
            "cookie.png": lambda: Response(picture, media_type="image/png", headers=cookie),
            "drip.png": lambda: self._stream(self._drip(), "image/png"),
            "huge.png": lambda: StreamingResponse(_huge(), media_type="image/png"),
        }
        name = request.path_params["rest"]
        if name == "late.png" and self._downloads_of(request) == 1:
            return Response(status_code=503)
        return named.get(name, lambda: Response(picture, media_type="image/png"))()

    def _downloads_of(self, request: Request) -> int:
        return len([seen for seen in self.requests if seen.path == request.url.path])

    async def _journal(self, request: Request) -> Response:
        return JSONResponse([asdict(seen) for seen in self.requests])

    async def _note(self, request: Request) -> RecordedRequest:
        form = "multipart/form-data" in request.headers.get("content-type", "")
        body = await _form(request) if form else await request.json()
        seen = RecordedRequest(request.method, request.url.path, dict(request.headers), body)
        self.requests.append(seen)
        return seen

    def _next(self, kind: str, prompt: str) -> Behaviour:
        """The queued behaviour, or else the usual one, changed by the prompt's markers."""
        behaviour = self._queue.popleft() if self._queue else self._usual
        for only, what, value in _MARKER.findall(prompt):
            if only in ("", kind):
                behaviour = _marked(behaviour, what, value)
        return behaviour

    async def _early(self, behaviour: Behaviour) -> Response | None:
        """Wait, and return the response of a behaviour that is the same for images and text; else None."""
        await asyncio.sleep(behaviour.latency)
        await self._hold(behaviour, "start")
        if behaviour.stall == "start":
            await self._open_ends.wait()
        if behaviour.stall == "drip":
            return self._stream(self._drip(), "application/json" if behaviour.plain else _EVENT_STREAM)
        if behaviour.error is not None:
            return _error_answer(behaviour.error)
        if behaviour.raw is not None:
            return Response(behaviour.raw, media_type=behaviour.raw_type)
        return None

    async def _hold(self, behaviour: Behaviour, moment: str) -> None:
        while behaviour.hold == moment and not (self._gate.is_set() or self._open_ends.is_set()):
            await asyncio.sleep(0.02)

    def _stream(
        self,
        events: AsyncIterator[bytes],
        media_type: str = _EVENT_STREAM,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Response:
        known = {"x-request-id": REQUEST_ID} | dict(headers)
        return StreamingResponse(events, media_type=media_type, headers=known)

    async def _drip(self) -> AsyncIterator[bytes]:
        while not self._open_ends.is_set():
            yield b"\n"
            await asyncio.sleep(0.02)

    async def _dropped_json(self) -> AsyncIterator[bytes]:
        yield b'{"created": 1, "data": [{"b64_json": "iVBO'
        raise ConnectionAbortedError

    async def _between(self, behaviour: Behaviour) -> None:
        """Pause, stall or break the connection between the first part of a response and the rest."""
        await asyncio.sleep(behaviour.pause)
        await self._hold(behaviour, "middle")
        if behaviour.stall == "middle":
            await self._open_ends.wait()
        if behaviour.dropped:
            raise ConnectionAbortedError

    async def _image_events(
        self, behaviour: Behaviour, body: dict[str, Any], kind: str = "image_generation"
    ) -> AsyncIterator[bytes]:
        size, prompt = str(body.get("size", "1024x1024")), str(body["prompt"])
        about = {"size": size, "quality": body.get("quality", "auto"), "created_at": 1}
        for index in range(int(body.get("partial_images", 0))):
            partial = {"partial_image_index": index, "b64_json": _base64(f"{prompt}{index}", size)}
            yield _sse({"type": f"{kind}.partial_image", **about, **partial})
            await self._between(behaviour)
        for frame in behaviour.frames:
            yield _sse(frame)
        if behaviour.frames or behaviour.truncated:
            return
        done = {"b64_json": _base64(prompt, size, str(body.get("output_format", "png")))}
        usage = {"usage": _image_usage(1)} if behaviour.usage else {}
        yield _sse({"type": f"{kind}.completed", **about, **done, **usage})
        if behaviour.broken_after_completed:
            raise ConnectionAbortedError

    async def _chat_events(self, behaviour: Behaviour, text: str) -> AsyncIterator[bytes]:
        for number, chunk in enumerate(re.findall(r"\S+\s*|\s+", text) or [""]):
            yield _sse(_chunk({"role": "assistant", "content": chunk}))
            if number == 0:
                await self._between(behaviour)
        for frame in behaviour.frames:
            yield _sse(frame)
        if behaviour.frames or behaviour.truncated:
            return
        if behaviour.refusal:
            yield _sse(_chunk({"refusal": behaviour.refusal}))
        yield _sse(_chunk({}, behaviour.finish))
        if behaviour.usage:
            yield _sse({"id": "chat_1", "choices": [], "usage": _text_usage(text)})
        yield b"data: [DONE]\n\n"


@contextmanager
def openai_service(latency: float = 0, pause: float = 0) -> Iterator[OpenAIService]:
    """A service on a free loopback port. Stalled responses are ended when the block ends."""
    service = OpenAIService(latency, pause)
    server = uvicorn.Server(_config(service, port=0))
    started = threading.Event()
    thread = threading.Thread(target=asyncio.run, args=(_serve(service, server, started.set),))
    thread.start()
    try:
        started.wait()
        yield service
    finally:
        server.should_exit = True
        thread.join()


async def _serve(service: OpenAIService, server: uvicorn.Server, started: Callable[[], None]) -> None:
    """Serve until the server should exit. `started` is called once the port is known or the start failed."""
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():
        await asyncio.sleep(0.005)
    if server.started:
        service.port = server.servers[0].sockets[0].getsockname()[1]
    started()
    while not server.should_exit and not serving.done():
        await asyncio.sleep(0.02)
    await service.release()
    await serving


def _config(service: OpenAIService, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        service.app(), host="127.0.0.1", port=port, log_level="critical", timeout_graceful_shutdown=1
    )


def _behaviour(given: Behaviour | ErrorRow | str) -> Behaviour:
    if isinstance(given, Behaviour):
        return given
    if isinstance(given, ErrorRow):
        return Behaviour(error=given)
    return Behaviour(error=ERRORS[given]) if given in ERRORS else FAULTS[given]


def _marked(behaviour: Behaviour, what: str, value: str) -> Behaviour:
    if what == "latency":
        return replace(behaviour, latency=float(value))
    if what == "pause":
        return replace(behaviour, pause=float(value))
    found = ERRORS.get(value) if what == "error" else None
    known = Behaviour(error=found) if found else FAULTS[value]
    return replace(known, latency=behaviour.latency, pause=behaviour.pause)


async def _watched(chunks: Any, seen: RecordedRequest) -> AsyncIterator[bytes]:
    """Yield `chunks`, and record the images that they have sent completely."""
    sent = bytearray()
    try:
        async for chunk in chunks:
            yield chunk
            sent += chunk
            seen.left = time.time()
    finally:
        seen.delivered += images_in(bytes(sent))


def images_in(response: bytes) -> list[str]:
    """The SHA-256 of each finished image whose complete base64 is in `response`, which may be broken."""
    with suppress(OSError, EOFError):
        response = gzip.decompress(response)
    events = [event for event in _EVENT.split(response) if b".partial_image" not in event]
    found = [text for event in events for text in _IMAGE.findall(event)]
    return [hashlib.sha256(data).hexdigest() for text in found if (data := _decoded(text))]


def _decoded(text: bytes) -> bytes:
    """The bytes of base64 `text`; b"" for other text."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


async def _form(request: Request) -> dict[str, Any]:
    """The fields of a form. `files` lists the part name, media type and SHA-256 of each file."""
    async with request.form(max_files=17) as form:
        body: dict[str, Any] = {"files": []}
        for name, part in form.multi_items():
            if isinstance(part, str):
                body[name] = part
            else:
                digest = hashlib.sha256(await part.read()).hexdigest()
                body["files"].append([name, part.content_type, digest])
    return body


def _moderated(text: str) -> dict[str, Any]:
    names = [name for found in _FLAGGED.findall(text) for name in found.split(",")]
    return {"flagged": bool(names), "categories": {"harassment": False} | dict.fromkeys(names, True)}


def _error_answer(row: ErrorRow) -> Response:
    headers = {"x-request-id": REQUEST_ID, **row.headers}
    if isinstance(row.body, str):
        return Response(row.body, row.status, headers=headers, media_type="text/html")
    return JSONResponse(row.body if row.whole else {"error": row.body}, row.status, headers=headers)


def _image_answer(behaviour: Behaviour, body: dict[str, Any], origin: str) -> dict[str, Any]:
    size, prompt = str(body.get("size", "1024x1024")), str(body["prompt"])
    if behaviour.image_urls:
        data = [{"url": url.replace("{origin}", origin)} for url in behaviour.image_urls]
    else:
        count = int(body.get("n", 1)) + behaviour.extra_images
        file_format = str(body.get("output_format", "png"))
        data = [{"b64_json": _base64(f"{prompt}{i or ''}", size, file_format)} for i in range(count)]
    if body["model"].startswith("dall-e"):
        return {"created": 1, "data": [item | {"revised_prompt": f"{HELLO}: {prompt}"} for item in data]}
    return {"created": 1, "data": data, "usage": _image_usage(len(data))}


def _chat_answer(behaviour: Behaviour, text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": behaviour.refusal or None}
    choice = {"index": 0, "message": message, "finish_reason": behaviour.finish}
    return {"id": "chat_1", "object": "chat.completion", "choices": [choice], "usage": _text_usage(text)}


def _enhanced(message: str) -> str:
    """An enhanced prompt with all facts of the user message, and the name of this service."""
    try:
        asked = json.loads(message)
    except ValueError:
        return f"{message}, by the {HELLO}"
    facts = ", ".join([asked.get("name", ""), *asked.get("traits", ())]).strip(", ")
    lines = (
        ("Subject", facts),
        ("Scene", asked.get("base_prompt", "")),
        ("Style", asked.get("style", "")),
        ("Guidance", asked.get("guidance", "")),
        ("Light", f"soft morning light, by the {HELLO}"),
    )
    return "\n".join(f"{label}: {words}" for label, words in lines if words)


@lru_cache(maxsize=64)
def plain_image(prompt: str, size: str, file_format: str = "png") -> bytes:
    """An image of `size` (WIDTHxHEIGHT, or auto for 1024x1024) in a colour hashed from `prompt`."""
    width, height = (1024, 1024) if size == "auto" else map(int, size.split("x"))
    red, green, blue = hashlib.sha256(prompt.encode()).digest()[:3]
    file = BytesIO()
    Image.new("RGB", (width, height), (red, green, blue)).save(file, file_format, compress_level=1)
    return file.getvalue()


def _base64(prompt: str, size: str, file_format: str = "png") -> str:
    return base64.b64encode(plain_image(prompt, size, file_format)).decode()


def _image_usage(images: int) -> dict[str, Any]:
    details = {"text_tokens": 20, "image_tokens": 0}
    output = 200 * images
    return {
        "input_tokens": 20,
        "input_tokens_details": details,
        "output_tokens": output,
        "total_tokens": 20 + output,
    }


def _text_usage(text: str) -> dict[str, int]:
    return {"prompt_tokens": 400, "completion_tokens": len(text) // 4, "total_tokens": 400 + len(text) // 4}


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "chat_1", "object": "chat.completion.chunk", "choices": [choice]}


def _sse(event: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(event)}\n\n".encode()


def _redirect(address: str) -> Response:
    return Response(status_code=302, headers={"Location": address})


async def _huge() -> AsyncIterator[bytes]:
    for _ in range(3):
        yield bytes(2**20)
        await asyncio.sleep(0)


def main() -> None:
    parser = argparse.ArgumentParser(description="A loopback server that speaks OpenAI's wire format")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--latency", type=float, default=0, help="seconds before each answer")
    parser.add_argument("--pause", type=float, default=0, help="seconds between the parts of an answer")
    given = parser.parse_args()
    service = OpenAIService(given.latency, given.pause)
    server = uvicorn.Server(_config(service, given.port))
    asyncio.run(_serve(service, server, lambda: print(service.base_url, flush=True)))


if __name__ == "__main__":
    main()
