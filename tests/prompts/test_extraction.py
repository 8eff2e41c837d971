"""Requests to the text model, and the prompt with all the user's facts from its response."""

from __future__ import annotations

import json

import pytest

from core.prompts.extraction import extract_prompt
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
        pytest.param("Here's your prompt:\n\n**Prompt**: x", "x", id="introduced twice"),
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


PIER = "A keeper waves from a narrow pier at dawn, soft fog, 50mm."


@pytest.mark.parametrize(
    "response",
    [
        pytest.param("## Enhanced Image Prompt (Rich)\n\n{}", id="heading"),
        pytest.param("**Final Prompt**\n{}", id="emphasised heading"),
        pytest.param("Enhanced prompt\n\n{}", id="plain heading"),
        pytest.param('Prompt: "{}"', id="label and quotes"),
        pytest.param("Here is the improved version: {}", id="introduced on its line"),
        pytest.param("Absolutely!\n\n{}", id="agreement on a line"),
        pytest.param("Okay, here's what I'd send:\n\n---\n\n{}\n\n---", id="rules"),
        pytest.param("I've expanded your idea a little.\n\n{}", id="introduced by a sentence"),
        pytest.param("I can't draw that mascot, but here's another idea:\n\n{}", id="an alternative"),
        pytest.param("✨ **Enhanced Prompt** ✨\n\n{}", id="ornaments"),
        pytest.param("**Variation 2:**\n{}", id="number of the variation"),
        pytest.param("assistant\n\n{}", id="role"),
        pytest.param("Answer: {}", id="answer"),
        pytest.param("{}\n\n*(Note: I kept the name as it was.)*", id="note"),
        pytest.param("{}\n\nWord count: 11", id="word count"),
        pytest.param("{}\n\n[End of prompt]", id="end of the prompt"),
        pytest.param("{}\n\nWould you like a darker mood?", id="closing question"),
        pytest.param("{} Feel free to ask for changes!", id="closing sentence on its line"),
        pytest.param("{}\n\n*I hope this works. Let me know!*", id="two closing sentences"),
        pytest.param("{}\n\n**Key changes:**\n- fog\n- lens", id="explanation"),
        pytest.param("```\n{}\n```\n\nThis prompt keeps your words.", id="explained fence"),
        pytest.param("```text\n{}", id="fence without an end"),
        pytest.param("Sure:\n<output>\n{}\n</output>\nEnjoy!", id="result tag"),
        pytest.param("<answer>{}", id="result tag without an end"),
        pytest.param("{}</answer>", id="result tag without a beginning"),
        pytest.param("> {}", id="quoted line"),
        pytest.param("**{}**", id="emphasis"),
        pytest.param("„{}“", id="low quotes"),
        pytest.param("「{}」", id="corner brackets"),
        pytest.param('["{}"]', id="JSON list"),
        pytest.param('{"Enhanced Prompt": "{}", "negative": "text"}', id="JSON with spaced names"),
        pytest.param("Hier ist der überarbeitete Prompt:\n{}\n\nSoll ich noch etwas ändern?", id="German"),
        pytest.param("Voici :\n\n{}\n\nN’hésitez pas à demander une variante.", id="French"),
        pytest.param("¡Claro! Aquí tienes:\n{}\n¿Quieres otra versión?", id="Spanish"),
        pytest.param("Aqui está:\n{}\nSe quiser, faço outra versão.", id="Portuguese"),
        pytest.param("Ecco il prompt migliorato:\n{}\nFammi sapere!", id="Italian"),
        pytest.param("Вот улучшенный промпт:\n{}\nЕсли хотите, изменю свет.", id="Russian"),
        pytest.param("以下是优化后的提示词：\n{}\n如果需要修改，请告诉我。", id="Chinese"),
        pytest.param("強化されたプロンプト：\n{}\nご希望があればお知らせください。", id="Japanese"),
        pytest.param("다음은 개선된 프롬프트입니다:\n{}\n원하시면 바꿔 드릴게요.", id="Korean"),
    ],
)
def test_what_a_model_says_around_the_prompt_is_removed(response: str) -> None:
    assert extract_prompt(response.replace("{}", PIER)) == PIER


@pytest.mark.parametrize(
    "prompt",
    [
        pytest.param("A shop door. The sign reads\n```\nOPEN\n```\nin red neon.", id="fence inside"),
        pytest.param("Scene: a bar\nThe menu says:\n```\nSOUP\n```", id="fence at the end"),
        pytest.param("```\nA\n```\nbeside\n```\nB\n```", id="two fences"),
        pytest.param("Great hall of a castle:\nstone, banners", id="a first line with a colon"),
        pytest.param("Here comes the sun: a meadow at dawn", id="begins with here"),
        pytest.param("Prompt engineering as a neon sign", id="the word prompt"),
        pytest.param('A card that reads "Thanks. Let me know!"', id="a closing sentence in quotes"),
        pytest.param("A poster: “Would you like to dance?”", id="a question in quotes"),
        pytest.param("Two friends.\nShould it rain, umbrellas open.", id="a line like a question"),
        pytest.param("# The Keeper\n\nA pier in fog.", id="another heading"),
        pytest.param("네온 간판: 열림", id="begins like an agreement"),
        pytest.param("Light: dusk\nNote: no text in the image", id="a note about the image"),
        pytest.param("Assistant to a wizard, oil painting", id="begins like a role"),
        pytest.param("---", id="only a rule"),
    ],
)
def test_a_prompt_that_looks_like_talk_stays(prompt: str) -> None:
    assert extract_prompt(prompt) == prompt


def test_a_title_without_a_prompt_is_no_prompt() -> None:
    assert extract_prompt("<think>hm</think>\n## Enhanced prompt\n") == ""
