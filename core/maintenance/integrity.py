"""Rows and files compared: what one of them has and the other lacks, read page by page.

What may be removed is decided here once, for the chores and the doctor. Files are listed before the
rows are asked for them: a file's row is committed while its job is live, and such a job's files are nobody's
to take.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from itertools import islice
from typing import TypeVar

import structlog
from sqlalchemy import Text, cast, or_, select
from sqlalchemy.orm import Mapped
from sqlmodel import Session, col

from core import errors
from core.common.clock import utc_now
from core.database.database import ROWS_PER_PAGE, Database
from core.database.models import LIVE_STATES, Image, Job, JobState, User
from core.images import uploads
from core.images.gallery import Gallery
from core.images.image_files import verify_image
from core.prompts.recipe import Recipe
from core.storage.keys import Folder, thumbnail_key
from core.storage.storage import Storage, StoredFile

# Files without a row are kept this long: whoever swapped a database by mistake has time to notice.
KEPT = timedelta(days=7)
# All but what is kept aside, which only the administrator removes.
FOLDERS = tuple(folder for folder in Folder if folder is not Folder.ASIDE)
_KEY = re.compile(
    rf"(?P<folder>{Folder.IMAGES}|{Folder.ANSWERS}|{Folder.PARTIALS})/(?P<job>[\w-]+)/[\w-][\w.-]*"
    rf"|(?P<thumbnails>{Folder.THUMBNAILS})/(?P<image>[\w-]+)\.webp"
    rf"|(?P<uploads>{Folder.UPLOADS})/(?P<owner>[\w-]+)/{uploads.NAME}",
    re.ASCII,
)
T = TypeVar("T")
log = structlog.get_logger(__name__)


class Trouble(StrEnum):
    """What is wrong with a row or a file, in the words that a person reads."""

    MISSING = "row without a file"
    ALTERED = "wrong hash"
    NO_THUMBNAIL = "missing thumbnail"
    UNENTERED = "file without a row, of a job without an image"
    ORPHAN = "file without a row"
    STRANGER = "file of a job that this database doesn't know"
    LEFTOVER = "left over"
    FOREIGN = "not one of Atelier's files"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. Of a row, `image_id`, `owner` and `name` say whose; of a file, `modified`."""

    trouble: Trouble
    key: str
    job_id: str = ""
    image_id: str = ""
    owner: str = ""
    name: str = ""
    modified: datetime | None = None

    def is_old(self, now: datetime) -> bool:
        return self.modified is not None and self.modified <= now - KEPT


@dataclass(frozen=True, slots=True)
class Checked:
    """Some rows or files: how many were looked at, how many originals have their row, and what was found."""

    count: int
    known: int = 0
    findings: tuple[Finding, ...] = ()


@dataclass(slots=True)
class Survey:
    """What a comparison of all files came to."""

    now: datetime
    files: int = 0
    known: int = 0
    doomed: int = 0

    def add(self, checked: Checked) -> None:
        self.files += checked.count
        self.known += checked.known
        doomed = (Trouble.ORPHAN, Trouble.STRANGER)
        self.doomed += sum(f.trouble in doomed and f.is_old(self.now) for f in checked.findings)

    @property
    def trusted(self) -> bool:
        """Whether the rows can be those of these files: else a wrong database would cost every picture."""
        return self.known > 0 and self.doomed <= self.known


@dataclass(frozen=True, slots=True)
class _Rows:
    """What the tables say of one page of files."""

    files: frozenset[str]
    images: frozenset[str]
    states: dict[str, str]
    with_image: frozenset[str]
    needed: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Place:
    """What a key says about its file. `folder` is empty for a key that nothing of ours has."""

    file: StoredFile
    folder: str = ""
    job_id: str = ""
    image_id: str = ""
    owner_id: str = ""


