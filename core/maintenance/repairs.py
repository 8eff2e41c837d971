"""Repairs of what the integrity check finds: missing thumbnails are made, and orphaned files are removed.

An orphaned file is a stored file that no row of the database names. The command `doctor` and the background
chores both use this module, so the same rules decide which files may be removed.
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
    """Makes missing thumbnails and removes orphaned files. Several processes may do this at the same time.

    `check` finds what to repair. `gallery` makes the thumbnails.
    """

    check: IntegrityCheck
    gallery: Gallery

    def make_thumbnail(self, finding: Finding) -> bool:
        """Make the missing thumbnail of the finding's image. Return whether the thumbnail exists now.

        Returns False if the image was deleted, or if its original is missing or damaged.
        """
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

        Files that are no longer needed and files without a row may be removed once they are older than
        ORPHAN_RETENTION. `on_request` means that the operator has asked for the removal. Then files that are
        no longer needed may be removed at any age. Old files of jobs that the database doesn't know may be
        removed, too.
        """
        if finding.problem is Problem.LEFTOVER and on_request:
            return True
        removable = (Problem.LEFTOVER, Problem.ORPHAN, *((Problem.UNKNOWN_JOB,) if on_request else ()))
        return finding.problem in removable and finding.is_old(self.check.clock())

    def remove(self, findings: Sequence[Finding]) -> None:
        """Remove the files of `findings` from the storage. Skip the files that an image's row names by now.

        Raises DatabaseError and removes nothing if the database has no images. It may then be the wrong
        database.
        """
        keys = [finding.key for finding in findings]
        with self.check.database.read() as session:
            if session.execute(select(col(Image.id)).limit(1)).first() is None:
                raise errors.DatabaseError("The database has no images at all, so no file is removed.")
            with_row = session.scalars(select(col(Image.file_key)).where(col(Image.file_key).in_(keys)))
            orphaned = set(keys) - set(with_row)
        self.check.storage.delete(*sorted(orphaned))

    # Work for chores: each function yields after each short step

    def remove_orphans(self) -> Iterator[None]:
        """Remove the old files without a row. Yield after each page of files.

        A file is old if it is older than ORPHAN_RETENTION. If the database doesn't seem to belong to the
        files, nothing is removed.
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
        """Make the thumbnails of all images that have none. Yield after each image."""
        for finding in self.check.missing_thumbnails():
            if finding:
                self.make_thumbnail(finding)
            yield
