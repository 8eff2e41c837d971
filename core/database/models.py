"""The database tables.

Times are in UTC. Columns named `…_micros` hold money in micro-USD (1,000,000 = 1 USD), or NULL if the amount
is unknown.
"""

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
    """A column of datetimes that have a time zone.

    The datetimes are stored in UTC and without a time zone, because SQLite has no time zones.
    """

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        return value.astimezone(UTC).replace(tzinfo=None) if value else None

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        return value.replace(tzinfo=UTC) if value else None


class Table(SQLModel, registry=registry()):
    """The base class of all tables.

    Table has a registry of its own, because SQLModel's shared registry breaks when Streamlit reloads this
    module.
    """


def _time(*, nullable: bool = False, index: bool = False) -> Any:
    return Column(UtcDateTime, nullable=nullable, index=index)


def _user(*, primary_key: bool = False, index: bool = False, nullable: bool = False) -> Any:
    key = ForeignKey("users.id", ondelete="RESTRICT")
    return Column(String(32), key, primary_key=primary_key, index=index, nullable=nullable)


class Role(StrEnum):
    ADMIN = "admin"
    MEMBER = "member"


class Installation(Table, table=True):
    """The installation. The table has one row.

    `secret` is the installation's secret key in hexadecimal (core.database.installation_key).
    """

    __tablename__ = "installation"
    id: int = Field(default=1, sa_column=Column(Integer, primary_key=True, autoincrement=False))
    secret: str = Field(sa_column=Column(String(64), nullable=False))


class User(Table, table=True):
    """A user account.

    - `username`: the folded name (core.accounts.usernames), which is unique.
    - `skeleton`: a form of the name that is equal for names that look alike, and unique. NULL for a user from
      before skeletons were stored whose name looks like an earlier user's.
    - `withdrawn_at`: when an administrator withdrew the user's access, or NULL if the user has access.
      Without access, a user can't sign in, but their images stay stored.
    - `served_at`: when one of the user's jobs last started. The queue prefers users who have waited longest.
    """

    __tablename__ = "users"
    __table_args__ = (Index("ix_users_skeleton", "skeleton", unique=True),)
    id: str = Field(default_factory=new_id, sa_column=Column(String(32), primary_key=True))
    username: str = Field(sa_column=Column(String(64), unique=True, nullable=False))
    display_name: str = Field(sa_column=Column(String(64), nullable=False))
    skeleton: str | None = Field(default=None, sa_column=Column(String(255), nullable=True))
    password_hash: str = Field(sa_column=Column(String(100), nullable=False))
    role: str = Field(default=Role.MEMBER, sa_column=Column(String(16), nullable=False))
    created_at: datetime = Field(default_factory=utc_now, sa_column=_time())
    withdrawn_at: datetime | None = Field(default=None, sa_column=_time(nullable=True))
    served_at: datetime | None = Field(default=None, sa_column=_time(nullable=True))


class SignInSession(Table, table=True):
    """The session of one signed-in browser. `id` is the SHA-256 of the token in the session cookie."""

    __tablename__ = "sign_in_sessions"
    id: str = Field(sa_column=Column(String(64), primary_key=True))
    user_id: str = Field(sa_column=_user(index=True))
    created_at: datetime = Field(default_factory=utc_now, sa_column=_time())
    seen_at: datetime = Field(default_factory=utc_now, sa_column=_time())
    expires_at: datetime = Field(sa_column=_time(index=True))
    browser: str = Field(default="", sa_column=Column(String(200), nullable=False))


class SignInTicket(Table, table=True):
    """A one-time ticket that a browser exchanges for a session cookie. `id` is the SHA-256 of the ticket."""

    __tablename__ = "sign_in_tickets"
    id: str = Field(sa_column=Column(String(64), primary_key=True))
    user_id: str = Field(sa_column=_user())
    expires_at: datetime = Field(sa_column=_time(index=True))


class SignInAttempt(Table, table=True):
    """A sign-in attempt that failed, or whose password isn't checked yet.

    `username` is the folded name that somebody typed. There may be no user with this name.
    """

    __tablename__ = "sign_in_attempts"
    id: str = Field(default_factory=new_id, sa_column=Column(String(32), primary_key=True))
    username: str = Field(sa_column=Column(String(64), index=True, nullable=False))
    at: datetime = Field(default_factory=utc_now, sa_column=_time(index=True))


INVITE_NAME_LENGTH = 64


class Invite(Table, table=True):
    """An invitation to create one account. `id` is the SHA-256 of the secret token in the invitation's link.

    `name` says whom the invitation is for, and may be empty. `used_by` is the user who registered with the
    invitation, or NULL.
    """

    __tablename__ = "invites"
    id: str = Field(sa_column=Column(String(64), primary_key=True))
    name: str = Field(
        default="", sa_column=Column(String(INVITE_NAME_LENGTH), nullable=False, server_default="")
    )
    created_by: str = Field(sa_column=_user())
    created_at: datetime = Field(default_factory=utc_now, sa_column=_time())
    expires_at: datetime = Field(sa_column=_time())
    used_by: str | None = Field(default=None, sa_column=_user(nullable=True))


class PasswordReset(Table, table=True):
    """A link that sets a user's password once. `id` is the SHA-256 of the secret token in the link."""

    __tablename__ = "password_resets"
    id: str = Field(sa_column=Column(String(64), primary_key=True))
    user_id: str = Field(sa_column=_user(index=True))
    expires_at: datetime = Field(sa_column=_time())


class Draft(Table, table=True):
    """The content of the Create page's form, as a user last entered it.

    `state` is JSON of core.enhancement.drafts.DraftState.
    """

    __tablename__ = "drafts"
    user_id: str = Field(sa_column=_user(primary_key=True))
    state: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    updated_at: datetime = Field(default_factory=utc_now, sa_column=_time())


