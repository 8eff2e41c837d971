"""The deprecated command `python -m core.backup`. Its new name is `python -m core backup`."""

from core.maintenance.backup import command
from core.maintenance.command_line import run_by_old_name

if __name__ == "__main__":
    run_by_old_name(command)
