"""The errors that users can see, as a tree of classes. Each has a code, a message and suggestions.

ImageError                          IMG-GEN-001
├── ImageGenerationError            IMG-GEN-FAIL-001: calls to the image service and their responses
│   ├── RateLimited, ServiceBusy, ServiceFailed, QuotaSpent, BillingLimitReached, BudgetSpent
│   ├── ServiceUnreachable: ServiceTimeout, ConnectionLost
│   ├── CertificateUntrusted, SchemeWrong, ProxyRejected
│   ├── OutcomeUnknown: ResponseTimeout, ResponseLost, ResponseTruncated
│   ├── BadResponse: WebPageReceived, NoImage, ImageNotDownloaded, ServiceAddressWrong
│   ├── BadImage, InvalidParameter: RequestRefused, FaultUnknown
│   ├── ParameterRefused, HeaderMissing, EditsUnsupported, RequestTooLarge, ModelUnavailable, ModelRetired
│   └── JobNotRetryable, RecipeUnreadable, JobCancelled
├── ImagePromptError                IMG-PRM-ENH-001: prompts and their enhancement
│   ├── PromptEmpty, PromptTooLong: ContextTooSmall
│   ├── TooManyPrompts, TextRejected
│   ├── PromptBlocked: ContentFiltered, NotDrawable, PromptFlagged
│   └── EnhancementRefused, EnhancementTruncated, EnhancementTooLong, EnhancementCancelled
├── ImageAuthError                  IMG-AUTH-001: sign-in and permissions
│   ├── SignInFailed, AccessWithdrawn, SignInLocked, SignInMisdirected, SessionEnded, NotAllowed
│   ├── TokenRejected, ScopeMissing, UsernameTaken, UsernameRejected, PasswordRejected
│   ├── RegistrationClosed, InviteInvalid, ResetInvalid, TokenOptionsRejected
│   └── ApiKeyRejected, ServiceAccessDenied: OrganisationUnverified, StreamingUnverified, RegionUnsupported
├── ImageNotFound                   IMG-FIND-001: the user has no such image
├── RequestRejected                 IMG-REQ-001: an HTTP request that can't be processed
│   ├── HostRejected, OriginRejected, BodyTooLarge, PageNotFound
│   ├── MethodRejected, FieldsRejected, ContentTypeRejected, RangeRejected, RequestRateExceeded
│   ├── IdempotencyKeyReused, IdempotencyKeyBusy, AppStopping, PageOutdated, ClickLost
│   ├── TooManyShareLinks
│   └── UploadRejected              IMG-REQ-UPLOAD-001: UploadTooLarge, MaskRejected, UploadGone
├── StorageError                    IMG-STORE-001: the image store
│   ├── StorageUnreachable, StorageFull, StorageReadOnly
│   └── FileDamaged: FileMissing
├── DatabaseError                   IMG-DATA-001: the database
│   └── DatabaseBusy, DatabaseUnreachable, DatabaseVersionMismatch, DatabaseDamaged
├── BackupError                     IMG-BACKUP-001: BackupDamaged
├── TransferIncomplete              IMG-MOVE-001: a transfer of an installation has errors
└── SettingsError                   IMG-SET-001: a wrong setting; ApiKeyMalformed
"""

from __future__ import annotations

