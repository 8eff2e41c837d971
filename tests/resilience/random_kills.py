"""Kills processes at random moments while batches run.

`python -m tests.resilience.random_kills --engine sqlite --kills 100`

The service, which is never killed, journals each call, and the key that it was sent with names the process
that made it. So each picture that left the service whole is either in the gallery, once, or its job says
that nobody knows, and then this very process was killed before the bytes were on the disk. Whatever else is
found breaks a promise: the program then ends with 1 and names the folder of the journal, rows and logs.

The processes are those of tests.support.forked_app: all of Atelier but the pages and, every tenth on SQLite,
the whole app.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import func
from sqlmodel import col, select

from core.database.database import Database
from core.database.models import LIVE_STATES, Image, Job, JobState, Usage, User
from core.generation.jobs import Jobs
from core.prompts.recipe import Recipe
from core.provider.client import ServiceClient
from core.settings import load_settings
from core.storage.folder import FolderStorage
from core.storage.s3 import open_s3
from core.storage.spool import Spool
from core.storage.storage import Storage
from tests.support import forked_app
from tests.support.app_process import ROOT, free_port
from tests.support.crashing_worker import jobs_of
from tests.support.openai_service import OpenAIService, RecordedRequest, openai_service
from tests.support.reconciliation import FREE, Books, balance
from tests.support.servers import postgres_server, s3_server
from tests.support.waiting import until

T = TypeVar("T")
ENGINES = ("sqlite", "postgresql")
# The app's own pace would make a run of a hundred kills last an hour.
SWEEP_SECONDS = 0.3
CUT_OFF = "the app was stopped while the call was in flight"
REFUSED = "[[image error:moderation]]"
USERS = 3
# How many jobs wait at least, and how many are begun at once.
WAITING, PLACES = 12, 6
WHOLE_APP_EVERY, STOP_EVERY = 10, 5
MOMENTS = {"start": 3, "any": 2, "call": 2, "answer": 3, "bytes": 2, "last byte": 18}
PATIENCE = 180
_KEPT_OF_ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "LANG", "LD_LIBRARY_PATH", "SYSTEMROOT")


@dataclass
class Life:
    """One process from its start to its end. `killed_at` is 0 for one that wasn't killed."""

    name: str
    process: BaseProcess
    log: Path
    killed_at: float = 0
    moment: str = ""

    @property
    def ended(self) -> bool:
        return self.process.exitcode is not None

    def end(self) -> None:
        self.process.kill()
        self.process.join()

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @property
    def number(self) -> int | None:
        """The one that its jobs carry, once it is known."""
        found = re.search(r"ready (\d+)\.", self.output)
        return int(found[1]) if found else None

    @property
    def ready(self) -> bool:
        return self.number is not None or "Atelier is at" in self.output

    @property
    def starting(self) -> bool:
        return "starting" in self.output


@dataclass(frozen=True)
class Home:
    """Where rows and files are, and what a process must be told of it. `images` is the folder that fills.

    `spool` is that of this process, which only submits jobs.
    """

    engine: str
    folder: Path
    database_url: str
    environment: dict[str, str]
    images: Path
    storage: Storage

    @property
    def spool(self) -> Spool:
        return Spool(self.folder / "no-spool")

    @property
    def replicas(self) -> int:
        return 1 if self.engine == "sqlite" else 2


@contextmanager
def home(engine: str, folder: Path) -> Iterator[Home]:
    data = folder / "data"
    if engine == "sqlite":
        files, url = data / "files", f"sqlite:///{data / 'atelier.db'}"
        yield Home(engine, folder, url, {}, files / "images", FolderStorage(files))
        return
    with postgres_server() as postgres, postgres.fresh() as url, s3_server() as s3, s3.fresh() as bucket:
        images, settings = s3.folder / bucket / "images", load_settings(**s3.settings(bucket))
        yield Home(engine, folder, url, s3.environment(bucket), images, open_s3(settings))


@dataclass(frozen=True)
class Account:
    """What came of all calls. The figures that are lists must be empty."""

    kills: int
    stops: int
    books: Books
    answered: int
    refused: int
    cut_in_call: int
    cut_before_disk: int
    longest_window: float
    longest_takeover: float
    left_for_tidying: int
    broken: dict[str, Sequence[str]]

    def rows(self) -> list[tuple[str, str]]:
        bad = {name: str(len(items)) for name, items in self.broken.items()}
        return [
            ("kills", str(self.kills)),
            ("stops by SIGTERM in the middle of calls", str(self.stops)),
            ("jobs", str(self.books.jobs)),
            ("calls", str(self.books.calls)),
            ("calls refused without charge", str(self.refused)),
            ("calls answered before any kill", str(self.answered)),
            ("images kept", str(self.books.images)),
            ("told unknown: killed before the answer was whole", str(self.cut_in_call)),
            ("told unknown: killed between answer and disk", str(self.cut_before_disk)),
            ("  the longest such moment, ms", f"{self.longest_window * 1000:.0f}"),
            ("longest until another had taken over, s", f"{self.longest_takeover:.1f}"),
            ("previews and figures left for tidying", str(self.left_for_tidying)),
            *bad.items(),
        ]


