"""Several processes on one database: none takes the running job of another, and none is left alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from core import bootstrap, errors
from core.common.clock import utc_now
from core.database.database import Database
from core.database.installation_key import installation_key
from core.database.models import Image, Job, JobState, Usage, User
from core.database.process_lock import ProcessLock
from core.generation.ingest import ResponseMetadata
from core.generation.job_queue import JobQueue
from core.settings import load_settings
from core.storage.keys import image_key, response_metadata_key
from tests.support.crashing_worker import RECIPE
from tests.support.generation import ON_SQLITE, Studio, a_job
from tests.support.openai_service import plain_image

ON_POSTGRES = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
def replica_of() -> Iterator[Callable[[str], ProcessLock]]:
    """`replica_of(database_url)`: the claim of one process that shares the database."""
    made: list[tuple[Database, ProcessLock]] = []

    def make(url: str) -> ProcessLock:
        database = Database(url)
        made.append((database, ProcessLock(database, shared=True)))
        made[-1][1].acquire()
        return made[-1][1]

    yield make
    for database, process_lock in made:
        process_lock.release()
        database.close()


@ON_POSTGRES
def test_replicas_have_numbers_that_the_others_see_for_as_long_as_they_live(
    database_url: str, replica_of: Callable[[str], ProcessLock]
) -> None:
    first, second = replica_of(database_url), replica_of(database_url)
    assert first.live_processes() == second.live_processes() == {first.process_number, second.process_number}
    second.release()
    assert first.live_processes() == {first.process_number}


@ON_POSTGRES
def test_a_process_that_keeps_its_files_to_itself_does_not_join_replicas(
    database: Database, database_url: str, replica_of: Callable[[str], ProcessLock]
) -> None:
    replica_of(database_url)
    with pytest.raises(errors.SettingsError, match="STORAGE_URL"):
        ProcessLock(database).acquire()


@pytest.fixture
def replica(make_studio: Callable[..., Studio], database: Database) -> Studio:
    """A replica that knows of process 1 as living."""
    studio = make_studio(database, started=False)
    studio.jobs.recovery.shared = True
    studio.jobs.recovery.live_processes = lambda: frozenset((1,))
    return studio


def begun_by(studio: Studio, process: int) -> Job:
    """A job that `process` has begun just now."""
    studio.jobs.submit(studio.rows(User)[0].id, [RECIPE])
    job = JobQueue(studio.database, process=process).claim()
    assert job
    return job


@pytest.mark.usefixtures("user")
def test_the_jobs_of_a_living_process_are_left_to_it(replica: Studio) -> None:
    begun_by(replica, 1)
    replica.jobs.start()
    for _ in range(3):
        replica.jobs.recovery.settle_orphans()
    assert replica.job().state == JobState.RUNNING


@pytest.mark.usefixtures("user")
def test_a_process_is_gone_when_it_was_missed_twice(replica: Studio) -> None:
    begun_by(replica, 2)
    replica.jobs.recovery.settle_orphans()
    assert replica.job().state == JobState.RUNNING
    replica.jobs.recovery.settle_orphans()
    job = replica.job()
    assert job.error is not None
    assert (job.state, job.error.code) == (JobState.UNKNOWN, errors.OutcomeUnknown.code)


@pytest.mark.usefixtures("user")
def test_a_process_that_came_back_between_is_not_gone(replica: Studio) -> None:
    begun_by(replica, 2)
    for alive in ({1}, {1, 2}, {1}):
        replica.jobs.recovery.live_processes = lambda alive=alive: frozenset(alive)
        replica.jobs.recovery.settle_orphans()
    assert replica.job().state == JobState.RUNNING


@pytest.mark.usefixtures("user")
def test_a_read_that_failed_between_is_no_sight_of_anybody(replica: Studio) -> None:
    def refuse() -> frozenset[int]:
        raise errors.DatabaseError

    begun_by(replica, 2)
    replica.jobs.recovery.settle_orphans()
    replica.jobs.recovery.live_processes, before = refuse, replica.jobs.recovery.live_processes
    with pytest.raises(errors.DatabaseError):
        replica.jobs.recovery.settle_orphans()
    replica.jobs.recovery.live_processes = before
    replica.jobs.recovery.settle_orphans()
    assert replica.job().state == JobState.RUNNING


@pytest.mark.usefixtures("user")
def test_what_a_dead_replica_had_on_disk_is_adopted_once_by_all_who_sweep(
    replica: Studio, make_studio: Callable[..., Studio], database: Database
) -> None:
    job = begun_by(replica, 2)
    replica.storage.put(image_key(job, 0), plain_image(RECIPE.prompt, "1024x1024"))
    replica.storage.put(response_metadata_key(job), ResponseMetadata(count=1, price_micros=7).to_bytes())
    other = make_studio(database, started=False)
    for studio in (replica, other):
        studio.jobs.worker.settle(job)
    assert replica.job().state == JobState.DONE
    assert [image.price_micros for image in replica.rows(Image)] == [7]
    assert [call.outcome for call in replica.rows(Usage)] == ["ok"]


# An answer that comes after its job was given up


def answered(studio: Studio, job: Job) -> None:
    """The process that was taken for gone gets its answer."""
    studio.jobs.worker.run(job)


@pytest.mark.usefixtures("user")
def test_a_late_answer_is_kept_and_takes_the_place_of_the_unknown_outcome(replica: Studio) -> None:
    job = begun_by(replica, 2)
    replica.jobs.worker.settle(job)
    assert [call.outcome for call in replica.rows(Usage)] == ["unknown"]
    answered(replica, job)
    view = replica.job()
    assert (view.state, view.error, len(view.image_ids)) == (JobState.DONE, None, 1)
    assert [call.outcome for call in replica.rows(Usage)] == ["ok"]


@pytest.mark.usefixtures("user")
def test_a_late_answer_spares_the_call_that_was_to_be_sent_again(replica: Studio) -> None:
    job = begun_by(replica, 2)
    replica.jobs.worker.resend_unknown = True
    replica.jobs.worker.settle(job)
    assert replica.job().state == JobState.QUEUED
    answered(replica, job)
    assert (replica.job().state, replica.job().due_at) == (JobState.DONE, None)
    assert (replica.jobs.claim(), replica.paid()) == (None, 1)


@pytest.mark.usefixtures("user")
def test_two_answers_of_one_job_are_both_kept_whole(replica: Studio) -> None:
    job = begun_by(replica, 2)
    replica.jobs.worker.resend_unknown = True
    replica.jobs.worker.settle(job)
    with replica.database.write() as session:
        session.execute(update(Job).values(due_at=utc_now() - timedelta(seconds=1)))
    again = replica.jobs.claim()
    assert again
    answered(replica, job)
    assert replica.job().state == JobState.RUNNING  # the second call is still under way
    answered(replica, again)
    view = replica.job()
    assert (view.state, len(view.image_ids), replica.paid()) == (JobState.DONE, 2, 2)
    for image in replica.rows(Image):
        assert replica.jobs.worker.gallery.original(image.owner_id, image.id)


@pytest.mark.usefixtures("user")
def test_a_late_refusal_ends_nothing_that_has_gone_on(replica: Studio) -> None:
    job = begun_by(replica, 2)
    replica.jobs.worker.resend_unknown = True
    replica.jobs.worker.settle(job)
    replica.service.script("moderation")
    answered(replica, job)
    assert replica.job().state == JobState.QUEUED
    assert [call.outcome for call in replica.rows(Usage)] == ["unknown"]


@ON_SQLITE
def test_a_late_answer_of_a_job_that_was_let_go_is_in_the_gallery(replica: Studio, user: User) -> None:
    job = begun_by(replica, 2)
    replica.jobs.worker.settle(job)
    replica.jobs.dismiss(user.id, job.id)
    answered(replica, job)
    assert replica.jobs.recent(user.id) == ()
    assert len(replica.rows(Image)) == 1


# What belongs to the installation


def test_all_replicas_have_one_secret(database: Database) -> None:
    first = installation_key(database, lambda: b"k" * 32)
    assert first == installation_key(database, lambda: b"other" * 8) == b"k" * 32


def test_a_job_says_which_process_has_begun_it(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio = make_studio(database, started=False)
    studio.jobs.queue = JobQueue(database, process=2**31 - 1)
    a_job(database, user, JobState.QUEUED)
    job = studio.jobs.claim()
    assert job
    assert job.process == 2**31 - 1


# Side by side


ON_EMPTY_POSTGRES = pytest.mark.parametrize("empty_database_url", ["postgresql"], indirect=True)


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """Building a studio may make what this process writes private."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@ON_EMPTY_POSTGRES
def test_studios_with_one_data_folder_start_side_by_side_and_use_only_the_spool(
    empty_database_url: str, bucket_settings: dict[str, str], tmp_path: Path
) -> None:
    shared = {**bucket_settings, "database_url": empty_database_url, "data_dir": tmp_path / "data"}
    with (
        closing(bootstrap.build(load_settings(**shared))) as first,
        closing(bootstrap.build(load_settings(**shared))) as second,
    ):
        both = {first.process_lock.process_number, second.process_lock.process_number}
        assert first.process_lock.live_processes() == second.process_lock.live_processes() == both
        first.storage.put("images/a/0", b"bytes")
        assert second.storage.get("images/a/0") == b"bytes"
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["spool"]


