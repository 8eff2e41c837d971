"""What has to be done again and again: rows and files whose time is over, and Python's own garbage."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from datetime import datetime

import structlog

from core import errors
from core.accounts import Accounts
from core.gallery import Gallery
from core.models import utc_now

ROUND_SECONDS = 60
ROUNDS_PER_TIDYING = 60
log = structlog.get_logger(__name__)


class Housekeeping:
    """A thread that tidies at the start and then every hour, and collects garbage every minute.

    Streamlit would collect after every run and poll, which costs each of them more than its work.
    """

    def __init__(
        self, accounts: Accounts, gallery: Gallery, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._accounts = accounts
        self._gallery = gallery
        self._clock = clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def tidy(self) -> None:
        """Remove ended sessions and tickets, and what has been in the trash for too long."""
        try:
            self._accounts.tidy()
            self._gallery.purge(self._clock())
        except errors.ImageError as error:
            # The next round tries again; nothing that people need waits for it.
            log.warning("tidying failed", code=error.code, details=error.details)

    def _run(self) -> None:
        rounds = 0
        while True:
            if rounds % ROUNDS_PER_TIDYING == 0:
                self.tidy()
            gc.collect()
            rounds += 1
            if self._stopping.wait(ROUND_SECONDS):
                return
