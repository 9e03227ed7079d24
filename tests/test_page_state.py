"""The packed state of a page: what SQLite packs is what the rules unpack."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migratectl.page_state import LATE, PageState, Ring, node_of, pack, same, told_apart, unpack
from migratectl.uapi import MAX_NUMNODES, NEVER

RELEASES = st.none() | st.sampled_from([0, 1, 10, NEVER])
RINGS = st.builds(Ring, st.booleans(), RELEASES, RELEASES)
STATES = st.builds(
    PageState,
    kind=st.sampled_from(["anon", "zero", "file", "shm"]),
    method=st.sampled_from(["page", "buffer", "fail", "none"]),
    mapcount=st.integers(0, 127),
    swapcache=st.booleans(),
    lock=RELEASES,
    writeback=RELEASES,
    pin=RELEASES,
    area=st.sampled_from(["", "vma-locked", "vma-io", "vma-pfnmap", "vma-hugetlb", "vma-reserved"]),
    mlocked=st.booleans(),
    parked=st.booleans(),
    dirty=st.booleans(),
    ring=st.none() | RINGS,
    writepage=st.sampled_from(["disk", "swap", "none"]),
    truncated=st.booleans(),
    owned=st.booleans(),
    dropped_dirty=st.booleans(),
    young=st.integers(0, 15).map(lambda tens: tens * 10),
    backed_out=st.booleans(),
)
"""All that a list can hold, but for rings that are late (below)."""


def evaluated(expression: str) -> int:
    """What SQLite makes of an expression."""
    with sqlite3.connect(":memory:") as conn:
        found: int = conn.execute(f"SELECT {expression}").fetchone()[0]
    conn.close()
    return found


def literal(value: object) -> str:
    """A value as SQL has it."""
    return "NULL" if value is None else f"'{value}'" if isinstance(value, str) else str(int(bool(value)))


def packed(state: PageState, node: int = 0) -> int:
    """A state as a list of pages on a node would have it."""
    numbers = {"mapcount": state.mapcount, "young": state.young, "node": node}
    holds = {"lock": state.lock, "writeback": state.writeback, "pin": state.pin}
    ring = state.ring or Ring()
    holds |= {"ring_locked": ring.locked, "ring_busy": ring.busy}
    said = {name: "NULL" if value is None else str(value) for name, value in (numbers | holds).items()}
    others = [name for name in PageState.__slots__ if name not in said]
    said |= {name: literal(getattr(state, name)) for name in others}
    said |= {"ring": literal(state.ring is not None), "ring_dirty": literal(ring.dirty)}
    return evaluated(pack(said | ({"writepage": literal(LATE)} if ring.late else {})))


@given(state=STATES, node=st.integers(0, MAX_NUMNODES - 1))
def test_what_is_packed_is_unpacked(state: PageState, node: int) -> None:
    number = packed(state, node)
    assert (unpack(number), node_of(number)) == (state, node)


@given(ring=RINGS)
def test_a_ring_of_a_disk_may_be_late(ring: Ring) -> None:
    state = PageState(kind="file", ring=replace(ring, late=True))
    assert unpack(packed(state)) == state


def test_what_nobody_asked_is_no_and_no_hold() -> None:
    """A list of anonymous pages of one task needs no more than the mapcount."""
    assert unpack(evaluated(pack({"mapcount": "1"}))) == PageState(owned=False)


@pytest.mark.parametrize(("ptes", "wanted"), [(126, 126), (127, 127), (128, 127), (1 << 40, 127)])
def test_a_mapcount_beyond_the_layout_is_its_highest(ptes: int, wanted: int) -> None:
    """The rules ask for 0, 1 and many."""
    assert unpack(evaluated(pack({"mapcount": str(ptes), "lock": "0"}))) == PageState(
        mapcount=wanted, lock=0, owned=False
    )


@pytest.mark.parametrize(("ptes", "wanted"), [(9, 0), (10, 10), (19, 10), (159, 150), (1000, 150)])
def test_young_ptes_are_told_in_tens(ptes: int, wanted: int) -> None:
    """Seven bits less, and a pass makes ten of them old: eleven passes are through before fifteen tens are."""
    assert unpack(evaluated(pack({"young": str(ptes)}))).young == wanted


@given(state=STATES, number=st.integers(1, 15), other=st.integers(1, 15))
def test_states_that_are_told_apart_read_the_same(state: PageState, number: int, other: int) -> None:
    whole = packed(state)
    apart = told_apart(whole, number)
    assert apart != whole
    assert unpack(apart) == state
    assert told_apart(apart, other) == told_apart(whole, other)


@given(state=STATES)
def test_the_area_of_another_state_can_be_taken_over(state: PageState) -> None:
    found = unpack(evaluated(f"{pack({'mapcount': '3'})} | {same('area', str(packed(state)))}"))
    assert found == PageState(mapcount=3, area=state.area, owned=False)


def test_an_unknown_fact_is_refused() -> None:
    with pytest.raises(KeyError):
        pack({"colour": "1"})


@pytest.mark.parametrize(
    "state",
    [
        PageState(lock=0),
        PageState(pin=NEVER),
        PageState(writeback=3),
        PageState(ring=Ring(locked=1)),
        PageState(ring=Ring(busy=NEVER)),
    ],
)
def test_a_hold_of_any_kind_is_one(state: PageState) -> None:
    assert state.held
    assert not PageState(kind="file", ring=Ring(dirty=True), parked=True, mlocked=True).held
