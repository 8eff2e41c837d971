"""`python -m core doctor`: compares the rows of the database with the files and repairs what it can."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import click

from core.accounts.audit_log import AuditLog
from core.database.models import Image, Job
from core.generation.ingest import Intake
from core.images.gallery import Gallery
from core.maintenance.command_line import (
    FAILED,
    HELP_OPTIONS,
    OperatorCommand,
    data_folder,
    open_database,
    open_files,
    progress,
    say,
)
from core.maintenance.integrity import Checked, Finding, Inventory, Survey, Trouble
from core.settings import Settings, load_settings
from core.usage.error_counts import ErrorCounts
from core.usage.usage_log import UsageLog


@dataclass(slots=True)
class Doctor:
    """Says and counts what it finds; `repair` mends what can be mended."""

    inventory: Inventory
    intake: Intake
    repair: bool = False
    mended: Counter[Trouble] = field(default_factory=Counter)
    remaining: Counter[Trouble] = field(default_factory=Counter)
    trusted: bool = False
    _entered: set[str] = field(default_factory=set)

    def examine(self) -> int:
        """The exit code: 0 when nothing remains."""
        survey = self._survey()
        self.trusted = survey.trusted
        with progress("Files", survey.files) as bar:
            for checked in self.inventory.files():
                self._treat(checked)
                bar.advance(checked.count)
        with progress("Images", self.inventory.database.count(Image)) as bar:
            for checked in self.inventory.rows():
                self._treat(checked)
                bar.advance(checked.count)
        self._conclude()
        return FAILED if self.remaining else 0

    def _survey(self) -> Survey:
        survey = Survey(self.inventory.clock())
        for checked in self.inventory.files():
            survey.add(checked)
        return survey

    def _treat(self, checked: Checked) -> None:
        for finding in checked.findings:
            mended = self.repair and self._mend(finding)
            (self.mended if mended else self.remaining)[finding.trouble] += 1
            say(f"{'repaired' if mended else 'found'}: {_described(finding)}")

    def _mend(self, finding: Finding) -> bool:
        if finding.trouble is Trouble.NO_THUMBNAIL:
            return self.inventory.make_thumbnail(finding)
        if finding.trouble is Trouble.UNENTERED:
            return self._enter(finding)
        if not self.trusted or not self.inventory.may_go(finding, at_once=True):
            return False
        self.inventory.remove([finding])
        return True

    def _enter(self, finding: Finding) -> bool:
        """Enter all files of the file's call at once."""
        attempt = PurePosixPath(finding.key).name.partition("-")[0]
        call = f"{finding.job_id}/{attempt}"
        if call not in self._entered:
            with self.intake.database.read() as session:
                job = session.get(Job, finding.job_id)
            if job is None or not attempt.isdecimal():
                return False
            # The row stands for the latest call; the file may be an earlier one's.
            job.attempts = int(attempt)
            if not self.intake.adopt(job):
                return False
            self.intake.clear(job)
            self._entered.add(call)
        return True

    def _conclude(self) -> None:
        for counts, what in ((self.mended, "repaired"), (self.remaining, "remaining")):
            for trouble, count in sorted(counts.items()):
                say(f"{what}: {count:,} × {trouble}")
        if self.repair and not self.trusted and self.remaining:
            say("Nothing was removed: more files have no row than have one. Is this the right database?")
        if not self.mended and not self.remaining:
            say("Everything is in order.")


def _described(finding: Finding) -> str:
    whose = f", image {finding.image_id} “{finding.name}” of {finding.owner}" if finding.image_id else ""
    made = f", of {finding.modified:%Y-%m-%d}" if finding.modified else ""
    return f"{finding.trouble}: {finding.key}{whose}{made}"


@contextmanager
def opened(settings: Settings, *, repair: bool) -> Iterator[Doctor]:
    """A doctor for the installation of these settings. Raises SettingsError, DatabaseError, StorageError."""
    folder = data_folder(settings)
    with closing(open_database(settings, folder)) as database:
        storage = open_files(settings, folder)
        gallery = Gallery(database, storage, AuditLog(database))
        usage, failures = UsageLog(database), ErrorCounts(database)
        intake = Intake(database, storage, gallery, usage, failures, offline=settings.offline)
        yield Doctor(Inventory(database, storage, gallery), intake, repair)


@click.command("doctor", cls=OperatorCommand, context_settings=HELP_OPTIONS)
@click.option("--repair", is_flag=True, help="Repair what can be repaired.")
def command(*, repair: bool) -> None:
    """Compare the database with the files and list what doesn't match.

    Lists rows without a file, files without a row, wrong hashes and missing thumbnails. Exits with 1 when
    a problem remains. Atelier may be running meanwhile.

    With --repair it makes missing thumbnails, enters images that were paid for but have no row, and removes
    files that are no longer needed. Files without a row are removed only when they are older than 7 days.
    Rows are never removed.
    """
    with opened(load_settings(), repair=repair) as doctor:
        sys.exit(doctor.examine())
