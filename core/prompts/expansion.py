"""Many prompts in one text: a line each, with alternatives in braces, counted before any is written out.

`a {red|blue} {fox|owl}` stands for four prompts. Braces may stand in braces. A brace without `|`, one that
isn't closed, and one after a backslash are ordinary letters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import reduce
from itertools import chain, pairwise, product

from core.errors import TooManyPrompts

# Deeper braces are letters: nobody reads them.
MAX_DEPTH = 10
# Where counting ends: the product of a long text has a million digits, takes minutes, and says no more.
MAX_COUNT = 10**12
_ESCAPED = ("{", "|", "}", "\\")


@dataclass(slots=True)
class _Part:
    """A piece of text, or the `options` of which one stands here."""

    text: str = ""
    options: list[list[_Part]] = field(default_factory=list)

    @property
    def count(self) -> int:
        return _sum(self.options) if self.options else 1

    def each(self) -> Iterator[str]:
        return chain.from_iterable(map(_each, self.options)) if self.options else iter((self.text,))


def count_prompts(text: str) -> int:
    """How many prompts `text` stands for, MAX_COUNT at most; nothing is written out."""
    return _sum(map(_parse, _lines(text)))


def expand_prompts(text: str, *, limit: int) -> tuple[str, ...]:
    """The prompts that `text` stands for, in order and with single spaces.

    Raises TooManyPrompts for more than `limit`, before any is written out.
    """
    lines = [_parse(line) for line in _lines(text)]
    count = _sum(lines)
    if count > limit:
        raise TooManyPrompts(
            f"These are {_figure(count)} prompts; a batch can have at most {limit:,}.", field="prompt"
        )
    return tuple(" ".join(prompt.split()) for line in lines for prompt in _each(line))


def find_unclosed_brace(text: str) -> int | None:
    """The first line, counted from 1, in which a brace is opened and not closed."""
    return next((number for number, line in enumerate(text.splitlines(), 1) if _signs(line).left_open), None)


def _figure(count: int) -> str:
    return f"{count:,}" if count < MAX_COUNT else "more than a trillion"


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _count(parts: list[_Part]) -> int:
    return reduce(lambda count, part: min(count * part.count, MAX_COUNT), parts, 1)


def _sum(texts: Iterable[list[_Part]]) -> int:
    return min(sum(map(_count, texts)), MAX_COUNT)


def _each(parts: list[_Part]) -> Iterator[str]:
    return map("".join, product(*(tuple(part.each()) for part in parts)))


@dataclass(frozen=True, slots=True)
class _Signs:
    """A line's signs that no backslash stands before: where braces begin and end, and the bars."""

    closed: dict[int, int]
    bars: frozenset[int]
    left_open: bool

    def cuts(self, start: int) -> list[int]:
        """The places of the bars that part the options of the brace at `start`, not of those inside it."""
        cuts, place, end = list[int](), start + 1, self.closed[start]
        while place < end:
            place = self.closed.get(place, place)
            if place in self.bars:
                cuts.append(place)
            place += 1
        return cuts


def _parse(line: str) -> list[_Part]:
    return _read(line, 0, len(line), _signs(line), 0)


def _read(line: str, start: int, end: int, signs: _Signs, depth: int) -> list[_Part]:
    """The parts of `line[start:end]`."""
    parts, letters, place = list[_Part](), list[str](), start
    while place < end:
        if _escapes(line, place):
            letters.append(line[place + 1])
            place += 2
        elif place in signs.closed and depth < MAX_DEPTH and (cuts := signs.cuts(place)):
            bounds = [place, *cuts, signs.closed[place]]
            options = [_read(line, left + 1, right, signs, depth + 1) for left, right in pairwise(bounds)]
            parts += [_Part("".join(letters)), _Part(options=options)]
            letters.clear()
            place = bounds[-1] + 1
        else:
            letters.append(line[place])
            place += 1
    return [*parts, _Part("".join(letters))]


def _signs(line: str) -> _Signs:
    opened, closed, bars, place = list[int](), dict[int, int](), set[int](), 0
    while place < len(line):
        if _escapes(line, place):
            place += 1
        elif line[place] == "{":
            opened.append(place)
        elif line[place] == "}" and opened:
            closed[opened.pop()] = place
        elif line[place] == "|":
            bars.add(place)
        place += 1
    return _Signs(closed, frozenset(bars), bool(opened))


def _escapes(line: str, place: int) -> bool:
    """Whether a backslash here makes the next sign a letter."""
    return line[place] == "\\" and line[place + 1 : place + 2] in _ESCAPED
