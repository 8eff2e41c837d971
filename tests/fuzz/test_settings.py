"""Settings that were mistyped: a start either has them as they are meant, or names the one to mend."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import strategies as st

from core.errors import SettingsError
from core.provider.client import ServiceClient
from core.settings import DRIVERS, Settings, is_loopback, is_unspecified, load_settings
from core.storage.s3 import config_of
from tests.support.fuzz_inputs import any_text, fuzz, words_of

SECRET = "hunter2hunter2"
names = st.sampled_from(sorted(Settings.model_fields))
values = st.one_of(
    any_text,
    words_of(
        "http://", "https://", "localhost", ":", "@", SECRET, "/v1", "[::1]", "s3://", "bucket", "sqlite:///"
    ),
    words_of(
        "postgresql://", "u:", SECRET, "@h/", "db", "?", "sslmode=require", "*", ",", ".", "-1", "1e9", "nan"
    ),
)


@fuzz(given=st.dictionaries(names, values, max_size=5))
def test_any_values_are_settings_or_named_and_never_repeated(given: dict[str, str]) -> None:
    try:
        settings = load_settings(**given)
    except SettingsError as error:
        said = f"{error} {error.details} {error.suggestions}"
        assert SECRET not in said
        return
    assert 1 <= settings.port <= 65535
    assert SECRET not in repr((settings.openai_api_key, settings.aws_secret_access_key))
    assert SECRET not in repr((settings.extra_headers, settings.text_service.headers, settings.text_api_key))
    assert isinstance(settings.allows_replicas, bool)
    assert "" not in settings.served_hosts
    assert settings.database_url is None or settings.database_url.split(":")[0] in DRIVERS


@fuzz(
    url=words_of(
        "http://", "https://", "a.test", ":", "1", "99999", "@", "[", "]", "/v1", "?", "#", " ", "\\"
    )
)
def test_any_service_address_is_one_or_named(url: str) -> None:
    with suppress(SettingsError):
        settings = load_settings(openai_base_url=url)
        ServiceClient(settings)
        assert not settings.image_service.is_official or "api.openai.com" in url


@fuzz(
    url=words_of("s3://", "bucket", "/", "prefix", "..", "%", " ", "a-b.c"),
    endpoint=words_of("http://", "minio", ":9000", "user:pass@", "?x", "#y", "/"),
)
def test_any_bucket_is_one_or_named(url: str, endpoint: str) -> None:
    with suppress(SettingsError):
        settings = load_settings(storage_url=url, aws_endpoint_url=endpoint)
        if settings.storage_url:
            assert ".." not in settings.storage_url.split("/")
            assert "pass" not in config_of(settings).get("endpoint", "")


lines = words_of("PORT=", "8502", "\n", "'", '"', "\\", "export ", "#", "${PORT}", "=")


@pytest.mark.usefixtures("tmp_path")
@fuzz(content=st.binary(max_size=80) | lines.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_env_file_is_read_or_named(content: bytes) -> None:
    Path(".env").write_bytes(content)
    with suppress(SettingsError):
        assert 1 <= load_settings().port <= 65535


@fuzz(host=words_of("localhost", "127.0.0.1", "::1", "0.0.0.0", "[", "]", "%eth0", "::ffff:127.0.0.1"))
def test_any_host_is_loopback_or_any_or_neither(host: str) -> None:
    assert not (is_loopback(host) and is_unspecified(host))
