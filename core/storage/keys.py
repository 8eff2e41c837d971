"""Where things lie: the names in a data folder, and the folders and keys of the stored files."""

from __future__ import annotations

from enum import StrEnum

from core.database.models import Job


class Folder(StrEnum):
    """The first part of a stored file's key."""

    IMAGES = "images"
    THUMBNAILS = "thumbnails"
    ANSWERS = "answers"
    PARTIALS = "partials"
    UPLOADS = "uploads"
    # Damaged answers, for the administrator alone to look at and remove.
    ASIDE = "aside"


def job_folder(folder: Folder, job_id: str) -> str:
    """Where the files of one job are listed."""
    return f"{folder}/{job_id}"


def image_key(job: Job, index: int) -> str:
    """A picture of the job's present call, counted from 0."""
    return f"{job_folder(Folder.IMAGES, job.id)}/{image_prefix(job)}{index}"


def image_prefix(job: Job) -> str:
    """How the names of the pictures of the job's present call begin."""
    return f"{job.attempts}-"


def answer_figures_key(job: Job) -> str:
    return f"{job_folder(Folder.ANSWERS, job.id)}/{job.attempts}.json"


def partial_key(job_id: str, number: int) -> str:
    return f"{job_folder(Folder.PARTIALS, job_id)}/{number}"


def thumbnail_key(image_id: str) -> str:
    return f"{Folder.THUMBNAILS}/{image_id}.webp"


def damaged_image_key(job: Job, index: int) -> str:
    """Where a picture that can't be read is kept."""
    return f"{job_folder(Folder.ASIDE, job.id)}/{image_prefix(job)}{index}"


def unreadable_answer_key(job: Job) -> str:
    """Where an answer is kept that holds no picture."""
    return f"{job_folder(Folder.ASIDE, job.id)}/answer-{job.attempts}"


def upload_folder(owner_id: str) -> str:
    return f"{Folder.UPLOADS}/{owner_id}"