class JobState(StrEnum):
    """The state of a job.

    UNKNOWN means that a call was interrupted. The service may have charged for that call, but no response
    came.
    """

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"


LIVE_STATES = (JobState.QUEUED, JobState.RUNNING)


class Job(Table, table=True):
    """A job, which generates one image. Jobs that are submitted together form a batch.

    - `position`: the job's place in its batch, counted from 0.
    - `request`: what to generate, as JSON of core.prompts.recipe.Recipe.
    - `partials`: the number of stored preview images.
    - `attempts`: the number of calls to the service that may have been sent for this job.
    - `process`: the `process_number` (core.database.process_lock) of the process that started the job.
    - `due_at`: no further attempt is made before this time, because the service refused a call without
      charge.
    - `cancel_asked`: whether the user cancelled the job during a call. If so, no further attempt is made.
    - `error`: the last failure, as JSON of core.errors.StoredError. If the job is done, the error came beside
      its image.
    - `reserved_micros`: the expected price at the time of submission, which counts against budgets.
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
    """Return an index named `name` of the images that aren't in the trash.

    The index is sorted by owner, then by the `filtered` columns, then by age. Its last column is
    `trashed_at`. SQLite can therefore count images from the index, without reading the rows.
    """
    live = text("trashed_at IS NULL")
    columns = ("owner_id", *filtered, "created_at", "id", "trashed_at")
    return Index(name, *columns, sqlite_where=live, postgresql_where=live)


class Image(Table, table=True):
    """A generated image: its file, prompts and options.

    - `request_hash`: the hash of the recipe (core.prompts.recipe) that the image was generated from. NULL for
      images that are older than this column.
    - `source_id`: the id of another image, if this image is an edit or a variation of that image. The other
      image may have been deleted.
    - `search`: the text in which the gallery's search looks for words.
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
    """A prompt that a text model wrote, cached for one day.

    `id` is the SHA-256 of the user, the model and the request.
    """

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
    """One call to generate images or to enhance a prompt.

    If a stored result made a call unnecessary, the avoided call has a row too.

    - `saved_micros`: the price that an avoided call would have had.
    - `reserved_micros`: the amount that counts against budgets if the price of the call is unknown. NULL if
      the call cost nothing.
    - `lost_images`: the number of images that the service may have charged for and that never arrived.
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
    """A permission of an API token.

    READ permits viewing the user's images. GENERATE permits generating and changing images.
    """

    READ = "read"
    GENERATE = "generate"


class ApiToken(Table, table=True):
    """A user's API token. `id` is the SHA-256 of the token's secret text.

    `scopes` has the names of the token's permissions (Scope), separated by spaces.
    """

    __tablename__ = "api_tokens"
    id: str = Field(sa_column=Column(String(64), primary_key=True))
    user_id: str = Field(sa_column=_user(index=True))
    name: str = Field(sa_column=Column(String(64), nullable=False))
    scopes: str = Field(sa_column=Column(String(64), nullable=False))
    created_at: datetime = Field(default_factory=utc_now, sa_column=_time())
    expires_at: datetime | None = Field(default=None, sa_column=_time(nullable=True))
    used_at: datetime | None = Field(default=None, sa_column=_time(nullable=True))


class ShareLink(Table, table=True):
    """A public link to one image. `id` is the SHA-256 of the secret token in the link."""

    __tablename__ = "shares"
    id: str = Field(sa_column=Column(String(64), primary_key=True))
    image_id: str = Field(sa_column=Column(String(32), index=True, nullable=False))
    owner_id: str = Field(sa_column=_user(index=True))
    created_at: datetime = Field(default_factory=utc_now, sa_column=_time())
    expires_at: datetime = Field(sa_column=_time(index=True))


class IdempotentResponse(Table, table=True):
    """The stored response to a paid request that had an Idempotency-Key.

    If the client sends the request again with the same key, the stored response is returned.

    - `id`: the SHA-256 of the user and the key.
    - `request_hash`: the SHA-256 of the request.
    - `batch_id`: the batch of jobs that the request submitted.
    - `status` and `body`: the HTTP status and the JSON of the response. NULL until there is a response.
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
    """The number of requests that one user or API token has sent in one window of a rate limit.

    `subject` is `user:` or `token:`, followed by the id of the sender. `kind` is the kind of the counted
    requests.
    """

    __tablename__ = "rates"
    subject: str = Field(sa_column=Column(String(80), primary_key=True))
    kind: str = Field(sa_column=Column(String(16), primary_key=True))
    began_at: datetime = Field(sa_column=_time(index=True))
    count: int = 0


class Budget(Table, table=True):
    """The limits that an administrator set for one user.

    If a column is NULL, the default limit in the settings applies.
    """

    __tablename__ = "budgets"
    user_id: str = Field(sa_column=_user(primary_key=True))
    day_micros: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    month_micros: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    day_images: int | None = None
    month_images: int | None = None
    updated_at: datetime = Field(default_factory=utc_now, sa_column=_time())


class AuditEntry(Table, table=True):
    """An entry of the audit log. Triggers in the database prevent changing or deleting a row.

    - `actor_id`, `actor_name`: the user who acted. `actor_id` is NULL if no user was signed in.
    - `subject`: the username, id or name of what the action affected.
    - `address`, `browser`, `request_id`: the client that sent the request.
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
    """The number of times that the error with this code occurred in the hour that begins at `hour`."""

    __tablename__ = "failures"
    code: str = Field(sa_column=Column(String(32), primary_key=True))
    hour: datetime = Field(sa_column=Column(UtcDateTime, primary_key=True))
    count: int = 0
