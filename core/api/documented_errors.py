"""The errors that a route can answer with, for its OpenAPI documentation."""

from __future__ import annotations

from typing import Any

from core import errors

CHOICE = (
    errors.PromptEmpty,
    errors.PromptTooLong,
    errors.PromptFlagged,
    errors.TextRejected,
    errors.InvalidParameter,
    errors.ModelRetired,
    errors.ModelUnavailable,
    errors.BudgetSpent,
    errors.IdempotencyKeyReused,
)
SERVICE = (
    errors.RateLimited,
    errors.QuotaSpent,
    errors.BillingLimitReached,
    errors.PromptBlocked,
    errors.RequestTooLarge,
    errors.ApiKeyRejected,
    errors.ServiceAccessDenied,
    errors.ServiceFailed,
    errors.ServiceBusy,
    errors.ServiceUnreachable,
    errors.OutcomeUnknown,
)
PICTURE_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The bytes", "content": {"image/*": {}}},
    206: {"description": "The requested range", "content": {"image/*": {}}},
    304: {"description": "Unchanged since the version in `If-None-Match`"},
}
