"""
What becomes of a page that is to move: selection, the passes, the twenty steps.

Models mm/mempolicy.c (which pages are collected) and mm/vmscan.c, mm/rmap.c, fs/buffer.c as Direct Migration V9
leaves them, for one page and one pass at a time. A rule sees the state of one page and answers with what happens; it
knows neither rows nor SQL. ``course`` runs the passes and is asked once for each distinct state of a list.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from migratectl.uapi import MF, NEVER

LAST_PASS: Final = {False: 10, True: 9}
"""Number of the last scan, by whether the profile is ``modern``."""

FIRST_WAITING_PASS: Final = 1
"""V9 waits for writeback from here on."""

FIRST_BLOCKING_PASS: Final = 3
"""The page lock is waited for from here on, and under ``modern`` writeback."""

LAST_STEP_BEFORE_SLOT: Final = 2
"""Step 3 gives an anonymous page its swap entry."""

UNSEEN: Final = "unseen"
"""Answer of skip_reason() for what is not even listed."""


@dataclass(frozen=True, slots=True)
class PageState:
    """
    What the rules read of a page; all pages of a run share it.

    Attributes:
        kind: ``anon``, ``zero``, ``file`` or ``shm``.
        method: The mapping's migratepage method: ``page``, ``buffer``, ``fail`` or ``none``.
        mapcount: Present ptes, over all tasks and mappers outside the state; 1 where nobody asked.
        swapcache: The page has a swap entry.
        lock: Pass from which the page lock can be had; None: it is free.
        writeback: Pass from which writeback is over; None: there is none.
        pin: Pass from which no reference is left that migration does not know; None: there is none.
        area: What kind of area maps it: ``''`` or the reason why its pages are not looked at, such as ``vma-locked``.
        mlocked: Another mapping of it is in a locked area.
        parked: Off the LRU, in a per-CPU batch.
    """

    kind: str = "anon"
    method: str = "page"
    mapcount: int = 1
    swapcache: bool = False
    lock: int | None = None
    writeback: int | None = None
    pin: int | None = None
    area: str = ""
    mlocked: bool = False
    parked: bool = False


def page_count(mapcount: int, *, cached: bool, buffers: bool = False, isolated: bool = False, extra: int = 0) -> int:
    """
    References on a page: a pte each, the tree, the buffer ring, isolation, and everybody else.

    Source:
        semantics.md 1.6.
    """
    return mapcount + cached + buffers + isolated + extra


def skip_reason(state: PageState, flags: MF, *, modern: bool) -> str | None:
    """
    Why a present page on a source node is no candidate; None for a candidate.

    Args:
        state: The page.
        flags: MOVE takes pages mapped once, MOVE_ALL all; STRICT opens closed areas, but for huge ones.
        modern: Locked areas are looked into.

    Returns:
        A word of cli.md's ``skips[].reason``; UNSEEN for a zero page of an area that is not looked into.

    Source:
        check_range(), migrate_page_add() and isolate_lru_page() (semantics.md 2.1, B5, B6, B20, B30).
    """
    closed = area_closed(state, modern=modern)
    if state.kind == "zero":
        return UNSEEN if closed else "reserved-page"
    if closed:
        return None if flags & MF.STRICT and state.area != "vma-hugetlb" else state.area
    if not flags & MF.MOVE_ALL and state.mapcount != 1:
        return "shared"
    return "off-lru" if state.parked else None


def area_closed(state: PageState, *, modern: bool) -> bool:
    """Whether the area that maps a page is one whose pages do not move; today's kernel moves those of locked ones."""
    return bool(state.area) and not (modern and state.area == "vma-locked")


@dataclass(frozen=True, slots=True)
class Attempt:
    """
    What one pass does to a page.

    Attributes:
        outcome: ``moved``, ``retry`` or ``failed``.
        reason: Why it stayed, a word of cli.md's ``failures[].reason``; empty when it moved.
        errno: Its errno name.
        step: The last step of the documentation's twenty that was reached; 0: the page was not even looked at.
        swap_entry: Step 3 has been done: an anonymous page owns a swap entry.
    """

    outcome: str
    reason: str = ""
    errno: str = ""
    step: int = 20
    swap_entry: bool = False


def lock_page(state: PageState, nr_pass: int) -> bool:
    """
    Whether the page lock is had in this pass: tried in passes 0 to 2, waited for from 3 on.

    A holder that lets go in some pass is waited for; one that never does would hang the kernel, so the page counts
    as busy instead.

    Source:
        migrate_pages(), Direct Migration V9, 2/5; semantics.md 2.2 c, 2.7.
    """
    return _over(state.lock, nr_pass, waiting=nr_pass >= FIRST_BLOCKING_PASS)


def writeback_over(state: PageState, nr_pass: int, *, modern: bool = False) -> bool:
    """
    Whether writeback does not stand in the way in this pass: not waited for in pass 0, waited for later.

    Source:
        migrate_pages(), Direct Migration V9, 2/5; semantics.md 2.2 d, 2.7. Today's kernel waits from pass 3 on.
    """
    return _over(state.writeback, nr_pass, waiting=nr_pass >= (FIRST_BLOCKING_PASS if modern else FIRST_WAITING_PASS))


def _over(release: int | None, nr_pass: int, *, waiting: bool) -> bool:
    return release is None or nr_pass >= release or (waiting and release < NEVER)


class Over(NamedTuple):
    """For each kind of hold the highest release pass that a pass brings about."""

    lock: int
    writeback: int
    pin: int


