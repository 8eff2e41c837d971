"""`python -m core recover NAME`: prints a link with which the user NAME can set a new password.

The command is for the person who runs the server.
"""

from __future__ import annotations

from contextlib import closing
from urllib.parse import urlencode

import click

from core.accounts.audit_log import AuditLog
from core.accounts.passwords import RESET_LIFETIME, RESET_PARAM, Passwords
from core.database.database import Database
from core.maintenance.command_line import HELP_OPTIONS, OperatorCommand, data_folder, print_line
from core.settings import Settings, load_settings
from core.storage.data_folder import database_url


def recovery_link(settings: Settings, username: str) -> str:
    """Create a password reset token for the user, and return a link to the app that contains it.

    The link has the app's address on this computer. Raises SettingsError if there is no database. Raises
    NotAllowed if the user is unknown or the user's access was withdrawn. Raises DatabaseError if the database
    can't be read or written.
    """
    with closing(Database(database_url(settings, data_folder(settings)))) as database:
        token = Passwords(database, AuditLog(database)).create_reset_as_operator(username)
    return f"http://localhost:{settings.port}{settings.base_path}/?{urlencode({RESET_PARAM: token})}"


@click.command("recover", cls=OperatorCommand, context_settings=HELP_OPTIONS)
@click.argument("username", metavar="NAME")
def command(username: str) -> None:
    """Print a link with which the user NAME can set a new password.

    Use the command if an administrator has forgotten the password. Atelier may run at the same time.
    """
    print_line(f"{recovery_link(load_settings(), username)}\n")
    hours = RESET_LIFETIME.total_seconds() / 3600
    print_line(f"The link sets a new password once, within {hours:.0f} hours.")
    print_line("If people reach Atelier at another address, put it before the /?")
