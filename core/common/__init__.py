"""Helpers without a domain: text, ids, the clock, media types and the log."""
