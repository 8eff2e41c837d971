"""Text from people and services, made safe for places that read Markdown, and figures in words."""

from __future__ import annotations

import re
from datetime import date, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from core.database.models import JobState
from core.generation.views import JobView
from core.usage.money import format_money

# What Streamlit turns into links, emoji, icons and arrows even when escaped; then Markdown's own signs.
_MARKDOWN = re.compile(
    r"(?P<replaced>[:@]|(?<=www)\.|[<>=~-](?=[<>=~-]))"
    r"|[\\`*_{}\[\]()<>#+\-.!|~$&=/^]",
    re.IGNORECASE,
)
STATE_LABELS = {
    JobState.QUEUED: "Queued",
    JobState.RUNNING: "Painting",
    JobState.DONE: "Finished",
    JobState.FAILED: "Failed",
    JobState.UNKNOWN: "Outcome unknown",
    JobState.CANCELLED: "Cancelled",
}


def escape_markdown(text: str) -> str:
    """`text` in one line, shown as it is by a label or caption, which would read it as Markdown."""
    return _MARKDOWN.sub(_as_it_is, " ".join(text.split()))


def _as_it_is(found: re.Match[str]) -> str:
    # A colour that says none: an element of its own, across which nothing is replaced.
    return f":color[\\{found[0]}]" if found["replaced"] else f"\\{found[0]}"


def shorten(text: str, length: int) -> str:
    """The start of `text` in one line of at most `length` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def format_price(micros: int | None, *, about: bool = True) -> str:
    """A price for people: "free" for the offline engine, "price unknown" where nobody knows."""
    if micros is None:
        return "price unknown"
    if micros == 0:
        return "free"
    return f"about {format_money(micros)}" if about else format_money(micros)


def format_image_count(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"


def to_local_time(moment: datetime) -> datetime:
    """`moment` by the clock of the browser's owner."""
    try:
        zone = ZoneInfo(st.context.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        zone = ZoneInfo("UTC")
    return moment.astimezone(zone)


def local_time(moment: datetime) -> str:
    """A time as the browser's owner reads it."""
    return to_local_time(moment).strftime("%d %b %Y, %H:%M")


def relative_day(day: date, today: date) -> str:
    """A day of the last two."""
    return "today" if day == today else "yesterday"


def format_duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{int(seconds)} s"
    return f"{int(seconds // 60)}:{int(seconds % 60):02d} min"


def browser_name(agent: str) -> str:
    """The browser and system a person would name, or a script's own name, out of a user agent."""
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
    """An image in words, for those who can't see it: its name and the start of its prompt."""
    return ": ".join(part for part in (name.strip(), shorten(prompt, 120)) if part) or "Untitled image"


def describe_job_state(job: JobView, now: datetime) -> str:
    """How far a job has come, or how long it still waits."""
    words = STATE_LABELS[job.state]
    if job.state is JobState.CANCELLED:
        return words
    if job.state is not JobState.QUEUED:
        return f"{words} · {format_duration(job.elapsed(now))}"
    if job.due_at:
        left = max(0.0, (job.due_at - now).total_seconds())
        return f"Waiting for the service · next try in {format_duration(left)}"
    if job.place is None or not job.place.seconds:
        return f"{words} · {format_duration(job.elapsed(now))}"
    return f"{words} · {job.place.ahead} ahead of it · about {format_duration(job.place.seconds)}"