from core.errors.accounts import (
    AccessWithdrawn,
    ApiKeyRejected,
    ImageAuthError,
    InviteInvalid,
    NotAllowed,
    OrganisationUnverified,
    PasswordRejected,
    RegionUnsupported,
    RegistrationClosed,
    ResetInvalid,
    ScopeMissing,
    ServiceAccessDenied,
    SessionEnded,
    SignInFailed,
    SignInLocked,
    SignInMisdirected,
    StreamingUnverified,
    TokenOptionsRejected,
    TokenRejected,
    UsernameRejected,
    UsernameTaken,
)
from core.errors.advice import for_administrator
from core.errors.base import (
    COST_MESSAGES,
    ImageError,
    all_errors,
    by_code,
    exception_text,
    terminal_message,
)
from core.errors.generation import (
    BadImage,
    BadResponse,
    BillingLimitReached,
    BudgetSpent,
    CertificateUntrusted,
    ConnectionLost,
    EditsUnsupported,
    FaultUnknown,
    HeaderMissing,
    ImageGenerationError,
    ImageNotDownloaded,
    InvalidParameter,
    JobCancelled,
    JobNotRetryable,
    ModelRetired,
    ModelUnavailable,
    NoImage,
    OutcomeUnknown,
    ParameterRefused,
    ProxyRejected,
    QuotaSpent,
    RateLimited,
    RecipeUnreadable,
    RequestRefused,
    RequestTooLarge,
    ResponseLost,
    ResponseTimeout,
    ResponseTruncated,
    SchemeWrong,
    ServiceAddressWrong,
    ServiceBusy,
    ServiceFailed,
    ServiceTimeout,
    ServiceUnreachable,
    WebPageReceived,
)
from core.errors.maintenance import (
    ApiKeyMalformed,
    BackupDamaged,
    BackupError,
    SettingsError,
    TransferIncomplete,
)
from core.errors.prompts import (
    ContentFiltered,
    ContextTooSmall,
    EnhancementCancelled,
    EnhancementRefused,
    EnhancementTooLong,
    EnhancementTruncated,
    ImagePromptError,
    NotDrawable,
    PromptBlocked,
    PromptEmpty,
    PromptFlagged,
    PromptTooLong,
    TextRejected,
    TooManyPrompts,
)
from core.errors.redaction import scrub
from core.errors.requests import (
    AppStopping,
    BodyTooLarge,
    ClickLost,
    ContentTypeRejected,
    FieldsRejected,
    HostRejected,
    IdempotencyKeyBusy,
    IdempotencyKeyReused,
    ImageNotFound,
    MaskRejected,
    MethodRejected,
    OriginRejected,
    PageNotFound,
    PageOutdated,
    RangeRejected,
    RequestRateExceeded,
    RequestRejected,
    TooManyShareLinks,
    UploadGone,
    UploadRejected,
    UploadTooLarge,
)
from core.errors.storage import (
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseError,
    DatabaseUnreachable,
    DatabaseVersionMismatch,
    FileDamaged,
    FileMissing,
    StorageError,
    StorageFull,
    StorageReadOnly,
    StorageUnreachable,
)
from core.errors.stored import StoredError

__all__ = [
    "COST_MESSAGES",
    "AccessWithdrawn",
    "ApiKeyMalformed",
    "ApiKeyRejected",
    "AppStopping",
    "BackupDamaged",
    "BackupError",
    "BadImage",
    "BadResponse",
    "BillingLimitReached",
    "BodyTooLarge",
    "BudgetSpent",
    "CertificateUntrusted",
    "ClickLost",
    "ConnectionLost",
    "ContentFiltered",
    "ContentTypeRejected",
    "ContextTooSmall",
    "DatabaseBusy",
    "DatabaseDamaged",
    "DatabaseError",
    "DatabaseUnreachable",
    "DatabaseVersionMismatch",
    "EditsUnsupported",
    "EnhancementCancelled",
    "EnhancementRefused",
    "EnhancementTooLong",
    "EnhancementTruncated",
    "FaultUnknown",
    "FieldsRejected",
    "FileDamaged",
    "FileMissing",
    "HeaderMissing",
    "HostRejected",
    "IdempotencyKeyBusy",
    "IdempotencyKeyReused",
    "ImageAuthError",
    "ImageError",
    "ImageGenerationError",
    "ImageNotDownloaded",
    "ImageNotFound",
    "ImagePromptError",
    "InvalidParameter",
    "InviteInvalid",
    "JobCancelled",
    "JobNotRetryable",
    "MaskRejected",
    "MethodRejected",
    "ModelRetired",
    "ModelUnavailable",
    "NoImage",
    "NotAllowed",
    "NotDrawable",
    "OrganisationUnverified",
    "OriginRejected",
    "OutcomeUnknown",
    "PageNotFound",
    "PageOutdated",
    "ParameterRefused",
    "PasswordRejected",
    "PromptBlocked",
    "PromptEmpty",
    "PromptFlagged",
    "PromptTooLong",
    "ProxyRejected",
    "QuotaSpent",
    "RangeRejected",
    "RateLimited",
    "RecipeUnreadable",
    "RegionUnsupported",
    "RegistrationClosed",
    "RequestRateExceeded",
    "RequestRefused",
    "RequestRejected",
    "RequestTooLarge",
    "ResetInvalid",
    "ResponseLost",
    "ResponseTimeout",
    "ResponseTruncated",
    "SchemeWrong",
    "ScopeMissing",
    "ServiceAccessDenied",
    "ServiceAddressWrong",
    "ServiceBusy",
    "ServiceFailed",
    "ServiceTimeout",
    "ServiceUnreachable",
    "SessionEnded",
    "SettingsError",
    "SignInFailed",
    "SignInLocked",
    "SignInMisdirected",
    "StorageError",
    "StorageFull",
    "StorageReadOnly",
    "StorageUnreachable",
    "StoredError",
    "StreamingUnverified",
    "TextRejected",
    "TokenOptionsRejected",
    "TokenRejected",
    "TooManyPrompts",
    "TooManyShareLinks",
    "TransferIncomplete",
    "UploadGone",
    "UploadRejected",
    "UploadTooLarge",
    "UsernameRejected",
    "UsernameTaken",
    "WebPageReceived",
    "all_errors",
    "by_code",
    "exception_text",
    "for_administrator",
    "scrub",
    "terminal_message",
]
