"""Builds the URLs of the Images API as absolute paths, for links in pages and responses."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

IMAGES = "/api/images"
EDIT = f"{IMAGES}/edit"
AUDIT_FILE = "/api/audit.csv"


def with_query(path: str, parameters: Mapping[str, object]) -> str:
    return f"{path}?{urlencode(parameters)}" if parameters else path


def image_url(image_id: str) -> str:
    return f"{IMAGES}/{image_id}"


def thumbnail_url(image_id: str) -> str:
    return f"{image_url(image_id)}/thumbnail"


def download_url(image_id: str, *, with_prompt: bool) -> str:
    return with_query(f"{image_url(image_id)}/download", {"prompt": str(with_prompt).lower()})


def job_url(batch_id: str) -> str:
    """Return the URL at which a client reads the state of the jobs of a batch."""
    return f"{IMAGES}/jobs/{batch_id}"


def events_url(batch_id: str) -> str:
    return f"{job_url(batch_id)}/events"


def partial_url(job_id: str, number: int, attempt: int) -> str:
    """Return the URL of the preview image `number` from the job's attempt `attempt`.

    Each preview has its own URL, so that pages replace a preview without flicker.
    """
    return f"{job_url(job_id)}/partials/{number}?attempt={attempt}"
