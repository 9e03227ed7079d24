"""What a pass of a migration does to a page."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from migratectl.page_state import PageState

LAST_PASS: Final = 10
"""Number of V9's last scan: the counter is tested before it is increased, hence 1 + 10 scans."""

LAST_PASS_TODAY: Final = 9
"""That of a 6.x kernel."""

FIRST_WAITING_PASS: Final = 1
"""V9 waits for writeback from here on."""

FIRST_EVICTING_PASS: Final = 5
"""swap_page() is tried from here on where the buffers of a mapping without a method cannot be dropped."""

FIRST_BLOCKING_PASS: Final = 3
"""The page lock is waited for from here on, and under ``modern`` writeback."""


def page_count(mapcount: int, *, cached: bool, buffers: bool = False, isolated: bool = False, extra: int = 0) -> int:
    """
    References on a page: a pte each, the tree, the buffer ring, isolation, and everybody else.

    Source:
        semantics.md 1.6.
    """
    return mapcount + cached + buffers + isolated + extra


class Left(NamedTuple):
    """
    What a pass leaves behind although the page stays, or besides its move.

    Attributes:
        unmapped: Its ptes are gone; anonymous ones are swap ptes.
        cleaned: It was written: neither page nor ring is dirty any more.
        released: Its ring is dropped.
        stored: A tmpfs page went to the swap cache: it owns a slot until its next fault.
        partly: The ptes before the first one of a locked area are gone (``v9-posted``, B8).
        aged: Passes whose calls stopped at ten young ptes each: those before the last of them are gone, and that one
            is young no more (``v9-posted``, B28).
    """

    unmapped: bool = False
    cleaned: bool = False
    released: bool = False
    stored: bool = False
    partly: bool = False
    aged: int = 0

    def plus(self, later: Left) -> Left:
        """What this pass and a later one leave behind together."""
        return Left(
            self.unmapped or later.unmapped,
            self.cleaned or later.cleaned,
            self.released or later.released,
            self.stored or later.stored,
            self.partly or later.partly,
            self.aged + later.aged,
        )


@dataclass(frozen=True, slots=True)
class Attempt:
    """
    What one pass does to a page.

    Attributes:
        outcome: ``moved``, ``retry``, ``failed``, ``evicted`` (only its content is left, on disk or in swap) or
            ``vanished`` (nobody but the migration had it any more).
        reason: Why it stayed, a word of cli.md's ``failures[].reason``; empty when it is done with.
        errno: Its errno name.
        step: The last step of the documentation's twenty that was reached; 0: the page was not even looked at.
        swap_entry: Step 3 has been done: an anonymous page owns a swap entry.
        left: What is left behind.
    """

    outcome: str
    reason: str = ""
    errno: str = ""
    step: int = 20
    swap_entry: bool = False
    left: Left = field(default=Left())

    @property
    def done(self) -> bool:
        """Whether the page is no longer anybody's problem."""
        return self.outcome in ("moved", "evicted", "vanished")


def ptes_taken(aged: int) -> int:
    """How many ptes a pass takes that stops at ten young ones: it comes by the one that the pass before made old."""
    return 9 if aged == 1 else 10


def carried(state: PageState, attempt: Attempt) -> PageState:
    """The state in which the next pass finds the page."""
    left = attempt.left
    entered = attempt.swap_entry and not state.swapcache  # add_to_swap() makes the page dirty
    inherited = (left.unmapped or left.partly or left.aged > 0) and state.dropped_dirty
    taken = ptes_taken(left.aged) if left.aged and attempt.reason == "unmap-incomplete" else 0
    ring = state.ring
    if ring is not None and left.cleaned:
        ring = replace(ring, dirty=False)
    return replace(
        state,
        swapcache=state.swapcache or attempt.swap_entry or left.stored,
        dirty=(state.dirty or entered or inherited) and not left.cleaned,
        mapcount=0 if left.unmapped else state.mapcount - taken,
        mlocked=state.mlocked and not left.unmapped,
        dropped_dirty=state.dropped_dirty and not inherited,
        young=0 if left.unmapped else state.young - 10 * (taken > 0),
        ring=None if left.released else ring,
    )
