"""The HTTP connection to the service: opens calls, repeats free ones, and reads responses as they stream.

Requests go through the SDK's `post`. Responses are read as plain JSON, because compatible services send
responses that the SDK's models reject. Errors of the SDK and its transport leave this file only as this
project's own errors.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, TypeAlias

import httpx2

from core.errors import ImageError, RateLimited, ServiceBusy, ServiceFailed, ServiceUnreachable, SettingsError
from core.provider.catalogue import is_official
from core.provider.error_translation import (
    error_from_fault,
    fault_from_body,
    fault_from_error,
    read_request_id,
    redact,
    sdk_errors,
    translate_error,
)
from core.provider.payloads import Call
from core.provider.response_limits import Deadline, deadline_hooks, record_response
from core.provider.responses import JsonObject, json_texts, parse_object
from core.settings import Settings

if TYPE_CHECKING:
    import openai

OPENAI_URL = "https://api.openai.com/v1"
OFFLINE_URL = "http://offline.invalid/v1"
# Compatible services without keys still get an Authorization header, since the SDK requires a key.
OFFLINE_KEY, NO_KEY = "offline", "none"
# A compressed body can't be counted before it is decompressed, and compression doesn't make images smaller.
_HEADERS = {"Accept-Encoding": "identity"}
_MULTIPART_HEADERS = {"Content-Type": "multipart/form-data"}
MAX_TEXT_ATTEMPTS = 3
TRANSIENT_ERRORS = (RateLimited, ServiceBusy, ServiceFailed, ServiceUnreachable)
_RETRY_PAUSE_SECONDS, _MAX_RETRY_PAUSE_SECONDS = 0.5, 10.0
# The SDK's handle on an open response; `.response` is the HTTP response below it.
ResponseStream: TypeAlias = "openai.Stream[object]"


class Connection:
    """Opens calls to the service that the settings name. Safe to use from several threads.

    `transport` replaces the network; the offline engine is such a transport. Raises SettingsError when
    OPENAI_BASE_URL isn't a valid address.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        transport: httpx2.BaseTransport | None,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._sleep = sleep
        self._lock = threading.Lock()
        self._sdk: openai.OpenAI | None = None
        self.clock = clock
        key = settings.openai_api_key
        self._key = key.get_secret_value() if key else ""
        try:
            is_official(settings)
            self.base_url = _with_trailing_slash(httpx2.URL(_base_url(settings)))
        except (httpx2.InvalidURL, ValueError) as error:
            raise SettingsError("OPENAI_BASE_URL isn't a valid address.", details=str(error)) from error

    def connect(self) -> openai.OpenAI:
        """The SDK's client, which the first call loads and builds in about 0.2 seconds."""
        with self._lock:
            if self._sdk is None:
                self._sdk = _build_sdk(self._settings, self._transport, self.clock)
            return self._sdk

    def close(self) -> None:
        if self._sdk:
            self._sdk.close()

    def deadline(self, seconds: float) -> Deadline:
        return Deadline(self.clock() + seconds, self.clock)

    def timeout(self, deadline: Deadline) -> httpx2.Timeout:
        remaining = deadline.remaining
        return httpx2.Timeout(remaining, connect=min(remaining, self._settings.connect_timeout))

    def redact(self, text: str) -> str:
        """`text` without the API key, and cut to the length that error details may have."""
        return redact(text, self._key)

    def request_id(self, stream: ResponseStream) -> str | None:
        return read_request_id(stream.response, secret=self._key)

    def open(self, call: Call, deadline: Deadline) -> ResponseStream:
        """Send `call` and return its unread response.

        When the service refuses an optional parameter, the call is sent once more without it: a refused
        call costs nothing. Raises any error of `error_translation`.
        """
        while True:
            try:
                return self._send(call, deadline)
            except sdk_errors() as error:
                fault = fault_from_error(error)
                fallback = call.fallback(fault) if fault else None
                if fallback is None or deadline.expired:
                    raise translate_error(error, paid=call.paid, secret=self._key) from error
                call = fallback

    def open_with_retries(self, call: Call, deadline: Deadline) -> ResponseStream:
        """Send a text call, and send it again after a transient error while the deadline allows.

        Never use it for images: a failed image call may have been charged.
        """
        for attempt in range(1, MAX_TEXT_ATTEMPTS + 1):
            try:
                return self.open(call, deadline)
            except TRANSIENT_ERRORS as error:
                pause = _retry_pause(error, attempt)
                too_long = pause >= deadline.remaining or pause > _MAX_RETRY_PAUSE_SECONDS
                if attempt == MAX_TEXT_ATTEMPTS or too_long:
                    raise
                self._sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def reading(self, stream: ResponseStream, *, paid: bool) -> Iterator[None]:
        """Close `stream` at the end, and translate the errors raised while it is read."""
        with closing(stream):
            try:
                yield
            except sdk_errors() as error:
                raise translate_error(error, paid=paid, secret=self._key, response=stream.response) from error

    def events(self, stream: ResponseStream, *, paid: bool) -> Iterator[JsonObject]:
        """The JSON objects of a response: one per event of an event stream, otherwise one.

        Raises an ImageError for an error event. Raises ValueError for an event that isn't a JSON object,
        but only after the last event, because a later event may hold a paid image.
        """
        unreadable: ValueError | None = None
        for text in json_texts(stream.response, images=paid):
            try:
                event = parse_object(text, stream.response)
            except ValueError as error:
                unreadable = error
                continue
            if event.get("error") or event.get("type") == "error":
                fault = fault_from_body(event, stream.response)
                raise error_from_fault(fault, paid=paid, secret=self._key)
            yield event
        if unreadable is not None:
            raise unreadable

    def _send(self, call: Call, deadline: Deadline) -> ResponseStream:
        sdk = self.connect()
        import openai  # noqa: PLC0415

        parts = call.inputs.form_parts
        return sdk.post(
            call.path,
            cast_to=object,
            body=call.body,
            files=parts or None,
            options={"timeout": self.timeout(deadline), "headers": _MULTIPART_HEADERS if parts else {}},
            stream=True,
            stream_cls=openai.Stream[object],
        )