def holds_over(nr_pass: int, *, modern: bool) -> Over:
    """
    Which holds on a page are over once a migration has looked at it in *nr_pass*.

    Those whose pass has come, and the locks and writeback that are waited for in that pass.

    Source:
        semantics.md 2.7, 9a.
    """
    waited = NEVER - 1
    wait_writeback = FIRST_BLOCKING_PASS if modern else FIRST_WAITING_PASS
    return Over(
        lock=waited if nr_pass >= FIRST_BLOCKING_PASS else nr_pass,
        writeback=waited if nr_pass >= wait_writeback else nr_pass,
        pin=nr_pass,
    )


def migrate_page_remove_references(state: PageState, nr_pass: int, nr_refs: int) -> Attempt:
    """
    Decide whether a page lets go of everything that refers to it.

    Args:
        state: One locked page that has its swap entry, isolation reference included.
        nr_pass: The pass.
        nr_refs: References a movable page has besides its ptes: 2, with buffers 3.

    Returns:
        ``moved`` when the target takes its place (steps 5 to 18), else the back-out. The test for other references
        comes before the one for locked mappings, and both before the first pte goes.

    Source:
        migrate_page_remove_references(), Direct Migration V9, 2/5, with try_to_unmap(page, 1) of the thread and B8
        of semantics.md (a locked mapping is permanent).
    """
    extra = 0 if _over(state.pin, nr_pass, waiting=False) else 1
    count = page_count(state.mapcount, cached=True, buffers=nr_refs > 2, isolated=True, extra=extra)
    if state.mapcount + nr_refs != count:
        return Attempt("retry", "pinned", "EAGAIN", step=7, swap_entry=state.kind == "anon")
    if state.mlocked:
        return Attempt("failed", "mlocked", "EPERM", step=5, swap_entry=state.kind == "anon")
    return Attempt("moved")


def attempt(state: PageState, nr_pass: int, *, slot: bool = True) -> Attempt:
    """
    One page in one pass of V9's migrate_pages().

    Args:
        state: The isolated page as this pass finds it.
        nr_pass: 0 to 10.
        slot: Whether a swap slot is free.

    Returns:
        What happens, and what stays behind when it is not a move.

    Source:
        migrate_pages(), Direct Migration V9, 2/5 and 5/5; semantics.md 2.2, 2.3.
    """
    if area_closed(state, modern=False):  # only STRICT collects it (B6)
        return Attempt("failed", "mlocked", "EPERM", step=0)
    if not lock_page(state, nr_pass):
        return Attempt("retry", "busy-locked", "EAGAIN", step=1)
    if not writeback_over(state, nr_pass):
        return Attempt("retry", "busy-writeback", "EAGAIN", step=2)
    if state.kind == "anon" and not (state.swapcache or slot):
        return Attempt("failed", "no-swap", "ENOMEM", step=3)
    if state.method == "fail":
        return Attempt("failed", "fs-refuses", "EIO", step=5)
    return migrate_page_remove_references(state, nr_pass, nr_refs=2)


def attempt_modern(state: PageState, nr_pass: int) -> Attempt:
    """
    One page in one pass of a 6.x kernel: no swap entry, locked areas are no obstacle, nothing stays behind.

    Source:
        modern-kernel rules: writeback and locks are waited for from pass 3 on, an extra reference is retried.
    """
    if area_closed(state, modern=True):
        return Attempt("failed", "mlocked", "EPERM", step=0)
    if not lock_page(state, nr_pass):
        return Attempt("retry", "busy-locked", "EAGAIN", step=1)
    if not writeback_over(state, nr_pass, modern=True):
        return Attempt("retry", "busy-writeback", "EAGAIN", step=2)
    if state.method == "fail":
        return Attempt("failed", "fs-refuses", "EIO", step=5)
    found = migrate_page_remove_references(replace(state, mlocked=False), nr_pass, nr_refs=2)
    return replace(found, swap_entry=False)


@dataclass(frozen=True, slots=True)
class Course:
    """
    The way of a page through all passes, targets and slots provided.

    Attributes:
        act: The first pass that gets the page lock and writeback out of the way (where a slot is asked for);
            None where no pass does.
        end: The pass in which it moves or fails for good; None for a page that is retried to the end.
        last: What that pass, or the last one, does.
    """

    act: int | None
    end: int | None
    last: Attempt

    @property
    def moves(self) -> bool:
        """Whether the page moves."""
        return self.last.outcome == "moved"

    @property
    def stuck(self) -> bool:
        """Whether the page is retried until the passes are over."""
        return self.end is None


def course(state: PageState, *, modern: bool, slot: bool = True) -> Course:
    """
    Run a page through the passes.

    Args:
        state: The isolated page.
        modern: Ten passes of a 6.x kernel instead of V9's eleven.
        slot: Whether a swap slot is free when it is asked for.

    Returns:
        The course; a failure for good ends it at once, a retry goes on with the next pass.

    Source:
        migrate_pages(), Direct Migration V9, 2/5: the counter is tested before it is increased, hence 1 + 10 scans.
    """
    act = None
    result = Attempt("retry")
    for nr_pass in range(LAST_PASS[modern] + 1):
        result = attempt_modern(state, nr_pass) if modern else attempt(state, nr_pass, slot=slot)
        if act is None and (result.outcome == "moved" or result.step > LAST_STEP_BEFORE_SLOT):
            act = nr_pass
        if result.outcome != "retry":
            return Course(act, nr_pass, result)
    return Course(act, None, result)
