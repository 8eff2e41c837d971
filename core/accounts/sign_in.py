"""The limits of signing in: how many attempts, how long a lock-out lasts."""

from __future__ import annotations

from datetime import timedelta

MAX_ATTEMPTS = 5
LOCK = timedelta(minutes=15)
TICKET_LIFE = timedelta(seconds=60)
