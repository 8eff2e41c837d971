"""Asks the advisory database about every pinned package; where it can't be reached, says so and is content.

`python -m tests.support.advisories` ends with 1 when a pinned version has a known vulnerability.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import httpx2

ROOT = Path(__file__).resolve().parents[2]
SERVICE = "https://api.osv.dev/v1/query"
QUESTION = {"package": {"name": "pip", "ecosystem": "PyPI"}, "version": "26.0"}
# A name server that says nothing can't be told to hurry: it is left behind.
PATIENCE, LONGEST = 5.0, 300.0


def is_reached(address: str = SERVICE, *, patience: float = PATIENCE) -> bool:
    """Whether the advisory service answers in time."""
    answers: list[bool] = []

    def ask() -> None:
        try:
            answer = httpx2.post(address, json=QUESTION, timeout=patience)
            answers.append(answer.is_success and isinstance(answer.json(), dict))
        except (httpx2.HTTPError, ValueError):
            answers.append(False)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(patience + 1)
    return answers == [True]


def audit(pins: Path = ROOT / "constraints.txt", *, address: str = SERVICE) -> int:
    """What is known against the pinned versions: printed, and 1; else 0."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(pins), "--no-deps", "--disable-pip"]
    where = ["--vulnerability-service", "osv", "--osv-url", address, "--timeout", str(int(PATIENCE))]
    quiet = ["--format", "json", "--progress-spinner", "off"]
    try:
        ended = subprocess.run(
            [*command, *where, *quiet], capture_output=True, text=True, timeout=LONGEST, check=False
        )
        packages = json.loads(ended.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError) as error:
        print(f"pip-audit: the advisories could not be read to their end ({type(error).__name__})")
        return 0
    found = [(package, known) for package in packages for known in package.get("vulns", ())]
    for package, known in found:
        fixed = ", ".join(known["fix_versions"]) or "no version yet"
        print(f"{package['name']} {package['version']}: {known['id']}, mended in {fixed}")
    print(f"pip-audit: {len(packages)} packages, {len(found)} known vulnerabilities")
    return 1 if found else 0


def main(address: str = SERVICE) -> int:
    if is_reached(address):
        return audit(address=address)
    print(f"pip-audit: not done, for the advisory service ({address}) can't be reached from here")
    return 0


if __name__ == "__main__":
    sys.exit(main())
