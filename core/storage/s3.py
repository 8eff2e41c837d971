"""File storage in an S3 bucket, which several replicas of the app can share."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import uuid4

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, S3Store

from core import errors
from core.settings import Settings
from core.storage.storage import Storage, check_key

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

# Limits for requests that a page waits for: for connecting, for a pause in the response, and in total.
_CONNECT_TIMEOUT, _READ_TIMEOUT, _TOTAL_TIMEOUT = (
    timedelta(seconds=3),
    timedelta(seconds=5),
    timedelta(seconds=30),
)
# The limit for storing a paid image, even over a slow line. No page waits for it.
_PUT_TIMEOUT = timedelta(seconds=120)
_RETRY: RetryConfig = {
    "max_retries": 2,
    "retry_timeout": _CONNECT_TIMEOUT,
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=1),
        "base": 2,
    },
}
# This is also obstore's default.
_DEFAULT_REGION = "us-east-1"
_DELETES_AT_ONCE = 16
_PROBE = b"probe"
# Environment variables for the credentials of an AWS machine's role. Used only if no access key is set.
_ROLE_VARIABLES = (
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)

# obstore reports the server's status and error code, or a connection failure, only in its error text.
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,64})</Code>")
_CAUSE = re.compile(r'kind: (\w+)|(?:message|error): "([^"\\]{1,200})"')
_REDIRECT = "Received redirect"
_REFUSED = (401, 403)
_INSUFFICIENT_STORAGE = 507
_ADVICE = ("Ask your administrator to check the bucket and the permissions of its keys.",)
_START_MESSAGES = {
    "NoSuchBucket": "There is no bucket {name} at {server}. Create it, or set STORAGE_URL to another.",
    "InvalidAccessKeyId": "The bucket {name} at {server} doesn't know the key in AWS_ACCESS_KEY_ID.",
    "SignatureDoesNotMatch": "The bucket {name} at {server} doesn't accept the key in AWS_SECRET_ACCESS_KEY.",
    "AccessDenied": "The bucket {name} at {server} doesn't let these keys list, read, write and delete.",
    "AuthorizationHeaderMalformed": "The bucket {name} isn't in the region {region}. Set AWS_REGION.",
    "PermanentRedirect": "The bucket {name} isn't in the region {region}. Set AWS_REGION.",
}
_OTHER_START_MESSAGE = "The bucket {name} at {server} can't be used. Check it, AWS_ENDPOINT_URL and the keys."


class S3Storage(Storage):
    """Stores files in an S3 bucket. A file is complete and durable once the server has confirmed it.

    `url` is `s3://bucket` or `s3://bucket/prefix`. The prefix is put before every key. Raises FileMissing
    only if the server says that there is no such file. Raises StorageFull if the server is full,
    StorageReadOnly if it rejects the access keys, and StorageUnreachable for other failures. All of these
    except FileMissing may be temporary.
    """

    def __init__(self, url: str, config: S3Config) -> None:
        address = urlsplit(url)
        self._bucket, self._prefix = address.netloc, address.path.strip("/") or None
        self._config = config
        self._patient = self._connect({"timeout": _PUT_TIMEOUT})
        super().__init__(self._connect({"read_timeout": _READ_TIMEOUT, "timeout": _TOTAL_TIMEOUT}))

    def _connect(self, limits: ClientConfig) -> S3Store:
        options: ClientConfig = {"connect_timeout": _CONNECT_TIMEOUT, **limits}
        if self._config.get("endpoint", "").startswith("http://"):
            options["allow_http"] = True
        with _aws_variables_hidden(keep=() if "access_key_id" in self._config else _ROLE_VARIABLES):
            return S3Store(
                self._bucket,
                prefix=self._prefix,
                config=self._config,
                client_options=options,
                retry_config=_RETRY,
            )

    def put(self, key: str, data: bytes) -> None:
        self._send(self._patient, key, data)

    def put_preview(self, key: str, data: bytes) -> None:
        self._send(self._store, key, data)

    def _send(self, store: ObjectStore, key: str, data: bytes) -> None:
        check_key(key)
        with self._translated():
            # Not multipart: the server checks the hash, and a crash leaves no parts that cost money.
            obstore.put(store, key, data, use_multipart=False)

    def size(self, key: str) -> int:
        """Return the size in bytes of the file under `key`.

        Sends GET, because a response to HEAD doesn't say whether the file or the whole bucket is missing.
        """
        check_key(key)
        with self._translated():
            return obstore.get(self._store, key).meta["size"]

    def delete(self, *keys: str) -> None:
        for key in keys:
            check_key(key)
        with ThreadPoolExecutor(_DELETES_AT_ONCE) as threads:
            list(threads.map(self._delete_one, keys))

    def _delete_one(self, key: str) -> None:
        with suppress(errors.FileDamaged), self._translated():
            obstore.delete(self._store, key)

    def check_access(self) -> None:
        """Check that a test file can be stored, read, listed and deleted.

        After that, ask for the deleted file. Raises StorageError if one of these requests fails.
        """
        key = f"probe/{uuid4().hex}"
        self.put_preview(key, _PROBE)
        try:
            if self.get(key) != _PROBE:  # as from a server with one response for all
                raise errors.StorageUnreachable(details="the stored file was not returned")
            self.list("probe")
        finally:
            self.delete(key)
        self.exists(key)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            # Don't chain the error: its text may contain key IDs and signatures.
            raise _translate(str(error)) from None


def open_s3(settings: Settings) -> S3Storage:
    """Return the storage in the bucket of STORAGE_URL, after a check of the access to the bucket.

    Raises StorageError if the check fails. The error's message says what to fix.
    """
    storage = S3Storage(settings.storage_url or "", config_of(settings))
    try:
        storage.check_access()
    except errors.StorageError as error:
        raise _start_error(settings, error) from None
    return storage


def config_of(settings: Settings) -> S3Config:
    """Return the options for obstore's S3Store that follow from the settings.

    Options that aren't returned keep obstore's defaults.
    """
    config: S3Config = {"region": settings.aws_region or _DEFAULT_REGION, "disable_bulk_delete": True}
    if settings.aws_endpoint_url:
        config["endpoint"] = settings.aws_endpoint_url.rstrip("/")
    if settings.aws_access_key_id and settings.aws_secret_access_key:
        config["access_key_id"] = settings.aws_access_key_id.get_secret_value()
        config["secret_access_key"] = settings.aws_secret_access_key.get_secret_value()
    return config


@contextmanager
def _aws_variables_hidden(keep: tuple[str, ...]) -> Iterator[None]:
    """Hide the `AWS_` environment variables, except those in `keep`, until the `with` block ends.

    The variables may be meant for other programs, but obstore would use each one as an option.
    """
    foreign = [name for name in os.environ if name.upper().startswith("AWS_") and name not in keep]
    hidden = {name: os.environ[name] for name in foreign}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)


def _translate(text: str) -> errors.StorageError:
    status, code = _STATUS.search(text), _CODE.search(text)
    if status is None:
        return errors.StorageUnreachable(details=_connection_error(text))
    details = f"answer {status[1]} {code[1] if code else ''}".strip()
    if code and code[1] == "NoSuchKey":
        return errors.FileMissing(details=details)
    if int(status[1]) == _INSUFFICIENT_STORAGE:
        return errors.StorageFull(details=details)
    if int(status[1]) in _REFUSED:
        message = "The image store rejects its keys."
        return errors.StorageReadOnly(message, details=details, suggestions=_ADVICE)
    return errors.StorageUnreachable(details=details)


def _connection_error(text: str) -> str:
    if _REDIRECT in text:  # AWS redirects without a target if the bucket is in another region
        return "answer 301 PermanentRedirect"
    causes = dict.fromkeys(kind or message for kind, message in _CAUSE.findall(text))
    return f"no answer: {', '.join(causes) or 'not an S3 server'}"


def _start_error(settings: Settings, error: errors.StorageError) -> errors.StorageError:
    messages = (message for code, message in _START_MESSAGES.items() if code in error.details.split())
    message = next(messages, _OTHER_START_MESSAGE).format(
        name=settings.storage_url,
        server=settings.aws_endpoint_url or "AWS",
        region=settings.aws_region or _DEFAULT_REGION,
    )
    return type(error)(message, details=error.details, suggestions=errors.SettingsError.suggestions)
