"""Usernames: their form, their folded spelling, and names that look like each other."""

from __future__ import annotations

import re
import unicodedata

from sqlmodel import Session, select

from core import errors
from core.common.text import has_too_many_marks, storable_text
from core.database.models import User

USERNAME_LENGTH = range(2, 65)
# Letters, digits and the marks that many scripts write on them.
_USERNAME_KINDS = ("L", "M", "N")
_USERNAME_SIGNS = "_.@+-"
# Unicode's Default_Ignorable_Code_Point: nothing is drawn for them, so two names could look the same.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)
# As Unicode's UTS 39 has them for its "highly restrictive" level: scripts that people do write in one word.
_TOGETHER = (
    frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "CJK", "HANGUL"}),
    frozenset({"LATIN", "CJK", "BOPOMOFO"}),
)
# The first words of such characters' names that name no script, or not all of it.
_NO_SCRIPT = ("MODIFIER", "COMBINING", "IDEOGRAPHIC", "KATAKANA-HIRAGANA", "VERTICAL")
_WORDS = re.compile(r"[_.@+-]+")
# What is drawn like a Latin letter, small and large, by script.
_SAME = (
    # Cyrillic
    ("аавсԁеһіјкӏмпоԛрѕтиѵԝхугь", "aabcdehijklmnoqpstuvwxyrb"),
    ("АВСЕҺНІЈКМОРԚЅТѴԜХУҮ", "abcehhijkmopqstvwxyy"),
    # Greek
    ("αβεγηικνορτυχωϳ", "abeynikvoptuxwj"),
    ("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "abezhikmnoptyx"),
    # Armenian
    ("օսոհցյզ", "ounhgjq"),
    ("ՏՕՍԼ", "soul"),
    # Cherokee, whose small letters fold to the large ones
    ("ᎪᏴᏟᎠᎬᏀᎻᏌᎫᏦᏞᎷᏢᎡᏚᎢᏙᎳᎩᏃ", "abcdeghujklmprstvwyz"),
)
_DRAWN = {ord(sign): latin for signs, letters in _SAME for sign, latin in zip(signs, letters, strict=True)}


def fold_username(name: str) -> str:
    """The one spelling under which a name is stored and looked up; folding it again changes nothing.

    '', which is nobody's, for more marks on a letter than any name has.
    """
    if has_too_many_marks(name):
        return ""
    folded = unicodedata.normalize("NFKC", storable_text(name)).casefold()
    return unicodedata.normalize("NFKC", folded).casefold().strip()


def check_username(name: str) -> str:
    """The folded name.

    Raises UsernameRejected when it has other characters or another length, or mixes scripts within a word.
    """
    if unseen := _UNSEEN.search(name):
        raise errors.UsernameRejected(f"This username has an invisible character: U+{ord(unseen[0]):04X}.")
    folded = fold_username(name)
    known = all(
        unicodedata.category(sign)[0] in _USERNAME_KINDS or sign in _USERNAME_SIGNS for sign in folded
    )
    if len(folded) not in USERNAME_LENGTH or not known or not (folded[0].isalnum() or folded[0] == "_"):
        raise errors.UsernameRejected
    if mixes_scripts(folded):
        raise errors.UsernameRejected(
            "This username mixes scripts within a word.", suggestions=("Write each word in one script.",)
        )
    return folded


def check_free(session: Session, folded: str) -> None:
    """Raise UsernameTaken for somebody's name, or one that looks like it. Withdrawn people keep theirs."""
    for username in session.exec(select(User.username)):
        if username == folded:
            raise errors.UsernameTaken
        if look_alike(username, folded):
            raise errors.UsernameTaken("This username looks like one that is taken.")


def mixes_scripts(name: str) -> bool:
    """Whether a word of it has letters of scripts that nobody writes in one word."""
    return any(not _is_written(_scripts(word)) for word in _WORDS.split(name))


def _is_written(scripts: frozenset[str]) -> bool:
    return len(scripts) < 2 or any(scripts <= together for together in _TOGETHER)


def _scripts(word: str) -> frozenset[str]:
    """The scripts of a word's letters; marks and digits are of any."""
    letters = (unicodedata.name(sign, "") for sign in word if unicodedata.category(sign)[0] == "L")
    return frozenset(first for name in letters if (first := name.partition(" ")[0]) not in _NO_SCRIPT)


def look_alike(name: str, other: str) -> bool:
    """Whether two folded names are drawn the same, in small letters or in large ones."""
    if name.isascii() and other.isascii():
        return name == other
    return any(ours == theirs for ours, theirs in zip(_drawn(name), _drawn(other), strict=True))


def _drawn(name: str) -> tuple[str, str]:
    """The name in small and in large letters, each as the Latin letters that it is drawn like."""
    small, large = (unicodedata.normalize("NFD", text).translate(_DRAWN) for text in (name, name.upper()))
    return small.casefold(), large.casefold()
