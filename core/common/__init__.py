"""Helpers that all packages use: text, ids, the clock, media types and logging."""
