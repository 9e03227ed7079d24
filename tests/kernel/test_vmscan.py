"""Writing, dropping rings, throwing pages out: semantics.md 1.4 and 2.4, one pass at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from migratectl.kernel.page import Attempt, Left, carried
from migratectl.kernel.rules import Rules
from migratectl.kernel.vmscan import pageout, release_ring, ring_droppable, swap_page
from migratectl.page_state import PageState, Ring
from migratectl.uapi import NEVER, Profile

OUT = Rules(Profile.V9, evict=True)

UNTOUCHED = Left()
UNMAPPED = Left(unmapped=True)

RINGS = {
    "idle": (Ring(), True),
    "dirty": (Ring(dirty=True), False),
    "locked until 4": (Ring(locked=4), False),
    "locked until 3": (Ring(locked=3), True),
    "in use until 4": (Ring(busy=4), False),
    "in use until 3": (Ring(busy=3), True),
    "locked for ever": (Ring(locked=NEVER), False),
}


@pytest.mark.parametrize(("ring", "droppable"), RINGS.values(), ids=RINGS)
def test_a_ring_is_dropped_when_every_buffer_is_idle(ring: Ring, droppable: bool) -> None:
    """drop_buffers() tries: also in a pass that waits for page locks nothing is waited for."""
    assert ring_droppable(ring, 3) == droppable
    left, backed_out = release_ring(PageState(kind="file", ring=ring), 3, UNMAPPED)
    assert left.released == droppable
    assert (backed_out is None) == droppable
    if backed_out is not None:
        assert backed_out == Attempt("retry", "buffers-busy", "EAGAIN", step=5, left=UNMAPPED)


def test_a_page_without_a_ring_has_nothing_to_drop() -> None:
    assert release_ring(PageState(kind="file"), 0, UNMAPPED) == (UNMAPPED, None)


FILE = PageState(kind="file", method="none", mapcount=0, dirty=True)
TMPFS = PageState(kind="shm", method="none", mapcount=0, dirty=True, writepage="swap")

PAGEOUT = {
    "KEEP: somebody else has it": (replace(FILE, pin=NEVER), True, "pageout-keep", UNTOUCHED),
    "KEEP comes before no writepage": (replace(FILE, pin=NEVER, writepage="none"), True, "pageout-keep", UNTOUCHED),
    "ACTIVATE: no writepage": (replace(FILE, writepage="none"), True, "pageout-activate", UNTOUCHED),
    "ACTIVATE: tmpfs without swap": (TMPFS, False, "pageout-activate", UNTOUCHED),
    "SUCCESS": (FILE, True, "writeback-started", Left(cleaned=True)),
    "SUCCESS without swap: it goes to disk": (FILE, False, "writeback-started", Left(cleaned=True)),
    "SUCCESS with a dirty ring": (replace(FILE, ring=Ring(dirty=True)), True, "writeback-started", Left(cleaned=True)),
    "SUCCESS with a locked buffer: writepage was called": (
        replace(FILE, ring=Ring(dirty=True, locked=NEVER)),
        True,
        "writeback-started",
        Left(cleaned=True),
    ),
    "tmpfs goes to the swap cache, and stays dirty": (TMPFS, True, "writeback-started", Left(stored=True)),
    "tmpfs in the swap cache is written to its slot": (
        replace(TMPFS, swapcache=True),
        False,
        "writeback-started",
        Left(cleaned=True),
    ),
    "anonymous": (PageState(mapcount=0, swapcache=True, dirty=True), False, "writeback-started", Left(cleaned=True)),
}


@pytest.mark.parametrize(("state", "slot", "reason", "left"), PAGEOUT.values(), ids=PAGEOUT)
def test_what_becomes_of_a_dirty_page(state: PageState, slot: bool, reason: str, left: Left) -> None:
    """All of it is EAGAIN: the next pass looks again."""
    found = pageout(state, 0, UNTOUCHED, slot=slot)
    assert (found.outcome, found.reason, found.errno, found.left) == ("retry", reason, "EAGAIN", left)


SWAP = {
    "fresh anonymous page: add_to_swap made it dirty": (PageState(), "writeback-started", Left(True, cleaned=True)),
    "clean in the swap cache": (PageState(swapcache=True), "", UNMAPPED),
    "mapped by nobody": (PageState(swapcache=True, mapcount=0), "", UNTOUCHED),
    "pinned and clean: ptes gone, page stays": (PageState(swapcache=True, pin=NEVER), "pinned", UNMAPPED),
    "pinned and dirty": (PageState(swapcache=True, dirty=True, pin=NEVER), "pageout-keep", UNMAPPED),
    "pinned, fresh in the swap cache": (PageState(pin=NEVER), "pageout-keep", UNMAPPED),
    "mlocked: before a pte goes": (PageState(mapcount=2, mlocked=True), "mlocked", UNTOUCHED),
    "clean page of a file": (PageState(kind="file"), "", UNMAPPED),
    "clean, with a ring": (PageState(kind="file", ring=Ring()), "", UNMAPPED._replace(released=True)),
    "clean, ring in use": (PageState(kind="file", ring=Ring(busy=NEVER)), "buffers-busy", UNMAPPED),
}


@pytest.mark.parametrize(("state", "reason", "left"), SWAP.values(), ids=SWAP)
def test_throwing_a_page_out(state: PageState, reason: str, left: Left) -> None:
    found = swap_page(state, 0, slot=True)
    assert (found.reason, found.left) == (reason, left)
    assert found.outcome == {"": "evicted", "mlocked": "failed"}.get(reason, "retry")
    assert found.swap_entry == (state.kind == "anon")


@pytest.mark.parametrize("cached", [True, False])
def test_only_a_fresh_entry_makes_a_page_dirty(cached: bool) -> None:
    """add_to_swap() does; a clean page of the swap cache that was pinned for two passes goes without being written."""
    state = PageState(swapcache=cached, pin=2)
    assert carried(state, swap_page(state, 0, slot=True)).dirty == (not cached)
    found = OUT.course(state)
    assert (found.end, found.last.left.cleaned) == ((2, False) if cached else (3, True))
