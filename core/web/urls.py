"""The paths of the Images API, and the URLs of images and jobs for links in pages and responses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

API, SESSION, SIGN_OUT = "/api", "/auth/session", "/auth/sign-out"
EDIT = f"{API}/images/edit"


@dataclass(frozen=True, slots=True)
class Urls:
    """Builds absolute paths, such as `/atelier/api/images`, that a browser or client can use as they are.

    `base` is BASE_PATH, below which Atelier is served: "/atelier", or "" if it has a host of its own.
    """

    base: str = ""

    @property
    def api(self) -> str:
        return f"{self.base}{API}"

    @property
    def images(self) -> str:
        return f"{self.api}/images"

    def image(self, image_id: str) -> str:
        return f"{self.images}/{image_id}"

    def thumbnail(self, image_id: str) -> str:
        return f"{self.image(image_id)}/thumbnail"

    def download(self, image_id: str, *, with_prompt: bool) -> str:
        return with_query(f"{self.image(image_id)}/download", {"prompt": str(with_prompt).lower()})

    def job(self, batch_id: str) -> str:
        """Return the URL at which a client reads the state of the jobs of a batch."""
        return f"{self.images}/jobs/{batch_id}"

    def events(self, batch_id: str) -> str:
        return f"{self.job(batch_id)}/events"

    def partial(self, job_id: str, number: int, attempt: int) -> str:
        """Return the URL of the preview image `number` from the job's attempt `attempt`.

        Each preview has its own URL, so that pages replace a preview without flicker.
        """
        return f"{self.job(job_id)}/partials/{number}?attempt={attempt}"

    def audit_file(self, parameters: Mapping[str, object]) -> str:
        return with_query(f"{self.api}/audit.csv", parameters)


def with_query(path: str, parameters: Mapping[str, object]) -> str:
    return f"{path}?{urlencode(parameters)}" if parameters else path
