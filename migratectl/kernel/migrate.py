"""
What becomes of a page that is to move: selection, the passes, the twenty steps.

Models mm/mempolicy.c (which pages are collected) and mm/vmscan.c, mm/rmap.c, fs/buffer.c as Direct Migration V9
leaves them, for one page and one pass at a time. A rule sees the state of one page and answers with what happens; it
knows neither rows nor SQL. ``course`` runs the passes and is asked once for each distinct state of a list.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from migratectl.kernel.page import (
    FIRST_BLOCKING_PASS,
    FIRST_EVICTING_PASS,
    FIRST_WAITING_PASS,
    Attempt,
    Left,
    carried,
    page_count,
)
from migratectl.kernel.posted import remove_references_posted, shared_posted, without_method_posted
from migratectl.kernel.vmscan import pageout, release_ring, swap_page
from migratectl.page_state import PageState, over
from migratectl.uapi import MF, NEVER

LAST_PASS: Final = {False: 10, True: 9}
"""Number of the last scan, by whether the profile is ``modern``."""

LAST_STEP_BEFORE_SLOT: Final = 2
"""Step 3 gives an anonymous page its swap entry."""

UNSEEN: Final = "unseen"
"""Answer of skip_reason() for what is not even listed."""

RemoveReferences = Callable[[PageState, int, int], Attempt]
"""A page in a pass, and the references that it has besides its ptes when nobody else holds one."""


def skip_reason(state: PageState, flags: MF, *, modern: bool, posted: bool = False) -> str | None:
    """
    Why a present page on a source node is no candidate; None for a candidate.

    Args:
        state: The page.
        flags: MOVE takes pages mapped once, MOVE_ALL all; STRICT opens closed areas, but for huge ones.
        modern: Locked areas are looked into.
        posted: MOVE takes shared pages too (B5).

    Returns:
        A word of cli.md's ``skips[].reason``; UNSEEN for a zero page of an area that is not looked into.

    Source:
        check_range(), migrate_page_add() and isolate_lru_page() (semantics.md 2.1, B5, B6, B20, B30).
    """
    closed = area_closed(state, modern=modern)
    opened = bool(flags & MF.STRICT) and state.area != "vma-hugetlb"
    if state.kind == "zero":
        return UNSEEN if closed and not opened else "reserved-page"
    if closed:
        return None if opened else state.area
    if shared_posted(state, flags) if posted else not flags & MF.MOVE_ALL and state.mapcount != 1:
        return "shared"
    return "off-lru" if state.parked else None


def area_closed(state: PageState, *, modern: bool) -> bool:
    """Whether the area that maps a page is one whose pages do not move; today's kernel moves those of locked ones."""
    return bool(state.area) and not (modern and state.area == "vma-locked")


def lock_page(state: PageState, nr_pass: int) -> bool:
    """
    Whether the page lock is had in this pass: tried in passes 0 to 2, waited for from 3 on.

    A holder that lets go in some pass is waited for; one that never does would hang the kernel, so the page counts
    as busy instead.

    Source:
        migrate_pages(), Direct Migration V9, 2/5; semantics.md 2.2 c, 2.7.
    """
    return over(state.lock, nr_pass, waiting=nr_pass >= FIRST_BLOCKING_PASS)


def writeback_over(state: PageState, nr_pass: int, *, modern: bool = False) -> bool:
    """
    Whether writeback does not stand in the way in this pass: not waited for in pass 0, waited for later.

    Source:
        migrate_pages(), Direct Migration V9, 2/5; semantics.md 2.2 d, 2.7. Today's kernel waits from pass 3 on.
    """
    return over(state.writeback, nr_pass, waiting=nr_pass >= (FIRST_BLOCKING_PASS if modern else FIRST_WAITING_PASS))


class Over(NamedTuple):
    """For each kind of hold the highest release pass that a pass brings about; ``ring``: locks of buffers."""

    lock: int
    writeback: int
    pin: int
    ring: int


