"""
What others see while a page is being moved: the table of semantics.md 5.

An observer that finds the old page before step 6 holds a reference on it, so the count test backs the migration out;
from step 6 to 12 it spins on the tree lock, from 13 on it finds the target and sleeps on its lock until step 19. Those
who looked a swap entry up look again then (patch 1).
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from migratectl.kernel.migrate import Course
from migratectl.kernel.page import Attempt
from migratectl.kernel.rules import Rules

Observer = Literal["swap", "file", "pin", "fork", "reclaim", "other"]
"""
Who looks: a lookup of a swap entry (fault, tmpfs, swapoff), one in a file's tree (fault, read, truncate), a reference
through a live pte, a fork, reclaim, anybody who needs none of it.
"""

LAST_STEP_THAT_BACKS_OUT: Final = 5
TREE_LOCK: Final = range(6, 13)
RESTORES_PTES: Final = 18
UNLOCKED: Final = 20


class Meeting(NamedTuple):
    """
    How an observer fares.

    Attributes:
        blocked_on: ``page-lock``, ``tree-lock`` or None.
        backed_out: The migration gives way in this pass, the observer goes first.
        retries: How often it looks the page up again.
        waits: It goes on once the page is unlocked.
    """

    blocked_on: str | None
    backed_out: bool
    retries: int
    waits: bool


def meet(observer: Observer, step: int, rules: Rules) -> Meeting:
    """
    What becomes of an observer and of the migration when they meet at a step.

    Args:
        observer: Who looks.
        step: 1 to 20.
        rules: Those of the list; a 6.x kernel's migration entries are waited for without a reference.

    Source:
        do_swap_page(), shmem_getpage() and try_to_unuse() with the checks of Direct Migration V9, 1/5; semantics.md 5.
    """
    if observer in ("reclaim", "other") or step >= UNLOCKED:
        return Meeting(None, backed_out=False, retries=0, waits=step >= UNLOCKED)
    if observer == "fork":
        return Meeting(None, backed_out=False, retries=0, waits=step >= RESTORES_PTES)
    early = step <= LAST_STEP_THAT_BACKS_OUT
    if observer == "swap" and rules.today and step >= LAST_STEP_THAT_BACKS_OUT:
        return Meeting("page-lock", backed_out=False, retries=0, waits=True)
    blocked = "tree-lock" if step in TREE_LOCK else "page-lock"
    if observer == "pin" and step < LAST_STEP_THAT_BACKS_OUT:
        return Meeting(None, backed_out=True, retries=0, waits=False)
    return Meeting(blocked, backed_out=early, retries=int(not early and observer == "swap"), waits=not early)


def reaches(way: Course, step: int) -> int | None:
    """The first pass in which a page gets as far as a step; None where none does."""
    for nr_pass, attempt in enumerate(way.attempts):
        if step <= _reached(attempt):
            return nr_pass
    return None


def _reached(attempt: Attempt) -> int:
    """The last step that a pass did: the first count test comes before step 5."""
    if attempt.outcome == "moved":
        return UNLOCKED
    if attempt.left.unmapped or attempt.outcome == "evicted":
        return LAST_STEP_THAT_BACKS_OUT
    return min(attempt.step, LAST_STEP_THAT_BACKS_OUT) - 1
