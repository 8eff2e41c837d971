"""The deprecated command `python -m core.restore`. Its new name is `python -m core restore`."""

from core.maintenance.command_line import run_by_old_name
from core.maintenance.restore import command

if __name__ == "__main__":
    run_by_old_name(command)
