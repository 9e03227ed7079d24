"""Selection (semantics.md 2.1), the passes (2.2, 2.7), outcomes (2.6), counts (1.6), B8, B9 and today's kernel."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migratectl.kernel.migrate import Course, lock_page, migrate_page_remove_references, writeback_over
from migratectl.kernel.page import FIRST_BLOCKING_PASS, LAST_PASS, Attempt, Left, page_count
from migratectl.kernel.rules import UNSEEN, Rules
from migratectl.page_state import PageState, Ring
from migratectl.uapi import MF, NEVER, Profile

V9, POSTED, TODAY = Rules(Profile.V9), Rules(Profile.V9_POSTED), Rules(Profile.MODERN)
OUT = Rules(Profile.V9, evict=True)

# ---- 1.6: references -----------------------------------------------------------------------------------------------

COUNTS = {
    "anon resting": ({}, 0),
    "anon isolated": ({"isolated": True}, 1),
    "anon isolated after add_to_swap": ({"cached": True, "isolated": True}, 2),
    "anon in swap cache, resting": ({"cached": True}, 1),
    "file without buffers, resting": ({"cached": True}, 1),
    "file without buffers, isolated": ({"cached": True, "isolated": True}, 2),
    "file with buffers, resting": ({"cached": True, "buffers": True}, 2),
    "file with buffers, isolated": ({"cached": True, "buffers": True, "isolated": True}, 3),
    "pinned once by direct IO": ({"cached": True, "buffers": True, "isolated": True, "extra": 1}, 4),
    "orphan with a ring, isolated": ({"buffers": True, "isolated": True}, 2),
}


@pytest.mark.parametrize("k", [0, 1, 2, 7])
@pytest.mark.parametrize(("held", "more"), COUNTS.values(), ids=COUNTS)
def test_worked_counts(held: dict[str, int], more: int, k: int) -> None:
    """The table of semantics.md 1.6: k ptes and *more* references."""
    assert page_count(k, **({"cached": False} | held)) == k + more  # type: ignore[arg-type]


# ---- 2.1: selection ------------------------------------------------------------------------------------------------

SKIPS = {
    "mapped once, MOVE": (PageState(), MF.MOVE, None, None),
    "mapped twice, MOVE": (PageState(mapcount=2), MF.MOVE, "shared", "shared"),
    "mapped twice, MOVE_ALL": (PageState(mapcount=2), MF.MOVE_ALL, None, None),
    "file mapped once, MOVE": (PageState(kind="file"), MF.MOVE, None, None),
    "file mapped by many, MOVE": (PageState(kind="file", mapcount=9), MF.MOVE, "shared", "shared"),
    "parked, MOVE": (PageState(parked=True), MF.MOVE, "off-lru", "off-lru"),
    "parked, MOVE_ALL": (PageState(parked=True), MF.MOVE_ALL, "off-lru", "off-lru"),
    "parked and shared: the selection comes before isolation": (
        PageState(parked=True, mapcount=2),
        MF.MOVE,
        "shared",
        "shared",
    ),
    "locked area": (PageState(area="vma-locked"), MF.MOVE_ALL, "vma-locked", None),
    "locked area and shared: the area comes first": (
        PageState(area="vma-locked", mapcount=2),
        MF.MOVE,
        "vma-locked",
        "shared",
    ),
    "IO area": (PageState(area="vma-io"), MF.MOVE_ALL, "vma-io", "vma-io"),
    "raw area": (PageState(area="vma-pfnmap"), MF.MOVE_ALL, "vma-pfnmap", "vma-pfnmap"),
    "huge area": (PageState(area="vma-hugetlb"), MF.MOVE_ALL, "vma-hugetlb", "vma-hugetlb"),
    "reserved area": (PageState(area="vma-reserved"), MF.MOVE_ALL, "vma-reserved", "vma-reserved"),
    "zero page": (PageState(kind="zero"), MF.MOVE, "reserved-page", "reserved-page"),
    "zero page of many, MOVE_ALL": (PageState(kind="zero", mapcount=3), MF.MOVE_ALL, "reserved-page", "reserved-page"),
    "zero page of a locked area": (PageState(kind="zero", area="vma-locked"), MF.MOVE_ALL, UNSEEN, "reserved-page"),
    "zero page of an IO area": (PageState(kind="zero", area="vma-io"), MF.MOVE_ALL, UNSEEN, UNSEEN),
    "zero page of a locked area that STRICT opens": (
        PageState(kind="zero", area="vma-locked"),
        MF.MOVE | MF.STRICT,
        "reserved-page",
        "reserved-page",
    ),
    "zero page of a huge area, which stays closed": (
        PageState(kind="zero", area="vma-hugetlb"),
        MF.MOVE | MF.STRICT,
        UNSEEN,
        UNSEEN,
    ),
    "locked page": (PageState(lock=NEVER), MF.MOVE, None, None),
    "pinned page": (PageState(pin=NEVER), MF.MOVE, None, None),
    "mlocked by another task": (PageState(mapcount=2, mlocked=True), MF.MOVE_ALL, None, None),
}


@pytest.mark.parametrize(("state", "flags", "v9", "modern"), SKIPS.values(), ids=SKIPS)
def test_why_a_page_is_no_candidate(state: PageState, flags: MF, v9: str | None, modern: str | None) -> None:
    """What stops a page later (locks, pins) does not stop it here; today's kernel looks into locked areas."""
    for rules, wanted in ((V9, v9), (TODAY, modern)):
        assert rules.skip_reason(state, flags) == wanted
        way = rules.way(state, flags)
        assert way == (wanted if wanted is not None else rules.course(state))
        assert rules.way(state, None) == rules.course(state), "what is isolated already was a candidate"


