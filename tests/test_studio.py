"""What a person may ask for is checked before it is paid, and only their own is given back to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from core import bootstrap, errors
from core.accounts import SignedIn
from core.drafts import DraftState
from core.recipe import Recipe
from core.settings import load_settings
from core.studio import MAX_LINE, MAX_TRAITS, Studio
from tests.openai_service import OpenAIService, openai_service
from tests.polling import until

FOX = Recipe(
    prompt="a fox in the snow",
    model="gpt-image-2",
    name="Juniper",
    traits=("red fox", "scarf"),
    base_prompt="in the snow",
    enhanced_prompt="a red fox in the snow",
    style="ink",
    size="1024x1024",
    quality="low",
)


@pytest.fixture(scope="module")
def service() -> Iterator[OpenAIService]:
    with openai_service() as service:
        yield service


@pytest.fixture(scope="module")
def studio(service: OpenAIService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    settings = load_settings(
        _env_file=None,
        data_dir=tmp_path_factory.mktemp("studio"),
        openai_base_url=service.base_url,
        openai_api_key="sk-test-abcdefgh",
        image_model="gpt-image-2",
        max_images=4,
    )
    studio = bootstrap.build(settings)
    yield studio
    studio.close()


@pytest.fixture(autouse=True)
def fresh_journal(service: OpenAIService) -> None:
    service.reset()


@pytest.fixture
def enter(studio: Studio, request: pytest.FixtureRequest) -> Callable[[str], SignedIn]:
    """`enter("ada")`: an account of this test's own, signed in."""

    def make(name: str) -> SignedIn:
        user = studio.accounts.create_user(f"{name}-{abs(hash(request.node.name))}", "!")
        found = studio.accounts.signed_in(
            studio.accounts.redeem_ticket(studio.accounts.issue_ticket(user.username))
        )
        assert found is not None
        return found

    return make


@pytest.fixture
def ada(enter: Callable[[str], SignedIn]) -> SignedIn:
    return enter("ada")


def make_image(studio: Studio, user: SignedIn, recipe: Recipe = FOX) -> str:
    studio.generate(user, recipe, 1)
    return until(lambda: (jobs := studio.jobs.recent(user.user_id)) and jobs[0].image_ids)[0]


@pytest.mark.parametrize(
    ("changes", "count", "expected", "field"),
    [
        pytest.param({}, 0, errors.InvalidParameter, "n", id="no image"),
        pytest.param({}, -1, errors.InvalidParameter, "n", id="less than none"),
        pytest.param({}, 5, errors.InvalidParameter, "n", id="more than the setting allows"),
        pytest.param({"model": "dall-e-3"}, 2, errors.InvalidParameter, "n", id="more than the model makes"),
        pytest.param({"size": "100x100"}, 1, errors.InvalidParameter, "size", id="size"),
        pytest.param({"size": "huge"}, 1, errors.InvalidParameter, "size", id="no size"),
        pytest.param({"quality": "hd"}, 1, errors.InvalidParameter, "quality", id="quality"),
        pytest.param({"prompt": " \n"}, 1, errors.PromptEmpty, None, id="empty"),
        pytest.param({"prompt": "fox " * 8001}, 1, errors.PromptTooLong, None, id="too long"),
        pytest.param({"prompt": "a \0 fox"}, 1, errors.WordsRejected, "prompt", id="control character"),
        pytest.param({"prompt": "a \ud800 fox"}, 1, errors.WordsRejected, "prompt", id="half a character"),
        pytest.param({"name": "x" * (MAX_LINE + 1)}, 1, errors.WordsRejected, "name", id="long name"),
        pytest.param({"name": "\x1b[31m"}, 1, errors.WordsRejected, "name", id="control in the name"),
        pytest.param({"traits": ("x",) * (MAX_TRAITS + 1)}, 1, errors.WordsRejected, "traits", id="traits"),
        pytest.param({"traits": ("x" * 201,)}, 1, errors.WordsRejected, "traits", id="long trait"),
        pytest.param({"base_prompt": "\udfff"}, 1, errors.WordsRejected, "base_prompt", id="base prompt"),
    ],
)
def test_what_can_not_be_made_is_refused_unpaid(
    studio: Studio,
    service: OpenAIService,
    ada: SignedIn,
    changes: dict[str, str],
    count: int,
    expected: type[errors.ImageError],
    field: str | None,
) -> None:
    with pytest.raises(expected) as caught:
        studio.generate(ada, replace(FOX, **changes), count)
    assert caught.value.field == field
    assert studio.jobs.recent(ada.user_id) == ()
    assert service.requests == []


