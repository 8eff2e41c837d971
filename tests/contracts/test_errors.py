"""Every error has its own code, a message and suggestions, and contains no secret."""

from __future__ import annotations

import ast
import io
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis.strategies as st
import pytest
import structlog
from hypothesis import given

from core import errors
from core.common.logging import configure_logging
from core.errors import ImageError, for_administrator, scrub, terminal_message

ROOT = Path(__file__).resolve().parents[2]
CLASSES = errors.all_errors()
_LETTERS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=14, max_size=60)
_KEYS = _LETTERS.map(lambda letters: f"a{letters}1")


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_says_what_happened_and_what_to_do(kind: type[ImageError]) -> None:
    error = kind()
    assert re.fullmatch(r"IMG-[A-Z]+(-[A-Z]+)*-\d{3}", error.code)
    assert 400 <= error.status < 600
    assert error.message.endswith((".", "!"))
    assert error.suggestions
    assert all(tip.endswith(".") for tip in error.suggestions)
    assert isinstance(error.retryable, bool)
    assert error.charged in (True, False, None)


@pytest.mark.parametrize(
    ("parent", "prefix"),
    [
        pytest.param(errors.ImageGenerationError, "IMG-GEN-", id="generation"),
        pytest.param(errors.ImagePromptError, "IMG-PRM-", id="prompt"),
        pytest.param(errors.ImageAuthError, "IMG-AUTH-", id="auth"),
    ],
)
def test_a_family_shares_the_beginning_of_its_codes(parent: type[ImageError], prefix: str) -> None:
    for kind in CLASSES:
        assert kind.code.startswith(prefix) == issubclass(kind, parent) or kind is ImageError


def test_no_two_errors_share_a_code() -> None:
    assert [code for code, times in Counter(kind.code for kind in CLASSES).items() if times > 1] == []


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (ImageError, "IMG-GEN-001"),
        (errors.ImageGenerationError, "IMG-GEN-FAIL-001"),
        (errors.ImagePromptError, "IMG-PRM-ENH-001"),
        (errors.ImageAuthError, "IMG-AUTH-001"),
    ],
)
def test_published_codes_never_change(kind: type[ImageError], code: str) -> None:
    assert kind.code == code


def test_a_code_fits_the_column_it_is_recorded_in() -> None:
    assert max(len(kind.code) for kind in CLASSES) <= 32


def test_the_tree_at_the_top_of_the_module_names_every_error_once() -> None:
    named = Counter(re.findall(r"\b[A-Z][a-z]+[A-Za-z]+\b", errors.__doc__ or ""))
    assert {kind.__name__: named[kind.__name__] for kind in CLASSES} == {kind.__name__: 1 for kind in CLASSES}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_of_the_offline_engine_is_free_and_says_nothing_else(kind: type[ImageError]) -> None:
    error = kind().of_free_call()
    assert error.charged is False
    assert not re.search(r"charge|paid", " ".join((error.message, *error.suggestions)).lower())


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_administrator_is_told_what_to_do_and_not_whom_to_ask(kind: type[ImageError]) -> None:
    for tip in map(for_administrator, (*kind.suggestions, *kind.text_suggestions, *kind.free_suggestions)):
        assert not re.search(r"administrator|\bask (?!for )", tip, re.IGNORECASE), tip
        assert not tip[0].islower()


@pytest.mark.parametrize(
    ("tip", "for_admin"),
    [
        (
            "Ask your administrator to check TEXT_BASE_URL, and the proxy.",
            "Check TEXT_BASE_URL, and the proxy.",
        ),
        (
            "If it happens often, ask your administrator to raise TEXT_TIMEOUT.",
            "If it happens often, raise TEXT_TIMEOUT.",
        ),
        (
            "Ask your administrator to set PARTIAL_IMAGES to 0, or to verify the organisation.",
            "Set PARTIAL_IMAGES to 0, or verify the organisation.",
        ),
        ("Ask for fewer images at once.", "Ask for fewer images at once."),
        ("Try again.", "Try again."),
    ],
)
def test_a_suggestion_is_worded_for_an_administrator(tip: str, for_admin: str) -> None:
    assert for_administrator(tip) == for_admin


def test_an_operator_reads_the_suggestions_as_an_administrator() -> None:
    assert "Check the database." in terminal_message(errors.DatabaseError())


@pytest.mark.parametrize(
    "found", [object(), io.BytesIO(), test_published_codes_never_change, [object(), iter(())].__len__]
)
def test_no_error_names_an_object_by_its_address(found: object) -> None:
    named = f"cannot identify image file {found!r}"
    assert re.search(r"0x[0-9a-f]", named)
    for kind in CLASSES:
        error = kind(named, details=named)
        assert not re.search(r"0x[0-9a-f]", f"{error.message} {error.details}")


def test_no_error_is_made_of_the_repr_of_an_exception() -> None:
    """A person reads `KeyError: 'size'`, and not Python's form of it."""
    for path in (*(ROOT / "core").rglob("*.py"), *(ROOT / "pages").rglob("*.py")):
        for keyword in ast.walk(ast.parse(path.read_text())):
            if isinstance(keyword, ast.keyword) and keyword.arg in ("details", "message"):
                made_of = ast.unparse(keyword.value)
                assert not re.search(r"repr\((error|fault)|(error|fault)!r", made_of), f"{path}: {made_of}"


def test_an_error_prints_its_code_and_details() -> None:
    assert (
        str(errors.RateLimited("Slow.", details="429 slow_down")) == "IMG-GEN-RATE-001: Slow. (429 slow_down)"
    )


