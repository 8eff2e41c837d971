"""Checks a prompt with the service's moderation endpoint before the prompt is paid for."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import structlog

from core.errors import ImageError, PromptFlagged, ServiceBusy
from core.provider.connection import Connection
from core.provider.payloads import moderation_call
from core.responses.events import read_events
from core.responses.parsing import flagged_categories
from core.settings import Moderation

log = structlog.get_logger(__name__)

# The check is optional and a user waits for it, so its time and its number of threads are limited.
MODERATION_SECONDS, MAX_CONCURRENT_MODERATIONS = 5.0, 8


class ModerationClient:
    """Checks texts with the service's free moderation endpoint, if the MODERATION setting enables it."""

    def __init__(self, connection: Connection, mode: Moderation) -> None:
        self._connection = connection
        self._mode = mode
        self._slots = threading.BoundedSemaphore(MAX_CONCURRENT_MODERATIONS)

    def flagged_categories(self, texts: Sequence[str]) -> tuple[str, ...]:
        """Return the categories, such as "violence", for which the service flags any of `texts`.

        Returns () if no text is flagged or moderation is off. Raises ServiceBusy at once if
        MAX_CONCURRENT_MODERATIONS calls are already in progress. If the call fails, raises the error that
        `translate_error` returns.
        """
        if not self._enabled:
            return ()
        if not self._slots.acquire(blocking=False):
            raise ServiceBusy(details=f"{MAX_CONCURRENT_MODERATIONS} moderation calls are in progress")
        try:
            return self._request(texts)
        finally:
            self._slots.release()

    def screen(self, texts: Sequence[str]) -> None:
        """Raise PromptFlagged if the service flags any of `texts`.

        If the moderation call fails, the failure is only logged and no error is raised. The service also
        moderates the paid call that follows.
        """
        try:
            categories = self.flagged_categories(texts)
        except ImageError as error:
            log.warning("moderation_failed", code=error.code, details=error.details)
            return
        if categories:
            raise PromptFlagged(categories=categories)

    def _request(self, texts: Sequence[str]) -> tuple[str, ...]:
        connection = self._connection
        stream = connection.open(moderation_call(texts), connection.deadline(MODERATION_SECONDS))
        names: list[str] = []
        with connection.reading(stream, paid=False):
            for event in read_events(stream.response, images=False):
                if error := connection.reported_error(event, stream.response, paid=False):
                    raise error
                names += flagged_categories(event.body)
        return tuple(map(connection.redact, names))

    @property
    def _enabled(self) -> bool:
        service = self._connection.service
        if service.offline:
            return False
        return service.is_official if self._mode is Moderation.AUTO else self._mode is Moderation.ON
