"""Calls of the service client in tests, and transports in place of the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import httpx2
import pytest

from core.prompts.recipe import GenerateParams
from core.prompts.request import PromptRequest
from core.provider.chat import EnhancementStream
from core.provider.client import ServiceClient
from core.provider.images import GeneratedImages
from tests.support.openai_service import TAG, ErrorRow, OpenAIService

FOX = GenerateParams("a fox", "gpt-image-2.6-flare")
# Services don't stream several images at once.
SEVERAL = replace(FOX, n=2)
PIP = PromptRequest(name="Pip", traits=("green coat",), base_prompt="a fox on a pier")
Call = Callable[[ServiceClient], object]
MakeClient = Callable[..., ServiceClient]
# Faults that send a line end now and then, so that only the deadline ends the call.
DRIPS = ["drip", "drip of JSON"]


class ReroutedTransport(httpx2.BaseTransport):
    """Sends the requests for any host to the loopback service."""

    def __init__(self, service: OpenAIService) -> None:
        self._port = service.port
        self._transport = httpx2.HTTPTransport(verify=False)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        return self._transport.handle_request(request)

    def close(self) -> None:
        self._transport.close()


def failing(error: Exception) -> httpx2.MockTransport:
    """A transport that raises `error` for each request."""

    def fail(request: httpx2.Request) -> httpx2.Response:
        raise error

    return httpx2.MockTransport(fail)


def parameter_refusal(
    name: str, code: str | None = "unsupported_parameter", param: str | None = ""
) -> ErrorRow:
    """The service's refusal of the parameter `name`; `param=None` names it in the message alone."""
    body = {"message": f"Unsupported parameter: '{name}'.", "code": code}
    return ErrorRow(400, body | {"param": name if param == "" else param})


def generate(client: ServiceClient, params: GenerateParams = FOX) -> GeneratedImages:
    return client.images.generate(params, user_tag=TAG)


def enhance(client: ServiceClient, request: PromptRequest = PIP) -> EnhancementStream:
    """Read an enhancement to its end."""
    stream = client.chat.enhance(request, user_tag=TAG)
    list(stream)
    return stream


CALLS = [pytest.param(generate, id="image"), pytest.param(enhance, id="text")]
