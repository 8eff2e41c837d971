"""Secrets are fed into every path, and every output is searched for them."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import select
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from core import bootstrap, errors
from core.accounts.identity import SignedIn
from core.api.app import create_api, create_auth
from core.common.logging import configure_logging
from core.database.models import Table
from core.errors.stored import StoredError
from core.prompts.recipe import Recipe
from core.responses.error_translation import ServiceFault, error_from_fault
from core.settings import load_settings
from core.studio import Studio
from core.web.cookies import LEGACY_COOKIE
from core.web.error_responses import error_response
from tests.support.app_process import MAIN
from tests.support.openai_service import ERRORS, Behaviour, ErrorRow, OpenAIService
from tests.support.orders import generate
from tests.support.sign_in import ticket_of
from tests.support.waiting import until

CONFIGURED = "a-key-of-another-kind-0042"
PASSWORD = "hunter2-and-more"


@dataclass(frozen=True)
class Secret:
    """A secret as a service may quote it; no output may contain `core`."""

    quoted: str
    core: str


SECRETS = {
    "key": Secret("Incorrect API key provided: sk-Abcdefghij0123456789.", "Abcdefghij0123456789"),
    "project key": Secret("key sk-proj-Abc_def-ghi0123456789 is wrong", "Abc_def-ghi0123456789"),
    "masked key": Secret("Incorrect API key provided: sk-proj-ab12********yz89.", "yz89"),
    "configured key": Secret(f"the key {CONFIGURED} isn't known", CONFIGURED),
    "API token": Secret("Authorization: Bearer atl_0123456789abcdefABCDEF", "0123456789abcdefABCDEF"),
    "cookie": Secret("Cookie: atelier=Kq3vXz81LmnopQrsTuvw-_; theme=dark", "Kq3vXz81LmnopQrsTuvw"),
    "secure cookie": Secret("__Host-atelier=Kq3vXz81LmnopQrsTuvw", "Kq3vXz81LmnopQrsTuvw"),
    "ticket": Secret('{"ticket": "Tt3vXz81LmnopQrsTuvw"}', "Tt3vXz81LmnopQrsTuvw"),
    "invitation": Secret("http://localhost:8501/?invite=Ii3vXz81LmnopQrs", "Ii3vXz81LmnopQrs"),
    "reset link": Secret("http://localhost:8501/?reset=Rr3vXz81LmnopQrs", "Rr3vXz81LmnopQrs"),
    "share link": Secret("/api/images/a1/thumbnail?share=Ss3vXz81LmnopQrs", "Ss3vXz81LmnopQrs"),
    "AWS key": Secret("The key AKIAIOSFODNN7EXAMPLE does not exist", "IOSFODNN7EXAMPLE"),
    "AWS secret": Secret("aws_secret_access_key=wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI"),
    "signed address": Secret("https://b/o?X-Amz-Signature=0a1b2c3d4e5f6a7b&n=1", "0a1b2c3d4e5f6a7b"),
    "database password": Secret("postgresql+psycopg://atelier:dbPass99word@db:5432/atelier", "dbPass99word"),
    "connection string": Secret("host=db user=atelier password=dbPass99word", "dbPass99word"),
}
EACH = pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """The whole log of the app and of libraries."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s"))
    logging.getLogger().addHandler(handler)
    yield written
    logging.getLogger().removeHandler(handler)
    logging.setLogRecordFactory(logging.LogRecord)
    structlog.reset_defaults()


@pytest.fixture
def studio(tmp_path: Path, service: OpenAIService, lines: io.StringIO) -> Iterator[Studio]:
    settings = load_settings(
        data_dir=tmp_path / "data",
        openai_base_url=service.base_url,
        openai_api_key=CONFIGURED,
        image_model="gpt-image-2",
        partial_images=0,
    )
    built = bootstrap.build(settings)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(lines), cache_logger_on_first_use=False)
    bootstrap.install(built)
    yield built
    bootstrap.install(None)
    built.close()


