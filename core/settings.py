"""Every setting, read once from the environment and `.env`, typed and bounded."""

from __future__ import annotations

import ipaddress
import re
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from dotenv.parser import parse_stream
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from core.errors import ApiKeyMalformed, SettingsError

ENV_FILE = Path(".env")
# A shorter one would be found within ordinary words.
_SHORTEST_SECRET = 6
DRIVERS = ("sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg")
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?")
Seconds = Annotated[float, Field(gt=0, le=3600)]
Dollars = Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=6)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
DEFAULT_IMAGE_MODEL = "gpt-image-2.6-flare"
DEFAULT_TEXT_MODEL = "gpt-6-luna"
OFFLINE_IMAGE_MODEL = "offline-painter"
OFFLINE_TEXT_MODEL = "offline-writer"


class Registration(StrEnum):
    OPEN = "open"
    INVITE = "invite"
    CLOSED = "closed"


class Moderation(StrEnum):
    AUTO = "auto"
    ON = "on"
    OFF = "off"


class Settings(BaseSettings):
    """The settings of one process. Variables are the field names in capitals, such as `DATA_DIR`."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    host: str = Field("127.0.0.1", description="Address to listen on")
    port: int = Field(8501, ge=1, le=65535, description="Port to listen on")
    data_dir: Path = Field(Path("data"), description="Folder for the database and the images")
    allowed_hosts: str | None = Field(
        None,
        description="Names the app answers to besides `localhost`, comma-separated; `*` is any name, "
        "and the default unless the app is for this computer alone",
    )
    database_url: str | None = Field(
        None, description="SQLAlchemy URL; by default a SQLite file in `DATA_DIR`"
    )
    storage_url: str | None = Field(
        None,
        description="`s3://bucket` or `s3://bucket/prefix` to keep images in; by default a folder in "
        "`DATA_DIR`",
    )
    aws_endpoint_url: str | None = Field(
        None, description="Address of the bucket's server if it isn't AWS, such as `http://minio:9000`"
    )
    aws_region: str | None = Field(None, description="Region of the bucket; by default `us-east-1`")
    aws_access_key_id: SecretStr | None = Field(
        None,
        description="Access key ID for the bucket. Without it and its secret, the machine's role is asked "
        "for (by calls to the address of AWS's metadata service, where nothing answers outside AWS)",
    )
    aws_secret_access_key: SecretStr | None = Field(None, description="Secret access key for the bucket")
    registration: Registration | None = Field(
        None,
        description="`open`, `invite` or `closed`; by default `open` where only this computer can reach the "
        "app, otherwise `invite`",
    )
    session_days: int = Field(30, ge=1, le=365, description="Days a sign-in lasts without being used")
    public_https: bool = Field(
        False,
        description="`true` when people reach the app over HTTPS, through a proxy (cookies become Secure, "
        "and browsers stay on HTTPS)",
    )
    trusted_proxies: str | None = Field(
        None,
        description="Addresses or networks of the proxies in front of the app, comma-separated. "
        "`X-Forwarded-For` and `X-Forwarded-Proto` are believed only from them",
    )
    openai_api_key: SecretStr | None = Field(
        None,
        description="API key for the image service; without key or base URL, the offline engine is used",
    )
    openai_base_url: str | None = Field(None, description="Address of an OpenAI-compatible service")
    image_hosts: str | None = Field(
        None,
        description="Other hosts that the service's pictures may be fetched from when it answers with an "
        "address, comma-separated; always without the key",
    )
    image_model: str | None = Field(None, description="Default image model")
    text_model: str | None = Field(None, description="Model that enhances prompts")
    moderation: Moderation = Field(
        Moderation.AUTO,
        description="Whether the service's free moderation checks a prompt before it is paid for: `auto` "
        "(where OpenAI itself answers), `on` or `off`",
    )
    connect_timeout: Seconds = Field(10, description="Seconds to wait for a connection")
    text_timeout: Seconds = Field(60, description="Seconds to wait for an enhancement")
    image_timeout: Seconds = Field(300, description="Seconds to wait for an image")
    partial_images: int = Field(
        1, ge=0, le=3, description="Previews requested while an image is made; each adds to its price"
    )
    shutdown_grace: float = Field(
        120,
        ge=0,
        le=3600,
        description="Seconds that images being made have to finish when the app is stopped",
    )
    concurrency: int = Field(4, ge=1, le=64, description="Images made at the same time")
    user_concurrency: int = Field(4, ge=1, le=64, description="Images made at the same time per user")
    requests_per_minute: int = Field(
        0, ge=0, le=100_000, description="Maximum number of image requests sent per minute; 0 for no limit"
    )
    budget_day_usd: Dollars | None = Field(
        None,
        description="USD that each user may spend per day (UTC), enhancements included; unset: no limit",
    )
    budget_month_usd: Dollars | None = Field(None, description="The same per month (UTC)")
    budget_day_images: Count | None = Field(
        None, description="Images that each user may have made per day (UTC); unset: no limit"
    )
    budget_month_images: Count | None = Field(None, description="The same per month (UTC)")
    resend_unknown: bool = Field(
        False,
        description="`true` to send a call once more when its outcome is unknown, if the budgets cover it; "
        "it may then be charged twice",
    )
    max_images: int = Field(10, ge=1, le=10, description="Maximum number of images per generation")
    max_batch: int = Field(
        100, ge=1, le=1000, description="Maximum number of images per batch of many prompts"
    )
    max_upload_mb: int = Field(20, ge=1, le=50, description="Maximum size of an uploaded picture, in MB")
    user_reads_per_minute: int = Field(
        600,
        ge=1,
        le=1_000_000,
        description="API requests that only read, per user and minute",
    )
    user_paid_per_minute: int = Field(
        60,
        ge=1,
        le=1_000_000,
        description="API requests that buy or change something, per user and minute",
    )
    token_reads_per_minute: int = Field(
        300, ge=1, le=1_000_000, description="API requests that only read, per token and minute"
    )
    token_paid_per_minute: int = Field(
        30, ge=1, le=1_000_000, description="API requests that buy or change something, per token and minute"
    )
    trash_days: int = Field(30, ge=1, le=3650, description="Days a deleted image can be restored")
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Lowest level logged")

    @field_validator("openai_api_key", mode="after")
    @classmethod
    def _clean_key(cls, key: SecretStr | None) -> SecretStr | None:
        """A pasted key often ends in a newline, which no HTTP header can carry."""
        if key is None or not (text := key.get_secret_value().strip()):
            return None
        if not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError("contains characters that can't be in a key; copy it again")
        return SecretStr(text)

    @field_validator("trusted_proxies", mode="after")
    @classmethod
    def _check_proxies(cls, places: str | None) -> str | None:
        if not all(_is_network(place) for place in _listed(places)):
            raise ValueError("must be addresses such as 10.0.0.7 or networks such as 10.0.0.0/8")
        return places

    @field_validator("allowed_hosts", "image_hosts", mode="after")
    @classmethod
    def _check_hosts(cls, names: str | None) -> str | None:
        if any(re.search(r"[:/@\s]", name) and not _is_ip(name) for name in _listed(names)):
            raise ValueError("must be comma-separated names, without port or path")
        return names

    @field_validator("openai_base_url", mode="after")
    @classmethod
    def _check_base_url(cls, url: str | None) -> str | None:
        url = url.strip() if url else None
        if url and not url.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        try:
            _ = urlsplit(url or "").port
        except ValueError:
            # Not chained: the message may repeat a password.
            raise ValueError("has an invalid port") from None
        return url or None

    @field_validator("registration", "log_level", "moderation", mode="before")
    @classmethod
    def _fold_case(cls, value: Any, info: Any) -> Any:
        if not isinstance(value, str):
            return value
        return value.strip().upper() if info.field_name == "log_level" else value.strip().lower()

    @field_validator("database_url", mode="after")
    @classmethod
    def _check_database_url(cls, url: str | None) -> str | None:
        if not url:
            return None
        try:
            address = make_url(url)
        except (ArgumentError, ValueError):
            # Not chained: SQLAlchemy's message may repeat the password.
            raise ValueError("isn't a valid database URL") from None
        if address.drivername not in DRIVERS:
            raise ValueError("must begin with sqlite:/// or postgresql://")
        if address.get_backend_name() == "sqlite" and address.database in (None, "", ":memory:"):
            raise ValueError("must name a file: a database in memory would be lost")
        return url

    @field_validator(
        "storage_url",
        "aws_endpoint_url",
        "aws_region",
        "aws_access_key_id",
        "aws_secret_access_key",
        mode="before",
    )
    @classmethod
    def _strip(cls, value: Any) -> Any:
        return value.strip() or None if isinstance(value, str) else value

    @field_validator("storage_url", mode="after")
    @classmethod
    def _check_storage_url(cls, url: str | None) -> str | None:
        if url and not _BUCKET.fullmatch(url):
            raise ValueError("must be s3://bucket or s3://bucket/prefix")
        return url

    @model_validator(mode="after")
    def _check_bucket(self) -> Self:
        """Only with a bucket: these variables may be other programs', and keep nobody from starting."""
        if self.storage_url is None:
            return self
        if (self.aws_access_key_id is None) != (self.aws_secret_access_key is None):
            raise ValueError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set together or not at all")
        for name in ("aws_access_key_id", "aws_secret_access_key", "aws_region"):
            if not _is_one_word(getattr(self, name)):
                raise ValueError(f"{name.upper()} contains characters that it can't have; copy it again")
        if self.aws_endpoint_url and not _is_plain_address(self.aws_endpoint_url):
            raise ValueError("AWS_ENDPOINT_URL must be an http:// or https:// address without a password")
        return self

    @property
    def offline(self) -> bool:
        """Whether the offline engine answers instead of a service."""
        return self.openai_api_key is None and self.openai_base_url is None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no log line may hold, whatever it looks like."""
        keys = (self.openai_api_key, self.aws_access_key_id, self.aws_secret_access_key)
        addresses = (self.database_url, self.openai_base_url)
        passwords = (_password_in(address) for address in addresses)
        found = (*(key.get_secret_value() for key in keys if key), *passwords)
        return tuple(secret for secret in found if len(secret) >= _SHORTEST_SECRET)

    @property
    def shared(self) -> bool:
        """Whether other processes may do the same work beside this one: all of them reach rows and files."""
        engine = make_url(self.database_url).get_backend_name() if self.database_url else "sqlite"
        return engine == "postgresql" and self.storage_url is not None

    @property
    def default_image_model(self) -> str:
        return OFFLINE_IMAGE_MODEL if self.offline else self.image_model or DEFAULT_IMAGE_MODEL

    @property
    def default_text_model(self) -> str:
        return OFFLINE_TEXT_MODEL if self.offline else self.text_model or DEFAULT_TEXT_MODEL

    @property
    def who_may_register(self) -> Registration:
        if self.registration is not None:
            return self.registration
        return Registration.OPEN if self.is_private else Registration.INVITE

    @property
    def is_private(self) -> bool:
        """Whether only this machine can reach the app: a proxy makes a loopback address public."""
        return is_loopback(self.host) and not self.public_https

    @property
    def served_hosts(self) -> frozenset[str]:
        """The names besides loopback's that a request may be addressed to; `*` among them means any."""
        if self.allowed_hosts is None:
            return frozenset() if self.is_private else frozenset("*")
        return frozenset(_listed(self.allowed_hosts))

    @property
    def proxies(self) -> tuple[str, ...]:
        """Whose word on where a request comes from is believed."""
        return tuple(_listed(self.trusted_proxies))

    @property
    def picture_hosts(self) -> frozenset[str]:
        """The names of other hosts that pictures may be fetched from."""
        return frozenset(_listed(self.image_hosts))