@dataclass
class Chaos:
    home: Home
    database: Database
    service: OpenAIService
    dice: random.Random
    lives: list[Life] = field(default_factory=list)
    working: list[Life] = field(default_factory=list)
    on_disk: set[str] = field(default_factory=set)
    takeovers: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    stops: int = 0
    _users: list[str] = field(default_factory=list)
    _fed: int = 0
    _rounds: int = 0

    @property
    def kills(self) -> int:
        return sum(life.killed_at > 0 for life in self.lives)

    def run(self, kills: int) -> Account:
        self.working = [self._start(seat) for seat in range(self.home.replicas)]
        try:
            with self._fed_from_outside():
                while self.kills < kills:
                    self._round()
            self._drain()
            self._drain()
            return self._account()
        finally:
            for life in self.lives:
                life.end()
            self._keep_evidence()

    # Processes

    def _start(self, seat: int) -> Life:
        """Start a process on the machine with the number `seat`, which has a disk of its own."""
        name = f"process-{len(self.lives)}"
        whole = self.home.engine == "sqlite" and len(self.lives) % WHOLE_APP_EVERY == WHOLE_APP_EVERY - 1
        log, environment = self.home.folder / f"{name}.log", self._environment(name, seat)
        process = (
            forked_app.start_app(environment, log)
            if whole
            else forked_app.start_worker(environment, log, sweep_seconds=SWEEP_SECONDS)
        )
        self.lives.append(Life(name, process, log))
        return self.lives[-1]

    def _environment(self, name: str, seat: int) -> dict[str, str]:
        kept = {known: os.environ[known] for known in _KEPT_OF_ENVIRONMENT if known in os.environ}
        return kept | {
            "DATA_DIR": str(self.home.folder / "data"),
            "SPOOL_DIR": str(self.home.folder / f"spool-{seat}"),
            "DATABASE_URL": self.home.database_url,
            "OPENAI_BASE_URL": self.service.base_url,
            "OPENAI_API_KEY": name,
            "PARTIAL_IMAGES": "1",
            "CONCURRENCY": str(PLACES),
            "PORT": str(free_port()),
            **self.home.environment,
        }

    def _await_ready(self, *lives: Life) -> None:
        for life in lives:
            until(lambda life=life: life.ready or life.ended, seconds=60)
            if life.ended:
                raise AssertionError(f"{life.name} ended by itself:\n{life.output[-2000:]}")

    def _kill(self, moment: str, *victims: Life) -> None:
        for life in victims:
            if life.ended:
                self.faults.append(f"{life.name} had ended by itself: {life.output[-500:]}")
            life.killed_at, life.moment = time.time(), moment
            life.process.kill()
        for life in victims:
            life.end()

    def _terminate(self, life: Life) -> None:
        life.process.terminate()
        life.process.join(PATIENCE)
        # The app's server ends by the signal itself when all is done.
        expected = 0 if life.number else -signal.SIGTERM
        if life.process.exitcode != expected:
            self.faults.append(f"{life.name} ended with {life.process.exitcode}: {life.output[-500:]}")

    def _replace(self, *gone: Life) -> None:
        self.working = [self._start(seat) if life in gone else life for seat, life in enumerate(self.working)]

    # What happens

    def _round(self) -> None:
        moment = self.dice.choices(list(MOMENTS), list(MOMENTS.values()))[0]
        self._rounds += 1
        if self._rounds % STOP_EVERY == 0:
            self._stop(self._at("call"))
            return
        victim = self._at(moment)
        both = self.dice.random() < 0.2
        victims = tuple(self.working) if both else (victim,)
        self._kill(moment, *victims)
        self.on_disk.update(self._stored("images"))
        if len(victims) < len(self.working) and self.dice.random() < 0.4:
            self._await_takeover(victim)
        self._replace(*victims)

    def _stop(self, life: Life) -> None:
        """As an operator does: with all the time it wants, or killed in the middle of it."""
        if self._rounds % (2 * STOP_EVERY) == 0:
            life.process.terminate()
            time.sleep(self.dice.uniform(0, 0.3))
            if not life.ended:
                self._kill("stopping", life)
        else:
            self.stops += 1
            self._terminate(life)
        self._replace(life)

    def _at(self, moment: str) -> Life:
        """Wait for a moment of this kind; whom it struck."""
        victim = self.dice.choice(self.working)
        if moment == "start":
            _wait(lambda: victim.starting or victim.ready, 30)
            time.sleep(self.dice.uniform(0, 0.5))
            return victim
        self._await_ready(*self.working)
        if moment == "any":
            time.sleep(self.dice.uniform(0, 2))
        elif moment == "bytes":
            enough = self._folders() + self.dice.randint(1, 8)
            _wait(lambda: self._folders() >= enough, 3)
            time.sleep(self.dice.uniform(0, 0.08))
        else:
            victim = self._caller(moment) or victim
        return victim

    def _caller(self, moment: str) -> Life | None:
        """Whoever makes one of the next calls, is sent a piece of the answer to one, or its last byte."""
        count = len(self.service.requests) + self.dice.randint(0, 8)
        found = _wait(lambda: next(iter(self.service.requests[count:]), None), 3)
        if moment == "answer":
            before = found.left if found else 0
            _wait(lambda: found is None or found.left > before, 3)
        if moment == "last byte":
            _wait(lambda: found is None or found.delivered or found.status in FREE, 3)
        time.sleep(self.dice.uniform(0, 0.2))
        return next((life for life in self.working if found and life.name == _caller_of(found)), None)

    def _folders(self) -> int:
        return len(os.listdir(self.home.images)) if self.home.images.is_dir() else 0

    def _await_takeover(self, gone: Life) -> None:
        """Leave a dead replica's jobs to the living one."""
        if gone.number is None:
            return
        survivors = [life for life in self.working if life is not gone]
        self._await_ready(*survivors)
        started = time.monotonic()
        mine = col(Job.process) == gone.number, col(Job.state) == JobState.RUNNING
        if not _wait(lambda: not self._count(*mine), 30):
            self.faults.append(f"nobody has taken over from {gone.name}")
        self.takeovers.append(time.monotonic() - started)

    def _drain(self) -> None:
        """Let everything end, then stop the processes and start fresh ones: they find nothing to settle."""
        self._await_ready(*self.working)
        # What lives on after that is counted as forgotten.
        _wait(lambda: not self._count(col(Job.state).in_(LIVE_STATES)), PATIENCE)
        for life in self.working:
            self._terminate(life)
        self._replace(*self.working)

    # Batches, from outside of all that is killed

    @contextmanager
    def _fed_from_outside(self) -> Iterator[None]:
        self._await_ready(*self.working)
        self._users = _add_users(self.database)
        client = ServiceClient(load_settings(openai_base_url=self.service.base_url))
        jobs, ended = jobs_of(self.home.storage, self.database, client, self.home.spool), threading.Event()
        thread = threading.Thread(target=self._feed, args=(jobs, ended))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            client.close()

    def _feed(self, jobs: Jobs, ended: threading.Event) -> None:
        dice = random.Random(self.dice.random())
        while not ended.wait(dice.uniform(0.05, 0.3)):
            if self._count(col(Job.state) == JobState.QUEUED) < WAITING:
                recipes = [self._recipe(dice) for _ in range(dice.randint(1, 10))]
                jobs.submit(dice.choice(self._users), recipes)
                if dice.random() < 0.3:
                    self.service.script("rate limit passing")

    def _recipe(self, dice: random.Random) -> Recipe:
        self._fed += 1
        pace = f"[[image latency:{dice.uniform(0, 0.4):.2f}]] [[image pause:{dice.uniform(0, 0.2):.2f}]]"
        prompt = f"number {self._fed} {pace} {REFUSED if dice.random() < 0.03 else ''}".strip()
        return Recipe(prompt=prompt, model="gpt-image-2", size="1024x1024", quality="low")

    # Counting

    def _count(self, *conditions: object) -> int:
        with self.database.read() as session:
            counted = select(func.count()).select_from(Job).where(*conditions)  # type: ignore[arg-type]
            return int(session.exec(counted).one())

    def _stored(self, *folders: str) -> list[str]:
        return [key for folder in folders for key in self.home.storage.list(folder)]

    def _account(self) -> Account:
        books = balance(self.database, self.home.storage, list(self.service.requests))
        with self.database.read() as session:
            jobs, images = list(session.exec(select(Job))), list(session.exec(select(Image)))
        return self._judged(books, jobs, images)

    def _keep_evidence(self) -> None:
        """For whoever looks into a broken promise, however the run has ended."""
        with self.database.read() as session:
            for table in (Job, Image, Usage):
                _save(self.home.folder / f"{table.__tablename__}.json", list(session.exec(select(table))))
        _save(self.home.folder / "journal.json", self.service.requests)
        _save(self.home.folder / "processes.json", [_of_life(life) for life in self.lives])

    def _judged(self, books: Books, jobs: list[Job], images: list[Image]) -> Account:
        calls = [seen for seen in self.service.requests if seen.path.endswith("/images/generations")]
        lives = {life.name: life for life in self.lives}
        answered = [call for call in calls if call.delivered and not _cut(call, lives[_caller_of(call)])]
        kept = {(image.prompt, image.sha256) for image in images}
        unkept = [c for c in answered if (c.body["prompt"], c.delivered[0]) not in kept]
        windows = [lives[_caller_of(call)].killed_at - call.left for call in unkept]
        unknown = [job for job in jobs if job.state == JobState.UNKNOWN]
        return Account(
            kills=self.kills,
            stops=self.stops,
            books=books,
            answered=len(answered),
            refused=sum(call.status in FREE for call in calls),
            cut_in_call=len(unknown) - len(unkept),
            cut_before_disk=len(unkept),
            longest_window=max(windows, default=0),
            longest_takeover=max(self.takeovers, default=0),
            left_for_tidying=len(self._stored("partials", "answers")),
            broken={
                "lost": books.lost,
                "lost, though its bytes were on the disk": sorted(
                    self.on_disk - {image.file_key for image in images}
                ),
                "unknown, though its process was not killed": [
                    job.id for job in unknown if not self._was_killed(job, calls, lives)
                ],
                "rows without files": books.rows_without_file,
                "files without rows": books.files_without_row,
                "calls sent twice without consent": books.bought_twice,
                "images kept twice": books.doubled,
                "jobs forgotten": books.stuck,
                "failed for no reason": [
                    job.id
                    for job in jobs
                    if job.state not in (JobState.DONE, JobState.UNKNOWN)
                    and REFUSED not in str(job.request["prompt"])
                ],
                "ended without a word": books.uncoded,
                "usage that isn't the journal's": books.usage_amiss,
                "processes that did not do as they should": self.faults,
            },
        )

    def _was_killed(self, job: Job, calls: list[RecordedRequest], lives: dict[str, Life]) -> bool:
        """Whether an unknown outcome is a kill's: of the process that had begun the job."""
        mine = [call for call in calls if call.body["prompt"] == job.request["prompt"]]
        callers = [lives[_caller_of(call)] for call in mine if call.status not in FREE]
        callers += [life for life in lives.values() if life.number == job.process]
        cut = all(life.killed_at for life in callers)
        return cut and (job.error or {}).get("details") == CUT_OFF


