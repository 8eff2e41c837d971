"""The tables. Times are UTC; money is micro-USD (1,000,000 = 1 USD), NULL where unknown."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from core.common.clock import utc_now
from core.common.ids import new_id


class UtcDateTime(TypeDecorator[datetime]):
    """Stores an aware datetime as UTC and returns it as aware; SQLite has no time zones."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        return value.astimezone(UTC).replace(tzinfo=None) if value else None

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        return value.replace(tzinfo=UTC) if value else None


class Table(SQLModel, registry=registry()):
    """The base class of all tables. It has its own registry: SQLModel's shared one breaks on hot reload."""


def _time(*, nullable: bool = False, index: bool = False) -> Any:
    return Column(UtcDateTime, nullable=nullable, index=index)


def _user(*, primary_key: bool = False, index: bool = False, nullable: bool = False) -> Any:
    key = ForeignKey("users.id", ondelete="RESTRICT")
    return Column(String(32), key, primary_key=primary_key, index=index, nullable=nullable)


class Role(StrEnum):
    ADMIN = "admin"
    MEMBER = "member"


class Installation(Table, table=True):
    """The single row of the installation. `secret` is its key, in hexadecimal digits."""

    __tablename__ = "installation"
    id: int = Field(default=1, sa_column=Column(Integer, primary_key=True, autoincrement=False))
    secret: str = Field(sa_column=Column(String(64), nullable=False))


class User(Table, table=True):
    """A person. `username` is casefolded and unique. A withdrawn user can't sign in but keeps their images.

    `served_at` is when a job of theirs last started: the queue serves the user who has waited longest.
    """

    __tablename__ = "users"
    id: str = Field(default_factory=new_id, sa_column=Column(String(32), primary_key=True))
    username: str = Field(sa_column=Column(String(64), unique=True, nullable=False))
    display_name: str = Field(sa_column=Column(String(64), nullable=False))
    password_hash: str = Field(sa_column=Column(String(100), nullable=False))
    role: str = Field(default=Role.MEMBER, sa_column=Column(String(16), nullable=False))
    created_at: datetime = Field(default_factory=utc_now, sa_column=_time())
    withdrawn_at: datetime | None = Field(default=None, sa_column=_time(nullable=True))
    served_at: datetime | None = Field(default=None, sa_column=_time(nullable=True))


class SignInSession(Table, table=True):
    """One signed-in browser; `id` is the SHA-256 of the cookie's token."""

    __tablename__ = "sign_in_sessions"
    id: str = Field(sa_column=Column(String(64), primary_key=True))
    user_id: str = Field(sa_column=_user(index=True))
    created_at: datetime = Field(default_factory=utc_now, sa_column=_time())
    seen_at: datetime = Field(default_factory=utc_now, sa_column=_time())
    expires_at: datetime = Field(sa_column=_time(index=True))
    browser: str = Field(default="", sa_column=Column(String(200), nullable=False))


class SignInTicket(Table, table=True):
    """A one-time ticket that a browser exchanges for its cookie; `id` is the SHA-256 of the ticket."""

    __tablename__ = "sign_in_tickets"
    id: str = Field(sa_column=Column(String(64), primary_key=True))
    user_id: str = Field(sa_column=_user())
    expires_at: datetime = Field(sa_column=_time(index=True))


class SignInAttempt(Table, table=True):
    """One attempt to sign in whose password was wrong or isn't checked yet. `username` may not exist."""

    __tablename__ = "sign_in_attempts"
    id: str = Field(default_factory=new_id, sa_column=Column(String(32), primary_key=True))
    username: str = Field(sa_column=Column(String(64), index=True, nullable=False))
    at: datetime = Field(default_factory=utc_now, sa_column=_time(index=True))


class Invite(Table, table=True):
    """An invitation link, which creates one account; `id` is the SHA-256 of the link's token."""

    __tablename__ = "invites"
    id: str = Field(sa_column=Column(String(64), primary_key=True))
    created_by: str = Field(sa_column=_user())
    created_at: datetime = Field(default_factory=utc_now, sa_column=_time())
    expires_at: datetime = Field(sa_column=_time())
    used_by: str | None = Field(default=None, sa_column=_user(nullable=True))


