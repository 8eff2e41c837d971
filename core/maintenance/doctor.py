"""`python -m core doctor`: compares the database with the stored files, and can repair mismatches."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import click

from core.accounts.audit_log import AuditLog
from core.accounts.usernames import fill_skeletons
from core.database.database import Database
from core.database.models import Image, Job
from core.generation.ingest import Ingest
from core.images.gallery import Gallery
from core.maintenance.command_line import (
    FAILED,
    HELP_OPTIONS,
    OperatorCommand,
    data_folder,
    open_database,
    open_files,
    print_line,
    progress,
)
from core.maintenance.integrity import CheckedPage, Finding, IntegrityCheck, Problem
from core.maintenance.repairs import Repairs
from core.settings import Settings, load_settings
from core.usage.error_counts import ErrorCounts
from core.usage.usage_log import UsageLog


@dataclass(slots=True)
class Doctor:
    """Prints and counts the mismatches between the database's rows and the stored files of an installation.

    If `repair` is True, it repairs those mismatches that it can. `repaired` and `remaining` count the
    mismatches of each kind that were repaired, and those that weren't.
    """

    check: IntegrityCheck
    repairs: Repairs
    ingest: Ingest
    repair: bool = False
    repaired: Counter[Problem] = field(default_factory=Counter)
    remaining: Counter[Problem] = field(default_factory=Counter)
    rows_match_files: bool = False
    _recorded_calls: set[str] = field(default_factory=set)

    def examine(self) -> int:
        """Check all files and rows and print the mismatches. If `repair` is True, repair the repairable ones.

        Returns the exit status for the command: 0 if no mismatch remains, otherwise 1.
        """
        totals = self.check.file_totals()
        self.rows_match_files = totals.rows_match_files
        with progress("Files", totals.files) as bar:
            for page in self.check.files():
                self._handle(page)
                bar.advance(page.count)
        with progress("Images", self.check.database.count(Image)) as bar:
            for page in self.check.rows():
                self._handle(page)
                bar.advance(page.count)
        self._print_totals()
        return FAILED if self.remaining else 0

    def _handle(self, page: CheckedPage) -> None:
        for finding in page.findings:
            repaired = self.repair and self._repair(finding)
            (self.repaired if repaired else self.remaining)[finding.problem] += 1
            print_line(f"{'repaired' if repaired else 'found'}: {_describe(finding)}")

    def _repair(self, finding: Finding) -> bool:
        if finding.problem is Problem.NO_THUMBNAIL:
            return self.repairs.make_thumbnail(finding)
        if finding.problem is Problem.UNRECORDED:
            return self._record_images(finding)
        if not self.rows_match_files or not self.repairs.is_removable(finding, on_request=True):
            return False
        self.repairs.remove([finding])
        return True

    def _record_images(self, finding: Finding) -> bool:
        """Add the images of a paid call to the gallery. The call is the one that produced the finding's file.

        All images of this call are added together. Returns False if they can't be added.
        """
        attempt = PurePosixPath(finding.key).name.partition("-")[0]
        call = f"{finding.job_id}/{attempt}"
        if call not in self._recorded_calls:
            with self.ingest.database.read() as session:
                job = session.get(Job, finding.job_id)
            if job is None or not attempt.isdecimal():
                return False
            # The job's row has the number of the latest attempt, but the file may be from an earlier one.
            job.attempts = int(attempt)
            if not self.ingest.adopt(job):
                return False
            self.ingest.remove_working_files(job)
            self._recorded_calls.add(call)
        return True

    def _print_totals(self) -> None:
        for counts, label in ((self.repaired, "repaired"), (self.remaining, "remaining")):
            for problem, count in sorted(counts.items()):
                print_line(f"{label}: {count:,} × {problem}")
        if self.repair and not self.rows_match_files and self.remaining:
            print_line(
                "Nothing was removed: more files have no row than have one. Is this the right database?"
            )
        if not self.repaired and not self.remaining:
            print_line("Everything is in order.")


def _describe(finding: Finding) -> str:
    image = f", image {finding.image_id} “{finding.name}” of {finding.owner}" if finding.image_id else ""
    date = f", of {finding.modified:%Y-%m-%d}" if finding.modified else ""
    return f"{finding.problem}: {finding.key}{image}{date}"


@contextmanager
def open_doctor(settings: Settings, *, repair: bool) -> Iterator[Doctor]:
    """Open the installation that `settings` names, and yield a Doctor for it. Close it when the block ends.

    Raises SettingsError, DatabaseError or StorageError if the installation can't be opened.
    """
    folder = data_folder(settings)
    with closing(open_database(settings, folder)) as database:
        storage = open_files(settings, folder)
        gallery = Gallery(database, storage, AuditLog(database))
        usage, failures = UsageLog(database), ErrorCounts(database)
        ingest = Ingest(database, storage, gallery, usage, failures, offline=settings.offline)
        check = IntegrityCheck(database, storage)
        yield Doctor(check, Repairs(check, gallery), ingest, repair)


@click.command("doctor", cls=OperatorCommand, context_settings=HELP_OPTIONS)
@click.option("--repair", is_flag=True, help="Repair what can be repaired.")
def command(*, repair: bool) -> None:
    """Compare the database with the files and list what doesn't match.

    The list has rows without a file, files without a row, wrong hashes and missing thumbnails. The exit
    status is 1 if a problem remains. Atelier may run during the check.

    With --repair, the command makes missing thumbnails, adds paid images without a row to the gallery, and
    removes files that are no longer needed. Files without a row are removed only if they are older than 7
    days. Rows are never removed.
    """
    with open_doctor(load_settings(), repair=repair) as doctor:
        _print_lookalikes(doctor.check.database)
        sys.exit(doctor.examine())


def _print_lookalikes(database: Database) -> None:
    """Print the users whose names look like an earlier user's. They may be genuine, so they are kept."""
    with database.write() as session:
        for name, earlier in fill_skeletons(session):
            print_line(f"note: the username {name} looks like {earlier}, which is older")
