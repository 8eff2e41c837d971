"""The operator can print a password reset link for any user, including the only administrator."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from core.accounts.passwords import RESET_PARAM
from core.database.database import Database
from tests.support.sign_in import Accounts, accounts_in
from tests.support.stored_images import run_operator_command


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Accounts]:
    """The accounts of a running installation."""
    with closing(Database(f"sqlite:///{tmp_path / 'atelier.db'}")) as database:
        database.migrate()
        accounts = accounts_in(database)
        accounts.registration.create_user("root", "the forgotten one")
        yield accounts


def recover(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return run_operator_command("recover", name, data_dir=folder, port=8765)


def test_the_only_administrator_can_set_a_new_password(accounts: Accounts, tmp_path: Path) -> None:
    result = recover("Root", tmp_path)
    link = urlsplit(result.stdout.splitlines()[0])
    assert (result.returncode, link.netloc) == (0, "localhost:8765")
    (token,) = parse_qs(link.query)[RESET_PARAM]
    assert accounts.passwords.use_reset(token, "the new one") == "root"
    assert accounts.passwords.stored_hash("root") == "the new one"


def test_an_unknown_username_is_refused(accounts: Accounts, tmp_path: Path) -> None:
    result = recover("nobody", tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert "IMG-AUTH-ROLE-001" in result.stderr


def test_a_folder_without_a_database_is_reported_and_not_created(tmp_path: Path) -> None:
    result = recover("root", tmp_path / "elsewhere")
    assert (result.returncode, result.stdout) == (1, "")
    assert str(tmp_path / "elsewhere") in result.stderr
    assert not (tmp_path / "elsewhere").exists()
