"""Converts errors to JSON and back, so that they can be stored with a job or an idempotency key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core.errors.base import ImageError, by_code
from core.errors.generation import ImageGenerationError


@dataclass(frozen=True, slots=True)
class StoredError:
    """The fields of an ImageError that are stored as JSON. The class ImageError describes each field."""

    code: str
    message: str
    suggestions: tuple[str, ...] = ()
    details: str = ""
    retryable: bool = False
    charged: bool | None = False
    categories: tuple[str, ...] = ()
    field: str | None = None
    retry_after: float | None = None
    request_id: str | None = None

    @classmethod
    def of(cls, error: ImageError) -> StoredError:
        return cls(
            error.code, error.message, tuple(error.suggestions), error.details, error.retryable,
            error.charged, error.categories, error.field, error.retry_after, error.request_id,
        )  # fmt: skip

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> StoredError:
        kind = by_code(fields["code"]) or ImageError
        # Rows of earlier releases lack these two fields. The default of `charged` is the error class's value.
        known = {"charged": kind.charged, "categories": ()} | fields
        lists = {name: tuple(known[name]) for name in ("suggestions", "categories")}
        return cls(**known | lists)

    def to_error(self) -> ImageError:
        """Return an ImageError that has all stored fields.

        The error is marked as counted, so that core.usage.error_counts doesn't count it again. If no error
        class has the stored code, the error is an ImageGenerationError.
        """
        kind = by_code(self.code) or ImageGenerationError
        error = kind(self.message, details=self.details, request_id=self.request_id)
        error.suggestions, error.field, error.retry_after = self.suggestions, self.field, self.retry_after
        error.charged, error.categories, error.counted = self.charged, self.categories, True
        return error
