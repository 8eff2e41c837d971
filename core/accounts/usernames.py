"""Usernames: which names are permitted, how they are normalised, and which names look alike."""

from __future__ import annotations

import re
import unicodedata

from sqlmodel import Session, col, select

from core import errors
from core.common.text import has_too_many_marks, storable_text
from core.database.models import User

USERNAME_LENGTH = range(2, 65)
# Unicode categories: letters, numbers, and the combining marks that many scripts need.
_CATEGORIES = ("L", "M", "N")
_PUNCTUATION = "_.@+-"
# Unicode's Default_Ignorable_Code_Point: invisible characters. Names that differ only in these look the same.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)
# Sets of scripts that may be mixed in one word: the "highly restrictive" level of Unicode's UTS 39.
_MIXABLE_SCRIPTS = (
    frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "CJK", "HANGUL"}),
    frozenset({"LATIN", "CJK", "BOPOMOFO"}),
)
# A letter's script is the first word of its Unicode name, unless that is one of these words.
_NOT_A_SCRIPT = ("MODIFIER", "COMBINING", "IDEOGRAPHIC", "KATAKANA-HIRAGANA", "VERTICAL")
_WORD_BREAK = re.compile(r"[_.@+-]+")
# Letters that look like Latin letters, as pairs: the letters of a script, and the Latin letters that they
# look like. Lower-case letters come first, upper-case letters second.
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
    # Cherokee, whose lower-case letters casefold to upper case
    ("ᎪᏴᏟᎠᎬᏀᎻᏌᎫᏦᏞᎷᏢᎡᏚᎢᏙᎳᎩᏃ", "abcdeghujklmprstvwyz"),
    # The rest is from Unicode's list of confusables (UTS 39), whose licence is in docs/licences.md. Added are
    # most of the small capitals, which that list doesn't count as like Latin letters.
    # Latin, with small capitals
    (
        "ıƍƽǀɑɡɢɣɩɪɯɴʀʋʏʙʜʟᴀᴄᴅᴇᴊᴋᴍᴏᴑᴘᴛᴜᴠᴡᴢᶃᶌẝỿꜱꞙꞟꬲꬵꬽꭇꭈꭎꭒꭚ",
        "igslaggyiiwnruybhlacdejkmooptuvwzgyfysfueforruuy",
    ),
    # Digits
    (
        "۱۵۷०০੦૦୦௦౦೦൦๐໐၀〇𐋵𐌠𐌢𑓐𑣠𑣥𑣦𑣩𑣬𑣯𑣲",
        "lovooooooooooooozlxoozwcxwc",
    ),
    # Other scripts
    (
        (
            "σѡүҽագռքଠഠဝყჿሀዐᎥᎽᏂᏏᏒᏔᏕᏧᏳᐯᑌᑭᑯᑲᒍᒪᕁᕼᕽᖇᖯᖴᗅᗞᗪᗰᗷᚷᛁᛕᛖᴦⲅⲟⲣⲥⴸⴹⵏⵔⵕⵝꓐꓑꓒꓓꓔꓖꓗꓙꓚꓜꓝꓟꓠꓡꓢꓣꓦꓧꓪꓫꓬꓮꓰꓲꓳꓴꙇꛟ𐊂𐊆𐊇𐊊𐊐𐊒𐊕𐊖𐊗𐊠"
            "𐊡𐊢𐊥𐊫𐊰𐊱𐊲𐊴𐋏𐌁𐌂𐌉𐌑𐌕𐌗𐐬𐐽𐑈𐓪𐓶𐔓𐔖𐔘𐔜𐔝𐔥𐔦𐔧𑜆𑜊𑜎𑜏𑣀𑣁𑣂𑣃𑣄𑣈𑣗𑣘𑣜𖼈𖼊𖼖𖼨𖼵𖼺𖽀𖽂𖽃"
        ),
        (
            "owyewqnfoooyouoiyhbrwsdgvupdbjlxhxrbfaddmbxlkmrropcveloqxbpddtgkjczfmnlsrvhwxyaelouivbeflxopsta"
            "bcfomtyxhbclmtxocsounokcvflxvwwwvsfizoouyvtllrsauy"
        ),
    ),
)
_LATIN_LOOKALIKE = {
    ord(letter): latin
    for letters, latin_letters in _LOOKALIKES
    for letter, latin in zip(letters, latin_letters, strict=True)
}


