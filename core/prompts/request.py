"""The description that a user writes: name, traits, base prompt, style and enhancement level."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from core.common.ids import sha256_hex
from core.prompts.styles import find_style


class EnhancementLevel(StrEnum):
    """The amount that an enhancement may add to the description."""

    LIGHT = "light"
    BALANCED = "balanced"
    RICH = "rich"


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """The user's description of an image, from which a text model writes a prompt.

    `style` is the key of a preset, and `guidance` holds wishes about the prompt itself. Each `variation`
    above 0 asks for a different prompt from the same description.
    """

    name: str = ""
    traits: tuple[str, ...] = ()
    base_prompt: str = ""
    style: str | None = None
    enhancement: EnhancementLevel = EnhancementLevel.BALANCED
    guidance: str = ""
    variation: int = 0

    def to_message(self) -> str:
        """Return the user message for the text model: a JSON object of all fields.

        The style is given by its label and its words, because the text model doesn't know the keys.
        """
        style = find_style(self.style)
        fields = asdict(self) | {"style": f"{style.label}: {style.words}" if style else ""}
        return json.dumps(fields, ensure_ascii=False)

    @property
    def subject_hash(self) -> str:
        """The SHA-256 hash, in hexadecimal, of all fields except `variation`."""
        return sha256_hex(replace(self, variation=0).to_message())

    @property
    def empty(self) -> bool:
        """Whether the name, all traits and the base prompt are blank."""
        return not any(text.strip() for text in (self.name, self.base_prompt, *self.traits))
