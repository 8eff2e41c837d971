"""Errors of calls to the image service, and of the jobs that make the calls."""

from __future__ import annotations

from core.errors.base import ImageError


class ImageGenerationError(ImageError):
    code, status = "IMG-GEN-FAIL-001", 502
    message = "The image couldn't be generated."
    suggestions: tuple[str, ...] = (
        "Check the service's status page.",
        "Ask your administrator to check the API key.",
        "Review the prompt and the chosen options, then try again.",
    )


class RateLimited(ImageGenerationError):
    code, status, retryable = "IMG-GEN-RATE-001", 429, True
    message = "The service is asking us to slow down."
    suggestions = ("Wait a minute, then try again.", "Ask for fewer images at once.")
    text_suggestions = ("Wait a minute, then try again.", "Write the prompt yourself.")


class ServiceBusy(ImageGenerationError):
    code, status, retryable = "IMG-GEN-BUSY-001", 503, True
    message = "The image service is overloaded right now."
    suggestions = ("Wait a minute, then try again.", "Try a smaller size or a lower quality.")
    text_suggestions = ("Wait a minute, then try again.", "Write the prompt yourself.")


class ServiceFailed(ImageGenerationError):
    code, status, retryable = "IMG-GEN-SERVER-001", 502, True
    message = "The image service had an internal error."
    suggestions = ("Try again in a few minutes.", "Check the service's status page.")
    charged = None


class ServiceUnreachable(ImageGenerationError):
    code, status, retryable = "IMG-GEN-CONN-001", 503, True
    message = "The image service can't be reached."
    suggestions = (
        "Check this computer's internet connection.",
        "Ask your administrator to check OPENAI_BASE_URL and the proxy.",
    )
    text_suggestions: tuple[str, ...] = (
        "Check this computer's internet connection.",
        "Ask your administrator to check TEXT_BASE_URL, or OPENAI_BASE_URL if it isn't set, and the proxy.",
    )


class ServiceTimeout(ServiceUnreachable):
    code, status = "IMG-GEN-CONN-002", 504
    text_suggestions = ()
    message = "The service didn't answer in time."
    suggestions = (
        "Try again in a few minutes.",
        "If it happens often, ask your administrator to raise TEXT_TIMEOUT.",
    )
    charged = None


class ConnectionLost(ServiceUnreachable):
    code, status = "IMG-GEN-CONN-003", 502
    text_suggestions = ()
    message = "The connection to the service was lost."
    suggestions = (
        "Try again.",
        "If it happens often, ask your administrator to check the network and the proxy.",
    )
    charged = None


class CertificateUntrusted(ImageGenerationError):
    code, status, retryable = "IMG-GEN-CONN-004", 502, False
    message = "The service's certificate isn't trusted, so nothing was sent."
    suggestions = (
        "Ask your administrator to set SSL_CERT_FILE to the certificate of the authority that signed it.",
        "Ask whether the certificate has expired or is for another name.",
    )


class SchemeWrong(ImageGenerationError):
    code, status, retryable = "IMG-GEN-CONN-005", 502, False
    message = "The service's address has the wrong scheme: http where the port needs https, or the reverse."
    suggestions = (
        "Ask your administrator to check OPENAI_BASE_URL: its beginning, http or https, and its port.",
        "If a proxy is used, ask to check HTTPS_PROXY in the same way.",
    )


class ProxyRejected(ImageGenerationError):
    code, status, retryable = "IMG-GEN-CONN-006", 502, False
    message = "The proxy refused to connect to the service."
    suggestions = (
        "Ask your administrator to check the user name and password in HTTPS_PROXY, HTTP_PROXY or ALL_PROXY.",
        "If the service needs no proxy, ask to name its host in NO_PROXY.",
    )


class QuotaSpent(ImageGenerationError):
    code, status, retryable = "IMG-GEN-QUOTA-001", 402, False
    message = "The account's credit with the image service is used up."
    suggestions = (
        "Ask your administrator to add credit to the service's account.",
        "Your prompt is saved: come back to it later.",
    )


