"""Orders are checked before they are paid for; users can reuse only their own images and jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from core import bootstrap, errors
from core.accounts.identity import SignedIn
from core.database.models import JobState
from core.enhancement.drafts import DraftState
from core.generation.views import JobView
from core.prompts.recipe import Recipe
from core.prompts.validation import MAX_LINE_LENGTH, MAX_TRAITS
from core.provider.catalogue import image_model
from core.provider.client import ServiceClient
from core.settings import Moderation, load_settings
from core.studio import Studio
from tests.support import sign_in
from tests.support.openai_service import Behaviour, OpenAIService, openai_service
from tests.support.orders import generate, offer_existing, quote_draft
from tests.support.waiting import until

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
    return lambda name: sign_in.enter(studio, f"{name}-{abs(hash(request.node.name))}")


@pytest.fixture
def ada(enter: Callable[[str], SignedIn]) -> SignedIn:
    return enter("ada")


def make_image(studio: Studio, user: SignedIn, recipe: Recipe = FOX) -> str:
    generate(studio, user, recipe, 1)
    return until(lambda: (jobs := studio.jobs.recent(user.user_id)) and jobs[0].image_ids)[0]


def ended(studio: Studio, user: SignedIn) -> tuple[JobView, ...]:
    """The user's jobs once all have ended, else nothing."""
    jobs = studio.jobs.recent(user.user_id)
    return () if any(job.is_live for job in jobs) else jobs


@pytest.mark.parametrize(
    ("changes", "count", "expected", "field"),
    [
        pytest.param({}, 0, errors.InvalidParameter, "n", id="no image"),
        pytest.param({}, -1, errors.InvalidParameter, "n", id="less than none"),
        pytest.param({}, 5, errors.InvalidParameter, "n", id="more than the setting allows"),
        pytest.param({"size": "100x100"}, 1, errors.InvalidParameter, "size", id="size"),
        pytest.param({"size": "huge"}, 1, errors.InvalidParameter, "size", id="no size"),
        pytest.param({"quality": "hd"}, 1, errors.InvalidParameter, "quality", id="quality"),
        pytest.param({"prompt": " \n"}, 1, errors.PromptEmpty, "prompt", id="empty"),
        pytest.param({"prompt": "fox " * 8001}, 1, errors.PromptTooLong, "prompt", id="too long"),
        pytest.param({"prompt": "a \0 fox"}, 1, errors.TextRejected, "prompt", id="control character"),
        pytest.param({"prompt": "a \ud800 fox"}, 1, errors.TextRejected, "prompt", id="half a character"),
        pytest.param({"prompt": "a" + "\u0300" * 31}, 1, errors.TextRejected, "prompt", id="31 accents"),
        pytest.param({"name": "x" * 200}, 1, errors.TextRejected, "name", id="a name of 200 characters"),
        pytest.param({"traits": ("x",) * 50}, 1, errors.TextRejected, "traits", id="50 traits"),
        pytest.param({"name": "x" * (MAX_LINE_LENGTH + 1)}, 1, errors.TextRejected, "name", id="long name"),
        pytest.param({"name": "\x1b[31m"}, 1, errors.TextRejected, "name", id="control in the name"),
        pytest.param({"traits": ("x",) * (MAX_TRAITS + 1)}, 1, errors.TextRejected, "traits", id="traits"),
        pytest.param({"traits": ("x" * 201,)}, 1, errors.TextRejected, "traits", id="long trait"),
        pytest.param({"model": "made-up"}, 1, errors.ModelUnavailable, "model", id="a model not offered"),
        pytest.param({"base_prompt": "\udfff"}, 1, errors.TextRejected, "base_prompt", id="base prompt"),
    ],
)
def test_an_order_that_can_not_be_made_is_refused_before_it_is_paid(
    studio: Studio,
    service: OpenAIService,
    ada: SignedIn,
    changes: dict[str, str],
    count: int,
    expected: type[errors.ImageError],
    field: str | None,
) -> None:
    with pytest.raises(expected) as caught:
        generate(studio, ada, replace(FOX, **changes), count)
    assert caught.value.field == field
    assert studio.jobs.recent(ada.user_id) == ()
    assert service.requests == []


def test_an_order_at_the_limits_is_accepted(studio: Studio, ada: SignedIn) -> None:
    recipe = replace(
        FOX,
        name="x" * MAX_LINE_LENGTH,
        traits=("t" * MAX_LINE_LENGTH,) * MAX_TRAITS,
        prompt="a\tb\r\nc 🦊\u200d",
    )
    assert make_image(studio, ada, recipe)


