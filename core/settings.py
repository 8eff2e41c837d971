"""All settings, with their types and limits. They are read from the environment and the file `.env`."""

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

from core.common.service_settings import (
    MIN_MASKED_LENGTH,
    ServiceSettings,
    clean_base_url,
    has_user,
    is_host,
    is_ip,
    origin,
    password_in,
    read_headers,
    split_hosts,
)
from core.errors import ApiKeyMalformed, SettingsError

ENV_FILE = Path(".env")
DRIVERS = ("sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg")
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?")
_PATH_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
# A proxy may remove BASE_PATH. Below one of these, it would then be unclear whether that has happened.
_OWN_PATHS = ("_stcore", "api", "auth", "static")
Seconds = Annotated[float, Field(gt=0, le=3600)]
Dollars = Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=6)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
DEFAULT_IMAGE_MODEL = "gpt-image-2.6-flare"
DEFAULT_TEXT_MODEL = "gpt-6-luna"
OFFLINE_IMAGE_MODEL = "offline-painter"
OFFLINE_TEXT_MODEL = "offline-writer"


class RegistrationMode(StrEnum):
    OPEN = "open"
    INVITE = "invite"
    CLOSED = "closed"


class Moderation(StrEnum):
    AUTO = "auto"
    ON = "on"
    OFF = "off"


