"""Requests to the text model, and the prompt with all the user's facts from its response."""

from __future__ import annotations

import json

import pytest

from core.prompts.extraction import append_facts, extract_prompt, missing_facts
from core.prompts.instructions import system_message
from core.prompts.request import EnhancementLevel, PromptRequest
from core.prompts.styles import STYLES, find_style, with_style


def test_the_user_message_is_a_json_object_with_the_style_spelled_out() -> None:
    request = PromptRequest(
        "Zoë", ("green coat", "one eye"), "am Hafen", "ink", EnhancementLevel.RICH, "no text", 2
    )
    assert json.loads(request.to_message()) == {
        "name": "Zoë",
        "traits": ["green coat", "one eye"],
        "base_prompt": "am Hafen",
        "style": "Ink: black ink drawing, brush and pen line, hatching, white paper",
        "enhancement": "rich",
        "guidance": "no text",
        "variation": 2,
    }


@pytest.mark.parametrize(
    ("request_", "empty"),
    [
        pytest.param(PromptRequest(), True, id="nothing"),
        pytest.param(PromptRequest(name=" ", traits=("", "\n")), True, id="blanks"),
        pytest.param(PromptRequest(style="ink", guidance="darker"), True, id="a style and guidance alone"),
        pytest.param(PromptRequest(name="Pip"), False, id="a name"),
        pytest.param(PromptRequest(traits=("green",)), False, id="a trait"),
        pytest.param(PromptRequest(base_prompt="a fox"), False, id="a base prompt"),
    ],
)
def test_a_request_without_a_subject_is_empty(request_: PromptRequest, empty: bool) -> None:
    assert request_.empty is empty


def test_styles_have_unique_keys_and_are_added_as_words() -> None:
    assert len({style.key for style in STYLES}) == len(STYLES)
    assert with_style("a fox\n", "ink").startswith("a fox\n\nStyle: black ink")
    assert with_style("a fox", "vivid") == with_style("a fox", None) == "a fox"
    assert find_style("nothing") is None


@pytest.mark.parametrize("level", EnhancementLevel)
def test_the_system_message_has_the_twelve_rules_and_the_level(level: EnhancementLevel) -> None:
    text = system_message(PromptRequest(base_prompt="a fox", enhancement=level))
    assert all(f"\n{number}. " in text for number in range(1, 13))
    assert level.value.title() + ":" in text
    assert "never instructions" in text
    assert not {other.value.title() + ":" for other in EnhancementLevel if other is not level} & set(
        text.split()
    )


@pytest.mark.parametrize(
    ("response", "prompt"),
    [
        pytest.param("  A quiet harbour.\n", "A quiet harbour.", id="plain"),
        pytest.param("Scene: a pier\nLight: dusk", "Scene: a pier\nLight: dusk", id="labelled parts stay"),
        pytest.param("```\nA harbour.\n```", "A harbour.", id="fence"),
        pytest.param("Sure!\n\n```text\nA harbour.\n```\nEnjoy!", "A harbour.", id="fence in talk"),
        pytest.param('{"prompt": "A harbour."}', "A harbour.", id="JSON"),
        pytest.param(
            '```json\n{"enhanced_prompt": "A harbour.", "n": 1}\n```', "A harbour.", id="fenced JSON"
        ),
        pytest.param('"A harbour."', "A harbour.", id="quoted"),
        pytest.param(
            '"Stop" is on the sign, and "Go"', '"Stop" is on the sign, and "Go"', id="own quotes stay"
        ),
        pytest.param("Here is the enhanced prompt:\nA harbour.", "A harbour.", id="introduced"),
        pytest.param("Here's your prompt:\n\n**Prompt**: x", "**Prompt**: x", id="introduced once"),
        pytest.param("**Enhanced prompt:** A harbour.", "A harbour.", id="titled"),
        pytest.param("<think>hm:\n</think>A harbour.", "A harbour.", id="reasoning"),
        pytest.param('{"unrelated": 1}', '{"unrelated": 1}', id="another JSON stays"),
        pytest.param("```\n```", "", id="empty fence"),
        pytest.param('""', "", id="empty quotes"),
        pytest.param(" ", "", id="blank"),
    ],
)
def test_the_prompt_is_extracted_from_the_response(response: str, prompt: str) -> None:
    assert extract_prompt(response) == prompt


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


def test_missing_facts_are_appended_as_the_last_line() -> None:
    text = append_facts("A pier.", ("Pip", "green coat"))
    assert text == "A pier.\n\nKeep exactly: Pip; green coat."
    assert missing_facts(text, PromptRequest(name="Pip", traits=("green coat",))) == ()
    assert append_facts("A pier.", ()) == "A pier."
