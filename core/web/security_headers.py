"""Security headers of every response: what a page may run, who may frame it, and what may be cached."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping

from core.settings import Settings

_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_PRIVATE_PREFIXES = ("/api/", "/auth/", "/media/")
_HSTS_SECONDS = 365 * 86_400
# API responses aren't documents. The few that are set their own policy.
_NOT_A_DOCUMENT = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Invitations and password links have their token in the URL.
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": ", ".join(
        f"{feature}=()"
        for feature in (
            "accelerometer", "camera", "display-capture", "geolocation", "gyroscope", "hid", "magnetometer",
            "microphone", "midi", "payment", "publickey-credentials-get", "serial", "usb",
        )
    ),
}  # fmt: skip


def page_policy(page: str) -> str:
    """The Content-Security-Policy of the pages. `page` is the HTML that Streamlit's scripts fill.

    Its inline scripts are allowed by their hashes. Streamlit loads components' scripts as blobs, its protobuf
    library probes for WebAssembly, and its styles are inline. Nothing is loaded from another origin.
    """
    hashes = " ".join(_hash(script) for script in _INLINE_SCRIPT.findall(page))
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' blob: 'wasm-unsafe-eval' {hashes}".rstrip(),
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "manifest-src 'self'",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _hash(script: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def is_https(scheme: str, settings: Settings) -> bool:
    """Whether a request came over HTTPS, by its own scheme or by the setting PUBLIC_HTTPS."""
    return settings.public_https or scheme in ("https", "wss")


def headers_for(path: str, policy: str, settings: Settings, *, https: bool) -> Mapping[str, str]:
    """The headers that a response at `path` gets if it doesn't set them itself. `policy` is for pages."""
    private = path.startswith(_PRIVATE_PREFIXES)
    headers = {**_ALWAYS, "Content-Security-Policy": _NOT_A_DOCUMENT if private else policy}
    if private:
        headers["Cache-Control"] = "no-store"
    if https:
        headers["Strict-Transport-Security"] = f"max-age={_HSTS_SECONDS}"
    return headers
