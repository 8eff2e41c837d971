"""Edits and variations: what is sent, whose images may be used, and the promises of every paid call."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Picture

from core import bootstrap, errors
from core.accounts.identity import SignedIn
from core.database.database import Database
from core.database.models import Image, JobState, User
from core.generation.views import JobView
from core.prompts.recipe import Recipe
from core.provider.client import ServiceClient
from core.provider.payloads import InputImage, InputImages
from core.settings import load_settings
from core.studio import Studio
from tests.support import sign_in
from tests.support.crashing_worker import EDIT, RECIPE, Plan, edit_source
from tests.support.generation import Studio as Workshop
from tests.support.generation import run_until_killed
from tests.support.hostile_uploads import saved
from tests.support.images import plain_png
from tests.support.openai_service import ERRORS, Behaviour, OpenAIService, RecordedRequest, openai_service
from tests.support.orders import generate
from tests.support.waiting import until

WORDS = "make it night"
FOX = replace(RECIPE, name="Juniper", traits=("red fox",), base_prompt="in the snow", style="ink")
Enter = Callable[[str], SignedIn]


@pytest.fixture(scope="module")
def service() -> Iterator[OpenAIService]:
    with openai_service() as service:
        yield service


@pytest.fixture(autouse=True)
def fresh_journal(service: OpenAIService) -> None:
    service.reset()


def a_studio(folder: Path, service: OpenAIService, model: str) -> Studio:
    return bootstrap.build(
        load_settings(
            _env_file=None,
            data_dir=folder,
            openai_base_url=service.base_url,
            openai_api_key="sk-test-abcdefgh",
            image_model=model,
            partial_images=1,
        )
    )


@pytest.fixture(scope="module")
def studio(service: OpenAIService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    studio = a_studio(tmp_path_factory.mktemp("edits"), service, "gpt-image-2")
    yield studio
    studio.close()


@pytest.fixture
def enter(studio: Studio, request: pytest.FixtureRequest) -> Enter:
    """`enter("ada")`: an account of this test's own, signed in."""
    return lambda name: sign_in.enter(studio, f"{name}-{abs(hash(request.node.name))}")


@pytest.fixture
def ada(enter: Enter) -> SignedIn:
    return enter("ada")


def ended(studio: Studio, user: SignedIn, batch_id: str) -> JobView:
    """The only job of a batch, when it has ended."""
    return until(
        lambda: next(
            (job for job in studio.jobs.recent(user.user_id) if job.batch_id == batch_id and not job.is_live),
            None,
        )
    )


def made(studio: Studio, user: SignedIn, batch_id: str) -> Image:
    (image_id,) = ended(studio, user, batch_id).image_ids
    return studio.gallery.get(user.user_id, image_id)


@pytest.fixture
def fox(studio: Studio, ada: SignedIn, service: OpenAIService) -> Image:
    image = made(studio, ada, generate(studio, ada, FOX, 1))
    service.requests.clear()
    return image


def edits(service: OpenAIService) -> list[RecordedRequest]:
    return service.requests_to("/images/edits")


def uploaded(studio: Studio, user: SignedIn, data: bytes, **options: Any) -> str:
    return studio.uploads.store(user.user_id, io.BytesIO(data), **options).key


# The request and its result


@pytest.mark.parametrize("kind", ["GIF", "AVIF", "WEBP"])
def test_an_image_in_a_format_that_services_do_not_take_is_sent_as_a_png(
    studio: Studio, service: OpenAIService, ada: SignedIn, kind: str
) -> None:
    frames, file = [Picture.new("RGB", (16, 16), colour) for colour in ("red", "blue")], io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], lossless=True)
    item = {"b64_json": base64.b64encode(file.getvalue()).decode()}
    service.script(Behaviour(raw=json.dumps({"data": [item]}).encode()))
    image = made(studio, ada, generate(studio, ada, FOX, 1))
    assert image.mime == f"image/{kind.lower()}"
    made(studio, ada, studio.edits.variation(ada, image.id))
    ((_, mime, digest),) = edits(service)[-1].body["files"]
    assert (mime, digest == image.sha256) == (
        ("image/webp", True) if kind == "WEBP" else ("image/png", False)
    )


