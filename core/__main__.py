"""The operator commands: `python -m core doctor | backup | restore | transfer | recover`."""

from __future__ import annotations

import click

from core.maintenance import backup, doctor, recover, restore, transfer
from core.maintenance.command_line import HELP_OPTIONS


@click.group(context_settings=HELP_OPTIONS)
def operator_commands() -> None:
    """Look after an Atelier installation.

    The commands read the settings from the environment and from the file .env, as Atelier itself does. They
    work on the installation that these settings describe.
    """


for module in (doctor, backup, restore, transfer, recover):
    operator_commands.add_command(module.command)

if __name__ == "__main__":
    operator_commands(prog_name="python -m core")
