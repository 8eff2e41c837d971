"""Usernames: which are permitted, the folded spelling that is stored, and names that look alike."""

from __future__ import annotations

import re
import unicodedata

from sqlmodel import Session, select

from core import errors
from core.common.text import has_too_many_marks, storable_text
from core.database.models import User

USERNAME_LENGTH = range(2, 65)
# Unicode categories: letters, numbers, and the combining marks that many scripts need.
_CATEGORIES = ("L", "M", "N")
_PUNCTUATION = "_.@+-"
# Unicode's Default_Ignorable_Code_Point: invisible characters, with which two names could look the same.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)
# Scripts that people mix in one word: the "highly restrictive" level of Unicode's UTS 39.
_MIXABLE_SCRIPTS = (
    frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "CJK", "HANGUL"}),
    frozenset({"LATIN", "CJK", "BOPOMOFO"}),
)
# A letter's script is the first word of its Unicode name, unless that is one of these words.
_NOT_A_SCRIPT = ("MODIFIER", "COMBINING", "IDEOGRAPHIC", "KATAKANA-HIRAGANA", "VERTICAL")
_WORD_BREAK = re.compile(r"[_.@+-]+")
# Letters that look like Latin ones: lower case, then upper case, script by script.
_LOOKALIKES = (
    # Cyrillic
    ("аавсԁеһіјкӏмпоԛрѕтиѵԝхугь", "aabcdehijklmnoqpstuvwxyrb"),
    ("АВСЕҺНІЈКМОРԚЅТѴԜХУҮ", "abcehhijkmopqstvwxyy"),
    # Greek
    ("αβεγηικνορτυχωϳ", "abeynikvoptuxwj"),
    ("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "abezhikmnoptyx"),
    # Armenian
    ("օսոհցյզ", "ounhgjq"),
    ("ՏՕՍԼ", "soul"),
    # Cherokee, whose lower case folds to the upper case
    ("ᎪᏴᏟᎠᎬᏀᎻᏌᎫᏦᏞᎷᏢᎡᏚᎢᏙᎳᎩᏃ", "abcdeghujklmprstvwyz"),
)
_LATIN_LOOKALIKE = {
    ord(letter): latin
    for letters, latin_letters in _LOOKALIKES
    for letter, latin in zip(letters, latin_letters, strict=True)
}


def fold_username(name: str) -> str:
    """The spelling under which a name is stored and looked up. Folding it again changes nothing.

    Returns an empty string, which is nobody's name, for a run of combining marks that no real name has.
    """
    if has_too_many_marks(name):
        return ""
    folded = unicodedata.normalize("NFKC", storable_text(name)).casefold()
    return unicodedata.normalize("NFKC", folded).casefold().strip()


def check_username(name: str) -> str:
    """Return the folded name.

    Raises UsernameRejected for a character or length that isn't permitted, and for a word in mixed scripts.
    """
    if found := _INVISIBLE.search(name):
        raise errors.UsernameRejected(f"This username has an invisible character: U+{ord(found[0]):04X}.")
    folded = fold_username(name)
    permitted = all(
        unicodedata.category(character)[0] in _CATEGORIES or character in _PUNCTUATION for character in folded
    )
    if len(folded) not in USERNAME_LENGTH or not permitted or not (folded[0].isalnum() or folded[0] == "_"):
        raise errors.UsernameRejected
    if mixes_scripts(folded):
        raise errors.UsernameRejected(
            "This username mixes scripts within a word.", suggestions=("Write each word in one script.",)
        )
    return folded


def check_free(session: Session, folded: str) -> None:
    """Raise UsernameTaken if a user, also a withdrawn one, has this name or one that looks like it."""
    for username in session.exec(select(User.username)):
        if username == folded:
            raise errors.UsernameTaken
        if look_alike(username, folded):
            raise errors.UsernameTaken("This username looks like one that is taken.")


def mixes_scripts(name: str) -> bool:
    """Whether a word of the name has letters of scripts that people don't mix."""
    return any(not _may_be_mixed(_scripts(word)) for word in _WORD_BREAK.split(name))


def _may_be_mixed(scripts: frozenset[str]) -> bool:
    return len(scripts) < 2 or any(scripts <= mixable for mixable in _MIXABLE_SCRIPTS)


def _scripts(word: str) -> frozenset[str]:
    """The scripts of a word's letters. Marks and digits belong to every script."""
    names = (
        unicodedata.name(character, "") for character in word if unicodedata.category(character)[0] == "L"
    )
    return frozenset(first for name in names if (first := name.partition(" ")[0]) not in _NOT_A_SCRIPT)


def look_alike(name: str, other: str) -> bool:
    """Whether two folded names look the same, in lower case or in upper case."""
    if name.isascii() and other.isascii():
        return name == other
    return any(mine == theirs for mine, theirs in zip(_skeletons(name), _skeletons(other), strict=True))


def _skeletons(name: str) -> tuple[str, str]:
    """The name in lower and in upper case, each with the Latin letters that its letters look like."""
    lower, upper = (
        unicodedata.normalize("NFD", text).translate(_LATIN_LOOKALIKE) for text in (name, name.upper())
    )
    return lower.casefold(), upper.casefold()
