"""`python -m core.recover NAME`: a link with which NAME sets a new password, for whoever runs the server.

By it an administrator who forgot the password comes back. Atelier may be running meanwhile.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from urllib.parse import urlencode

from core import errors
from core.accounts import RESET_LIFE, RESET_PARAM, Accounts
from core.bootstrap import database_url
from core.database import Database
from core.settings import Settings, load_settings


def recovery_link(settings: Settings, username: str) -> str:
    """The link, with the address that this computer reaches the app by.

    Raises SettingsError where there is no database yet, NotAllowed for a name without access, DatabaseError.
    """
    folder = settings.data_dir.expanduser().resolve()
    if not settings.database_url and not (folder / "atelier.db").is_file():
        raise errors.SettingsError(f"DATA_DIR: {folder} holds no database. Name Atelier's own.")
    with closing(Database(database_url(settings, folder))) as database:
        token = Accounts(database).recovery(username)
    return f"http://localhost:{settings.port}/?{urlencode({RESET_PARAM: token})}"


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m core.recover", description=__doc__)
    asked.add_argument("name", help="the username")
    try:
        print(f"{recovery_link(load_settings(), asked.parse_args().name)}\n")
        print(f"It sets a new password once, within {RESET_LIFE.total_seconds() / 3600:.0f} hours.")
        print("Where people reach Atelier by another address, put that before the /?")
    except errors.ImageError as error:
        print(f"{error.message} [{error.code}]", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
