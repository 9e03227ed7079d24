"""Lines are split as shlex splits them, and a long one in time that grows with its length."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migratectl.cli.words import split_words

LINES = st.text(st.sampled_from("ab'\"\\ \t\n\u00a0#="), max_size=20)


@given(text=LINES)
def test_words_are_those_of_the_standard_library(text: str) -> None:
    try:
        expected = shlex.split(text)
    except ValueError as error:
        with pytest.raises(ValueError, match=str(error)):
            split_words(text)
    else:
        assert split_words(text) == expected


@pytest.mark.parametrize("text", ["x" * 2_000_000, "'" + "x" * 2_000_000 + "'", "a'b' " * 400_000, "\\x" * 1_000_000])
def test_a_long_line_is_split(text: str) -> None:
    """With the square of its length this would take hours."""
    assert sum(map(len, split_words(text))) in (2_000_000, 800_000, 1_000_000)
