"""S3 storage: files are durable, and an unreachable, refusing or wrong bucket is reported soon."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app import explain
from core import bootstrap, errors
from core.database.database import Database
from core.database.models import Image, JobState, User
from core.generation.ingest import ResponseMetadata
from core.settings import load_settings
from core.storage import s3
from core.storage.keys import image_key, response_metadata_key
from core.storage.s3 import S3Storage, open_s3
from core.storage.storage import Storage
from tests.support.app_process import free_port
from tests.support.crashing_worker import RECIPE
from tests.support.generation import ON_SQLITE, Studio, a_job
from tests.support.openai_service import plain_image
from tests.support.s3_gateway import Gateway, Refusal, gateway
from tests.support.servers import S3Server

KEY = "images/0123/0"
NO_BUCKET, NO_KEY = Refusal(404, "NoSuchBucket"), Refusal(404, "NoSuchKey")
DENIED, SLOW_DOWN = Refusal(403, "AccessDenied"), Refusal(503, "SlowDown")
USES: dict[str, Callable[[Storage], object]] = {
    "put": lambda storage: storage.put(KEY, b"x"),
    "preview": lambda storage: storage.put_preview(KEY, b"x"),
    "get": lambda storage: storage.get(KEY),
    "exists": lambda storage: storage.exists(KEY),
    "list": lambda storage: storage.list("images"),
    "delete": lambda storage: storage.delete(KEY, "images/0123/1"),
}


@pytest.fixture
def between(s3: S3Server) -> Iterator[Gateway]:
    """The gateway in front of `bucket`, which passes requests on."""
    with gateway(s3.endpoint) as known:
        yield known


@pytest.fixture
def bucket_settings(bucket_settings: dict[str, str], between: Gateway) -> dict[str, str]:
    return bucket_settings | {"aws_endpoint_url": between.endpoint}


def open_at(settings: dict[str, str], **changes: str) -> S3Storage:
    return open_s3(load_settings(**(settings | changes)))


# What it holds


def test_only_files_below_the_prefix_are_seen(s3: S3Server) -> None:
    with s3.fresh() as name:
        root, ours, theirs = (open_at(s3.settings(name + prefix)) for prefix in ("", "/ours", "/ours-too"))
        ours.put(KEY, b"ours")
        theirs.put(KEY, b"theirs")
        assert root.list("ours") == (f"ours/{KEY}",)
        assert ours.list("images") == (KEY,)
        assert root.list("images") == ()
        assert ours.get(KEY) == b"ours"


def test_the_check_at_the_start_leaves_no_file(bucket: S3Storage) -> None:
    assert bucket.list("probe") == ()


# What goes wrong


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        pytest.param(DENIED, errors.StorageReadOnly, id="refused"),
        pytest.param(Refusal(403), errors.StorageReadOnly, id="refused without a word"),
        pytest.param(NO_BUCKET, errors.StorageUnreachable, id="no such bucket"),
        pytest.param(Refusal(404), errors.StorageUnreachable, id="a proxy without its server"),
        pytest.param(Refusal(301, "PermanentRedirect"), errors.StorageUnreachable, id="another region"),
        pytest.param(Refusal(500, "InternalError"), errors.StorageUnreachable, id="server fault"),
        pytest.param(SLOW_DOWN, errors.StorageUnreachable, id="slow down"),
        pytest.param(Refusal(507, "XMinioStorageFull"), errors.StorageFull, id="full"),
    ],
)
def test_a_transient_error_is_never_reported_as_a_missing_file(
    bucket: S3Storage, between: Gateway, use: str, refusal: Refusal, expected: type[errors.StorageError]
) -> None:
    bucket.put(KEY, b"kept")
    between.always = refusal
    with pytest.raises(errors.StorageError) as caught:
        USES[use](bucket)
    assert type(caught.value) is expected
    assert caught.value.retryable
    assert str(refusal.status) in caught.value.details
    assert refusal.code in caught.value.details
    between.always = None
    assert bucket.get(KEY) == b"kept"


def test_no_such_key_is_reported_as_a_missing_file(bucket: S3Storage, between: Gateway) -> None:
    between.always = NO_KEY
    assert not bucket.exists(KEY)
    bucket.delete(KEY)
    with pytest.raises(errors.FileDamaged) as caught:
        bucket.get(KEY)
    assert not caught.value.retryable


@pytest.mark.parametrize("use", USES)
def test_an_unreachable_bucket_is_reported_until_it_is_back(
    s3: S3Server, bucket_settings: dict[str, str], use: str
) -> None:
    storage = open_at(bucket_settings, aws_endpoint_url=s3.endpoint)
    storage.put(KEY, b"kept")
    s3.stop()
    try:
        with pytest.raises(errors.StorageUnreachable) as caught:
            USES[use](storage)
    finally:
        s3.start()
    assert caught.value.retryable
    assert "Connect" in caught.value.details
    assert storage.get(KEY) == b"kept"


@pytest.mark.parametrize("use", [use for use in USES if use != "put"])
def test_a_silent_bucket_times_out(
    monkeypatch: pytest.MonkeyPatch, bucket_settings: dict[str, str], between: Gateway, use: str
) -> None:
    monkeypatch.setattr(s3, "_READ_TIMEOUT", s3._READ_TIMEOUT / 20)
    storage = open_at(bucket_settings)
    between.silent.set()
    with pytest.raises(errors.StorageUnreachable, match="Timeout"):
        USES[use](storage)


def test_storing_a_paid_image_has_a_longer_timeout(
    monkeypatch: pytest.MonkeyPatch, bucket_settings: dict[str, str], between: Gateway
) -> None:
    monkeypatch.setattr(s3, "_PUT_TIMEOUT", s3._READ_TIMEOUT / 10)
    monkeypatch.setattr(s3, "_TOTAL_TIMEOUT", s3._READ_TIMEOUT / 1000)  # too short for any answer
    settings = load_settings(**bucket_settings)
    storage = S3Storage(settings.storage_url or "", s3.config_of(settings))
    storage.put(KEY, b"x")
    between.silent.set()
    with pytest.raises(errors.StorageUnreachable, match="Timeout"):
        storage.put(KEY, b"x")


@pytest.mark.parametrize("use", USES)
def test_a_request_is_sent_three_times_at_most(bucket: S3Storage, between: Gateway, use: str) -> None:
    between.always, between.methods[:] = SLOW_DOWN, []
    with pytest.raises(errors.StorageUnreachable):
        USES[use](bucket)
    files = 2 if use == "delete" else 1
    assert len(between.methods) <= 3 * files


@pytest.mark.parametrize("use", USES)
def test_errors_contain_no_key_and_no_signature(bucket: S3Storage, between: Gateway, use: str) -> None:
    between.always = Refusal(403, "SignatureDoesNotMatch")
    with pytest.raises(errors.StorageReadOnly) as caught:
        USES[use](bucket)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


# What is paid for


@ON_SQLITE
@pytest.mark.parametrize(
    ("refusal", "after"),
    [
        pytest.param(DENIED, 0, id="refused"),
        pytest.param(NO_BUCKET, 0, id="no bucket"),
        pytest.param(Refusal(404), 0, id="no server behind the proxy"),
        pytest.param(SLOW_DOWN, 0, id="slow down"),
        pytest.param(NO_BUCKET, 1, id="no bucket for the figures"),
    ],
)
def test_a_paid_image_survives_temporary_errors_of_its_bucket(
    make_studio: Callable[..., Studio],
    database: Database,
    bucket: S3Storage,
    between: Gateway,
    user: User,
    monkeypatch: pytest.MonkeyPatch,
    refusal: Refusal,
    after: int,
) -> None:
    monkeypatch.setattr("core.generation.worker.STORE_RETRY_SECONDS", (0.01,))
    studio = make_studio(database, started=False, storage=bucket)
    studio.jobs.submit(user.id, [RECIPE])
    between.script(*[None] * after, *[refusal] * 4)
    studio.work()
    assert between.left == 0
    (image,) = studio.rows(Image)
    assert (studio.job().state, studio.paid()) == (JobState.DONE, 1)
    assert bucket.get(image.file_key) == plain_image(RECIPE.prompt, "1024x1024")


@ON_SQLITE
@pytest.mark.parametrize(
    "refusal", [pytest.param(DENIED, id="refused"), pytest.param(SLOW_DOWN, id="slow down")]
)
def test_a_failing_bucket_at_the_start_loses_no_earlier_image(
    make_studio: Callable[..., Studio],
    database: Database,
    bucket: S3Storage,
    between: Gateway,
    user: User,
    monkeypatch: pytest.MonkeyPatch,
    refusal: Refusal,
) -> None:
    monkeypatch.setattr("core.generation.worker.SETTLE_RETRY_SECONDS", (0.01,))
    studio = make_studio(database, started=False, storage=bucket)
    job = a_job(database, user, JobState.RUNNING)
    bucket.put(image_key(job, 0), plain_image(RECIPE.prompt, "1024x1024"))
    bucket.put(response_metadata_key(job), ResponseMetadata(count=1).to_bytes())
    between.always = refusal
    with pytest.raises(errors.StorageError):
        studio.jobs.start()
    assert studio.job().state == JobState.RUNNING
    between.always = None
    studio.jobs.start()
    assert studio.job().state == JobState.DONE


# The start


WRONG: dict[str, tuple[dict[str, str], type[errors.StorageError], str]] = {
    "bucket": (
        {"storage_url": "s3://no-such-bucket"},
        errors.StorageUnreachable,
        "no bucket s3://no-such-bucket",
    ),
    "key id": ({"aws_access_key_id": "AKIAhunter2"}, errors.StorageReadOnly, "AWS_ACCESS_KEY_ID"),
    "secret": ({"aws_secret_access_key": "hunter2"}, errors.StorageReadOnly, "AWS_SECRET_ACCESS_KEY"),
    "address": ({"aws_endpoint_url": "http://127.0.0.1:9"}, errors.StorageUnreachable, "AWS_ENDPOINT_URL"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_setting_is_named_at_the_start(bucket_settings: dict[str, str], wrong: str) -> None:
    changes, expected, words = WRONG[wrong]
    with pytest.raises(expected, match=words) as caught:
        open_at(bucket_settings, **changes)
    assert type(caught.value) is expected
    said = explain(caught.value) + "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        pytest.param(DENIED, "list, read, write and delete", id="no rights"),
        pytest.param(Refusal(400, "AuthorizationHeaderMalformed"), "AWS_REGION", id="region"),
    ],
)
@pytest.mark.parametrize("after", range(5), ids=["put", "get", "list", "delete", "missing"])
def test_each_permission_is_checked_at_the_start(
    bucket_settings: dict[str, str], between: Gateway, refusal: Refusal, words: str, after: int
) -> None:
    between.script(*[None] * after)
    between.always = refusal
    with pytest.raises(errors.StorageError, match=words):
        open_at(bucket_settings)


def test_a_web_server_is_not_accepted_as_a_bucket(bucket_settings: dict[str, str], between: Gateway) -> None:
    between.always = Refusal(200)
    with pytest.raises(errors.StorageUnreachable, match="AWS_ENDPOINT_URL"):
        open_at(bucket_settings)


def test_aws_variables_of_other_programs_are_ignored(
    bucket_settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = {
        "AWS_SESSION_TOKEN": "another's",
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{free_port()}",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_SERVER_SIDE_ENCRYPTION": "aws:kms",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
        "AWS_PROXY_URL": f"http://127.0.0.1:{free_port()}",
        "aws_bucket": "another",
    }
    for name, value in foreign.items():
        monkeypatch.setenv(name, value)
    storage = open_at(bucket_settings)
    storage.put(KEY, b"x")
    assert storage.get(KEY) == b"x"
    assert {name: os.environ[name] for name in foreign} == foreign


def test_with_a_bucket_no_local_folder_is_created(bucket_settings: dict[str, str], tmp_path: Path) -> None:
    before = os.umask(0o022)  # building a studio may make what this process writes private
    try:
        with closing(bootstrap.build(load_settings(data_dir=tmp_path / "data", **bucket_settings))) as studio:
            assert isinstance(studio.storage, S3Storage)
    finally:
        os.umask(before)
    assert not (tmp_path / "data" / "files").exists()
