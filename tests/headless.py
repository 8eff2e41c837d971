"""All of Atelier but its pages, as a process: `python -m tests.headless SWEEP_SECONDS`.

It is built from the environment like the app itself, starts twice as fast, and takes others' jobs over at
the pace that it is told. It says "starting" when it begins to, "ready" and its number when it works, and
ends as the app does on SIGTERM.
"""

from __future__ import annotations

import signal
import sys
import threading

from core import bootstrap
from core.settings import load_settings


def main() -> None:
    asked_to_end = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked_to_end.set())
    bootstrap.SWEEP_SECONDS = float(sys.argv[1])
    print("starting", flush=True)
    studio = bootstrap.build(load_settings())
    print(f"ready {studio.ownership.number}.", flush=True)
    asked_to_end.wait()
    studio.close()


if __name__ == "__main__":
    main()
