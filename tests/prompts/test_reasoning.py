"""Reasoning and control tokens in a response, and in the chunks that are shown while it arrives."""

from __future__ import annotations

import pytest

from core.prompts.reasoning import ReasoningFilter, without_reasoning

PIER = "A keeper waves from a narrow pier."
HIDDEN = [
    pytest.param("<think>hm</think>{}", id="tag"),
    pytest.param("<THINK>\nhm\n</THINK>\n\n{}", id="capitals"),
    pytest.param("<thinking>hm</thinking>{}", id="another name"),
    pytest.param("<reasoning effort='low'>hm</reasoning>{}", id="attribute"),
    pytest.param("<seed:think>hm</seed:think>{}", id="prefixed"),
    pytest.param('<details type="reasoning" done>\n> hm\n</details>\n{}', id="details"),
    pytest.param("[THINK]hm[/THINK]{}", id="brackets"),
    pytest.param("◁think▷hm◁/think▷{}", id="triangles"),
    pytest.param("<|START_THINKING|>hm<|END_THINKING|><|START_RESPONSE|>{}<|END_RESPONSE|>", id="bars"),
    pytest.param(
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>{}<|return|>",
        id="channels",
    ),
    pytest.param("<|channel>thought\nhm\n<channel|>{}<turn|>", id="half bars"),
    pytest.param("<think>hm <think> hm</think>{}", id="nested"),
    pytest.param("<think/>{}", id="empty tag"),
    pytest.param("{}<think>was that right?", id="never closed, at the end"),
    pytest.param("{}<|im_end|>", id="end token"),
    pytest.param("{}</s>", id="end tag"),
    pytest.param("{}<｜end▁of▁sentence｜>", id="wide bars"),
    pytest.param("<|im_start|>assistant\n{}<|im_end|>\n<|im_start|>user\nAnd now?", id="another turn"),
]
# The beginning has no marker, so it is shown until the marker arrives.
UNMARKED = [
    pytest.param("The user wants a pier.\n</think>\n\n{}", id="no opening tag"),
    pytest.param("We write.<|end|><|start|>assistant<|channel|>final<|message|>{}", id="no opening channel"),
    pytest.param("analysisThe user wants a pier.assistantfinal{}", id="channels without bars"),
]


@pytest.mark.parametrize("response", [*HIDDEN, *UNMARKED])
def test_reasoning_is_removed(response: str) -> None:
    assert without_reasoning(response.format(PIER)).strip() == PIER


@pytest.mark.parametrize(
    "response",
    [
        pytest.param("<think>\nThe user wants a pier. A keeper waves", id="never closed"),
        pytest.param("<|channel|>analysis<|message|>hm<|end|>", id="no final channel"),
        pytest.param("analysisThe user wants a pier.", id="no final channel, without bars"),
        pytest.param("The user wants a pier.</think>", id="nothing after it"),
        pytest.param("<|im_start|>assistant\n<|im_end|>", id="tokens alone"),
    ],
)
def test_a_response_of_reasoning_alone_is_empty(response: str) -> None:
    assert without_reasoning(response) == ""


@pytest.mark.parametrize(
    "prompt",
    [
        'A shirt with "<think>" on it, white cotton.',
        "A [glowing] keeper, [thinking] hard",
        "a < b, c > d",
        "A page with <details>more</details> on a screen",
        "An arrow -> and a <b>bold</b> line",
        "The plan of a house, an analysis of light",
    ],
)
def test_a_prompt_with_similar_signs_stays(prompt: str) -> None:
    assert without_reasoning(prompt) == prompt


@pytest.mark.parametrize("size", [1, 3, 1_000])
@pytest.mark.parametrize("response", HIDDEN)
def test_reasoning_is_never_shown(response: str, size: int) -> None:
    text, visible = response.format(PIER), ReasoningFilter()
    shown = [visible.feed(text[start : start + size]) for start in range(0, len(text), size)]
    assert "".join([*shown, visible.finish()]).strip() == PIER


def test_text_is_shown_as_it_arrives() -> None:
    visible = ReasoningFilter()
    assert [visible.feed(chunk) for chunk in ("A keeper", " waves <", "3 ", "fog")] == [
        "A keeper",
        " waves",
        "",
        "",
    ]
    assert visible.finish() == " <3 fog"
