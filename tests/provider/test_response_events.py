"""A response is read as what its bytes are, whatever its label says, and every image in it is kept."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from core.errors import (
    BadResponse,
    ImageError,
    NoImage,
    OutcomeUnknown,
    PromptBlocked,
    RateLimited,
    ServiceFailed,
)
from core.provider.chat import EnhancedPrompt
from core.provider.client import ServiceClient
from core.provider.images import GeneratedImages
from core.responses.parsing import decode_image
from tests.support.images import plain_png
from tests.support.openai_service import Behaviour, OpenAIService
from tests.support.service_client import FOX, MakeClient, enhance, generate

PNG, OTHER = plain_png(), plain_png(colour=(0, 90, 200))
# Base64 that has both letters in which the alphabet of URLs differs, and padding.
MIXED = b"\x89PNG\r\n\x1a\n" + bytes(range(240, 256)) * 8 + b"\xfb\xef\xbe\xff"


def encoded(image: bytes = PNG) -> str:
    return b64encode(image).decode()


ITEM = {"b64_json": encoded()}
PLAIN = json.dumps({"created": 1, "data": [ITEM]}).encode()
COMPLETED = {"type": "image_generation.completed", **ITEM}
PARTIAL = {"type": "image_generation.partial_image", "b64_json": encoded(OTHER), "partial_image_index": 0}


def frame(data: object, name: str = "") -> bytes:
    text = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()


def without_type(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name != "type"}


STREAM = frame(PARTIAL, PARTIAL["type"]) + frame(COMPLETED, "image_generation.completed")
LABELS = [
    "application/json",
    "text/event-stream",
    "Text/Event-Stream; charset=utf-8",
    "text/plain",
    "image/png",
    "",
]


def read(
    client: ServiceClient, body: bytes, label: str = "application/json", **headers: str
) -> GeneratedImages:
    """Read a response again from its stored headers and bytes, as after a crash."""
    labels = {"content-type": label} if label else {}
    return client.images.read_again(FOX, headers=labels | headers, body=body, seconds=1)


# What the body is


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(STREAM, id="stream"),
        pytest.param(PLAIN, id="JSON"),
        pytest.param(PNG, id="image file"),
        pytest.param(json.dumps([ITEM]).encode(), id="list"),
        pytest.param(json.dumps(encoded()).encode(), id="text"),
        pytest.param(json.dumps({"data": [ITEM]}, indent=2).encode(), id="JSON on many lines"),
    ],
)
def test_the_bytes_say_what_a_body_is_and_not_its_label(
    client: ServiceClient, body: bytes, label: str
) -> None:
    assert read(client, body, label).images == (PNG,)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\xef\xbb\xbf" + STREAM, id="byte order mark before a stream"),
        pytest.param(b"\xef\xbb\xbf" + PLAIN, id="byte order mark before JSON"),
        pytest.param(PLAIN.decode().encode("utf-16"), id="UTF-16"),
        pytest.param(b"\r\n \n" + PLAIN, id="blank lines before JSON"),
        pytest.param(b": PING\n\n: PING\n\n" + PLAIN, id="comments before JSON"),
        pytest.param(
            b": PING\n\n" + json.dumps({"data": [ITEM]}, indent=1).encode(), id="comment, many lines"
        ),
        pytest.param(frame(PLAIN.decode()), id="JSON in one event"),
        pytest.param(frame(PLAIN.decode()) + frame("[DONE]"), id="JSON in one event, and its end"),
        pytest.param(
            frame(json.dumps(COMPLETED, indent=1).replace("\n", "\ndata: ")), id="event of many lines"
        ),
        pytest.param(
            frame(without_type(COMPLETED), "image_generation.completed"), id="type in the name alone"
        ),
        pytest.param(
            frame(without_type(PARTIAL), "image_edit.partial_image") + frame(ITEM),
            id="partial image by its name",
        ),
        pytest.param(frame(without_type(PARTIAL)) + frame(ITEM), id="partial image by its index"),
        pytest.param(frame(ITEM), id="event without a type"),
        pytest.param(
            frame({"type": "image_generation.partial_succeeded", **ITEM}), id="event of another name"
        ),
        pytest.param(frame({"type": 5, **ITEM}), id="event whose type is a number"),
        pytest.param(
            frame({"type": "image_generation.partial_succeeded", **ITEM})
            + frame({"type": "image_generation.completed", "usage": {"generated_images": 1}}),
            id="an end without an image",
        ),
        pytest.param(frame("") + frame(COMPLETED), id="an empty event"),
        pytest.param(json.dumps(PARTIAL).encode() + b"\n" + json.dumps(COMPLETED).encode(), id="JSON lines"),
        pytest.param(
            b"data: " + json.dumps(PARTIAL).encode() + b"\ndata: " + json.dumps(COMPLETED).encode() + b"\n\n",
            id="events without a blank line between them",
        ),
        pytest.param(STREAM + frame("[DONE]"), id="the end of a chat's stream"),
    ],
)
def test_an_image_is_found_in_every_form_of_stream_and_json(client: ServiceClient, body: bytes) -> None:
    result = read(client, body)
    assert (result.images, result.error, result.response_body) == ((PNG,), None, b"")


def test_a_body_that_is_wrongly_said_to_be_compressed_is_read(client: ServiceClient) -> None:
    assert read(client, STREAM, **{"content-encoding": "gzip"}).images == (PNG,)
    assert read(client, gzip.compress(STREAM), **{"content-encoding": "gzip"}).images == (PNG,)


def test_a_stream_of_partial_images_alone_is_no_image(client: ServiceClient) -> None:
    for label in LABELS:
        with pytest.raises(OutcomeUnknown):
            read(client, frame(PARTIAL), label)


@pytest.mark.parametrize("cut", [1, 20])
@pytest.mark.parametrize("label", LABELS)
def test_the_outcome_of_a_cut_stream_is_unknown_whatever_its_label(
    client: ServiceClient, label: str, cut: int
) -> None:
    with pytest.raises((OutcomeUnknown, BadResponse)) as caught:
        read(client, STREAM.removesuffix(b"\n\n")[:-cut], label)
    assert caught.value.charged is None


# Where the image is


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"images": [{"b64_json": encoded()}]}, id="images"),
        pytest.param({"data": {"b64_json": encoded()}}, id="data as one object"),
        pytest.param({"data": [encoded()]}, id="texts in data"),
        pytest.param({"data": encoded()}, id="data as a text"),
        pytest.param({"images": [f"data:image/png;base64,{encoded()}"], "parameters": {}}, id="data URLs"),
        pytest.param({"artifacts": [{"base64": encoded(), "finishReason": "SUCCESS"}]}, id="artifacts"),
        pytest.param([{"base64": encoded(), "seed": 1}], id="a list of artifacts"),
        pytest.param({"image": encoded(), "finish_reason": "SUCCESS", "seed": 3}, id="one image"),
        pytest.param({"result": {"image": encoded()}, "success": True, "errors": []}, id="result"),
        pytest.param({"predictions": [{"bytesBase64Encoded": encoded(), "mimeType": "x"}]}, id="predictions"),
        pytest.param(
            {"data": {"image_base64": [encoded()]}, "base_resp": {"status_code": 0}}, id="base64 list"
        ),
        pytest.param(
            {"data": [{"image": encoded(), "seed": 1, "finish_reason": "success"}]}, id="image in data"
        ),
        pytest.param({"data": [{"url": encoded()}]}, id="base64 in the field of the address"),
        pytest.param(
            {"data": [{"b64_json": "", "url": f"DATA:image/png;BASE64,{encoded()}"}]}, id="empty base64"
        ),
        pytest.param({"data": [{"b64_json": None, "image": encoded()}]}, id="null"),
        pytest.param({"data": [[ITEM]]}, id="a list in a list"),
        pytest.param({"created": 1, "data": [], "images": [ITEM]}, id="an empty list beside it"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_an_image_is_found_where_other_services_put_it(
    client: ServiceClient, body: object, streamed: bool
) -> None:
    text = json.dumps(body)
    assert read(client, frame(text) if streamed else text.encode()).images == (PNG,)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"images": [{"url": "{}"}], "timings": {"inference": 1.0}}, id="images"),
        pytest.param({"data": {"url": "{}"}}, id="data as one object"),
        pytest.param({"data": ["{}"]}, id="texts in data"),
        pytest.param({"data": {"image_urls": ["{}"]}}, id="a list of addresses"),
        pytest.param({"data": [{"b64_json": "{}"}]}, id="in the field of the base64"),
        pytest.param({"data": [{"b64_json": "%%", "url": " {}\n"}]}, id="beside damaged base64"),
        pytest.param({"images": [{"image_url": {"url": "{}"}}]}, id="in an object"),
        pytest.param({"output": ["{}"]}, id="output"),
    ],
)
def test_an_address_is_found_where_other_services_put_it(
    client: ServiceClient, service: OpenAIService, body: object
) -> None:
    text = json.dumps(body).replace("{}", f"{service.origin}/pictures/a.png")
    assert len(read(client, text.encode()).images) == 1


def test_all_images_of_a_response_are_kept_in_their_order(client: ServiceClient) -> None:
    images = [plain_png(colour=(number, 0, 0)) for number in range(30)]
    plain = json.dumps({"data": [{"b64_json": encoded(image)} for image in images]}).encode()
    stream = b"".join(frame({**COMPLETED, "b64_json": encoded(image)}) for image in images)
    for body in (plain, stream):
        assert read(client, body).images == tuple(images)


# How the image is encoded

BASE64 = b64encode(MIXED).decode()
DIALECTS: dict[str, str] = {
    "as usual": BASE64,
    "line ends": "\n".join(BASE64[at : at + 76] for at in range(0, len(BASE64), 76)) + "\n",
    "line ends of another system": "\r\n".join(BASE64[at : at + 76] for at in range(0, len(BASE64), 76)),
    "spaces and tabs": f" {BASE64[:9]}\t {BASE64[9:]} ",
    "the alphabet of URLs": urlsafe_b64encode(MIXED).decode(),
    "no padding": BASE64.rstrip("="),
    "the alphabet of URLs, no padding": urlsafe_b64encode(MIXED).decode().rstrip("="),
    "too much padding": BASE64 + "==",
    "a data URL": f"data:image/png;base64,{BASE64}",
    "a data URL in capitals": f"DATA:IMAGE/PNG;BASE64,{BASE64}",
    "a data URL with parameters": f"data:image/png;name=a.png;base64, {BASE64}",
    "a data URL without a type": f"data:;base64,{BASE64}",
}


@pytest.mark.parametrize("text", DIALECTS.values(), ids=DIALECTS)
def test_every_dialect_of_base64_is_the_same_image(client: ServiceClient, text: str) -> None:
    assert len(MIXED) % 3
    assert set("+/") <= set(BASE64)
    assert decode_image(text) == MIXED
    assert read(client, json.dumps({"data": [{"b64_json": text}]}).encode()).images == (MIXED,)


@pytest.mark.parametrize(
    "text", ["%aGk=", "aGk=aGk=", "a", "é" * 8, "==", "data:image/png;base64,", "aGk\0="]
)
def test_other_text_is_no_image(text: str) -> None:
    with pytest.raises(ValueError, match=r"base64|empty"):
        decode_image(text)


# An error beside the image

EMPTY_ERRORS = [
    None,
    {},
    "",
    [],
    {"message": "", "type": "", "param": "", "code": None},
    {"code": 0, "message": "success"},
    {"message": None, "details": {"reason": ""}},
]
PARTIAL_FAILURE = {"code": "partial_failure", "message": "1 of 2 images failed"}
ERROR_FRAME = frame({"type": "error", "error": PARTIAL_FAILURE}, "error")


@pytest.mark.parametrize("error", EMPTY_ERRORS, ids=str)
def test_an_empty_error_is_none(client: ServiceClient, error: object) -> None:
    plain = json.dumps({"data": [ITEM], "error": error}).encode()
    for body in (plain, frame(COMPLETED | {"error": error})):
        result = read(client, body)
        assert (result.images, result.error) == ((PNG,), None)
    with pytest.raises(NoImage):
        read(client, json.dumps({"data": [], "error": error}).encode())


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(json.dumps({"data": [ITEM], "error": PARTIAL_FAILURE}).encode(), id="plain"),
        pytest.param(json.dumps({"error": PARTIAL_FAILURE, "data": [ITEM]}).encode(), id="plain, first"),
        pytest.param(ERROR_FRAME + STREAM, id="before the image"),
        pytest.param(STREAM + ERROR_FRAME, id="after the image"),
        pytest.param(frame(COMPLETED | {"error": PARTIAL_FAILURE}), id="in the event of the image"),
        pytest.param(STREAM + frame(PARTIAL_FAILURE, "error"), id="without an envelope"),
        pytest.param(frame(PARTIAL_FAILURE | {"type": "image_generation.failed"}) + STREAM, id="failed"),
    ],
)
def test_an_image_beside_an_error_is_kept_and_the_error_is_told(client: ServiceClient, body: bytes) -> None:
    result = read(client, body)
    assert result.images == (PNG,)
    assert isinstance(result.error, ServiceFailed)
    assert result.error.details == "partial_failure: 1 of 2 images failed"


def test_the_first_of_several_errors_is_told(client: ServiceClient) -> None:
    limit = {"code": "rate_limit_exceeded", "message": "slow"}
    assert isinstance(read(client, frame({"error": limit}) + ERROR_FRAME + STREAM).error, RateLimited)


BLOCKED = {"message": "Your request was rejected by the safety system.", "code": "moderation_blocked"}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(frame(BLOCKED, "error"), id="without an envelope"),
        pytest.param(frame(BLOCKED | {"error": None}, "error"), id="with an empty envelope"),
        pytest.param(
            frame(BLOCKED | {"type": "invalid_request_error"}, "error"), id="with a type of its own"
        ),
        pytest.param(frame(BLOCKED, "image_generation.failed"), id="failed"),
        pytest.param(frame({"type": "error", "error": BLOCKED}), id="with an envelope"),
        pytest.param(frame(BLOCKED["message"], "error"), id="words alone"),
        pytest.param(frame(PARTIAL) + frame(BLOCKED, "error"), id="after a partial image"),
    ],
)
@pytest.mark.parametrize("label", ["text/event-stream", "application/json"])
def test_an_error_event_is_what_it_says(client: ServiceClient, body: bytes, label: str) -> None:
    with pytest.raises(PromptBlocked):
        read(client, body, label)


def test_an_error_is_told_although_the_connection_breaks_after_it(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script(Behaviour(corrupt=lambda good: frame(BLOCKED, "error"), broken_after_completed=True))
    with pytest.raises(PromptBlocked):
        generate(client)


@pytest.mark.parametrize("code", ["rate_limit_exceeded", "partial_failure"])
def test_a_response_with_an_error_that_held_anything_is_set_aside_and_may_be_charged(
    client: ServiceClient, code: str
) -> None:
    body = json.dumps({"data": [{"b64_json": "%%"}], "error": {"code": code}}).encode()
    with pytest.raises(ImageError) as caught:
        read(client, body)
    assert (caught.value.charged, caught.value.response_body) == (None, body)


def test_json_that_is_complete_is_an_image_although_the_connection_breaks_after_it(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script(Behaviour(plain=True, corrupt=lambda good: PLAIN, broken_after_completed=True))
    assert generate(client).images == (PNG,)


# Texts

CHUNKS: list[dict[str, Any]] = [
    {"choices": [{"delta": {"content": "A quiet "}}]},
    {"choices": [{"delta": {"content": "harbour."}, "finish_reason": "stop"}]},
]
WHOLE_TEXT = {"choices": [{"message": {"content": "A quiet harbour."}, "finish_reason": "stop"}]}
TEXT_STREAM = b"".join(map(frame, CHUNKS))


@pytest.fixture
def ask(make_client: MakeClient) -> Callable[[bytes, str], EnhancedPrompt]:
    """`ask(body, label)`: the enhancement that this response to a call makes."""

    def make(body: bytes, label: str) -> EnhancedPrompt:
        headers = {"content-type": label} if label else {}
        transport = httpx2.MockTransport(lambda request: httpx2.Response(200, headers=headers, content=body))
        return enhance(make_client(transport)).result

    return make


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(TEXT_STREAM + frame("[DONE]"), id="stream"),
        pytest.param(b"\xef\xbb\xbf: PING\n\n" + TEXT_STREAM, id="stream with comments"),
        pytest.param(json.dumps(WHOLE_TEXT).encode(), id="JSON"),
        pytest.param(b": PING\n\n" + json.dumps(WHOLE_TEXT).encode(), id="JSON behind a comment"),
        pytest.param(frame(WHOLE_TEXT), id="JSON in one event"),
        pytest.param(b"\n".join(json.dumps(chunk).encode() for chunk in CHUNKS), id="JSON lines"),
        pytest.param(json.dumps(WHOLE_TEXT | {"error": EMPTY_ERRORS[4]}).encode(), id="an empty error"),
    ],
)
def test_a_text_is_read_whatever_its_label(
    ask: Callable[[bytes, str], EnhancedPrompt], body: bytes, label: str
) -> None:
    enhanced = ask(body, label)
    assert enhanced.text.startswith("A quiet harbour.")
    assert enhanced.error is None


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(json.dumps(WHOLE_TEXT | {"error": PARTIAL_FAILURE}).encode(), id="JSON"),
        pytest.param(ERROR_FRAME + TEXT_STREAM, id="before the text"),
        pytest.param(TEXT_STREAM + ERROR_FRAME, id="after the text"),
    ],
)
def test_a_whole_text_beside_an_error_is_kept_and_the_error_is_told(
    ask: Callable[[bytes, str], EnhancedPrompt], body: bytes
) -> None:
    enhanced = ask(body, "text/event-stream")
    assert enhanced.text.startswith("A quiet harbour.")
    assert isinstance(enhanced.error, ServiceFailed)
    assert "1 of 2 images failed" in enhanced.error.details


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(frame(CHUNKS[0]) + ERROR_FRAME, id="half a text"),
        pytest.param(ERROR_FRAME, id="no text"),
        pytest.param(frame(PARTIAL_FAILURE, "error"), id="without an envelope"),
        pytest.param(
            frame({"error": PARTIAL_FAILURE, "choices": [{"delta": {}, "finish_reason": "error"}]}),
            id="its end",
        ),
    ],
)
def test_an_error_in_place_of_a_text_is_told(
    ask: Callable[[bytes, str], EnhancedPrompt], body: bytes
) -> None:
    with pytest.raises(ServiceFailed) as caught:
        ask(body, "text/event-stream")
    assert "1 of 2 images failed" in caught.value.details
