"""All that one image is made from: the user's words and the chosen options."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from typing import Any, Self

from core.catalogue import GenerateParams
from core.errors import RecipeUnreadable
from core.prompts import style_of, styled


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a generation was asked for. `prompt` is the user's last word; `enhanced_prompt` the enhancer's."""

    prompt: str
    model: str
    name: str = ""
    traits: tuple[str, ...] = ()
    base_prompt: str = ""
    enhanced_prompt: str = ""
    style: str | None = None
    size: str = "auto"
    quality: str = "auto"

    def params(self, *, n: int = 1) -> GenerateParams:
        return GenerateParams(
            prompt=self.prompt, model=self.model, size=self.size, quality=self.quality, style=self.style, n=n
        )

    @property
    def request_hash(self) -> str:
        """The SHA-256 of what the service is sent: recipes that differ in other words alone have the same."""
        own_style = "" if style_of(self.style) else self.style or ""
        sent = (styled(self.prompt, self.style), self.model, self.size, self.quality, own_style)
        return sha256(json.dumps(sent).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"traits": list(self.traits)}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """What `to_json` stored.

        Raises RecipeUnreadable for what another version stored: nothing is bought on a guess.
        """
        try:
            return cls(**stored | {"traits": tuple(stored.get("traits", ()))})
        except TypeError as error:
            raise RecipeUnreadable(details=str(error)) from error

    @classmethod
    def read(cls, stored: dict[str, Any]) -> Self:
        """What any version stored, to be shown or kept: a field that is unknown here is left out."""
        known = {field.name: stored[field.name] for field in fields(cls) if field.name in stored}
        return cls.from_json({"prompt": "", "model": ""} | known)