# Characters that look alike within a to z and the digits, as they are displayed: UTS 39 has the same pairs.
_DIGIT_LOOKALIKE = {ord("0"): "o", ord("1"): "l", ord("I"): "l"}
_UPPER_LOOKALIKE = {ord("0"): "O", ord("1"): "I"}
_MAX_SKELETON = 255


def fold_username(name: str) -> str:
    """Return the folded form of `name`, under which a user is stored and looked up.

    Folding normalises the name to NFKC and removes differences of case. Folding a folded name changes
    nothing. Returns "", which is nobody's name, if a letter has more combining marks than any language uses.
    """
    if has_too_many_marks(name):
        return ""
    folded = unicodedata.normalize("NFKC", storable_text(name)).casefold()
    return unicodedata.normalize("NFKC", folded).casefold().strip()


def check_username(name: str) -> str:
    """Return the folded form of a new user's name.

    Raises UsernameRejected if the length or a character isn't permitted, and if a word of the name mixes
    scripts, such as Latin and Cyrillic.
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


def check_free(session: Session, folded: str, displayed: str) -> None:
    """Raise UsernameTaken if a user has the folded name `folded` or a name that looks like it.

    `displayed` is the name as the user has written it. Users whose access was withdrawn keep their names.
    """
    for user in session.exec(select(User)):
        if user.username == folded:
            raise errors.UsernameTaken
        if skeleton(user.display_name) == skeleton(displayed) or look_alike(user.username, folded):
            raise errors.UsernameTaken("This username looks like one that is taken.")


def fill_skeletons(session: Session) -> list[tuple[str, str]]:
    """Set the skeletons of users who have none, from before skeletons were stored.

    Returns the usernames of users who look like an earlier user, each with that user's name. These keep their
    accounts, without a skeleton.
    """
    users = session.exec(select(User).order_by(col(User.created_at), col(User.id))).all()
    holders = {user.skeleton: user.username for user in users if user.skeleton}
    alike = []
    for user in users:
        if user.skeleton is None:
            wanted = skeleton(user.display_name)
            if wanted in holders:
                alike.append((user.username, holders[wanted]))
            else:
                user.skeleton, holders[wanted] = wanted, user.username
    return alike


def skeleton(displayed: str) -> str:
    """Return a form of a displayed name that is equal for names that look alike (UTS 39).

    Punctuation at the ends is left out: it is easily overlooked.
    """
    text = unicodedata.normalize("NFD", displayed).translate(_LATIN_LOOKALIKE).translate(_DIGIT_LOOKALIKE)
    text = text.casefold().replace("rn", "m")
    return (text.strip(_PUNCTUATION) or text)[:_MAX_SKELETON]


def mixes_scripts(name: str) -> bool:
    """Whether a word of `name` mixes scripts that _MIXABLE_SCRIPTS doesn't permit to be mixed."""
    return any(not _may_be_mixed(_scripts(word)) for word in _WORD_BREAK.split(name))


def _may_be_mixed(scripts: frozenset[str]) -> bool:
    return len(scripts) < 2 or any(scripts <= mixable for mixable in _MIXABLE_SCRIPTS)


def _scripts(word: str) -> frozenset[str]:
    """Return the scripts of the letters in `word`, such as "LATIN". Marks and digits are ignored."""
    names = (
        unicodedata.name(character, "") for character in word if unicodedata.category(character)[0] == "L"
    )
    return frozenset(first for name in names if (first := name.partition(" ")[0]) not in _NOT_A_SCRIPT)


def look_alike(name: str, other: str) -> bool:
    """Whether two folded names look the same, such as one in Latin and one in Cyrillic letters.

    Names also look alike if they look the same only when both are written in upper case, and if they differ
    only in digits and letters such as 0 and O.
    """
    return any(mine == theirs for mine, theirs in zip(_skeletons(name), _skeletons(other), strict=True))


def _skeletons(name: str) -> tuple[str, str]:
    """Return two forms of `name` that are equal for names that look alike.

    The first form compares names in lower case, and the second in upper case. In both, letters that look like
    Latin letters are replaced by the Latin letters.
    """
    upper = unicodedata.normalize("NFD", name.upper()).translate(_LATIN_LOOKALIKE).upper()
    return skeleton(name), (upper.strip(_PUNCTUATION) or upper).translate(_UPPER_LOOKALIKE)
