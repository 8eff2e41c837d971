"""Drafts: the content of the Create page's fields, stored so that it survives a page change or a reload."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from itertools import accumulate
from typing import Any, Self

from sqlmodel import Session

from core.common.clock import utc_now
from core.common.ids import new_id
from core.common.text import storable_text
from core.database.database import Database
from core.database.models import Draft
from core.errors import TextRejected
from core.prompts.recipe import Recipe
from core.prompts.request import EnhancementLevel, PromptRequest

MAX_VERSIONS = 50
# In characters. One field may hold many prompts, and models accept up to 32,000 characters per prompt.
MAX_FIELD_LENGTH = 100_000
# The length of all versions together, in characters. Each change to the draft stores all versions again.
MAX_HISTORY_LENGTH = 1_000_000


@dataclass(frozen=True, slots=True)
class PromptVersion:
    """One text that a draft's prompt has now or had earlier.

    `source` says where the text came from: "enhanced", "unfinished" (an enhancement that was cut off),
    "edited" or "reused". `at` is the time in ISO 8601.
    """

    text: str
    source: str
    at: str


@dataclass(frozen=True, slots=True)
class DraftState:
    """A draft: the content of the Create page's fields.

    The description consists of the texts and options that the enhancer gets: from `name` to `guidance`.

    - `prompt`: the prompt of the image.
    - `versions`: the earlier prompts and the current prompt, oldest first.
    - `enhanced_prompt`: the last text of the enhancer. `enhanced_style` is the style at that time.
    - `enhanced_subject`: the hash of the description that was enhanced last.
    - `variation`: the number of enhancements so far.
    - `id`: changes when the draft gets a new subject, such as the example or a reused image. An enhancement
      that was started for the previous subject then doesn't replace the prompt.
    """

    name: str = ""
    traits: tuple[str, ...] = ()
    base_prompt: str = ""
    style: str = ""
    enhancement: str = EnhancementLevel.BALANCED
    guidance: str = ""
    prompt: str = ""
    enhanced_prompt: str = ""
    enhanced_style: str = ""
    enhanced_subject: str = ""
    versions: tuple[PromptVersion, ...] = ()
    model: str | None = None
    size: str = "1024x1024"
    quality: str = "low"
    images: int = 1
    many: bool = False
    variation: int = 0
    id: str = ""

    @property
    def is_blank(self) -> bool:
        return not (self.name or self.traits or self.base_prompt or self.prompt)

    @property
    def outdated_style(self) -> str | None:
        """The style that the enhancer wrote into the prompt, if the user has chosen another style since.

        None if the style is the same, or if no line of the enhanced prompt is left in the prompt.
        """
        enhanced_lines = set(self.prompt.splitlines()) & set(self.enhanced_prompt.splitlines())
        outdated = any(line.strip() for line in enhanced_lines) and self.enhanced_style != self.style
        return (self.enhanced_style or None) if outdated else None

    @property
    def is_unfinished(self) -> bool:
        """Whether the prompt is the unedited text of an enhancement that was cut off."""
        return any(each.text == self.prompt and each.source == "unfinished" for each in self.versions)

    def has_version(self, text: str) -> bool:
        """Return whether `text` is the current prompt or one of the earlier prompts in `versions`."""
        return text == self.prompt or any(version.text == text for version in self.versions)

    @property
    def is_enhanced(self) -> bool:
        """Whether the description was enhanced and has not changed since.

        If so, the next enhancement is a rewrite of the same description.
        """
        return self._description().subject_hash == self.enhanced_subject

    def request(self) -> PromptRequest:
        """Return the request to enhance this draft's description.

        If the description was enhanced already and has not changed, `variation` of the request is above 0,
        which asks for a rewrite.
        """
        return replace(self._description(), variation=self.variation if self.is_enhanced else 0)

    def _description(self) -> PromptRequest:
        return PromptRequest(
            name=self.name,
            traits=self.traits,
            base_prompt=self.base_prompt,
            style=self.style or None,
            enhancement=EnhancementLevel(self.enhancement),
            guidance=self.guidance,
        )

    def recipe(self, default_model: str) -> Recipe:
        """Return the recipe (the prompt and options) of an image.

        If the draft has no prompt, the user's own description is the prompt. If the draft has no model, the
        recipe gets `default_model`.
        """
        return Recipe(
            prompt=self.prompt.strip() or plain_prompt(self),
            model=self.model or default_model,
            name=self.name,
            traits=self.traits,
            base_prompt=self.base_prompt,
            enhanced_prompt=self.enhanced_prompt,
            style=self.style or None,
            size=self.size,
            quality=self.quality,
        )

    def with_prompt(self, text: str, source: str, *, now: datetime) -> DraftState:
        """Return the draft with `text` as its prompt. The previous prompt stays in `versions`.

        `source` says where `text` came from (see PromptVersion).
        """
        if text == self.prompt:
            return self
        replaced = [version for version in self.versions if version.text == self.prompt]
        if self.prompt and not replaced:
            replaced = [PromptVersion(self.prompt, "edited", now.isoformat())]
        others = [version for version in self.versions if version.text not in (text, self.prompt)]
        new = [PromptVersion(text, source, now.isoformat())] if text else []
        return replace(self, prompt=text, versions=_latest([*others, *replaced, *new]))

    def with_enhanced(self, text: str, draft_id: str, request: PromptRequest, *, now: datetime) -> DraftState:
        """Return the draft with the enhanced `text` for `request` as its prompt.

        `draft_id` is the id that the draft had when the enhancement started. If the draft has another id now,
        `text` is only added to `versions`, and the prompt stays as it is.
        """
        draft = self.with_prompt(text, "enhanced", now=now)
        if draft_id != self.id:
            return replace(draft, prompt=self.prompt)
        return replace(
            draft,
            enhanced_prompt=text,
            enhanced_style=self.style,
            enhanced_subject=request.subject_hash,
            variation=self.variation + 1,
            # An enhanced prompt may have several lines, which are one prompt.
            many=False,
        )

    def with_unfinished(self, text: str, draft_id: str, *, now: datetime) -> DraftState:
        """Return the draft with `text`, the part of an enhancement that was cut off, as its prompt.

        The description doesn't count as enhanced. `draft_id` is the id that the draft had when the
        enhancement started. If the draft has another id now, `text` is only added to `versions`.
        """
        draft = self.with_prompt(text, "unfinished", now=now)
        return draft if draft_id == self.id else replace(draft, prompt=self.prompt)

    def with_changes(self, before: DraftState, after: DraftState) -> DraftState:
        """Return this draft with the changes that lead from `before` to `after`.

        Fields that are equal in `before` and `after` stay as they are in this draft. `versions` gets the
        prompts of this draft and those of `after`.
        """
        values = {field.name: getattr(after, field.name) for field in fields(self)}
        changed = {name: value for name, value in values.items() if value != getattr(before, name)}
        versions = {version.text: version for version in (*self.versions, *after.versions)}
        in_order = sorted(versions.values(), key=lambda version: version.at)
        return replace(self, **changed | {"versions": _latest(in_order)})

    def with_new_id(self) -> DraftState:
        """Return the draft under a new id, so that a running enhancement doesn't replace its prompt."""
        return replace(self, id=new_id())

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """Return the draft from `stored`, which `to_json` has returned. Unknown fields are dropped."""
        values = _known_fields(cls, _cleaned(stored))
        values["traits"] = tuple(values.get("traits", ()))
        versions = (_known_fields(PromptVersion, version) for version in values.get("versions", ()))
        values["versions"] = tuple(PromptVersion(**version) for version in versions)
        if values.get("enhancement") not in set(EnhancementLevel):
            values.pop("enhancement", None)
        return cls(**values)

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> Self:
        return cls(
            name=recipe.name,
            traits=recipe.traits,
            base_prompt=recipe.base_prompt,
            style=recipe.style or "",
            prompt=recipe.prompt,
            enhanced_prompt=recipe.enhanced_prompt,
            enhanced_style=recipe.style or "",
            model=recipe.model,
            size=recipe.size,
            quality=recipe.quality,
        )


