"""Defines recipes, which hold everything that an image is made from, and the parameters of image calls."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from typing import Any, Self

from core.errors import RecipeUnreadable
from core.prompts.styles import find_style, with_style

_EDIT_FIELDS = ("source_image", "references", "mask")
AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe: everything that one image is made from.

    `prompt` is sent to the service; `enhanced_prompt` is the text model's prompt before the user edited it.
    An edit also has input images: `source_image` is the id of an image of the same owner, `references` and
    `mask` are keys of uploads (core.images.uploads).
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
        """The keys of all uploads that the recipe uses."""
        return (*self.references, self.mask) if self.mask else self.references

    @property
    def input_count(self) -> int:
        """The number of input images, not counting the mask."""
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
        """The SHA-256 of what is sent to the service.

        Recipes that differ only in texts that aren't sent have the same hash.
        """
        own_style = "" if find_style(self.style) else self.style or ""
        sent = (with_style(self.prompt, self.style), self.model, self.size, self.quality, own_style)
        # Without input images, the hash is the same as before edits existed, so stored hashes stay valid.
        inputs = (self.source_image, *self.references, self.mask) if self.input_count else ()
        return sha256(json.dumps(sent + inputs).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the recipe in JSON form.

        Empty edit fields are left out, because older versions don't know them.
        """
        stored = asdict(self) | {"traits": list(self.traits), "references": list(self.references)}
        return {name: value for name, value in stored.items() if value or name not in _EDIT_FIELDS}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """Return the recipe that `to_json` stored.

        Raises RecipeUnreadable if a field is missing or unknown, as when another version stored the recipe.
        Images are bought with the result, so no field may be ignored.
        """
        try:
            lists = {name: tuple(stored.get(name, ())) for name in ("traits", "references")}
            return cls(**stored | lists)
        except TypeError as error:
            raise RecipeUnreadable(details=str(error)) from error

    @classmethod
    def from_any_version(cls, stored: dict[str, Any]) -> Self:
        """Return the recipe that any version stored, for display and records only.

        Unknown fields are ignored.
        """
        known = {field.name: stored[field.name] for field in fields(cls) if field.name in stored}
        return cls.from_json({"prompt": "", "model": ""} | known)


@dataclass(frozen=True, slots=True)
class GenerateParams:
    """The parameters of one image call.

    `style` is the key of a preset in core.prompts.styles, or the name of a style that the model itself
    offers. The value `auto` leaves a choice to the service and isn't sent. `input_count` is the number of
    input images: 0 if the images are generated from text alone.
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
