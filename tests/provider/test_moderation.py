"""Moderation of prompts before they are paid for."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from core.errors import (
    ServiceBusy,
    ServiceFailed,
)
from core.provider.moderation import MAX_CONCURRENT_MODERATIONS
from tests.support.openai_service import OpenAIService
from tests.support.service_client import MakeClient


def test_moderation_calls_that_hang_hold_a_limited_number_of_threads(
    make_client: MakeClient,
) -> None:
    asked, answered, room = (
        threading.Semaphore(0),
        threading.Event(),
        threading.Semaphore(MAX_CONCURRENT_MODERATIONS),
    )

    def hang(request: httpx2.Request) -> httpx2.Response:
        assert answered.is_set() or room.acquire(blocking=False), "one more waits"
        asked.release()
        answered.wait()
        return httpx2.Response(200, json={"results": []})

    client = make_client(httpx2.MockTransport(hang), moderation="on")
    with ThreadPoolExecutor(MAX_CONCURRENT_MODERATIONS) as pool:
        waiting = [
            pool.submit(client.moderation.flagged_categories, ["a fox"])
            for _ in range(MAX_CONCURRENT_MODERATIONS)
        ]
        for _ in waiting:
            asked.acquire()
        try:
            with pytest.raises(ServiceBusy):
                client.moderation.flagged_categories(["an owl"])
        finally:
            answered.set()
        assert [each.result() for each in waiting] == [()] * MAX_CONCURRENT_MODERATIONS
    assert client.moderation.flagged_categories(["an owl"]) == ()


def test_moderation_returns_the_flagged_categories(service: OpenAIService, make_client: MakeClient) -> None:
    client = make_client(moderation="on")
    assert client.moderation.flagged_categories(["a fox", "a [[flagged:violence,hate/threatening]] fox"]) == (
        "violence",
        "hate/threatening",
    )
    assert client.moderation.flagged_categories(["a fox"]) == ()
    assert service.requests[0].body == {
        "model": "omni-moderation-latest",
        "input": ["a fox", "a [[flagged:violence,hate/threatening]] fox"],
    }


@pytest.mark.parametrize(
    ("settings", "called"),
    [
        pytest.param({}, False, id="another service"),
        pytest.param({"moderation": "on"}, True, id="on"),
        pytest.param({"openai_base_url": None}, True, id="OpenAI itself"),
        pytest.param({"openai_base_url": None, "moderation": "off"}, False, id="off"),
        pytest.param(
            {"openai_base_url": None, "openai_api_key": None, "moderation": "on"}, False, id="offline"
        ),
    ],
)
def test_moderation_follows_the_setting(
    make_client: MakeClient, settings: dict[str, Any], called: bool
) -> None:
    paths: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        paths.append(request.url.path)
        return httpx2.Response(200, json={"results": [{"flagged": False, "categories": {}}]})

    client = make_client(httpx2.MockTransport(answer), **settings)
    assert client.moderation.flagged_categories(["a fox"]) == ()
    assert paths == ["/v1/moderations"] * called


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"results": "none"}, id="no list"),
        pytest.param({"results": [{"flagged": "yes", "categories": {"x": True}}]}, id="flagged is text"),
        pytest.param({}, id="nothing"),
    ],
)
def test_an_unexpected_moderation_response_flags_nothing(
    make_client: MakeClient, body: dict[str, Any]
) -> None:
    transport = httpx2.MockTransport(lambda _request: httpx2.Response(200, json=body))
    assert make_client(transport, moderation="on").moderation.flagged_categories(["a fox"]) == ()


def test_a_flagged_text_without_a_category_is_flagged_as_unnamed(make_client: MakeClient) -> None:
    body = {"results": [{"flagged": True}]}
    transport = httpx2.MockTransport(lambda _request: httpx2.Response(200, json=body))
    assert make_client(transport, moderation="on").moderation.flagged_categories(["a fox"]) == ("unnamed",)


def test_a_moderation_call_has_five_seconds(make_client: MakeClient) -> None:
    limits: list[float] = []

    def note(request: httpx2.Request) -> httpx2.Response:
        limits.append(request.extensions["timeout"]["read"])
        return httpx2.Response(500)

    with pytest.raises(ServiceFailed):
        make_client(httpx2.MockTransport(note), moderation="on").moderation.flagged_categories(["a fox"])
    assert len(limits) == 1
    assert limits[0] <= 5