def test_a_retired_model_is_refused_by_the_service_that_retired_it(studio: Studio, ada: SignedIn) -> None:
    official = studio.settings.model_copy(update={"openai_base_url": None, "text_model": "gpt-4o"})
    later = {"settings": official, "clock": lambda: datetime(2099, 1, 1, tzinfo=UTC)}
    orders = replace(studio.orders, **later)
    with pytest.raises(errors.ModelRetired):
        generate(replace(studio, orders=orders), ada, replace(FOX, model="dall-e-3", quality="hd"), 1)
    with pytest.raises(errors.ModelRetired):
        replace(studio.enhancement_orders, **later).enhance_draft(ada, DraftState(name="Juniper"))
    assert studio.jobs.recent(ada.user_id) == ()


@pytest.mark.parametrize(
    ("draft", "expected", "field"),
    [
        pytest.param(DraftState(), errors.PromptEmpty, "base_prompt", id="blank"),
        pytest.param(DraftState(name=" ", traits=(" ",)), errors.PromptEmpty, "base_prompt", id="spaces"),
        pytest.param(
            DraftState(prompt="only this"), errors.PromptEmpty, "base_prompt", id="nothing described"
        ),
        pytest.param(DraftState(name="a\0"), errors.TextRejected, "name", id="control character"),
        pytest.param(
            DraftState(name="a", guidance="g" * 8001), errors.TextRejected, "guidance", id="guidance"
        ),
    ],
)
def test_a_draft_that_can_not_be_enhanced_is_refused_before_it_is_paid(
    studio: Studio,
    service: OpenAIService,
    ada: SignedIn,
    draft: DraftState,
    expected: type[errors.ImageError],
    field: str | None,
) -> None:
    with pytest.raises(expected) as caught:
        studio.enhancement_orders.enhance_draft(ada, draft)
    assert caught.value.field == field
    assert studio.enhancements.current(ada.user_id) is None
    assert service.requests == []


def drafted(**changes: Any) -> DraftState:
    return replace(DraftState(prompt="a fox"), **changes)


def test_a_price_is_a_number_where_prices_are_known(studio: Studio) -> None:
    priced = drafted(model="gpt-image-2.5-flare", quality="medium")
    one = quote_draft(studio, priced).price
    assert one is not None
    assert one > 0
    assert quote_draft(studio, replace(priced, images=3)).price == 3 * one


def test_a_price_is_unknown_where_none_is_published(studio: Studio) -> None:
    assert quote_draft(studio, drafted(model="gpt-image-2", quality="low")).price is None
    assert quote_draft(studio, drafted(model="a-model-of-their-own")).price is None


def test_the_offline_engine_is_free(studio: Studio) -> None:
    assert quote_draft(studio, drafted(model="offline-painter", images=4)).price == 0


def test_the_shown_length_is_the_one_that_is_checked(studio: Studio, ada: SignedIn) -> None:
    quote = quote_draft(studio, drafted(style="watercolour", model="gpt-image-2"))
    room = quote.limit - quote.length
    full = quote_draft(studio, drafted(style="watercolour", model="gpt-image-2", prompt="a fox" + "x" * room))
    assert full.length == full.limit
    with pytest.raises(errors.PromptTooLong):
        generate(studio, ada, replace(full.recipe, prompt=full.recipe.prompt + "x"), 1)
    assert generate(studio, ada, full.recipe, 1)


def test_several_images_of_a_model_that_makes_one_at_once_are_several_calls(
    studio: Studio, service: OpenAIService, ada: SignedIn
) -> None:
    assert image_model("dall-e-3").max_images == 1
    generate(studio, ada, replace(FOX, model="dall-e-3", size="1024x1024", quality="standard"), 3)
    jobs = until(lambda: ended(studio, ada))
    assert [job.state for job in jobs] == [JobState.DONE] * 3
    calls = [call.body for call in service.requests_to("/images/generations")]
    assert [body["n"] for body in calls if body["model"] == "dall-e-3"] == [1, 1, 1]


def test_the_default_model_is_offered_first(studio: Studio) -> None:
    assert studio.quotes.models()[0].name == "gpt-image-2"


def test_reuse_brings_back_everything_and_keeps_the_prompt_it_replaces(studio: Studio, ada: SignedIn) -> None:
    image_id = make_image(studio, ada)
    studio.drafts.save(ada.user_id, DraftState(name="Moss", prompt="an owl at night"))
    draft = studio.reuse.image(ada, image_id)
    assert draft.recipe("other") == FOX
    assert draft.prompt == FOX.prompt
    assert {"an owl at night", FOX.prompt} <= {version.text for version in draft.versions}
    assert studio.drafts.load(ada.user_id) == draft