def test_what_is_at_the_limit_is_taken(studio: Studio, ada: SignedIn) -> None:
    recipe = replace(
        FOX, name="x" * MAX_LINE, traits=("t" * MAX_LINE,) * MAX_TRAITS, prompt="a\tb\r\nc 🦊\u200d"
    )
    assert make_image(studio, ada, recipe)


def test_a_retired_model_is_refused_where_it_is_retired(studio: Studio, ada: SignedIn) -> None:
    official = studio.settings.model_copy(update={"openai_base_url": None, "text_model": "gpt-4o"})
    later = replace(studio, settings=official, clock=lambda: datetime(2099, 1, 1, tzinfo=UTC))
    with pytest.raises(errors.ModelRetired):
        later.generate(ada, replace(FOX, model="dall-e-3", quality="hd"), 1)
    with pytest.raises(errors.ModelRetired):
        later.enhance(ada, DraftState(name="Juniper"))
    assert studio.jobs.recent(ada.user_id) == ()


@pytest.mark.parametrize(
    ("draft", "expected", "field"),
    [
        pytest.param(DraftState(), errors.PromptEmpty, None, id="blank"),
        pytest.param(DraftState(name=" ", traits=(" ",)), errors.PromptEmpty, None, id="spaces"),
        pytest.param(DraftState(prompt="only this"), errors.PromptEmpty, None, id="nothing described"),
        pytest.param(DraftState(name="a\0"), errors.WordsRejected, "name", id="control character"),
        pytest.param(
            DraftState(name="a", guidance="g" * 8001), errors.WordsRejected, "guidance", id="guidance"
        ),
    ],
)
def test_what_can_not_be_enhanced_is_refused_unpaid(
    studio: Studio,
    service: OpenAIService,
    ada: SignedIn,
    draft: DraftState,
    expected: type[errors.ImageError],
    field: str | None,
) -> None:
    with pytest.raises(expected) as caught:
        studio.enhance(ada, draft)
    assert caught.value.field == field
    assert studio.enhancements.current(ada.user_id) is None
    assert service.requests == []


def test_an_estimate_is_a_number_where_prices_are_known(studio: Studio) -> None:
    priced = replace(FOX, model="gpt-image-2.5-flare", quality="medium")
    one = studio.estimate(priced, 1)
    assert one is not None
    assert one > 0
    assert studio.estimate(priced, 3) == 3 * one


def test_an_estimate_is_unknown_without_a_price(studio: Studio) -> None:
    assert studio.estimate(FOX, 1) is None
    assert studio.estimate(replace(FOX, model="a-model-of-their-own"), 1) is None


def test_the_offline_engine_is_free(studio: Studio) -> None:
    assert studio.estimate(replace(FOX, model="offline-painter"), 4) == 0


def test_the_default_model_is_offered_first(studio: Studio) -> None:
    assert studio.models()[0].name == "gpt-image-2"
    assert studio.max_images("gpt-image-2") == 4
    assert studio.max_images("dall-e-3") == 1


def test_reuse_brings_back_everything_and_keeps_the_prompt_it_replaces(studio: Studio, ada: SignedIn) -> None:
    image_id = make_image(studio, ada)
    studio.drafts.save(ada.user_id, DraftState(name="Moss", prompt="an owl at night"))
    draft = studio.reuse(ada, image_id)
    assert draft.recipe("other") == FOX
    assert draft.prompt == FOX.prompt
    assert {"an owl at night", FOX.prompt} <= {version.text for version in draft.versions}
    assert studio.drafts.load(ada.user_id) == draft


def test_a_model_that_is_no_longer_offered_is_left_open(studio: Studio, ada: SignedIn) -> None:
    image_id = make_image(studio, ada, replace(FOX, model="a-model-of-their-own"))
    draft = studio.reuse(ada, image_id)
    assert draft.model is None
    assert draft.prompt == FOX.prompt


def test_nobody_elses_image_can_be_reused(
    studio: Studio, ada: SignedIn, enter: Callable[[str], SignedIn]
) -> None:
    grace, image_id = enter("grace"), make_image(studio, ada)
    for wanted in (image_id, "made-up"):
        with pytest.raises(errors.ImageNotFound):
            studio.reuse(grace, wanted)
    assert studio.drafts.load(grace.user_id).is_blank


def test_an_enhancement_lands_in_the_draft(studio: Studio, ada: SignedIn) -> None:
    draft = DraftState(name="Juniper", base_prompt="in the snow")
    studio.drafts.save(ada.user_id, draft)
    studio.enhance(ada, draft)
    ended = until(lambda: studio.enhancements.take(ada.user_id))
    assert ended.error is None
    assert studio.drafts.load(ada.user_id).prompt == ended.text
