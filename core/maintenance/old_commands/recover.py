"""The deprecated command `python -m core.recover`. Its new name is `python -m core recover`."""

from core.maintenance.command_line import run_by_old_name
from core.maintenance.recover import command

if __name__ == "__main__":
    run_by_old_name(command)