# ---- 2.2: the passes -----------------------------------------------------------------------------------------------

RELEASES = [*range(11), NEVER]


def name(release: int | None) -> str:
    """For test ids."""
    return "never" if release == NEVER else str(release)


@pytest.mark.parametrize("release", RELEASES, ids=name)
def test_the_pass_in_which_a_locked_page_moves(release: int) -> None:
    """Tried in 0, 1, 2; waited for from 3 on, which ends every wait for a holder that ever lets go."""
    found = V9.course(PageState(lock=release))
    if release == NEVER:
        assert found == Course(None, None, Attempt("retry", "busy-locked", "EAGAIN", step=1))
        assert (found.moves, found.stuck) == (False, True)
    else:
        assert found == Course(min(release, 3), min(release, 3), Attempt("moved"))
        assert (found.moves, found.stuck) == (True, False)


@pytest.mark.parametrize("release", RELEASES, ids=name)
def test_the_pass_in_which_a_page_under_writeback_moves(release: int) -> None:
    """Skipped in pass 0, waited for from pass 1 on."""
    found = V9.course(PageState(kind="file", writeback=release))
    if release == NEVER:
        assert found == Course(None, None, Attempt("retry", "busy-writeback", "EAGAIN", step=2))
    else:
        assert (found.end, found.last) == (min(release, 1), Attempt("moved"))


@pytest.mark.parametrize("release", RELEASES, ids=name)
@pytest.mark.parametrize("kind", ["anon", "file"])
def test_the_pass_in_which_a_pinned_page_moves(kind: str, release: int) -> None:
    """Nobody waits for a reference: the test is made in each pass. An anonymous page keeps its swap entry."""
    found = V9.course(PageState(kind=kind, pin=release))
    if release == NEVER:
        assert found == Course(0, None, Attempt("retry", "pinned", "EAGAIN", step=7, swap_entry=kind == "anon"))
    else:
        assert found == Course(0, release, Attempt("moved"))