class PasswordReset(Table, table=True):
    """A link that sets one user's password once; `id` is the SHA-256 of the link's token."""

    __tablename__ = "password_resets"
    id: str = Field(sa_column=Column(String(64), primary_key=True))
    user_id: str = Field(sa_column=_user(index=True))
    expires_at: datetime = Field(sa_column=_time())


class Draft(Table, table=True):
    """The form of the Create page as a user left it: the JSON of core.enhancement.drafts.DraftState."""

    __tablename__ = "drafts"
    user_id: str = Field(sa_column=_user(primary_key=True))
    state: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    updated_at: datetime = Field(default_factory=utc_now, sa_column=_time())


class JobState(StrEnum):
    """The state of a job. UNKNOWN: the call was interrupted and may have been charged."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"


LIVE_STATES = (JobState.QUEUED, JobState.RUNNING)


class Job(Table, table=True):
    """One image to be generated.

    - `request`: a Recipe as JSON. `error`: the last failure, a StoredError as JSON.
    - `partials`: the number of stored previews. `attempts`: the number of calls that may have been sent.
    - `process`: the `process_number` (core.database.process_lock) of the process that started it.
    - `due_at`: a queued job that the service refused without charge waits until then.
    - `cancel_asked`: the user cancelled it during a call, so no further call is made.
    - `reserved_micros`: the expected price at its submission, which counts against budgets.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_owner", "owner_id", "created_at", "id"),
        Index(
            "ix_jobs_live",
            "state",
            sqlite_where=text("state IN ('queued', 'running')"),
            postgresql_where=text("state IN ('queued', 'running')"),
        ),
    )
    id: str = Field(default_factory=new_id, sa_column=Column(String(32), primary_key=True))
    batch_id: str = Field(sa_column=Column(String(64), index=True, nullable=False))
    position: int = 0
    owner_id: str = Field(sa_column=_user())
    state: str = Field(default=JobState.QUEUED, sa_column=Column(String(16), nullable=False))
    request: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    partials: int = 0
    attempts: int = 0
    process: int | None = None
    due_at: datetime | None = Field(default=None, sa_column=_time(nullable=True))
    cancel_asked: bool = False
    error: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON, nullable=True))
    reserved_micros: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    created_at: datetime = Field(default_factory=utc_now, sa_column=_time())
    started_at: datetime | None = Field(default=None, sa_column=_time(nullable=True))
    finished_at: datetime | None = Field(default=None, sa_column=_time(nullable=True))
    dismissed_at: datetime | None = Field(default=None, sa_column=_time(nullable=True))


def _live_images(name: str, *filtered: str) -> Index:
    """A partial index of the images that aren't in the trash, by owner and the `filtered` columns, by age.

    Its last column is `trashed_at` so that SQLite can count without reading the rows.
    """
    live = text("trashed_at IS NULL")
    columns = ("owner_id", *filtered, "created_at", "id", "trashed_at")
    return Index(name, *columns, sqlite_where=live, postgresql_where=live)


