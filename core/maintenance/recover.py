"""`python -m core recover NAME`: a link with which NAME sets a new password, for whoever runs the server.

It lets an administrator who has forgotten the password back in. Atelier may be running meanwhile.
"""

from __future__ import annotations

import sys
from contextlib import closing
from urllib.parse import urlencode

from core.accounts.passwords import RESET_LIFE, RESET_PARAM
from core.accounts.users import Accounts
from core.database.database import Database
from core.maintenance.command_line import answer, data_folder, parser, say
from core.settings import Settings, load_settings
from core.storage.data_folder import database_url


def recovery_link(settings: Settings, username: str) -> str:
    """The link, with the address that this computer reaches the app by.

    Raises SettingsError where there is no database yet, NotAllowed for a name without access, DatabaseError.
    """
    with closing(Database(database_url(settings, data_folder(settings)))) as database:
        token = Accounts(database).recovery(username)
    return f"http://localhost:{settings.port}/?{urlencode({RESET_PARAM: token})}"


def main() -> int:
    asked = parser("recover", __doc__)
    asked.add_argument("name", help="the username")
    chosen = asked.parse_args()
    say(f"{recovery_link(load_settings(), chosen.name)}\n")
    say(f"It can be used once to set a new password, within {RESET_LIFE.total_seconds() / 3600:.0f} hours.")
    say("If people reach Atelier at another address, put that before the /?")
    return 0


if __name__ == "__main__":
    sys.exit(answer(main))
