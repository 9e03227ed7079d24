"""
The defects of the patches as they were posted, for the profile ``v9-posted``: what semantics.md 4 tells of B5, B8, B10
and B28. The other profiles follow the corrections.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from migratectl.kernel.page import FIRST_EVICTING_PASS, Attempt, Left
from migratectl.kernel.vmscan import pageout, ring_droppable, swap_page
from migratectl.page_state import PageState, over
from migratectl.uapi import MF

UNMAP_CALLS: Final = 10
"""Calls of try_to_unmap() in one pass; each but the last stops at the first young pte and clears it (B28)."""


def shared_posted(state: PageState, flags: MF) -> bool:
    """
    Whether MOVE leaves a page alone: anonymous pages it takes whoever maps them (B5).

    Source:
        migrate_page_add(), Direct Migration V9, 4/5, as posted; semantics.md 2.1.
    """
    return not flags & MF.MOVE_ALL and state.kind != "anon" and not state.owned


def remove_references_posted(state: PageState, nr_pass: int, nr_refs: int) -> Attempt:
    """
    The back-outs as posted: a locked mapping is tried eleven times and costs other ptes (B8), ten young ptes are too
    many for one pass (B28).

    Args:
        state: One locked page that has its swap entry.
        nr_pass: The pass.
        nr_refs: References a movable page has besides its ptes.

    Source:
        migrate_page_remove_references(), Direct Migration V9, 2/5, as posted.
    """
    entry = state.kind == "anon"
    if state.pinned(nr_pass) or nr_refs != 2 + (state.ring is not None):
        return Attempt("retry", "pinned", "EAGAIN", step=7, swap_entry=entry)
    if state.mlocked:
        return Attempt("retry", "unmap-incomplete", "EAGAIN", step=5, swap_entry=entry, left=Left(partly=True))
    if state.young >= UNMAP_CALLS:
        return Attempt("retry", "unmap-incomplete", "EAGAIN", step=5, swap_entry=entry, left=Left(aged=1))
    return Attempt("moved", swap_entry=entry)


def without_method_posted(state: PageState, nr_pass: int, *, slot: bool) -> Attempt:
    """
    A mapping without a method as posted: dirty is asked before anything is unmapped (B10).

    So a dirty page that somebody maps is never written, and one that is dirty in a pte only moves unwritten.

    Source:
        migrate_pages(), Direct Migration V9, 5/5, as posted; semantics.md 2.2 j to n.
    """
    if state.dirty:
        if state.mapcount:
            return Attempt("retry", "pageout-keep", "EAGAIN", step=5)
        return pageout(state, nr_pass, Left(), slot=slot)
    left = Left()
    if state.ring is not None:
        if not ring_droppable(state.ring, nr_pass):
            evicts = nr_pass >= FIRST_EVICTING_PASS and not state.mlocked
            if evicts and ring_droppable(state.ring, nr_pass, again=True):
                return swap_page(replace(state, dirty=state.dropped_dirty), nr_pass, slot=slot, again=True)
            gone = state.mapcount > 0 and nr_pass >= FIRST_EVICTING_PASS and over(state.pin, nr_pass)
            left = Left(unmapped=gone and not state.mlocked, partly=gone and state.mlocked)
            return Attempt("retry", "buffers-busy", "EAGAIN", step=5, left=left)
        left = Left(released=True)
    found = remove_references_posted(state, nr_pass, 2 + (state.ring is not None))
    merged = found.left._replace(released=left.released)
    return Attempt(found.outcome, found.reason, found.errno, found.step, found.swap_entry, merged)
