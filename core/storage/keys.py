"""The keys of stored files. A key is a path such as `images/<job id>/1-0`; its first part is a Folder."""

from __future__ import annotations

from enum import StrEnum

from core.database.models import Job


class Folder(StrEnum):
    """The first part of a stored file's key.

    ANSWERS is for JSON files about the service's responses, and PARTIALS is for preview images.
    """

    IMAGES = "images"
    THUMBNAILS = "thumbnails"
    RESPONSES = "answers"
    PARTIALS = "partials"
    UPLOADS = "uploads"
    # Damaged images and unreadable responses, for the administrator to inspect. They are never deleted.
    QUARANTINE = "aside"


def job_folder(folder: Folder, job_id: str) -> str:
    """Return the folder of one job's files within `folder`."""
    return f"{folder}/{job_id}"


def image_key(job: Job, index: int) -> str:
    """Return the key of an image from the job's latest attempt. `index` counts the images from 0."""
    return f"{job_folder(Folder.IMAGES, job.id)}/{image_prefix(job)}{index}"


def image_prefix(job: Job) -> str:
    """Return the text with which the names of all image files from the job's latest attempt begin."""
    return f"{job.attempts}-"


def response_metadata_key(job: Job) -> str:
    """Return the key of the JSON file about the response to the job's latest attempt.

    The file has the number of images, the tokens and the price.
    """
    return f"{job_folder(Folder.RESPONSES, job.id)}/{job.attempts}.json"


def partial_key(job_id: str, number: int) -> str:
    return f"{job_folder(Folder.PARTIALS, job_id)}/{number}"


def thumbnail_key(image_id: str) -> str:
    return f"{Folder.THUMBNAILS}/{image_id}.webp"


def damaged_image_key(job: Job, index: int) -> str:
    """Return the key for a copy of a damaged image from the job's latest attempt.

    `index` counts the images of the attempt from 0.
    """
    return f"{job_folder(Folder.QUARANTINE, job.id)}/{image_prefix(job)}{index}"


def unreadable_response_key(job: Job) -> str:
    """Return the key for the response to the job's latest attempt if no image can be read from it."""
    return f"{job_folder(Folder.QUARANTINE, job.id)}/answer-{job.attempts}"


def upload_folder(owner_id: str) -> str:
    return f"{Folder.UPLOADS}/{owner_id}"
