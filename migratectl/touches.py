"""What a command touches, as its own words tell it: all that a race has to know of it to find the page it meets."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from migratectl.spans import Address, Size, Span


class Manner(enum.Flag):
    """What a command does to the pages and the address space that it is about; several may go together."""

    PLAIN = 0
    """Takes what it finds: it waits for no page."""

    TOUCHES = enum.auto()
    """Faults each page of its range in, and looks up those that are not mapped."""

    PINS = enum.auto()
    """The same, to keep a reference on each page."""

    ISOLATES = enum.auto()
    """Takes pages off the LRU itself: it passes over those that are off it already."""

    FORKS = enum.auto()
    """Copies the ptes of the address space."""

    WRITES = enum.auto()
    """Changes the areas of the address space: it waits for a call that has it."""

    EXITS = enum.auto()
    """Lets the address space go, which is torn down when no call has it any more."""


WHOLE_FILE: Final = (None, Size(0))
"""The part of a file that is all of it: to the end, from its start."""


@dataclass(frozen=True, slots=True)
class Touches:
    """
    What a command is about: a task, a file or a swap area; none of them where it names no pages at all.

    Attributes:
        pid: The task whose address space it goes through, whether there is such a task or not.
        spans: The ranges of that address space, or the addresses of single pages; none is all of it.
        file: The file or segment that it works on.
        part: Length, None to the end, and offset of the part of that file.
        swap_area: The swap area that it empties.
        manner: What it does to them.
    """

    pid: int | None = None
    spans: tuple[Span | Address, ...] = ()
    file: str | None = None
    part: tuple[Size | None, Size] = WHOLE_FILE
    swap_area: str | None = None
    manner: Manner = Manner.PLAIN
