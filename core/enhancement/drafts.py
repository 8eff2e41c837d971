"""What a user has typed so far, kept so that a change of page or a reload loses nothing."""

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
# In characters. Many prompts share one field, each of which a model takes up to 32,000 of.
MOST_TEXT = 100_000
# Of all versions together: they are written with each change.
MOST_HISTORY = 1_000_000


@dataclass(frozen=True, slots=True)
class PromptVersion:
    """One text the prompt has had. `source` says where it came from: enhanced, edited or reused."""

    text: str
    source: str
    at: str


@dataclass(frozen=True, slots=True)
class DraftState:
    """The Create page's fields. `versions` are texts that `prompt` has had, oldest first.

    `id` is another one for another subject (the example, a reused image), so that a text the enhancer was
    asked to write for the one before doesn't overwrite it. `enhanced_subject` is the subject hash of the
    description that the last enhancement was asked for, and `variation` counts the enhancements.
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
        """The style that the enhancer wrote into the prompt, when another one is chosen now."""
        lines = set(self.prompt.splitlines()) & set(self.enhanced_prompt.splitlines())
        stale = any(line.strip() for line in lines) and self.enhanced_style != self.style
        return (self.enhanced_style or None) if stale else None

    def has_had(self, text: str) -> bool:
        """Whether `text` is the prompt or one of its versions."""
        return text == self.prompt or any(version.text == text for version in self.versions)

    @property
    def is_enhanced(self) -> bool:
        """Whether this very description has been enhanced: one more is another take on it."""
        return self._description().subject_hash == self.enhanced_subject

    def request(self) -> PromptRequest:
        """What the enhancer is asked to work on."""
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
        """What a generation would be made from; without a prompt, the user's own words are sent."""
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
        """The draft with a new prompt; the text it replaces stays among the versions."""
        if text == self.prompt:
            return self
        replaced = [version for version in self.versions if version.text == self.prompt]
        if self.prompt and not replaced:
            replaced = [PromptVersion(self.prompt, "edited", now.isoformat())]
        others = [version for version in self.versions if version.text not in (text, self.prompt)]
        new = [PromptVersion(text, source, now.isoformat())] if text else []
        return replace(self, prompt=text, versions=_latest([*others, *replaced, *new]))

    def with_enhanced(self, text: str, draft_id: str, request: PromptRequest, *, now: datetime) -> DraftState:
        """The draft with the enhancer's text for `request`; asking again will ask for another take.

        A text that was asked for another draft is kept among the versions, and the prompt stays.
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
            # Its lines belong together.
            many=False,
        )

    def merged(self, before: DraftState, after: DraftState) -> DraftState:
        """This draft with what changed from `before` to `after`, and the versions of both."""
        given = {field.name: getattr(after, field.name) for field in fields(self)}
        changed = {name: value for name, value in given.items() if value != getattr(before, name)}
        versions = {version.text: version for version in (*self.versions, *after.versions)}
        in_order = sorted(versions.values(), key=lambda version: version.at)
        return replace(self, **changed | {"versions": _latest(in_order)})

    def as_new(self) -> DraftState:
        """This draft as another subject's."""
        return replace(self, id=new_id())

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """A stored draft; fields that this version doesn't know are left out."""
        given = _known(cls, _cleaned(stored))
        given["traits"] = tuple(given.get("traits", ()))
        versions = (_known(PromptVersion, version) for version in given.get("versions", ()))
        given["versions"] = tuple(PromptVersion(**version) for version in versions)
        if given.get("enhancement") not in set(EnhancementLevel):
            given.pop("enhancement", None)
        return cls(**given)

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
    """The last of `versions`, no more than are kept, in number and in length."""
    latest = versions[-MAX_VERSIONS:]
    lengths = accumulate(len(version.text) for version in reversed(latest))
    kept = sum(length <= MOST_HISTORY for length in lengths)
    return tuple(latest[len(latest) - kept :])


def _check_length(draft: DraftState) -> None:
    """Raise TextRejected for the first field that is longer than MOST_TEXT."""
    typed = ("name", "base_prompt", "guidance", "prompt")
    texts = {name: getattr(draft, name) for name in typed} | {"traits": "".join(draft.traits)}
    for name, text in texts.items():
        if len(text) > MOST_TEXT:
            label = name.replace("_", " ").capitalize()
            raise TextRejected(f"{label}: {MOST_TEXT:,} characters at most.", field=name)


def _cleaned(value: Any) -> Any:
    """`value` with every text in whole characters: half of one can't be shown."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    return {name: _cleaned(item) for name, item in value.items()} if isinstance(value, dict) else value


def _known(record: type[Any], stored: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(record)}
    return {key: value for key, value in stored.items() if key in names}


def plain_prompt(draft: DraftState) -> str:
    """The user's words as one prompt, for those who skip the enhancement."""
    subject = ", ".join(part for part in (draft.name.strip(), *draft.traits) if part)
    return "\n".join(part for part in (subject, draft.base_prompt.strip()) if part)


EXAMPLE = DraftState(
    name="Juniper",
    traits=("red fox", "round glasses", "green scarf"),
    base_prompt="reading a book under a tree at sunset, in a meadow full of flowers",
    style="watercolour",
)


class Drafts:
    """One draft a user, newest state only."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._clock = clock

    def load(self, user_id: str) -> DraftState:
        with self._database.read() as session:
            return _stored(session, user_id)

    def enhanced(self, user_id: str, text: str, draft_id: str, request: PromptRequest) -> None:
        """Put an enhanced prompt into the stored draft; what stood there stays among the versions."""
        with self._database.write() as session:
            draft = _stored(session, user_id, for_update=True)
            self._put(session, user_id, draft.with_enhanced(text, draft_id, request, now=self._clock()))

    def save(self, user_id: str, draft: DraftState, *, before: DraftState | None = None) -> None:
        """Store `draft`; with `before`, only what has changed since: the rest may be another tab's.

        Raises TextRejected for a field that is longer than MOST_TEXT.
        """
        _check_length(draft)
        with self._database.write() as session:
            stored = _stored(session, user_id, for_update=True) if before else draft
            self._put(session, user_id, stored.merged(before or stored, draft))

    def _put(self, session: Session, user_id: str, draft: DraftState) -> None:
        session.merge(Draft(user_id=user_id, state=draft.to_json(), updated_at=self._clock()))


def _stored(session: Session, user_id: str, *, for_update: bool = False) -> DraftState:
    row = session.get(Draft, user_id, with_for_update=for_update)
    return DraftState.from_json(row.state) if row else DraftState()
