"""The steps of a page's move: the traces of semantics.md 2.8, the counts of 1.6, the end of every outcome of 2.6."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migratectl.kernel.rules import Rules
from migratectl.kernel.trace import CLEAN_FLAGS, STEPS, Counts, Met, TracePass, TraceStep, trace
from migratectl.page_state import PageState, Ring
from migratectl.uapi import NEVER, Profile

V9, POSTED, TODAY = Rules(Profile.V9), Rules(Profile.V9_POSTED), Rules(Profile.MODERN)
OUT = Rules(Profile.V9, evict=True)

Row = tuple[int, str, str, int | None]
"""Step, references/mappings of the old page and of the target, use count of the slot."""


def told(
    state: PageState,
    rules: Rules = V9,
    *,
    slot: bool = True,
    pins: int = 1,
    swap_ptes: int = 0,
) -> tuple[TracePass, ...]:
    """The trace of a page that is looked at for as long as it takes."""
    way = rules.course(state, slot_from=0 if slot else NEVER)
    last = rules.last_pass if way.end is None else way.end
    return trace(state, way, last, rules=rules, pins=pins, swap_ptes=swap_ptes)


def counts(found: Counts | None) -> str:
    """As semantics.md writes them; a dash where there is no such page."""
    return "-" if found is None else f"{found.refs}/{found.mapcount}"


def row(step: TraceStep) -> Row:
    """The numbers of a step."""
    return step.step, counts(step.old), counts(step.new), step.slot


# ---- semantics.md 2.8 ----------------------------------------------------------------------------------------------

SHARED_ANON: list[Row] = [
    (0, "3/2", "-", None),  # isolated
    (1, "3/2", "-", None),
    (2, "3/2", "-", None),
    (3, "4/2", "-", 1),  # add_to_swap
    (4, "4/2", "1/0", 1),
    (7, "4/2", "1/0", 1),  # first test: 2 + 2 = 4
    (5, "2/0", "1/0", 3),  # unmapped
    (6, "2/0", "1/0", 3),
    (7, "2/0", "1/0", 3),
    (8, "2/0", "1/0", 3),
    (9, "2/0", "1/0", 3),
    (10, "2/0", "1/0", 3),
    (11, "2/0", "2/0", 3),
    (12, "1/0", "2/0", 3),
    (13, "1/0", "2/0", 3),  # tree switched
    (14, "1/0", "2/0", 3),
    (15, "1/0", "2/0", 3),
    (16, "1/0", "2/0", 3),
    (17, "1/0", "2/0", 3),
    (18, "1/0", "3/2", 0),  # ptes restored and left swap cache
    (19, "1/0", "3/2", 0),
    (20, "0/0", "2/2", 0),  # N to LRU, O put back
]


def test_trace_a_an_anonymous_page_of_parent_and_child() -> None:
    (only,) = told(PageState(mapcount=2))
    assert [row(step) for step in only.steps] == SHARED_ANON
    assert (only.first, only.last, only.outcome, only.reason) == (0, 0, "moved", "")


BUFFERED_FILE: list[Row] = [
    (0, "4/1", "-", None),
    (1, "4/1", "-", None),
    (2, "4/1", "-", None),
    (4, "4/1", "1/0", None),
    (7, "4/1", "1/0", None),  # first test: 1 + 3 = 4
    (5, "3/0", "1/0", None),
    *((step, "3/0", "1/0", None) for step in (6, 7, 8, 9, 10)),
    (11, "3/0", "2/0", None),
    (12, "2/0", "2/0", None),
    (13, "2/0", "2/0", None),  # tree switched
    (13, "1/0", "3/0", None),  # ring handed over
    *((step, "1/0", "3/0", None) for step in (14, 15, 16, 17, 18, 19)),
    (20, "0/0", "2/0", None),
]


def test_trace_b_a_page_of_a_file_with_a_ring() -> None:
    (only,) = told(PageState(kind="file", method="buffer", ring=Ring()))
    assert [row(step) for step in only.steps] == BUFFERED_FILE


def test_trace_c_an_anonymous_page_pinned_once() -> None:
    """Backs out eleven times at the first test; from the second pass on it has its slot, and the pte never goes."""
    first, rest = told(PageState(pin=NEVER))
    assert (first.first, first.last, rest.first, rest.last) == (0, 0, 1, 10)
    assert [row(step) for step in first.steps] == [
        (0, "3/1", "-", None),
        (1, "3/1", "-", None),
        (2, "3/1", "-", None),
        (3, "4/1", "-", 1),
        (4, "4/1", "1/0", 1),
        (7, "4/1", "1/0", 1),
    ]
    assert [row(step)[1:] for step in rest.steps] == [("4/1", "-", 1)] * 4 + [("4/1", "1/0", 1)] * 2
    assert {each.reason for each in (first, rest)} == {"pinned"}


# ---- semantics.md 1.6 ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Worked:
    """Rows of 1.6 for k ptes: how many references a page has beyond its ptes, at which step, in which state."""

    state: PageState
    step: int
    more: int
    of_target: bool = False
    unmapped: bool = False


WORKED = {
    "anon, isolated": Worked(PageState(), 0, 1),
    "anon, after add_to_swap": Worked(PageState(), 3, 2),
    "anon, after try_to_unmap": Worked(PageState(), 6, 2, unmapped=True),
    "old page after tree switch": Worked(PageState(), 13, 1, unmapped=True),
    "new page at the same moment": Worked(PageState(), 13, 2, of_target=True, unmapped=True),
    "new page after remove_from_swap": Worked(PageState(), 18, 1, of_target=True),
    "new page after move_to_lru": Worked(PageState(), 20, 0, of_target=True),
    "anon in swap cache, isolated": Worked(PageState(swapcache=True), 0, 2),
    "file, isolated": Worked(PageState(kind="file"), 0, 2),
    "file with buffers, isolated": Worked(PageState(kind="file", method="buffer", ring=Ring()), 0, 3),
    "old buffered page after the ring is gone": Worked(
        PageState(kind="file", method="buffer", ring=Ring()), 14, 1, unmapped=True
    ),
    "new buffered page before move_to_lru": Worked(
        PageState(kind="file", method="buffer", ring=Ring()), 19, 3, of_target=True, unmapped=True
    ),
    "new buffered page after": Worked(
        PageState(kind="file", method="buffer", ring=Ring()), 20, 2, of_target=True, unmapped=True
    ),
}


@pytest.mark.parametrize("k", [1, 2, 7])
@pytest.mark.parametrize("worked", WORKED.values(), ids=WORKED)
def test_the_counts_of_a_move(worked: Worked, k: int) -> None:
    (only,) = told(replace(worked.state, mapcount=k))
    step = next(each for each in only.steps if each.step == worked.step)
    found = step.new if worked.of_target else step.old
    mapped = 0 if worked.unmapped else k
    assert found == Counts(mapped + worked.more, mapped)


def test_a_truncated_page_is_seen_before_its_lock_or_at_step_9() -> None:
    """Count 1 and nobody else: freed under us. An orphan with its ring has 2 to the end."""
    (gone,) = told(PageState(kind="file", mapcount=0, truncated=True))
    assert ([row(step) for step in gone.steps], gone.outcome) == ([(0, "1/0", "-", None)], "vanished")
    (orphan,) = told(PageState(kind="file", mapcount=0, truncated=True, ring=Ring()))
    assert (orphan.first, orphan.last, orphan.reason) == (0, 10, "truncated")
    assert row(orphan.steps[-1]) == (9, "2/0", "1/0", None)


# ---- semantics.md 1.7: the slot --------------------------------------------------------------------------------------


def test_swap_ptes_of_others_come_back_with_those_of_the_page() -> None:
    """Two tasks map it, three have had it swapped out: five ptes in the end, and the slot is free."""
    (only,) = told(PageState(mapcount=2, swapcache=True), swap_ptes=3)
    slots = [(step.step, step.slot) for step in only.steps]
    assert slots[0] == (0, 4)
    assert (5, 6) in slots
    assert row(only.steps[-1]) == (20, "0/0", "5/5", 0)


def test_an_eviction_leaves_the_swap_ptes_alone_with_the_slot() -> None:
    """Written in pass 0, gone in pass 1; the slot's share of the swap cache goes with the page."""
    written, gone = told(PageState(mapcount=2), OUT)
    assert [row(step)[1:] for step in written.steps] == [
        ("3/2", "-", None),
        ("3/2", "-", None),
        ("3/2", "-", None),
        ("4/2", "-", 1),
        ("2/0", "-", 3),
        ("2/0", "-", 3),
    ]
    assert written.steps[-1].what == "dirty: pageout says SUCCESS, written"
    assert (written.outcome, written.reason) == ("retry", "writeback-started")
    assert [row(step)[1:] for step in gone.steps] == [("2/0", "-", 3)] * 5 + [("1/0", "-", 2)]
    assert gone.outcome == "evicted"


