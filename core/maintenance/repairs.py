"""Repairs of what the integrity check finds: makes missing thumbnails and removes orphaned files.

The doctor command and the chores share this module, so that one rule decides which files may be removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import select
from sqlmodel import col

from core import errors
from core.database.models import Image
from core.images.gallery import Gallery
from core.maintenance.integrity import FileTotals, Finding, IntegrityCheck, Problem
from core.storage.keys import thumbnail_key

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Repairs:
    """Makes missing thumbnails and removes orphaned files. Two processes may do so at the same time."""

    check: IntegrityCheck
    gallery: Gallery

    def make_thumbnail(self, finding: Finding) -> bool:
        """Make a missing thumbnail. Return False if the original is missing or damaged."""
        database, storage = self.check.database, self.check.storage
        try:
            with database.read() as session:
                image = session.get(Image, finding.image_id)
            self.gallery.thumbnail(image.owner_id if image else "", finding.image_id)
        except (errors.ImageNotFound, errors.FileDamaged, errors.BadImage) as error:
            log.warning("thumbnail_not_made", image_id=finding.image_id, code=error.code)
            return False
        return storage.exists(thumbnail_key(finding.image_id))

    def is_removable(self, finding: Finding, *, on_request: bool = False) -> bool:
        """Return whether the file of `finding` may be removed.

        By default, only files older than ORPHAN_RETENTION may be removed, and no files of jobs that the
        database doesn't know. `on_request` means that the operator asks for it. Then files that are no longer
        needed may be removed at any age, and so may old files of unknown jobs.
        """
        if finding.problem is Problem.LEFTOVER and on_request:
            return True
        removable = (Problem.LEFTOVER, Problem.ORPHAN, *((Problem.UNKNOWN_JOB,) if on_request else ()))
        return finding.problem in removable and finding.is_old(self.check.clock())

    def remove(self, findings: Sequence[Finding]) -> None:
        """Remove the files of `findings`, except those that an image's row names.

        Raises DatabaseError if the database has no images at all.
        """
        keys = [finding.key for finding in findings]
        with self.check.database.read() as session:
            if session.execute(select(col(Image.id)).limit(1)).first() is None:
                raise errors.DatabaseError("The database has no images at all, so no file is removed.")
            with_row = session.scalars(select(col(Image.file_key)).where(col(Image.file_key).in_(keys)))
            orphaned = set(keys) - set(with_row)
        self.check.storage.delete(*sorted(orphaned))

    # Chores: each yields after every short step

    def remove_orphans(self) -> Iterator[None]:
        """Remove old files without a row.

        Removes nothing if the database doesn't seem to belong to the files.
        """
        totals = FileTotals(self.check.clock())
        for page in self.check.files():
            totals.add(page)
            yield
        if totals.orphans and not totals.rows_match_files:
            log.error(
                "orphan_removal_skipped",
                reason="More old files have no row than have one. Is this the right database?",
                with_row=totals.with_row,
                without_row=totals.orphans,
            )
        if not totals.rows_match_files:
            return
        for page in self.check.files():
            self.remove([finding for finding in page.findings if self.is_removable(finding)])
            yield

    def make_thumbnails(self) -> Iterator[None]:
        """Make all missing thumbnails."""
        for finding in self.check.missing_thumbnails():
            if finding:
                self.make_thumbnail(finding)
            yield
