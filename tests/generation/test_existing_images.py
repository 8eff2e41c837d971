"""Existing images are offered before they are bought again; only the used ones count as saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlmodel import select

from core import bootstrap, errors
from core.accounts.identity import SignedIn
from core.common.clock import utc_now
from core.common.ids import new_id
from core.database.models import Usage, UsageKind
from core.enhancement.drafts import DraftState
from core.generation.existing_images import Offer
from core.generation.views import JobView
from core.prompts.recipe import Recipe
from core.prompts.styles import with_style
from core.settings import load_settings
from core.studio import Studio
from core.usage.usage_log import Outcome, Totals
from tests.support import sign_in
from tests.support.openai_service import OpenAIService
from tests.support.orders import generate, offer_existing, quote_draft
from tests.support.waiting import until

FOX = Recipe(
    prompt="a fox", model="gpt-image-2.5-flare", name="Juniper", style="ink", size="1024x1024", quality="low"
)
MANY = replace(FOX, prompt="a {red|blue} fox\nan owl")


@pytest.fixture
def studio(database_url: str, service: OpenAIService, tmp_path: Path) -> Iterator[Studio]:
    settings = load_settings(
        data_dir=tmp_path / "data",
        database_url=database_url,
        openai_base_url=service.base_url,
        openai_api_key="sk-test-abcdefgh",
        image_model=FOX.model,
    )
    studio = bootstrap.build(settings)
    yield studio
    studio.close()


@pytest.fixture
def enter(studio: Studio) -> Callable[[str], SignedIn]:
    """`enter("ada")`: a new account, signed in."""
    return partial(sign_in.enter, studio)


@pytest.fixture
def ada(enter: Callable[[str], SignedIn]) -> SignedIn:
    return enter("ada")


def made(studio: Studio, user: SignedIn, recipe: Recipe = FOX, count: int = 1) -> list[str]:
    """Generate images and wait for them; their ids, the newest first."""
    batch = studio.jobs.submit(user.user_id, [recipe] * count)
    return wait_for(studio, user, batch)


def wait_for(studio: Studio, user: SignedIn, batch_id: str) -> list[str]:
    def ended() -> list[JobView]:
        jobs = [job for job in studio.jobs.recent(user.user_id) if job.batch_id == batch_id]
        return [] if any(job.is_live for job in jobs) else jobs

    return [image_id for job in until(ended) for image_id in job.image_ids]


def offered(
    studio: Studio, user: SignedIn, recipe: Recipe = FOX, count: int = 1, *, many: bool = False
) -> Offer:
    offer = offer_existing(studio, user, recipe, count, many=many)
    assert offer is not None
    return offer


def totals(studio: Studio, user: SignedIn) -> Totals:
    return studio.usage.totals(user.user_id, utc_now() - timedelta(hours=1))


def test_an_existing_image_is_offered_and_nothing_is_bought(
    studio: Studio, service: OpenAIService, ada: SignedIn
) -> None:
    assert offer_existing(studio, ada, FOX, 1) is None
    [image_id] = made(studio, ada)
    offer = offered(studio, ada)
    assert ([image.id for image in offer.images], offer.missing) == ([image_id], ())
    assert offer.price == quote_draft(studio, DraftState.from_recipe(FOX)).price
    assert len(service.requests_to("/images/generations")) == 1


def test_recipes_that_send_the_same_request_are_the_same_image(studio: Studio, ada: SignedIn) -> None:
    made(studio, ada)
    written_out = replace(FOX, name="", style=None, prompt=with_style(FOX.prompt, FOX.style))
    assert offer_existing(studio, ada, written_out, 1)
    for changes in ({"prompt": "an owl"}, {"style": "photo"}, {"quality": "high"}, {"size": "1536x1024"}):
        assert offer_existing(studio, ada, replace(FOX, **changes), 1) is None
    assert offer_existing(studio, ada, replace(FOX, model="gpt-image-2"), 1) is None


def test_another_users_images_are_not_offered(studio: Studio, enter: Callable[[str], SignedIn]) -> None:
    made(studio, enter("ada"))
    assert offer_existing(studio, enter("grace"), FOX, 1) is None


def test_images_in_the_trash_are_not_offered(studio: Studio, ada: SignedIn) -> None:
    older, newer = made(studio, ada, count=2)
    assert offered(studio, ada).images[0].id in (older, newer)
    studio.gallery.trash(ada.user_id, older)
    assert offered(studio, ada).images[0].id == newer
    studio.gallery.trash(ada.user_id, newer)
    assert offer_existing(studio, ada, FOX, 1) is None
    studio.gallery.restore(ada.user_id, newer)
    assert offer_existing(studio, ada, FOX, 1)


def test_one_existing_image_stands_for_all_images_of_its_recipe(studio: Studio, ada: SignedIn) -> None:
    [image_id] = made(studio, ada)
    offer = offered(studio, ada, count=4)
    assert ([image.id for image in offer.images], offer.missing) == ([image_id] * 4, ())


def test_an_offer_of_many_prompts_counts_existing_images_and_prices_the_missing(
    studio: Studio, ada: SignedIn
) -> None:
    made(studio, ada, replace(FOX, prompt="a blue fox"))
    offer = offered(studio, ada, MANY, 2, many=True)
    assert (len(offer.images), len(offer.missing), len(offer.recipes)) == (2, 4, 6)
    assert [recipe.prompt for recipe in offer.missing] == ["a red fox", "a red fox", "an owl", "an owl"]
    assert (
        offer.price == quote_draft(studio, replace(DraftState.from_recipe(MANY), images=2, many=True)).price
    )
    assert offer.price
    assert offer.missing_price
    assert 0 < offer.missing_price < offer.price


def test_an_order_that_fails_its_check_gets_no_offer(studio: Studio, ada: SignedIn) -> None:
    made(studio, ada)
    with pytest.raises(errors.InvalidParameter):
        offer_existing(studio, ada, FOX, 99)
    with pytest.raises(errors.PromptEmpty):
        offer_existing(studio, ada, replace(FOX, prompt=" "), 1)


def test_a_running_job_is_not_offered(studio: Studio, service: OpenAIService, ada: SignedIn) -> None:
    slow = replace(FOX, prompt="a fox [[latency:2]]")
    generate(studio, ada, slow, 1)
    until(lambda: service.requests_to("/images/generations"))
    assert offer_existing(studio, ada, slow, 1) is None


def test_generating_all_buys_every_image_and_records_no_saving(
    studio: Studio, service: OpenAIService, ada: SignedIn
) -> None:
    made(studio, ada)
    assert (
        len(wait_for(studio, ada, studio.existing_images.generate_all(ada, offered(studio, ada, count=2))))
        == 2
    )
    assert len(service.requests_to("/images/generations")) == 3
    assert (totals(studio, ada).calls, totals(studio, ada).saved_calls) == (3, 0)


def test_a_double_click_on_generate_anyway_is_one_batch(
    studio: Studio, service: OpenAIService, ada: SignedIn
) -> None:
    made(studio, ada)
    offer = offered(studio, ada)
    first = studio.existing_images.generate_all(ada, offer)
    assert studio.existing_images.generate_all(ada, offer) == first
    wait_for(studio, ada, first)
    assert len(service.requests_to("/images/generations")) == 2


def test_generating_the_missing_buys_them_and_records_the_others_as_saved(
    studio: Studio, service: OpenAIService, ada: SignedIn
) -> None:
    [image_id] = made(studio, ada, replace(FOX, prompt="a blue fox"))
    price = studio.gallery.get(ada.user_id, image_id).price_micros
    assert price
    batch = studio.existing_images.generate_missing(ada, offered(studio, ada, MANY, many=True))
    assert len(wait_for(studio, ada, batch)) == 2
    found = totals(studio, ada)
    assert (found.calls, found.images, found.saved_calls, found.saved_micros) == (3, 3, 1, price)


def test_each_existing_image_that_is_used_is_a_saved_call(studio: Studio, ada: SignedIn) -> None:
    [image_id] = made(studio, ada)
    price = studio.gallery.get(ada.user_id, image_id).price_micros
    before = totals(studio, ada)
    offer = offered(studio, ada, count=3)
    assert totals(studio, ada) == before
    studio.existing_images.use(ada, offer)
    assert price
    assert totals(studio, ada) == replace(before, saved_calls=3, saved_micros=3 * price)
    with studio.database.read() as session:
        rows = session.exec(select(Usage).where(Usage.outcome == Outcome.SAVED)).all()
    assert {(row.kind, row.model, row.images, row.price_micros) for row in rows} == {
        (UsageKind.GENERATE, FOX.model, 0, 0)
    }


def test_an_image_without_a_request_hash_is_not_offered(studio: Studio, ada: SignedIn) -> None:
    [image_id] = made(studio, ada)
    with studio.database.write() as session:
        image = studio.gallery.get(ada.user_id, image_id)
        image.request_hash = None
        session.merge(image)
    assert offer_existing(studio, ada, FOX, 1) is None


def test_a_retry_makes_no_offer(studio: Studio, service: OpenAIService, ada: SignedIn) -> None:
    made(studio, ada)
    service.script("moderation")
    failed = studio.existing_images.generate_all(ada, offered(studio, ada))
    assert wait_for(studio, ada, failed) == []
    [job] = [job for job in studio.jobs.recent(ada.user_id) if job.batch_id == failed]
    assert len(wait_for(studio, ada, studio.orders.retry(ada, job.id))) == 1


def test_a_reused_draft_is_offered_its_image(studio: Studio, ada: SignedIn) -> None:
    [image_id] = made(studio, ada)
    draft = studio.reuse.image(ada, image_id)
    assert offered(studio, ada, quote_draft(studio, draft).recipe).images[0].id == image_id


def test_a_saving_that_can_not_be_recorded_fails_nobody(studio: Studio, ada: SignedIn) -> None:
    made(studio, ada)
    stranger = replace(ada, user_id=new_id())
    studio.existing_images.use(stranger, offered(studio, ada))
    assert studio.usage.totals(stranger.user_id, utc_now() - timedelta(hours=1)).saved_calls == 0


def test_a_description_is_enhanced_once_until_the_user_asks_for_another_text(
    studio: Studio, service: OpenAIService, ada: SignedIn
) -> None:
    described = DraftState(name="Juniper", base_prompt="in the snow")
    studio.drafts.save(ada.user_id, described)

    def enhanced(draft: DraftState) -> DraftState:
        before = studio.drafts.load(ada.user_id).variation
        studio.enhancement_orders.enhance_draft(ada, draft)
        until(lambda: (run := studio.enhancements.current(ada.user_id)) and not run.is_live)
        found = studio.drafts.load(ada.user_id)
        assert found.variation == before + 1
        return found

    draft = enhanced(described)
    draft = enhanced(draft)
    assert len(service.requests_to("/chat/completions")) == 2
    asleep = enhanced(replace(draft, base_prompt="asleep"))
    assert len(service.requests_to("/chat/completions")) == 3
    enhanced(replace(asleep, base_prompt="in the snow"))
    assert len(service.requests_to("/chat/completions")) == 3
    assert totals(studio, ada).saved_calls == 1