def holds_over(nr_pass: int, *, modern: bool, method: str = "page") -> Over:
    """
    Which holds on a page are over once a migration has looked at it in *nr_pass*.

    Those whose pass has come, and the locks and writeback that are waited for in that pass; the *method* ``buffer``
    waits for the locks of buffers.

    Source:
        semantics.md 2.7, 9a.
    """
    waited = NEVER - 1
    wait_writeback = FIRST_BLOCKING_PASS if modern else FIRST_WAITING_PASS
    return Over(
        lock=waited if nr_pass >= FIRST_BLOCKING_PASS else nr_pass,
        writeback=waited if nr_pass >= wait_writeback else nr_pass,
        pin=nr_pass,
        ring=waited if method == "buffer" else nr_pass,
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
    entry = state.kind == "anon"
    extra = 1 if state.pinned(nr_pass) else 0
    count = page_count(state.mapcount, cached=True, buffers=state.ring is not None, isolated=True, extra=extra)
    if state.mapcount + nr_refs != count:
        return Attempt("retry", "pinned", "EAGAIN", step=7, swap_entry=entry)
    if state.mlocked:
        return Attempt("failed", "mlocked", "EPERM", step=5, swap_entry=entry)
    return Attempt("moved")


def buffer_migrate_page(state: PageState, nr_pass: int, remove: RemoveReferences) -> Attempt:
    """
    Move a page with the ring of its buffers; each buffer is locked on the way, which waits.

    A buffer that is locked for ever would hang the kernel: the page is busy then, and nothing has been touched.

    Source:
        buffer_migrate_page(), Direct Migration V9, 5/5, with the second amendment of the thread; semantics.md 2.3, 9a.
    """
    if state.ring is None:
        return remove(state, nr_pass, 2)
    if not over(state.ring.locked, nr_pass, waiting=True):
        return Attempt("retry", "busy-locked", "EAGAIN", step=13)
    return remove(state, nr_pass, 3)


def migrate_without_method(state: PageState, nr_pass: int, *, slot: bool, evicts: bool = True) -> Attempt:
    """
    V9's way for a mapping without a method: unmap, write, drop the ring, then move it as migrate_page() does.

    Where the ring cannot be dropped the page is to leave memory, from pass 5 on; not if *evicts* is off.

    Source:
        migrate_pages(), Direct Migration V9, 5/5; semantics.md 2.2 j to n, 2.6; B10 (unmap before the look at dirty).
    """
    if state.mlocked:
        return Attempt("failed", "mlocked", "EPERM", step=5)
    left = Left(unmapped=state.mapcount > 0)
    if state.dirty:
        return pageout(state, nr_pass, left, slot=slot)
    left, backed_out = release_ring(state, nr_pass, left)
    if backed_out is not None:
        last_resort = evicts and nr_pass >= FIRST_EVICTING_PASS
        return swap_page(state, nr_pass, slot=slot, again=True) if last_resort else backed_out
    if state.pinned(nr_pass):
        return Attempt("retry", "pinned", "EAGAIN", step=7, left=left)
    return Attempt("moved", left=left)


def _held_up(state: PageState, nr_pass: int, *, modern: bool) -> Attempt | None:
    """Steps 1 and 2, and what comes before them: why the page is not looked at further in this pass."""
    if area_closed(state, modern=modern):  # only STRICT collects it (B6)
        return Attempt("failed", "mlocked", "EPERM", step=0)
    if state.truncated and state.ring is None and state.pin is None:
        return Attempt("vanished", step=0)
    if not lock_page(state, nr_pass):
        return Attempt("retry", "busy-locked", "EAGAIN", step=1)
    if not writeback_over(state, nr_pass, modern=modern):
        return Attempt("retry", "busy-writeback", "EAGAIN", step=2)
    return None


def attempt(state: PageState, nr_pass: int, *, slot: bool = True, evict: bool = False, posted: bool = False) -> Attempt:
    """
    One page in one pass of V9's migrate_pages().

    Args:
        state: The isolated page as this pass finds it.
        nr_pass: 0 to 10.
        slot: Whether a swap slot is free.
        evict: There is no target list: the page is to leave memory (the swap-only caller).
        posted: With the defects of the patches as posted (B8, B10, B28).

    Returns:
        What happens, and what stays behind when it is not a move.

    Source:
        migrate_pages(), Direct Migration V9, 2/5 and 5/5; semantics.md 2.2, 2.3.
    """
    held_up = _held_up(state, nr_pass, modern=False)
    if held_up is not None:
        return held_up
    if state.kind == "anon" and not (state.swapcache or slot or state.met(nr_pass)):
        return Attempt("failed", "no-swap", "ENOMEM", step=3)
    if evict:
        return swap_page(state, nr_pass, slot=slot)
    if state.truncated:
        return Attempt("retry", "truncated", "EAGAIN", step=9)
    method = "page" if state.swapcache else state.method
    if method == "fail":
        return Attempt("failed", "fs-refuses", "EIO", step=5)
    if method == "none":
        without = without_method_posted if posted else migrate_without_method
        return without(state, nr_pass, slot=slot)
    remove = remove_references_posted if posted else migrate_page_remove_references
    if method == "buffer":
        return buffer_migrate_page(state, nr_pass, remove)
    return remove(state, nr_pass, 2)


def attempt_modern(state: PageState, nr_pass: int) -> Attempt:
    """
    One page in one pass of a 6.x kernel: no swap entry, locked areas are no obstacle, ptes come back.

    A dirty page of a mapping without a method is written, or fails for good where nothing can write it.

    Source:
        modern-kernel rules: writeback and locks are waited for from pass 3 on, an extra reference is retried; today's
        fallback_migrate_folio() and writeout() of mm/migrate.c.
    """
    held_up = _held_up(state, nr_pass, modern=True)
    if held_up is not None:
        return held_up
    if state.truncated:
        return Attempt("retry", "truncated", "EAGAIN", step=9)
    if state.method == "fail":
        return Attempt("failed", "fs-refuses", "EIO", step=5)
    free = replace(state, mlocked=False)
    if state.method == "none" and state.kind != "anon":
        found = migrate_without_method(free, nr_pass, slot=True, evicts=False)
        if found.reason == "pageout-activate":
            found = replace(found, outcome="failed")
        if found.reason == "pageout-keep":
            found = replace(found, reason="pinned", step=7)
        return replace(found, left=found.left._replace(unmapped=False))
    if state.method == "buffer":
        found = buffer_migrate_page(free, nr_pass, migrate_page_remove_references)
    else:
        found = _plain_modern(free, nr_pass)
    return replace(found, swap_entry=False)


def _plain_modern(state: PageState, nr_pass: int) -> Attempt:
    return migrate_page_remove_references(state, nr_pass, nr_refs=2 + (state.ring is not None))


@dataclass(frozen=True, slots=True)
class Course:
    """
    The way of a page through all passes, targets and slots provided.

    Attributes:
        act: The first pass that gets the page lock and writeback out of the way; None where no pass does.
        end: The pass in which it moves, goes or fails for good; None for a page that is retried to the end.
        last: What that pass, or the last one, does.
        attempts: What each pass does, from pass 0 on; what is left behind adds up.
        slot_at: The pass that gets a swap slot; None where none is needed or found.
    """

    act: int | None
    end: int | None
    last: Attempt
    attempts: tuple[Attempt, ...] = field(default=(), compare=False)
    slot_at: int | None = field(default=None, compare=False)

    @property
    def moves(self) -> bool:
        """Whether the page moves."""
        return self.last.outcome == "moved"

    @property
    def goes(self) -> bool:
        """Whether the page is gone at the end without a target."""
        return self.last.outcome in ("evicted", "vanished")

    @property
    def stuck(self) -> bool:
        """Whether the page is retried until the passes are over."""
        return self.end is None

    def at(self, nr_pass: int) -> Attempt:
        """What a pass does, or the last one before it that looked at the page."""
        return self.attempts[min(nr_pass, len(self.attempts) - 1)]


def course(state: PageState, *, modern: bool, slot_from: int = 0, evict: bool = False, posted: bool = False) -> Course:
    """
    Run a page through the passes.

    Args:
        state: The isolated page.
        modern: Ten passes of a 6.x kernel instead of V9's eleven.
        slot_from: The first pass in which a swap slot is free when it is asked for; NEVER: there is none.
        evict: See attempt().
        posted: See attempt().

    Returns:
        The course; a failure for good ends it at once, a retry goes on with the next pass and finds what is left.

    Source:
        migrate_pages(), Direct Migration V9, 2/5: the counter is tested before it is increased, hence 1 + 10 scans.
    """
    act = slot_at = None
    attempts: list[Attempt] = []
    left = Left()
    for nr_pass in range(LAST_PASS[modern] + 1):
        if modern:
            result = attempt_modern(state, nr_pass)
        else:
            result = attempt(state, nr_pass, slot=nr_pass >= slot_from, evict=evict, posted=posted)
            if state.met(nr_pass):  # whoever was met may have taken the entry along
                result = replace(result, swap_entry=state.swapcache)
        got = result.done or result.step > LAST_STEP_BEFORE_SLOT
        act = nr_pass if act is None and got else act
        asks = got and nr_pass >= slot_from and not state.met(nr_pass)
        if slot_at is None and asks and _asks_for_slot(state, result, modern=modern):
            slot_at = nr_pass
        left = left.plus(result.left)
        result = replace(result, left=left)
        attempts.append(result)
        if result.outcome != "retry":
            return Course(act, nr_pass, result, tuple(attempts), slot_at)
        state = carried(state, result)
    return Course(act, None, attempts[-1], tuple(attempts), slot_at)


def _asks_for_slot(state: PageState, result: Attempt, *, modern: bool) -> bool:
    """Whether a pass asked for a swap slot: step 3 of an anonymous page, or tmpfs that writes to swap."""
    if modern or state.swapcache:
        return False
    stores = state.writepage == "swap" and state.dirty and result.reason in ("writeback-started", "pageout-activate")
    return state.kind == "anon" or (state.kind != "zero" and stores)
