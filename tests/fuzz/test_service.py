"""A broken or hostile image service: whatever it answers is a picture, a prompt, or an error of ours."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import httpx2
import pytest
from hypothesis import example
from hypothesis import strategies as st

from core import errors
from core.offline.transport import OfflineTransport
from core.prompts.recipe import GenerateParams
from core.prompts.request import PromptRequest
from core.provider.client import ServiceClient
from core.responses.error_translation import (
    ServiceFault,
    error_from_fault,
    fault_from_body,
    read_request_id,
    redact,
)
from core.responses.events import ResponseEvent, event_texts
from core.responses.limits import record_response, record_rest, recorded_bytes
from core.responses.parsing import ChatResponse, ImageResponse, decode_image, text_content
from core.settings import load_settings
from core.storage.s3 import _translate as bucket_fault
from tests.support.fuzz_inputs import HUGE, any_text, fuzz, json_of, words_of
from tests.support.images import plain_png

KEY = "sk-proj-0123456789abcdefghijklmnop"
PNG = base64.b64encode(plain_png()).decode()
NAMES = (
    "choices", "delta", "message", "content", "text", "refusal", "finish_reason", "usage", "data",
    "b64_json", "url", "revised_prompt", "error", "code", "type", "param", "detail",
    "errors", "msg", "base_resp", "status_code", "status_msg", "metadata", "raw", "details", "violations",
    "quotaId", "loc",
    "moderation_details", "categories", "innererror", "content_filter_result", "filtered",
    "prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "input_tokens_details",
    "image_tokens", "partial_image_index",
)  # fmt: skip
bodies = json_of(*NAMES)


# Events and their pieces


def _one_line(data: bytes) -> bytes:
    """As JSON is sent: without an end of line in it, and with its own last sign."""
    return data.replace(b"\r", b"").replace(b"\n", b"") + b"}"


@fuzz(
    events=st.lists(st.binary(max_size=30).map(_one_line), max_size=5),
    end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    cuts=st.lists(st.integers(0, 200), max_size=10),
)
def test_events_are_the_same_however_they_are_cut_into_pieces(
    events: list[bytes], end: bytes, cuts: list[int]
) -> None:
    whole = b"".join(b"event: e" + end + b"data: " + event + end + end for event in events)
    assert [event.data for event in event_texts(pieces_of(whole, cuts))] == events


@fuzz(
    sent=st.binary(max_size=200)
    | words_of("data:", "data: {}", "\n\n", "\r", "\r\n", ":").map(
        lambda text: text.encode("utf-8", "surrogatepass")
    ),
    cuts=st.lists(st.integers(0, 200), max_size=10),
)
def test_any_bytes_have_the_same_events_in_one_piece_or_in_many(sent: bytes, cuts: list[int]) -> None:
    events = list(event_texts(iter([sent])))
    assert list(event_texts(pieces_of(sent, cuts))) == events
    assert sum(len(event.data) for event in events) <= len(sent) + len(b"\n\n")


def pieces_of(whole: bytes, cuts: list[int]) -> Iterator[bytes]:
    places = sorted({0, len(whole), *(cut % (len(whole) + 1) for cut in cuts)})
    return (whole[left:right] for left, right in pairwise(places))


def test_a_line_in_a_million_pieces_is_read_once() -> None:
    pieces = [b"data: ", *[b"a"] * (4 * HUGE), b"\n\n"]
    assert [event.data for event in event_texts(iter(pieces))] == [b"a" * (4 * HUGE)]


# Bodies


@fuzz(chunks=st.lists(bodies.filter(lambda body: isinstance(body, dict)), max_size=5))
def test_any_chunks_are_text_and_counts(chunks: list[dict[str, Any]]) -> None:
    writing = ChatResponse()
    said = "".join(map(writing.add_chunk, chunks))
    assert said == writing.text
    assert said.encode() is not None
    assert isinstance(writing.refusal, str)
    for count in (writing.usage.input_tokens, writing.usage.output_tokens):
        assert count is None or 0 <= count < 2**31


@fuzz(pieces=st.lists(st.sampled_from(["a", "é", "\ud83e", "\udd8a", "🦊", "\0"]), max_size=12))
def test_a_character_split_between_chunks_comes_out_whole(pieces: list[str]) -> None:
    writing = ChatResponse()
    for piece in [*pieces, "."]:
        writing.add_chunk({"choices": [{"delta": {"content": piece}}]})
    whole = "".join([*pieces, "."]).replace("\0", "\ufffd").encode("utf-16", "surrogatepass")
    assert writing.text == whole.decode("utf-16", "replace")


def test_a_text_in_many_pieces_is_joined_once() -> None:
    writing = ChatResponse()
    for _ in range(2 * HUGE):
        writing.add_chunk({"choices": [{"delta": {"content": "a é", "refusal": "no"}}]})
    assert len(writing.text) == 6 * HUGE


@fuzz(body=bodies)
def test_any_answer_is_items_and_counts(body: object) -> None:
    painting = ImageResponse()
    if isinstance(body, dict):
        painting.add(ResponseEvent(body))
    assert all(isinstance(item, dict) for item in painting.items)
    assert isinstance(text_content(body), str)


@fuzz(
    text=st.one_of(
        any_text,
        st.binary(max_size=50).map(lambda data: base64.b64encode(data).decode()),
        words_of("data:image/png;base64,", ",", "====", "QUJD"),
    )
)
def test_a_base64_text_is_bytes_or_a_value_error(text: str) -> None:
    try:
        assert decode_image(text)
    except ValueError:
        return


# Errors

headers = st.dictionaries(
    st.sampled_from(["retry-after", "retry-after-ms", "x-request-id"]),
    st.one_of(
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40).map(str.strip),
        st.sampled_from(
            [
                "1e999",
                "-1",
                "nan",
                "inf",
                "0x10",
                "1_0",
                "Wed, 25 Nov 2026 12:00:00 -0000",
                "9" * 400,
                KEY,
                "Mon, 99 Foo 99999 99:99:99 GMT",
                "Thu, 01 Jan 0001 00:00:00 +2400",
            ]
        ),
    ),
)


@fuzz(status=st.integers(100, 999), body=bodies, headers=headers, paid=st.booleans())
def test_any_failure_is_one_of_ours(status: int, body: object, headers: dict[str, str], paid: bool) -> None:
    response = httpx2.Response(status, headers=headers)
    error = error_from_fault(fault_from_body(body, response), paid=paid, secret=KEY)
    assert isinstance(error, errors.ImageError)
    assert KEY not in f"{error} {error.details} {error.request_id} {getattr(error, 'categories', '')}"
    assert len(error.details) <= 600
    assert error.retry_after is None or (error.retry_after >= 0 and not math.isnan(error.retry_after))
    request_id = read_request_id(response, secret=KEY)
    assert request_id is None or (len(request_id) <= 128 and request_id.isascii())


@fuzz(text=words_of(KEY, KEY[:10], "sk-", "Bearer ", "x" * 300), cut=st.integers(0, 600))
def test_what_is_told_never_holds_a_key_also_where_it_is_cut(text: str, cut: int) -> None:
    said = redact("x" * cut + " " + text.replace(KEY, f" {KEY} "), KEY)
    assert KEY not in said
    assert KEY[:18] not in said


@fuzz(
    text=words_of("status code: ", "404", "<Code>NoSuchKey</Code>", "kind: ", 'error: "', "Received redirect")
)
def test_any_words_of_the_bucket_are_an_error_of_the_store(text: str) -> None:
    assert isinstance(bucket_fault(text), errors.StorageError)


@pytest.mark.parametrize(
    "word",
    [
        "model ",
        "rejected ",
        "content ",
        "not ",
        "must be ",
        "unknown ",
        "insufficient ",
        "api key ",
        "header ",
        "missing required ",
        "location ",
        "prompt ",
        "no ",
        "is not supported. ",
    ],
)
def test_no_message_takes_more_time_than_its_length(word: str) -> None:
    message = word * (HUGE // len(word))
    fault = ServiceFault(status=400, message=message)
    assert isinstance(error_from_fault(fault, paid=True), errors.InvalidParameter)
    fault.refused_parameters(frozenset({"n"}))
    bucket_fault(message)


# The whole way


class Service(httpx2.BaseTransport):
    """Answers with whatever it is given, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answer: Callable[[], httpx2.Response] = lambda: httpx2.Response(500)
        self.asked: list[httpx2.Request] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        return self.answer()


