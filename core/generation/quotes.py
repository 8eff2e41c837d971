"""A quote: how many images a draft would make, and their price."""

from __future__ import annotations

from dataclasses import dataclass, field

from core import errors
from core.prompts.recipe import Recipe

# Beyond this, how many prompts a text stands for says nothing more.
MOST_COUNTED = 10**9


@dataclass(frozen=True, slots=True)
class Quote:
    """What a draft would be sent as: `images` are all, of all `prompts`; `excess` says why they can't be.

    `price` is for all images in micro-USD, None where unknown, 0 offline; `length`, the longest one's, and
    `limit` count the characters that the model is sent, the style's words among them.
    """

    recipe: Recipe
    prompts: int
    images: int
    price: int | None
    length: int
    limit: int
    excess: errors.TooManyPrompts | None = field(default=None, compare=False)
