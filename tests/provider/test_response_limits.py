"""Limits on the size of responses, in bytes, values and images."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Iterable, Iterator
from itertools import chain, repeat

import httpx2
import pytest

from core.errors import BadResponse, OutcomeUnknown
from core.provider.client import ServiceClient
from core.responses.events import event_texts
from core.responses.limits import MAX_ERROR_BYTES, record_response
from core.responses.parsing import MAX_IMAGES
from tests.support.openai_service import (
    Behaviour,
    OpenAIService,
)
from tests.support.service_client import (
    FOX,
    MakeClient,
    enhance,
    generate,
)


class ByteStream(httpx2.SyncByteStream):
    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)


def test_a_response_that_is_too_large_is_stopped(
    service: OpenAIService, client: ServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.responses.limits.MAX_RESPONSE_BYTES", 1 << 16)
    service.script(Behaviour(raw=bytes(1 << 17)))
    with pytest.raises(BadResponse, match="isn't an image") as caught:
        generate(client)
    assert "larger than 65,536 bytes" in caught.value.details
    assert len(caught.value.response_body) <= 1 << 16


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_a_response_is_measured_decompressed(
    service: OpenAIService, client: ServiceClient, monkeypatch: pytest.MonkeyPatch, plain: bool, packed: bool
) -> None:
    """Packed, all of it is smaller than what is allowed."""
    monkeypatch.setattr("core.responses.limits.MAX_RESPONSE_BYTES", 1 << 16)
    large = b'data: {"data": "' + b"a" * (1 << 17) + b'"}\n\n'
    corrupt = (lambda _: gzip.compress(large)) if packed else (lambda _: large)
    headers = (("content-encoding", "gzip"),) if packed else ()
    service.script(Behaviour(plain=plain, corrupt=corrupt, headers=headers))
    with pytest.raises(BadResponse) as caught:
        generate(client)
    assert "larger than 65,536 bytes" in caught.value.details
    assert len(caught.value.response_body) <= 1 << 16


def test_text_responses_have_a_lower_limit_than_images(
    service: OpenAIService, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.responses.limits.MAX_TEXT_RESPONSE_BYTES", 1 << 16)
    client, large = make_client(moderation="on"), bytes(1 << 17)
    service.script(Behaviour(raw=large), Behaviour(raw=large, raw_type="text/event-stream"))
    for ask in (enhance, enhance):
        with pytest.raises(BadResponse) as caught:
            ask(client)
        assert "larger than 65,536 bytes" in caught.value.details
    with pytest.raises(BadResponse) as caught:
        client.moderation.flagged_categories(["[[flagged:" + "x" * (1 << 17) + "]]"])
    assert "larger than 65,536 bytes" in caught.value.details


@pytest.mark.parametrize("packed", [False, True])
def test_an_error_body_is_cut_at_its_limit(packed: bool) -> None:
    body = json.dumps({"error": {"code": "slow_down"}}).encode() + b" " * 3 * MAX_ERROR_BYTES
    headers = {"content-encoding": "gzip"} if packed else {}
    response = httpx2.Response(
        429,
        headers=headers,
        stream=ByteStream((gzip.compress(body) if packed else body,)),
        request=httpx2.Request("POST", "http://service.test/"),
    )
    record_response(response)
    assert len(response.read()) == MAX_ERROR_BYTES
    assert response.json() == {"error": {"code": "slow_down"}}


def test_an_object_with_too_many_values_is_not_parsed(
    service: OpenAIService, client: ServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.responses.events._MAX_SEPARATORS", 1_000)
    service.script(Behaviour(raw=b'{"data": [' + b"{}," * 1_000 + b"{}]}"))
    with pytest.raises(BadResponse) as caught:
        generate(client)
    assert "more than 1,000 values" in caught.value.details


def test_of_too_many_images_the_first_are_kept_with_the_whole_response(
    service: OpenAIService, client: ServiceClient
) -> None:
    images = [{"b64_json": "QUJD"}] * (MAX_IMAGES + 1)
    service.script(Behaviour(raw=json.dumps({"data": images}).encode()))
    result = generate(client)
    assert len(result.images) == MAX_IMAGES
    assert result.response_body.count(b"b64_json") > MAX_IMAGES


@pytest.mark.parametrize("line", [b":\n", b"event: x\n", b"data: {}\n\n"])
def test_a_stored_response_of_many_lines_takes_memory_in_proportion_to_its_bytes(
    client: ServiceClient, line: bytes
) -> None:
    body = line * ((1 << 20) // len(line))
    tracemalloc.start()
    with pytest.raises((BadResponse, OutcomeUnknown)):
        client.images.read_again(FOX, headers={}, body=body, seconds=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * len(body)


def test_a_response_of_too_many_objects_is_not_read_to_its_end(client: ServiceClient) -> None:
    item = b'{"b64_json": "QUJD"}\n'
    for body in (b"data: {}\n\n" * 100_001, b"{}\n" * 100_001, b'""' * 100_001):
        with pytest.raises(BadResponse):
            client.images.read_again(FOX, headers={}, body=body + item, seconds=1)


def test_an_event_of_many_lines_takes_memory_in_proportion_to_its_bytes() -> None:
    lines = 100_000
    tracemalloc.start()
    (event,) = event_texts(chain(repeat(b"data: xy\n", lines), (b"\n",)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert event.data == b"\n".join([b"xy"] * lines)
    assert peak < 5 * len(event.data)
