"""The deprecated command `python -m core.transfer`. Its new name is `python -m core transfer`."""

from core.maintenance.command_line import run_by_old_name
from core.maintenance.transfer import command

if __name__ == "__main__":
    run_by_old_name(command)
