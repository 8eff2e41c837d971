"""What a browser or a program sends: hosts, origins, tags, bodies and the options of a command."""

from __future__ import annotations

import functools
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import strategies as st
from starlette.requests import Request

from app import served_address
from core import errors
from core.api import _is_known, _sniffed, session_token
from core.guard import check, is_same, is_served
from core.settings import Settings, load_settings
from tests.fuzz.inputs import HUGE, any_text, fuzz, words_of


@functools.cache
def settings() -> Settings:
    return load_settings(allowed_hosts="atelier.test")


hosts = st.one_of(
    any_text,
    words_of("localhost", ":8501", "127.0.0.1", "[::1]", "evil.test", "@", "/", ".", "?", "#", "\t", "\\"),
)
HEADERS = [b"host", b"origin", b"content-length", b"x-forwarded-host"]
header_bytes = st.one_of(
    st.binary(max_size=40),
    hosts.map(lambda host: host.encode("utf-8", "surrogatepass")),
    hosts.map(lambda host: b"http://" + host.encode("utf-8", "surrogatepass")),
)


@fuzz(host=hosts)
def test_a_host_is_served_only_by_its_own_name(host: str) -> None:
    served = is_served(host, settings())
    name = host.rpartition("]")[0].strip("[") or host.partition(":")[0]
    if served:
        assert name.lower().rstrip(".") in ("localhost", "atelier.test", "::1") or name.startswith("127.")
        assert not set(host) & set("@/\\?# \t")


@fuzz(origin=hosts.map(lambda host: f"http://{host}") | hosts, host=hosts)
def test_an_origin_is_the_same_only_as_its_own_host(origin: str, host: str) -> None:
    if is_same(origin, host):
        said = urlsplit(origin).netloc.lower().removesuffix(":80").removesuffix(":443").rstrip(".:")
        assert said == host.lower().removesuffix(":80").removesuffix(":443").rstrip(".:")


@fuzz(
    headers=st.lists(
        st.tuples(
            st.sampled_from([b"host", b"origin", b"content-length", b"x-forwarded-host"]), header_bytes
        ),
        max_size=5,
    ),
    path=any_text | words_of("/", "_stcore/metrics", "..", "//", "api"),
    kind=st.sampled_from(["http", "websocket"]),
    method=st.sampled_from(["GET", "POST", "DELETE", "BREW", ""]),
)
def test_any_request_goes_on_or_is_refused_in_words(
    headers: list[tuple[bytes, bytes]], path: str, kind: str, method: str
) -> None:
    scope: dict[str, Any] = {
        "type": kind,
        "method": method,
        "path": path,
        "headers": headers,
        "root_path": "",
    }
    refused = None
    try:
        check(scope, settings())
    except errors.RequestRejected as error:
        refused = error
    assert refused is None or (refused.status in range(400, 500) and len(refused.details) < 1_000)
    assert refused or sum(name == b"host" for name, _ in headers) == 1


@fuzz(sent=st.binary(max_size=60), etag=st.text("0123456789abcdef", min_size=1, max_size=10))
def test_a_tag_is_known_only_where_it_was_sent(sent: bytes, etag: str) -> None:
    request = Request({"type": "http", "headers": [(b"if-none-match", sent)]})
    assert not _is_known(request, etag) or f'"{etag}"'.encode() in sent


@fuzz(data=st.binary(max_size=20) | st.sampled_from([b"\x89PNG", b"RIFF____WEBP", b"<svg", b"<html>"]))
def test_a_partial_picture_is_never_sent_as_anything_but_a_picture(data: bytes) -> None:
    assert _sniffed(data) in ("image/png", "image/webp", "image/jpeg")


@fuzz(cookies=st.dictionaries(st.sampled_from(["atelier", "__Host-atelier", "other"]), any_text))
def test_the_cookie_of_the_host_alone_comes_first(cookies: dict[str, str]) -> None:
    token = session_token(cookies)
    assert token == (cookies.get("__Host-atelier") or cookies.get("atelier"))


options = st.one_of(
    st.sampled_from(["--host=0.0.0.0", "--host=127.0.0.1", "--uds=/x", "--fd=3", "app:app"]),
    any_text.filter(lambda text: not text.startswith(("--host", "--uds", "--fd"))),
)


@fuzz(
    program=st.sampled_from(["uvicorn", "/bin/uvicorn", "streamlit", "app.py", "uvicorn/__main__.py"]),
    options=st.lists(options, max_size=4),
)
def test_any_command_line_has_an_address(program: str, options: list[str]) -> None:
    assert served_address([program, *options])


@pytest.mark.parametrize("piece", ["a", ".", ":", "[", "@", "%", ","])
def test_no_header_takes_more_time_than_its_length(piece: str) -> None:
    long = piece * HUGE
    assert not is_same(f"http://{long}", "localhost:8501")
    assert not is_served(long, settings())
