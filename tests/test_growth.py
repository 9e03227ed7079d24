"""An operation costs what it touches: in steps of SQLite's machine, among few and many things that it does not."""

from __future__ import annotations

import pytest

from benchmarks.growth import COMMANDS, OTHERS, measured


@pytest.mark.parametrize("kind", ["rows", *OTHERS])
def test_no_command_costs_more_among_more_of_what_it_does_not_touch(kind: str) -> None:
    """The table of ``python -m benchmarks.growth``, small: a thousand and ten thousand of a kind."""
    grown = [each for each in measured([kind], COMMANDS, large=False) if each.grows]
    assert grown == []
