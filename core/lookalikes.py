"""Usernames that look like others: letters of several scripts in a word, and names that read the same."""

from __future__ import annotations

import re
import unicodedata

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