def test_no_target_is_prepared_for_a_page_that_is_to_leave_memory() -> None:
    for state in (PageState(), PageState(kind="file", method="buffer"), PageState(pin=NEVER)):
        assert all(step.new is None for each in told(state, OUT) for step in each.steps)
        assert all(step.step != 4 for each in told(state, OUT) for step in each.steps)


TMPFS = PageState(kind="shm", method="none", writepage="swap", dirty=True)


def test_a_written_page_of_tmpfs_moves_by_way_of_the_swap_cache() -> None:
    """Its inode keeps the slot with the cache: 2, before and after; its ptes do not count (1.7, 2.4, B11)."""
    stored, moved = told(TMPFS)
    assert [step.what for step in stored.steps][-2:] == [
        "ptes are dropped",
        "dirty: pageout says SUCCESS, in the swap cache now",
    ]
    assert [step.slot for step in stored.steps] == [None] * (len(stored.steps) - 1) + [2]
    assert {step.slot for step in moved.steps} == {2}
    assert row(moved.steps[-1]) == (20, "0/0", "1/0", 2)


def test_a_written_page_of_tmpfs_leaves_memory_in_three_passes() -> None:
    stored, written, gone = told(TMPFS, OUT)
    assert [each.steps[-1].what.rpartition(" says ")[2] for each in (stored, written)] == [
        "SUCCESS, in the swap cache now",
        "SUCCESS, written",
    ]
    assert [each.steps[-1].slot for each in (stored, written, gone)] == [2, 2, 1]


