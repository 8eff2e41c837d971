"""Functions that turn values into text for the pages: prices, times, job states and escaped Markdown."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from core.database.models import JobState
from core.generation.views import JobView
from core.usage.money import format_money

# `replaced` matches characters that Streamlit turns into links, emoji, icons or arrows, even after a
# backslash. The second line matches Markdown's special characters.
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
    """Return `text` on one line, escaped so that Streamlit's Markdown shows each character as it is."""
    return _MARKDOWN.sub(_escape, " ".join(text.split()))


def _escape(found: re.Match[str]) -> str:
    # A colour directive without a colour puts the character into its own element. Streamlit replaces no text
    # that spans two elements.
    return f":color[\\{found[0]}]" if found["replaced"] else f"\\{found[0]}"


def shorten(text: str, length: int) -> str:
    """Return `text` on one line. If it is longer than `length` characters, cut it and end it with "…"."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def format_price(micros: int | None, *, about: bool = True, limit: int | None = None) -> str:
    """Return a price as text, such as "about $0.04" or "free". `micros` is the price in micro-USD.

    If `micros` is None, returns the likely maximum `limit`, such as "up to about $0.21", or "price unknown"
    if that is None, too. If `about` is False, the word "about" is left out.
    """
    if micros is None:
        return "price unknown" if limit is None else f"up to about {format_money(limit)}"
    if micros == 0:
        return "free"
    return f"about {format_money(micros)}" if about else format_money(micros)


def price_basis(micros: int | None, limit: int | None) -> str:
    """Return what the estimate in `format_price` is based on. Returns "" if the price isn't an estimate."""
    if micros is not None or limit is None:
        return ""
    return (
        "No price is published for these options. The estimate is based on the token counts of "
        "gpt-image-2.5-flare; the image and your account show what it cost."
    )


def format_image_count(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"


def to_local_time(moment: datetime) -> datetime:
    """Return `moment` in the browser's time zone. Use UTC if the browser's time zone is unknown."""
    try:
        zone = ZoneInfo(st.context.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        zone = ZoneInfo("UTC")
    return moment.astimezone(zone)


def local_time(moment: datetime) -> str:
    """Return `moment` as text in the browser's time zone, such as "05 Mar 2026, 14:30"."""
    return to_local_time(moment).strftime("%d %b %Y, %H:%M")


def relative_day(day: date, today: date) -> str:
    """Return "today" or "yesterday", or the date, such as "on 05 Mar 2026", for any other day."""
    near = {today: "today", today - timedelta(days=1): "yesterday"}
    return near.get(day, f"on {day:%d %b %Y}")


def format_duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{int(seconds)} s"
    return f"{int(seconds // 60)}:{int(seconds % 60):02d} min"


def browser_name(agent: str) -> str:
    """Return the names of the browser and the system in a User-Agent header, such as "Firefox on Linux".

    If the header is that of a script, returns the name of its HTTP client, such as "curl".
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
    """Return the alternative text of an image, which screen readers speak.

    The text has the image's name and the start of its prompt. If both are empty, the text is "Untitled
    image".
    """
    return ": ".join(part for part in (name.strip(), shorten(prompt, 120)) if part) or "Untitled image"


def describe_job_state(job: JobView, now: datetime) -> str:
    """Return the state of a job as text, with a time, such as "Generating · 12 s".

    The time is the elapsed time at `now`. For a queued job it is the estimated time until the job starts, if
    known. The state of a cancelled job has no time.
    """
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
