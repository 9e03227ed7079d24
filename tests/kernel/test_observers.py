"""Who meets a page that is being moved, and how they fare: the table of semantics.md 5."""

from __future__ import annotations

from dataclasses import replace

import pytest

from migratectl.kernel.observers import Meeting, Observer, meet, reaches
from migratectl.kernel.rules import Rules
from migratectl.page_state import PageState, Ring
from migratectl.uapi import NEVER, Profile

V9, TODAY, OUT = Rules(Profile.V9), Rules(Profile.MODERN), Rules(Profile.V9, evict=True)

BACKS_OUT = Meeting("page-lock", backed_out=True, retries=0, waits=False)
SPINS = Meeting("tree-lock", backed_out=False, retries=0, waits=True)
SLEEPS = Meeting("page-lock", backed_out=False, retries=0, waits=True)
RESIDENT = Meeting(None, backed_out=False, retries=0, waits=True)
UNHINDERED = Meeting(None, backed_out=False, retries=0, waits=False)
PINS = Meeting(None, backed_out=True, retries=0, waits=False)
"""A reference taken through a live pte: nobody sleeps, yet the count test fails."""


def once_more(meeting: Meeting) -> Meeting:
    """Patch 1: the page has left the swap cache, the entry is looked up again."""
    return meeting._replace(retries=1)


TABLE: dict[Observer, list[Meeting]] = {
    "swap": [BACKS_OUT] * 5 + [once_more(SPINS)] * 7 + [once_more(SLEEPS)] * 7 + [RESIDENT],
    "file": [BACKS_OUT] * 5 + [SPINS] * 7 + [SLEEPS] * 7 + [RESIDENT],
    "pin": [PINS] * 4 + [BACKS_OUT] + [SPINS] * 7 + [SLEEPS] * 7 + [RESIDENT],
    "fork": [UNHINDERED] * 17 + [RESIDENT] * 3,
    "reclaim": [UNHINDERED] * 19 + [RESIDENT],
    "other": [UNHINDERED] * 19 + [RESIDENT],
}
"""By observer the meetings at steps 1 to 20."""


@pytest.mark.parametrize("step", range(1, 21))
@pytest.mark.parametrize("observer", TABLE)
def test_the_table(observer: Observer, step: int) -> None:
    assert meet(observer, step, V9) == TABLE[observer][step - 1]


@pytest.mark.parametrize("step", range(1, 21))
def test_migration_entries_are_waited_for_without_a_reference(step: int) -> None:
    """A 6.x kernel: from step 5 on nothing backs out and nobody looks anything up again."""
    wanted = BACKS_OUT if step < 5 else SLEEPS if step < 20 else RESIDENT
    assert meet("swap", step, TODAY) == wanted


FILE = PageState(kind="file", method="none")

REACHED = {
    "moves at once": (PageState(), False, {1: 0, 5: 0, 14: 0, 20: 0}),
    "locked until 2": (PageState(lock=2), False, {1: 2, 20: 2}),
    "locked for ever": (PageState(lock=NEVER), False, {1: None, 20: None}),
    "writeback for ever: its lock is had": (PageState(kind="file", writeback=NEVER), False, {1: 0, 2: None}),
    "pinned until 4": (PageState(pin=4), False, {4: 0, 5: 4, 20: 4}),
    "pinned for ever: the first count test comes before step 5": (PageState(pin=NEVER), False, {4: 0, 5: None}),
    "mlocked elsewhere": (PageState(mlocked=True, mapcount=2), False, {4: 0, 5: None}),
    "fs-refuses": (replace(FILE, method="fail"), False, {4: 0, 5: None}),
    "a buffer locked for ever": (
        replace(FILE, method="buffer", ring=Ring(locked=NEVER)),
        False,
        {4: 0, 5: None},
    ),
    "no method, dirty: unmapped in pass 0, moved in pass 1": (replace(FILE, dirty=True), False, {5: 0, 6: 1, 20: 1}),
    "truncated and freed": (replace(FILE, mapcount=0, truncated=True), False, {1: None}),
    "truncated and held": (replace(FILE, mapcount=0, truncated=True, pin=NEVER), False, {4: 0, 5: None}),
    "evicted: unmapped, never switched": (PageState(), True, {3: 0, 5: 0, 6: None}),
    "evicted, mapped by nobody": (replace(FILE, mapcount=0), True, {5: 0, 6: None}),
}


@pytest.mark.parametrize(("state", "evict", "wanted"), REACHED.values(), ids=REACHED)
def test_in_which_pass_a_step_is_reached(state: PageState, evict: bool, wanted: dict[int, int | None]) -> None:
    way = (OUT if evict else V9).course(state)
    assert {step: reaches(way, step) for step in wanted} == wanted


def test_without_a_slot_step_3_is_not_reached() -> None:
    way = V9.course(PageState(), slot_from=NEVER)
    assert [reaches(way, step) for step in (2, 3, 5)] == [0, None, None]