def test_a_variation_sends_the_same_prompt_with_the_image(
    studio: Studio, service: OpenAIService, ada: SignedIn, fox: Image
) -> None:
    image = made(studio, ada, studio.edits.variation(ada, fox.id))
    (seen,) = service.requests
    assert seen.path == "/v1/images/edits"
    assert seen.body["files"] == [["image", "image/png", fox.sha256]]
    assert (seen.body["prompt"], seen.body["model"]) == (fox.sent_prompt, fox.model)
    assert (seen.body["size"], seen.body["quality"]) == (fox.size, fox.quality)
    assert image.source_id == fox.id
    assert (image.name, image.prompt, image.base_prompt) == (fox.name, fox.prompt, fox.base_prompt)
    assert studio.gallery.get(ada.user_id, fox.id).source_id is None


def test_an_edit_sends_the_instruction_and_keeps_style_and_options(
    studio: Studio, service: OpenAIService, ada: SignedIn, fox: Image
) -> None:
    image = made(studio, ada, studio.edits.edit(ada, fox.id, WORDS))
    (seen,) = service.requests
    assert seen.body["prompt"].startswith(f"{WORDS}\n\nStyle: ")
    assert seen.body["files"] == [["image", "image/png", fox.sha256]]
    assert (image.source_id, image.prompt, image.base_prompt) == (fox.id, WORDS, "")
    assert (image.name, image.traits, image.style) == (fox.name, fox.traits, fox.style)


def test_an_edit_shows_partial_images(
    studio: Studio, service: OpenAIService, ada: SignedIn, fox: Image
) -> None:
    service.script(Behaviour(pause=1))
    batch_id = studio.edits.edit(ada, fox.id, WORDS)

    def drawing() -> JobView | None:
        jobs = studio.jobs.recent(ada.user_id)
        return next((job for job in jobs if job.batch_id == batch_id and job.partials), None)

    job = until(drawing)
    assert studio.jobs.partial(ada.user_id, job.id, 0)
    made(studio, ada, batch_id)
    (seen,) = edits(service)
    assert (seen.body["stream"], seen.body["partial_images"]) == ("true", "1")


def test_uploads_and_a_mask_are_sent_with_the_prompt(
    studio: Studio, service: OpenAIService, ada: SignedIn, fox: Image
) -> None:
    keys = [uploaded(studio, ada, saved("JPEG")), uploaded(studio, ada, saved("PNG"))]
    hole = saved("PNG", mode="RGBA")
    mask = studio.uploads.store_mask(ada.user_id, io.BytesIO(hole), size=(64, 48)).key
    recipe = replace(FOX, source_image=fox.id, references=tuple(keys), mask=mask)
    image = made(studio, ada, generate(studio, ada, recipe, 1))
    (seen,) = edits(service)
    sent = [studio.storage.get(key) for key in (fox.file_key, *keys, mask)]
    assert seen.body["files"] == [
        [name, mime, sha256(data).hexdigest()]
        for name, mime, data in zip(
            ["image[]", "image[]", "image[]", "mask"],
            ["image/png", "image/jpeg", "image/png", "image/png"],
            sent,
            strict=True,
        )
    ]
    assert image.source_id == fox.id


def test_an_image_with_a_mask_is_sent_as_a_png(studio: Studio, service: OpenAIService, ada: SignedIn) -> None:
    photograph = uploaded(studio, ada, saved("JPEG"))
    mask = studio.uploads.store_mask(ada.user_id, io.BytesIO(saved("PNG", mode="RGBA")), size=(64, 48)).key
    made(studio, ada, generate(studio, ada, replace(FOX, references=(photograph,), mask=mask), 1))
    (seen,) = edits(service)
    assert [part[:2] for part in seen.body["files"]] == [["image", "image/png"], ["mask", "image/png"]]


def test_no_part_of_the_form_has_a_file_name_of_the_user(service: OpenAIService) -> None:
    parts = InputImages((InputImage(b"x", "image/jpeg"),), InputImage(b"y", "image/png")).form_parts
    assert [(name, file[0]) for name, file in parts] == [("image", "image-1.jpg"), ("mask", "mask.png")]


# Ownership