class Image(Table, table=True):
    """One stored image and everything it was generated from. The gallery searches in `search`.

    `request_hash` is the hash of its recipe, NULL for images older than the column. `source_id` is the image
    that it edits or varies, which may be gone.
    """

    __tablename__ = "images"
    __table_args__ = (
        _live_images("ix_images_live"),
        _live_images("ix_images_favourite", "favourite"),
        _live_images("ix_images_style", "style"),
        _live_images("ix_images_model", "model"),
        _live_images("ix_images_request", "request_hash"),
        Index("ix_images_job", "job_id", "owner_id"),
        Index(
            "ix_images_trash",
            "owner_id",
            "trashed_at",
            "id",
            sqlite_where=text("trashed_at IS NOT NULL"),
            postgresql_where=text("trashed_at IS NOT NULL"),
        ),
    )
    id: str = Field(default_factory=new_id, sa_column=Column(String(32), primary_key=True))
    owner_id: str = Field(sa_column=_user())
    job_id: str = Field(sa_column=Column(String(32), nullable=False))
    created_at: datetime = Field(default_factory=utc_now, sa_column=_time())
    trashed_at: datetime | None = Field(default=None, sa_column=_time(nullable=True))
    favourite: bool = False
    name: str = Field(default="", sa_column=Column(Text, nullable=False))
    traits: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    base_prompt: str = Field(default="", sa_column=Column(Text, nullable=False))
    enhanced_prompt: str = Field(default="", sa_column=Column(Text, nullable=False))
    prompt: str = Field(default="", sa_column=Column(Text, nullable=False))
    sent_prompt: str = Field(default="", sa_column=Column(Text, nullable=False))
    revised_prompt: str = Field(default="", sa_column=Column(Text, nullable=False))
    style: str = Field(default="", sa_column=Column(String(64), nullable=False))
    model: str = Field(sa_column=Column(String(128), nullable=False))
    size: str = Field(default="", sa_column=Column(String(16), nullable=False))
    quality: str = Field(default="", sa_column=Column(String(16), nullable=False))
    offline: bool = False
    width: int
    height: int
    mime: str = Field(sa_column=Column(String(32), nullable=False))
    file_key: str = Field(sa_column=Column(String(128), unique=True, nullable=False))
    file_bytes: int = Field(sa_column=Column(BigInteger, nullable=False))
    sha256: str = Field(sa_column=Column(String(64), nullable=False))
    price_micros: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    seconds: float = 0.0
    request_hash: str | None = Field(default=None, sa_column=Column(String(64), nullable=True))
    source_id: str | None = Field(default=None, sa_column=Column(String(32), nullable=True))
    search: str = Field(default="", sa_column=Column(Text, nullable=False))


class CachedEnhancement(Table, table=True):
    """An enhanced prompt, cached for a day; `id` is the SHA-256 of user, model and request."""

    __tablename__ = "takes"
    id: str = Field(sa_column=Column(String(64), primary_key=True))
    user_id: str = Field(sa_column=_user())
    created_at: datetime = Field(default_factory=utc_now, sa_column=_time(index=True))
    model: str = Field(sa_column=Column(String(128), nullable=False))
    text: str = Field(sa_column=Column(Text, nullable=False))
    added_back: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    input_tokens: int | None = None
    output_tokens: int | None = None
    price_micros: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))


class UsageKind(StrEnum):
    ENHANCE = "enhance"
    GENERATE = "generate"


class Usage(Table, table=True):
    """One call to a service, or one that a stored result saved, with its user, duration, price and outcome.

    `reserved_micros` counts against budgets while the price is unknown; NULL if the call cost nothing.
    `lost_images` counts images that may have been charged and never arrived.
    """

    __tablename__ = "usage"
    __table_args__ = (
        Index("ix_usage_user", "user_id", "started_at"),
        Index("ix_usage_kind", "kind", "started_at"),
    )
    id: str = Field(default_factory=new_id, sa_column=Column(String(32), primary_key=True))
    user_id: str = Field(sa_column=_user())
    kind: str = Field(sa_column=Column(String(16), nullable=False))
    model: str = Field(sa_column=Column(String(128), nullable=False))
    offline: bool = False
    job_id: str | None = Field(default=None, sa_column=Column(String(32), nullable=True))
    started_at: datetime = Field(default_factory=utc_now, sa_column=_time())
    seconds: float = 0.0
    input_tokens: int | None = None
    output_tokens: int | None = None
    price_micros: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    saved_micros: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    reserved_micros: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    images: int = 0
    lost_images: int = 0
    request_id: str | None = Field(default=None, sa_column=Column(String(128), nullable=True))
    outcome: str = Field(sa_column=Column(String(16), nullable=False))
    error_code: str | None = Field(default=None, sa_column=Column(String(32), nullable=True))


class Scope(StrEnum):
    """A permission of an API token."""

    READ = "read"
    GENERATE = "generate"


