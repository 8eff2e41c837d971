"""The client as a whole: offline, invalid settings, several threads, and the tests' loopback service."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from core.errors import (
    OutcomeUnknown,
    QuotaSpent,
    SettingsError,
)
from core.provider.client import ServiceClient
from core.provider.images import GeneratedImages
from core.settings import load_settings
from tests.support.openai_service import (
    OpenAIService,
)
from tests.support.service_client import (
    FOX,
    PIP,
    SEVERAL,
    ReroutedTransport,
    enhance,
    generate,
)


def test_without_a_service_all_calls_go_to_the_given_transport(service: OpenAIService) -> None:
    client = ServiceClient(load_settings(), transport=ReroutedTransport(service))
    result = generate(client, replace(FOX, model="offline-painter"))
    assert service.requests[-1].headers["host"] == "offline.invalid"
    assert result.price_micros == 0
    assert enhance(client).result.model == "offline-writer"
    client.close()


def test_an_invalid_base_url_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match="OPENAI_BASE_URL"):
        ServiceClient(load_settings(openai_base_url="http://[/v1"))


def test_one_client_serves_several_threads(service: OpenAIService, client: ServiceClient) -> None:
    results: list[GeneratedImages] = []
    prompts = [replace(SEVERAL, prompt=f"fox {number}", size="1024x1024") for number in range(6)]
    threads = [threading.Thread(target=lambda p=p: results.append(generate(client, p))) for p in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({image for result in results for image in result.images}) == 12


def test_the_loopback_service_runs_as_a_process_and_obeys_markers() -> None:
    command = [sys.executable, "-m", "tests.support.openai_service"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        base_url = process.stdout.readline().strip()
        client = ServiceClient(load_settings(openai_base_url=base_url, partial_images=1))
        assert (
            "[[image error:quota spent]]"
            in enhance(client, replace(PIP, base_prompt="[[image error:quota spent]]")).result.text
        )
        with pytest.raises(QuotaSpent):
            generate(client, replace(FOX, prompt="a fox [[image error:quota spent]]"))
        with pytest.raises(OutcomeUnknown):
            generate(client, replace(FOX, prompt="a fox [[fault:truncated]] [[pause:0.01]]"))
        journal = httpx2.get(base_url.removesuffix("/v1") + "/journal").json()
        assert [seen["path"].rpartition("/")[2] for seen in journal] == [
            "completions",
            "generations",
            "generations",
        ]
        client.close()
        process.terminate()