@dataclass(frozen=True, slots=True)
class Inventory:
    database: Database
    storage: Storage
    gallery: Gallery
    clock: Callable[[], datetime] = utc_now

    # Comparing

    def files(self) -> Iterator[Checked]:
        """Each file against the rows, a page at a time."""
        for folder in FOLDERS:
            for page in pages(self.storage.files(folder), ROWS_PER_PAGE):
                yield self._check_files([_place(file) for file in page])

    def _check_files(self, places: list[_Place]) -> Checked:
        with self.database.read() as session:
            rows = _rows_of(session, places, self.clock() - KEPT)
        found = (self._judge(place, rows) for place in places)
        known = sum(place.file.key in rows.files for place in places)
        return Checked(len(places), known, tuple(finding for finding in found if finding))

    def _judge(self, place: _Place, rows: _Rows) -> Finding | None:
        file, state = place.file, rows.states.get(place.job_id)
        finding = Finding(Trouble.LEFTOVER, file.key, job_id=place.job_id, modified=file.modified)
        if not place.folder:
            return replace(finding, trouble=Trouble.FOREIGN)
        if file.key in rows.files or place.image_id in rows.images or state in LIVE_STATES:
            return None
        if place.folder == Folder.UPLOADS:
            # A young one may be another's whose job is about to be submitted.
            return finding if finding.is_old(self.clock()) and file.key not in rows.needed else None
        if place.folder == Folder.IMAGES:
            return self._judge_original(finding, state, has_image=place.job_id in rows.with_image)
        # The figures of an answer whose bytes can still be entered.
        return None if place.folder == Folder.ANSWERS and state == JobState.UNKNOWN else finding

    def _judge_original(self, finding: Finding, state: str | None, *, has_image: bool) -> Finding:
        if state is None:
            # Jobs are never removed: this one is of another database, or of a later one.
            return replace(finding, trouble=Trouble.STRANGER)
        # Of a job whose image is there, it is another call's: its answer was paid for as well.
        waits = has_image or state != JobState.DONE
        if state == JobState.UNKNOWN or (waits and self._is_whole(finding.key)):
            return replace(finding, trouble=Trouble.UNENTERED)
        return replace(finding, trouble=Trouble.ORPHAN)

    def _is_whole(self, key: str) -> bool:
        with suppress(errors.FileDamaged, errors.BadImage):
            verify_image(self.storage.get(key))
            return True
        return False

    def rows(self) -> Iterator[Checked]:
        """Each image's row against its files, whose bytes are read."""
        for image, owner in self._images():
            troubles = [trouble for trouble in (self._original(image), self._thumbnail(image)) if trouble]
            if Trouble.MISSING in troubles and not self._is_there(image.id):
                troubles = []
            yield Checked(1, findings=tuple(_of_row(trouble, image, owner) for trouble in troubles))

    def _original(self, image: Image) -> Trouble | None:
        try:
            same = sha256(self.storage.get(image.file_key)).hexdigest() == image.sha256
        except errors.FileDamaged:
            return Trouble.MISSING
        return None if same else Trouble.ALTERED

    def _thumbnail(self, image: Image) -> Trouble | None:
        return None if self.storage.exists(thumbnail_key(image.id)) else Trouble.NO_THUMBNAIL

    def _images(self) -> Iterator[tuple[Image, str]]:
        """Each image and its owner's name, in the order of their ids."""
        found = select(Image, col(User.username), col(Image.id)).join(User)
        for page in self.database.row_pages(found, col(Image.id), size=ROWS_PER_PAGE):
            yield from ((image, owner) for image, owner, _ in page)

    def _is_there(self, image_id: str) -> bool:
        """Whether the row is still there: its file goes when it was deleted for good a moment ago."""
        with self.database.read() as session:
            return session.get(Image, image_id) is not None

    # Mending

    def make_thumbnail(self, finding: Finding) -> bool:
        """Make a missing thumbnail; False when there is no whole picture to make it of."""
        try:
            with self.database.read() as session:
                image = session.get(Image, finding.image_id)
            self.gallery.thumbnail(image.owner_id if image else "", finding.image_id)
        except (errors.ImageNotFound, errors.FileDamaged, errors.BadImage) as error:
            log.warning("a thumbnail can't be made", image_id=finding.image_id, code=error.code)
            return False
        return self.storage.exists(thumbnail_key(finding.image_id))

    def remove(self, findings: Sequence[Finding]) -> None:
        """Remove files that no row names. Raises DatabaseError when the rows are gone altogether."""
        keys = [finding.key for finding in findings]
        with self.database.read() as session:
            if session.execute(select(col(Image.id)).limit(1)).first() is None:
                raise errors.DatabaseError("The database has no images at all, so no file is removed.")
            named = session.scalars(select(col(Image.file_key)).where(col(Image.file_key).in_(keys)))
            doomed = set(keys) - set(named)
        self.storage.delete(*sorted(doomed))

    # Chores: each step takes a moment, and two processes may do the same at once

    def clean(self) -> Iterator[None]:
        """Remove what has had no row for longer than KEPT, as long as the rows are those of these files."""
        survey = Survey(self.clock())
        for checked in self.files():
            survey.add(checked)
            yield
        if survey.doomed and not survey.trusted:
            log.error(
                "more old files have no row than have one: nothing is removed. Is this the right database?",
                with_row=survey.known,
                without_row=survey.doomed,
            )
        if not survey.trusted:
            return
        for checked in self.files():
            self.remove([finding for finding in checked.findings if self.may_go(finding)])
            yield

    def may_go(self, finding: Finding, *, at_once: bool = False) -> bool:
        """Whether a file may be removed by itself, or `at_once` on somebody's word.

        Then what is left over goes also when it is young, and old files of jobs that are nobody's here.
        """
        if finding.trouble is Trouble.LEFTOVER and at_once:
            return True
        doomed = (Trouble.LEFTOVER, Trouble.ORPHAN, *((Trouble.STRANGER,) if at_once else ()))
        return finding.trouble in doomed and finding.is_old(self.clock())

    def thumbnails(self) -> Iterator[None]:
        """Make missing thumbnails again."""
        for image, owner in self._images():
            if trouble := self._thumbnail(image):
                self.make_thumbnail(_of_row(trouble, image, owner))
            yield