@pytest.fixture
def enter(studio: Studio) -> Callable[[str], tuple[SignedIn, str]]:
    """`enter("ada")` creates and signs in a user, with the cookie's token. The first is the administrator."""

    def make(name: str) -> tuple[SignedIn, str]:
        if studio.passwords.stored_hash(name) is None:
            studio.registration.create_user(name, "!")
        token = studio.sessions.redeem_ticket(ticket_of(studio, name), browser="a browser")
        user = studio.sessions.authenticate(token)
        assert user
        return user, token

    return make


def rows(studio: Studio) -> str:
    """Every row of every table except the installation's key, which belongs there."""
    with studio.database.read() as session:
        return "\n".join(
            repr(row)
            for table in Table.metadata.sorted_tables
            if table.name != "installation"
            for row in session.execute(select(table))
        )


def files(studio: Studio) -> str:
    """Every file of the data folder as text, the database and its write-ahead log included."""
    folder = studio.settings.data_dir
    return "\n".join(
        path.read_bytes().decode("latin-1") for path in sorted(folder.rglob("*")) if path.is_file()
    )


def drawn_on(page: AppTest) -> str:
    """Everything that a page sends to the browser."""
    assert not page.exception
    return "\n".join(_protos(page._tree))


def _protos(node: Any) -> Iterator[str]:
    yield str(getattr(node, "proto", ""))
    for child in getattr(node, "children", {}).values():
        yield from _protos(child)


# Errors of the service


@EACH
@pytest.mark.parametrize("row", ERRORS)
def test_no_row_of_the_error_table_repeats_a_secret(row: str, secret: Secret) -> None:
    body = ERRORS[row].body
    quoting = body | {"message": f"{body['message']} {secret.quoted}"} if isinstance(body, dict) else {}
    fault = ServiceFault(
        status=ERRORS[row].status,
        code=str(quoting.get("code") or ""),
        type=str(quoting.get("type") or ""),
        message=str(quoting.get("message") or secret.quoted),
    )
    for paid in (True, False):
        _assert_silent(error_from_fault(fault, paid=paid, secret=CONFIGURED), secret)


@EACH
@pytest.mark.parametrize("place", ["code", "type", "param", "categories", "request_id"])
def test_no_part_of_an_errors_body_repeats_a_secret(place: str, secret: Secret) -> None:
    value: Any = (secret.quoted,) if place == "categories" else secret.quoted
    fault = ServiceFault(**{"status": 400, "message": "rejected by the safety system", place: value})
    _assert_silent(error_from_fault(fault, paid=True, secret=CONFIGURED), secret)


def _assert_silent(error: errors.ImageError, secret: Secret) -> None:
    """Assert that no message, log line, row or response contains the secret."""
    shown = (str(error), repr(error), error.details, error.message, errors.terminal_message(error))
    stored, answered = repr(StoredError.of(error)), error_response(error, error.status).body.decode()
    for text in (*shown, stored, answered):
        assert secret.core not in text