# ---- semantics.md 2.6: where every outcome ends ----------------------------------------------------------------------


@dataclass(frozen=True)
class End:
    """How a trace ends: passes of its last part, last step, the old page then, the slot then."""

    passes: tuple[int, int]
    reason: str
    step: int
    old: str
    slot: int | None = None


FILE = PageState(kind="file", method="none")
RAMFS = replace(FILE, writepage="none", dirty=True)
RINGED = PageState(kind="file", method="buffer", ring=Ring())

ENDS = {
    "busy-locked": (PageState(lock=NEVER), End((0, 10), "busy-locked", 1, "2/1")),
    "busy-writeback": (PageState(kind="file", writeback=NEVER), End((0, 10), "busy-writeback", 2, "3/1")),
    "mlocked in another task": (PageState(mapcount=2, mlocked=True), End((0, 0), "mlocked", 5, "4/2", 1)),
    "mlocked page of a file": (PageState(kind="file", mapcount=2, mlocked=True), End((0, 0), "mlocked", 5, "4/2")),
    "mlocked, no method": (replace(FILE, mapcount=2, mlocked=True), End((0, 0), "mlocked", 5, "4/2")),
    "collected from a locked area (B6)": (PageState(area="vma-locked"), End((0, 0), "mlocked", 0, "2/1")),
    "fs-refuses": (replace(FILE, method="fail"), End((0, 0), "fs-refuses", 5, "3/1")),
    "pinned": (PageState(pin=NEVER), End((1, 10), "pinned", 7, "4/1", 1)),
    "pinned, in the swap cache": (PageState(pin=NEVER, swapcache=True), End((0, 10), "pinned", 7, "4/1", 1)),
    "pinned page of a file": (PageState(kind="file", pin=NEVER), End((0, 10), "pinned", 7, "4/1")),
    "pinned, with a ring": (replace(RINGED, pin=NEVER), End((0, 10), "pinned", 7, "5/1")),
    "pinned, no method: ptes gone": (replace(FILE, pin=NEVER), End((1, 10), "pinned", 7, "3/0")),
    "a ring that its method does not know": (replace(RINGED, method="page"), End((0, 10), "pinned", 7, "4/1")),
    "a buffer locked for ever": (replace(RINGED, ring=Ring(locked=NEVER)), End((0, 10), "busy-locked", 13, "4/1")),
    "truncated, held": (
        replace(FILE, mapcount=0, truncated=True, pin=NEVER),
        End((0, 10), "truncated", 9, "2/0"),
    ),
    "pageout-activate": (RAMFS, End((1, 10), "pageout-activate", 5, "2/0")),
    "dirty, a buffer locked for ever": (
        replace(FILE, dirty=True, ring=Ring(dirty=True, locked=NEVER)),
        End((5, 10), "buffers-busy", 5, "3/0"),
    ),
    "writeback-started in the last pass": (
        replace(FILE, dirty=True, pin=10),
        End((10, 10), "writeback-started", 5, "2/0"),
    ),
    "buffers-busy": (replace(FILE, ring=Ring(busy=NEVER)), End((5, 10), "buffers-busy", 5, "3/0")),
    "pageout-keep": (replace(FILE, dirty=True, pin=NEVER), End((1, 10), "pageout-keep", 5, "3/0")),
}


