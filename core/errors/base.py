"""The base class of all errors, the list of error classes, and the search by code."""

from __future__ import annotations

from typing import ClassVar

from core.errors.redaction import scrub

# By `ImageError.charged`.
COST_MESSAGES = {
    True: "The service has charged for this.",
    False: "This cost nothing.",
    None: "The service may have charged for this.",
}


class ImageError(Exception):
    """A failure that can be shown to a person.

    - `message` and `suggestions` are for everybody; `details` is technical. Secrets are removed from both.
    - `retryable`: the same request may succeed later.
    - `charged`: whether the service has charged for the call; None if that can't be known.
    - `categories`: the reasons that a moderation gave.
    - `answer`: the body of a response that no image could be read from.
    - `input_tokens`, `output_tokens`, `price_micros` (micro-USD): what such a response says it cost, or None.
    - `counted`: core.usage.error_counts has counted this failure.
    """

    code: ClassVar[str] = "IMG-GEN-001"
    status: ClassVar[int] = 500
    message: str = "Something went wrong while working on this image."
    suggestions: tuple[str, ...] = (
        "Try again in a moment.",
        "Check the prompt and the chosen options.",
        "If it happens again, give your administrator the code.",
    )
    retryable: ClassVar[bool] = True
    charged: bool | None = False
    categories: tuple[str, ...] = ()
    answer: bytes = b""
    input_tokens: int | None = None
    output_tokens: int | None = None
    price_micros: int | None = None
    counted: bool = False

    def __init__(
        self,
        message: str | None = None,
        *,
        details: str = "",
        suggestions: tuple[str, ...] | None = None,
        field: str | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        if message is not None:
            self.message = scrub(message)
        if suggestions is not None:
            self.suggestions = suggestions
        self.details = scrub(details)
        self.field = field
        self.retry_after = retry_after
        self.request_id = request_id
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" + (f" ({self.details})" if self.details else "")


def all_errors() -> tuple[type[ImageError], ...]:
    """All error classes, parents first, in the order of their definition."""
    found: list[type[ImageError]] = [ImageError]
    for parent in found:
        found += parent.__subclasses__()
    return tuple(found)


def by_code(code: str) -> type[ImageError] | None:
    """The class with this code; None for a code that only another version has."""
    return next((kind for kind in all_errors() if kind.code == code), None)


def terminal_message(error: ImageError) -> str:
    """An error as lines for a terminal: message, code, details and suggestions."""
    details = f"\n  ({error.details})" if error.details else ""
    tips = "".join(f"\n  - {tip}" for tip in error.suggestions)
    return f"{error.message} [{error.code}]{details}{tips}"
