"""Do the books balance: what the service delivered against what was kept, paid and told.

The service's journal, the database and the store are compared prompt by prompt, so no two jobs may have one
prompt in common, but for those that are a retry on somebody's word.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

from sqlmodel import select

from core import errors
from core.database.database import Database
from core.database.models import LIVE_STATES, Image, Job, JobState, Usage, UsageKind
from core.prompts.recipe import Recipe
from core.prompts.styles import with_style
from core.storage.storage import Storage
from tests.support.openai_service import RecordedRequest, images_in

CODES = frozenset(kind.code for kind in errors.all_errors())
# An answer that certainly cost nothing; behind any other, one more call might be paid twice.
FREE = frozenset(range(300, 500)) | {503}


@dataclass(frozen=True, slots=True)
class Books:
    """What was counted, and then what must be empty.

    `unknown` are pictures that left the service and were not kept, of jobs whose owner was told that the
    outcome is unknown: right where the line or the process was cut, wrong anywhere else.
    """

    jobs: int
    calls: int
    delivered: int
    images: int
    aside: int
    unknown: tuple[str, ...]
    lost: tuple[str, ...]
    doubled: tuple[str, ...]
    rows_without_file: tuple[str, ...]
    files_without_row: tuple[str, ...]
    bought_twice: tuple[str, ...]
    stuck: tuple[str, ...]
    uncoded: tuple[str, ...]
    usage_amiss: tuple[str, ...]

    @property
    def amiss(self) -> dict[str, tuple[str, ...]]:
        """What doesn't balance, by its name; {} is what everybody hopes for."""
        found = {field.name: getattr(self, field.name) for field in fields(self)[6:]}
        return {name: items for name, items in found.items() if items}


def balance(database: Database, storage: Storage, journal: Sequence[RecordedRequest]) -> Books:
    """Compare what there is now: when nothing runs any more, nothing may be amiss."""
    return _Reckoning(database, storage, journal).books()


class _Reckoning:
    def __init__(self, database: Database, storage: Storage, journal: Sequence[RecordedRequest]) -> None:
        with database.read() as session:
            self.jobs = list(session.exec(select(Job)))
            self.images = list(session.exec(select(Image)))
            self.usage = list(session.exec(select(Usage).where(Usage.kind == UsageKind.GENERATE)))
        self.files = {key: _sha256(storage, key) for key in storage.list("images")}
        self.aside = {sha for key in storage.list("aside") for sha in _shas_in(storage, key)}
        self.calls = [seen for seen in journal if seen.path.endswith("/images/generations")]
        self.prompt_of = {job.id: _prompt(job) for job in self.jobs}
        self.jobs_of: dict[str, list[Job]] = defaultdict(list)
        for job in self.jobs:
            self.jobs_of[self.prompt_of[job.id]].append(job)

    def books(self) -> Books:
        missing = list(self._missing())
        unknown = [(prompt, sha) for prompt, sha in missing if self._told_unknown(prompt)]
        return Books(
            jobs=len(self.jobs),
            calls=len(self.calls),
            delivered=sum(len(call.delivered) for call in self.calls),
            images=len(self.images),
            aside=len(self.aside),
            unknown=_said(unknown),
            lost=_said(pair for pair in missing if pair not in unknown),
            doubled=_said(self._doubled()),
            rows_without_file=_said(self._rows_without_file()),
            files_without_row=_said(self._files_without_row()),
            bought_twice=_said(self._bought_twice()),
            stuck=_said((job.state, job.id) for job in self.jobs if job.state in LIVE_STATES),
            uncoded=_said((job.state, job.id, job.error) for job in self.jobs if not self._has_its_end(job)),
            usage_amiss=_said(self._usage_amiss()),
        )

    def _delivered(self) -> Counter[tuple[str, str]]:
        return Counter((str(call.body["prompt"]), sha) for call in self.calls for sha in call.delivered)

    def _kept(self) -> Counter[tuple[str, str]]:
        """Each image whose row and whole file are there."""
        whole = [image for image in self.images if self.files.get(image.file_key) == image.sha256]
        return Counter((self.prompt_of.get(image.job_id, ""), image.sha256) for image in whole)

    def _missing(self) -> Iterator[tuple[str, str]]:
        """Pictures that were delivered and are neither an image nor kept aside."""
        gone = self._delivered() - self._kept()
        return ((prompt, sha) for prompt, sha in gone.elements() if sha not in self.aside)

    def _doubled(self) -> Iterator[tuple[str, str]]:
        """Images that the service delivered less often than they are there."""
        return (self._kept() - self._delivered()).elements()

    def _told_unknown(self, prompt: str) -> bool:
        return any(job.state == JobState.UNKNOWN for job in self.jobs_of[prompt])

    def _rows_without_file(self) -> Iterator[tuple[str, str]]:
        wrong = (image for image in self.images if self.files.get(image.file_key) != image.sha256)
        return ((image.id, image.file_key) for image in wrong)

    def _files_without_row(self) -> Iterator[str]:
        """Files that no image has; a damaged one lies beside its copy for the administrator."""
        named = {image.file_key for image in self.images}
        return (key for key, sha in self.files.items() if key not in named and sha not in self.aside)

    def _bought_twice(self) -> Iterator[tuple[str, int]]:
        """Prompts with more calls that may have been paid than jobs: each is somebody's word for one call."""
        paid = Counter(str(call.body["prompt"]) for call in self.calls if call.status not in FREE)
        return ((prompt, count) for prompt, count in paid.items() if count > len(self.jobs_of[prompt]))

    def _has_its_end(self, job: Job) -> bool:
        """An ended job has images, or an error that a person can look up."""
        if job.state == JobState.DONE:
            return any(image.job_id == job.id for image in self.images)
        return job.state in (*LIVE_STATES, JobState.CANCELLED) or (job.error or {}).get("code") in CODES

    def _usage_amiss(self) -> Iterator[tuple[str, ...]]:
        """Each attempt is one call of the log, and the log has as many pictures as were delivered."""
        logged = Counter(call.job_id for call in self.usage)
        yield from (
            ("calls", job.id, f"{logged[job.id]} logged, {job.attempts} made")
            for job in self.jobs
            if logged[job.id] != job.attempts
        )
        named, delivered = Counter[str](), Counter[str]()
        for call in self.usage:
            named[self.prompt_of.get(call.job_id or "", "")] += call.images
        for (prompt, sha), count in self._delivered().items():
            delivered[prompt] += count if self._is_entered(sha) else 0
        yield from (
            ("pictures", prompt, f"{named[prompt]} logged, {delivered[prompt]} delivered")
            for prompt in named | delivered
            if named[prompt] != delivered[prompt]
        )

    def _is_entered(self, sha: str) -> bool:
        """Whether a picture was taken out of its answer; one of an answer that lies aside whole was not."""
        return sha in self.files.values()


def _prompt(job: Job) -> str:
    recipe = Recipe.from_any_version(job.request)
    return with_style(recipe.prompt, recipe.style)


def _sha256(storage: Storage, key: str) -> str:
    return hashlib.sha256(storage.get(key)).hexdigest()


def _shas_in(storage: Storage, key: str) -> list[str]:
    """Of a file kept aside: it may be a damaged picture, or an answer that holds whole ones."""
    data = storage.get(key)
    return [hashlib.sha256(data).hexdigest(), *images_in(data)]


def _said(items: Iterable[object]) -> tuple[str, ...]:
    return tuple(str(item) for item in items)