def test_no_job_keeps_a_secret_that_a_service_quotes(
    studio: Studio,
    service: OpenAIService,
    enter: Callable[[str], tuple[SignedIn, str]],
    lines: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From the service's response to the log, the rows, the files and the page."""
    ada, token = enter("ada")
    for secret in SECRETS.values():
        service.script(ErrorRow(400, {"message": secret.quoted, "code": "moderation_blocked"}))
        generate(studio, ada, Recipe(prompt=f"a fox {secret.core[:3]}", model="gpt-image-2"), 1)
        until(lambda: not any(job.is_live for job in studio.jobs.recent(ada.user_id)))
    jobs = studio.jobs.recent(ada.user_id)
    assert {job.error and job.error.code for job in jobs} == {"IMG-PRM-BLOCK-001"}
    monkeypatch.setattr("pages.ui.session.token", lambda: token)
    drawn = drawn_on(AppTest.from_file(MAIN, default_timeout=30).run())
    assert drawn.count("Code IMG-PRM-BLOCK-001") == len(SECRETS)
    for text in (repr(jobs), rows(studio), files(studio), lines.getvalue(), drawn):
        assert found_in(text) == []


def found_in(text: str) -> list[str]:
    return [name for name, secret in SECRETS.items() if secret.core in text]


@pytest.mark.parametrize("refused", [pytest.param(True, id="refusal"), pytest.param(False, id="no JSON")])
def test_no_enhancement_shows_a_secret_that_a_service_quotes(
    studio: Studio,
    service: OpenAIService,
    enter: Callable[[str], tuple[SignedIn, str]],
    lines: io.StringIO,
    refused: bool,
) -> None:
    ada, _ = enter("ada")
    draft = replace(studio.drafts.load(ada.user_id), base_prompt="a fox")
    told: list[str] = []
    for secret in SECRETS.values():
        spoken = Behaviour(text="", refusal=secret.quoted)
        service.script(spoken if refused else Behaviour(raw=secret.quoted.encode()))
        studio.enhancement_orders.enhance_draft(ada, draft)
        run = until(
            lambda: (found := studio.enhancements.current(ada.user_id)) and not found.is_live and found
        )
        assert run.error
        told.append(f"{run.error} {run.error.details}")
    for text in (*told, rows(studio), lines.getvalue()):
        assert found_in(text) == []


# What is said about settings


@EACH
@pytest.mark.parametrize(
    "variable",
    [
        "openai_api_key", "openai_base_url", "text_api_key", "text_base_url", "extra_headers",
        "text_extra_headers", "image_hosts", "database_url", "storage_url", "aws_endpoint_url",
        "allowed_hosts", "registration", "log_level", "port", "moderation",
    ],
)  # fmt: skip
def test_no_setting_that_is_wrong_is_repeated(variable: str, secret: Secret) -> None:
    """For example, a key pasted into the wrong line of `.env`."""
    try:
        load_settings(**{variable: f"{secret.quoted} \n"})
    except errors.SettingsError as error:
        chain = f"{error!r} {errors.terminal_message(error)}"
        assert secret.core not in chain


def test_the_settings_list_their_secrets() -> None:
    settings = load_settings(
        openai_base_url=f"http://gateway:{PASSWORD}@127.0.0.1:9/v1?api-version=2026-01-01&code=code-of-azure",
        extra_headers="X-Title: Atelier\nX-Portkey-Api-Key: pk-portkey\nX-Config: a-rather-long-value",
        text_base_url="http://127.0.0.1:10/v1",
        text_api_key=CONFIGURED,
        text_extra_headers='{"cf-aig-authorization": "Bearer of-cloudflare"}',
        database_url="postgresql://atelier:another-password@127.0.0.1:9/atelier",
        storage_url="s3://bucket",
        aws_access_key_id="key-id-of-minio",
        aws_secret_access_key="secret-of-minio",
    )
    assert set(settings.secrets) == {
        CONFIGURED, PASSWORD, "another-password", "key-id-of-minio", "secret-of-minio", "code-of-azure",
        "pk-portkey", "a-rather-long-value", "of-cloudflare",
    }  # fmt: skip


# The log


@EACH
@pytest.mark.parametrize("logger", ["a.server", "httpx2", "sqlalchemy.pool"])
def test_no_log_line_holds_a_secret(lines: io.StringIO, secret: Secret, logger: str) -> None:
    configure_logging("INFO", secrets=(CONFIGURED,))
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(lines), cache_logger_on_first_use=False)
    fault = ValueError(secret.quoted)
    structlog.get_logger().warning("sent", body={"quoted": secret.quoted}, error=fault)
    library = logging.getLogger(logger)
    library.warning("sent " + secret.quoted)
    library.warning("sent %s to %s", secret.quoted, "there")
    library.error("sent", exc_info=fault)
    assert lines.getvalue().count("sent") >= 4
    assert secret.core not in lines.getvalue()


