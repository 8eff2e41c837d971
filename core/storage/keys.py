"""The keys of stored files. A key is a path such as `images/<job id>/1-0`; its first part is a Folder."""

from __future__ import annotations

from enum import StrEnum

from core.database.models import Job


class Folder(StrEnum):
    """The folder of a stored file: the first part of its key.

    ANSWERS has the metadata of the service's responses, and PARTIALS has preview images.
    """

    IMAGES = "images"
    THUMBNAILS = "thumbnails"
    ANSWERS = "answers"
    PARTIALS = "partials"
    UPLOADS = "uploads"
    # Damaged images and unreadable responses, for the administrator to inspect. They are never deleted.
    QUARANTINE = "aside"


def job_folder(folder: Folder, job_id: str) -> str:
    """Return the subfolder of `folder` that has the files of one job."""
    return f"{folder}/{job_id}"


def image_key(job: Job, index: int) -> str:
    """Return the key of an image from the job's current call to the service. `index` counts from 0."""
    return f"{job_folder(Folder.IMAGES, job.id)}/{image_prefix(job)}{index}"


def image_prefix(job: Job) -> str:
    """Return the prefix that all image files of the job's current call have in their names."""
    return f"{job.attempts}-"


def answer_figures_key(job: Job) -> str:
    """Return the key of a JSON file about the current call's response: number of images, tokens and price."""
    return f"{job_folder(Folder.ANSWERS, job.id)}/{job.attempts}.json"


def partial_key(job_id: str, number: int) -> str:
    return f"{job_folder(Folder.PARTIALS, job_id)}/{number}"


def thumbnail_key(image_id: str) -> str:
    return f"{Folder.THUMBNAILS}/{image_id}.webp"


def damaged_image_key(job: Job, index: int) -> str:
    """Return the key under which a copy of a damaged image is stored. `index` counts from 0."""
    return f"{job_folder(Folder.QUARANTINE, job.id)}/{image_prefix(job)}{index}"


def unreadable_answer_key(job: Job) -> str:
    """Return the key under which a service response is stored if no image could be read from it."""
    return f"{job_folder(Folder.QUARANTINE, job.id)}/answer-{job.attempts}"


def upload_folder(owner_id: str) -> str:
    return f"{Folder.UPLOADS}/{owner_id}"
