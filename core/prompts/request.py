"""The description that a user writes: name, traits, base prompt, style, and how far to enhance."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from core.common.ids import sha256_hex
from core.prompts.styles import find_style


class EnhancementLevel(StrEnum):
    """How far the enhancer may go."""

    LIGHT = "light"
    BALANCED = "balanced"
    RICH = "rich"


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """What the enhancer is asked to work on. `variation` asks for another take on the same words."""

    name: str = ""
    traits: tuple[str, ...] = ()
    base_prompt: str = ""
    style: str | None = None
    enhancement: EnhancementLevel = EnhancementLevel.BALANCED
    guidance: str = ""
    variation: int = 0

    def to_message(self) -> str:
        """The user's message to the enhancer: one JSON object with these fields, style in words."""
        style = find_style(self.style)
        fields = asdict(self) | {"style": f"{style.label}: {style.words}" if style else ""}
        return json.dumps(fields, ensure_ascii=False)

    @property
    def subject_hash(self) -> str:
        """The SHA-256 of what is described, whichever take on it is asked for."""
        return sha256_hex(replace(self, variation=0).to_message())

    @property
    def empty(self) -> bool:
        """Whether there is no subject at all: no name, no trait, no base prompt."""
        return not any(text.strip() for text in (self.name, self.base_prompt, *self.traits))
