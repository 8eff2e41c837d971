"""Whoever runs the server can let a person set a new password, also the only administrator."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from core.accounts.passwords import RESET_PARAM
from core.accounts.users import Accounts
from core.database.database import Database
from tests.support.stored_images import run_operator_command


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Accounts]:
    """Of an installation that is running."""
    with closing(Database(f"sqlite:///{tmp_path / 'atelier.db'}")) as database:
        database.migrate()
        accounts = Accounts(database)
        accounts.create_user("root", "the forgotten one")
        yield accounts


def recover(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return run_operator_command("recover", name, data_dir=folder, port=8765)


def test_the_only_administrator_comes_back(accounts: Accounts, tmp_path: Path) -> None:
    said = recover("Root", tmp_path)
    link = urlsplit(said.stdout.splitlines()[0])
    assert (said.returncode, link.netloc) == (0, "localhost:8765")
    (token,) = parse_qs(link.query)[RESET_PARAM]
    assert accounts.use_reset(token, "the new one") == "root"
    assert accounts.password_hash("root") == "the new one"


def test_a_name_that_nobody_has_is_refused(accounts: Accounts, tmp_path: Path) -> None:
    said = recover("nobody", tmp_path)
    assert (said.returncode, said.stdout) == (1, "")
    assert "IMG-AUTH-ROLE-001" in said.stderr


def test_a_folder_without_a_database_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    said = recover("root", tmp_path / "elsewhere")
    assert (said.returncode, said.stdout) == (1, "")
    assert str(tmp_path / "elsewhere") in said.stderr
    assert not (tmp_path / "elsewhere").exists()
