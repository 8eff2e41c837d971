"""Asks the service's moderation about a prompt before it is paid for."""

from __future__ import annotations

# It is a courtesy, and somebody waits for it: a service that hangs may hold a few threads, not all there are.
MODERATION_SECONDS, MODERATIONS_AT_ONCE = 5.0, 8
