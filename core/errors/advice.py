"""Words the suggestions of an error for an administrator, whom they would otherwise send to themselves."""

from __future__ import annotations

import re

_ASK = r"\bask (?:your administrator )?"
# The first pattern of a pair is replaced by the second, in this order.
_WORDINGS = (
    (r"^ask your administrator\.$", "reload the page and look whether this is still so."),
    (r"\bgive your administrator the code\.", "look for the code in the log."),
    (r"\btell your administrator\.", "look for the reason in the log."),
    (r"\bkept for your administrator\.", "kept in the image store."),
    (_ASK + r"to ", ""),
    (_ASK + r"whether ", "check whether "),
    (_ASK + r"(which|what) ", r"find out \1 "),
    (r"\bask your administrator about ", "look for "),
    (r"\bask your administrator for ", "set up "),
    (r", (and|or) to ", r", \1 "),
)


def for_administrator(tip: str) -> str:
    """Return the suggestion `tip`, worded for the person whom "your administrator" means.

    For example, "Ask your administrator to check the database." becomes "Check the database.".
    """
    if not re.search(r"\bask\b|administrator", tip, re.IGNORECASE):
        return tip
    for pattern, wording in _WORDINGS:
        tip = re.sub(pattern, wording, tip, flags=re.IGNORECASE)
    return tip[:1].upper() + tip[1:]