@pytest.mark.parametrize(("state", "end"), ENDS.values(), ids=ENDS)
def test_a_trace_ends_at_the_step_that_stops_the_page(state: PageState, end: End) -> None:
    last = told(state)[-1]
    step = last.steps[-1]
    found = End((last.first, last.last), last.reason, step.step, counts(step.old), step.slot)
    assert found == end
    assert last.outcome in ("retry", "failed")


def test_without_a_slot_it_ends_at_step_3() -> None:
    (only,) = told(PageState(), slot=False)
    assert row(only.steps[-1]) == (3, "2/1", "-", None)
    assert (only.outcome, only.reason) == ("failed", "no-swap")


def test_what_is_waited_for_is_told_pass_by_pass() -> None:
    """A lock until pass 2 and then a pin until 5: three courses before the move."""
    parts = told(PageState(lock=2, pin=5))
    assert [(each.first, each.last, each.reason) for each in parts] == [
        (0, 1, "busy-locked"),
        (2, 2, "pinned"),
        (3, 4, "pinned"),
        (5, 5, ""),
    ]
    assert parts[2].steps[3].what.endswith("it has one")
    assert row(parts[-1].steps[-1]) == (20, "0/0", "1/1", 0)


def test_a_ring_is_dropped_where_the_mapping_has_no_method() -> None:
    (only,) = told(replace(FILE, ring=Ring()))
    dropped = next(step for step in only.steps if step.what == "buffers dropped")
    assert (counts(dropped.old), row(only.steps[-1])) == ("2/0", (20, "0/0", "1/0", None))


WORDS = {
    "CLEAN": (FILE, "clean: nothing for pageout to write, CLEAN"),
    "SUCCESS": (replace(FILE, dirty=True), "dirty: pageout says SUCCESS, written"),
    "SUCCESS of tmpfs": (TMPFS, "dirty: pageout says SUCCESS, in the swap cache now"),
    "ACTIVATE": (RAMFS, "dirty: pageout says ACTIVATE, nothing can write it"),
    "KEEP": (replace(FILE, dirty=True, pin=NEVER), "dirty: pageout says KEEP, somebody else holds it"),
}


