"""What Atelier adds to the service's own time, beside the bare SDK making the same calls."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import openai

from core import bootstrap
from core.generation.views import ENDED_WITHOUT_IMAGE
from core.prompts.recipe import Recipe
from core.settings import load_settings
from core.studio import Studio
from tests.bench.figures import Figure, seconds
from tests.bench.servers import service

MANY, AT_ONCE, LATENCY = 40, 20, 1.0
SINGLES = 25
ROUNDS = 3
LOOK_SECONDS = 0.005
_MODEL, _SIZE = "gpt-image-2", "1024x1024"
Make = Callable[[int], None]


def wall(folder: Path) -> Iterator[Figure]:
    """Forty images, twenty at a time, from a service that takes a second for each."""
    with service(LATENCY) as url, _studio(folder, url, AT_ONCE) as atelier, _sdk(url) as bare:
        bare(AT_ONCE), atelier(AT_ONCE)
        pairs = [(_timed(atelier, MANY), _timed(bare, MANY)) for _ in range(ROUNDS)]
    ours, theirs = ([pair[side] for pair in pairs] for side in (0, 1))
    ratio = median(one / other for one, other in pairs)
    how = f"{seconds(ours)} / {seconds(theirs)}, {MANY} images, {AT_ONCE} at once, {ROUNDS} pairs"
    yield Figure("wall", "wall time / bare SDK", ratio, "", 1.10, how)


def overhead(folder: Path) -> Iterator[Figure]:
    """One image after the other, from a service that answers at once."""
    with service(0) as url, _studio(folder, url, 1) as atelier, _sdk(url) as bare:
        bare(3), atelier(3)
        pairs = [(_timed(atelier, 1), _timed(bare, 1)) for _ in range(SINGLES)]
    added = 1000 * median(one - other for one, other in pairs)
    ours, theirs = (1000 * median(pair[side] for pair in pairs) for side in (0, 1))
    how = f"{ours:.0f} ms - {theirs:.0f} ms, medians of {SINGLES} pairs, kept on disk"
    yield Figure("overhead", "added to an image", added, "ms", 60, how)


def _timed(make: Make, count: int) -> float:
    begun = time.perf_counter()
    make(count)
    return time.perf_counter() - begun


@contextmanager
def _studio(folder: Path, url: str, at_once: int) -> Iterator[Make]:
    """The studio as the app builds it; `make(n)` submits n images and waits until a page would show them."""
    studio = bootstrap.build(
        load_settings(
            data_dir=folder / f"data-{at_once}",
            openai_base_url=url,
            partial_images=1,
            concurrency=at_once,
            user_concurrency=at_once,
            log_level="WARNING",
        )
    )
    user_id = studio.registration.create_user("bench", "!").id
    number = iter(range(10**6))

    def make(count: int) -> None:
        recipes = [Recipe(prompt=_prompt(next(number)), model=_MODEL, size=_SIZE) for _ in range(count)]
        studio.jobs.submit(user_id, recipes)
        while not _all_done(studio, user_id):
            time.sleep(LOOK_SECONDS)
        studio.jobs.dismiss(user_id, *(job.id for job in studio.jobs.recent(user_id)))

    try:
        yield make
    finally:
        studio.close()


def _all_done(studio: Studio, user_id: str) -> bool:
    jobs = studio.jobs.recent(user_id)
    for job in jobs:
        if job.state in ENDED_WITHOUT_IMAGE:
            raise RuntimeError(f"an image was not made: {job.error}")
    return not any(job.is_live for job in jobs)


@contextmanager
def _sdk(url: str) -> Iterator[Make]:
    """The SDK alone in as many threads; its pictures are decoded and let go."""
    number = iter(range(10**6))
    with (
        openai.OpenAI(api_key="none", base_url=url, max_retries=0) as sdk,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):

        def one(prompt: str) -> None:
            events = sdk.images.generate(
                model=_MODEL, prompt=prompt, size=_SIZE, n=1, stream=True, partial_images=1
            )
            pictures = [base64.b64decode(event.b64_json) for event in events]
            assert len(pictures) == 2

        def make(count: int) -> None:
            list(pool.map(one, [_prompt(next(number)) for _ in range(count)]))

        yield make


def _prompt(number: int) -> str:
    """The service draws each prompt's picture once: both sides ask for the same few."""
    return f"a fox in the snow, number {number % MANY}"