def test_the_reasons_of_a_blocked_prompt_are_named() -> None:
    assert "violence, hate" in errors.PromptBlocked(categories=("violence", "hate")).message


@pytest.mark.parametrize(
    "secret",
    [
        pytest.param("sk-abcdefghijklmnop1234", id="key"),
        pytest.param("sk-proj-Abc_def-ghi123456", id="project key"),
        pytest.param("sk-abc***xyz", id="masked with stars"),
        pytest.param("sk-proj-ab…yz12", id="masked with an ellipsis"),
        pytest.param("sk-ab••••••yz", id="masked with bullets"),
        pytest.param("SK-ABCDEFGH12345678", id="in capitals"),
        pytest.param("sk-ab***********xyz", id="masked as services print it"),
        pytest.param("gsk_ab***********xyz", id="another service's, masked"),
        pytest.param("atl_0123456789abcdef", id="token of ours"),
    ],
)
@pytest.mark.parametrize(
    "sentence",
    ["Incorrect API key provided: {}.", "{'key': '{}'}", "line\\n{}\\nline", "x{}", "{}, {}"],
)
def test_a_key_is_removed_anywhere_in_a_text(secret: str, sentence: str) -> None:
    scrubbed = scrub(sentence.replace("{}", secret))
    assert secret not in scrubbed
    assert "[secret]" in scrubbed


@given(before=st.text(), secret=_KEYS, after=st.text(), kind=st.sampled_from(["sk-", "sk-proj-", "atl_"]))
def test_a_key_is_removed_whatever_surrounds_it(before: str, secret: str, after: str, kind: str) -> None:
    assert kind + secret not in scrub(before + kind + secret + after).replace(before, "").replace(after, "")


@given(
    secret=_LETTERS, gap=st.sampled_from([" ", "  ", "\t", "\n"]), word=st.sampled_from(["Bearer", "bearer"])
)
def test_what_follows_bearer_is_scrubbed(secret: str, gap: str, word: str) -> None:
    assert secret not in scrub(f"Authorization: {word}{gap}{secret} and more")


@given(st.text())
def test_scrubbing_twice_changes_nothing_more(text: str) -> None:
    assert scrub(scrub(text)) == scrub(text)


@pytest.mark.parametrize(
    "words",
    [
        "A fox at dusk, 429 slow_down.",
        "A task-force, a risk-free desk-lamp and a disk-encryption tool.",
        "Task-Specific, RISK-ADJUSTED, task-oriented-dialogue-management, task-like...",
        "task-1 on disk-0: task-force-2024, task-0a1b2c3d4e5f, risk-2026-11-25",
        "Include the request ID req_0123456789abcdef0123456789abcdef in your message.",
        "request 550e8400-e29b-41d4-a716-446655440000, task-550e8400-e29b-41d4-a716-446655440000",
        "the locale sk-SK, 2 ** 3, f(**kwargs), a -- b",
    ],
)
def test_plain_words_and_request_ids_stay(words: str) -> None:
    assert scrub(words) == words


def test_details_are_scrubbed_from_the_start() -> None:
    assert errors.ApiKeyRejected(details="Incorrect key sk-abcdef123456").details == "Incorrect key [secret]"


@pytest.mark.parametrize("word", ["a", "ask-", "*", "a****", "Bearer ", "atl_", "sk-a1", "x-", "a" * 400])
def test_megabytes_are_scrubbed_in_linear_time(word: str) -> None:
    """A pattern that backtracks from every position would take hours."""
    scrubbed = scrub(word * (2_000_000 // len(word)) + " sk-abcdefghij0123456789")
    assert scrubbed.endswith("[secret]")
    assert "abcdefghij" not in scrubbed


def test_a_key_in_a_very_long_run_is_removed() -> None:
    assert scrub("x" * 500 + "sk-abcdefghij0123456789") == "x" * 500 + "[secret]"


SECRET = "sk-proj-abcdefghij0123456789"


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """The output of the app's log."""
    lines = io.StringIO()
    configure_logging("INFO")
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(lines), cache_logger_on_first_use=False)
    yield lines
    structlog.reset_defaults()


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"details": SECRET}, id="text"),
        pytest.param({"headers": {"Authorization": f"Bearer {SECRET}"}}, id="in a dict"),
        pytest.param({"args": [("key", SECRET)]}, id="in a list of tuples"),
        pytest.param({"body": SECRET.encode()}, id="bytes"),
        pytest.param({"error": ValueError(SECRET)}, id="an exception as a value"),
        pytest.param({SECRET: "key"}, id="a field's name"),
    ],
)
def test_a_log_line_holds_no_secret(log_lines: io.StringIO, fields: dict[str, object]) -> None:
    structlog.get_logger().warning("sent", **fields)
    assert "sent" in log_lines.getvalue()
    assert SECRET not in log_lines.getvalue()


def test_a_logged_traceback_holds_no_secret(log_lines: io.StringIO) -> None:
    try:
        raise ValueError(f"bad key {SECRET}")
    except ValueError:
        structlog.get_logger().exception("broke", call={"key": SECRET})
    assert "Traceback" in log_lines.getvalue()
    assert SECRET not in log_lines.getvalue()


def test_a_logged_message_holds_no_secret(log_lines: io.StringIO) -> None:
    structlog.get_logger().info(f"using {SECRET}")
    assert SECRET not in log_lines.getvalue()
