"""The Images API held to its own documentation: whatever is sent, the answer is one that is written there."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import strategies as st

from core import bootstrap
from core.api.app import create_api
from core.api.events import MEDIA_TYPE
from core.database.models import Scope
from core.prompts.recipe import Recipe
from core.settings import load_settings
from tests.support.app_process import AppProcess
from tests.support.fuzz_inputs import fuzz
from tests.support.openai_service import OpenAIService
from tests.support.sign_in import ticket_of
from tests.support.waiting import until

DOCUMENT = create_api(lambda: None).openapi()  # type: ignore[arg-type, return-value]
METHODS = ("get", "post", "put", "patch", "delete", "head", "options", "trace")
OPERATIONS = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]
ENOUGH = "100000"
EVENT = {
    "type": "object",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["event", "data"],
}


@dataclass(frozen=True)
class Api:
    """The running app, and somebody who may call it in two ways."""

    app: AppProcess
    ways: tuple[dict[str, str], ...]
    known: dict[str, str]

    def url(self, path: str) -> str:
        return f"{self.app.base_url}/api{path.format(**self.known, number=0)}"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, shared_service: OpenAIService) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("openapi")
    ways, known = _somebody_with_a_picture(folder / "data")
    env = {
        "OPENAI_BASE_URL": shared_service.base_url,
        "CONCURRENCY": "16",
        "USER_CONCURRENCY": "16",
        "USER_READS_PER_MINUTE": ENOUGH,
        "USER_PAID_PER_MINUTE": ENOUGH,
        "TOKEN_READS_PER_MINUTE": ENOUGH,
        "TOKEN_PAID_PER_MINUTE": ENOUGH,
    }
    shared_service.reset()
    with AppProcess(folder, env=env) as app:
        yield Api(app, ways, known)


def _somebody_with_a_picture(data_dir: Path) -> tuple[tuple[dict[str, str], ...], dict[str, str]]:
    studio = bootstrap.build(load_settings(_env_file=None, data_dir=data_dir))
    try:
        studio.registration.create_user("ada", "!")
        session = studio.sessions.redeem_ticket(ticket_of(studio, "ada"))
        user = studio.sessions.authenticate(session)
        assert user
        token = studio.api_tokens.create(user, "fuzz", Scope, 30)
        recipe = Recipe(prompt="a fox", model="offline-painter", size="64x64")
        batch_id = studio.jobs.submit(user.user_id, [recipe])
        image_id = until(lambda: studio.jobs.recent(user.user_id)[0].image_ids)[0]
    finally:
        studio.close()
    ways = ({"Cookie": f"atelier={session}"}, {"Authorization": f"Bearer {token}"})
    return ways, {"image_id": image_id, "job_id": str(batch_id)}


@functools.cache
def _schema() -> Any:
    """The document with the schema of one event for each stream, which Schemathesis reads event by event."""
    import schemathesis

    document = copy.deepcopy(DOCUMENT)
    for path, method in OPERATIONS:
        content = document["paths"][path][method]["responses"].get("200", {}).get("content", {})
        if MEDIA_TYPE in content:
            content[MEDIA_TYPE] = {"schema": EVENT}
    return schemathesis.openapi.from_dict(document)


@functools.cache
def _checks() -> list[Callable[..., Any]]:
    """The checks of every response; that invalid data is refused is the last one."""
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    return [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_headers_conformance,
        checks.response_schema_conformance,
        checks.negative_data_rejection,
    ]


def _text_parameters(path: str, method: str) -> set[str]:
    """The parameters of the query that are text, or may be left out."""
    parameters = DOCUMENT["paths"][path][method].get("parameters", [])
    schemas = {each["name"]: each["schema"] for each in parameters if each["in"] == "query"}
    return {
        name
        for name, schema in schemas.items()
        if {option.get("type") for option in schema.get("anyOf", [schema])} <= {"string", "null"}
    }


def assert_one_shape(answer: httpx2.Response) -> None:
    error = answer.json()["error"]
    assert set(answer.json()) == {"error"}
    assert set(error) == {"code", "message", "details", "suggestions", "retryable", "request_id"}


@pytest.mark.hypothesis
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_whatever_is_sent_the_answer_is_a_documented_one(api: Api, path: str, method: str) -> None:
    import requests
    from schemathesis import GenerationMode

    operation, session = _schema()[path][method], requests.Session()
    cases = st.one_of(operation.as_strategy(generation_mode=mode) for mode in GenerationMode)

    texts = _text_parameters(path, method)
    # Up to ten images each.
    share = 0.1 if path.endswith("/generate") else 0.2

    @fuzz(share=share, case=cases, way=st.sampled_from(api.ways), known=st.booleans())
    def call(case: Any, way: dict[str, str], known: bool) -> None:
        for name, value in api.known.items():
            if known and name in (case.path_parameters or {}):
                case.path_parameters[name] = value
        answer = case.call(base_url=f"{api.app.base_url}/api", session=session, headers=way, timeout=60)
        # A list or an object is text once it is in a query, and any text is valid there.
        sent_as_text = any(not isinstance((case.query or {}).get(name, ""), str) for name in texts)
        checks = _checks()[:-1] if sent_as_text else _checks()
        case.validate_response(answer, checks=checks, headers=way)

    with session:
        call()


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_without_a_sign_in_nothing_is_answered(api: Api, path: str, method: str) -> None:
    for way in ({}, {"Cookie": "atelier=made-up"}, {"Authorization": "Bearer atl_made-up"}):
        answer = httpx2.request(method.upper(), api.url(path), headers=way, trust_env=False)
        assert answer.status_code == 401
        assert_one_shape(answer)


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_a_method_that_an_address_has_not_is_refused_in_the_one_shape(api: Api, path: str) -> None:
    has = set(DOCUMENT["paths"][path])
    also = {"head"} if "get" in has else set()
    for method in set(METHODS) - has - also:
        answer = httpx2.request(method.upper(), api.url(path), headers=api.ways[0], trust_env=False)
        assert answer.status_code == 405, method
        if method != "head":
            assert_one_shape(answer)
        assert {name.lower() for name in answer.headers["allow"].split(", ")} == has | also


def test_the_documentation_names_a_failure_for_each_operation_and_the_running_app_serves_it(api: Api) -> None:
    served = httpx2.get(f"{api.app.base_url}/api/openapi.json", headers=api.ways[1], trust_env=False).json()
    cookie = served["components"]["securitySchemes"]["session"].pop("name")
    assert re.fullmatch("atelier-[0-9a-f]{8}", cookie)
    DOCUMENT["components"]["securitySchemes"]["session"].pop("name")
    assert served == DOCUMENT
    for path, method in OPERATIONS:
        answers = DOCUMENT["paths"][path][method]["responses"]
        assert {"401", "403", "429"} <= set(answers)
