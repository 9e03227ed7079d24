"""
The steps of a page's move that the profiles share, one page and one pass at a time; and the course of a page.

Models mm/vmscan.c, mm/rmap.c and fs/buffer.c as Direct Migration V9 leaves them, and today's mm/migrate.c. Which step
comes when, and who is a candidate at all, is for rules.py to say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from migratectl.kernel.page import FIRST_BLOCKING_PASS, FIRST_EVICTING_PASS, Attempt, Left, page_count
from migratectl.kernel.vmscan import pageout, release_ring, swap_page
from migratectl.page_state import PageState, over

RemoveReferences = Callable[[PageState, int, int], Attempt]
"""A page in a pass, and the references that it has besides its ptes when nobody else holds one."""


def lock_page(state: PageState, nr_pass: int) -> bool:
    """
    Whether the page lock is had in this pass: tried in passes 0 to 2, waited for from 3 on.

    A holder that lets go in some pass is waited for; one that never does would hang the kernel, so the page counts
    as busy instead.

    Source:
        migrate_pages(), Direct Migration V9, 2/5; semantics.md 2.2 c, 2.7.
    """
    return over(state.lock, nr_pass, waiting=nr_pass >= FIRST_BLOCKING_PASS)


def writeback_over(state: PageState, nr_pass: int, waited_from: int) -> bool:
    """
    Whether writeback does not stand in the way in this pass: it is waited for from the pass *waited_from* on.

    Source:
        migrate_pages(), Direct Migration V9, 2/5; semantics.md 2.2 d, 2.7. Today's kernel waits from pass 3 on.
    """
    return over(state.writeback, nr_pass, waiting=nr_pass >= waited_from)


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


def migrate_folio(state: PageState, nr_pass: int) -> Attempt:
    """
    Move a locked page as a 6.x kernel does: no swap entry, locked areas are no obstacle, ptes come back.

    A dirty page of a mapping without a method is written, or fails for good where nothing can write it.

    Source:
        modern-kernel rules: an extra reference is retried; today's fallback_migrate_folio() and writeout() of
        mm/migrate.c.
    """
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
        found = migrate_page_remove_references(free, nr_pass, nr_refs=2 + (state.ring is not None))
    return replace(found, swap_entry=False)


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
