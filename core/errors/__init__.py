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

from core.errors.accounts import (
    ImageAuthError,
    InviteInvalid,
    KeyRejected,
    NameRejected,
    NameTaken,
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
    StreamingUnverified,
    TokenNotMade,
    TokenRejected,
)
from core.errors.base import COST_WORDS, ImageError, by_code, catalogue, in_words
from core.errors.generation import (
    AddressWrong,
    AnswerCut,
    AnswerLate,
    AnswerLost,
    BadAnswer,
    BadImage,
    BillingLimitReached,
    BudgetSpent,
    ConnectionLost,
    ImageGenerationError,
    InvalidParameter,
    JobCancelled,
    ModelRetired,
    ModelUnavailable,
    NoImage,
    NotEnded,
    OutcomeUnknown,
    ParameterRefused,
    QuotaSpent,
    RateLimited,
    RecipeUnreadable,
    RequestTooLarge,
    ServiceBusy,
    ServiceFailed,
    ServiceLate,
    ServiceUnreachable,
    WebPage,
)
from core.errors.maintenance import BackupDamaged, BackupError, KeyUnusable, MoveIncomplete, SettingsError
from core.errors.prompts import (
    ContentFiltered,
    EnhancementCancelled,
    EnhancementCut,
    EnhancementRefused,
    EnhancementTooLong,
    ImagePromptError,
    NotDrawable,
    PromptBlocked,
    PromptEmpty,
    PromptFlagged,
    PromptTooLong,
    TooManyPrompts,
    WordsRejected,
)
from core.errors.redaction import scrub
from core.errors.requests import (
    AppStopping,
    BodyTooLarge,
    FieldsRejected,
    HostRejected,
    ImageNotFound,
    KeyBusy,
    KeyReused,
    MaskRejected,
    MethodRejected,
    OriginRejected,
    PageNotFound,
    RangeRejected,
    RateExceeded,
    RequestRejected,
    TypeRejected,
    UploadGone,
    UploadRejected,
    UploadTooLarge,
)
from core.errors.storage import (
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseError,
    DatabaseOfAnotherVersion,
    DatabaseUnreachable,
    FileDamaged,
    FileMissing,
    StorageError,
    StorageFull,
    StorageReadOnly,
    StorageUnreachable,
)
from core.errors.stored import JobError

__all__ = [
    "COST_WORDS",
    "AddressWrong",
    "AnswerCut",
    "AnswerLate",
    "AnswerLost",
    "AppStopping",
    "BackupDamaged",
    "BackupError",
    "BadAnswer",
    "BadImage",
    "BillingLimitReached",
    "BodyTooLarge",
    "BudgetSpent",
    "ConnectionLost",
    "ContentFiltered",
    "DatabaseBusy",
    "DatabaseDamaged",
    "DatabaseError",
    "DatabaseOfAnotherVersion",
    "DatabaseUnreachable",
    "EnhancementCancelled",
    "EnhancementCut",
    "EnhancementRefused",
    "EnhancementTooLong",
    "FieldsRejected",
    "FileDamaged",
    "FileMissing",
    "HostRejected",
    "ImageAuthError",
    "ImageError",
    "ImageGenerationError",
    "ImageNotFound",
    "ImagePromptError",
    "InvalidParameter",
    "InviteInvalid",
    "JobCancelled",
    "JobError",
    "KeyBusy",
    "KeyRejected",
    "KeyReused",
    "KeyUnusable",
    "MaskRejected",
    "MethodRejected",
    "ModelRetired",
    "ModelUnavailable",
    "MoveIncomplete",
    "NameRejected",
    "NameTaken",
    "NoImage",
    "NotAllowed",
    "NotDrawable",
    "NotEnded",
    "OrganisationUnverified",
    "OriginRejected",
    "OutcomeUnknown",
    "PageNotFound",
    "ParameterRefused",
    "PasswordRejected",
    "PromptBlocked",
    "PromptEmpty",
    "PromptFlagged",
    "PromptTooLong",
    "QuotaSpent",
    "RangeRejected",
    "RateExceeded",
    "RateLimited",
    "RecipeUnreadable",
    "RegionUnsupported",
    "RegistrationClosed",
    "RequestRejected",
    "RequestTooLarge",
    "ResetInvalid",
    "ScopeMissing",
    "ServiceAccessDenied",
    "ServiceBusy",
    "ServiceFailed",
    "ServiceLate",
    "ServiceUnreachable",
    "SessionEnded",
    "SettingsError",
    "SignInFailed",
    "SignInLocked",
    "StorageError",
    "StorageFull",
    "StorageReadOnly",
    "StorageUnreachable",
    "StreamingUnverified",
    "TokenNotMade",
    "TokenRejected",
    "TooManyPrompts",
    "TypeRejected",
    "UploadGone",
    "UploadRejected",
    "UploadTooLarge",
    "WebPage",
    "WordsRejected",
    "by_code",
    "catalogue",
    "in_words",
    "scrub",
]
