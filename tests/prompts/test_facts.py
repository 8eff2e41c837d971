"""The facts of the description that a text model left out."""

from __future__ import annotations

import pytest

from core.prompts.facts import append_facts, missing_facts
from core.prompts.request import PromptRequest


@pytest.mark.parametrize(
    ("text", "name", "traits", "missing"),
    [
        pytest.param("Pip in a green coat", "Pip", ("green coat",), (), id="all there"),
        pytest.param("PIP in a GREEN\n coat", "Pip", ("green coat",), (), id="case and spacing"),
        pytest.param("Zoe\u0308 am Hafen", "Zo\u00eb", (), (), id="Unicode forms"),
        pytest.param("die grosse STRASSE", "", ("große Straße",), (), id="folded letters"),
        pytest.param("a small fox", "Pip", ("green coat",), ("Pip", "green coat"), id="both left out"),
        pytest.param("an education", "", ("cat",), ("cat",), id="part of another word"),
        pytest.param("小狐狸在港口", "狐狸", (), (), id="script without spaces"),
        pytest.param("a fox", "", ("", "  "), (), id="blank facts"),
        pytest.param("a fox", "Pip", ("Pip",), ("Pip",), id="the same fact twice"),
    ],
)
def test_missing_facts_are_found(
    text: str, name: str, traits: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    assert missing_facts(text, PromptRequest(name=name, traits=traits)) == missing


@pytest.mark.parametrize(
    ("base_prompt", "text"),
    [
        pytest.param("a fox on a pier", "The fox stands on an old pier.", id="the same words"),
        pytest.param("reading a book", "She reads, the books piled high.", id="inflected"),
        pytest.param("two children dancing", "A pair of kids dance in the rain.", id="one word of three"),
        pytest.param("ein kleines Haus", "Kleine Häuser am Meer", id="an umlaut"),
        pytest.param("мальчик на лошади", "Мальчики едут верхом.", id="Russian"),
        pytest.param("狐狸在雪地里", "雪地上的一只红狐狸，黄昏。", id="Chinese"),
        pytest.param("雪の中の狐", "雪の中に立つ赤い狐", id="Japanese"),
        pytest.param("눈 속의 여우", "여우가 눈밭에 서 있다.", id="Korean"),
        pytest.param("🦊", "A fox.", id="no words"),
        pytest.param(" \n", "A fox.", id="blank"),
    ],
)  # fmt: skip
def test_a_base_prompt_in_other_words_is_not_missing(base_prompt: str, text: str) -> None:
    assert missing_facts(text, PromptRequest(base_prompt=base_prompt)) == ()


@pytest.mark.parametrize(
    ("base_prompt", "text"),
    [
        pytest.param("a fox on a pier", "An owl beside a lake, soft light.", id="another subject"),
        pytest.param("the crew of a lunar base repairs a solar mast", "A crew of cooks in a bright kitchen.",
                     id="one word of many"),
        pytest.param("лиса на пирсе", "Сова у озера.", id="Russian"),
        pytest.param("狐狸在雪地里", "一只猫头鹰，湖边。", id="Chinese"),
        pytest.param("눈 속의 여우", "호숫가의 올빼미.", id="Korean"),
    ],
)  # fmt: skip
def test_a_base_prompt_that_was_lost_is_missing(base_prompt: str, text: str) -> None:
    request = PromptRequest(base_prompt=base_prompt)
    assert missing_facts(text, request) == (base_prompt,)
    assert missing_facts(append_facts(text, (base_prompt,)), request) == ()


def test_eight_words_of_a_long_base_prompt_are_enough() -> None:
    kept = "fox pier dawn scarf lantern gull rope barrel"
    long = PromptRequest(base_prompt=" ".join([kept, *(f"{number:03}" for number in range(100))]))
    assert missing_facts(kept, long) == ()
    assert missing_facts(kept.removesuffix("barrel"), long) == (long.base_prompt,)


def test_guidance_may_ask_for_a_translation() -> None:
    request = PromptRequest(name="Pip", base_prompt="a fox on a pier", guidance="in German, please")
    assert missing_facts("Pip, ein Fuchs auf dem Steg.", request) == ()


def test_missing_facts_are_appended_as_the_last_line() -> None:
    text = append_facts("A pier.", ("Pip", "green coat"))
    assert text == "A pier.\n\nKeep exactly: Pip; green coat."
    assert missing_facts(text, PromptRequest(name="Pip", traits=("green coat",))) == ()
    assert append_facts("A pier.", ()) == "A pier."
