"""Configures logging: one event per line, without secrets or control characters."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from core import errors
from core.common.log_limits import LineLimit, shortage, shortage_in

# Control characters except newline and tab, Unicode line separators, characters that change the writing
# direction, and lone surrogates, which can't be encoded.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_INDENT = "\n  "
_LIBRARIES = ("sqlalchemy",)
# No handler has a level as low as this, so none writes the record.
_UNWRITTEN = logging.NOTSET - 1


def escaped(text: str) -> str:
    r"""Return `text` with unsafe characters escaped, and with each line except the first indented.

    For example, the escape character becomes `\x1b`. A log event never begins with a space, so a newline in
    `text` can't make the rest look like another event.
    """
    return _UNSAFE.sub(_escape, text).replace("\n", _INDENT)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


class LineRenderer:
    """A structlog processor that renders an event as one line of text.

    If the event has a traceback, the traceback follows in indented lines.
    """

    def __init__(self) -> None:
        self._renderer = structlog.dev.ConsoleRenderer(colors=False)

    def __call__(self, logger: Any, method: str, event: structlog.typing.EventDict) -> str:
        below: Sequence[str] = [str(event.pop(name)) for name in ("stack", "exception") if name in event]
        line = str(self._renderer(logger, method, event)).replace("\n", r"\n")
        return "\n".join(map(escaped, (line, *(f"  {text}" for text in below))))


def configure_logging(level: str, *, secrets: Sequence[str] = ()) -> None:
    """Configure structlog and `logging` to remove secrets and to escape control characters.

    Texts that look like secrets are removed, and each text in `secrets`. This applies to log lines of
    libraries and to the web server's tracebacks too. `level` is the least severe level that structlog writes,
    such as "INFO".

    An error that means that the process ran out of descriptors, memory or threads is one line without a
    traceback. Each event, and each library's logger, writes it once per minute at most.
    """
    limit = LineLimit()

    def redact(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, "[secret]")
        return errors.scrub(text)

    logging.setLogRecordFactory(partial(_scrubbed_record, lambda text: escaped(redact(text)), limit))
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            partial(_limit_shortages, limit),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            LineRenderer(),
            lambda _logger, _method, line: redact(str(line)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
    )
    for name in _LIBRARIES:
        library = logging.getLogger(name)
        library.handlers[:], library.propagate = [_LibraryLines()], False


def limit_stray_errors(loop: asyncio.AbstractEventLoop) -> None:
    """Log errors that nobody catches: in callbacks of `loop`, in threads, and while objects are deleted.

    Each kind of error of the loop and of deleted objects is logged once per minute at most. When descriptors
    are short, asyncio tries to accept connections 2,048 times per second. Each attempt leaves a callback
    behind, which fails when the server stops. Half-built objects fail again when they are deleted.
    """
    limit, log = LineLimit(), structlog.get_logger(__name__)

    def on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        kind = f"{context['message'].partition('(')[0]} {type(error).__name__}"
        if shortage(error) or limit.admit(kind) is not None:
            loop.default_exception_handler(context)

    def on_thread_error(failed: threading.ExceptHookArgs) -> None:
        log.error("thread_failed", thread=failed.thread and failed.thread.name, exc_info=failed.exc_value)

    def on_deletion_error(failed: sys.UnraisableHookArgs) -> None:
        place = getattr(failed.object, "__qualname__", type(failed.object).__name__)
        left_out = limit.admit(f"{place} {failed.exc_type.__name__}")
        if left_out is not None:
            log.warning("error_ignored", place=place, error=repr(failed.exc_value), left_out=left_out)

    loop.set_exception_handler(on_loop_error)
    threading.excepthook = on_thread_error
    sys.unraisablehook = on_deletion_error


class _LibraryLines(logging.Handler):
    """A logging handler that passes a library's log records to structlog.

    An exception becomes the field `error`, without a traceback.
    """

    def emit(self, record: logging.LogRecord) -> None:
        cause = {"error": repr(record.exc_info[1])} if record.exc_info and record.exc_info[1] else {}
        structlog.get_logger(record.name).log(record.levelno, record.getMessage(), **cause)


def _limit_shortages(
    limit: LineLimit, _logger: Any, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """A structlog processor that limits the events of a process that ran out of something."""
    given = event.get("exc_info")
    error = given if isinstance(given, BaseException) else sys.exc_info()[1] if given else None
    missing = shortage(error) or shortage_in(str(event.get("details")))
    if missing is None:
        return event
    left_out = limit.admit(f"{missing} {event['event']}")
    if left_out is None:
        raise structlog.DropEvent
    shown = {"error": repr(error)} if error else {}
    return {**event, **shown, "exc_info": None, "missing": missing, "left_out": left_out}


def _limit_record(limit: LineLimit, record: logging.LogRecord) -> bool:
    """As `_limit_shortages`, for a record of a library. Return whether the record is to be written."""
    error = record.exc_info[1] if record.exc_info else None
    missing = shortage(error)
    if missing is None:
        return True
    left_out = limit.admit(f"{missing} {record.name}")
    subject = str(record.msg).partition("\n")[0]
    record.msg, record.args = f"{subject} missing={missing} error={error!r} left_out={left_out}", ()
    record.exc_info = None
    return left_out is not None


def _scrub_message(record: logging.LogRecord, scrubbed: Callable[[str], str]) -> None:
    """Remove secrets from the message of `record`, by means of the function `scrubbed`.

    If possible, changes only the record's arguments, because uvicorn's access log needs them as a tuple.
    """
    message = record.getMessage()
    clean = scrubbed(message)
    if clean == message:
        return
    if isinstance(record.args, tuple):
        record.args = tuple(scrubbed(arg) if isinstance(arg, str) else arg for arg in record.args)
    if record.getMessage() != clean:
        record.msg, record.args = clean, ()


def _scrubbed_record(
    scrubbed: Callable[[str], str], limit: LineLimit, *args: Any, **fields: Any
) -> logging.LogRecord:
    record = logging.LogRecord(*args, **fields)
    if not _limit_record(limit, record):
        record.levelno = _UNWRITTEN
        return record
    with suppress(Exception):  # wrong arguments of a library's log call: `logging` reports them later
        _scrub_message(record, scrubbed)
    if record.exc_info and record.exc_info[1]:
        record.exc_text = scrubbed(logging.Formatter().formatException(record.exc_info))
    return record
