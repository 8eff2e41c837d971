"""Painted pictures follow their prompt, have the requested size and say that no model made them."""

import io

import numpy as np
import pytest
from PIL import Image

from core.offline.painter.paint import SOFTWARE, encode, paint
from core.offline.painter.plan import read_plan
from core.prompts.styles import STYLES, with_style


def picture(prompt: str, width: int = 256, height: int = 256, seed: int = 7, **options) -> Image.Image:
    *_, finished = paint(prompt, width=width, height=height, seed=seed, **options)
    return finished


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean absolute difference of two pictures, in levels from 0 to 255."""
    first, second = (np.asarray(image.convert("RGB"), dtype=float) for image in (one, other))
    return float(np.abs(first - second).mean())


@pytest.fixture(scope="module")
def styled_foxes() -> dict[str, Image.Image]:
    return {style.key: picture(with_style("A fox in the forest", style.key)) for style in STYLES}


def test_the_style_that_was_chosen_last_counts():
    for first, last in (("watercolour", "ink"), ("ink", "watercolour")):
        assert read_plan(with_style(with_style("a fox in the forest", first), last)).style == last


@pytest.mark.parametrize("style", [pytest.param(style.key, id=style.key) for style in STYLES])
def test_every_style_differs_from_the_plain_picture_and_from_the_others(style, styled_foxes):
    plain = picture("A fox in the forest")
    assert difference(styled_foxes[style], plain) > 4
    others = [other for key, other in styled_foxes.items() if key != style]
    assert min(difference(styled_foxes[style], other) for other in others) > 3


@pytest.mark.parametrize(
    ("prompt", "scene", "subject"),
    [
        pytest.param("a fox under an old tree in the woods", "forest", "fox", id="animal wins over tree"),
        pytest.param("eine Katze in der Küche", "room", "cat", id="German"),
        pytest.param("un renard dans la forêt", "forest", "fox", id="French"),
        pytest.param("un barco en el mar", "sea", "boat", id="Spanish"),
        pytest.param("two robots downtown", "city", "robot", id="plural"),
        pytest.param("a rocket", "space", "rocket", id="the subject's own scene"),
        pytest.param("a cup on a white background", "plain", "cup", id="plain backdrop"),
        pytest.param("zorblax", "plain", None, id="unknown word"),
        pytest.param(with_style("a cat in the forest", "product"), "plain", "cat", id="product shot"),
    ],
)
def test_the_prompt_chooses_scene_and_subject(prompt, scene, subject):
    plan = read_plan(prompt)
    assert (plan.scene, plan.subject) == (scene, subject)


@pytest.mark.parametrize(
    ("prompt", "hour", "weathers"),
    [
        pytest.param("a cat at midnight", "night", (), id="night"),
        pytest.param("Sonnenuntergang im Regen", "sunset", ("rain",), id="sunset in rain"),
        pytest.param("misty morning, first snow", "dawn", ("fog", "snow"), id="two weathers"),
        pytest.param("a cat", "day", (), id="neither named"),
    ],
)
def test_the_prompt_chooses_hour_and_weather(prompt, hour, weathers):
    plan = read_plan(prompt)
    assert (plan.hour, plan.weathers) == (hour, weathers)


def test_scenes_differ():
    scenes = ("sky", "sea", "forest", "mountains", "desert", "city", "room", "space", "garden", "underwater")
    pictures = [picture(f"a fox, {scene}") for scene in (*scenes, "plain background")]
    pairs = [(a, b) for i, a in enumerate(pictures) for b in pictures[:i]]
    assert min(difference(a, b) for a, b in pairs) > 8


def test_each_unknown_subject_gets_its_own_emblem():
    assert difference(picture("zorblax"), picture("quuxery")) > 2


@pytest.mark.parametrize(
    ("colour", "channel"),
    [
        pytest.param("red", 0, id="red"),
        pytest.param("green", 1, id="green"),
        pytest.param("blue", 2, id="blue"),
        pytest.param("rotes", 0, id="German red"),
        pytest.param("bleu", 2, id="French blue"),
    ],
)
def test_colour_words_change_the_mean_colour(colour, channel):
    def balance(prompt: str) -> float:
        mean = np.asarray(picture(prompt), dtype=float).mean(axis=(0, 1))
        return mean[channel] - mean.mean()

    assert balance(f"a {colour} robot, plain background") > balance("a robot, plain background") + 3


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(w, id=w)
        for w in ("night", "sunset", "rain", "autumn", "winter", "neon", "pastel", "dark", "fog")
    ],
)
def test_mood_and_weather_are_visible(words):
    assert difference(picture(f"a fox in the garden, {words}"), picture("a fox in the garden")) > 4


@pytest.mark.parametrize(
    ("width", "height"),
    [
        pytest.param(1024, 1536, id="portrait"),
        pytest.param(1536, 512, id="3 to 1"),
        pytest.param(256, 768, id="1 to 3"),
        pytest.param(64, 64, id="tiny"),
        pytest.param(3840, 2160, id="largest"),
    ],
)
def test_a_picture_has_exactly_the_requested_size(width, height):
    assert picture("a fox in the forest", width, height).size == (width, height)


def test_the_picture_depends_on_the_seed():
    one, again, other = (picture("a fox in the forest", seed=seed) for seed in (1, 1, 2))
    assert difference(one, again) == 0
    assert difference(one, other) > 1


def test_each_preview_is_closer_to_the_finished_picture():
    *partials, finished = paint("a fox in the forest", width=256, height=256, seed=1, partials=3)
    distances = [difference(partial, finished) for partial in partials]
    assert len(partials) == 3
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] > 0


@pytest.mark.parametrize(
    "style", [pytest.param(key, id=key or "none") for key in ("", "watercolour", "pixel")]
)
def test_a_transparent_picture_shows_only_the_subject(style):
    alpha = np.asarray(picture(with_style("a fox in the forest", style), transparent=True).getchannel("A"))
    assert alpha[:10].max() == 0
    assert 0.08 < (alpha > 128).mean() < 0.5


@pytest.mark.parametrize("file_format", ["png", "webp", "jpeg"])
def test_the_metadata_names_the_offline_engine(file_format):
    file = Image.open(io.BytesIO(encode(picture("a fox"), file_format)))
    assert file.format == file_format.upper()
    text = (
        file.info
        if file_format == "png"
        else {"Software": file.getexif()[0x0131], "Source": file.getexif()[0x010E]}
    )
    assert text["Software"] == SOFTWARE
    assert "not by an image model" in text["Source"]
