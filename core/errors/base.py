"""The base class of all errors, and how to find them by code."""

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

    `message` and `suggestions` are for anybody; `details` is technical, scrubbed of secrets.
    `retryable` says whether the same request may succeed later; `charged` is True, False, or None where
    nobody can know. `states_cost`: the class's own message says so. `categories` are what a moderation names.
    `answer` is what came of a service's answer that no picture could be read from; the tokens, and the price
    in micro-USD, are what such an answer says that it cost, None where it doesn't. `counted`:
    core.usage.error_counts has it already.
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
    states_cost: ClassVar[bool] = False
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
    """Every error class, parents first, in the order they are defined."""
    found: list[type[ImageError]] = [ImageError]
    for parent in found:
        found += parent.__subclasses__()
    return tuple(found)


def by_code(code: str) -> type[ImageError] | None:
    """The error class of a stored code; None for one of another version."""
    return next((kind for kind in all_errors() if kind.code == code), None)


def terminal_message(error: ImageError) -> str:
    """A failure for the person at a terminal: what, its code, the details, and what can be done."""
    details = f"\n  ({error.details})" if error.details else ""
    tips = "".join(f"\n  - {tip}" for tip in error.suggestions)
    return f"{error.message} [{error.code}]{details}{tips}"
