"""The integrity check: compares the images' rows in the database with the stored files.

An orphan is a file without a row. A file that Atelier is just writing is never reported as an orphan. Two
rules ensure that. Files of jobs that are queued or running are never reported, and Atelier commits an image's
row before its job ends. The files are listed before the rows are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from itertools import islice
from typing import TypeVar

from sqlalchemy import Text, cast, or_, select
from sqlalchemy.orm import Mapped
from sqlmodel import Session, col

from core import errors
from core.common.clock import utc_now
from core.database.database import ROWS_PER_PAGE, Database
from core.database.models import LIVE_STATES, Image, Job, JobState, User
from core.images import uploads
from core.images.image_files import verify_image
from core.prompts.recipe import Recipe
from core.storage.keys import Folder, thumbnail_key
from core.storage.storage import Storage, StoredFile

# How long a file without a row is kept. An operator who has configured the wrong database has this much time
# to notice it.
ORPHAN_RETENTION = timedelta(days=7)
# All folders of the storage except the one with damaged responses. Only the administrator removes damaged
# responses.
FOLDERS = tuple(folder for folder in Folder if folder is not Folder.QUARANTINE)
_KEY = re.compile(
    rf"(?P<folder>{Folder.IMAGES}|{Folder.RESPONSES}|{Folder.PARTIALS})/(?P<job>[\w-]+)/[\w-][\w.-]*"
    rf"|(?P<thumbnails>{Folder.THUMBNAILS})/(?P<image>[\w-]+)\.webp"
    rf"|(?P<uploads>{Folder.UPLOADS})/(?P<owner>[\w-]+)/{uploads.UPLOAD_NAME}",
    re.ASCII,
)
T = TypeVar("T")


class Problem(StrEnum):
    """A kind of mismatch between the database and the stored files. The values are shown to the operator."""

    MISSING = "row without a file"
    ALTERED = "wrong hash"
    NO_THUMBNAIL = "missing thumbnail"
    UNRECORDED = "paid image without a row"
    ORPHAN = "file without a row"
    UNKNOWN_JOB = "file of a job that this database doesn't know"
    LEFTOVER = "file that is no longer needed"
    FOREIGN = "not one of Atelier's files"


@dataclass(frozen=True, slots=True)
class Finding:
    """One mismatch between the database's rows and the stored files.

    `key` is the file's key in the storage. `image_id`, `owner` (a username) and `name` are those of the
    image. They are empty if the check began with a file and not with a row. `modified` is the time of the
    file's last change. It is None if the check began with a row.
    """

    problem: Problem
    key: str
    job_id: str = ""
    image_id: str = ""
    owner: str = ""
    name: str = ""
    modified: datetime | None = None

    def is_old(self, now: datetime) -> bool:
        """Return whether the file was last changed at least ORPHAN_RETENTION before `now`.

        Returns False if the time of the change is unknown.
        """
        return self.modified is not None and self.modified <= now - ORPHAN_RETENTION


@dataclass(frozen=True, slots=True)
class CheckedPage:
    """The result of checking one page: a limited number of files or rows.

    `count` is the number of files or rows checked. `with_row` is the number of files that an image's row
    names. `findings` are the mismatches found.
    """

    count: int
    with_row: int = 0
    findings: tuple[Finding, ...] = ()


@dataclass(slots=True)
class FileTotals:
    """The totals of a check of all files at the time `now`.

    `files` counts all files checked. `with_row` counts the files that an image's row names. `orphans` counts
    the files without a row that are older than ORPHAN_RETENTION.
    """

    now: datetime
    files: int = 0
    with_row: int = 0
    orphans: int = 0

    def add(self, page: CheckedPage) -> None:
        self.files += page.count
        self.with_row += page.with_row
        orphaned = (Problem.ORPHAN, Problem.UNKNOWN_JOB)
        self.orphans += sum(
            finding.problem in orphaned and finding.is_old(self.now) for finding in page.findings
        )

    @property
    def rows_match_files(self) -> bool:
        """Whether the database seems to belong to these files. If False, no file may be removed as an orphan.

        If the wrong database is configured, the rows name none of the files, and each image file looks like
        an orphan.
        """
        return self.with_row > 0 and self.orphans <= self.with_row


@dataclass(frozen=True, slots=True)
class _MatchingRows:
    """The database's knowledge of one page of files.

    - `image_keys`: the keys of those files that an image's row names.
    - `image_ids`: the ids of those images that exist.
    - `job_states`: the states of the files' jobs, by job id.
    - `jobs_with_image`: the ids of those jobs that have an image in the gallery.
    - `needed_uploads`: the keys of the uploads that a job may still need.
    """

    image_keys: frozenset[str]
    image_ids: frozenset[str]
    job_states: dict[str, str]
    jobs_with_image: frozenset[str]
    needed_uploads: frozenset[str]


@dataclass(frozen=True, slots=True)
class _ParsedFile:
    """A stored file, and the parts of its key in the storage.

    `folder` is empty if Atelier never writes a file with such a key. The ids are empty if the key doesn't
    contain them.
    """

    file: StoredFile
    folder: str = ""
    job_id: str = ""
    image_id: str = ""
    owner_id: str = ""


@dataclass(frozen=True, slots=True)
class IntegrityCheck:
    """Compares the rows of `database` with the files of `storage`. Changes neither of them."""

    database: Database
    storage: Storage
    clock: Callable[[], datetime] = utc_now

    # Files

    def files(self) -> Iterator[CheckedPage]:
        """Check every stored file against the database. Yield the result for each page of files.

        A page has at most ROWS_PER_PAGE files.
        """
        for folder in FOLDERS:
            for page in chunked(self.storage.files(folder), ROWS_PER_PAGE):
                yield self._check_files([_parse(file) for file in page])

    def file_totals(self) -> FileTotals:
        totals = FileTotals(self.clock())
        for page in self.files():
            totals.add(page)
        return totals

    def _check_files(self, files: list[_ParsedFile]) -> CheckedPage:
        with self.database.read() as session:
            rows = _matching_rows(session, files, self.clock() - ORPHAN_RETENTION)
        findings = (self._check_file(file, rows) for file in files)
        with_row = sum(parsed.file.key in rows.image_keys for parsed in files)
        return CheckedPage(len(files), with_row, tuple(finding for finding in findings if finding))

    def _check_file(self, parsed: _ParsedFile, rows: _MatchingRows) -> Finding | None:
        file, state = parsed.file, rows.job_states.get(parsed.job_id)
        finding = Finding(Problem.LEFTOVER, file.key, job_id=parsed.job_id, modified=file.modified)
        if not parsed.folder:
            return replace(finding, problem=Problem.FOREIGN)
        if file.key in rows.image_keys or parsed.image_id in rows.image_ids or state in LIVE_STATES:
            return None
        if parsed.folder == Folder.UPLOADS:
            # A new upload may belong to a job that is about to be submitted.
            unneeded = finding.is_old(self.clock()) and file.key not in rows.needed_uploads
            return finding if unneeded else None
        if parsed.folder == Folder.IMAGES:
            return self._check_image_file(finding, state, has_image=parsed.job_id in rows.jobs_with_image)
        # A response's record is still needed while its images can be added to the gallery.
        return None if parsed.folder == Folder.RESPONSES and state == JobState.UNKNOWN else finding

    def _check_image_file(self, finding: Finding, state: str | None, *, has_image: bool) -> Finding:
        if state is None:
            # Jobs are never deleted, so this job is in another database or in a newer copy of this database.
            return replace(finding, problem=Problem.UNKNOWN_JOB)
        # If the job already has an image, this file is from another call of the service, which was paid for
        # as well.
        may_be_paid = has_image or state != JobState.DONE
        if state == JobState.UNKNOWN or (may_be_paid and self._is_whole_image(finding.key)):
            return replace(finding, problem=Problem.UNRECORDED)
        return replace(finding, problem=Problem.ORPHAN)

    def _is_whole_image(self, key: str) -> bool:
        with suppress(errors.FileDamaged, errors.BadImage):
            verify_image(self.storage.get(key))
            return True
        return False

    # Rows

    def rows(self) -> Iterator[CheckedPage]:
        """Check every image's row against the image's original and thumbnail. Yield one result for each row.

        The bytes of each original are read and compared with their hash.
        """
        for image, owner in self._images_with_owner():
            problems = [
                problem for problem in (self._check_original(image), self._check_thumbnail(image)) if problem
            ]
            # If the image was deleted for good after its row was read, the missing file is no problem.
            if Problem.MISSING in problems and not self._has_row(image.id):
                problems = []
            yield CheckedPage(1, findings=tuple(_row_finding(problem, image, owner) for problem in problems))

    def missing_thumbnails(self) -> Iterator[Finding | None]:
        """Yield one item for each image: a Finding if the image has no thumbnail, otherwise None."""
        for image, owner in self._images_with_owner():
            problem = self._check_thumbnail(image)
            yield _row_finding(problem, image, owner) if problem else None

    def _check_original(self, image: Image) -> Problem | None:
        try:
            same = sha256(self.storage.get(image.file_key)).hexdigest() == image.sha256
        except errors.FileDamaged:
            return Problem.MISSING
        return None if same else Problem.ALTERED

    def _check_thumbnail(self, image: Image) -> Problem | None:
        return None if self.storage.exists(thumbnail_key(image.id)) else Problem.NO_THUMBNAIL

    def _images_with_owner(self) -> Iterator[tuple[Image, str]]:
        """Yield each image with the username of its owner, sorted by the images' ids."""
        query = select(Image, col(User.username), col(Image.id)).join(User)
        for page in self.database.row_pages(query, col(Image.id), size=ROWS_PER_PAGE):
            yield from ((image, owner) for image, owner, _ in page)

    def _has_row(self, image_id: str) -> bool:
        with self.database.read() as session:
            return session.get(Image, image_id) is not None