COMBINED = {
    "locked to 2, pinned to 1: the lock decides": (PageState(lock=2, pin=1), 2, 2),
    "locked to 2, pinned to 6: the pin decides": (PageState(lock=2, pin=6), 2, 6),
    "locked to 8 is had by waiting in 3, pinned to 5": (PageState(lock=8, pin=5), 3, 5),
    "locked to 8, pinned to 2: waited for until it moves": (PageState(lock=8, pin=2), 3, 3),
    "writeback to 10 and locked to 1": (PageState(kind="file", lock=1, writeback=10), 1, 1),
    "writeback to 10 and pinned to 10": (PageState(kind="file", writeback=10, pin=10), 1, 10),
    "lock of pass 0, pin of pass 0": (PageState(lock=0, pin=0), 0, 0),
}


@pytest.mark.parametrize(("state", "act", "end"), COMBINED.values(), ids=COMBINED)
def test_what_stands_together_in_the_way(state: PageState, act: int, end: int) -> None:
    assert V9.course(state) == Course(act, end, Attempt("moved"))


FOREVER = {
    "locked and pinned: the lock is met first": (
        PageState(lock=NEVER, pin=NEVER),
        Course(None, None, Attempt("retry", "busy-locked", "EAGAIN", step=1)),
    ),
    "locked and under writeback": (
        PageState(kind="file", lock=NEVER, writeback=NEVER),
        Course(None, None, Attempt("retry", "busy-locked", "EAGAIN", step=1)),
    ),
    "writeback and pinned": (
        PageState(kind="file", writeback=NEVER, pin=NEVER),
        Course(None, None, Attempt("retry", "busy-writeback", "EAGAIN", step=2)),
    ),
    "locked to 9, pinned for ever: from pass 3 on it is the pin": (
        PageState(lock=9, pin=NEVER),
        Course(3, None, Attempt("retry", "pinned", "EAGAIN", step=7, swap_entry=True)),
    ),
    "pinned for ever and mlocked: the count test comes first (2.6)": (
        PageState(mapcount=2, pin=NEVER, mlocked=True),
        Course(0, None, Attempt("retry", "pinned", "EAGAIN", step=7, swap_entry=True)),
    ),
    "pinned to 4 and mlocked: fails for good when the pin goes": (
        PageState(mapcount=2, pin=4, mlocked=True),
        Course(0, 4, Attempt("failed", "mlocked", "EPERM", step=5, swap_entry=True)),
    ),
}


@pytest.mark.parametrize(("state", "wanted"), FOREVER.values(), ids=FOREVER)
def test_what_never_lets_a_page_go(state: PageState, wanted: Course) -> None:
    """The reason is that of the last scan, in the order of the twenty steps."""
    assert V9.course(state) == wanted


def test_eleven_passes_then_and_ten_today() -> None:
    """0 to 10: the counter is tested before it is increased. 0 to 9 in a 6.x kernel."""
    assert (V9.last_pass, TODAY.last_pass) == (10, 9)
    assert Rules(Profile.MODERN, evict=True).last_pass == 10, "what leaves memory goes by V9's passes"
    assert FIRST_BLOCKING_PASS == 3
    assert V9.course(PageState(pin=10)).end == 10
    assert V9.course(PageState(pin=11)).stuck
    assert TODAY.course(PageState(pin=9)).end == 9
    assert TODAY.course(PageState(pin=10)).stuck
    assert LAST_PASS < NEVER


@pytest.mark.parametrize("nr_pass", range(11))
def test_trying_and_waiting_for_a_lock(nr_pass: int) -> None:
    """2.7: a trylock is had when the pass is the release pass or later; a wait ends unless it never would."""
    assert lock_page(PageState(), nr_pass)
    assert not lock_page(PageState(lock=NEVER), nr_pass)
    for release in range(11):
        assert lock_page(PageState(lock=release), nr_pass) == (nr_pass >= 3 or nr_pass >= release)