def _cut(call: RecordedRequest, caller: Life) -> bool:
    """Whether the caller was killed before its answer had left whole."""
    return bool(caller.killed_at) and call.left > caller.killed_at


def _caller_of(call: RecordedRequest) -> str:
    return call.headers["authorization"].removeprefix("Bearer ")


def _wait(found: Callable[[], T], seconds: float) -> T:
    """The first true value of `found()`; not every kind of moment comes in time."""
    deadline = time.monotonic() + seconds
    while not (value := found()) and time.monotonic() < deadline:
        time.sleep(0.001)
    return value


def _add_users(database: Database) -> list[str]:
    with database.write() as session:
        users = [User(username=f"user{i}", display_name=f"User {i}", password_hash="!") for i in range(USERS)]
        session.add_all(users)
    return [user.id for user in users]


def _of_life(life: Life) -> dict[str, object]:
    return {
        "name": life.name,
        "number": life.number,
        "killed_at": life.killed_at,
        "moment": life.moment,
        "code": life.process.exitcode,
    }


def _save(path: Path, items: Sequence[Any]) -> None:
    plain = [asdict(item) if isinstance(item, RecordedRequest) else dict(item) for item in items]
    path.write_text(json.dumps(plain, default=str, indent=1))


def run(engine: str, kills: int, seed: int, folder: Path) -> Account:
    """The account of a run in the empty `folder`, where its logs, journal and rows are left."""
    with (
        openai_service() as service,
        home(engine, folder) as place,
        closing(Database(place.database_url)) as database,
    ):
        return Chaos(place, database, service, random.Random(seed)).run(kills)


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill Atelier at random moments, and count")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--engine", choices=ENGINES, action="append", help="both when none is given")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # no process is left behind
    broken = False
    for engine in given.engine or ENGINES:
        folder = Path(tempfile.mkdtemp(prefix=f"atelier-chaos-{engine}-"))
        os.chdir(folder)  # no `.env` of somebody's own
        print(f"\n{engine}, {given.kills} kills, seed {given.seed}, in {folder}", flush=True)
        started = time.monotonic()
        account = run(engine, given.kills, given.seed, folder)
        for name, figure in account.rows():
            print(f"  {name:<52}{figure:>8}")
        print(f"  {'seconds':<52}{time.monotonic() - started:>8.0f}", flush=True)
        for name, items in account.broken.items():
            broken |= bool(items)
            for item in items:
                print(f"  BROKEN: {name}: {item}")
        if any(account.broken.values()):
            print(f"  Journal, rows and logs are kept in {folder}")
        else:
            os.chdir(ROOT)
            shutil.rmtree(folder)
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