class ApiToken(Table, table=True):
    """A user's token for the Images API; `id` is its SHA-256, `scopes` are separated by spaces."""

    __tablename__ = "api_tokens"
    id: str = Field(sa_column=Column(String(64), primary_key=True))
    user_id: str = Field(sa_column=_user(index=True))
    name: str = Field(sa_column=Column(String(64), nullable=False))
    scopes: str = Field(sa_column=Column(String(64), nullable=False))
    created_at: datetime = Field(default_factory=utc_now, sa_column=_time())
    expires_at: datetime | None = Field(default=None, sa_column=_time(nullable=True))
    used_at: datetime | None = Field(default=None, sa_column=_time(nullable=True))


class ShareLink(Table, table=True):
    """A public link to one image; `id` is the SHA-256 of the link's token."""

    __tablename__ = "shares"
    id: str = Field(sa_column=Column(String(64), primary_key=True))
    image_id: str = Field(sa_column=Column(String(32), index=True, nullable=False))
    owner_id: str = Field(sa_column=_user(index=True))
    created_at: datetime = Field(default_factory=utc_now, sa_column=_time())
    expires_at: datetime = Field(sa_column=_time(index=True))


class IdempotentResponse(Table, table=True):
    """The response to a paid request with an Idempotency-Key; `id` is the SHA-256 of user and key.

    `request_hash` is the SHA-256 of the request. `batch_id` is the batch that was submitted for it. `status`
    and `body` are NULL until the request is answered.
    """

    __tablename__ = "kept_answers"
    id: str = Field(sa_column=Column(String(64), primary_key=True))
    user_id: str = Field(sa_column=_user())
    request_hash: str = Field(sa_column=Column(String(64), nullable=False))
    created_at: datetime = Field(default_factory=utc_now, sa_column=_time(index=True))
    batch_id: str | None = Field(default=None, sa_column=Column(String(64), nullable=True))
    status: int | None = None
    body: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON, nullable=True))


class RateWindow(Table, table=True):
    """The requests of one kind in one window; `subject` is `user:` or `token:` and an id."""

    __tablename__ = "rates"
    subject: str = Field(sa_column=Column(String(80), primary_key=True))
    kind: str = Field(sa_column=Column(String(16), primary_key=True))
    began_at: datetime = Field(sa_column=_time(index=True))
    count: int = 0


class Budget(Table, table=True):
    """One user's own limits; NULL means the settings' limit. Money is in micro-USD."""

    __tablename__ = "budgets"
    user_id: str = Field(sa_column=_user(primary_key=True))
    day_micros: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    month_micros: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    day_images: int | None = None
    month_images: int | None = None
    updated_at: datetime = Field(default_factory=utc_now, sa_column=_time())


class AuditEntry(Table, table=True):
    """One audited action: its user, time and origin. Database triggers refuse to change or delete a row.

    `actor_id` is NULL if nobody was signed in. `subject` names the object of the action.
    """

    __tablename__ = "audit_entries"
    __table_args__ = (
        Index("ix_audit_entries_at", "at", "id"),
        Index("ix_audit_entries_actor", "actor_id", "at", "id"),
    )
    id: str = Field(default_factory=new_id, sa_column=Column(String(32), primary_key=True))
    at: datetime = Field(default_factory=utc_now, sa_column=_time())
    action: str = Field(sa_column=Column(String(32), nullable=False))
    actor_id: str | None = Field(default=None, sa_column=Column(String(32), nullable=True))
    actor_name: str = Field(default="", sa_column=Column(String(64), nullable=False))
    subject: str = Field(default="", sa_column=Column(String(128), nullable=False))
    details: str = Field(default="", sa_column=Column(String(400), nullable=False))
    address: str = Field(default="", sa_column=Column(String(64), nullable=False))
    browser: str = Field(default="", sa_column=Column(String(200), nullable=False))
    request_id: str = Field(default="", sa_column=Column(String(64), nullable=False))


class ErrorCount(Table, table=True):
    """The number of times that one error occurred within one hour."""

    __tablename__ = "failures"
    code: str = Field(sa_column=Column(String(32), primary_key=True))
    hour: datetime = Field(sa_column=Column(UtcDateTime, primary_key=True))
    count: int = 0
