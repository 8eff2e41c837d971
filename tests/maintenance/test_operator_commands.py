"""Each operator command runs by its new and by its old name, and explains itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from core.__main__ import operator_commands
from tests.support.app_process import ROOT
from tests.support.stored_images import environment, run_operator_command

NAMES = ("backup", "doctor", "recover", "restore", "transfer")
# What each command needs to be tried on a folder without an installation.
ARGUMENTS = {
    "backup": ["made.backup"],
    "doctor": [],
    "recover": ["ada"],
    "restore": ["missing.backup"],
    "transfer": ["--to-database", "sqlite://"],
}


def run_by_old_name(name: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"core.{name}", *arguments],
        cwd=ROOT,
        env=environment(data_dir=folder),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_group_lists_every_command_with_one_whole_sentence() -> None:
    result = run_operator_command("--help")
    assert result.returncode == 0
    for name in NAMES:
        (line,) = (line for line in result.stdout.splitlines() if line.split()[:1] == [name])
        assert line.endswith(".")
        assert not line.endswith("...")
    assert sorted(operator_commands.commands) == list(NAMES)


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("name", NAMES)
def test_each_command_explains_itself(name: str, option: str) -> None:
    result = run_operator_command(name, option)
    assert result.returncode == 0
    assert f"Usage: python -m core {name} " in result.stdout


@pytest.mark.parametrize("name", NAMES)
def test_the_old_name_does_the_same_and_names_the_new_one(name: str, tmp_path: Path) -> None:
    new = run_operator_command(name, *ARGUMENTS[name], data_dir=tmp_path)
    old = run_by_old_name(name, *ARGUMENTS[name], folder=tmp_path)
    notice, *rest = old.stderr.splitlines()
    assert (new.returncode, old.returncode) == (1, 1)
    assert "IMG-" in new.stderr
    assert (old.stdout, rest) == (new.stdout, new.stderr.splitlines())
    assert f"python -m core.{name} is deprecated" in notice
    assert notice.endswith(f"Use: python -m core {name}")


@pytest.mark.parametrize("arguments", [["backup"], ["transfer"], ["doctor", "--mend"], ["paint"]])
def test_a_wrong_call_is_explained_and_exits_with_2(arguments: list[str]) -> None:
    result = run_operator_command(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert "Usage: python -m core" in result.stderr
