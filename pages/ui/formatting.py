"""Texts for the pages: escaped Markdown, and prices, times and job states in words."""

from __future__ import annotations

import re
from datetime import date, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from core.database.models import JobState
from core.generation.views import JobView
from core.usage.money import format_money

# `replaced` matches text that Streamlit turns into links, emoji, icons or arrows even if it is escaped. The
# other characters are Markdown's special characters.
_MARKDOWN = re.compile(
    r"(?P<replaced>[:@]|(?<=www)\.|[<>=~-](?=[<>=~-]))"
    r"|[\\`*_{}\[\]()<>#+\-.!|~$&=/^]",
    re.IGNORECASE,
)
STATE_LABELS = {
    JobState.QUEUED: "Queued",
    JobState.RUNNING: "Generating",
    JobState.DONE: "Finished",
    JobState.FAILED: "Failed",
    JobState.UNKNOWN: "Outcome unknown",
    JobState.CANCELLED: "Cancelled",
}


def escape_markdown(text: str) -> str:
    """Return `text` on one line, escaped so that Markdown shows it literally."""
    return _MARKDOWN.sub(_escape, " ".join(text.split()))


def _escape(found: re.Match[str]) -> str:
    # A colour directive without a colour puts the character into its own element. Streamlit replaces no text
    # that spans two elements.
    return f":color[\\{found[0]}]" if found["replaced"] else f"\\{found[0]}"


def shorten(text: str, length: int) -> str:
    """Return `text` on one line, cut to at most `length` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def format_price(micros: int | None, *, about: bool = True) -> str:
    """Return a price in micro-USD as text, such as "about $0.04" or "free".

    Returns "price unknown" if `micros` is None. `about` adds the word "about".
    """
    if micros is None:
        return "price unknown"
    if micros == 0:
        return "free"
    return f"about {format_money(micros)}" if about else format_money(micros)


def format_image_count(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"


def to_local_time(moment: datetime) -> datetime:
    """Return `moment` in the browser's time zone, or in UTC if the time zone is unknown."""
    try:
        zone = ZoneInfo(st.context.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        zone = ZoneInfo("UTC")
    return moment.astimezone(zone)


def local_time(moment: datetime) -> str:
    """Return `moment` as text in the browser's time zone, such as "05 Mar 2026, 14:30"."""
    return to_local_time(moment).strftime("%d %b %Y, %H:%M")


def relative_day(day: date, today: date) -> str:
    """Return "today" if `day` is `today`, otherwise "yesterday". `day` must be one of these two."""
    return "today" if day == today else "yesterday"


def format_duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{int(seconds)} s"
    return f"{int(seconds // 60)}:{int(seconds % 60):02d} min"


def browser_name(agent: str) -> str:
    """Return the browser and system that a user agent names, such as "Firefox on Linux".

    Returns the name of the HTTP client if the user agent is that of a script.
    """
    browsers = (
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    )
    systems = (
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS", "Mac"),
        ("Linux", "Linux"),
    )
    program = agent.partition("/")[0] if not agent.startswith("Mozilla/") else ""
    browser = next((name for mark, name in browsers if mark in agent), shorten(program, 30) or "A browser")
    system = next((name for mark, name in systems if mark in agent), "")
    return f"{browser} on {system}" if system else browser


def image_alt_text(name: str, prompt: str) -> str:
    """Return an image's text for screen readers: its name and the start of its prompt."""
    return ": ".join(part for part in (name.strip(), shorten(prompt, 120)) if part) or "Untitled image"


def describe_job_state(job: JobView, now: datetime) -> str:
    """Return the job's state as text, with its elapsed time or the estimated time until it starts."""
    label = STATE_LABELS[job.state]
    if job.state is JobState.CANCELLED:
        return label
    if job.state is not JobState.QUEUED:
        return f"{label} · {format_duration(job.elapsed(now))}"
    if job.due_at:
        seconds = max(0.0, (job.due_at - now).total_seconds())
        return f"Waiting for the service · next try in {format_duration(seconds)}"
    if job.queue_position is None or not job.queue_position.seconds:
        return f"{label} · {format_duration(job.elapsed(now))}"
    position = f"{label} · {job.queue_position.ahead:,} ahead" if job.queue_position.ahead else "Next in line"
    return f"{position} · about {format_duration(job.queue_position.seconds)}"
