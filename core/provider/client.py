"""The client of one OpenAI-compatible service: images, chat and moderation over one connection."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx2

from core.provider.chat import ChatClient
from core.provider.connection import Connection
from core.provider.image_download import ImageDownloader, Resolve, resolve_host
from core.provider.images import ImagesClient
from core.provider.moderation import ModerationClient
from core.settings import Settings


class ServiceClient:
    """The client of the service that `settings` select. Thread-safe.

    The attributes `images`, `chat` and `moderation` hold the clients for each kind of call. `transport`
    handles the HTTP requests instead of the network; offline, pass the offline engine's transport. `resolve`
    replaces the DNS look-up for image downloads. Raises SettingsError if OPENAI_BASE_URL isn't a valid URL.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        transport: httpx2.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        resolve: Resolve = resolve_host,
    ) -> None:
        self._connection = Connection(settings, transport=transport, clock=clock, sleep=sleep)
        self._downloader = ImageDownloader(
            self._connection.base_url,
            settings.image_download_hosts,
            transport=transport,
            clock=clock,
            sleep=sleep,
            connect_timeout=settings.connect_timeout,
            resolve=resolve,
        )
        self.images = ImagesClient(self._connection, settings, self._downloader)
        self.chat = ChatClient(self._connection, settings)
        self.moderation = ModerationClient(self._connection, settings)

    def prepare(self) -> None:
        """Load the OpenAI SDK now, so that the first call needn't wait about 0.2 seconds for it."""
        self._connection.connect()

    def close(self) -> None:
        self._downloader.close()
        self._connection.close()
