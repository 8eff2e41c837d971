"""Expands a text with alternatives in braces into many prompts.

Each line of the text is a template for prompts. The line `a {red|blue} {fox|owl}` stands for four prompts.
Braces may be nested. A brace is an ordinary character if there is no `|` in the braces, if the brace isn't
closed, or if a backslash precedes it. A short text can stand for more prompts than fit in memory, so the
prompts are counted before they are generated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import reduce
from itertools import chain, pairwise, product

from core.errors import TooManyPrompts

# Parsing is recursive, so its depth is limited. Braces that are nested deeper are ordinary characters.
MAX_DEPTH = 10
# Counting stops here, because the exact count of a long text can have thousands of digits and take minutes.
MAX_COUNT = 10**12
_ESCAPABLE = ("{", "|", "}", "\\")


@dataclass(slots=True)
class _Part:
    """A part of a line: either plain `text`, or `options`, the alternatives in a pair of braces.

    Each alternative is a list of parts.
    """

    text: str = ""
    options: list[list[_Part]] = field(default_factory=list)

    @property
    def count(self) -> int:
        return _total(self.options) if self.options else 1

    def expand(self) -> Iterator[str]:
        return chain.from_iterable(map(_expand, self.options)) if self.options else iter((self.text,))


def count_prompts(text: str) -> int:
    """Return the number of prompts that `text` stands for, or MAX_COUNT if there are more."""
    return _total(map(_parse, _lines(text)))


def expand_prompts(text: str, *, limit: int) -> tuple[str, ...]:
    """Return all prompts that `text` stands for, in the order of the lines and of the alternatives.

    Any sequence of white space in a prompt becomes one space. Raises TooManyPrompts if there are more than
    `limit` prompts. In that case, no prompt is generated.
    """
    lines = [_parse(line) for line in _lines(text)]
    count = _total(lines)
    if count > limit:
        raise TooManyPrompts(
            f"These are {_count_label(count)} prompts; a batch can have at most {limit:,}.", field="prompt"
        )
    return tuple(" ".join(prompt.split()) for line in lines for prompt in _expand(line))


def find_unclosed_brace(text: str) -> int | None:
    """Return the number of the first line in `text` that has an unclosed brace. The first line is 1.

    Returns None if every brace is closed.
    """
    return next((number for number, line in enumerate(text.splitlines(), 1) if _scan(line).unclosed), None)


def _count_label(count: int) -> str:
    return f"{count:,}" if count < MAX_COUNT else "more than a trillion"


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _count(parts: list[_Part]) -> int:
    return reduce(lambda count, part: min(count * part.count, MAX_COUNT), parts, 1)


def _total(lines: Iterable[list[_Part]]) -> int:
    return min(sum(map(_count, lines)), MAX_COUNT)


def _expand(parts: list[_Part]) -> Iterator[str]:
    return map("".join, product(*(tuple(part.expand()) for part in parts)))


@dataclass(frozen=True, slots=True)
class _Delimiters:
    """The positions of the unescaped braces and bars (`|`) in a line.

    `closing` maps the position of each opening brace to that of its closing brace. `unclosed` is true if an
    opening brace has no closing brace.
    """

    closing: dict[int, int]
    bars: frozenset[int]
    unclosed: bool

    def separators(self, start: int) -> list[int]:
        """Return the positions of the bars that separate the alternatives in one pair of braces.

        `start` is the position of the opening brace. Bars in nested braces aren't included.
        """
        found, position, end = list[int](), start + 1, self.closing[start]
        while position < end:
            position = self.closing.get(position, position)
            if position in self.bars:
                found.append(position)
            position += 1
        return found


def _parse(line: str) -> list[_Part]:
    return _parse_range(line, 0, len(line), _scan(line), depth=0)


def _parse_range(line: str, start: int, end: int, delimiters: _Delimiters, depth: int) -> list[_Part]:
    """Return the parts of `line[start:end]`.

    `depth` is the number of braces around this range.
    """
    parts, text, position = list[_Part](), list[str](), start
    while position < end:
        if _is_escape(line, position):
            text.append(line[position + 1])
            position += 2
        elif (
            position in delimiters.closing
            and depth < MAX_DEPTH
            and (separators := delimiters.separators(position))
        ):
            bounds = [position, *separators, delimiters.closing[position]]
            options = [
                _parse_range(line, left + 1, right, delimiters, depth + 1) for left, right in pairwise(bounds)
            ]
            parts += [_Part("".join(text)), _Part(options=options)]
            text.clear()
            position = bounds[-1] + 1
        else:
            text.append(line[position])
            position += 1
    return [*parts, _Part("".join(text))]


def _scan(line: str) -> _Delimiters:
    """Return the positions of the unescaped braces and bars in `line`."""
    opened, closing, bars, position = list[int](), dict[int, int](), set[int](), 0
    while position < len(line):
        if _is_escape(line, position):
            position += 1
        elif line[position] == "{":
            opened.append(position)
        elif line[position] == "}" and opened:
            closing[opened.pop()] = position
        elif line[position] == "|":
            bars.add(position)
        position += 1
    return _Delimiters(closing, frozenset(bars), bool(opened))


def _is_escape(line: str, position: int) -> bool:
    """Return whether the character at `position` is a backslash that escapes the next character."""
    return line[position] == "\\" and line[position + 1 : position + 2] in _ESCAPABLE
