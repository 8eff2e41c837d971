"""A figure, what it is measured against, and the table of them."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `value`, in `unit`, is what the goal is about; `how` says what it is made of."""

    part: str
    name: str
    value: float
    unit: str
    goal: float | None = None
    how: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        return None if self.goal is None else self.value <= self.goal

    def cells(self) -> tuple[str, ...]:
        verdict = {None: "", True: "met", False: "MISSED"}[self.met]
        goal = "" if self.goal is None else f"{self.goal:g} {self.unit}".strip()
        return (self.name, f"{_short(self.value)} {self.unit}".strip(), goal, verdict, self.how)


HEAD = ("figure", "measured", "goal", "", "how")


def table(figures: list[Figure]) -> str:
    rows = [HEAD, *(figure.cells() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(
        line.rstrip() for line in (lines[0], "  ".join("-" * width for width in widths), *lines[1:])
    )


def p95(values: list[float]) -> float:
    return quantiles(values, n=20)[-1]


def seconds(values: list[float]) -> str:
    """The median of `values` and how far they spread, for people."""
    return f"{median(values):.2f} s ({min(values):.2f} to {max(values):.2f})"


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"
