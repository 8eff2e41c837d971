"""Whatever fault the offline engine simulates, nothing says that it was charged, or names an object."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from core import bootstrap
from core.errors import ImageError, StoredError
from core.offline.simulated_faults import FAULTS
from core.prompts.recipe import Recipe
from core.prompts.request import PromptRequest
from core.settings import load_settings
from core.studio import Studio
from pages.ui.error_panel import cost_text
from tests.support.generation import a_user
from tests.support.waiting import until

RECIPE = Recipe(prompt="a fox", model="offline-painter", size="256x256")


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    built = bootstrap.build(load_settings(_env_file=None, data_dir=tmp_path_factory.mktemp("offline")))
    yield built
    built.close()


@pytest.fixture(scope="module")
def owner_id(studio: Studio) -> str:
    return a_user(studio.database).id


@pytest.fixture(scope="module")
def image_errors(studio: Studio, owner_id: str) -> dict[str, StoredError]:
    """The error of each fault: of the job that ended, or of the call that is sent again later."""
    recipes = [Recipe(prompt=f"!fail {word}", model=RECIPE.model, size=RECIPE.size) for word in FAULTS]
    studio.jobs.submit(owner_id, recipes)

    def failed() -> dict[str, StoredError]:
        jobs = studio.jobs.recent(owner_id)
        return {job.recipe.prompt.removeprefix("!fail "): job.error for job in jobs if job.error}

    until(lambda: len(failed()) == len(FAULTS))
    return failed()


@pytest.mark.parametrize("word", FAULTS)
def test_a_failed_image_is_never_said_to_be_charged(image_errors: dict[str, StoredError], word: str) -> None:
    check(image_errors[word])


@pytest.mark.parametrize("word", ["timeout", "garbled", "empty", "html"])
def test_a_failed_enhancement_is_never_said_to_be_charged(studio: Studio, owner_id: str, word: str) -> None:
    text = studio.enhancements.submit(owner_id, PromptRequest(base_prompt=f"!fail {word}"), lambda _: None)
    error = text.exception()
    assert isinstance(error, ImageError)
    check(StoredError.of(error))


def check(error: StoredError) -> None:
    assert error.charged is False
    said = " ".join((error.message, *error.suggestions, error.details, cost_text(error)))
    assert "charged" not in said
    assert " at 0x" not in said


@pytest.mark.parametrize("prompt", ["!fail everything", "a fox !fail"])
def test_the_message_of_an_unknown_fault_lists_the_known_ones(
    studio: Studio, owner_id: str, prompt: str
) -> None:
    text = studio.enhancements.submit(owner_id, PromptRequest(base_prompt=prompt), lambda _: None)
    error = text.exception()
    assert isinstance(error, ImageError)
    assert all(word in error.message for word in FAULTS)
    assert (error.code, error.retryable) == ("IMG-GEN-PARAM-004", False)