def pages(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """`items` in lists of at most `size`."""
    rest = iter(items)
    while page := list(islice(rest, size)):
        yield page


def _place(file: StoredFile) -> _Place:
    found = _KEY.fullmatch(file.key)
    if found is None:
        return _Place(file)
    folder = found["folder"] or found["thumbnails"] or found["uploads"]
    return _Place(file, folder, found["job"] or "", found["image"] or "", found["owner"] or "")


def _of_row(trouble: Trouble, image: Image, owner: str) -> Finding:
    return Finding(
        trouble, image.file_key, job_id=image.job_id, image_id=image.id, owner=owner, name=image.name
    )


def _rows_of(session: Session, places: list[_Place], since: datetime) -> _Rows:
    """What the tables say of `places`, from one snapshot; jobs after `since` still need their uploads."""
    keys = {place.file.key for place in places if place.folder == Folder.IMAGES}
    jobs = {place.job_id for place in places} - {""}
    images = {place.image_id for place in places} - {""}
    found = session.execute(select(col(Job.id), col(Job.state)).where(col(Job.id).in_(jobs)))
    return _Rows(
        files=_values(session, col(Image.file_key), keys),
        images=_values(session, col(Image.id), images),
        states={row.id: row.state for row in found},
        with_image=_values(session, col(Image.job_id), jobs),
        needed=_needed(session, {place.owner_id for place in places} - {""}, since),
    )


def _needed(session: Session, owners: set[str], since: datetime) -> frozenset[str]:
    """The uploads that these users' live jobs refer to, or jobs submitted after `since`."""
    if not owners:
        return frozenset()
    wanted = select(col(Job.request)).where(
        col(Job.owner_id).in_(owners),
        or_(col(Job.state).in_(LIVE_STATES), col(Job.created_at) > since),
        cast(col(Job.request), Text).contains(f"{Folder.UPLOADS}/"),
    )
    recipes = (Recipe.from_any_version(request) for request in session.scalars(wanted))
    return frozenset(key for recipe in recipes for key in recipe.uploads)


def _values(session: Session, column: Mapped[str], wanted: set[str]) -> frozenset[str]:
    """Those of `wanted` that `column` holds."""
    return frozenset(session.scalars(select(column).where(column.in_(wanted)))) if wanted else frozenset()
