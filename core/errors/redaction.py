"""Removes from text what must not be shown: secrets, and Python's names for objects in memory."""

from __future__ import annotations

import re

# `scrub` searches each run of these characters separately, so that it takes linear time.
_RUN = re.compile(r"[\w*.…•-]{6,}")
# No key is longer than this.
_MAX_KEY_LENGTH = 400
_SECRET_MARK = re.compile(r"sk-|atl_|\*{4}", re.IGNORECASE)
_BEARER = re.compile(r"(?<=Bearer)\s+\S+", re.IGNORECASE)
_SECRETS = re.compile(
    r"""
    (?<![^\W\d_]) sk-[\w*.…•-]{4,}                       # a key, whole or masked
    | sk- (?= [\w*.…•-]* (?: \*\* | • | (?:…|\.\.)\w       # after a letter, as in "task-force": masked,
          | (?=\w*[a-z]) (?=\w*\d) \w{16} )               #   long and of letters and digits,
          | (?:proj|svcacct|admin|ant|or)- ) [\w*.…•-]{4,}  #   or of a known kind
    | [\w-]{2,} (?: \*{4,} [\w-]* )+                       # another service's key, masked
    | atl_[\w-]{8,}
    """,
    re.IGNORECASE | re.VERBOSE,
)
_PASSWORD_IN_URL = re.compile(r"(?<=://)[^\s/]+(?=@)")
_AWS_KEY = re.compile(r"(?:AKIA|ASIA)[A-Z0-9]{12,}")
# Names of secrets in links, cookies, forms and connection strings, as `name=value` and in JSON.
_NAMED = re.compile(
    r"""
    (?P<name> (?:invite|reset|ticket|share|token|password|passwd|secret|signature|credential|api_?key
        |atelier(?:-[0-9a-f]{8})?|aws_[a-z_]{1,40}key|x-amz-[a-z-]{1,40})
        (?: = | ["']\s?[:=]\s?["'] ) )
    (?!\[secret\]) [^\s&;,"'<>]{4,}
    """,
    re.IGNORECASE | re.VERBOSE,
)

# What Python prints for an object without a text of its own, such as `<_io.BytesIO object at 0x7f…>`.
_ADDRESS = re.compile(r"<(?:[\w.]{1,200}\.)?(\w{1,80})\b[^<>\n]{0,200} at 0x[0-9a-f]{4,16}>", re.IGNORECASE)


def hide_addresses(text: str) -> str:
    """Return `text` with each object that is named by its address in memory replaced by its class's name."""
    return _ADDRESS.sub(r"\1", text) if " at 0x" in text else text


def scrub(text: str) -> str:
    """Return `text` with each API key, token and password replaced by "[secret]".

    Keys that are partly masked, such as `sk-…abcd`, are replaced too.
    """
    text = _PASSWORD_IN_URL.sub("[secret]", _BEARER.sub("[secret]", text))
    text = _AWS_KEY.sub("[secret]", _NAMED.sub(r"\g<name>[secret]", text))
    return _RUN.sub(_scrub_run, text)


def _scrub_run(found: re.Match[str]) -> str:
    run = found[0]
    mark = _SECRET_MARK.search(run)
    if mark is None:
        return run
    # In a longer run of characters, replace everything from the first mark on, because _SECRETS is slow.
    return run[: mark.start()] + "[secret]" if len(run) > _MAX_KEY_LENGTH else _SECRETS.sub("[secret]", run)