def _latest(versions: Sequence[PromptVersion]) -> tuple[PromptVersion, ...]:
    """Return the latest `versions` that fit within MAX_VERSIONS and MAX_HISTORY_LENGTH."""
    latest = versions[-MAX_VERSIONS:]
    lengths = accumulate(len(version.text) for version in reversed(latest))
    count = sum(length <= MAX_HISTORY_LENGTH for length in lengths)
    return tuple(latest[len(latest) - count :])


def _check_length(draft: DraftState) -> None:
    """Raise TextRejected if a field is longer than MAX_FIELD_LENGTH."""
    names = ("name", "base_prompt", "guidance", "prompt")
    texts = {name: getattr(draft, name) for name in names} | {"traits": "".join(draft.traits)}
    for name, text in texts.items():
        if len(text) > MAX_FIELD_LENGTH:
            label = name.replace("_", " ").capitalize()
            raise TextRejected(f"{label}: {MAX_FIELD_LENGTH:,} characters at most.", field=name)


def _cleaned(value: Any) -> Any:
    """Return `value` without characters that can't be stored, such as half a surrogate pair.

    If `value` is a list or dict, the texts in it are cleaned.
    """
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    return {name: _cleaned(item) for name, item in value.items()} if isinstance(value, dict) else value


def _known_fields(record: type[Any], stored: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(record)}
    return {key: value for key, value in stored.items() if key in names}


