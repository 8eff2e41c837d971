"""The deprecated command `python -m core.doctor`. Its new name is `python -m core doctor`."""

from core.maintenance.command_line import run_by_old_name
from core.maintenance.doctor import command

if __name__ == "__main__":
    run_by_old_name(command)