def test_an_access_log_line_keeps_its_arguments(lines: io.StringIO) -> None:
    """The server's formatter needs the arguments separately."""
    configure_logging("INFO")
    record_response = logging.getLogger("uvicorn.access").makeRecord(
        "uvicorn.access", logging.INFO, "", 0, '%s - "%s %s HTTP/%s" %d',
        ("127.0.0.1:9", "GET", "/api/images/a1?share=Ss3vXz81LmnopQrs", "1.1", 200), None,
    )  # fmt: skip
    assert record_response.args == ("127.0.0.1:9", "GET", "/api/images/a1?share=[secret]", "1.1", 200)
    assert lines.getvalue() == ""


# Answers of the API


def test_no_answer_repeats_what_was_sent(
    studio: Studio, enter: Callable[[str], tuple[SignedIn, str]], lines: io.StringIO
) -> None:
    _, token = enter("ada")
    app = Starlette(
        routes=[
            Mount("/api", create_api(lambda: studio)),
            Mount("/auth", create_auth(lambda: studio)),
        ]
    )
    client = TestClient(app, raise_server_exceptions=False, cookies={LEGACY_COOKIE: token})
    for secret in SECRETS.values():
        answers = [
            client.get("/api/images/x", params={"share": secret.quoted}),
            client.get("/api/images/x/download", params={"prompt": secret.quoted}),
            client.get("/api/images/" + secret.core),
            client.get(f"/api/images/jobs/x/partials/{secret.core}"),
            client.request("PUT", "/api/images/x", content=secret.quoted),
            client.post("/auth/session", json={"ticket": secret.quoted}),
            client.post("/auth/session", json={"ticket": secret.quoted * 50}),
            client.post("/auth/session", content=secret.quoted),
            client.get("/api/images/x", headers={"Authorization": f"Bearer {secret.core}"}),
            client.get("/api/images/x", headers={"Cookie": f"{LEGACY_COOKIE}={secret.core}"}),
        ]
        assert all(answer.status_code >= 400 for answer in answers)
        for answer in answers:
            assert secret.core not in f"{answer.text} {answer.headers}"
            assert token not in answer.text
    assert found_in(lines.getvalue()) == []


# Our own


def test_no_row_file_or_log_line_contains_a_usable_token(
    studio: Studio, enter: Callable[[str], tuple[SignedIn, str]], lines: io.StringIO
) -> None:
    chief, cookie = enter("chief")
    guest, _ = enter("guest")
    secrets = {
        "cookie": cookie,
        "ticket": ticket_of(studio, "guest"),
        "invitation": studio.registration.create_invite(chief),
        "reset": studio.passwords.create_reset(chief, guest.user_id),
        "key": CONFIGURED,
    }
    with pytest.raises(errors.ImageError):
        studio.sessions.redeem_ticket("no-such-ticket")
    with pytest.raises(errors.ImageError):
        studio.passwords.check_reset("no-such-link")
    kept = (rows(studio), files(studio), lines.getvalue())
    for name, secret in secrets.items():
        assert not any(secret in text for text in kept), name


def test_an_error_contains_no_text_of_another_user(
    studio: Studio,
    service: OpenAIService,
    enter: Callable[[str], tuple[SignedIn, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither on another user's page, nor in the error counts, nor in the log."""
    enter("chief")
    ada, _ = enter("ada")
    service.script("moderation")
    generate(studio, ada, Recipe(prompt="adas own words", model="gpt-image-2"), 1)
    until(lambda: not any(job.is_live for job in studio.jobs.recent(ada.user_id)))
    for name in ("chief", "bert"):
        _, token = enter(name)
        monkeypatch.setattr("pages.ui.session.token", lambda found=token: found)
        page = AppTest.from_file(MAIN, default_timeout=30).run()
        assert "adas own words" not in drawn_on(page)
        page.switch_page("account.py").run()
        drawn = drawn_on(page)
        assert "adas own words" not in drawn
        assert ("What failed" in drawn) == (name == "chief")