@pytest.mark.parametrize("rules", [V9, OUT])
@pytest.mark.parametrize(("state", "what"), WORDS.values(), ids=WORDS)
def test_every_answer_of_pageout_is_told(state: PageState, what: str, rules: Rules) -> None:
    """2.4: after the ptes are gone (B10)."""
    steps = [step.what for step in told(state, rules)[0].steps]
    assert steps.index("ptes are dropped") < steps.index(what)


def test_without_a_method_the_ptes_go_before_references_are_counted() -> None:
    """migrate_page() counts a page that nobody maps any more, once before and once under the tree lock."""
    (only,) = told(replace(FILE, mapcount=2))
    tests = [(step.what, counts(step.old)) for step in only.steps if step.step == 7]
    assert tests == [
        (f"{STEPS[7]}: 0 ptes and 2 known, 2 in all: equal", "2/0"),
        (STEPS[7], "2/0"),
    ]
    pinned = told(replace(FILE, pin=NEVER))[0].steps[-1]
    assert pinned.what == f"{STEPS[7]}: 0 ptes and 2 known, 3 in all: not equal"


DIRTY = {
    "anonymous: add_to_swap": (PageState(), True),
    "clean in the swap cache": (PageState(swapcache=True), False),
    "dirty in the swap cache": (PageState(swapcache=True, dirty=True), True),
    "clean page of a file": (PageState(kind="file"), False),
    "dirty page of a file": (PageState(kind="file", dirty=True), True),
    "written on the way": (replace(FILE, dirty=True), False),
}


@pytest.mark.parametrize(("state", "dirty"), DIRTY.values(), ids=DIRTY)
def test_step_15_says_dirty_of_dirty_pages_only(state: PageState, dirty: bool) -> None:
    (step,) = [step for step in told(state)[-1].steps if step.step == 15]
    assert step.what == (STEPS[15] if dirty else CLEAN_FLAGS)


def test_the_second_question_for_a_ring_is_told() -> None:
    """From pass 5 on (2.2 n): no in pass 5, yes in pass 6, where the page leaves memory."""
    parts = told(replace(FILE, mapcount=0, ring=Ring(busy=6, late=True)))
    assert [(each.first, each.last, each.outcome) for each in parts] == [
        (0, 4, "retry"),
        (5, 5, "retry"),
        (6, 6, "evicted"),
    ]
    asked = [[step.what for step in each.steps if "buffers" in step.what] for each in parts]
    assert asked == [
        ["buffers cannot be dropped"],
        ["buffers cannot be dropped", "swap_page asks again: buffers cannot be dropped"],
        ["buffers cannot be dropped", "swap_page asks again: buffers dropped"],
    ]
    assert (counts(parts[-1].steps[-2].old), counts(parts[-1].steps[-1].old)) == ("2/0", "1/0")


# ---- commands that meet the page -----------------------------------------------------------------------------------


def met_at(state: PageState, step: int) -> tuple[TracePass, ...]:
    """A page that a command meets in pass 0; it moves in pass 1."""
    after = replace(state, pin=1, backed_out=True, swapcache=state.kind == "anon" and (state.swapcache or step >= 3))
    met = Met(state, V9.course(state), 0, step, "fault 101 a", 0, 0)
    return trace(after, V9.course(after), 1, rules=V9, pins=1, met=[met])


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("state", [PageState(mapcount=2), RINGED, FILE], ids=["anonymous", "with a ring", "no method"])
def test_a_pass_that_somebody_meets_is_told_as_it_went(state: PageState, step: int) -> None:
    """Until step 4 the first test finds the reference; at step 5 the ptes are gone, and the second one does."""
    backed, moved = met_at(state, step)
    assert (backed.outcome, backed.reason, moved.outcome) == ("retry", "pinned", "moved")
    order = [each.step for each in backed.steps]
    meets = next(k for k, each in enumerate(backed.steps) if each.what == "meets 'fault 101 a', which holds it")
    assert backed.steps[meets].old.refs == backed.steps[meets - 1].old.refs + 1
    assert order[meets] == step
    assert order[-1] == 7
    assert "not equal" in backed.steps[-1].what or backed.steps[-1].what.endswith("somebody else holds one")
    gone = [each for each in backed.steps if each.what in ("ptes are dropped", "ptes become swap ptes")]
    assert bool(gone) == (step == 5 or state is FILE)
    assert backed.steps[-1].old.mapcount == (0 if gone else state.mapcount)


