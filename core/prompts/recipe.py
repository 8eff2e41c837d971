"""Defines Recipe, everything that one image is made from, and GenerateParams, the parameters of a call."""

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

    `prompt` is sent to the service. `enhanced_prompt` is the prompt that the text model wrote, before the
    user edited it. The last three fields are empty unless the recipe edits existing images: `source_image` is
    the id of an image in the owner's gallery, and `references` and `mask` are keys of uploads
    (core.images.uploads).
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
        """The keys of the uploaded images: all references, then the mask if there is one."""
        return (*self.references, self.mask) if self.mask else self.references

    @property
    def input_count(self) -> int:
        """The number of input images: the references and the source image, but not the mask."""
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
        """The SHA-256 hash, in hexadecimal, of the values that are sent to the service.

        Recipes that differ only in other fields, such as `name`, have the same hash.
        """
        own_style = "" if find_style(self.style) else self.style or ""
        sent = (with_style(self.prompt, self.style), self.model, self.size, self.quality, own_style)
        # Recipes without input images are hashed as before edits existed, so stored hashes stay valid.
        inputs = (self.source_image, *self.references, self.mask) if self.input_count else ()
        return sha256(json.dumps(sent + inputs).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the fields of the recipe as a dict that can be stored as JSON.

        Empty `source_image`, `references` and `mask` are left out, because older releases of the app don't
        know these fields.
        """
        stored = asdict(self) | {"traits": list(self.traits), "references": list(self.references)}
        return {name: value for name, value in stored.items() if value or name not in _EDIT_FIELDS}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """Return the recipe in `stored`, which is a result of `to_json`.

        Raises RecipeUnreadable if a required field is missing or a field is unknown, for example because a
        newer release of the app stored the recipe. Unknown fields aren't ignored, because images are bought
        with the returned recipe.
        """
        try:
            lists = {name: tuple(stored.get(name, ())) for name in ("traits", "references")}
            return cls(**stored | lists)
        except TypeError as error:
            raise RecipeUnreadable(details=str(error)) from error

    @classmethod
    def from_any_version(cls, stored: dict[str, Any]) -> Self:
        """Return the recipe in `stored`, even if a newer release of the app stored it.

        Unknown fields are ignored, and missing fields get default values. Never buy images with the returned
        recipe, because it may be incomplete.
        """
        known = {field.name: stored[field.name] for field in fields(cls) if field.name in stored}
        return cls.from_json({"prompt": "", "model": ""} | known)


@dataclass(frozen=True, slots=True)
class GenerateParams:
    """The parameters of one call that generates or edits images.

    `n` is the number of images. `style` is the key of a preset in core.prompts.styles, or the name of a style
    in the model's own API. An option with the value `auto` isn't sent, so the service chooses. `input_count`
    is the number of input images, which is 0 if the images are made from text alone.
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