def chunked(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the `items` in lists of `size` items. The last list may be shorter."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def _parse(file: StoredFile) -> _ParsedFile:
    match = _KEY.fullmatch(file.key)
    if match is None:
        return _ParsedFile(file)
    folder = match["folder"] or match["thumbnails"] or match["uploads"]
    return _ParsedFile(file, folder, match["job"] or "", match["image"] or "", match["owner"] or "")


def _row_finding(problem: Problem, image: Image, owner: str) -> Finding:
    return Finding(
        problem, image.file_key, job_id=image.job_id, image_id=image.id, owner=owner, name=image.name
    )


def _matching_rows(session: Session, files: list[_ParsedFile], since: datetime) -> _MatchingRows:
    """Read what the database knows about `files`.

    An upload is needed if a job uses it that is queued or running, or that was created after `since`.
    """
    keys = {parsed.file.key for parsed in files if parsed.folder == Folder.IMAGES}
    job_ids = {parsed.job_id for parsed in files} - {""}
    image_ids = {parsed.image_id for parsed in files} - {""}
    jobs = session.execute(select(col(Job.id), col(Job.state)).where(col(Job.id).in_(job_ids)))
    return _MatchingRows(
        image_keys=_existing(session, col(Image.file_key), keys),
        image_ids=_existing(session, col(Image.id), image_ids),
        job_states={row.id: row.state for row in jobs},
        jobs_with_image=_existing(session, col(Image.job_id), job_ids),
        needed_uploads=_needed_uploads(session, {parsed.owner_id for parsed in files} - {""}, since),
    )


def _needed_uploads(session: Session, owner_ids: set[str], since: datetime) -> frozenset[str]:
    """Return the keys of the uploads that jobs of the users `owner_ids` may still need.

    These are the input images of jobs that are queued or running, and of all jobs created after `since`.
    """
    if not owner_ids:
        return frozenset()
    requests = select(col(Job.request)).where(
        col(Job.owner_id).in_(owner_ids),
        or_(col(Job.state).in_(LIVE_STATES), col(Job.created_at) > since),
        cast(col(Job.request), Text).contains(f"{Folder.UPLOADS}/"),
    )
    recipes = (Recipe.from_any_version(request) for request in session.scalars(requests))
    return frozenset(key for recipe in recipes for key in recipe.uploads)


def _existing(session: Session, column: Mapped[str], values: set[str]) -> frozenset[str]:
    """Return those of `values` that occur in the database column `column`."""
    return frozenset(session.scalars(select(column).where(column.in_(values)))) if values else frozenset()
