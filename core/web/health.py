"""The routes for a container's health check, for a load balancer and for search engines."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from core import errors
from core.web.error_responses import error_response

# A result is given to all requests for this many seconds, so that requests can't burden the database.
FRESH_SECONDS = 1.0
# Shorter than the timeout of a load balancer's check.
MAX_WAIT_SECONDS = 1.5
_NO_STORE = {"Cache-Control": "no-store"}
log = structlog.get_logger(__name__)
Checks = Mapping[type[errors.ImageError], Callable[[], None]]


class Readiness:
    """Checks whether this process can serve requests.

    `get_checks` returns functions that raise an ImageError if a part that requests need can't be used. They
    run one after the other, in a thread of their own, and never twice at the same time. If they take longer
    than MAX_WAIT_SECONDS, the process isn't ready. The reason is then the error class under which the running
    function is listed.
    """

    def __init__(self, get_checks: Callable[[], Checks]) -> None:
        self._get_checks = get_checks
        self._result: Future[errors.ImageError | None] | None = None
        self._ended = 0.0
        self._running: type[errors.ImageError] = errors.ImageError
        self._reported: str | None = None

    async def failure(self) -> errors.ImageError | None:
        """Return the reason why the process isn't ready, or None if it is."""
        result = self._result
        if result is None or (result.done() and time.monotonic() - self._ended > FRESH_SECONDS):
            result = self._result = Future()
            threading.Thread(target=self._run, args=(result,), name="readiness", daemon=True).start()
        done, _ = await asyncio.wait([asyncio.wrap_future(result)], timeout=MAX_WAIT_SECONDS)
        found = result.result() if done else self._running(details="no answer in time")
        self._report(found)
        return found

    def _run(self, result: Future[errors.ImageError | None]) -> None:
        found = self._first_failure()
        self._ended = time.monotonic()
        result.set_result(found)

    def _first_failure(self) -> errors.ImageError | None:
        try:
            for kind, check in self._get_checks().items():
                self._running = kind
                check()
        except errors.ImageError as error:
            return error
        except Exception as error:
            return self._running(details=type(error).__name__)
        return None

    def _report(self, failure: errors.ImageError | None) -> None:
        """Log each change: that the process is no longer ready, and why, or that it is ready again."""
        code = failure.code if failure else None
        if code == self._reported:
            return
        self._reported = code
        if failure:
            log.warning("not_ready", code=code, details=failure.details)
        else:
            log.warning("ready_again")


def health_routes(readiness: Readiness) -> list[Route]:
    """Return the routes `/healthz`, `/readyz` and `/robots.txt`.

    Anybody may request them, so an error in a response has no details.
    """

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "alive"}, headers=_NO_STORE)

    async def readyz(_request: Request) -> Response:
        failure = await readiness.failure()
        if failure:
            return error_response(type(failure)(), 503)
        return JSONResponse({"status": "ready"}, headers=_NO_STORE)

    async def robots(_request: Request) -> Response:
        return PlainTextResponse("User-agent: *\nDisallow: /\n")

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/robots.txt", robots)]