def _base_url(settings: Settings) -> str:
    return OFFLINE_URL if settings.offline else settings.openai_base_url or OPENAI_URL


def _with_trailing_slash(url: httpx2.URL) -> httpx2.URL:
    """`url` as the SDK uses it: relative addresses are joined to the whole path."""
    path, question_mark, query = url.raw_path.partition(b"?")
    if path.endswith(b"/"):
        return url
    return url.copy_with(raw_path=path + b"/" + question_mark + query)


def _retry_pause(error: ImageError, attempt: int) -> float:
    """Seconds to wait before the next attempt: the service's own figure where it gives one."""
    return error.retry_after if error.retry_after is not None else _RETRY_PAUSE_SECONDS * attempt


def _build_sdk(
    settings: Settings, transport: httpx2.BaseTransport | None, clock: Callable[[], float]
) -> openai.OpenAI:
    """The SDK's client over `transport`, configured by the settings alone.

    The SDK reads missing arguments from the environment. An empty organisation keeps it from reading
    OPENAI_ORG_ID, and setting None afterwards omits the header. OPENAI_CUSTOM_HEADERS has no argument,
    so its private field is emptied.
    """
    import openai  # noqa: PLC0415

    hooks = deadline_hooks(clock)
    http_client = openai.DefaultHttpx2Client(
        transport=transport,
        follow_redirects=False,
        event_hooks=hooks | {"response": [*hooks["response"], record_response]},
        headers=_HEADERS,
    )
    key = settings.openai_api_key
    sdk = openai.OpenAI(
        api_key=OFFLINE_KEY if settings.offline else key.get_secret_value() if key else NO_KEY,
        admin_api_key="",
        organization="",
        project="",
        webhook_secret="",
        base_url=_base_url(settings),
        max_retries=0,
        http_client=http_client,
    )
    sdk.organization = sdk.project = None
    sdk._custom_headers = {}
    return sdk
