"""Helpers for every package: text, ids, the clock, media types and the log."""
