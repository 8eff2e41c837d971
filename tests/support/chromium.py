"""Finds a Chromium for the browser tests, or installs one: `python -m tests.support.chromium`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

# The first is the same browser without windows, which takes two thirds of the processor's time.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MEND = "No Chromium was found. Install one: `make browser`, or set CHROMIUM to the path of yours."
# Without the last flags the browser asks hosts outside for updates.
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def flags() -> list[str]:
    """Chromium's sandbox doesn't start for root, who runs tests in containers."""
    return [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]


def find() -> str | None:
    """Path of an installed Chromium: the one named by CHROMIUM, the system's, or Playwright's own."""
    named = os.environ.get("CHROMIUM")
    for candidate in (named, *map(shutil.which, NAMES)):
        if candidate and Path(candidate).exists():
            return candidate
    own = _playwrights_own()
    return own if Path(own).exists() else None


def _playwrights_own() -> str:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        return playwright.chromium.executable_path


def install() -> None:
    """Debian's package when root on Debian, else Playwright's own build."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], check=True, env=quiet)
        for package in NAMES[:2]:
            command = ["apt-get", "install", "-y", "-qq", package]
            if subprocess.run(command, check=False, env=quiet).returncode == 0:
                break
    else:
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=True)


if __name__ == "__main__":
    if not find():
        install()
    print(f"Browser: {find() or sys.exit(MEND)}")
