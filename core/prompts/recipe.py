"""A recipe: everything that one image is made from, the user's words and the chosen options."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from typing import Any, Self

from core.errors import RecipeUnreadable
from core.prompts.styles import find_style, with_style

_OF_EDITS = ("source_image", "references", "mask")
AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a generation was asked for. `prompt` is the user's last word; `enhanced_prompt` the enhancer's.

    An edit has pictures to be made from: `source_image` is the id of one of the owner's images, `references`
    are keys of uploads (core.images.uploads), and so is `mask`.
    """

    prompt: str
    model: str
    name: str = ""
    traits: tuple[str, ...] = ()
    base_prompt: str = ""
    enhanced_prompt: str = ""
    style: str | None = None
    size: str = "auto"
    quality: str = "auto"
    source_image: str = ""
    references: tuple[str, ...] = ()
    mask: str = ""

    @property
    def uploads(self) -> tuple[str, ...]:
        """The keys of all uploads that it needs."""
        return (*self.references, self.mask) if self.mask else self.references

    @property
    def input_count(self) -> int:
        """How many pictures it is made from."""
        return len(self.references) + bool(self.source_image)

    def params(self) -> GenerateParams:
        return GenerateParams(
            prompt=self.prompt,
            model=self.model,
            size=self.size,
            quality=self.quality,
            style=self.style,
            input_count=self.input_count,
        )

    @property
    def request_hash(self) -> str:
        """The SHA-256 of what the service is sent: recipes that differ in other words alone have the same."""
        own_style = "" if find_style(self.style) else self.style or ""
        sent = (with_style(self.prompt, self.style), self.model, self.size, self.quality, own_style)
        # Only where there are any: what was made before edits keeps its hash.
        from_what = (self.source_image, *self.references, self.mask) if self.input_count else ()
        return sha256(json.dumps(sent + from_what).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """What `from_json` takes; without what only edits have, as versions before them stored it."""
        stored = asdict(self) | {"traits": list(self.traits), "references": list(self.references)}
        return {name: value for name, value in stored.items() if value or name not in _OF_EDITS}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """What `to_json` stored.

        Raises RecipeUnreadable for what another version stored: nothing is bought on a guess.
        """
        try:
            lists = {name: tuple(stored.get(name, ())) for name in ("traits", "references")}
            return cls(**stored | lists)
        except TypeError as error:
            raise RecipeUnreadable(details=str(error)) from error

    @classmethod
    def from_any_version(cls, stored: dict[str, Any]) -> Self:
        """What any version stored, to be shown or kept: a field that is unknown here is left out."""
        known = {field.name: stored[field.name] for field in fields(cls) if field.name in stored}
        return cls.from_json({"prompt": "", "model": ""} | known)


@dataclass(frozen=True, slots=True)
class GenerateParams:
    """What one generation asks for.

    `style` is the key of a preset in core.prompts.extraction or a style of the model's own; `auto` leaves a
    choice to the service and is never sent. `input_count` is how many pictures it is made from, none being a
    generation from words alone.
    """

    prompt: str
    model: str
    size: str = AUTO
    quality: str = AUTO
    n: int = 1
    style: str | None = None
    background: str = AUTO
    output_format: str = "png"
    input_count: int = 0
