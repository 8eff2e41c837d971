"""What the fuzzers are fed with, and how many inputs each test has tried."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# Of the tests' names.
TRIED: Counter[str] = Counter()
LONG = "long"
SHORT_EXAMPLES = 80
# Far beyond what a pattern that goes back for every sign gets through in an hour.
HUGE = 200_000

Test = Callable[..., None]


def fuzz(*, share: float = 1.0, **strategies: st.SearchStrategy[Any]) -> Callable[[Test], Test]:
    """A test of many inputs: always the same few, or with the profile "long" thousands of new ones.

    A slow test takes a `share` of them.
    """
    profile = settings.default
    assert profile is not None
    is_long = settings.get_current_profile_name() == LONG
    examples = max(int((profile.max_examples if is_long else SHORT_EXAMPLES) * share), 5)

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def counted(*args: Any, **kwargs: Any) -> None:
            TRIED[test.__name__] += 1
            test(*args, **kwargs)

        limits = settings(
            max_examples=examples, derandomize=not is_long, suppress_health_check=list(HealthCheck)
        )
        return limits(given(**strategies)(counted))

    return decorate


# Any character that Python can hold, halves of characters and NULs included.
any_text = st.text(st.characters(exclude_categories=()), max_size=200)


def words_of(*fragments: str) -> st.SearchStrategy[str]:
    """Texts of these fragments in any order, with anything between them."""
    piece = st.one_of(st.sampled_from(fragments), st.text(max_size=5), any_text)
    return st.lists(piece, max_size=12).map("".join)


_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    any_text,
    st.sampled_from(["stop", "length", "content_filter", "error", "image_generation.completed", "9" * 400]),
)


def json_of(*names: str, leaves: st.SearchStrategy[Any] = _LEAVES) -> st.SearchStrategy[Any]:
    """JSON values whose objects have these names more often than others."""
    keys = st.one_of(st.sampled_from(names), st.text(max_size=8)) if names else st.text(max_size=8)
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6),
        max_leaves=20,
    )
