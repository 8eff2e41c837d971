"""Every failure a person can meet, with its code, plain words and what to do about it.

ImageError                          IMG-GEN-001
├── ImageGenerationError            IMG-GEN-FAIL-001: the paid call or its answer
│   ├── RateLimited, ServiceBusy, ServiceFailed, QuotaSpent, BillingLimitReached, BudgetSpent
│   ├── ServiceUnreachable: ServiceLate, ConnectionLost
│   ├── OutcomeUnknown: AnswerLate, AnswerLost, AnswerCut
│   ├── BadAnswer: WebPage, NoImage, AddressWrong
│   ├── BadImage, InvalidParameter, ParameterRefused, RequestTooLarge, ModelUnavailable, ModelRetired
│   └── NotEnded, RecipeUnreadable, JobCancelled
├── ImagePromptError                IMG-PRM-ENH-001: the words
│   ├── PromptEmpty, PromptTooLong, TooManyPrompts, WordsRejected
│   ├── PromptBlocked: ContentFiltered, NotDrawable, PromptFlagged
│   └── EnhancementRefused, EnhancementCut, EnhancementTooLong, EnhancementCancelled
├── ImageAuthError                  IMG-AUTH-001: who may do what
│   ├── SignInFailed, SignInLocked, SessionEnded, NotAllowed, TokenRejected, ScopeMissing
│   ├── NameTaken, NameRejected, PasswordRejected, RegistrationClosed, InviteInvalid
│   ├── ResetInvalid, TokenNotMade
│   └── KeyRejected, ServiceAccessDenied: OrganisationUnverified, StreamingUnverified, RegionUnsupported
├── ImageNotFound                   IMG-FIND-001: no such image for this person
├── RequestRejected                 IMG-REQ-001: what was asked can't be answered
│   ├── HostRejected, OriginRejected, BodyTooLarge, PageNotFound
│   ├── MethodRejected, FieldsRejected, TypeRejected, RangeRejected, RateExceeded, KeyReused, KeyBusy
│   ├── AppStopping
│   └── UploadRejected              IMG-REQ-UPLOAD-001: UploadTooLarge, MaskRejected, UploadGone
├── StorageError                    IMG-STORE-001: the image store
│   ├── StorageUnreachable, StorageFull, StorageReadOnly
│   └── FileDamaged: FileMissing
├── DatabaseError                   IMG-DATA-001: the rows
│   └── DatabaseBusy, DatabaseUnreachable, DatabaseOfAnotherVersion, DatabaseDamaged
├── BackupError                     IMG-BACKUP-001: BackupDamaged
├── MoveIncomplete                  IMG-MOVE-001: what arrived isn't what was sent
└── SettingsError                   IMG-SET-001: what the operator must mend before start; KeyUnusable
"""

from __future__ import annotations

import re
from typing import ClassVar

# Each run of these signs is looked at once and by itself: a text of any length takes time in proportion.
_RUN = re.compile(r"[\w*.…•-]{6,}")
_LONGEST_RUN = 400
_MARK = re.compile(r"sk-|atl_|\*{4}", re.IGNORECASE)
_BEARER = re.compile(r"(?<=Bearer)\s+\S+", re.IGNORECASE)
_SECRETS = re.compile(
    r"""
    (?<![^\W\d_]) sk-[\w*.…•-]{4,}                       # a key, whole or masked
    | sk- (?= [\w*.…•-]* (?: \*\* | • | (?:…|\.\.)\w       # after a letter, as in "task-force": masked,
          | (?=\w*[a-z]) (?=\w*\d) \w{16} )               #   long and of letters and digits,
          | (?:proj|svcacct|admin|ant|or)- ) [\w*.…•-]{4,}  #   or of a known kind
    | [\w-]{2,} (?: \*{4,} [\w-]* )+                       # another service's key, masked
    | atl_[\w-]{8,}
    """,
    re.IGNORECASE | re.VERBOSE,
)
_PASSWORD_IN_URL = re.compile(r"(?<=://)[^\s/]+(?=@)")
_AWS_KEY = re.compile(r"(?:AKIA|ASIA)[A-Z0-9]{12,}")
# What links, cookies, forms and connection strings name such a value; as `name=value` and in JSON.
_NAMED = re.compile(
    r"""
    (?P<name> (?:invite|reset|ticket|share|token|password|passwd|secret|signature|credential|api_?key
        |atelier|aws_[a-z_]{1,40}key|x-amz-[a-z-]{1,40})
        (?: = | ["']\s?[:=]\s?["'] ) )
    (?!\[secret\]) [^\s&;,"'<>]{4,}
    """,
    re.IGNORECASE | re.VERBOSE,
)
# By `ImageError.charged`.
COST_WORDS = {
    True: "The service has charged for this.",
    False: "This cost nothing.",
    None: "The service may have charged for this.",
}