class BillingLimitReached(ImageGenerationError):
    code, status, retryable = "IMG-GEN-BILL-001", 402, False
    message = "The account has reached the spending limit set with the image service."
    suggestions = (
        "Ask your administrator to raise the limit, or wait until next month.",
        "Your prompt is saved: come back to it later.",
    )


class BudgetSpent(ImageGenerationError):
    code, status, retryable = "IMG-GEN-BUDGET-001", 402, False
    message = "Your budget doesn't cover this."
    suggestions = (
        "Ask for fewer images, a smaller size or a lower quality.",
        "Wait until the budget resets: your prompt is saved.",
        "Ask your administrator for a larger budget.",
    )


class OutcomeUnknown(ImageGenerationError):
    code, status, retryable = "IMG-GEN-UNKNOWN-001", 504, False
    message = "Outcome unknown: the service may have charged for this."
    free_message = "The image was interrupted."
    free_suggestions = ("Choose Try again or Dismiss. Both are free.",)
    suggestions: tuple[str, ...] = (
        "You may be charged twice if you try again.",
        "Check the service's usage page if the cost matters.",
    )
    charged: bool | None = None


class ResponseTimeout(OutcomeUnknown):
    code = "IMG-GEN-UNKNOWN-002"
    message = "Outcome unknown: no answer came in time, and the service may have charged for this."
    free_message = "No answer came in time."
    suggestions = (
        *OutcomeUnknown.suggestions,
        "If it happens often, ask your administrator to raise IMAGE_TIMEOUT.",
    )


class ResponseLost(OutcomeUnknown):
    code = "IMG-GEN-UNKNOWN-003"
    message = "Outcome unknown: the connection was lost, and the service may have charged for this."
    free_message = "The connection was lost before the image arrived."
    suggestions = (
        *OutcomeUnknown.suggestions,
        "If it happens often, ask your administrator to check the network and the proxy.",
    )


class ResponseTruncated(OutcomeUnknown):
    code = "IMG-GEN-UNKNOWN-004"
    message = (
        "Outcome unknown: the answer ended before the image was complete, and the service may have charged "
        "for this."
    )
    free_message = "The answer ended before the image was complete."


class BadResponse(ImageGenerationError):
    code, status, retryable = "IMG-GEN-ANSWER-001", 502, True
    message = "The service answered with something that isn't an image."
    suggestions: tuple[str, ...] = (
        "Ask your administrator to check that OPENAI_BASE_URL points to an OpenAI-compatible API.",
        "Try again in a few minutes.",
    )
    charged: bool | None = None


class WebPageReceived(BadResponse):
    code = "IMG-GEN-ANSWER-002"
    message = "The service answered with a web page."
    suggestions = (
        "Ask your administrator to check OPENAI_BASE_URL: `/v1` is often missing from the end.",
        "Ask whether a proxy or a sign-in page sits in front of the service.",
    )


class NoImage(BadResponse):
    code = "IMG-GEN-ANSWER-003"
    message = "The service answered without an image."
    suggestions = ("Try again.", "Change the prompt a little.", "Choose another model under More options.")


class ImageNotDownloaded(BadResponse):
    code = "IMG-GEN-ANSWER-005"
    message = "The image is made, but it couldn't be downloaded from the service yet."
    suggestions = ("Try again: Atelier downloads it, and buys another one only if it is gone.",)


class ServiceAddressWrong(BadResponse):
    code, retryable = "IMG-GEN-ADDR-001", False
    message = "There is no image service at the address in the settings."
    suggestions = (
        "Ask your administrator to check OPENAI_BASE_URL: `/v1` is often missing from the end, or doubled.",
    )
    text_suggestions = (
        "Ask your administrator to check TEXT_BASE_URL, or OPENAI_BASE_URL if it isn't set.",
        "`/v1` is often missing from the end, or doubled.",
    )
    charged = False


class EditsUnsupported(ImageGenerationError):
    code, status, retryable = "IMG-GEN-EDIT-001", 422, False
    message = "This service can't edit images."
    suggestions = (
        "Create a new image from a prompt instead.",
        "Ask your administrator for a service that has `/images/edits`.",
        "If no image can be created either, ask your administrator to check OPENAI_BASE_URL.",
    )


