"""Checks the environment variables for proxies and certificates, such as HTTPS_PROXY and SSL_CERT_FILE.

httpx2 reads them when it builds a client. If one of them is wrong, it builds no client, and nothing is sent.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpx2

from core.errors import SettingsError

_PROXY_SCHEMES = ("http", "https", "all")


def check_network() -> None:
    """Raise SettingsError if a variable of the environment keeps requests from being sent.

    The variables are HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE and SSL_CERT_DIR. The error names the
    wrong variable but not its value, which may contain a password.
    """
    proxies = getproxies()
    if proxies.get("no", "") != "*":
        for scheme in _PROXY_SCHEMES:
            if proxy := proxies.get(scheme):
                _check_proxy(_variable(f"{scheme}_proxy"), proxy)
    _check_certificates()


def _check_proxy(variable: str, proxy: str) -> None:
    url = proxy if "://" in proxy else f"http://{proxy}"
    try:
        if not urlsplit(url).hostname:
            raise ValueError("no host")
        httpx2.HTTPTransport(proxy=url, verify=False).close()
    except ImportError:
        raise SettingsError(
            f"{variable} is a SOCKS proxy, for which the Python package socksio must be installed."
        ) from None
    except (ValueError, httpx2.InvalidURL):
        raise SettingsError(
            f"{variable} isn't the address of a proxy, such as http://proxy.example:3128."
        ) from None


def _check_certificates() -> None:
    """Raise SettingsError if the environment names certificates that can't be loaded.

    httpx2 reads SSL_CERT_DIR only if SSL_CERT_FILE isn't set.
    """
    if file := os.environ.get("SSL_CERT_FILE"):
        try:
            ssl.create_default_context(cafile=file)
        except OSError as error:
            raise SettingsError(
                "SSL_CERT_FILE isn't a readable file of certificates in PEM format.", details=str(error)
            ) from error
    elif (folder := os.environ.get("SSL_CERT_DIR")) and not Path(folder).is_dir():
        raise SettingsError("SSL_CERT_DIR isn't a folder.")


def _variable(name: str) -> str:
    """Return the name under which the environment has the proxy variable `name`, which is in lower case.

    If it has both spellings, the one in lower case takes precedence.
    """
    return name if name in os.environ else name.upper()
