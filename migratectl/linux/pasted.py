"""Texts of /proc as people hand them on: from a mail, from grep, from another system; what they added is taken off."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from migratectl.errors import InputFileError


class Addition(NamedTuple):
    """
    What is added to the lines of a text.

    Args:
        what: What it is, as messages say it.
        pattern: Matches it, with the line's own text behind it.
    """

    what: str
    pattern: re.Pattern[str]


GREP: Final = "the name of a file in front, as from grep"

AROUND: Final[Sequence[Addition]] = (
    Addition("a byte order mark in front", re.compile("\ufeff(.*)")),
    Addition("CR before the newline, as in a file of Windows", re.compile(r"(.*?)\r+")),
    Addition("'>' in front, as in a quoted mail", re.compile(r"[ \t]*(?:>[ \t]?)+(.*)")),
)
"""What any text can have around its lines, in the order in which it is taken off; the whole of a line must match."""

ADDITIONS: Final[Sequence[Addition]] = (
    *AROUND,
    Addition(GREP, re.compile(r"(?:[^\s:]+:){1,2}([ \t]*[0-9a-f]+[ -].*)")),
    Addition("blanks in front", re.compile(r"[ \t]+(.*)")),
)
"""What numa_maps and maps can have, whose lines begin with an address."""


def clean(
    text: str, source: str, *, strict: bool = False, additions: Sequence[Addition] = ADDITIONS
) -> tuple[str, list[str]]:
    """
    Take off what was added in front and behind the lines of a text.

    Args:
        text: The whole text.
        source: Its name, for messages.
        strict: Refuse what was added.
        additions: What can have been added, in the order in which it is taken off.

    Returns:
        The text, line by line; and one sentence for each addition.

    Raises:
        InputFileError: *strict*, and something was added; or lines are of several files. Names the line.
    """
    first: dict[str, int] = {}
    names: set[str] = set()
    lines = []
    for number, line in enumerate(text.split("\n"), 1):
        own, found = _taken_off(line, additions)
        for what, added in found:
            if strict:
                raise InputFileError(f"{source}: line {number}: {what}; leave out --strict to have it taken off")
            first.setdefault(what, number)
            if what == GREP:
                names.add(_file_of(added))
        if len(names) > 1:
            raise InputFileError(
                f"{source}: line {number}: of another file than those above, as from grep; give one file a process"
            )
        lines.append(own)
    return "\n".join(lines), [f"{source}: line {number}: {what}: taken off" for what, number in first.items()]


def _taken_off(line: str, additions: Sequence[Addition]) -> tuple[str, list[tuple[str, str]]]:
    """A line as it was, and what was added to it: what that is, and its text."""
    found = []
    own = line
    for what, pattern in additions:
        match = pattern.fullmatch(own)
        if match:
            found.append((what, own[: match.start(1)]))
            own = match[1]
    return own, found


def _file_of(prefix: str) -> str:
    """The file that grep names; it may have put the number of the line behind it, or alone."""
    name = prefix.strip().partition(":")[0]
    return "" if name.isdigit() else name