def _listed(names: str | None) -> list[str]:
    """The names in a comma list, as a request's host is compared with them."""
    folded = (name.strip().strip("[]").rstrip(".").lower() for name in (names or "").split(","))
    return [name for name in folded if name]


def _password_in(address: str | None) -> str:
    """The password that stands in an address, as it is written there."""
    return urlsplit(address or "").netloc.rpartition("@")[0].partition(":")[2]


def _is_one_word(value: SecretStr | str | None) -> bool:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value or ""
    return text.isascii() and " " not in text and (not text or text.isprintable())


def _is_plain_address(url: str) -> bool:
    """Whether it is a web address with neither a password nor a query."""
    try:
        address = urlsplit(url)
        _ = address.port
    except ValueError:
        return False
    more = "@" in address.netloc or address.query or address.fragment
    return address.scheme in ("http", "https") and bool(address.hostname) and not more


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_network(place: str) -> bool:
    try:
        ipaddress.ip_network(place)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def is_any(host: str) -> bool:
    """Whether `host` stands for every address of this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return False


def _check_env_file() -> None:
    """Raise SettingsError for lines that would be left out silently, such as a quote that isn't closed."""
    if ENV_FILE.is_dir():
        raise SettingsError("The file .env is a folder. Move it aside.")
    if ENV_FILE.is_file():
        with ENV_FILE.open(encoding="utf-8") as lines:
            wrong = next((found for found in parse_stream(lines) if found.error), None)
        if wrong:
            raise SettingsError(f"The file .env can't be read from line {wrong.original.line} on.")


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment, `overrides` first.

    Raises SettingsError naming every wrong variable; never repeats its value, which may be a secret.
    """
    try:
        _check_env_file()
        return Settings(**overrides)
    except ValidationError as error:
        wrong = (
            f"{'.'.join(str(part) for part in item['loc']).upper() or 'Settings'}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)
        )
        key_alone = all(item["loc"] == ("openai_api_key",) for item in error.errors())
        kind = ApiKeyMalformed if key_alone else SettingsError
        raise kind("A setting is wrong: " + "; ".join(wrong) + ".") from error
    except UnicodeDecodeError as error:
        raise SettingsError("The file .env isn't UTF-8 text.") from error
