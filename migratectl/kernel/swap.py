"""
Who gets the last swap slots in a migration.

A page that moves gives its slot back at step 18, one that backs out keeps it (semantics.md 1.7, 2.6, B9): so free
slots rise and fall within a pass, and pages can find none on several stretches of a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from migratectl.runs import Run

What = Literal["keep", "give", "return"]
"""
A page takes a slot and keeps it, if it has none yet; one gives back the slot of its swap entry; one gives back what it
took before.
"""

Event = tuple[int, int, What, int]
"""(pass, address, what, swap area of a page that gives its slot back or 0)."""


@dataclass(frozen=True, slots=True)
class SlotPlan:
    """
    How the slots were given out.

    Attributes:
        dry: Stretches [(pass, address), (pass, address)) in which a page that needs a slot finds none.
        kept: (pass, address, area) of each page that got a slot and had it beyond its turn.
        area: The swap area that serves all pages where its slots cannot run out; ``dry`` and ``kept`` are empty then.
    """

    dry: tuple[tuple[tuple[int, int], tuple[int, int] | None], ...] = ()
    kept: tuple[tuple[int, int, int], ...] = ()
    area: int | None = None


def slot_events(runs: Iterable[tuple[int, Run, What, int]]) -> list[Event]:
    """The pages of *runs* (pass, run, what, area), one event each, in (pass, address) order."""
    return sorted(
        (nr_pass, address, what, area)
        for nr_pass, run, what, area in runs
        for address in range(run.start, run.last + 1, run.step)
    )


def plan_slots(events: Sequence[Event], free: Sequence[tuple[int, int]]) -> SlotPlan:
    """
    Walk the pages that change the number of free slots.

    Args:
        events: In (pass, address) order.
        free: (area, free slots) in the order in which areas are used.

    Returns:
        Where no slot was free, and who got which.

    Source:
        get_swap_page() and add_to_swap(); semantics.md 1.7.
    """
    left = dict(free)
    kept: dict[int, tuple[int, int, int]] = {}
    dry: list[tuple[tuple[int, int], tuple[int, int] | None]] = []
    dry_from = None if any(left.values()) else (0, 0)
    for nr_pass, address, what, area in events:
        if what == "keep" and address not in kept:
            taken = next((name for name, nr in left.items() if nr > 0), None)
            if taken is not None:
                left[taken] -= 1
                kept[address] = nr_pass, address, taken
                dry_from = None if any(left.values()) else (nr_pass, address + 1)
        elif what == "give" or (what == "return" and address in kept):
            left[area if what == "give" else kept[address][2]] += 1
            if dry_from is not None:
                dry.append((dry_from, (nr_pass, address)))
                dry_from = None
    if dry_from is not None:
        dry.append((dry_from, None))
    return SlotPlan(tuple(dry), tuple(kept.values()))