def plain_prompt(draft: DraftState) -> str:
    """Return the draft's description as one prompt, for users who skip the enhancement."""
    subject = ", ".join(part for part in (draft.name.strip(), *draft.traits) if part)
    return "\n".join(part for part in (subject, draft.base_prompt.strip()) if part)


EXAMPLE = DraftState(
    name="Juniper",
    traits=("red fox", "round glasses", "green scarf"),
    base_prompt="reading a book under a tree at sunset, in a meadow full of flowers",
    style="watercolour",
)


class Drafts:
    """Stores one draft per user."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._clock = clock

    def load(self, user_id: str) -> DraftState:
        with self._database.read() as session:
            return _load(session, user_id)

    def add_enhancement(self, user_id: str, text: str, draft_id: str, request: PromptRequest) -> None:
        """Make an enhanced text the prompt of the user's stored draft, and keep the previous prompt.

        `draft_id` is the id that the draft had when the enhancement started. If the draft has another id now,
        the text is only added to `versions`.
        """
        with self._database.write() as session:
            draft = _load(session, user_id, for_update=True)
            self._put(session, user_id, draft.with_enhanced(text, draft_id, request, now=self._clock()))

    def add_unfinished(self, user_id: str, text: str, draft_id: str) -> None:
        """Make the part of an enhancement that was cut off the prompt of the user's stored draft.

        `draft_id` is used as in `add_enhancement`.
        """
        with self._database.write() as session:
            draft = _load(session, user_id, for_update=True)
            self._put(session, user_id, draft.with_unfinished(text, draft_id, now=self._clock()))

    def save(self, user_id: str, draft: DraftState, *, before: DraftState | None = None) -> None:
        """Store `draft` as the user's draft.

        If `before` is given, store only the fields that differ between `before` and `draft`, because another
        browser tab may have changed the other fields. Raises TextRejected if a field is longer than
        MAX_FIELD_LENGTH.
        """
        _check_length(draft)
        with self._database.write() as session:
            stored = _load(session, user_id, for_update=True) if before else draft
            self._put(session, user_id, stored.with_changes(before or stored, draft))

    def _put(self, session: Session, user_id: str, draft: DraftState) -> None:
        session.merge(Draft(user_id=user_id, state=draft.to_json(), updated_at=self._clock()))


def _load(session: Session, user_id: str, *, for_update: bool = False) -> DraftState:
    row = session.get(Draft, user_id, with_for_update=for_update)
    return DraftState.from_json(row.state) if row else DraftState()
