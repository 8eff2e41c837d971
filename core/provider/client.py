"""The client of the image service and of the service that enhances prompts, which are usually the same."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx2

from core.common.service_settings import ServiceSettings
from core.provider.chat import ChatClient
from core.provider.connection import Connection
from core.provider.image_download import ImageDownloader, Resolve, resolve_host
from core.provider.images import ImagesClient
from core.provider.moderation import ModerationClient
from core.settings import Settings


class ServiceClient:
    """The client of the services that `settings` select. Thread-safe.

    The attributes `images`, `chat`, `moderation` and `text_moderation` hold the clients for each kind of
    call. Each text is moderated by the service that it is sent to: `moderation` checks prompts of images, and
    `text_moderation` checks descriptions that are enhanced.

    `transport` handles the HTTP requests to the image service instead of the network; offline, pass the
    offline engine's transport. `text_transport` does the same for the text service, if that is another one.
    `resolve` replaces the DNS look-up for image downloads. Raises SettingsError if a base URL isn't valid, or
    if a variable of the environment keeps requests from being sent.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        transport: httpx2.BaseTransport | None = None,
        text_transport: httpx2.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        resolve: Resolve = resolve_host,
    ) -> None:
        def connect(service: ServiceSettings, transport: httpx2.BaseTransport | None) -> Connection:
            return Connection(
                service, settings.connect_timeout, transport=transport, clock=clock, sleep=sleep
            )

        shared = settings.text_service == settings.image_service
        self._connection = connect(settings.image_service, transport)
        self._text_connection = self._connection if shared else connect(settings.text_service, text_transport)
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
        self.chat = ChatClient(self._text_connection, settings)
        self.moderation = ModerationClient(self._connection, settings.moderation)
        self.text_moderation = (
            self.moderation if shared else ModerationClient(self._text_connection, settings.moderation)
        )

    def prepare(self) -> None:
        """Load the OpenAI SDK now, so that the first call needn't wait about 0.2 seconds for it."""
        self._connection.connect()
        self._text_connection.connect()

    def close(self) -> None:
        self._downloader.close()
        self._connection.close()
        self._text_connection.close()
