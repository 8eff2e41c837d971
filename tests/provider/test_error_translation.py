"""Error details and request ids of a service never contain secrets."""

from __future__ import annotations

import httpx2
import pytest

from core.responses.error_translation import ServiceFault, error_from_fault, read_request_id, translate_error

SECRETS = [
    pytest.param("sk-proj-abcdefghij0123456789", id="a usual key"),
    pytest.param("a-key-of-another-kind", id="the configured key"),
]
# The cut at 600 characters falls on each position inside the key.
LENGTHS = range(560, 620)


@pytest.mark.parametrize("secret", SECRETS)
def test_a_key_at_the_end_of_long_details_is_redacted_before_the_cut(secret: str) -> None:
    messages = [f"{'x ' * (length // 2)}{secret}" for length in LENGTHS]
    faults = [
        error_from_fault(ServiceFault(status=500, message=text), paid=True, secret=secret).details
        for text in messages
    ]
    lost = [translate_error(httpx2.ReadError(text), paid=True, secret=secret).details for text in messages]
    unreadable = [translate_error(ValueError(text), paid=True, secret=secret).details for text in messages]
    for details in (*faults, *lost, *unreadable):
        assert len(details) <= 600
        assert secret[:6] not in details


@pytest.mark.parametrize(
    ("header", "known"),
    [
        pytest.param("req_0123456789abcdef", True, id="OpenAI's"),
        pytest.param("550e8400-e29b-41d4-a716-446655440000", True, id="a UUID"),
        pytest.param("task-0a1b2c3d4e5f", True, id="a task's"),
        pytest.param("sk-proj-abcdefghij0123456789", False, id="a key"),
        pytest.param("x" * 129, False, id="too long for its column"),
        pytest.param("<script>", False, id="markup"),
        pytest.param("", False, id="empty"),
    ],
)
def test_a_header_that_is_no_request_id_is_ignored(header: str, known: bool) -> None:
    response = httpx2.Response(500, headers={"x-request-id": header})
    assert read_request_id(response) == (header if known else None)
