"""The HTTP connection to the service: sends calls, retries text calls, and reads streamed responses.

Calls are sent with the `post` method of the OpenAI SDK. Responses are parsed as plain JSON, because the SDK's
models reject some responses of compatible services. `Connection.open` and `Connection.reading` translate the
errors of the SDK and of its transport into the errors of core.errors.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import httpx2
import structlog

from core.common.service_settings import MIN_MASKED_LENGTH, OPENAI_URL, ServiceSettings
from core.errors import ImageError, RateLimited, ServiceBusy, ServiceFailed, ServiceUnreachable, SettingsError
from core.provider.network import check_network
from core.provider.payloads import Call
from core.responses.error_translation import (
    ServiceFault,
    error_from_fault,
    fault_from_body,
    fault_from_error,
    read_request_id,
    redact,
    sdk_errors,
    translate_error,
    unlabelled_fault,
)
from core.responses.events import ResponseEvent
from core.responses.limits import Deadline, deadline_hooks, record_response

if TYPE_CHECKING:
    import openai

OFFLINE_URL = "http://offline.invalid/v1"
# Sent in place of an API key if there is none, because the SDK requires a key.
OFFLINE_KEY, NO_KEY = "offline", "none"
# Ask for uncompressed bodies, whose size is the number of bytes received. Images don't compress further.
_HEADERS = {"Accept-Encoding": "identity"}
_MULTIPART_HEADERS = {"Content-Type": "multipart/form-data"}
MAX_TEXT_ATTEMPTS = 3
# Failures after which a text call is sent again.
_RETRIED_ERRORS = (RateLimited, ServiceBusy, ServiceFailed, ServiceUnreachable)
_STREAM = frozenset({"stream"})
_RETRY_PAUSE_SECONDS, _MAX_RETRY_PAUSE_SECONDS = 0.5, 10.0
log = structlog.get_logger(__name__)


class ResponseStream(Protocol):
    """An open response, such as the SDK's `Stream`. `close` ends its connection."""

    @property
    def response(self) -> httpx2.Response: ...

    def close(self) -> None: ...


