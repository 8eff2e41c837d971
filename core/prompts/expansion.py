"""Expands a text into many prompts: one per line, with alternatives in braces.

`a {red|blue} {fox|owl}` stands for four prompts. Braces may be nested. A brace without `|`, an unclosed one
and one after a backslash are ordinary characters. Prompts are counted before any is written out, because a
short text can stand for a number of prompts that no memory holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import reduce
from itertools import chain, pairwise, product

from core.errors import TooManyPrompts

# Deeper braces are ordinary characters. Nobody writes them, and parsing is recursive.
MAX_DEPTH = 10
# Counting stops here: the exact count of a long text has thousands of digits and takes minutes.
MAX_COUNT = 10**12
_ESCAPABLE = ("{", "|", "}", "\\")


@dataclass(slots=True)
class _Part:
    """A part of a line: plain `text`, or `options` of which each prompt has one."""

    text: str = ""
    options: list[list[_Part]] = field(default_factory=list)

    @property
    def count(self) -> int:
        return _total(self.options) if self.options else 1

    def expand(self) -> Iterator[str]:
        return chain.from_iterable(map(_expand, self.options)) if self.options else iter((self.text,))


def count_prompts(text: str) -> int:
    """The number of prompts that `text` stands for, MAX_COUNT at most."""
    return _total(map(_parse, _lines(text)))


def expand_prompts(text: str, *, limit: int) -> tuple[str, ...]:
    """The prompts that `text` stands for, in order and with single spaces.

    Raises TooManyPrompts for more than `limit`, before any is written out.
    """
    lines = [_parse(line) for line in _lines(text)]
    count = _total(lines)
    if count > limit:
        raise TooManyPrompts(
            f"These are {_count_label(count)} prompts; a batch can have at most {limit:,}.", field="prompt"
        )
    return tuple(" ".join(prompt.split()) for line in lines for prompt in _expand(line))


def find_unclosed_brace(text: str) -> int | None:
    """The number of the first line with an unclosed brace, counted from 1; None when there is none."""
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
    """The positions of a line's unescaped braces and bars. `closing` maps each opening brace to its end."""

    closing: dict[int, int]
    bars: frozenset[int]
    unclosed: bool

    def separators(self, start: int) -> list[int]:
        """The positions of the bars between the options of the brace at `start`, without nested bars."""
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
    """The parts of `line[start:end]`."""
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
    """Find the delimiters of `line`."""
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
    """Whether a backslash at `position` makes the next character an ordinary one."""
    return line[position] == "\\" and line[position + 1 : position + 2] in _ESCAPABLE