def test_another_users_image_is_not_found(
    studio: Studio, service: OpenAIService, enter: Enter, fox: Image
) -> None:
    grace = enter("grace")
    said = set()
    for image_id in (fox.id, "0" * 32, "", "../../etc/passwd"):
        for ask in (
            lambda image_id=image_id: studio.edits.variation(grace, image_id),
            lambda image_id=image_id: studio.edits.edit(grace, image_id, WORDS),
            lambda image_id=image_id: generate(studio, grace, replace(FOX, source_image=image_id or "x"), 1),
        ):
            with pytest.raises(errors.ImageNotFound) as caught:
                ask()
            said.add(str(caught.value))
    assert len(said) == 1
    assert service.requests == []
    assert studio.jobs.recent(grace.user_id) == ()


def test_another_users_upload_is_not_found(
    studio: Studio, service: OpenAIService, enter: Enter, ada: SignedIn
) -> None:
    key, grace = uploaded(studio, ada, saved("PNG")), enter("grace")
    for recipe in (replace(FOX, references=(key,)), replace(FOX, references=("uploads/x",), mask=key)):
        with pytest.raises(errors.UploadGone):
            generate(studio, grace, recipe, 1)
    assert service.requests == []


def test_an_image_in_the_trash_can_not_be_edited(
    studio: Studio, service: OpenAIService, ada: SignedIn, fox: Image
) -> None:
    studio.gallery.trash(ada.user_id, fox.id)
    with pytest.raises(errors.ImageNotFound):
        studio.edits.variation(ada, fox.id)
    assert service.requests == []


def test_an_image_deleted_before_the_call_leaves_is_not_sent(
    studio: Studio, service: OpenAIService, ada: SignedIn, fox: Image
) -> None:
    service.script(*[ERRORS["rate limit passing"]])
    batch_id = studio.edits.variation(ada, fox.id)
    until(lambda: edits(service))
    studio.gallery.trash(ada.user_id, fox.id)
    job = ended(studio, ada, batch_id)
    assert (job.state, job.error and job.error.code) == (JobState.FAILED, "IMG-FIND-001")
    assert len(edits(service)) == 1


# Refusals


@pytest.fixture
def words_alone(tmp_path: Path, service: OpenAIService) -> Iterator[Studio]:
    """A studio whose default model can't edit."""
    studio = a_studio(tmp_path / "words", service, "dall-e-3")
    yield studio
    studio.close()


def test_a_model_that_can_not_edit_is_refused_before_anything_is_paid(
    words_alone: Studio, service: OpenAIService
) -> None:
    studio, ada = words_alone, sign_in.enter(words_alone, "ada")
    drawn = Recipe(prompt="a fox", model="dall-e-3", size="1024x1024", quality="hd")
    image = made(studio, ada, generate(studio, ada, drawn, 1))
    service.requests.clear()
    obstacle = studio.edits.plan(ada, image.id).obstacle
    assert obstacle is not None
    assert obstacle.message == "DALL·E 3 makes images from text only."
    for ask in (
        lambda: studio.edits.variation(ada, image.id),
        lambda: studio.edits.edit(ada, image.id, WORDS),
    ):
        with pytest.raises(errors.InvalidParameter) as caught:
            ask()
        assert caught.value.field == "model"
    assert service.requests == []


def test_the_default_model_edits_images_of_models_that_can_not_edit(
    studio: Studio, service: OpenAIService, ada: SignedIn
) -> None:
    drawn = Recipe(prompt="a fox", model="dall-e-3", size="1024x1024", quality="hd")
    image = made(studio, ada, generate(studio, ada, drawn, 1))
    plan = studio.edits.plan(ada, image.id)
    recipe = plan.quote.recipe
    assert (recipe.model, recipe.quality, plan.obstacle) == ("gpt-image-2", "auto", None)
    assert made(studio, ada, studio.edits.variation(ada, image.id)).model == "gpt-image-2"


def test_more_input_images_than_the_model_takes_are_refused(studio: Studio, ada: SignedIn) -> None:
    keys = tuple(uploaded(studio, ada, plain_png(8, 8, (number, 0, 0))) for number in range(17))
    with pytest.raises(errors.InvalidParameter, match="at most 16") as caught:
        generate(studio, ada, replace(FOX, references=keys), 1)
    assert caught.value.field == "image"
    assert studio.quotes.price([replace(FOX, references=keys[:16])]) is None


