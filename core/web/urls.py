"""The addresses of the Images API, from the server's root: whoever leads somebody there asks here."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

IMAGES = "/api/images"
EDIT = f"{IMAGES}/edit"
AUDIT_FILE = "/api/audit.csv"


def with_query(address: str, asked: Mapping[str, object]) -> str:
    return f"{address}?{urlencode(asked)}" if asked else address


def image_url(image_id: str) -> str:
    return f"{IMAGES}/{image_id}"


def thumbnail_url(image_id: str) -> str:
    return f"{image_url(image_id)}/thumbnail"


def download_url(image_id: str, *, with_prompt: bool) -> str:
    return with_query(f"{image_url(image_id)}/download", {"prompt": str(with_prompt).lower()})


def job_url(batch_id: str) -> str:
    """Where to ask how a batch stands."""
    return f"{IMAGES}/jobs/{batch_id}"


def events_url(batch_id: str) -> str:
    return f"{job_url(batch_id)}/events"


def partial_url(job_id: str, number: int, attempt: int) -> str:
    """Another number is another address, so that the picture changes without a flicker."""
    return f"{job_url(job_id)}/partials/{number}?attempt={attempt}"
