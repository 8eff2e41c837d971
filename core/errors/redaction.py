"""Removes secrets from text: API keys, tokens, passwords and credentials in URLs."""

from __future__ import annotations

import re

# Each run of these signs is looked at once and by itself: a text of any length takes time in proportion.
_RUN = re.compile(r"[\w*.…•-]{6,}")
_LONGEST_RUN = 400
_MARK = re.compile(r"sk-|atl_|\*{4}", re.IGNORECASE)
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
# What links, cookies, forms and connection strings name such a value; as `name=value` and in JSON.
_NAMED = re.compile(
    r"""
    (?P<name> (?:invite|reset|ticket|share|token|password|passwd|secret|signature|credential|api_?key
        |atelier|aws_[a-z_]{1,40}key|x-amz-[a-z-]{1,40})
        (?: = | ["']\s?[:=]\s?["'] ) )
    (?!\[secret\]) [^\s&;,"'<>]{4,}
    """,
    re.IGNORECASE | re.VERBOSE,
)


def scrub(text: str) -> str:
    """`text` without API keys, tokens and passwords; services quote parts of a key in their own messages."""
    text = _PASSWORD_IN_URL.sub("[secret]", _BEARER.sub("[secret]", text))
    text = _AWS_KEY.sub("[secret]", _NAMED.sub(r"\g<name>[secret]", text))
    return _RUN.sub(_scrub_run, text)


def _scrub_run(found: re.Match[str]) -> str:
    run = found[0]
    mark = _MARK.search(run)
    if mark is None:
        return run
    # No key is that long: what surrounds one in such a run is of no use to anybody.
    return run[: mark.start()] + "[secret]" if len(run) > _LONGEST_RUN else _SECRETS.sub("[secret]", run)