class Settings(BaseSettings):
    """The settings of one process.

    Each field is read from the environment variable with the field's name in capitals: `data_dir` from
    DATA_DIR. docs/settings.md is generated from the fields' descriptions by `make settings`. A new setting
    also needs a line in .env.example and an example in tests/contracts/test_settings.py.
    """

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    # Where Atelier listens
    host: str = Field(
        "127.0.0.1",
        description="Address to listen on. `127.0.0.1` admits only this computer; `0.0.0.0` admits the whole "
        "network",
    )
    port: int = Field(8501, ge=1, le=65535, description="Port to listen on")
    allowed_hosts: str | None = Field(
        None,
        description="Host names that Atelier answers to besides `localhost`, separated by commas; `*` stands "
        "for every name. If unset: only `localhost` when `HOST` is a loopback address and `PUBLIC_HTTPS` is "
        "off, otherwise every name",
    )
    base_path: str = Field(
        "",
        description="Path below which people reach Atelier, such as `/atelier`, if it shares its host with "
        "other applications. The proxy may pass it on or remove it. If unset: Atelier has a host of its own",
    )
    public_https: bool = Field(
        False,
        description="`true` if people reach Atelier over HTTPS through a proxy. Cookies are then marked "
        "Secure, and browsers are told to stay on HTTPS",
    )
    trusted_proxies: str | None = Field(
        None,
        description="IP addresses or networks of the proxies in front of Atelier, separated by commas, such "
        "as `10.0.0.7` or `10.0.0.0/8`. `X-Forwarded-For` and `X-Forwarded-Proto` are honoured only from "
        "these. If unset: never",
    )

    # Where data is kept
    data_dir: Path = Field(Path("data"), description="Folder for the database and the images")
    spool_dir: Path | None = Field(
        None,
        description="Folder on a local disk in which the service's responses are kept while they arrive. It "
        "must outlast a restart. If unset: the folder `spool` in `DATA_DIR`",
    )
    database_url: str | None = Field(
        None,
        description="SQLAlchemy URL of the database, `sqlite:///…` or `postgresql://…`. If unset: the SQLite "
        "file `atelier.db` in `DATA_DIR`",
    )
    storage_url: str | None = Field(
        None,
        description="S3 bucket to keep images in, as `s3://bucket` or `s3://bucket/prefix`. If unset: the "
        "folder `files` in `DATA_DIR`",
    )
    aws_endpoint_url: str | None = Field(
        None,
        description="Address of the bucket's server, such as `http://minio:9000`. If unset: AWS. Used only "
        "with `STORAGE_URL`, like the other `AWS_` settings",
    )
    aws_region: str | None = Field(None, description="Region of the bucket. If unset: `us-east-1`")
    aws_access_key_id: SecretStr | None = Field(
        None,
        description="Access key ID for the bucket; set it together with `AWS_SECRET_ACCESS_KEY`. If both are "
        "unset: the role of the AWS machine, which is looked up at AWS's metadata address and is only "
        "available on AWS",
    )
    aws_secret_access_key: SecretStr | None = Field(None, description="Secret access key for the bucket")
    log_level: str = Field(
        "INFO",
        pattern="^(DEBUG|INFO|WARNING|ERROR)$",
        description="Least severe level that is written to the log",
    )

    # People
    registration: RegistrationMode | None = Field(
        None,
        description="Who may create an account: `open` (everybody), `invite` (people with an invitation from "
        "an administrator) or `closed` (nobody). The first account can always be created, and becomes the "
        "administrator. If unset: `open` when only this computer can reach Atelier, otherwise `invite`",
    )
    session_days: int = Field(
        30, ge=1, le=365, description="Days until somebody who doesn't use Atelier is signed out"
    )
    trash_days: int = Field(30, ge=1, le=3650, description="Days for which a deleted image can be restored")

    # The image service
    openai_api_key: SecretStr | None = Field(
        None,
        description="API key for the image service. If neither this nor `OPENAI_BASE_URL` is set, the "
        "offline engine creates the images",
    )
    openai_base_url: str | None = Field(
        None,
        description="Base URL of an OpenAI-compatible service, such as `http://localhost:8080/v1`. A query, "
        "such as Azure's `?api-version=…`, becomes part of each request. A user name and password in it are "
        "sent in place of `OPENAI_API_KEY`, which must then be unset. If unset: OpenAI itself",
    )
    extra_headers: SecretStr | None = Field(
        None,
        description="Further headers of each request to the service: lines of the form `Name: value`, or a "
        "JSON object. They are never sent to `IMAGE_HOSTS`",
    )
    text_base_url: str | None = Field(
        None,
        description="Base URL of the service that enhances prompts, if it isn't the image service",
    )
    text_api_key: SecretStr | None = Field(
        None,
        description="API key for the service that enhances prompts. If unset: `OPENAI_API_KEY`, but no "
        "key if `TEXT_BASE_URL` is at another host or port",
    )
    text_extra_headers: SecretStr | None = Field(
        None,
        description="Further headers of each request to the service that enhances prompts. If unset: "
        "`EXTRA_HEADERS`, but none if `TEXT_BASE_URL` is at another host or port",
    )
    image_hosts: str | None = Field(
        None,
        description="Further hosts that images may be downloaded from when the service answers with a link "
        "instead of an image, separated by commas. `pictures.example` is a public host at its usual port; "
        "`minio:9000` is exactly this host and port, which may be private and without TLS. Neither the API "
        "key nor `EXTRA_HEADERS` is sent there. If unset: only the service's own host",
    )
    image_model: str | None = Field(
        None,
        description=f"Image model that is chosen at first. If unset: `{DEFAULT_IMAGE_MODEL}`. The offline "
        "engine ignores it",
    )
    text_model: str | None = Field(
        None,
        description=f"Model that enhances prompts. If unset: `{DEFAULT_TEXT_MODEL}`. The offline engine "
        "ignores it",
    )
    moderation: Moderation = Field(
        Moderation.AUTO,
        description="Whether the service's free moderation checks each prompt before anything is paid: `on`, "
        "`off`, or `auto` (on when OpenAI itself is the service)",
    )
    connect_timeout: Seconds = Field(10, description="Seconds to wait for a connection to the service")
    text_timeout: Seconds = Field(
        60,
        description="Seconds to wait for the first word of an enhanced prompt, and from each word to the "
        "next. The whole prompt may take ten times as long",
    )
    image_timeout: Seconds = Field(
        300,
        description="Seconds to wait for an image. An answer that comes up to an hour later is kept, too",
    )
    partial_images: int | None = Field(
        None,
        ge=0,
        le=3,
        description="Previews to show while an image is being generated; the service charges a little for "
        "each. `0` asks for none. If unset: 1 from OpenAI itself and from the offline engine, and none from "
        "another service, because some charge for an image and then can't stream it",
    )
    resend_unknown: bool = Field(
        False,
        description="`true` to send a call once more by itself when its outcome is unknown and the user's "
        "budget covers it. The service may then charge twice. With `false`, the user decides",
    )

    # How much work is done at once
    concurrency: int = Field(
        4, ge=1, le=64, description="Maximum number of images generated at the same time"
    )
    user_concurrency: int = Field(
        4, ge=1, le=64, description="Maximum number of images generated at the same time for one user"
    )
    requests_per_minute: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Maximum number of image requests that are sent to the service per minute. `0` means "
        "no limit",
    )
    shutdown_grace: float = Field(
        120,
        ge=0,
        le=3600,
        description="Seconds that running generations get to finish when Atelier is stopped",
    )

    # Budgets and limits
    budget_day_usd: Dollars | None = Field(
        None,
        description="US dollars that each user may spend per day, enhanced prompts included. Days and months "
        "are those of UTC. An administrator can set another budget for one user. If unset: no limit",
    )
    budget_month_usd: Dollars | None = Field(
        None, description="US dollars that each user may spend per month. If unset: no limit"
    )
    budget_day_images: Count | None = Field(
        None, description="Images that each user may generate per day. If unset: no limit"
    )
    budget_month_images: Count | None = Field(
        None, description="Images that each user may generate per month. If unset: no limit"
    )
    max_images: int = Field(
        10, ge=1, le=10, description="Maximum number of images of one prompt per click on Generate"
    )
    max_batch: int = Field(
        100,
        ge=1,
        le=1000,
        description="Maximum number of images per click on Generate when the text stands for many prompts",
    )
    max_upload_mb: int = Field(20, ge=1, le=50, description="Maximum size of an uploaded image, in MB")
    user_reads_per_minute: int = Field(
        600,
        ge=1,
        le=1_000_000,
        description="Maximum number of API requests that only read, per user and minute",
    )
    user_paid_per_minute: int = Field(
        60,
        ge=1,
        le=1_000_000,
        description="Maximum number of API requests that cost money or change something, per user and minute",
    )
    token_reads_per_minute: int = Field(
        300,
        ge=1,
        le=1_000_000,
        description="Maximum number of API requests that only read, per API token and minute",
    )
    token_paid_per_minute: int = Field(
        30,
        ge=1,
        le=1_000_000,
        description="Maximum number of API requests that cost money or change something, per API token and "
        "minute",
    )

    @field_validator("openai_api_key", "text_api_key", mode="after")
    @classmethod
    def _clean_key(cls, key: SecretStr | None) -> SecretStr | None:
        """Return the key without white space around it, or None if the key is empty.

        A pasted key often ends in a newline, which isn't allowed in an HTTP header. Raises ValueError if the
        key has characters that can't be in a key.
        """
        if key is None or not (text := key.get_secret_value().strip()):
            return None
        if not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError("contains characters that can't be in a key; copy it again")
        return SecretStr(text)

    @field_validator("base_path", mode="after")
    @classmethod
    def _check_base_path(cls, path: str) -> str:
        parts = path.strip().strip("/").split("/")
        if parts == [""]:
            return ""
        if not all(_PATH_PART.fullmatch(part) for part in parts):
            raise ValueError(
                "must be a path such as /atelier, of letters, digits, dots, dashes or underscores"
            )
        if parts[0] in _OWN_PATHS:
            raise ValueError(f"can't begin with /{parts[0]}, which is a path of Atelier itself")
        return "/" + "/".join(parts)

    @field_validator("trusted_proxies", mode="after")
    @classmethod
    def _check_proxies(cls, networks: str | None) -> str | None:
        if not all(_is_network(network) for network in _split_names(networks)):
            raise ValueError("must be addresses such as 10.0.0.7 or networks such as 10.0.0.0/8")
        return networks

    @field_validator("allowed_hosts", mode="after")
    @classmethod
    def _check_hosts(cls, names: str | None) -> str | None:
        if any(re.search(r"[:/@\s]", name) and not is_ip(name) for name in _split_names(names)):
            raise ValueError("must be host names separated by commas, without port or path")
        return names

    @field_validator("image_hosts", mode="after")
    @classmethod
    def _check_image_hosts(cls, hosts: str | None) -> str | None:
        if not all(map(is_host, split_hosts(hosts))):
            raise ValueError("must be hosts separated by commas, such as pictures.example or minio:9000")
        return hosts

    @field_validator("openai_base_url", "text_base_url", mode="after")
    @classmethod
    def _clean_base_url(cls, url: str | None) -> str | None:
        url = url.strip() if url else None
        return clean_base_url(url) if url else None

    @field_validator("extra_headers", "text_extra_headers", mode="after")
    @classmethod
    def _check_headers(cls, headers: SecretStr | None) -> SecretStr | None:
        read_headers(_secret_value(headers))
        return headers

    @model_validator(mode="after")
    def _check_credentials(self) -> Self:
        self.image_service.check_credentials()
        self.text_service.check_credentials()
        return self

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
            # Don't chain SQLAlchemy's error: its message may contain the password.
            raise ValueError("isn't a valid database URL") from None
        if address.drivername not in DRIVERS:
            raise ValueError("must begin with sqlite:/// or postgresql://")
        if address.get_backend_name() == "sqlite" and address.database in (None, "", ":memory:"):
            raise ValueError("must name a file: a database in memory is lost when Atelier stops")
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
        """Check the `AWS_` settings if STORAGE_URL is set.

        If STORAGE_URL isn't set, the `AWS_` variables may be meant for other programs.
        """
        if self.storage_url is None:
            return self
        if (self.aws_access_key_id is None) != (self.aws_secret_access_key is None):
            raise ValueError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set together or not at all")
        for name in ("aws_access_key_id", "aws_secret_access_key", "aws_region"):
            if not _is_one_word(getattr(self, name)):
                raise ValueError(
                    f"{name.upper()} contains characters that aren't allowed in it; copy it again"
                )
        if self.aws_endpoint_url and not _is_plain_address(self.aws_endpoint_url):
            raise ValueError("AWS_ENDPOINT_URL must be an http:// or https:// address without a password")
        return self

    @property
    def image_service(self) -> ServiceSettings:
        headers = read_headers(_secret_value(self.extra_headers))
        return ServiceSettings(self.openai_base_url, _secret_value(self.openai_api_key), headers)

    @property
    def text_service(self) -> ServiceSettings:
        """The service that enhances prompts: the image service, unless TEXT_BASE_URL or TEXT_API_KEY is set.

        The image service's key and headers aren't sent to another scheme, host or port, because they may be
        secrets between this installation and that service.
        """
        image, url, key = self.image_service, self.text_base_url, _secret_value(self.text_api_key)
        trusted = url is None or (origin(url) == origin(image.base_url) and not has_user(url))
        inherited = image if trusted else ServiceSettings()
        headers = read_headers(_secret_value(self.text_extra_headers))
        return ServiceSettings(
            url or image.base_url,
            key or inherited.api_key,
            headers or inherited.headers,
            url_variable="TEXT_BASE_URL" if url else image.url_variable,
            key_variable="TEXT_API_KEY" if key or not trusted else image.key_variable,
            headers_variable="TEXT_EXTRA_HEADERS" if headers or not trusted else image.headers_variable,
        )

    @property
    def offline(self) -> bool:
        """Whether the offline engine creates the images.

        True if neither OPENAI_API_KEY nor OPENAI_BASE_URL is set.
        """
        return self.openai_api_key is None and self.openai_base_url is None

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the keys and passwords in the settings, which must be masked in the log.

        Texts that are shorter than MIN_MASKED_LENGTH are left out.
        """
        bucket = map(_secret_value, (self.aws_access_key_id, self.aws_secret_access_key))
        services = (*self.image_service.secrets, *self.text_service.secrets)
        found = dict.fromkeys((*services, *bucket, password_in(self.database_url)))
        return tuple(secret for secret in found if len(secret) >= MIN_MASKED_LENGTH)

    @property
    def allows_replicas(self) -> bool:
        """Whether several processes may share the installation: True with PostgreSQL and an S3 bucket."""
        engine = make_url(self.database_url).get_backend_name() if self.database_url else "sqlite"
        return engine == "postgresql" and self.storage_url is not None

    @property
    def default_image_model(self) -> str:
        return OFFLINE_IMAGE_MODEL if self.offline else self.image_model or DEFAULT_IMAGE_MODEL

    @property
    def default_text_model(self) -> str:
        return OFFLINE_TEXT_MODEL if self.text_service.offline else self.text_model or DEFAULT_TEXT_MODEL

    @property
    def effective_registration(self) -> RegistrationMode:
        if self.registration is not None:
            return self.registration
        return RegistrationMode.OPEN if self.is_private else RegistrationMode.INVITE

    @property
    def is_private(self) -> bool:
        """Whether only this computer can reach Atelier.

        True if HOST is a loopback address and PUBLIC_HTTPS is off. PUBLIC_HTTPS means that a proxy makes
        Atelier public.
        """
        return is_loopback(self.host) and not self.public_https

    @property
    def served_hosts(self) -> frozenset[str]:
        """Return the host names that a request may have, in addition to the loopback names.

        `*` stands for every name.
        """
        if self.allowed_hosts is None:
            return frozenset() if self.is_private else frozenset("*")
        return frozenset(_split_names(self.allowed_hosts))

    @property
    def trusted_networks(self) -> tuple[str, ...]:
        """Return the addresses and networks of the proxies whose `X-Forwarded-*` headers are honoured."""
        return tuple(_split_names(self.trusted_proxies))

    @property
    def image_download_hosts(self) -> frozenset[str]:
        """Return the hosts from which images may be downloaded, in addition to the image service's host.

        Each is `host` or `host:port`. An IPv6 address has brackets only if a port follows it.
        """
        return frozenset(split_hosts(self.image_hosts))


def _split_names(names: str | None) -> list[str]:
    """Return the names in the comma-separated list `names`.

    The names are in lower case, without brackets and final dots. Empty names are left out.
    """
    folded = (name.strip().strip("[]").rstrip(".").lower() for name in (names or "").split(","))
    return [name for name in folded if name]


def _secret_value(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


def _is_one_word(value: SecretStr | str | None) -> bool:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value or ""
    return text.isascii() and " " not in text and (not text or text.isprintable())


def _is_plain_address(url: str) -> bool:
    """Whether `url` is an HTTP or HTTPS URL without user, password, query or fragment."""
    try:
        address = urlsplit(url)
        _ = address.port
    except ValueError:
        return False
    more = "@" in address.netloc or address.query or address.fragment
    return address.scheme in ("http", "https") and bool(address.hostname) and not more


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether `host` is a loopback address or "localhost", which only this machine can reach."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def is_unspecified(host: str) -> bool:
    """Whether `host` is an address such as 0.0.0.0, which stands for every address of this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return False


def _check_env_file() -> None:
    """Raise SettingsError if `.env` is a folder or has a line that can't be read.

    The parser itself would silently skip such a line.
    """
    if ENV_FILE.is_dir():
        raise SettingsError("The file .env is a folder. Rename or remove it.")
    if ENV_FILE.is_file():
        with ENV_FILE.open(encoding="utf-8") as lines:
            wrong = next((line for line in parse_stream(lines) if line.error), None)
        if wrong:
            raise SettingsError(f"The file .env can't be read from line {wrong.original.line} on.")


def load_settings(**overrides: Any) -> Settings:
    """Return the settings, read from the environment and the file `.env`.

    A variable in the environment takes precedence over `.env`, and `overrides` take precedence over both.
    Raises SettingsError if a setting is wrong. The error names every wrong variable but no value, because a
    value may be a secret.
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