MANY = replace(FOX, prompt="a {red|blue} fox\nan owl", model="gpt-image-2.5-flare")


THREE = ("a red fox", "a blue fox", "an owl")


def test_many_prompts_are_one_batch_with_images_of_each(studio: Studio, ada: SignedIn) -> None:
    draft = replace(DraftState.from_recipe(MANY), images=2, many=True)
    quote = quote_draft(studio, draft)
    alone = [quote_draft(studio, DraftState.from_recipe(replace(MANY, prompt=prompt))) for prompt in THREE]
    assert (quote.prompts, quote.images, quote.price) == (3, 6, 2 * sum(one.price or 0 for one in alone))
    assert quote.price
    generate(studio, ada, quote.recipe, draft.images, many=draft.many)
    jobs = studio.jobs.recent(ada.user_id)
    assert len({job.batch_id for job in jobs}) == 1
    assert [job.recipe.prompt for job in jobs] == [prompt for prompt in THREE for _ in range(2)]


def test_braces_and_lines_are_one_prompt_unless_many_is_on(studio: Studio, ada: SignedIn) -> None:
    quote = quote_draft(studio, replace(DraftState.from_recipe(MANY), images=2))
    assert (quote.prompts, quote.images, quote.recipe.prompt) == (1, 2, MANY.prompt)
    generate(studio, ada, MANY, 1)
    assert [job.recipe.prompt for job in studio.jobs.recent(ada.user_id)] == [MANY.prompt]


def test_more_images_than_a_batch_holds_are_refused_and_not_priced(studio: Studio, ada: SignedIn) -> None:
    many = replace(MANY, prompt="{" + "|".join(map(str, range(26))) + "}")
    draft = replace(DraftState.from_recipe(many), images=4, many=True)
    assert (quote_draft(studio, draft).images, quote_draft(studio, draft).price) == (104, None)
    for prompt in (many.prompt, "{1|2}" * 1_000):
        with pytest.raises(errors.TooManyPrompts):
            generate(studio, ada, replace(many, prompt=prompt), 4, many=True)
    assert studio.jobs.recent(ada.user_id) == ()


@pytest.mark.parametrize("prompt", [" \n ", "{|}", "a fox\n{|}"])
def test_an_empty_prompt_among_many_refuses_the_whole_order(
    studio: Studio, ada: SignedIn, prompt: str
) -> None:
    with pytest.raises(errors.PromptEmpty):
        generate(studio, ada, replace(FOX, prompt=prompt), 1, many=True)
    assert studio.jobs.recent(ada.user_id) == ()


def test_a_jobs_recipe_can_be_put_back_into_the_draft(
    studio: Studio, ada: SignedIn, enter: Callable[[str], SignedIn]
) -> None:
    studio.jobs.submit(ada.user_id, [FOX])
    (job,) = studio.jobs.recent(ada.user_id)
    assert studio.reuse.job(ada, job.id).recipe("other") == FOX
    with pytest.raises(errors.ImageNotFound):
        studio.reuse.job(enter("grace"), job.id)


def test_reuse_leaves_out_a_model_that_is_no_longer_offered(studio: Studio, ada: SignedIn) -> None:
    studio.jobs.submit(ada.user_id, [replace(FOX, model="a-model-of-their-own")])
    image_id = until(lambda: studio.jobs.recent(ada.user_id)[0].image_ids)[0]
    draft = studio.reuse.image(ada, image_id)
    assert draft.model is None
    assert draft.prompt == FOX.prompt


def test_another_users_image_can_not_be_reused(
    studio: Studio, ada: SignedIn, enter: Callable[[str], SignedIn]
) -> None:
    grace, image_id = enter("grace"), make_image(studio, ada)
    for wanted in (image_id, "made-up"):
        with pytest.raises(errors.ImageNotFound):
            studio.reuse.image(grace, wanted)
    assert studio.drafts.load(grace.user_id).is_blank


def test_an_enhancement_is_stored_in_the_draft(studio: Studio, ada: SignedIn) -> None:
    draft = DraftState(name="Juniper", base_prompt="in the snow")
    studio.drafts.save(ada.user_id, draft)
    studio.enhancement_orders.enhance_draft(ada, draft)
    text = until(lambda: studio.drafts.load(ada.user_id).prompt)
    ended = until(lambda: (run := studio.enhancements.current(ada.user_id)) and run.result and run)
    assert ended.text == text


