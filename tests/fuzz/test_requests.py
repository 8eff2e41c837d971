"""What a browser or a program sends: hosts, origins, tags, bodies and the options of a command."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
from hypothesis import example
from hypothesis import strategies as st
from starlette.requests import Request

from app import served_address
from core import errors
from core.api.dependencies import current_user
from core.api.generation_routes import _wants_async
from core.api.image_responses import _is_unchanged, image_response
from core.common.media_types import sniff_media_type
from core.settings import Settings, load_settings
from core.usage.idempotency import IdempotentRequest
from core.web.cookies import SessionCookie
from core.web.guard import check, is_same_origin, is_served
from core.web.request_context import HEADER, RequestIdMiddleware
from tests.support.fuzz_inputs import HUGE, any_text, fuzz, json_of, words_of


@functools.cache
def settings() -> Settings:
    return load_settings(allowed_hosts="atelier.test")


COOKIE = SessionCookie.of(b"key")


@functools.cache
def nobody() -> Any:
    """A studio that authenticates nobody."""
    authenticator = SimpleNamespace(authenticate=lambda _token: None)
    return SimpleNamespace(sessions=authenticator, api_tokens=authenticator, cookie=COOKIE)


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


@example("0[::1]")
@example("[::1]evil.test")
@fuzz(host=hosts)
def test_a_host_is_served_only_by_its_own_name(host: str) -> None:
    served = is_served(host, settings())
    name = host.rpartition("]")[0].removeprefix("[") or host.partition(":")[0]
    if served:
        assert name.lower().rstrip(".") in ("localhost", "atelier.test", "::1") or name.startswith("127.")
        assert not set(host) & set("@/\\?# \t")
        assert "]" not in host or host.partition("]")[2].partition(":")[0] == ""


@fuzz(origin=hosts.map(lambda host: f"http://{host}") | hosts, host=hosts)
def test_an_origin_is_the_same_only_as_its_own_host(origin: str, host: str) -> None:
    if is_same_origin(origin, host):
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
    assert not _is_unchanged(request, etag) or f'"{etag}"'.encode() in sent or b"*" in sent


@fuzz(data=st.binary(max_size=20) | st.sampled_from([b"\x89PNG", b"RIFF____WEBP", b"<svg", b"<html>"]))
def test_a_partial_picture_is_never_sent_as_anything_but_a_picture(data: bytes) -> None:
    assert sniff_media_type(data) in ("image/png", "image/webp", "image/jpeg", "image/gif", "image/avif")


ranges = words_of("bytes=", "-", "0", "5", "9" * 18, "9" * 40, ",", " ", "٣")


@fuzz(
    asked=st.from_regex(r"\Abytes=\d{0,3}-\d{0,3}\Z") | ranges,
    data=st.binary(min_size=1, max_size=40),
    if_range=st.sampled_from(["", '"tag"', '"other"']),
    method=st.sampled_from(["GET", "HEAD"]),
)
def test_a_range_is_a_part_of_the_picture_or_refused(
    asked: str, data: bytes, if_range: str, method: str
) -> None:
    sent = [
        (b"range", asked.encode("latin-1", "replace")),
        *([(b"if-range", if_range.encode())] * bool(if_range)),
    ]
    request = Request({"type": "http", "method": method, "headers": sent})
    try:
        answer = image_response(request, "tag", "image/png", lambda: data)
    except errors.RangeRejected:
        return
    assert answer.headers["content-type"] == "image/png"
    if method == "HEAD":
        assert (answer.body, answer.headers["content-length"]) == (b"", str(len(data)))
    elif answer.status_code == 206:
        place, _, whole = answer.headers["content-range"].removeprefix("bytes ").partition("/")
        first, last = map(int, place.split("-"))
        assert first <= last < len(data) == int(whole)
        assert answer.body == data[first : last + 1]
    else:
        assert answer.body == data


@fuzz(prefer=words_of("respond-async", ",", ";", " ", "wait=5", "RESPOND-ASYNC"))
def test_any_wish_is_understood_or_left_alone(prefer: str) -> None:
    assert not _wants_async(prefer) or "respond-async" in prefer.casefold()


@fuzz(user=any_text, key=any_text, other=any_text, body=json_of())
def test_a_key_is_one_users_for_one_body(user: str, key: str, other: str, body: object) -> None:
    kept = IdempotentRequest.of(user, key, "generate", {"asked": body})
    assert kept == IdempotentRequest.of(user, key, "generate", {"asked": body})
    assert (kept.id == IdempotentRequest.of(other, key, "generate", {"asked": body}).id) == (user == other)
    assert (kept.id == IdempotentRequest.of(user, other, "generate", {"asked": body}).id) == (key == other)
    assert (
        kept.request_hash != IdempotentRequest.of(user, key, "enhance-prompt", {"asked": body}).request_hash
    )


@fuzz(sent=st.binary(max_size=80) | st.from_regex(rb"\A[A-Za-z0-9-]{0,70}\Z"))
def test_an_id_is_taken_over_only_when_nothing_can_be_hidden_in_it(sent: bytes) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["state"]["request_id"])

    scope = {"type": "http", "path": "/api/images", "headers": [(HEADER.lower().encode(), sent)]}
    anyio.run(RequestIdMiddleware(app), scope, None, None)
    assert seen[0].isascii()
    assert all(sign.isalnum() or sign == "-" for sign in seen[0])
    assert 8 <= len(seen[0]) <= 64


@fuzz(sent=words_of("Bearer ", "bearer", "Basic ", "atl_", " ", "\t", "\0"))
def test_any_sign_in_is_somebody_or_nobody(sent: str) -> None:
    headers = [(b"authorization", sent.encode("latin-1", "replace"))]
    with pytest.raises(errors.ImageAuthError):
        current_user(Request({"type": "http", "headers": headers}), nobody())


@fuzz(cookies=st.dictionaries(st.sampled_from([*COOKIE.names, "other"]), any_text))
def test_the_cookie_of_the_host_alone_comes_first(cookies: dict[str, str]) -> None:
    names = (COOKIE.secure, COOKIE.plain, "__Host-atelier", "atelier")
    found = [cookies[name] for name in names if cookies.get(name)]
    assert COOKIE.token(cookies) == (found[0] if found else None)


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
    assert not is_same_origin(f"http://{long}", "localhost:8501")
    assert not is_served(long, settings())