@ON_EMPTY_POSTGRES
@pytest.mark.parametrize("folder", [pytest.param("one", id="one folder"), pytest.param("two", id="two")])
def test_studios_with_files_of_their_own_refuse_to_share_a_database(
    empty_database_url: str, tmp_path: Path, folder: str
) -> None:
    with (
        closing(bootstrap.build(load_settings(database_url=empty_database_url, data_dir=tmp_path / "one"))),
        pytest.raises(errors.SettingsError, match="Another Atelier is already using"),
    ):
        bootstrap.build(load_settings(database_url=empty_database_url, data_dir=tmp_path / folder))


# Bytes of a late answer that its process couldn't enter


def stored_late(replica: Studio) -> Job:
    """A job that was given up, whose picture came to the disk afterwards, and whose process is gone."""
    job = begun_by(replica, 2)
    replica.jobs.worker.settle(job)
    replica.storage.put(image_key(job, 0), plain_image(RECIPE.prompt, "1024x1024"))
    replica.storage.put(response_metadata_key(job), ResponseMetadata(count=1, price_micros=7).to_bytes())
    return job


def test_a_late_answer_on_the_disk_is_entered_by_the_housekeeping(replica: Studio, user: User) -> None:
    stored_late(replica)
    replica.jobs.recovery.adopt_late_images()
    assert (replica.job().state, replica.rows(Image)[0].price_micros) == (JobState.DONE, 7)


def test_try_again_enters_what_is_there_and_buys_nothing(replica: Studio, user: User) -> None:
    job = stored_late(replica)
    replica.jobs.retry(user.id, job.id)
    assert (replica.job().state, len(replica.rows(Job)), replica.paid()) == (JobState.DONE, 1, 0)


def test_giving_up_leaves_the_figures_that_a_late_answer_may_bring(replica: Studio, user: User) -> None:
    job = begun_by(replica, 2)
    partial = "partials/" + job.id + "/0"
    replica.storage.put(partial, b"preview")
    replica.storage.put(response_metadata_key(job), ResponseMetadata(count=1, price_micros=7).to_bytes())
    replica.jobs.worker.ingest.remove_working_files(job, metadata=False)
    assert not replica.storage.exists(partial)
    assert replica.storage.exists(response_metadata_key(job))