def test_an_edit_needs_an_instruction(studio: Studio, ada: SignedIn, fox: Image) -> None:
    with pytest.raises(errors.PromptEmpty):
        studio.edits.edit(ada, fox.id, " \n")


def test_a_missing_upload_is_refused_before_anything_is_paid(
    studio: Studio, service: OpenAIService, ada: SignedIn
) -> None:
    key = uploaded(studio, ada, saved("PNG"))
    studio.storage.delete(key)
    with pytest.raises(errors.UploadGone):
        generate(studio, ada, replace(FOX, references=(key,)), 1)
    assert service.requests == []


# The promises of every paid call


def test_a_retried_edit_has_the_same_input_images(
    studio: Studio, service: OpenAIService, ada: SignedIn, fox: Image
) -> None:
    service.script("moderation")
    job = ended(studio, ada, studio.edits.edit(ada, fox.id, WORDS))
    assert (job.state, job.error and job.error.code) == (JobState.FAILED, "IMG-PRM-BLOCK-001")
    image = made(studio, ada, studio.orders.retry(ada, job.id))
    first, second = (seen.body for seen in edits(service))
    assert first == second
    assert image.source_id == fox.id


@pytest.mark.parametrize(
    ("fault", "state", "code"),
    [
        pytest.param("dropped", JobState.UNKNOWN, "IMG-GEN-UNKNOWN-003", id="connection lost"),
        pytest.param("truncated", JobState.UNKNOWN, "IMG-GEN-UNKNOWN-004", id="cut off"),
        pytest.param("html", JobState.FAILED, "IMG-GEN-ANSWER-002", id="no picture"),
        pytest.param("quota spent", JobState.FAILED, "IMG-GEN-QUOTA-001", id="quota"),
        pytest.param("too large", JobState.FAILED, "IMG-GEN-SIZE-001", id="too large"),
        pytest.param("error frame", JobState.FAILED, "IMG-PRM-BLOCK-001", id="moderation in the stream"),
    ],
)
def test_a_failed_edit_is_sent_once_and_reported_like_a_generation(
    studio: Studio,
    service: OpenAIService,
    ada: SignedIn,
    fox: Image,
    fault: str,
    state: JobState,
    code: str,
) -> None:
    service.script(fault)
    job = ended(studio, ada, studio.edits.edit(ada, fox.id, WORDS))
    assert (job.state, job.error and job.error.code) == (state, code)
    assert len(service.requests) == 1


@pytest.mark.parametrize("refusal", ["unsupported parameter", "unverified to stream"])
def test_an_edit_resent_without_partial_images_still_has_its_input_images(
    studio: Studio, service: OpenAIService, ada: SignedIn, fox: Image, refusal: str
) -> None:
    service.script(refusal)
    made(studio, ada, studio.edits.edit(ada, fox.id, WORDS))
    first, second = (seen.body for seen in edits(service))
    assert first["files"] == second["files"] == [["image", "image/png", fox.sha256]]
    assert first.keys() > second.keys()


def test_two_clicks_are_one_edit(studio: Studio, ada: SignedIn, fox: Image) -> None:
    first, second = (studio.edits.edit(ada, fox.id, WORDS) for _ in range(2))
    assert first == second
    assert made(studio, ada, first).source_id == fox.id


@pytest.mark.parametrize(
    ("database_url", "moment", "state", "images"),
    [
        pytest.param("sqlite", "never", JobState.UNKNOWN, 0, id="during the call"),
        pytest.param("sqlite", "bytes", JobState.DONE, 1, id="after the bytes"),
        pytest.param("postgresql", "bytes", JobState.DONE, 1, id="PostgreSQL, after the bytes"),
    ],
    indirect=["database_url"],
)
def test_a_process_killed_in_an_edit_loses_no_image_and_pays_for_none_twice(
    make_studio: Callable[..., Workshop],
    database: Database,
    tmp_path: Path,
    user: User,
    moment: str,
    state: JobState,
    images: int,
) -> None:
    workshop = make_studio(database, started=False)
    key = edit_source(workshop.storage, user.id)
    url = database.url.render_as_string(hide_password=False)
    plan = Plan(url, str(tmp_path), workshop.service.base_url, user.id, moment, edits=key)
    run_until_killed(workshop, plan)
    workshop.jobs.start()
    assert workshop.ended().state == state
    assert len(workshop.rows(Image)) == images
    assert len(edits(workshop.service)) == len(workshop.service.requests) == 1
    assert workshop.job().recipe == replace(EDIT, references=(key,))


