"""The base class of all errors, and functions that list all error classes or find one by its code."""

from __future__ import annotations

from typing import ClassVar, Self

from core.errors.advice import for_administrator
from core.errors.redaction import hide_addresses, scrub

# A sentence on the cost for each value of `ImageError.charged`.
COST_MESSAGES = {
    True: "The service has charged for this.",
    False: "This cost nothing.",
    None: "The service may have charged for this.",
}


class ImageError(Exception):
    """The base class of all errors that a user can see.

    - `code`: the error's unique name, which never changes.
    - `status`: the HTTP status of the error's response.
    - `message` and `suggestions` are for users; `details` is technical. Secrets are removed from `message`
      and `details`.
    - `text_message` and `text_suggestions`: what an enhancement says instead, if they aren't empty.
    - `free_message` and `free_suggestions`: what a call to the offline engine says instead, if they aren't
      empty.
    - `retryable`: whether the same request may succeed later.
    - `field`: the name of the field or parameter that caused the error, or None.
    - `retry_after`: the seconds to wait before the next attempt, or None.
    - `request_id`: the service's id of the failed call, or None.
    - `charged`: whether the image service has charged for the call; None if that is unknown.
    - `categories`: the reasons that the service's moderation gave for blocking a prompt.
    - `response_body`: the body of a service response from which no image could be read.
    - `unfinished_text`: the part of an enhanced prompt that had arrived when the enhancement failed.
    - `input_tokens`, `output_tokens`, `price_micros`: the tokens and the price (micro-USD) of a failed call.
      Each is None if the service's response doesn't state it.
    - `counted`: whether core.usage.error_counts ignores this error, usually because it was counted before.
    """

    code: ClassVar[str] = "IMG-GEN-001"
    status: ClassVar[int] = 500
    message: str = "Something went wrong while working on this image."
    suggestions: tuple[str, ...] = (
        "Try again in a moment.",
        "Check the prompt and the chosen options.",
        "If it happens again, give your administrator the code.",
    )
    text_message: str = ""
    text_suggestions: tuple[str, ...] = ()
    free_message: str = ""
    free_suggestions: tuple[str, ...] = ()
    retryable: ClassVar[bool] = True
    charged: bool | None = False
    categories: tuple[str, ...] = ()
    response_body: bytes = b""
    unfinished_text: str = ""
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
            self.message = scrub(hide_addresses(message))
        if suggestions is not None:
            self.suggestions = suggestions
        self.details = scrub(hide_addresses(details))
        self.field = field
        self.retry_after = retry_after
        self.request_id = request_id
        super().__init__(self.message)

    def of_text_call(self) -> Self:
        """Word this error for a call that enhances a prompt instead of buying images, and return it."""
        self.message = self.text_message or self.message.replace("image service", "text service")
        self.suggestions = self.text_suggestions or self.suggestions
        return self

    def of_free_call(self) -> Self:
        """Word this error for a call to the offline engine, which never charges, and return it."""
        self.message = self.free_message or self.message
        self.suggestions = self.free_suggestions or self.suggestions
        self.charged = False
        return self

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" + (f" ({self.details})" if self.details else "")


def all_errors() -> tuple[type[ImageError], ...]:
    """Return all error classes. Base classes come before their subclasses."""
    found: list[type[ImageError]] = [ImageError]
    for parent in found:
        found += parent.__subclasses__()
    return tuple(found)


def by_code(code: str) -> type[ImageError] | None:
    """Return the error class with this code, or None if no error class has this code."""
    return next((kind for kind in all_errors() if kind.code == code), None)


def exception_text(error: BaseException) -> str:
    """Return the class and the message of an exception, such as "KeyError: 'size'"."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def terminal_message(error: ImageError) -> str:
    """Return the message, code, details and suggestions of an error as text for an operator's terminal."""
    details = f"\n  ({error.details})" if error.details else ""
    tips = "".join(f"\n  - {tip}" for tip in map(for_administrator, error.suggestions))
    return f"{error.message} [{error.code}]{details}{tips}"
