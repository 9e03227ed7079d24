"""Who gets the last swap slots (semantics.md 1.7, 2.6, B9), against a loop page by page."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migratectl.kernel.swap import Event, SlotPlan, What, plan_slots, slot_events
from migratectl.runs import Run

Position = tuple[int, int]


@dataclass
class Loop:
    """One page after the other: where nobody finds a slot, and who keeps one."""

    free: dict[int, int]
    dry_at: set[Position] = field(default_factory=set)
    kept: dict[int, tuple[int, int, int]] = field(default_factory=dict)

    def run(self, events: list[Event], asked_at: list[Position]) -> None:
        """Walk the events; at each of *asked_at* note whether a page that asks there finds nothing."""
        turns = sorted([((p, a), 1, (what, area)) for p, a, what, area in events] + [(q, 0, None) for q in asked_at])
        for (nr_pass, address), _, event in turns:
            if event is None:
                if not any(self.free.values()):
                    self.dry_at.add((nr_pass, address))
                continue
            what, area = event
            if what == "give":
                self.free[area] += 1
            elif what == "return" and address in self.kept:
                self.free[self.kept[address][2]] += 1
            elif what == "keep" and any(self.free.values()):
                taken = min(name for name, nr in self.free.items() if nr)
                self.free[taken] -= 1
                self.kept[address] = nr_pass, address, taken


def is_dry(plan: SlotPlan, position: Position) -> bool:
    """Whether a position lies in a dry stretch."""
    return any(low <= position and (high is None or position < high) for low, high in plan.dry)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[tuple[int, Run, What, int]], dict[int, int]]:
    """Pages by address: some keep a slot, some give one back, some keep it and return it in a later pass."""
    free = {area: draw(st.integers(0, 3)) for area in range(1, draw(st.integers(1, 3)) + 1)}
    runs: list[tuple[int, Run, What, int]] = []
    at = 0
    for _ in range(draw(st.integers(0, 8))):
        run = Run(at + draw(st.integers(0, 2)), draw(st.integers(1, 3)), draw(st.integers(1, 4)))
        at = run.last + 1
        nr_pass = draw(st.integers(0, 2))
        if draw(st.booleans()):
            runs.append((nr_pass, run, "give", draw(st.sampled_from(sorted(free)))))
            continue
        runs.append((nr_pass, run, "keep", 0))
        if draw(st.booleans()):
            runs.append((nr_pass + draw(st.integers(1, 2)), run, "return", 0))
    return runs, free


@settings(max_examples=100)
@given(cases())
def test_slots_go_where_they_would_go_one_by_one(
    case: tuple[list[tuple[int, Run, What, int]], dict[int, int]],
) -> None:
    runs, free = case
    events = slot_events(runs)
    plan = plan_slots(events, list(free.items()))
    busy = {(p, a) for p, a, what, _ in events if what != "keep"}
    high = max((address for _, address, _, _ in events), default=0) + 2
    asked_at = [(p, a) for p in range(6) for a in range(high) if (p, a) not in busy]
    loop = Loop(dict(free))
    loop.run(events, asked_at)
    assert {q for q in asked_at if is_dry(plan, q)} == loop.dry_at
    assert set(plan.kept) == set(loop.kept.values())
    assert len(plan.kept) == len(loop.kept)


def test_events_are_in_pass_and_address_order() -> None:
    """A strided run lies between the pages of another; an earlier pass comes before a lower address."""
    runs: list[tuple[int, Run, What, int]] = [
        (1, Run(0, 1, 2), "keep", 0),
        (0, Run(10, 2, 2), "keep", 0),
        (0, Run(11, 1, 1), "give", 3),
    ]
    assert slot_events(runs) == [
        (0, 10, "keep", 0),
        (0, 11, "give", 3),
        (0, 12, "keep", 0),
        (1, 0, "keep", 0),
        (1, 1, "keep", 0),
    ]


EXAMPLES: dict[str, tuple[list[Event], dict[int, int], SlotPlan]] = {
    "no slot at all": ([], {1: 0}, SlotPlan((((0, 0), None),), ())),
    "no area at all": ([], {}, SlotPlan((((0, 0), None),), ())),
    "a slot is free and nobody keeps it": ([], {1: 1}, SlotPlan((), ())),
    "the last slot is kept: dry behind that page": (
        [(0, 5, "keep", 0)],
        {1: 1},
        SlotPlan((((0, 6), None),), ((0, 5, 1),)),
    ),
    "a mover that was in the swap cache gives one back: not dry behind it": (
        [(0, 5, "keep", 0), (0, 9, "give", 1)],
        {1: 1},
        SlotPlan((((0, 6), (0, 9)),), ((0, 5, 1),)),
    ),
    "dry twice: kept, given back, kept again": (
        [(0, 5, "keep", 0), (0, 9, "give", 1), (0, 12, "keep", 0)],
        {1: 1},
        SlotPlan((((0, 6), (0, 9)), ((0, 13), None)), ((0, 5, 1), (0, 12, 1))),
    ),
    "a page pinned to pass 4 keeps its slot until it moves": (
        [(0, 5, "keep", 0), (4, 5, "return", 0)],
        {1: 1},
        SlotPlan((((0, 6), (4, 5)),), ((0, 5, 1),)),
    ),
    "a page that found none has none to return": (
        [(0, 5, "keep", 0), (4, 5, "return", 0)],
        {1: 0},
        SlotPlan((((0, 0), None),), ()),
    ),
    "areas in their order": (
        [(0, 1, "keep", 0), (0, 2, "keep", 0), (0, 3, "keep", 0)],
        {1: 1, 2: 2},
        SlotPlan((((0, 4), None),), ((0, 1, 1), (0, 2, 2), (0, 3, 2))),
    ),
}


@pytest.mark.parametrize(("events", "free", "wanted"), EXAMPLES.values(), ids=EXAMPLES)
def test_examples_of_slots(events: list[Event], free: dict[int, int], wanted: SlotPlan) -> None:
    assert plan_slots(events, list(free.items())) == wanted
