"""What a service says about a failure reaches people and the log without anybody's secrets."""

from __future__ import annotations

import httpx2
import pytest

from core.provider.error_translation import ServiceFault, error_from_fault, read_request_id, translate_error

SECRETS = [
    pytest.param("sk-proj-abcdefghij0123456789", id="a usual key"),
    pytest.param("a-key-of-another-kind", id="the configured key"),
]
# So that the details' end falls on each place in the key.
LENGTHS = range(560, 620)


@pytest.mark.parametrize("secret", SECRETS)
def test_a_key_at_the_end_of_long_details_is_not_cut_in_half(secret: str) -> None:
    told = [f"{'x ' * (length // 2)}{secret}" for length in LENGTHS]
    whole = [
        error_from_fault(ServiceFault(status=500, message=text), paid=True, secret=secret).details
        for text in told
    ]
    lost = [translate_error(httpx2.ReadError(text), paid=True, secret=secret).details for text in told]
    unread = [translate_error(ValueError(text), paid=True, secret=secret).details for text in told]
    for details in (*whole, *lost, *unread):
        assert len(details) <= 600
        assert secret[:6] not in details


@pytest.mark.parametrize(
    ("header", "known"),
    [
        pytest.param("req_0123456789abcdef", True, id="OpenAI's"),
        pytest.param("550e8400-e29b-41d4-a716-446655440000", True, id="a UUID"),
        pytest.param("task-0a1b2c3d4e5f", True, id="a task's"),
        pytest.param("sk-proj-abcdefghij0123456789", False, id="a key"),
        pytest.param("x" * 129, False, id="longer than is kept"),
        pytest.param("<script>", False, id="no name"),
        pytest.param("", False, id="empty"),
    ],
)
def test_a_request_id_is_a_name_and_nothing_else(header: str, known: bool) -> None:
    response = httpx2.Response(500, headers={"x-request-id": header})
    assert read_request_id(response) == (header if known else None)
