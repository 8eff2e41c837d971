"""Words from people and from services: any of them are read, in time that grows no faster than they do."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import example
from hypothesis import strategies as st

from core import errors
from core.accounts.passwords import check_password_rules, prehash
from core.accounts.usernames import check_username, fold_username
from core.common.text import fold_case, storable_text
from core.database.columns import fit_to_columns
from core.database.models import Image
from core.errors import scrub
from core.images.downloads import FILE_NAME_LENGTH, download_file_name
from core.offline.prompt_writer import Description, language_of, write_prompt
from core.offline.simulated_faults import fault_in
from core.prompts.expansion import count_prompts, expand_prompts
from core.prompts.extraction import extract_prompt
from core.prompts.facts import append_facts, missing_facts
from core.prompts.instructions import system_message
from core.prompts.reasoning import ReasoningFilter, without_reasoning
from core.prompts.recipe import GenerateParams
from core.prompts.refusals import is_refusal
from core.prompts.request import EnhancementLevel, PromptRequest
from core.prompts.styles import find_style, with_style
from core.provider.capabilities import check_size
from core.provider.catalogue import image_model, text_model
from core.provider.pricing import estimate_image_price
from pages.ui.create.state import parse_size
from pages.ui.formatting import escape_markdown, shorten
from tests.support.fuzz_inputs import HUGE, any_text, fuzz, words_of

MOST = 50
requests = st.builds(
    PromptRequest,
    name=any_text,
    traits=st.lists(any_text, max_size=4).map(tuple),
    base_prompt=any_text,
    style=st.one_of(st.none(), any_text, st.sampled_from(["clay", "watercolour"])),
    enhancement=st.sampled_from(EnhancementLevel),
    guidance=any_text,
    variation=st.integers(0, 10**6),
)


# Alternatives


@example("{a|b}" * 6)
@fuzz(text=words_of("{", "|", "}", "\\", "{a|b}", "{|", "\n", "\r\n", "\u2028"))
def test_alternatives_are_counted_as_they_are_written_or_refused_before(text: str) -> None:
    count = count_prompts(text)
    if count > MOST:
        with pytest.raises(errors.TooManyPrompts):
            expand_prompts(text, limit=MOST)
        return
    written = expand_prompts(text, limit=MOST)
    assert len(written) == count
    assert all(prompt == " ".join(prompt.split()) for prompt in written)


@fuzz(text=words_of("fox", "a big owl", " ").filter(lambda text: not set(text) & set("{|}\\")))
def test_a_text_without_braces_is_its_lines(text: str) -> None:
    lines = tuple(" ".join(line.split()) for line in text.splitlines() if line.strip())
    assert expand_prompts(text, limit=10**6) == lines


# What an enhancer answers

WRAPPED = words_of(
    "```", "```text\n", "\n```", "<think>", "</think>", "Sure, here is:\n", '{"prompt": "', '"}', "“", "”",
    "<|channel|>", "final", "<|start|>", "assistant", "<|end|>", "[THINK]", "<", "|>", "<answer>", "\n---\n",
    "\nLet me know!", "**", "## Prompt\n", "I'm sorry, I can't help with",
    '"', "**Enhanced prompt:** ", "a fox", "[", "{", "]", "}", "\\u", "NaN", "1e999",
)  # fmt: skip


@fuzz(answer=WRAPPED)
def test_of_any_answer_the_prompt_is_a_part_or_what_its_json_says(answer: str) -> None:
    found = extract_prompt(answer)
    assert found == found.strip()
    assert len(found) <= len(answer)


@fuzz(answer=WRAPPED, size=st.integers(1, 30))
def test_reasoning_is_taken_off_in_chunks_as_in_one_piece(answer: str, size: int) -> None:
    visible = ReasoningFilter()
    shown = [visible.feed(answer[start : start + size]) for start in range(0, len(answer), size)]
    shown.append(visible.finish())
    if not answer.lstrip().startswith("analysis"):
        assert visible.text == without_reasoning(answer)
    assert "".join(shown).endswith(visible.text)


@fuzz(
    prompt=st.text(st.characters(categories=("L", "N"), include_characters=" ,.-"), min_size=1).filter(
        lambda text: text.strip() == text and not text.isdecimal() and ":" not in text
    ),
    wrap=st.sampled_from(
        ["{}", "```\n{}\n```", "```text\n{}\n  ```", '"{}"', "<think>a\nb</think>{}", "Sure, here it is:\n{}",
         "**Enhanced prompt:** {}", "«{}»", " \n{}\n ", "<think></think>```\n{}```"]
    ),
)  # fmt: skip
def test_what_a_model_wraps_around_a_prompt_is_taken_off(prompt: str, wrap: str) -> None:
    try:
        json.loads(prompt)
    except ValueError:
        assert extract_prompt(wrap.replace("{}", prompt)) == prompt


@fuzz(request=requests, text=any_text)
def test_no_fact_is_missing_once_it_was_added_back(request: PromptRequest, text: str) -> None:
    whole = append_facts(text, missing_facts(text, request))
    assert whole.startswith(text)
    assert missing_facts(whole, request) == ()


@fuzz(request=requests)
def test_any_description_is_one_json_object_with_every_word_in_it(request: PromptRequest) -> None:
    told = json.loads(request.to_message())
    assert told["base_prompt"] == request.base_prompt
    assert told["traits"] == list(request.traits)
    assert system_message(request)
    assert len(request.subject_hash) == 64


@fuzz(prompt=any_text, style=any_text)
def test_a_style_adds_to_a_prompt_and_takes_nothing_from_it(prompt: str, style: str) -> None:
    assert with_style(prompt, style).startswith(prompt.rstrip())
    assert find_style(style) is None or find_style(style) == find_style(find_style(style).key)  # type: ignore[union-attr]


@fuzz(
    words=st.builds(
        Description, name=any_text, traits=st.lists(any_text, max_size=3).map(tuple), base_prompt=any_text,
        style=any_text, guidance=any_text, variation=st.integers(0, 2**70),
    )
)  # fmt: skip
def test_the_offline_writer_keeps_every_word(words: Description) -> None:
    written = write_prompt(words)
    for part in (words.name, words.base_prompt, words.guidance, *words.traits):
        assert part.strip() in written
    assert language_of(written) is None or len(language_of(written) or "") == 2


@fuzz(text=words_of("!fail", " ", "quota", "\n", "RATE"))
def test_a_call_for_a_fault_is_a_fault_or_none(text: str) -> None:
    fault = fault_in(text)
    assert fault is None or fault.body["error"]["message"] is not None


# Sizes and models


@fuzz(
    typed=st.one_of(
        words_of("1024", "x", "×", "*", " ", "auto", "Square"), st.from_regex(r"\d{1,6}[x×*]\d{1,6}")
    ),
    name=st.one_of(any_text, st.sampled_from(["gpt-image-2.6-flare", "offline-painter", "dall-e-3", "flux"])),
)
def test_a_typed_size_is_one_of_the_models_or_refused(typed: str, name: str) -> None:
    model, size = image_model(name), parse_size(typed)
    assert parse_size(size) == size
    try:
        check_size(size, model)
    except errors.InvalidParameter:
        return
    width, _, height = size.partition("x")
    assert size in ("auto", *model.sizes) or 0 < int(width) * int(height) <= 2**26


@fuzz(name=any_text, prompt=any_text, size=any_text, quality=any_text, n=st.integers(-5, 10**9))
def test_any_model_has_a_record_and_no_price_that_nobody_published(
    name: str, prompt: str, size: str, quality: str, n: int
) -> None:
    assert image_model(name).name == text_model(name).name == name
    params = GenerateParams(prompt=prompt, model=name, size=size, quality=quality, n=n)
    assert estimate_image_price(params) is None


# Names, passwords, columns


@fuzz(name=words_of("ada", "Ω", "\u200b", "ﷺ", "İ", "@", ".", "-", "\u0301"))
def test_a_name_is_refused_or_has_one_spelling(name: str) -> None:
    try:
        folded = check_username(name)
    except errors.UsernameRejected:
        return
    assert check_username(folded) == folded == fold_username(name)
    assert 2 <= len(folded) <= 64
    assert folded.encode()


@fuzz(password=any_text, name=any_text)
def test_a_password_is_taken_or_refused_and_hashed_the_same_each_time(password: str, name: str) -> None:
    with suppress(errors.PasswordRejected):
        check_password_rules(password, name)
    assert prehash(password) == prehash(password)


@fuzz(text=any_text)
def test_a_clean_text_can_be_kept_by_every_engine(text: str) -> None:
    kept = storable_text(text)
    assert kept.encode().decode() == kept
    assert "\0" not in kept
    assert storable_text(kept) == kept
    if text.isprintable() and text.isascii():
        assert kept == text


@fuzz(text=st.text(st.characters(exclude_categories=()), max_size=600))
def test_what_is_fitted_is_no_longer_than_its_column(text: str) -> None:
    columns = Image.metadata.tables[str(Image.__tablename__)].columns
    fields = fit_to_columns(Image, {"name": text, "model": text, "prompt": text, "traits": [text]})
    for name in ("name", "model", "prompt"):
        length = getattr(columns[name].type, "length", None)
        assert length is None or len(fields[name]) <= length
        assert "\0" not in fields[name]


@fuzz(text=any_text, word=st.text(st.characters(codec="ascii"), min_size=1))
def test_a_word_is_found_in_a_text_whatever_its_case(text: str, word: str) -> None:
    assert fold_case(word.upper()) == fold_case(word.lower()) == fold_case(word)
    assert fold_case(word) in fold_case(f"{text} {word}")


@fuzz(name=words_of("..", "/", "\\", "CON", "a\0b", "\u202e", "fox", ".exe", "\n"), prompt=any_text)
def test_a_file_name_is_letters_with_their_marks_digits_and_hyphens(name: str, prompt: str) -> None:
    made = download_file_name(Image(id="0123456789abcdef", name=name, prompt=prompt, mime="image/png"))
    stem, end = made.rsplit("-", 1)
    assert end == "01234567.png"
    assert 0 < len(stem) <= FILE_NAME_LENGTH
    assert stem[0].isalnum()
    for sign, before in zip(stem[1:], stem, strict=False):
        follows = unicodedata.category(sign).startswith("M") or sign in "\u200c\u200d"
        assert sign.isalnum() or sign == "-" or (follows and before != "-")
    assert len(made.encode()) <= 255


@fuzz(text=words_of("sk-", "sk-proj-", "atl_", "Bearer ", "****", "…", "abc1DEF2ghi3JKL4"))
def test_a_scrubbed_text_is_scrubbed_and_never_much_longer(text: str) -> None:
    once = scrub(text)
    assert scrub(once) == once
    assert len(once) <= len(text) + 9 * (
        text.count("*") + text.lower().count("bearer") + text.count("sk-") + 1
    )


@fuzz(text=words_of("*", "`", "[a](b)", "<b>", ":red[", "$x$", "\\", "www.", "http://", "->", "\n"))
def test_a_label_is_one_line_and_loses_no_letter(text: str) -> None:
    shown = escape_markdown(text)
    assert "\n" not in shown
    assert [sign for sign in shown if sign.isalpha() and not sign.isascii()] == [
        sign for sign in text if sign.isalpha() and not sign.isascii()
    ]
    assert len(shorten(text, 10)) <= 10


def test_a_deep_answer_is_text() -> None:
    deep = "[" * HUGE
    assert extract_prompt(deep) == deep


# Time


def _refusing(text: str) -> object:
    try:
        return check_username(text)
    except errors.UsernameRejected:
        return None


def _labelled(text: str) -> str:
    return escape_markdown(text[: HUGE // 4])


def _in_chunks(text: str) -> object:
    visible = ReasoningFilter()
    return [visible.feed(character) for character in text[: HUGE // 40]]


READERS: dict[str, Callable[[str], object]] = {
    "reasoning in chunks": _in_chunks,
    "a refusal": is_refusal,
    "alternatives": lambda text: count_prompts(text[: HUGE // 2]),
    "an enhancer's answer": extract_prompt,
    "scrub": scrub,
    "a fault's call": fault_in,
    "columns": storable_text,
    "names": _refusing,
    "language": language_of,
    "facts": lambda text: missing_facts(text, PromptRequest("fox", ("a b",), base_prompt=text[:8_000])),
    "labels": _labelled,
    "a search": fold_case,
}
HOSTILE = [
    "{", "{a|", "{}", "\\", "<think>", "</think>", "```\n", "``` ", "`", " ", "\n", "#*_ ", "sure: ",
    "[", '{"a":', '"', "sk-", "atl_", "*", "a*****", "Bearer ", "Bearer", "!fail ", "a ", "\u0301",
    "<|", "<details ", "[THINK", "<answer>", "> ", "---\n", "Let me know. ", "I can't ", "**", "'", "请",
    "お", "ﷺ", "sk-a1.", "-", "\u0301\u0316", "\uff9e\u0301",
]  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
def test_no_text_takes_more_time_than_its_length(reader: str) -> None:
    for piece in HOSTILE:
        READERS[reader](piece * (HUGE // len(piece)))
        READERS[reader](f"```\n{piece * (HUGE // len(piece))}x")