@pytest.mark.parametrize("nr_pass", range(11))
def test_waiting_for_writeback(nr_pass: int) -> None:
    assert (V9.waits_for_writeback, TODAY.waits_for_writeback) == (1, 3)
    for waited_from in (1, 3):
        assert writeback_over(PageState(), nr_pass, waited_from)
        assert not writeback_over(PageState(writeback=NEVER), nr_pass, waited_from)
        for release in range(11):
            state = PageState(writeback=release)
            assert writeback_over(state, nr_pass, waited_from) == (nr_pass >= waited_from or nr_pass >= release)


# ---- single outcomes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nr_pass", range(11))
def test_a_free_page_moves_in_every_pass(nr_pass: int) -> None:
    assert V9.attempt(PageState(), nr_pass) == Attempt("moved")
    assert TODAY.attempt(PageState(), min(nr_pass, 9)) == Attempt("moved")


def test_mlocked_elsewhere_fails_for_good_at_first_sight() -> None:
    """B8: permanent EPERM before a pte goes; an anonymous page keeps the swap entry of step 3."""
    anon = V9.course(PageState(mapcount=2, mlocked=True))
    assert anon == Course(0, 0, Attempt("failed", "mlocked", "EPERM", step=5, swap_entry=True))
    file = V9.course(PageState(kind="file", mapcount=2, mlocked=True))
    assert file == Course(0, 0, Attempt("failed", "mlocked", "EPERM", step=5, swap_entry=False))


def test_an_mlocked_mapping_is_no_obstacle_today() -> None:
    assert TODAY.course(PageState(mapcount=2, mlocked=True)) == Course(0, 0, Attempt("moved"))


def test_without_a_swap_slot_an_anonymous_page_fails_for_good() -> None:
    """B9: ENOMEM at step 3, at once, nothing left behind; not retried."""
    found = V9.course(PageState(), slot_from=NEVER)
    assert found == Course(0, 0, Attempt("failed", "no-swap", "ENOMEM", step=3, swap_entry=False))


NO_SLOT_NEEDED = {
    "in the swap cache already": PageState(swapcache=True),
    "file": PageState(kind="file"),
    "shared memory with a method": PageState(kind="shm"),
}


@pytest.mark.parametrize("state", NO_SLOT_NEEDED.values(), ids=NO_SLOT_NEEDED)
def test_who_needs_no_slot(state: PageState) -> None:
    assert V9.course(state, slot_from=NEVER) == Course(0, 0, Attempt("moved"))


def test_today_nobody_needs_a_slot() -> None:
    assert TODAY.course(PageState(), slot_from=NEVER) == Course(0, 0, Attempt("moved"))


@pytest.mark.parametrize("release", [0, 1, 2, 3, 7])
def test_the_slot_is_asked_for_in_the_pass_that_gets_the_lock(release: int) -> None:
    """Step 3 comes after steps 1 and 2: a page that waits for its lock has asked for nothing yet."""
    found = V9.course(PageState(lock=release), slot_from=NEVER)
    assert found.act == found.end == min(release, 3)
    assert found.last.reason == "no-swap"


def test_a_page_that_is_never_unlocked_never_asks_for_a_slot() -> None:
    found = V9.course(PageState(lock=NEVER), slot_from=NEVER)
    assert found == Course(None, None, Attempt("retry", "busy-locked", "EAGAIN", step=1))


def test_a_method_that_refuses_fails_for_good() -> None:
    wanted = Course(0, 0, Attempt("failed", "fs-refuses", "EIO", step=5))
    assert V9.course(PageState(kind="file", method="fail")) == wanted
    assert TODAY.course(PageState(kind="file", method="fail")) == wanted


def test_a_ring_of_buffers_is_one_reference() -> None:
    """nr_refs 3 allows for it; what is beyond is a pin."""
    ringed = PageState(kind="file", ring=Ring())
    assert migrate_page_remove_references(ringed, 0, nr_refs=3) == Attempt("moved")
    pinned = migrate_page_remove_references(replace(ringed, pin=NEVER), 0, nr_refs=3)
    assert pinned == Attempt("retry", "pinned", "EAGAIN", step=7)


