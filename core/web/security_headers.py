"""What every answer tells the browser: what may run on a page, who may frame it, and what is kept."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping

from core.settings import Settings

_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_PERSONAL = ("/api/", "/auth/", "/media/")
_YEAR = 365 * 86_400
# No answer of ours is a document, but for those that say otherwise themselves.
_NO_DOCUMENT = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Invitations and links for a new password stand in addresses.
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
    """The Content-Security-Policy of the HTML `page` that Streamlit's scripts fill.

    Its inline scripts run by their hashes. Streamlit hands components' scripts to the browser as blobs, and
    its protobuf library looks for WebAssembly; its styles are made inline. Nothing comes from elsewhere.
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
    """Whether a request came by HTTPS, as far as it or the settings say so."""
    return settings.public_https or scheme in ("https", "wss")


def wanted(path: str, policy: str, settings: Settings, *, https: bool) -> Mapping[str, str]:
    """The headers of an answer at `path`, where it has none of that name itself; `policy` is the pages'."""
    personal = path.startswith(_PERSONAL)
    headers = {**_ALWAYS, "Content-Security-Policy": _NO_DOCUMENT if personal else policy}
    if personal:
        headers["Cache-Control"] = "no-store"
    if https:
        headers["Strict-Transport-Security"] = f"max-age={_YEAR}"
    return headers