# ---- a 6.x kernel ----------------------------------------------------------------------------------------------------


def test_today_ptes_become_migration_entries_and_no_slot_is_asked_for() -> None:
    (only,) = told(PageState(mapcount=2), TODAY)
    assert {step.slot for step in only.steps} == {None}
    assert 3 not in {step.step for step in only.steps}
    assert [(step.step, counts(step.old), counts(step.new)) for step in only.steps if step.step in (5, 18, 20)] == [
        (5, "1/0", "1/0"),
        (18, "1/0", "3/2"),
        (20, "0/0", "2/2"),
    ]


def test_today_a_page_in_the_swap_cache_keeps_its_slot() -> None:
    """Migration entries have no share in it."""
    (only,) = told(PageState(swapcache=True), TODAY, swap_ptes=1)
    assert {step.slot for step in only.steps} == {2}
    assert row(only.steps[-1]) == (20, "0/0", "2/1", 2)


def test_today_a_page_of_a_file_is_mapped_again() -> None:
    (only,) = told(PageState(kind="file", mapcount=3), TODAY)
    assert row(only.steps[-1]) == (20, "0/0", "4/3", None)


MODERN_ENDS = {
    "pinned": (PageState(pin=NEVER), End((0, 9), "pinned", 18, "3/1")),
    "pinned, no method": (replace(FILE, pin=NEVER), End((0, 9), "pinned", 18, "4/1")),
    "pinned, mapped by nobody": (replace(FILE, mapcount=0, pin=NEVER), End((0, 9), "pinned", 7, "3/0")),
    "ramfs": (RAMFS, End((0, 0), "pageout-activate", 18, "3/1")),
    "locked": (PageState(lock=NEVER), End((0, 9), "busy-locked", 1, "2/1")),
}


@pytest.mark.parametrize(("state", "end"), MODERN_ENDS.values(), ids=MODERN_ENDS)
def test_where_a_trace_of_today_ends(state: PageState, end: End) -> None:
    """The ptes go first, references are counted then; a page that stays gets its ptes back (B24 is no more)."""
    last = told(state, TODAY)[-1]
    step = last.steps[-1]
    assert End((last.first, last.last), last.reason, step.step, counts(step.old), step.slot) == end


# ---- the patches as posted -------------------------------------------------------------------------------------------


def test_as_posted_nobody_restores_the_swap_ptes() -> None:
    """B4: swap ptes, swap cache entry and slot stay; the target has the tree's reference and no mapping."""
    (only,) = told(PageState(mapcount=2), POSTED)
    assert row(only.steps[-1]) == (20, "0/0", "1/0", 3)


def test_as_posted_the_ring_goes_before_the_ptes() -> None:
    """B10: dirty is asked first, then for the ring, then references are counted, and only then the ptes go."""
    (only,) = told(replace(FILE, ring=Ring(), dropped_dirty=True), POSTED)
    steps = [each.what for each in only.steps]
    wanted = ["clean: nothing for pageout to write, CLEAN", "buffers dropped"]
    wanted += [f"{STEPS[7]}: 1 pte and 2 known, 3 in all: equal", "ptes are dropped", STEPS[6]]
    at = steps.index(wanted[0])
    assert steps[at : at + len(wanted)] == wanted
    assert STEPS[15] in steps, "it is dirty once the pte is gone"
    kept = told(replace(FILE, dirty=True), POSTED)[0].steps[-1]
    assert kept.what == "dirty: pageout says KEEP, it is mapped"


