"""Each setting is read from its variable and bounded; a wrong one is named, without its value."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from core.errors import SettingsError
from core.settings import Moderation, RegistrationMode, Settings, is_loopback, is_unspecified, load_settings

GIVEN: dict[str, tuple[str, Any]] = {
    "host": ("0.0.0.0", "0.0.0.0"),
    "port": ("9000", 9000),
    "allowed_hosts": ("a.example, B.example", "a.example, B.example"),
    "data_dir": ("/srv/atelier", Path("/srv/atelier")),
    "spool_dir": ("/srv/spool", Path("/srv/spool")),
    "database_url": ("postgresql://atelier@db/atelier", "postgresql://atelier@db/atelier"),
    "storage_url": ("s3://pictures/atelier", "s3://pictures/atelier"),
    "aws_endpoint_url": ("http://minio:9000", "http://minio:9000"),
    "aws_region": ("eu-central-1", "eu-central-1"),
    "aws_access_key_id": ("AKIA1", SecretStr("AKIA1")),
    "aws_secret_access_key": ("a/b+c", SecretStr("a/b+c")),
    "registration": ("CLOSED", RegistrationMode.CLOSED),
    "session_days": ("7", 7),
    "public_https": ("true", True),
    "base_path": ("atelier/studio/", "/atelier/studio"),
    "openai_api_key": ("sk-abc", SecretStr("sk-abc")),
    "openai_base_url": ("https://models.example/v1", "https://models.example/v1"),
    "trusted_proxies": ("10.0.0.7, 10.1.0.0/16", "10.0.0.7, 10.1.0.0/16"),
    "extra_headers": ("X-Title: Atelier", SecretStr("X-Title: Atelier")),
    "text_base_url": ("http://models.example/v1", "http://models.example/v1"),
    "text_api_key": ("sk-text", SecretStr("sk-text")),
    "text_extra_headers": ('{"X-Title": "Atelier"}', SecretStr('{"X-Title": "Atelier"}')),
    "image_hosts": ("pictures.example", "pictures.example"),
    "image_model": ("dall-e-3", "dall-e-3"),
    "text_model": ("gpt-6", "gpt-6"),
    "connect_timeout": ("2.5", 2.5),
    "text_timeout": ("30", 30.0),
    "image_timeout": ("600", 600.0),
    "partial_images": ("0", 0),
    "shutdown_grace": ("600", 600.0),
    "concurrency": ("8", 8),
    "max_batch": ("12", 12),
    "user_concurrency": ("2", 2),
    "requests_per_minute": ("50", 50),
    "budget_day_usd": ("2.50", Decimal("2.5")),
    "budget_month_usd": ("0", Decimal(0)),
    "budget_day_images": ("0", 0),
    "budget_month_images": ("1000", 1000),
    "moderation": ("OFF", Moderation.OFF),
    "user_reads_per_minute": ("50", 50),
    "user_paid_per_minute": ("3", 3),
    "token_reads_per_minute": ("20", 20),
    "token_paid_per_minute": ("5", 5),
    "resend_unknown": ("true", True),
    "max_images": ("4", 4),
    "max_upload_mb": ("5", 5),
    "trash_days": ("90", 90),
    "log_level": ("debug", "DEBUG"),
}


def test_every_setting_is_tried_here() -> None:
    assert set(GIVEN) == set(Settings.model_fields)


@pytest.mark.parametrize("name", GIVEN)
def test_a_setting_is_read_from_its_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, value = GIVEN[name]
    monkeypatch.setenv(name.upper(), text)
    assert getattr(load_settings(), name) == value


@pytest.mark.parametrize("name", GIVEN)
def test_a_setting_is_read_from_the_file_env(name: str, tmp_path: Path) -> None:
    text, value = GIVEN[name]
    (tmp_path / ".env").write_text(f"{name.upper()}={text}\nSOMETHING_ELSE=1\n")
    assert getattr(load_settings(), name) == value


def test_the_environment_wins_over_the_file_env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("PORT=9000\n")
    monkeypatch.setenv("PORT", "9001")
    assert load_settings().port == 9001


@pytest.mark.parametrize("name", GIVEN)
def test_an_empty_variable_counts_as_unset(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = getattr(load_settings(), name)
    monkeypatch.setenv(name.upper(), "")
    assert getattr(load_settings(), name) == usual


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("ALLOWED_HOSTS", "atelier.example:8501"),
        ("ALLOWED_HOSTS", "a.example, https://atelier.example"),
        ("ALLOWED_HOSTS", "a.example b.example"),
        ("BASE_PATH", "https://host/atelier"),
        ("BASE_PATH", "/atelier/../other"),
        ("BASE_PATH", "/a//b"),
        ("BASE_PATH", "/atelier?x"),
        ("BASE_PATH", "/api/atelier"),
        ("REGISTRATION", "sometimes"),
        ("SESSION_DAYS", "0"),
        ("SESSION_DAYS", "366"),
        ("PUBLIC_HTTPS", "perhaps"),
        ("CONNECT_TIMEOUT", "0"),
        ("TEXT_TIMEOUT", "-1"),
        ("IMAGE_TIMEOUT", "3601"),
        ("PARTIAL_IMAGES", "4"),
        ("PARTIAL_IMAGES", "-1"),
        ("SHUTDOWN_GRACE", "-1"),
        ("SHUTDOWN_GRACE", "3601"),
        ("CONCURRENCY", "0"),
        ("CONCURRENCY", "65"),
        ("BUDGET_DAY_USD", "-0.01"),
        ("BUDGET_DAY_USD", "0.0000001"),
        ("BUDGET_DAY_USD", "NaN"),
        ("BUDGET_MONTH_USD", "Infinity"),
        ("BUDGET_MONTH_USD", "1000001"),
        ("BUDGET_DAY_IMAGES", "-1"),
        ("BUDGET_MONTH_IMAGES", "2.5"),
        ("MAX_IMAGES", "0"),
        ("MAX_IMAGES", "11"),
        ("TRASH_DAYS", "0"),
        ("TRASH_DAYS", "3651"),
        ("LOG_LEVEL", "LOUD"),
        ("OPENAI_BASE_URL", "models.example/v1"),
        ("OPENAI_BASE_URL", "ftp://models.example"),
        ("DATABASE_URL", "mysql://root:hunter2@db/atelier"),
        ("DATABASE_URL", "postgresql://root:hunter2@db:many/atelier"),
        ("DATABASE_URL", "hunter2"),
        ("DATABASE_URL", "sqlite://"),
        ("DATABASE_URL", "sqlite:///:memory:"),
        ("DATABASE_URL", "sqlite+aiosqlite:///hunter2.db"),
        ("DATABASE_URL", "postgresql+asyncpg://root:hunter2@db/atelier"),
        ("OPENAI_BASE_URL", "http://root:hunter2@host:99999999/v1"),
        ("OPENAI_BASE_URL", "https:///v1"),
        ("OPENAI_BASE_URL", "https://models.example/v1#hunter2"),
        ("OPENAI_BASE_URL", "https://models.example/hunter2 v1"),
        ("TEXT_BASE_URL", "models.example/v1"),
        ("TEXT_API_KEY", "sk-hunter2 hunter2"),
        ("EXTRA_HEADERS", "hunter2"),
        ("EXTRA_HEADERS", "X-Key hunter2: x"),
        ("EXTRA_HEADERS", "X-Key: hünter2"),
        ("EXTRA_HEADERS", '{"X-Key": "hunter2"'),
        ("EXTRA_HEADERS", '{"X-Key": ["hunter2"]}'),
        ("EXTRA_HEADERS", "Host: hunter2.example"),
        ("TEXT_EXTRA_HEADERS", "content-type: hunter2"),
        ("IMAGE_HOSTS", "https://pictures.example"),
        ("IMAGE_HOSTS", "pictures.example/hunter2"),
        ("IMAGE_HOSTS", "minio:0"),
        ("IMAGE_HOSTS", "minio:65536"),
        ("IMAGE_HOSTS", "me:hunter2@minio:9000"),
        ("IMAGE_HOSTS", "[minio]:9000"),
        ("STORAGE_URL", "file:///srv/hunter2"),
        ("STORAGE_URL", "pictures"),
        ("STORAGE_URL", "s3:///atelier"),
        ("STORAGE_URL", "s3://me:hunter2@pictures"),
        ("STORAGE_URL", "s3://pictures/../others"),
        ("STORAGE_URL", "s3://pictures//atelier"),
        ("STORAGE_URL", "s3://pictures?region=hunter2"),
        ("STORAGE_URL", "https://pictures.s3.amazonaws.com"),
        ("OPENAI_API_KEY", "sk-hunter2 hunter2"),
        ("OPENAI_API_KEY", "sk-hünter2"),
        ("OPENAI_API_KEY", "sk-hunter2\nsk-other"),
        ("OPENAI_API_KEY", "sk-hunter2\x7f"),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_is_not_repeated(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert name in caught.value.message
    said = str(caught.value)
    assert "hunter2" not in said
    assert "hünter2" not in said
    assert len(text) < 4 or text not in said


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("AWS_ENDPOINT_URL", "minio:9000"),
        ("AWS_ENDPOINT_URL", "http://me:hunter2@minio:9000"),
        ("AWS_ENDPOINT_URL", "http://minio:many"),
        ("AWS_ENDPOINT_URL", "http://minio/?hunter2"),
        ("AWS_REGION", "eu central"),
        ("AWS_ACCESS_KEY_ID", "AKIA\nhunter2"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2 hunter2"),
        ("AWS_SECRET_ACCESS_KEY", " "),
    ],
)
def test_aws_settings_are_checked_only_with_a_bucket(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"AWS_ACCESS_KEY_ID": "AKIA1", "AWS_SECRET_ACCESS_KEY": "hunter2"} | {name: text}
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    assert load_settings().storage_url is None
    monkeypatch.setenv("STORAGE_URL", "s3://pictures")
    with pytest.raises(SettingsError, match=name) as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


def test_a_bucket_needs_no_keys() -> None:
    assert load_settings(storage_url="s3://pictures").aws_access_key_id is None


def test_a_printed_settings_object_hides_the_buckets_keys() -> None:
    assert "hunter2" not in repr(load_settings(aws_access_key_id="hunter2", aws_secret_access_key="hunter2"))


def test_every_wrong_setting_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "none")
    monkeypatch.setenv("CONCURRENCY", "none")
    with pytest.raises(SettingsError, match=r"PORT.*CONCURRENCY"):
        load_settings()


def test_a_file_env_that_is_not_text_is_reported(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=r"\.env"):
        load_settings()


def test_an_unreadable_line_of_the_file_env_is_reported(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text('PORT=8600\nOPENAI_API_KEY="sk-hunter2\n')
    with pytest.raises(SettingsError, match=r"\.env can't be read from line 2") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


def test_a_folder_named_env_is_reported(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    with pytest.raises(SettingsError, match=r"\.env is a folder"):
        load_settings()


@pytest.mark.parametrize("text", ["sk-abc\n", "\r\nsk-abc", "  sk-abc\t"])
def test_a_key_pasted_with_white_space_around_it_works(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", text)
    key = load_settings().openai_api_key
    assert key is not None
    assert key.get_secret_value() == "sk-abc"


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "OPENAI_BASE_URL"])
def test_white_space_alone_is_no_service(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, " \n")
    assert load_settings().offline


def test_a_printed_settings_object_hides_the_key() -> None:
    assert "hunter2" not in repr(load_settings(openai_api_key="sk-hunter2"))


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().port = 1


@pytest.mark.parametrize(
    ("given", "offline"),
    [
        pytest.param({}, True, id="nothing"),
        pytest.param({"openai_api_key": "sk-abc"}, False, id="a key"),
        pytest.param({"openai_base_url": "http://127.0.0.1:1/v1"}, False, id="a compatible server"),
    ],
)
def test_the_offline_engine_answers_without_key_and_address(given: dict[str, str], offline: bool) -> None:
    settings = load_settings(**given)
    assert settings.offline is offline
    assert settings.default_image_model.startswith("offline") is offline
    assert settings.default_text_model.startswith("offline") is offline


def test_the_chosen_models_are_used() -> None:
    settings = load_settings(openai_api_key="sk-abc", image_model="dall-e-3", text_model="gpt-6")
    assert settings.default_image_model == "dall-e-3"
    assert settings.default_text_model == "gpt-6"


@pytest.mark.parametrize(
    ("host", "registration"),
    [
        ("127.0.0.1", RegistrationMode.OPEN),
        ("127.1.2.3", RegistrationMode.OPEN),
        ("localhost", RegistrationMode.OPEN),
        ("::1", RegistrationMode.OPEN),
        ("[::1]", RegistrationMode.OPEN),
        ("0.0.0.0", RegistrationMode.INVITE),
        ("::", RegistrationMode.INVITE),
        ("192.168.1.5", RegistrationMode.INVITE),
        ("atelier.example", RegistrationMode.INVITE),
        ("localhost.example", RegistrationMode.INVITE),
    ],
)
def test_registration_mode_follows_the_address(host: str, registration: RegistrationMode) -> None:
    assert load_settings(host=host).effective_registration is registration
    assert is_loopback(host) is (registration is RegistrationMode.OPEN)
    chosen = load_settings(host=host, registration="closed")
    assert chosen.effective_registration is RegistrationMode.CLOSED


@pytest.mark.parametrize(
    ("host", "expected"), [("0.0.0.0", True), ("[::]", True), ("10.0.0.1", False), ("x", False)]
)
def test_an_unspecified_address_is_recognised(host: str, expected: bool) -> None:
    assert is_unspecified(host) is expected


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_behind_a_proxy_atelier_is_not_private(host: str) -> None:
    settings = load_settings(host=host, public_https=True)
    assert settings.effective_registration is RegistrationMode.INVITE
    assert settings.served_hosts == {"*"}
    chosen = load_settings(host=host, public_https=True, registration="open", allowed_hosts="atelier.example")
    assert chosen.effective_registration is RegistrationMode.OPEN
    assert chosen.served_hosts == {"atelier.example"}


@pytest.mark.parametrize(
    ("given", "names"),
    [
        pytest.param({}, set(), id="loopback"),
        pytest.param({"host": "0.0.0.0"}, {"*"}, id="for all"),
        pytest.param({"allowed_hosts": "*"}, {"*"}, id="any name"),
        pytest.param(
            {"host": "0.0.0.0", "allowed_hosts": " A.Example., b.example,[fe80::1],"},
            {"a.example", "b.example", "fe80::1"},
            id="names",
        ),
    ],
)
def test_served_hosts_follow_the_settings(given: dict[str, str], names: set[str]) -> None:
    assert load_settings(**given).served_hosts == names


@pytest.mark.parametrize(
    ("given", "base_url"),
    [
        ("https://models.example//v1/", "https://models.example/v1/"),
        ("https://models.example/openai//v1//", "https://models.example/openai/v1/"),
        (" HTTPS://models.example/v1?api-version=1 ", "https://models.example/v1?api-version=1"),
    ],
)
def test_a_base_url_is_mended(given: str, base_url: str) -> None:
    assert load_settings(openai_base_url=given).openai_base_url == base_url
    assert load_settings(text_base_url=given).text_base_url == base_url


IMAGES = {"openai_api_key": "sk-images", "openai_base_url": "https://models.example/v1"}
ANOTHER = "http://models.example/v1"


@pytest.mark.parametrize(
    ("given", "url", "key", "headers"),
    [
        pytest.param({}, "https://models.example/v1", "sk-images", {"X-Team": "art"}, id="the same"),
        pytest.param({"text_base_url": ANOTHER}, ANOTHER, "", {}, id="another service is sent no key"),
        pytest.param(
            {"text_base_url": "https://models.example:443/text"},
            "https://models.example:443/text", "sk-images", {"X-Team": "art"}, id="another path",
        ),
        pytest.param(
            {"text_api_key": "sk-text"},
            "https://models.example/v1", "sk-text", {"X-Team": "art"}, id="a key",
        ),
        pytest.param(
            {"text_base_url": ANOTHER, "text_api_key": "sk-text", "text_extra_headers": "X-Team: text"},
            ANOTHER, "sk-text", {"X-Team": "text"}, id="everything",
        ),
        pytest.param(
            {"text_base_url": "https://me:secret@models.example/v1"},
            "https://me:secret@models.example/v1", "", {}, id="a user name instead of the key",
        ),
    ],
)  # fmt: skip
def test_text_is_enhanced_by_the_image_service_unless_it_has_its_own(
    given: dict[str, str], url: str, key: str, headers: dict[str, str]
) -> None:
    settings = load_settings(**IMAGES, extra_headers="X-Team: art", **given)
    text = settings.text_service
    assert (text.base_url, text.api_key, text.headers) == (url, key, headers)
    assert (text == settings.image_service) is (not given)


@pytest.mark.parametrize(
    ("given", "images_offline", "text_offline"),
    [
        pytest.param({"text_base_url": ANOTHER}, True, False, id="only text, elsewhere"),
        pytest.param({"text_api_key": "sk-text"}, True, False, id="only text, at OpenAI"),
        pytest.param({"openai_api_key": "sk-abc"}, False, False, id="both"),
        pytest.param({"extra_headers": "X-Team: art"}, True, True, id="neither"),
    ],
)
def test_images_and_text_are_offline_each_for_itself(
    given: dict[str, str], images_offline: bool, text_offline: bool
) -> None:
    settings = load_settings(**given)
    assert (settings.offline, settings.text_service.offline) == (images_offline, text_offline)
    assert settings.default_image_model.startswith("offline") is images_offline
    assert settings.default_text_model.startswith("offline") is text_offline


@pytest.mark.parametrize(
    ("given", "named"),
    [
        pytest.param(
            {"openai_base_url": "https://me:hunter2@models.example/v1", "openai_api_key": "sk-hunter2"},
            ["OPENAI_API_KEY", "OPENAI_BASE_URL"], id="user name and key",
        ),
        pytest.param(
            {"openai_api_key": "sk-hunter2", "extra_headers": "authorization: Basic hunter2"},
            ["OPENAI_API_KEY", "Authorization"], id="key and header",
        ),
        pytest.param(
            {"text_base_url": "https://hunter2@models.example/v1", "text_api_key": "sk-hunter2"},
            ["TEXT_API_KEY", "TEXT_BASE_URL"], id="text",
        ),
    ],
)  # fmt: skip
def test_two_credentials_for_one_request_are_refused(given: dict[str, str], named: list[str]) -> None:
    with pytest.raises(SettingsError, match="can't be used together") as caught:
        load_settings(**given)
    assert all(name in caught.value.message for name in named)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("X-Title: Atelier\n\nHTTP-Referer:https://atelier.example\n", id="lines"),
        pytest.param('{"X-Title": "Atelier", "HTTP-Referer": "https://atelier.example"}', id="JSON"),
    ],
)
def test_extra_headers_are_lines_or_json(text: str) -> None:
    headers = load_settings(extra_headers=text).image_service.headers
    assert headers == {"X-Title": "Atelier", "HTTP-Referer": "https://atelier.example"}
    assert "atelier.example" not in repr(load_settings(extra_headers=text))


def test_image_hosts_may_have_a_port() -> None:
    hosts = load_settings(
        image_hosts="A.Example., minio:9000 ,[::1]:9000, ::1, [::2], 10.0.0.7:80,"
    ).image_download_hosts
    assert hosts == {"a.example", "minio:9000", "[::1]:9000", "::1", "::2", "10.0.0.7:80"}