class BadImage(ImageGenerationError):
    code, status, retryable = "IMG-GEN-IMAGE-001", 502, True
    message = "The service sent a damaged image."
    suggestions = (
        "Try again.",
        "The damaged file is kept for your administrator.",
    )
    charged = True


class InvalidParameter(ImageGenerationError):
    code, status, retryable = "IMG-GEN-PARAM-001", 422, False
    message = "This model doesn't support the chosen options."
    suggestions: tuple[str, ...] = (
        "Choose another size, quality or number of images.",
        "Choose another model.",
    )
    text_message = "The text model doesn't accept the options of this request."
    text_suggestions: tuple[str, ...] = (
        "Ask your administrator to choose another TEXT_MODEL.",
        "Write the prompt yourself.",
    )


class RequestRefused(InvalidParameter):
    code = "IMG-GEN-PARAM-003"
    message = "The service refused this request."
    suggestions = (
        "Read what the service said, in the details.",
        "Ask your administrator what the service needs.",
    )
    text_message = message
    text_suggestions = suggestions


class FaultUnknown(InvalidParameter):
    code = "IMG-GEN-PARAM-004"
    message = "The word after !fail names no fault that the offline engine can simulate."
    suggestions = ("Replace the word, or remove !fail from the prompt.",)
    text_message = ""
    text_suggestions = ("Replace the word, or remove !fail from the description.",)


class HeaderMissing(ImageGenerationError):
    code, status, retryable = "IMG-GEN-HEADER-001", 502, False
    message = "The image service needs a request header that isn't set."
    suggestions = ("Ask your administrator to set it with EXTRA_HEADERS. The details name it.",)
    text_suggestions = ("Ask your administrator to set it with TEXT_EXTRA_HEADERS. The details name it.",)


class ParameterRefused(ImageGenerationError):
    code, status, retryable = "IMG-GEN-PARAM-002", 422, False
    message = "The service doesn't accept one of the chosen options."
    suggestions = (
        "Set quality and size to Auto, then try again.",
        "Choose another model.",
        "Ask your administrator which options the service accepts.",
    )
    text_message = "The text service doesn't accept this kind of request."
    text_suggestions = (
        "Ask your administrator to choose another TEXT_MODEL, or another service.",
        "Write the prompt yourself.",
    )


class ModelUnavailable(ImageGenerationError):
    code, status, retryable = "IMG-GEN-MODEL-001", 404, False
    message = "This model isn't available to the account."
    suggestions = (
        "Choose another model under More options.",
        "Ask your administrator which models the account may use, and to check IMAGE_MODEL and TEXT_MODEL.",
    )
    text_suggestions = (
        "Ask your administrator which models the account may use, and to check TEXT_MODEL.",
        "Write the prompt yourself.",
    )


class ModelRetired(ImageGenerationError):
    code, status, retryable = "IMG-GEN-MODEL-002", 410, False
    message = "This model has been retired by the service."
    suggestions = ("Choose the model named above under More options.",)


class RequestTooLarge(ImageGenerationError):
    code, status, retryable = "IMG-GEN-SIZE-001", 413, False
    message = "The request is too large for the service."
    suggestions = ("Shorten the prompt.", "Ask for fewer images at once.")
    text_suggestions = ("Shorten the description.",)


class JobNotRetryable(ImageGenerationError):
    code, status, retryable = "IMG-GEN-STATE-001", 409, False
    message = "This image is still being generated or is already finished."
    suggestions = ("Wait until it has finished.", "Look in your gallery.")


class RecipeUnreadable(ImageGenerationError):
    code, status, retryable = "IMG-GEN-VERSION-001", 409, False
    message = "This image was requested in another version of Atelier."
    suggestions = ("Describe it again, then generate.",)


class JobCancelled(ImageGenerationError):
    code, status, retryable = "IMG-GEN-CANCEL-001", 409, False
    message = "This image was cancelled before it was started. It cost nothing."
    suggestions = ("Request it again.",)