def test_an_enhancement_from_before_a_reuse_does_not_replace_the_reused_prompt(
    studio: Studio, service: OpenAIService, ada: SignedIn
) -> None:
    image_id = make_image(studio, ada)
    draft = DraftState(name="Juniper", base_prompt="in the snow")
    studio.drafts.save(ada.user_id, draft)
    service.script(Behaviour(latency=0.3))
    studio.enhancement_orders.enhance_draft(ada, draft)
    assert studio.reuse.image(ada, image_id).prompt == FOX.prompt
    ended = until(lambda: (run := studio.enhancements.current(ada.user_id)) and run.result and run)
    found = studio.drafts.load(ada.user_id)
    assert found.prompt == FOX.prompt
    assert found.has_version(ended.text)


def test_failed_jobs_are_retried_as_one_batch(
    studio: Studio, service: OpenAIService, ada: SignedIn, enter: Callable[[str], SignedIn]
) -> None:
    service.script("moderation", "moderation")
    generate(studio, ada, FOX, 2)
    ids = [job.id for job in until(lambda: ended(studio, ada))]
    with pytest.raises(errors.ImageNotFound):
        studio.orders.retry(enter("grace"), *ids)
    batch = studio.orders.retry(ada, *ids)
    assert studio.orders.retry(ada, *ids) != batch
    again = until(lambda: ended(studio, ada))
    assert {job.batch_id for job in again} == {batch}
    assert sorted(job.position for job in again) == [0, 1]


def test_a_job_of_a_model_no_longer_offered_is_not_retried(
    studio: Studio, service: OpenAIService, ada: SignedIn
) -> None:
    service.script("moderation")
    studio.jobs.submit(ada.user_id, [replace(FOX, model="a-model-of-their-own")])
    (job,) = until(lambda: ended(studio, ada))
    with pytest.raises(errors.ModelUnavailable):
        studio.orders.retry(ada, job.id)
    assert [kept.id for kept in studio.jobs.recent(ada.user_id)] == [job.id]


# Moderation


@pytest.fixture
def moderated(studio: Studio, service: OpenAIService) -> Iterator[Studio]:
    settings = studio.settings.model_copy(update={"moderation": Moderation.ON})
    client = ServiceClient(settings)
    orders = replace(studio.orders, moderation=client.moderation)
    yield replace(studio, orders=orders, existing_images=replace(studio.existing_images, orders=orders))
    client.close()


FLAGGED = replace(FOX, prompt="a fox [[flagged:violence,hate]]")


def test_a_flagged_prompt_is_refused_before_anything_is_paid(
    moderated: Studio, service: OpenAIService, ada: SignedIn
) -> None:
    with pytest.raises(errors.PromptFlagged) as caught:
        generate(moderated, ada, FLAGGED, 1)
    assert caught.value.categories == ("violence", "hate")
    assert "violence, hate" in caught.value.message
    assert caught.value.charged is False
    assert moderated.jobs.recent(ada.user_id) == ()
    assert [seen.path for seen in service.requests] == ["/v1/moderations"]


def test_each_prompt_of_a_batch_is_moderated_once(
    moderated: Studio, service: OpenAIService, ada: SignedIn
) -> None:
    recipe = replace(FOX, prompt="a {red|blue} fox", style=None)
    assert offer_existing(moderated, ada, recipe, 2, many=True) is None
    generate(moderated, ada, recipe, 2, many=True)
    (asked,) = service.requests_to("/moderations")
    assert asked.body["input"] == ["a red fox", "a blue fox"]
    until(lambda: ended(moderated, ada))


@pytest.mark.parametrize("fault", ["overloaded", "key rejected", "no such path"])
def test_a_failed_moderation_does_not_stop_the_order(
    moderated: Studio, service: OpenAIService, ada: SignedIn, fault: str
) -> None:
    generate(moderated, ada, replace(FOX, prompt=f"a fox [[check error:{fault}]]"), 1)
    (job,) = until(lambda: ended(moderated, ada))
    assert job.image_ids
    assert len(service.requests_to("/moderations")) == 1


def test_a_flagged_prompt_is_not_retried_either(
    studio: Studio, moderated: Studio, service: OpenAIService, ada: SignedIn
) -> None:
    service.script("quota spent")
    generate(studio, ada, FLAGGED, 1)
    (job,) = until(lambda: ended(studio, ada))
    with pytest.raises(errors.PromptFlagged):
        moderated.orders.retry(ada, job.id)
    assert len(service.requests_to("/images/generations")) == 1