def test_an_upload_that_disappears_before_the_call_costs_nothing(
    make_studio: Callable[..., Workshop],
    database: Database,
    user: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("core.generation.worker.SETTLE_RETRY_SECONDS", (0.01,))
    workshop = make_studio(database, started=False)
    recipe = replace(EDIT, references=(f"uploads/{user.id}/{'0' * 43}.png",))
    workshop.jobs.submit(user.id, [recipe])
    workshop.work()
    job = workshop.job()
    assert (job.state, job.error and job.error.code) == (JobState.FAILED, "IMG-REQ-UPLOAD-004")
    assert workshop.service.requests == []


# The offline engine


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    studio = bootstrap.build(load_settings(_env_file=None, data_dir=tmp_path_factory.mktemp("offline")))
    yield studio
    studio.close()


def average(data: bytes, box: tuple[int, int, int, int] | None = None) -> tuple[float, float, float]:
    with Picture.open(io.BytesIO(data)) as image:
        red, green, blue = image.convert("RGB").resize((1, 1), Picture.Resampling.BOX, box).getpixel((0, 0))  # type: ignore[misc]
    return red, green, blue


def painted(offline: Studio, **inputs: Any) -> bytes:
    """The image that the offline engine makes from `inputs`."""
    params = replace(RECIPE, prompt="a fox", model="offline-painter", size="256x256").params()
    made = offline.client.images.generate(params, user_tag="t", inputs=InputImages(**inputs))
    return made.images[0]


@pytest.mark.parametrize("colour", [(200, 30, 30), (20, 40, 160)], ids=["red", "blue"])
def test_the_offline_engine_uses_the_input_images_colours(
    offline: Studio, colour: tuple[int, int, int]
) -> None:
    source = InputImage(plain_png(64, 64, colour), "image/png")
    found = average(painted(offline, images=(source,)))
    assert all(abs(one - other) < 25 for one, other in zip(found, colour, strict=True))


def test_the_offline_engine_changes_only_what_the_mask_leaves_open(offline: Studio) -> None:
    source = InputImage(saved("PNG", (256, 256)), "image/png")
    hole = Picture.new("RGBA", (256, 256), (0, 0, 0, 255))
    hole.paste((0, 0, 0, 0), (128, 0, 256, 256))
    file = io.BytesIO()
    hole.save(file, "PNG")
    mask = InputImage(file.getvalue(), "image/png")
    result = painted(offline, images=(source,), mask=mask)
    with Picture.open(io.BytesIO(result)) as image, Picture.open(io.BytesIO(source.data)) as before:
        left, right = (0, 0, 128, 256), (128, 0, 256, 256)
        assert image.convert("RGB").crop(left).tobytes() == before.convert("RGB").crop(left).tobytes()
        assert image.convert("RGB").crop(right).tobytes() != before.convert("RGB").crop(right).tobytes()


def test_the_offline_engine_refuses_bytes_that_are_no_image(offline: Studio) -> None:
    with pytest.raises(errors.ImageError) as caught:
        painted(offline, images=(InputImage(b"no picture", "image/png"),))
    assert not isinstance(caught.value, errors.OutcomeUnknown)


def test_an_edit_offline_from_end_to_end(offline: Studio) -> None:
    ada = sign_in.enter(offline, "ada")
    recipe = Recipe(prompt="a fox", model="offline-painter", size="1024x1024")
    image = made(offline, ada, generate(offline, ada, recipe, 1))
    assert offline.edits.plan(ada, image.id).quote.price == 0
    edited = made(offline, ada, offline.edits.edit(ada, image.id, WORDS))
    assert (edited.source_id, edited.prompt, edited.price_micros) == (image.id, WORDS, 0)


def test_a_request_without_input_images_is_no_form(service: OpenAIService) -> None:
    client = ServiceClient(load_settings(openai_base_url=service.base_url))
    client.images.generate(RECIPE.params(), user_tag="t")
    client.close()
    (seen,) = service.requests
    assert (seen.path, seen.headers["content-type"]) == ("/v1/images/generations", "application/json")
