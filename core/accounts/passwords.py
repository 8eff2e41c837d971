"""Passwords: the rules for a new one, and the hash that is stored."""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from datetime import timedelta

from core import errors
from core.accounts.usernames import fold_username

MIN_PASSWORD = 10
MAX_PASSWORD = 1024
RESET_LIFE = timedelta(hours=24)
# The part of an address in which a token of `password_reset` is handed on.
RESET_PARAM = "reset"


def prehash(password: str) -> str:
    """44 ASCII characters from any passphrase: bcrypt refuses more than 72 bytes.

    What is longer than any password is cut: accents in a row take the square of their number to put in order.
    """
    whole = unicodedata.normalize("NFKC", password[: MAX_PASSWORD + 1]).encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(whole).digest()
    return base64.b64encode(digest).decode()


def check_password(password: str, username: str = "") -> None:
    """Raise PasswordRejected unless `password` is long enough and not among the common ones."""
    if len(password) < MIN_PASSWORD:
        raise errors.PasswordRejected(f"A password needs at least {MIN_PASSWORD} characters.")
    if len(password) > MAX_PASSWORD:
        raise errors.PasswordRejected(f"A password can have at most {MAX_PASSWORD} characters.")
    folded = unicodedata.normalize("NFKC", password).casefold()
    if len(set(folded)) < 4 or folded in _common_passwords() or folded == fold_username(username):
        raise errors.PasswordRejected


def _common_passwords() -> dict[str, int]:
    # Half a megabyte of words that only a new password needs.
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # noqa: PLC0415

    passwords: dict[str, int] = FREQUENCY_LISTS["passwords"]
    return passwords


def check_repeated(password: str, again: str) -> None:
    """Raise PasswordRejected for a slip that would lock its writer out."""
    if password != again:
        raise errors.PasswordRejected(
            "The two passwords don't match.", suggestions=("Type the same password twice.",)
        )