def scrub(text: str) -> str:
    """`text` without API keys, tokens and passwords; services quote parts of a key in their own messages."""
    text = _PASSWORD_IN_URL.sub("[secret]", _BEARER.sub("[secret]", text))
    text = _AWS_KEY.sub("[secret]", _NAMED.sub(r"\g<name>[secret]", text))
    return _RUN.sub(_scrub_run, text)


def _scrub_run(found: re.Match[str]) -> str:
    run = found[0]
    mark = _MARK.search(run)
    if mark is None:
        return run
    # No key is that long: what surrounds one in such a run is of no use to anybody.
    return run[: mark.start()] + "[secret]" if len(run) > _LONGEST_RUN else _SECRETS.sub("[secret]", run)


class ImageError(Exception):
    """A failure that can be shown to a person.

    `message` and `suggestions` are for anybody; `details` is technical, scrubbed of secrets.
    `retryable` says whether the same request may succeed later; `charged` is True, False, or None where
    nobody can know. `tells_cost`: the class's own message says so. `categories` are what a moderation names.
    `answer` is what came of a service's answer that no picture could be read from; the tokens, and the price
    in micro-USD, are what such an answer says that it cost, None where it doesn't. `counted`: core.failures
    has it already.
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
    tells_cost: ClassVar[bool] = False
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


class ImageGenerationError(ImageError):
    code, status = "IMG-GEN-FAIL-001", 502
    message = "The image could not be made."
    suggestions: tuple[str, ...] = (
        "Check the service's status page.",
        "Ask your administrator to check the API key.",
        "Review the prompt and the chosen options, then try again.",
    )


class RateLimited(ImageGenerationError):
    code, status, retryable = "IMG-GEN-RATE-001", 429, True
    message = "The service is asking us to slow down."
    suggestions = ("Wait a minute, then try again.", "Ask for fewer images at once.")


class ServiceBusy(ImageGenerationError):
    code, status, retryable = "IMG-GEN-BUSY-001", 503, True
    message = "The image service is overloaded right now."
    suggestions = ("Wait a minute, then try again.", "Try a smaller size or a lower quality.")


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


class ServiceLate(ServiceUnreachable):
    code, status = "IMG-GEN-CONN-002", 504
    message = "The service didn't answer in time."
    suggestions = (
        "Try again in a few minutes.",
        "If it happens often, ask your administrator to raise TEXT_TIMEOUT.",
    )
    charged = None


class ConnectionLost(ServiceUnreachable):
    code, status = "IMG-GEN-CONN-003", 502
    message = "The connection to the service was lost."
    suggestions = (
        "Try again.",
        "If it happens often, ask your administrator to check the network and the proxy.",
    )
    charged = None


class QuotaSpent(ImageGenerationError):
    code, status, retryable = "IMG-GEN-QUOTA-001", 402, False
    message = "The account's credit with the image service is used up."
    suggestions = (
        "Ask your administrator to add credit to the service's account.",
        "Your prompt is kept: come back to it later.",
    )


class BillingLimitReached(ImageGenerationError):
    code, status, retryable = "IMG-GEN-BILL-001", 402, False
    message = "The account has reached the spending limit set with the image service."
    suggestions = (
        "Ask your administrator to raise the limit, or wait until next month.",
        "Your prompt is kept: come back to it later.",
    )


class BudgetSpent(ImageGenerationError):
    code, status, retryable = "IMG-GEN-BUDGET-001", 402, False
    message = "Your budget doesn't cover this."
    suggestions = (
        "Ask for fewer images, a smaller size or a lower quality.",
        "Wait until the budget resets: your prompt is kept.",
        "Ask your administrator for a larger budget.",
    )


class OutcomeUnknown(ImageGenerationError):
    code, status, retryable = "IMG-GEN-UNKNOWN-001", 504, False
    message = "Outcome unknown: the service may have charged for this."
    suggestions: tuple[str, ...] = (
        "Try again, which may be charged twice, or let it go.",
        "Check the service's usage page if the cost matters.",
    )
    charged: bool | None = None
    tells_cost = True


class AnswerLate(OutcomeUnknown):
    code = "IMG-GEN-UNKNOWN-002"
    message = "Outcome unknown: no answer came in time, and the service may have charged for this."
    suggestions = (
        *OutcomeUnknown.suggestions,
        "If it happens often, ask your administrator to raise IMAGE_TIMEOUT.",
    )


class AnswerLost(OutcomeUnknown):
    code = "IMG-GEN-UNKNOWN-003"
    message = "Outcome unknown: the connection was lost, and the service may have charged for this."
    suggestions = (
        *OutcomeUnknown.suggestions,
        "If it happens often, ask your administrator to check the network and the proxy.",
    )


class AnswerCut(OutcomeUnknown):
    code = "IMG-GEN-UNKNOWN-004"
    message = (
        "Outcome unknown: the answer ended before the picture was complete, and the service may have charged "
        "for this."
    )


class BadAnswer(ImageGenerationError):
    code, status, retryable = "IMG-GEN-ANSWER-001", 502, True
    message = "The service answered with something that isn't an image."
    suggestions: tuple[str, ...] = (
        "Ask your administrator to check that OPENAI_BASE_URL points to an OpenAI-compatible API.",
        "Try again in a few minutes.",
    )
    charged: bool | None = None


class WebPage(BadAnswer):
    code = "IMG-GEN-ANSWER-002"
    message = "The service answered with a web page."
    suggestions = (
        "Ask your administrator to check OPENAI_BASE_URL: `/v1` is often missing from the end.",
        "Ask whether a proxy or a sign-in page sits in front of the service.",
    )


class NoImage(BadAnswer):
    code = "IMG-GEN-ANSWER-003"
    message = "The service answered without an image."
    suggestions = ("Try again.", "Change the prompt a little.", "Choose another model under More options.")


class AddressWrong(BadAnswer):
    code, retryable = "IMG-GEN-ADDR-001", False
    message = "There is no image service at the address in the settings."
    suggestions = (
        "Ask your administrator to check OPENAI_BASE_URL: `/v1` is often missing from the end, or doubled.",
    )
    charged = False


class BadImage(ImageGenerationError):
    code, status, retryable = "IMG-GEN-IMAGE-001", 502, True
    message = "The service sent a damaged picture."
    suggestions = (
        "Try again.",
        "The damaged file is kept for your administrator.",
    )
    charged = True


class InvalidParameter(ImageGenerationError):
    code, status, retryable = "IMG-GEN-PARAM-001", 422, False
    message = "This model doesn't support the chosen options."
    suggestions = ("Choose another size, quality or number of images.", "Choose another model.")


class ParameterRefused(ImageGenerationError):
    code, status, retryable = "IMG-GEN-PARAM-002", 422, False
    message = "The service doesn't accept one of the chosen options."
    suggestions = (
        "Set quality and size to Auto, then try again.",
        "Choose another model.",
        "Ask your administrator which options the service accepts.",
    )


class ModelUnavailable(ImageGenerationError):
    code, status, retryable = "IMG-GEN-MODEL-001", 404, False
    message = "This model isn't available to the account."
    suggestions = (
        "Choose another model under More options.",
        "Ask your administrator which models the account may use, and to check IMAGE_MODEL and TEXT_MODEL.",
    )


class ModelRetired(ImageGenerationError):
    code, status, retryable = "IMG-GEN-MODEL-002", 410, False
    message = "This model has been retired by the service."
    suggestions = ("Choose the successor named above under More options.",)


class RequestTooLarge(ImageGenerationError):
    code, status, retryable = "IMG-GEN-SIZE-001", 413, False
    message = "The request is too large for the service."
    suggestions = ("Shorten the prompt.", "Ask for fewer images at once.")


class NotEnded(ImageGenerationError):
    code, status, retryable = "IMG-GEN-STATE-001", 409, False
    message = "This image is still being made or is already done."
    suggestions = ("Wait until it has finished.", "Look in your gallery.")


class RecipeUnreadable(ImageGenerationError):
    code, status, retryable = "IMG-GEN-VERSION-001", 409, False
    message = "This image was requested in another version of Atelier."
    suggestions = ("Describe it again, then generate.",)


class JobCancelled(ImageGenerationError):
    code, status, retryable = "IMG-GEN-CANCEL-001", 409, False
    message = "This image was cancelled before it started; it cost nothing."
    suggestions = ("Request it again.",)


class ImagePromptError(ImageError):
    code, status = "IMG-PRM-ENH-001", 502
    message = "The prompt could not be enhanced."
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
    suggestions = ("Shorten the prompt.", "Choose a model that accepts longer prompts.")


class TooManyPrompts(ImagePromptError):
    code, status, retryable = "IMG-PRM-MANY-001", 422, False
    message = "That is too many prompts for one batch."
    suggestions = ("Remove some lines or alternatives.", "Ask for fewer images of each.")


class WordsRejected(ImagePromptError):
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
            message = f"{type(self).message.removesuffix('.')}: {', '.join(categories)}."
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
        "Your prompt is kept as it was.",
    )


class EnhancementRefused(ImagePromptError):
    code, status, retryable = "IMG-PRM-REFUSE-001", 422, False
    message = "The enhancer declined to work on this description."
    suggestions = ("Change the description.", "Skip the enhancement and write the prompt yourself.")
    charged = True


class EnhancementCut(ImagePromptError):
    code, status, retryable = "IMG-PRM-CUT-001", 502, True
    message = "The enhanced prompt was cut off before it was finished."
    suggestions = ("Try again.",)
    charged = None


class EnhancementTooLong(ImagePromptError):
    code, status, retryable = "IMG-PRM-CUT-002", 502, True
    message = "The enhanced prompt got too long to finish."
    suggestions = ("Choose a lighter enhancement.", "Shorten the description.")
    charged = True


class EnhancementCancelled(ImagePromptError):
    code, status, retryable = "IMG-PRM-CANCEL-001", 409, False
    message = "The enhancement was cancelled before it started."
    suggestions = ("Enhance again if you still want it.",)
    # Nobody waits for it any more.
    counted = True


class ImageAuthError(ImageError):
    code, status, retryable = "IMG-AUTH-001", 401, False
    message = "Please sign in first."
    suggestions: tuple[str, ...] = ("Sign in, then try again.", "Ask your administrator for access.")


class SignInFailed(ImageAuthError):
    code = "IMG-AUTH-SIGNIN-001"
    message = "That username and password don't match."
    suggestions = ("Check both for typos.", "Ask your administrator for a link to set a new password.")


class SignInLocked(ImageAuthError):
    code, status, retryable = "IMG-AUTH-LOCK-001", 429, True
    message = "Too many wrong passwords: sign-in for this name is locked for 15 minutes."
    suggestions = ("Wait 15 minutes, then try again.",)


class SessionEnded(ImageAuthError):
    code = "IMG-AUTH-SESSION-001"
    message = "Your session has ended."
    suggestions = ("Sign in again. Your draft and your images are kept.",)


class NotAllowed(ImageAuthError):
    code, status = "IMG-AUTH-ROLE-001", 403
    message = "Only an administrator can do this."
    suggestions = ("Ask your administrator.",)


class TokenRejected(ImageAuthError):
    code = "IMG-AUTH-TOKEN-001"
    message = "This token is invalid, or no longer valid."
    suggestions = ("Check that you copied all of it.", "Make a new token on your account page.")


class ScopeMissing(ImageAuthError):
    code, status = "IMG-AUTH-SCOPE-001", 403
    message = "This token isn't allowed to do that."
    suggestions = ("Make a token with the scope named above on your account page.",)


class NameTaken(ImageAuthError):
    code, status = "IMG-AUTH-NAME-001", 409
    message = "This username is taken."
    suggestions = ("Choose another username.",)


class NameRejected(ImageAuthError):
    code, status = "IMG-AUTH-NAME-002", 422
    message = "This username can't be used."
    suggestions = ("Use 2 to 64 letters, digits, dots, dashes or underscores.",)


class PasswordRejected(ImageAuthError):
    code, status = "IMG-AUTH-PWD-001", 422
    message = "This password is too easy to guess."
    suggestions = ("Use 10 characters or more; a few unrelated words work well.",)


class RegistrationClosed(ImageAuthError):
    code, status = "IMG-AUTH-REG-001", 403
    message = "New accounts can't be created here."
    suggestions = ("Ask your administrator for an invitation.",)


class InviteInvalid(ImageAuthError):
    code, status = "IMG-AUTH-INVITE-001", 403
    message = "This invitation has already been used or withdrawn, or has expired."
    suggestions = ("Ask your administrator for a new invitation.",)


class ResetInvalid(ImageAuthError):
    code, status = "IMG-AUTH-RESET-001", 403
    message = "This password link has already been used or has expired."
    suggestions = ("Ask your administrator for a new link.",)


class TokenNotMade(ImageAuthError):
    code, status = "IMG-AUTH-TOKEN-002", 422
    message = "This token can't be created."
    suggestions = (
        "Give it a name of up to 64 characters, at least one permission, and one of the offered lifetimes.",
    )


class KeyRejected(ImageAuthError):
    code, status = "IMG-AUTH-KEY-001", 502
    message = "The image service doesn't accept the API key."
    suggestions = ("Ask your administrator to check OPENAI_API_KEY.",)


class ServiceAccessDenied(ImageAuthError):
    code, status = "IMG-AUTH-SERVICE-001", 502
    message = "The image service doesn't allow this account to do that."
    suggestions = ("Ask your administrator to check the account's permissions.",)


class OrganisationUnverified(ServiceAccessDenied):
    code = "IMG-AUTH-ORG-001"
    message = "The image service requires the organisation to be verified first."
    suggestions = ("Ask your administrator to verify the organisation with the service.",)


class StreamingUnverified(ServiceAccessDenied):
    code = "IMG-AUTH-ORG-002"
    message = "The image service streams this model only to verified organisations."
    suggestions = (
        "Ask your administrator to set PARTIAL_IMAGES to 0, or to verify the organisation with the service.",
    )


class RegionUnsupported(ServiceAccessDenied):
    code = "IMG-AUTH-REGION-001"
    message = "The image service isn't available in this country or region."
    suggestions = ("Ask your administrator about another OpenAI-compatible service.",)


class ImageNotFound(ImageError):
    code, status, retryable = "IMG-FIND-001", 404, False
    message = "There is no such image."
    suggestions = ("Look in your gallery or its trash.",)


class RequestRejected(ImageError):
    code, status, retryable = "IMG-REQ-001", 400, False
    message = "This request can't be processed."
    suggestions: tuple[str, ...] = ("Check the address, the method and the fields of the request.",)


class HostRejected(RequestRejected):
    code = "IMG-REQ-HOST-001"
    message = "Atelier doesn't answer to the name in this address."
    suggestions = (
        "Open the address that Atelier showed when it started.",
        "Ask your administrator to add the name to ALLOWED_HOSTS.",
    )


class OriginRejected(RequestRejected):
    code, status = "IMG-REQ-ORIGIN-001", 403
    message = "This request came from another site."
    suggestions = (
        "Open Atelier in a tab of its own, then try again.",
        "Ask your administrator whether the proxy passes on the Host header unchanged.",
    )


class BodyTooLarge(RequestRejected):
    code, status = "IMG-REQ-SIZE-001", 413
    message = "This request is too large."
    suggestions = ("Send less at once.",)


class PageNotFound(RequestRejected):
    code, status = "IMG-REQ-PAGE-001", 404
    message = "There is nothing at this address."
    suggestions = ("Check the address.",)


class RangeRejected(RequestRejected):
    code, status = "IMG-REQ-RANGE-001", 416
    message = "The requested range is outside the file."
    suggestions = ("Ask for a range that begins before the end of the file, or for the whole file.",)

    def __init__(self, message: str | None = None, *, details: str = "", size: int = 0) -> None:
        self.size = size
        super().__init__(message, details=details or f"the file has {size} bytes")


class RateExceeded(RequestRejected):
    code, status, retryable = "IMG-REQ-RATE-001", 429, True
    message = "Too many requests in a minute."
    suggestions = (
        "Wait for the number of seconds given in Retry-After.",
        "Ask your administrator for a higher limit.",
    )


class KeyReused(RequestRejected):
    code, status = "IMG-REQ-KEY-001", 422
    message = "This Idempotency-Key was used for another request."
    suggestions = ("Give each request its own key.", "Send the original request again with this key.")


class KeyBusy(RequestRejected):
    code, status, retryable = "IMG-REQ-KEY-002", 409, True
    message = "The request with this Idempotency-Key is still being processed."
    suggestions = ("Send it again with the same key in a few seconds.",)


class AppStopping(RequestRejected):
    code, status, retryable = "IMG-REQ-STOP-001", 503, True
    message = "Atelier is being stopped or restarted."
    suggestions = ("Try again in a minute.",)


class UploadRejected(RequestRejected):
    code, status = "IMG-REQ-UPLOAD-001", 422
    message = "This file isn't a still picture that can be used."
    suggestions: tuple[str, ...] = (
        "Choose a PNG, JPEG or WebP picture that isn't animated.",
        "Open it in a picture editor and save it again.",
    )


class UploadTooLarge(UploadRejected):
    code, status = "IMG-REQ-UPLOAD-002", 413
    message = "This picture is too large."
    suggestions = ("Make it smaller, then upload it again.",)


class MaskRejected(UploadRejected):
    code = "IMG-REQ-UPLOAD-003"
    message = "The mask doesn't match the picture."
    suggestions = ("Use a PNG of the same size as the picture, transparent where the picture may change.",)


class UploadGone(UploadRejected):
    code, status = "IMG-REQ-UPLOAD-004", 410
    message = "The uploaded picture is no longer stored."
    suggestions = ("Upload it again.",)


class MethodRejected(RequestRejected):
    code, status = "IMG-REQ-METHOD-001", 405
    message = "This address doesn't support that method."
    suggestions = ("Use one of the methods in the response's Allow header.",)


class FieldsRejected(RequestRejected):
    code, status = "IMG-REQ-FIELDS-001", 422
    message = "Some fields are missing or invalid."
    suggestions = ("Correct the fields named in the details.",)


class TypeRejected(RequestRejected):
    code, status = "IMG-REQ-TYPE-001", 415
    message = "This content type isn't supported here."
    suggestions = ("Send JSON, with `Content-Type: application/json`.",)


class StorageError(ImageError):
    code, status, retryable = "IMG-STORE-001", 503, True
    message = "The image store can't be used right now."
    suggestions: tuple[str, ...] = (
        "Try again in a moment.",
        "Ask your administrator to check the image store.",
    )


class StorageUnreachable(StorageError):
    code = "IMG-STORE-CONN-001"
    message = "The image store isn't answering as it should."
    suggestions = (
        "Try again in a moment.",
        "Ask your administrator to check the bucket's server and the network connection to it.",
    )


class StorageFull(StorageError):
    code, status = "IMG-STORE-FULL-001", 507
    message = "There is no space left to store images."
    suggestions = ("Ask your administrator to free up disk space.",)


class StorageReadOnly(StorageError):
    code = "IMG-STORE-READ-001"
    message = "The image store can't be written to."
    suggestions = ("Ask your administrator to make the data folder writable.",)


class FileDamaged(StorageError):
    code, status, retryable = "IMG-STORE-FILE-001", 500, False
    message = "This image's file is damaged."
    suggestions: tuple[str, ...] = ("Ask your administrator to restore it from a backup.",)


class FileMissing(FileDamaged):
    code = "IMG-STORE-GONE-001"
    message = "This image's file is missing."
    suggestions = (
        "Ask your administrator to check that the image store's disk or bucket is there.",
        "Ask your administrator to restore it from a backup.",
    )


class DatabaseError(ImageError):
    code, status, retryable = "IMG-DATA-001", 503, True
    message = "The database can't be used right now."
    suggestions: tuple[str, ...] = ("Try again in a moment.", "Ask your administrator to check the database.")


class DatabaseBusy(DatabaseError):
    code = "IMG-DATA-BUSY-001"
    message = "The database is busy."
    suggestions = ("Try again in a moment.", "If it happens often, tell your administrator.")


class DatabaseUnreachable(DatabaseError):
    code = "IMG-DATA-CONN-001"
    message = "The database can't be reached."
    suggestions = (
        "Try again in a moment.",
        "Ask your administrator to check DATABASE_URL, and whether the database is running.",
    )


class DatabaseOfAnotherVersion(DatabaseError):
    code, retryable = "IMG-DATA-VERSION-001", False
    message = "The database was made by another version of Atelier."
    suggestions = (
        "Start the version that made it, or a newer one.",
        "Restore a backup made with this version.",
    )


class DatabaseDamaged(DatabaseError):
    code, retryable = "IMG-DATA-DAMAGED-001", False
    message = "The database file is damaged."
    suggestions = (
        "Stop the app, move the file aside and restore the last backup.",
        "The images themselves are separate files and aren't affected.",
    )


class BackupError(ImageError):
    code, retryable = "IMG-BACKUP-001", False
    message = "The backup can't be made or restored like this."
    suggestions: tuple[str, ...] = ("Fix what is named above, then try again.",)


class BackupDamaged(BackupError):
    code = "IMG-BACKUP-FILE-001"
    message = "This file isn't a backup, or it is damaged."
    suggestions = ("Nothing was changed.", "Use another backup, or copy this one again.")


class MoveIncomplete(ImageError):
    code = "IMG-MOVE-001"
    message = "Not everything was copied correctly."
    suggestions = (
        "Nothing was changed here.",
        "Run the same command again: it continues where it stopped.",
        "If the same problems remain, start with an empty database and an empty store.",
    )


class SettingsError(ImageError):
    code, retryable = "IMG-SET-001", False
    message = "A setting is wrong."
    suggestions: tuple[str, ...] = ("Correct the setting named above, then start again.",)


class KeyUnusable(SettingsError):
    code = "IMG-SET-KEY-001"
    message = "OPENAI_API_KEY contains characters that can't be in a key."
    suggestions = ("Copy the key again from the service's page: it is one word without quotes or spaces.",)


def catalogue() -> tuple[type[ImageError], ...]:
    """Every error class, parents first, in the order they are defined."""
    found: list[type[ImageError]] = [ImageError]
    for parent in found:
        found += parent.__subclasses__()
    return tuple(found)


def by_code(code: str) -> type[ImageError] | None:
    """The error class of a stored code; None for one of another version."""
    return next((kind for kind in catalogue() if kind.code == code), None)


def in_words(error: ImageError) -> str:
    """A failure for the person at a terminal: what, its code, the details, and what can be done."""
    details = f"\n  ({error.details})" if error.details else ""
    tips = "".join(f"\n  - {tip}" for tip in error.suggestions)
    return f"{error.message} [{error.code}]{details}{tips}"
