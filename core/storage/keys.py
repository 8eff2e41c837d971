"""The folders and keys of stored files."""

from __future__ import annotations

from enum import StrEnum

from core.database.models import Job


class Folder(StrEnum):
    """The first part of the key of a stored file."""

    IMAGES = "images"
    THUMBNAILS = "thumbnails"
    ANSWERS = "answers"
    PARTIALS = "partials"
    UPLOADS = "uploads"
    # Damaged responses, for the administrator to inspect. Nothing deletes them.
    QUARANTINE = "aside"


def job_folder(folder: Folder, job_id: str) -> str:
    """The folder of the files of one job."""
    return f"{folder}/{job_id}"


def image_key(job: Job, index: int) -> str:
    """The key of an image of the job's current call; `index` counts from 0."""
    return f"{job_folder(Folder.IMAGES, job.id)}/{image_prefix(job)}{index}"


def image_prefix(job: Job) -> str:
    """The beginning of the file names of the images of the job's current call."""
    return f"{job.attempts}-"


def answer_figures_key(job: Job) -> str:
    """The key of the number of images, tokens and price of the job's current call, as JSON."""
    return f"{job_folder(Folder.ANSWERS, job.id)}/{job.attempts}.json"


def partial_key(job_id: str, number: int) -> str:
    return f"{job_folder(Folder.PARTIALS, job_id)}/{number}"


def thumbnail_key(image_id: str) -> str:
    return f"{Folder.THUMBNAILS}/{image_id}.webp"


def damaged_image_key(job: Job, index: int) -> str:
    """The key of the copy of an image that can't be read."""
    return f"{job_folder(Folder.QUARANTINE, job.id)}/{image_prefix(job)}{index}"


def unreadable_answer_key(job: Job) -> str:
    """The key of a response that holds no image."""
    return f"{job_folder(Folder.QUARANTINE, job.id)}/answer-{job.attempts}"


def upload_folder(owner_id: str) -> str:
    return f"{Folder.UPLOADS}/{owner_id}"
