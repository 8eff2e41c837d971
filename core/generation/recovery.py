"""Recovers the jobs that a stopped process left behind."""

from __future__ import annotations

from datetime import timedelta

# Finished jobs stay on the Create page this long.
RECENT = timedelta(hours=12)
