"""
What becomes of a dirty page without a method, and of one that is to go to swap: pageout, swap_page, dropped rings.

Models mm/vmscan.c and try_to_free_buffers() of fs/buffer.c as Direct Migration V9 uses them; semantics.md 1.4, 2.4.
"""

from __future__ import annotations

from migratectl.kernel.page import Attempt, Left
from migratectl.page_state import PageState, Ring, over


def ring_droppable(ring: Ring, nr_pass: int, *, again: bool = False) -> bool:
    """
    Whether a clean page's buffers can be dropped in this pass: all idle, none dirty, locked or used.

    *again*: it is the second question of this pass, when late users are gone.

    Source:
        try_to_release_page() and drop_buffers() of fs/buffer.c; semantics.md 1.4. It waits for nothing.
    """
    late = ring.late and not again and nr_pass == ring.busy
    return not (ring.dirty or late) and over(ring.locked, nr_pass) and over(ring.busy, nr_pass)


def pageout(state: PageState, nr_pass: int, left: Left, *, slot: bool) -> Attempt:
    """
    Write a dirty page that nobody maps any more: always a reason to look again in the next pass.

    Args:
        state: The unmapped, locked, dirty page.
        nr_pass: The pass.
        left: What this pass has left behind so far.
        slot: Whether a swap slot is free, for a page of tmpfs.

    Returns:
        ``pageout-keep`` (KEEP: somebody else has a reference), ``pageout-activate`` (ACTIVATE), ``writeback-started``
        (SUCCESS: writepage was called, whatever buffers are locked, and the page is clean; a page of tmpfs is in the
        swap cache then).

    Source:
        pageout() of mm/vmscan.c, shmem_writepage(); semantics.md 2.4, 9a, B10, B11.
    """
    if state.pinned(nr_pass):
        return Attempt("retry", "pageout-keep", "EAGAIN", step=5, left=left)
    in_swap = state.kind == "anon" or state.swapcache
    if not in_swap and (state.writepage == "none" or (state.writepage == "swap" and not slot)):
        return Attempt("retry", "pageout-activate", "EAGAIN", step=5, left=left)
    if not in_swap and state.writepage == "swap":
        return Attempt("retry", "writeback-started", "EAGAIN", step=5, left=left._replace(stored=True))
    return Attempt("retry", "writeback-started", "EAGAIN", step=5, left=left._replace(cleaned=True))


def reclaim(state: PageState) -> str:
    """
    What reclaim on demand (MADV_PAGEOUT) does to a page that one pte maps and nobody holds.

    Returns:
        ``keep``: it stays mapped, as a page of ramfs, which is on no list of reclaim. ``activate``: unmapped, and kept
        on the active list: a dirty page of a disk's file is left to the flusher. ``evict``: it leaves memory.

    Source:
        shrink_page_list() of a 6.x kernel: only kswapd writes dirty pages of files; rule 54 of what a 6.1 kernel does.
    """
    if state.kind == "anon" or state.swapcache or state.writepage == "swap":
        return "evict"
    if state.writepage == "none":
        return "keep"
    return "activate" if state.dirty or (state.ring is not None and not ring_droppable(state.ring, 0)) else "evict"


def release_ring(state: PageState, nr_pass: int, left: Left, *, again: bool = False) -> tuple[Left, Attempt | None]:
    """Drop the ring of a clean page: what is left behind then, or the back-out where it cannot be dropped."""
    if state.ring is None:
        return left, None
    if not ring_droppable(state.ring, nr_pass, again=again):
        return left, Attempt("retry", "buffers-busy", "EAGAIN", step=5, left=left)
    return left._replace(released=True), None


def swap_page(state: PageState, nr_pass: int, *, slot: bool, again: bool = False) -> Attempt:
    """
    Throw a page out of memory; its content stays in swap or on disk.

    Args:
        state: A locked page without writeback; an anonymous one that has its swap entry.
        nr_pass: The pass.
        slot: Whether a swap slot is free, for a page of tmpfs.
        again: The buffers have been asked for in this pass already.

    Returns:
        ``evicted``, or why it has to be looked at again. A mapping in a locked area is permanent, and seen before the
        first pte goes (B8); young ptes stop nothing (B23).

    Source:
        swap_page() and remove_mapping() of mm/vmscan.c; semantics.md 2.4.
    """
    entry = state.kind == "anon"
    if state.mlocked:
        return Attempt("failed", "mlocked", "EPERM", step=5, swap_entry=entry)
    left = Left(unmapped=state.mapcount > 0)
    if state.dirty or (entry and not state.swapcache):
        found = pageout(state, nr_pass, left, slot=slot)
    else:
        left, backed_out = release_ring(state, nr_pass, left, again=again)
        if backed_out is not None:
            return backed_out
        if state.pinned(nr_pass):
            found = Attempt("retry", "pinned", "EAGAIN", step=7, left=left)
        else:
            found = Attempt("evicted", step=5, left=left)
    return Attempt(found.outcome, found.reason, found.errno, found.step, swap_entry=entry, left=found.left)