class Connection:
    """Sends calls to `service`. Thread-safe.

    `connect_timeout` is in seconds. `transport` handles the HTTP requests instead of the network; the offline
    engine is such a transport. Raises SettingsError if the service's base URL isn't valid, or if a variable
    of the environment keeps requests from being sent.
    """

    def __init__(
        self,
        service: ServiceSettings,
        connect_timeout: float,
        *,
        transport: httpx2.BaseTransport | None,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self.service = service
        self._connect_timeout = connect_timeout
        self._transport = transport
        self._sleep = sleep
        self._lock = threading.Lock()
        self._sdk: openai.OpenAI | None = None
        self._unknown = _UnknownParameters()
        self.clock = clock
        self._key = service.api_key
        self._secrets = tuple(secret for secret in service.secrets if len(secret) >= MIN_MASKED_LENGTH)
        # Extra headers may hold a key under another name, and a placeholder beside it could be refused.
        names = {name.lower() for name in service.headers}
        self._omits_key = bool(names) and not service.api_key and "authorization" not in names
        try:
            url = httpx2.URL(OFFLINE_URL if service.offline else service.base_url or OPENAI_URL)
        except (httpx2.InvalidURL, ValueError) as error:
            raise SettingsError(
                f"{service.url_variable} isn't a valid address.", details=str(error)
            ) from error
        if transport is None:
            check_network()
        self._query = url.query.decode("ascii")
        self.base_url = _with_trailing_slash(url.copy_with(query=None))

    def connect(self) -> openai.OpenAI:
        """Return the OpenAI SDK's client.

        The client is built when this method is first called, which takes about 0.2 seconds. Raises
        ServiceUnreachable if it can't be built, for example because SSL_CERT_FILE has been deleted since the
        start. Nothing has been sent then.
        """
        with self._lock:
            if self._sdk is None:
                try:
                    self._sdk = _build_sdk(self.service, self.base_url, self._transport, self.clock)
                except (ImportError, OSError, ValueError, httpx2.InvalidURL) as error:
                    raise ServiceUnreachable(details=_reason_for(error)) from error
            return self._sdk

    def close(self) -> None:
        if self._sdk:
            self._sdk.close()

    def deadline(self, seconds: float) -> Deadline:
        return Deadline(self.clock() + seconds, self.clock)

    def timeout(self, deadline: Deadline) -> httpx2.Timeout:
        remaining = deadline.remaining
        return httpx2.Timeout(remaining, connect=min(remaining, self._connect_timeout))

    def redact(self, text: str) -> str:
        """Return `text` without the secrets of the service, cut to the maximum length of error details."""
        return redact(self._masked(text), self._key)

    def request_id(self, response: httpx2.Response) -> str | None:
        return read_request_id(response, secret=self._key)

    def open(self, call: Call, deadline: Deadline, *, send_until: Deadline | None = None) -> ResponseStream:
        """Send `call` and return the response. The response's body is still unread.

        The whole response must arrive before `deadline`. If the service refuses optional parameters, `call`
        is sent again without them, because a refused call costs nothing. After `send_until`, or else after
        `deadline`, it isn't sent again. Parameters that the service doesn't know are left out of all later
        calls for the same model. Any other failure raises the error that `translate_error` returns.
        """
        with self._completing_errors():
            return self._open(call.without(self._unknown.names(call)), deadline, send_until or deadline)

    def _open(self, call: Call, deadline: Deadline, send_until: Deadline) -> ResponseStream:
        while True:
            try:
                stream = self._send(call, deadline)
            except sdk_errors() as error:
                fault = fault_from_error(error)
                fallback = call.fallback(fault) if fault else None
                if fallback is None or send_until.expired:
                    raise translate_error(error, paid=call.paid, secret=self._key, edit=call.edit) from error
                call = fallback
            else:
                self._unknown.add(call, call.unknown)
                return stream

    def open_with_retries(self, call: Call, deadline: Deadline) -> ResponseStream:
        """Send a text call with `open` and return the response. Retry after a transient error.

        At most MAX_TEXT_ATTEMPTS attempts are made, and none after `deadline`. The last attempt's error is
        raised. Some gateways fail to stream, so the last attempt after an internal error of the service is
        made without a stream. If it succeeds, later calls for the same model are made without a stream, too.
        Never use this method for images, because a failed image call may have been charged.
        """
        streamed = call
        for attempt in range(1, MAX_TEXT_ATTEMPTS + 1):
            try:
                stream = self.open(call, deadline)
            except _RETRIED_ERRORS as error:
                pause = _retry_pause(error, attempt)
                too_long = pause >= deadline.remaining or pause > _MAX_RETRY_PAUSE_SECONDS
                if attempt == MAX_TEXT_ATTEMPTS or too_long:
                    raise
                self._sleep(pause)
                if attempt == MAX_TEXT_ATTEMPTS - 1 and isinstance(error, ServiceFailed):
                    call = streamed if self.service.is_official else call.without(_STREAM)
            else:
                if call is not streamed:
                    self._unknown.add(call, _STREAM)
                return stream
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def reading(self, stream: ResponseStream, *, paid: bool) -> Iterator[None]:
        """Translate the errors raised in the with-block, which reads `stream`. Close `stream` at the end.

        `paid` is true if the call buys images. The raised error then says that the call may have been
        charged.
        """
        with self._completing_errors(), closing(stream):
            try:
                yield
            except sdk_errors() as error:
                raise translate_error(error, paid=paid, secret=self._key, response=stream.response) from error

    def reported_error(
        self, event: ResponseEvent, response: httpx2.Response, *, paid: bool
    ) -> ImageError | None:
        """Return the error that `event` of `response` reports, or None if it reports none.

        `paid` is true if the call buys images.
        """
        if event.error is not None:
            fault: ServiceFault | None = fault_from_body(event.error, response)
        else:
            fault = unlabelled_fault(event.body, response, streamed=event.streamed)
        return self._complete(error_from_fault(fault, paid=paid, secret=self._key)) if fault else None

    @contextmanager
    def _completing_errors(self) -> Iterator[None]:
        """Pass an ImageError raised in the with-block through `_complete`."""
        try:
            yield
        except ImageError as error:
            self._complete(error)
            raise

    def _complete(self, error: ImageError) -> ImageError:
        """Put this service's settings into the suggestions of `error`, mask its secrets, and return `error`.

        The suggestions name the image service's settings. The text service may have settings of its own.
        """
        error.message, error.details = self._masked(error.message), self._masked(error.details)
        error.suggestions = tuple(
            tip.replace("OPENAI_BASE_URL", self.service.url_variable)
            .replace("OPENAI_API_KEY", self.service.key_variable)
            .replace("EXTRA_HEADERS", self.service.headers_variable)
            for tip in error.suggestions
        )
        return error

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[secret]")
        return text

    def _send(self, call: Call, deadline: Deadline) -> ResponseStream:
        sdk = self.connect()
        import openai  # noqa: PLC0415

        parts = call.inputs.form_parts
        headers: dict[str, Any] = dict(_MULTIPART_HEADERS) if parts else {}
        if self._omits_key:
            headers["Authorization"] = openai.Omit()
        return sdk.post(
            f"{call.path}?{self._query}" if self._query else call.path,
            cast_to=object,
            body=call.body,
            files=parts or None,
            options={"timeout": self.timeout(deadline), "headers": headers},
            stream=True,
            stream_cls=openai.Stream[object],
        )


class _UnknownParameters:
    """The parameters that the service is found not to know, by path and model. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: dict[tuple[str, str], frozenset[str]] = {}

    def names(self, call: Call) -> frozenset[str]:
        with self._lock:
            return self._names.get(self._key(call), frozenset())

    def add(self, call: Call, names: frozenset[str]) -> None:
        with self._lock:
            known = self._names.get(self._key(call), frozenset())
            self._names[self._key(call)] = known | names
        if names - known:
            log.warning("parameters_unknown_to_service", path=call.path, names=sorted(names - known))

    def _key(self, call: Call) -> tuple[str, str]:
        return call.path, str(call.body.get("model", ""))


def _reason_for(error: Exception) -> str:
    """Return why no client could be built: the wrong variable of the environment, or else `error` itself."""
    try:
        check_network()
    except SettingsError as wrong:
        return wrong.message
    return f"{type(error).__name__}: {error}"


def _with_trailing_slash(url: httpx2.URL) -> httpx2.URL:
    """Return `url` with a slash at the end of its path.

    A relative address that is joined to the returned URL is then appended to the path. Without the slash, it
    would replace the last part of the path.
    """
    path, question_mark, query = url.raw_path.partition(b"?")
    if path.endswith(b"/"):
        return url
    return url.copy_with(raw_path=path + b"/" + question_mark + query)


def _retry_pause(error: ImageError, attempt: int) -> float:
    """Return the seconds to wait after the attempt with the number `attempt`.

    If the service sent a retry-after value, the pause is that value.
    """
    return error.retry_after if error.retry_after is not None else _RETRY_PAUSE_SECONDS * attempt


def _build_sdk(
    service: ServiceSettings,
    base_url: httpx2.URL,
    transport: httpx2.BaseTransport | None,
    clock: Callable[[], float],
) -> openai.OpenAI:
    """Return the SDK's client, which sends requests over `transport` and is configured only by `service`.

    By default, the SDK takes missing arguments from environment variables. The empty `organization` stops the
    SDK from reading OPENAI_ORG_ID. The attribute is then set to None, so that no header is sent.
    OPENAI_CUSTOM_HEADERS has no argument and would be mixed with the extra headers, so the client's private
    field is replaced.
    """
    import openai  # noqa: PLC0415

    hooks = deadline_hooks(clock)
    http_client = openai.DefaultHttpx2Client(
        transport=transport,
        follow_redirects=False,
        event_hooks=hooks | {"response": [*hooks["response"], record_response]},
        headers=_HEADERS,
    )
    sdk = openai.OpenAI(
        api_key=OFFLINE_KEY if service.offline else service.api_key or NO_KEY,
        admin_api_key="",
        organization="",
        project="",
        webhook_secret="",
        base_url=str(base_url),
        max_retries=0,
        http_client=http_client,
    )
    sdk.organization = sdk.project = None
    sdk._custom_headers = dict(service.headers)
    return sdk
