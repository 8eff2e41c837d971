"""Errors of prompts and of prompt enhancement."""

from __future__ import annotations

from core.errors.base import ImageError


class ImagePromptError(ImageError):
    code, status = "IMG-PRM-ENH-001", 502
    message = "The prompt couldn't be enhanced."
    suggestions: tuple[str, ...] = (
        "Try again in a moment.",
        "Shorten the description.",
        "Skip the enhancement and write the prompt yourself.",
    )


class PromptEmpty(ImagePromptError):
    code, status, retryable = "IMG-PRM-EMPTY-001", 422, False
    message = "There is nothing to draw yet."
    suggestions = ("Write a base prompt, or a name and a trait.", "Start from the example.")


class PromptTooLong(ImagePromptError):
    code, status, retryable = "IMG-PRM-LONG-001", 422, False
    message = "The prompt is longer than the model accepts."
    suggestions: tuple[str, ...] = ("Shorten the prompt.", "Choose a model that accepts longer prompts.")
    text_message = "The description is longer than the text model accepts."
    text_suggestions: tuple[str, ...] = ("Shorten the description.",)


class ContextTooSmall(PromptTooLong):
    code = "IMG-PRM-LONG-002"
    message = "The model's context is too small for this prompt."
    suggestions = ("Shorten the prompt.", "Choose a model with a larger context.")
    text_message = "The text model's context is too small for this description and the prompt it would write."
    text_suggestions = (
        "Shorten the description.",
        "Choose a lighter enhancement.",
        "Ask your administrator to give the model a larger context, or to choose another TEXT_MODEL.",
    )


class TooManyPrompts(ImagePromptError):
    code, status, retryable = "IMG-PRM-MANY-001", 422, False
    message = "That is too many prompts for one batch."
    suggestions = ("Remove some lines or alternatives.", "Ask for fewer images of each.")


class TextRejected(ImagePromptError):
    code, status, retryable = "IMG-PRM-WORDS-001", 422, False
    message = "This text can't be used as it is."
    suggestions = ("Shorten what is named above, or retype it instead of pasting it.",)


class PromptBlocked(ImagePromptError):
    code, status, retryable = "IMG-PRM-BLOCK-001", 422, False
    message = "The service's safety system refused this prompt."
    suggestions: tuple[str, ...] = (
        "Change the words that could be read as unsafe, then try again.",
        "Leave out names of real people and trademarked characters.",
    )

    def __init__(
        self,
        message: str | None = None,
        *,
        details: str = "",
        request_id: str | None = None,
        categories: tuple[str, ...] = (),
    ) -> None:
        self.categories = categories
        if categories and message is None:
            message = f"{type(self).message} Reason given: {', '.join(categories)}."
        super().__init__(message, details=details, request_id=request_id)


class ContentFiltered(PromptBlocked):
    code = "IMG-PRM-BLOCK-002"
    message = "The service's content filter stopped this prompt."
    suggestions = (
        "Change the words that the filter may have caught, then try again.",
        "Ask your administrator whether the deployment's content filter is too strict.",
    )


class NotDrawable(PromptBlocked):
    code = "IMG-PRM-BLOCK-003"
    message = "The service can't draw this as described."
    suggestions = (
        "Describe it in other words, then try again.",
        "Remove parts that contradict each other.",
    )


class PromptFlagged(PromptBlocked):
    code = "IMG-PRM-FLAG-001"
    message = "The service's free moderation flagged this prompt, so it wasn't sent."
    suggestions = (
        "Change the words that could be read as unsafe, then try again.",
        "Your prompt is saved as it was.",
    )


class EnhancementRefused(ImagePromptError):
    code, status, retryable = "IMG-PRM-REFUSE-001", 422, False
    message = "The enhancer declined to work on this description."
    suggestions = ("Change the description.", "Skip the enhancement and write the prompt yourself.")
    charged = True


class EnhancementTruncated(ImagePromptError):
    code, status, retryable = "IMG-PRM-CUT-001", 502, True
    message = "The enhanced prompt was cut off before it was finished."
    suggestions = ("Try again.",)
    charged = None


class EnhancementTooLong(ImagePromptError):
    code, status, retryable = "IMG-PRM-CUT-002", 502, True
    message = "The enhanced prompt became too long to be finished."
    suggestions = ("Choose a lighter enhancement.", "Shorten the description.")
    charged = True


class EnhancementCancelled(ImagePromptError):
    code, status, retryable = "IMG-PRM-CANCEL-001", 409, False
    message = "The enhancement was cancelled before it started."
    suggestions = ("Enhance again if you still want it.",)
    # Don't count this error: the user has cancelled and expects no result.
    counted = True