@pytest.mark.parametrize("release", [*range(10), NEVER], ids=name)
def test_locks_writeback_and_pins_of_a_modern_kernel(release: int) -> None:
    """Locks and writeback are waited for from pass 3 on; nothing stays behind."""
    waits = None if release == NEVER else min(release, 3)
    assert TODAY.course(PageState(lock=release)).end == waits
    assert TODAY.course(PageState(kind="file", writeback=release)).end == waits
    pinned = TODAY.course(PageState(pin=release))
    assert pinned.end == (None if release == NEVER else release)
    assert not pinned.last.swap_entry


STATES = st.builds(
    PageState,
    kind=st.sampled_from(["anon", "file", "shm"]),
    method=st.sampled_from(["page", "buffer", "fail"]),
    mapcount=st.integers(0, 4),
    swapcache=st.booleans(),
    lock=st.none() | st.sampled_from(RELEASES),
    writeback=st.none() | st.sampled_from(RELEASES),
    pin=st.none() | st.sampled_from(RELEASES),
    mlocked=st.booleans(),
)


@given(STATES, st.sampled_from([V9, TODAY]), st.booleans())
def test_a_course_is_its_attempts_one_after_the_other(state: PageState, rules: Rules, slot: bool) -> None:
    """Every pass before the end is a retry; the pass of the end decides; success leaves no reason."""
    found = rules.course(state, slot_from=0 if slot else NEVER)
    last = rules.last_pass if found.end is None else found.end
    for nr_pass in range(last + 1):
        step = rules.attempt(state, nr_pass, slot=slot)
        busy = step.reason in ("busy-locked", "busy-writeback")
        assert (found.act is None or nr_pass < found.act) == busy
        assert (step.outcome == "retry") == (nr_pass != found.end)
    assert step == found.last
    assert found.moves == (found.last == Attempt("moved"))
    assert found.moves or (found.last.reason and found.last.errno)
    assert found.stuck == (found.last.errno == "EAGAIN")


@given(STATES)
def test_a_mapcount_alone_stops_nothing(state: PageState) -> None:
    """The count grows with the ptes, so the test is exactly whether somebody else holds a reference."""
    for rules in (V9, TODAY):
        results = {rules.course(replace(state, mapcount=k)) for k in range(5)}
        assert len(results) == 1


# ---- mappings without a method, rings, truncation: 2.2 h to n, 2.4, B10, B11 ----------------------------------------

FILE = PageState(kind="file", method="none")
TMPFS = PageState(kind="shm", method="none", writepage="swap")
RAMFS = PageState(kind="file", method="none", writepage="none")
GONE = Left(unmapped=True)