def test_as_posted_ten_calls_take_nine_young_ptes_away() -> None:
    """B28: each call stops at the first young one; the one that the last call made old goes in the next pass."""
    parts = told(PageState(mapcount=25, young=20), POSTED)
    assert [(each.first, each.reason, each.steps[-1].old.mapcount) for each in parts] == [
        (0, "unmap-incomplete", 16),
        (1, "unmap-incomplete", 6),
        (2, "", 0),
    ]
    assert parts[0].steps[-1].what == f"{STEPS[5]}: 9 are gone, each call stopped at a young one"
    assert [each.steps[-1].slot for each in parts[:2]] == [10, 20]


POSTED_ENDS = {
    "B8: other ptes are gone, eleven times": (
        PageState(mapcount=2, mlocked=True),
        End((1, 10), "unmap-incomplete", 5, "4/2", 1),
    ),
    "B10: dirty is asked while it is mapped": (replace(FILE, dirty=True), End((0, 10), "pageout-keep", 5, "3/1")),
    "pinned, no method: nothing is unmapped": (replace(FILE, pin=NEVER), End((0, 10), "pinned", 7, "4/1")),
}


@pytest.mark.parametrize(("state", "end"), POSTED_ENDS.values(), ids=POSTED_ENDS)
def test_where_a_trace_as_posted_ends(state: PageState, end: End) -> None:
    last = told(state, POSTED)[-1]
    step = last.steps[-1]
    assert End((last.first, last.last), last.reason, step.step, counts(step.old), step.slot) == end


# ---- all of them -----------------------------------------------------------------------------------------------------

HOLDS = st.none() | st.sampled_from([*range(11), NEVER])
RINGS = st.none() | st.builds(Ring, dirty=st.booleans(), locked=HOLDS, busy=HOLDS, late=st.booleans())
STATES = st.builds(
    PageState,
    kind=st.sampled_from(["anon", "file"]),
    method=st.sampled_from(["page", "buffer", "fail", "none"]),
    mapcount=st.integers(1, 4),
    lock=HOLDS,
    writeback=HOLDS,
    pin=HOLDS,
    mlocked=st.booleans(),
    dirty=st.booleans(),
    ring=RINGS,
    writepage=st.sampled_from(["disk", "none"]),
).map(lambda state: replace(state, method="page", ring=None) if state.kind == "anon" else state)


@given(STATES, st.integers(0, 3), st.booleans(), st.sampled_from([V9, TODAY, OUT, POSTED]))
def test_what_every_trace_keeps(state: PageState, swap_ptes: int, cached: bool, rules: Rules) -> None:
    """
    The parts follow each other; no page loses a mapping without a pte becoming something else; the target is nobody's
    until step 11; a move ends with the old page free; the last part says what the course says.
    """
    anon = state.kind == "anon"
    swap_ptes = swap_ptes if anon and cached else 0
    state = replace(state, swapcache=anon and cached)
    way = rules.course(state)
    parts = told(state, rules, swap_ptes=swap_ptes)
    assert [part.first for part in parts[1:]] == [part.last + 1 for part in parts[:-1]]
    assert parts[0].first == 0
    assert parts[-1].last == (rules.last_pass if way.end is None else way.end)
    assert (parts[-1].outcome, parts[-1].reason) == (way.last.outcome, way.last.reason)
    assert all(part.outcome == "retry" and part.reason for part in parts[:-1])
    last = parts[-1].steps[-1]
    assert (last.step == 20) == way.moves
    for part in parts:
        for step in part.steps:
            assert step.old.refs >= step.old.mapcount
            assert step.step in STEPS
            if step.new is not None and step.step < 11:
                assert step.new == Counts(1, 0)
            if anon and not rules.today and step.slot and not way.moves:
                in_cache = step.what != "out of memory: its content is in swap or on disk"
                assert step.slot == in_cache + swap_ptes + state.mapcount - step.old.mapcount
    if way.moves:
        back = state.mapcount + (0 if rules.today else swap_ptes) if (anon or rules.today) and not rules.posted else 0
        assert last.old == Counts(0, 0)
        assert last.new is not None
        assert last.new.mapcount == back
