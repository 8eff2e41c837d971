"""One answer of a batch is an error or garbage: its own job says so, and the others are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from core import errors
from core.database import Database
from core.models import Job, JobState, Usage, User
from core.queue import JobQueue
from core.worker import PASSING
from tests import batches, garbling
from tests.books import CODES
from tests.clock import Clock
from tests.generating import ON_SQLITE, Studio
from tests.openai_service import ERRORS, FAULTS, Behaviour, OpenAIService, openai_service
from tests.polling import until

pytestmark = ON_SQLITE
COUNT = 5
STRUCK = 3


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.dispatch.POLL_SECONDS", 0.05)


def run(studio: Studio, user: User, behaviour: Behaviour | str) -> Job:
    """The job whose call was struck, in the middle of a batch that has ended otherwise."""
    good = Behaviour(latency=0.02)
    studio.service.script(good, always=True)
    studio.service.script(*[good] * STRUCK, behaviour)
    batches.submit(studio, user, COUNT)
    until(lambda: studio.paid() > STRUCK)
    struck = str(studio.service.asked("/images/generations")[STRUCK].body["prompt"])
    until(lambda: sum(job.state == JobState.DONE for job in studio.rows(Job)) >= COUNT - 1)
    until(lambda: batches.by_prompt(studio)[struck].state != JobState.RUNNING)
    return batches.by_prompt(studio)[struck]


@pytest.mark.parametrize("name", [*garbling.WHOLE, *garbling.UNREADABLE, *garbling.NO_PICTURE, *garbling.NO_FILE])
def test_x(make_studio, database, user, name):
    table = garbling.WHOLE | garbling.UNREADABLE | garbling.NO_PICTURE | garbling.NO_FILE
    studio = make_studio(database, settings={"partial_images": 2, "image_timeout": 5})
    job = run(studio, user, table[name])
    b = batches.balance_of(studio)
    print(name, job.state, (job.error or {}).get("code"), b)
    assert b.amiss == {} 