NO_METHOD = {
    "clean: unmapped, then moved": (FILE, 0, "", GONE),
    "clean and mapped by nobody": (replace(FILE, mapcount=0), 0, "", Left()),
    "dirty: written in pass 0, moved in pass 1": (replace(FILE, dirty=True), 1, "", GONE._replace(cleaned=True)),
    "ring idle: dropped": (replace(FILE, ring=Ring()), 0, "", GONE._replace(released=True)),
    "ring and page dirty: written, then dropped": (
        replace(FILE, dirty=True, ring=Ring(dirty=True)),
        1,
        "",
        GONE._replace(cleaned=True, released=True),
    ),
    "ring in use until pass 4": (replace(FILE, ring=Ring(busy=4)), 4, "", GONE._replace(released=True)),
    "ring in use until pass 7": (replace(FILE, ring=Ring(busy=7)), 7, "", GONE._replace(released=True)),
    "ring let go late in pass 4: not asked a second time": (
        replace(FILE, ring=Ring(busy=4, late=True)),
        5,
        "",
        GONE._replace(released=True),
    ),
    "ring in use for ever": (replace(FILE, ring=Ring(busy=NEVER)), None, "buffers-busy", GONE),
    "ring locked for ever": (replace(FILE, ring=Ring(locked=NEVER)), None, "buffers-busy", GONE),
    "dirty page, ring locked for ever: written, then the ring cannot be dropped": (
        replace(FILE, dirty=True, ring=Ring(dirty=True, locked=NEVER)),
        None,
        "buffers-busy",
        GONE._replace(cleaned=True),
    ),
    "pinned for ever, clean: ptes gone (9a)": (replace(FILE, pin=NEVER), None, "pinned", GONE),
    "pinned for ever, dirty: never written": (replace(FILE, pin=NEVER, dirty=True), None, "pageout-keep", GONE),
    "pinned until 6, dirty: written then": (
        replace(FILE, pin=6, dirty=True),
        7,
        "",
        GONE._replace(cleaned=True),
    ),
    "mlocked elsewhere: for good, before a pte goes (B8)": (replace(FILE, mlocked=True), 0, "mlocked", Left()),
    "ramfs, clean": (RAMFS, 0, "", GONE),
    "ramfs, dirty: nothing can write it": (replace(RAMFS, dirty=True), None, "pageout-activate", GONE),
    "tmpfs, dirty: to the swap cache, moved from there": (
        replace(TMPFS, dirty=True),
        1,
        "",
        GONE._replace(stored=True),
    ),
    "tmpfs, in the swap cache already": (replace(TMPFS, dirty=True, swapcache=True), 0, "", Left()),
    "refusing file system": (replace(FILE, method="fail", dirty=True), 0, "fs-refuses", Left()),
    "truncated, somebody holds it": (replace(FILE, truncated=True, pin=NEVER), None, "truncated", Left()),
    "truncated, its ring could not be dropped": (replace(FILE, truncated=True, ring=Ring()), None, "truncated", Left()),
}


@pytest.mark.parametrize(("state", "end", "reason", "left"), NO_METHOD.values(), ids=NO_METHOD)
def test_pages_without_a_method(state: PageState, end: int | None, reason: str, left: Left) -> None:
    found = V9.course(state)
    assert (found.end, found.last.reason, found.last.left) == (end, reason, left)
    assert found.moves == (not reason)


def test_written_in_the_very_last_pass() -> None:
    """A pin that goes in pass 10 lets the write start, but nobody comes back to see it end."""
    found = V9.course(replace(FILE, pin=10, dirty=True))
    assert (found.end, found.last.reason) == (None, "writeback-started")
    assert found.last.left.cleaned


def test_tmpfs_without_a_slot_asks_in_vain() -> None:
    found = V9.course(replace(TMPFS, dirty=True), slot_from=NEVER)
    assert (found.end, found.last.reason, found.slot_at) == (None, "pageout-activate", None)
    assert V9.course(replace(TMPFS, dirty=True)).slot_at == 0
    assert V9.course(TMPFS).slot_at is None, "a clean page is not written"


def test_a_truncated_page_that_nobody_holds_has_vanished() -> None:
    """Count 1: freed under us; rc 0, and no target is used (2.2 a)."""
    found = V9.course(replace(FILE, truncated=True, mapcount=0))
    assert (found.end, found.last.outcome, found.moves) == (0, "vanished", False)


RINGS = {
    "handed over": (Ring(), 0, ""),
    "dirty: no obstacle": (Ring(dirty=True), 0, ""),
    "in use: no obstacle": (Ring(busy=NEVER), 0, ""),
    "locked until 9: waited for": (Ring(locked=9), 0, ""),
    "locked for ever": (Ring(locked=NEVER), None, "busy-locked"),
}


@pytest.mark.parametrize(("ring", "end", "reason"), RINGS.values(), ids=RINGS)
def test_the_buffer_method_takes_the_ring_along(ring: Ring, end: int | None, reason: str) -> None:
    """Three references; every buffer lock is waited for (second amendment of the thread)."""
    state = PageState(kind="file", method="buffer", ring=ring, dirty=ring.dirty)
    found = V9.course(state)
    assert (found.end, found.last.reason, found.last.left) == (end, reason, Left())


def test_a_method_that_does_not_know_of_rings_finds_one_reference_too_many() -> None:
    found = V9.course(PageState(kind="file", method="page", ring=Ring()))
    assert (found.end, found.last.reason) == (None, "pinned")


