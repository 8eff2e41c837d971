"""A batch of images that are all different, and how it stands when it has ended."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from core.database.models import LIVE_STATES, Job, JobState, User
from tests.support.crashing_worker import RECIPE
from tests.support.generation import Studio
from tests.support.reconciliation import Books, balance
from tests.support.waiting import until


def submit(studio: Studio, user: User, count: int = 8) -> None:
    """A batch whose prompts tell its jobs apart."""
    recipes = [replace(RECIPE, prompt=f"a fox in the snow, number {number}") for number in range(count)]
    studio.jobs.submit(user.id, recipes)


def under_way(studio: Studio, calls: int = 3) -> None:
    """Return when some calls have left, and some jobs still wait for theirs."""
    until(lambda: studio.paid() >= calls)


def by_prompt(studio: Studio) -> dict[str, Job]:
    return {str(job.request["prompt"]): job for job in studio.rows(Job)}


def states(studio: Studio) -> list[str]:
    return sorted(job.state for job in studio.rows(Job))


def all_ended(studio: Studio, *, seconds: float = 30) -> None:
    """Wait until the batch has ended by itself, and the books have been written."""
    until(lambda: not set(states(studio)) & set(LIVE_STATES), seconds=seconds)
    # The service notes what has left whole a moment after it has, if it has.
    with suppress(AssertionError):
        until(lambda: not balance_of(studio).amiss, seconds=2)


def balance_of(studio: Studio) -> Books:
    return balance(studio.database, studio.storage, list(studio.service.requests))


def all_done(studio: Studio, count: int = 8) -> None:
    """Every image of the batch was made, none was paid twice, and nothing is amiss."""
    all_ended(studio)
    books = balance_of(studio)
    assert books.amiss == {}
    assert states(studio) == [JobState.DONE] * count
    assert (books.calls, books.delivered, books.images) == (count, count, count)
