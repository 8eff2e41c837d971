"""Security headers of every response, such as Content-Security-Policy and Strict-Transport-Security."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping

from core.settings import Settings

_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_PRIVATE_PREFIXES = ("/api/", "/auth/", "/media/")
_HSTS_SECONDS = 365 * 86_400
# Most API responses aren't documents and get this policy. The few documents set a policy of their own.
_NOT_A_DOCUMENT = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Invitation links and reset links have a secret token in their URL.
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
    """Return the Content-Security-Policy of the pages. `page` is the HTML of Streamlit's index page.

    Nothing may be loaded from another origin. The inline scripts of `page` are allowed by their hashes.
    Streamlit needs the other exceptions: it loads components' scripts as blobs, its protobuf library probes
    for WebAssembly, and its styles are inline.
    """
    hashes = " ".join(hash_source(script) for script in _INLINE_SCRIPT.findall(page))
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


def hash_source(inline: str) -> str:
    """Return the source of a Content-Security-Policy that allows this inline script or style."""
    return f"'sha256-{b64encode(hashlib.sha256(inline.encode()).digest()).decode()}'"


def is_https(scheme: str, settings: Settings) -> bool:
    """Whether a request came over HTTPS. `scheme` is the scheme of its URL.

    If PUBLIC_HTTPS is set, every request counts as HTTPS.
    """
    return settings.public_https or scheme in ("https", "wss")


def headers_for(path: str, policy: str, settings: Settings, *, https: bool) -> Mapping[str, str]:
    """Return the security headers for a response to a request for `path`.

    `policy` is the pages' Content-Security-Policy. Responses below `/api/`, `/auth/` and `/media/` get a
    stricter policy. `https` says whether the request came over HTTPS.
    """
    private = path.startswith(_PRIVATE_PREFIXES)
    headers = {**_ALWAYS, "Content-Security-Policy": _NOT_A_DOCUMENT if private else policy}
    if private:
        headers["Cache-Control"] = "no-store"
    if https:
        headers["Strict-Transport-Security"] = f"max-age={_HSTS_SECONDS}"
    return headers