EVICT = {
    "anonymous: written in pass 0, gone in pass 1": (PageState(), 1, "evicted", ""),
    "in the swap cache and clean: gone at once": (PageState(swapcache=True), 0, "evicted", ""),
    "in the swap cache and dirty": (PageState(swapcache=True, dirty=True), 1, "evicted", ""),
    "pinned": (PageState(pin=NEVER), None, "retry", "pageout-keep"),
    "locked": (PageState(lock=NEVER), None, "retry", "busy-locked"),
    "mlocked elsewhere": (PageState(mlocked=True, mapcount=2), 0, "failed", "mlocked"),
    "clean file page": (PageState(kind="file", method="buffer"), 0, "evicted", ""),
    "dirty file page with a ring": (
        PageState(kind="file", method="buffer", dirty=True, ring=Ring(dirty=True)),
        1,
        "evicted",
        "",
    ),
    "tmpfs: stored, written, gone": (replace(TMPFS, dirty=True), 2, "evicted", ""),
    "ramfs, dirty": (replace(RAMFS, dirty=True), None, "retry", "pageout-activate"),
}


@pytest.mark.parametrize(("state", "end", "outcome", "reason"), EVICT.values(), ids=EVICT)
def test_the_swap_only_caller(state: PageState, end: int | None, outcome: str, reason: str) -> None:
    """No target list: swap_page decides (2.2 g, 2.4); young ptes stop nothing (B23)."""
    found = OUT.course(state)
    assert (found.end, found.last.outcome, found.last.reason) == (end, outcome, reason)


def test_eviction_needs_a_slot() -> None:
    found = OUT.course(PageState(), slot_from=NEVER)
    assert (found.end, found.last.outcome, found.last.reason) == (0, "failed", "no-swap")


def test_today_a_dirty_page_without_a_method_is_written_or_fails_for_good() -> None:
    """fallback_migrate_folio(): written and retried; without a way to write it fails at once. Ptes come back."""
    disk = TODAY.course(replace(FILE, dirty=True))
    assert (disk.end, disk.last.outcome, disk.last.left) == (1, "moved", Left(cleaned=True))
    ram = TODAY.course(replace(RAMFS, dirty=True))
    assert (ram.end, ram.last.outcome, ram.last.reason, ram.last.left) == (0, "failed", "pageout-activate", Left())


@given(STATES, st.sampled_from([V9, OUT]))
def test_every_reason_is_a_word_of_the_contract(state: PageState, rules: Rules) -> None:
    words = {"busy-locked", "busy-writeback", "no-swap", "pinned", "mlocked", "fs-refuses", "writeback-started", ""}
    words |= {"pageout-keep"}
    assert rules.course(state).last.reason in words


@pytest.mark.parametrize("rules", [V9, POSTED], ids=["corrected", "posted"])
@pytest.mark.parametrize("nr_pass", range(11))
def test_swap_is_the_last_resort_of_a_page_without_a_method(nr_pass: int, rules: Rules) -> None:
    """2.2 n, 9a: its ring is in use at the first question of a pass and free at the second, asked from pass 5 on."""
    state = replace(FILE, ring=Ring(busy=nr_pass, late=True))
    way = rules.course(state)
    evicted = nr_pass >= 5
    assert (way.end, way.last.outcome) == ((nr_pass, "evicted") if evicted else (nr_pass + 1, "moved"))
    assert way.last.left.released
    assert {each.reason for each in way.attempts[: nr_pass or 1]} == {"buffers-busy"}
    pinned = rules.course(replace(state, pin=NEVER))
    assert (pinned.end, pinned.last.reason, pinned.last.left.released) == (None, "pinned", True)
    out = OUT.course(state)
    assert (out.end, out.goes) == ((nr_pass + 1, True) if nr_pass < 10 else (None, False))
    assert not TODAY.course(state).goes, "today's kernel asks once"