@pytest.fixture(scope="module")
def service() -> Service:
    return Service()


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[ServiceClient]:
    settings = load_settings(openai_base_url="http://service.test/v1", openai_api_key=KEY)
    client = ServiceClient(settings, transport=service, sleep=lambda _: None)
    yield client
    client.close()


ADDRESSES = [
    "/a.png",
    "http://169.254.169.254/x",
    f"data:image/png;base64,{PNG}",
    "//evil.test/a",
    "http://service.test/v1/a",
    "http://[",
    "file:///etc/passwd",
]
STATUSES = [*[200] * 6, 201, 204, 301, 307, 400, 401, 403, 404, 413, 418, 429, 500, 503, 504]
KINDS = ["application/json", "text/event-stream", "text/html", "x;charset=nonsense", ""]
DEEP = [
    b"[" * 100_000,
    b'{"data":' * 50_000,
    b"data: " + b"[" * 100_000 + b"\n\n",
    b'{"a":' + b"9" * 5_000 + b"}",
]


def _stream(events: list[Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


pictures = st.one_of(
    st.just(PNG), any_text, st.binary(max_size=20).map(lambda b: base64.b64encode(b).decode())
)
items = st.fixed_dictionaries(
    {},
    optional={
        "b64_json": st.one_of(pictures, bodies),
        "url": st.one_of(any_text, st.sampled_from(ADDRESSES)),
        "revised_prompt": bodies,
        "type": st.sampled_from(["image_generation.completed", "image_generation.partial_image", "error", 5]),
    },
)
answers = st.one_of(
    st.binary(max_size=100),
    bodies.map(lambda body: json.dumps(body).encode()),
    st.lists(items, max_size=3).map(lambda found: json.dumps({"data": found}).encode()),
    st.lists(st.one_of(items, bodies), max_size=4).map(_stream),
    st.sampled_from(DEEP),
)
responses = st.fixed_dictionaries(
    {
        "status_code": st.sampled_from(STATUSES),
        "content": answers,
        "headers": st.fixed_dictionaries(
            {"content-type": st.sampled_from(KINDS)},
            optional={
                "content-encoding": st.sampled_from(["gzip", "br", "deflate", "nonsense"]),
                "retry-after": st.sampled_from(["0", "1", "inf", "nan", "x"]),
                "location": st.sampled_from(["http://evil.test/", "/elsewhere"]),
            },
        ),
    }
)


def named(url: str) -> dict[str, Any]:
    """The answer of a service that names a picture instead of sending it."""
    body = json.dumps({"data": [{"url": url}]}).encode()
    return {"status_code": 200, "content": body, "headers": {"content-type": "application/json"}}


@example(named("http://169.254.169.254/latest"))
@example(named("//evil.test/a.png"))
@example(named("http://service.test:81/a.png"))
@example(named("/a.png"))
@fuzz(response=responses)
def test_a_generation_is_pictures_or_an_error_of_ours_and_the_key_goes_nowhere_else(
    client: ServiceClient, service: Service, response: dict[str, Any]
) -> None:
    service.asked.clear()
    service.answer = lambda: httpx2.Response(**response)
    params = GenerateParams(prompt="a fox", model="gpt-image-2.6-flare")
    try:
        images = client.images.generate(params, user_tag="tag").images
        said = ""
    except errors.ImageError as error:
        images, said = (b"",), str(error)
    assert (images and all(images)) or said
    assert KEY not in said
    for request in service.asked:
        assert str(request.url).startswith("http://service.test/")
        assert (request.method == "POST") == ("authorization" in request.headers)
    posts = [request for request in service.asked if request.method == "POST"]
    # A refusal may be asked again without the parameter that it names; what may have been paid never is.
    assert len(posts) == 1 or response["status_code"] in range(400, 500)


@fuzz(response=responses)
def test_an_enhancement_is_a_prompt_or_an_error_of_ours(
    client: ServiceClient, service: Service, response: dict[str, Any]
) -> None:
    service.asked.clear()
    service.answer = lambda: httpx2.Response(**response)
    stream = client.chat.enhance(PromptRequest(name="Juniper", base_prompt="a fox"), user_tag="tag")
    try:
        assert all(stream)
        said = stream.result.text
    except errors.ImageError as error:
        said = str(error)
    assert said
    assert KEY not in said
    assert {request.url.host for request in service.asked} == {"service.test"}


# The offline engine, which is a service too

FIELDS = (
    "model", "messages", "role", "content", "prompt", "n", "size", "quality", "output_format",
    "background", "stream", "partial_images", "response_format", "name", "traits", "variation",
    "enhancement",
)  # fmt: skip
BODY = json_of(*FIELDS)
said = BODY.map(json.dumps)
requests = st.fixed_dictionaries(
    {},
    optional={
        "prompt": st.one_of(st.just("a fox"), words_of("!fail ", "quota", "fox"), BODY),
        "size": st.one_of(st.sampled_from(["64x64", "80x64", "999999x1"]), BODY),
        "n": st.one_of(st.integers(-1, 2), BODY),
        "quality": st.one_of(st.just("low"), BODY),
        "stream": BODY,
        "model": st.one_of(st.just("offline-painter"), BODY),
        "partial_images": st.one_of(st.integers(0, 1), BODY),
        "messages": st.lists(
            st.fixed_dictionaries({"role": st.just("user"), "content": st.one_of(said, any_text, BODY)}),
            min_size=1,
        ),
    },
)


@fuzz(
    share=0.5,
    path=st.sampled_from(["/v1/chat/completions", "/v1/images/generations", "/v1/models", "/v1/else"]),
    method=st.sampled_from(["POST", "POST", "POST", "GET"]),
    body=st.one_of(
        st.binary(max_size=50), st.one_of(requests, BODY).map(lambda body: json.dumps(body).encode())
    ),
)
def test_the_offline_engine_answers_every_request(path: str, method: str, body: bytes) -> None:
    request = httpx2.Request(
        method, f"http://offline.test{path}", content=body, headers={"content-type": "application/json"}
    )
    try:
        response = OfflineTransport(seed=1).handle_request(request)
        b"".join(response.iter_raw() if isinstance(response.stream, Iterator) else response.stream)  # type: ignore[arg-type]
    except httpx2.TransportError:
        return
    assert 200 <= response.status_code < 600


# The tape


@fuzz(pieces=st.lists(st.binary(max_size=30), max_size=8), read=st.integers(0, 8))
def test_the_tape_has_every_byte_whoever_has_read_them(pieces: list[bytes], read: int) -> None:
    class Pieces(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            return iter(pieces)

    response = httpx2.Response(200, stream=Pieces(), request=httpx2.Request("POST", "http://service.test/"))
    record_response(response)
    reader = iter(response.stream)  # type: ignore[arg-type]
    for _ in range(min(read, len(pieces))):
        next(reader)
    record_rest(response)
    assert recorded_bytes(response) == b"".join(pieces)
