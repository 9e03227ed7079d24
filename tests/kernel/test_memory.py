"""What a fault needs (semantics.md 6.1, 6.3): absent pages, demand by interleave position, pieces; against sets."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migratectl.kernel.memory import absent, demand_by_index, demand_in_turn, placed_pieces
from migratectl.kernel.memory import given as given_to
from migratectl.kernel.mempolicy import Choice, policy_zonelists
from migratectl.kernel.page_alloc import Stage, place_faults
from migratectl.nodemask import Nodemask
from migratectl.policy import Policy
from migratectl.runs import Run, RunIndex, make_run
from migratectl.uapi import INDEX_LIMIT, Mode

RUNS = st.builds(make_run, st.integers(0, 60), st.integers(1, 9), st.integers(1, 12))


def pages(runs: Iterable[Run]) -> list[int]:
    """The page numbers, spelt out."""
    return [run.start + k * run.step for run in runs for k in range(run.nr_pages)]


@st.composite
def disjoint(draw: st.DrawFn) -> list[Run]:
    """Runs that share no page, some between one another."""
    taken: set[int] = set()
    chosen: list[Run] = []
    for run in draw(st.lists(RUNS, max_size=10)):
        if taken.isdisjoint(pages([run])):
            taken.update(pages([run]))
            chosen.append(run)
    return chosen


# ---- absent pages --------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(disjoint(), st.integers(0, 70), st.integers(1, 80))
def test_absent_is_the_complement(runs: list[Run], start: int, size: int) -> None:
    """Also for runs that reach beyond the range; every hole is found once."""
    end = start + size
    near = [run for run in runs if run.start < end and run.last >= start]
    holes = absent(start, end, near)
    assert sorted(pages(holes)) == sorted(set(range(start, end)) - set(pages(near)))
    assert all(run.nr_pages > 1 or run.step == 1 for run in holes)


@pytest.mark.parametrize(
    ("present", "holes"),
    [
        ([], [Run(0, 1, 12)]),
        ([Run(0, 1, 12)], []),
        ([Run(4, 1, 2)], [Run(0, 1, 4), Run(6, 1, 6)]),
        ([Run(0, 2, 6)], [Run(1, 2, 5), Run(11, 1, 1)]),
        ([Run(0, 3, 4), Run(1, 3, 4)], [Run(2, 3, 3), Run(11, 1, 1)]),
        ([Run(0, 11, 2), Run(2, 1, 2), Run(6, 1, 2)], [Run(1, 1, 1), Run(4, 1, 2), Run(8, 1, 3)]),
    ],
    ids=str,
)
def test_examples_of_absent_pages(present: list[Run], holes: list[Run]) -> None:
    assert sorted(pages(absent(0, 12, present))) == sorted(pages(holes))


def test_holes_of_a_large_interleaved_area_are_runs() -> None:
    """Seven of eight residues are present over 2^40 pages: one strided hole, and what is behind the last page."""
    nr = 1 << 40
    present = [Run(k, 8, nr) for k in range(8) if k != 3]
    holes = absent(0, 8 * nr, present)
    assert sum(run.nr_pages for run in holes) == nr
    assert len(holes) <= 3
    assert {run.start % 8 for run in holes} == {3}


# ---- demand by interleave position ---------------------------------------------------------------------------------

NODES = Nodemask([0, 3, 5, 6])
FALLBACK = {nid: (nid, *sorted({0, 3, 5, 6} - {nid})) for nid in (0, 3, 5, 6)}


def choice_of(nr: int) -> Choice:
    """An interleave set of the first *nr* nodes."""
    policy = Policy(Mode.INTERLEAVE, Nodemask(list(NODES)[:nr]))
    return policy_zonelists(policy, 0, FALLBACK, NODES, modern=False)


def demand_by_class(runs: list[Run], delta: int, choice: Choice) -> list[RunIndex]:
    """The pages that each list of a policy serves."""
    return [RunIndex(demand.runs) for demand in demand_by_index(runs, delta, choice)]


DELTAS = st.sampled_from([0, 1, -7, 1000, INDEX_LIMIT - 30, 2 * INDEX_LIMIT - 61, INDEX_LIMIT + 3])


@settings(max_examples=50)
@given(disjoint(), DELTAS, st.integers(1, 4))
def test_demand_is_divided_by_the_page_index(runs: list[Run], delta: int, nr: int) -> None:
    """Position (index mod 2^32) mod n, the index being address plus delta; also where it passes 2^32."""
    delta = max(delta, -min((run.start for run in runs), default=0))
    classes = demand_by_class(runs, delta, choice_of(nr))
    assert len(classes) == nr
    for number, index in enumerate(classes):
        found = sorted(index.address(k) for k in range(index.total))
        assert found == sorted(page for page in pages(runs) if (page + delta) % INDEX_LIMIT % nr == number)


@pytest.mark.parametrize(
    ("index", "nid"),
    [(0, 0), (1, 3), (2, 5), (3, 0), (0x10000, 3), ((1 << 32) - 1, 0), (1 << 32, 0), ((1 << 33) + 1, 3)],
)
def test_the_interleave_index_is_cut_to_32_bits(index: int, nid: int) -> None:
    """Over 0, 3, 5: 2^16 is 1 modulo 3, 2^32 - 1 is 0; 2^32 would be 1 and 2^33 + 1 would be 0 without the cut."""
    order = {node: (node, *(other for other in range(6) if other != node)) for node in range(6)}
    policy = Policy(Mode.INTERLEAVE, Nodemask.parse("0,3,5"))
    choice = policy_zonelists(policy, 1, order, Nodemask(range(6)), modern=False)
    classes = demand_by_class([Run(index, 1, 1)], 0, choice)
    assert [choice.zonelists[k][0] for k, demand in enumerate(classes) if demand.total] == [nid]


def test_a_whole_area_is_one_run_a_node() -> None:
    """2^34 pages over 4 nodes: four classes of one strided run each (2^32 is a multiple of 4)."""
    classes = demand_by_class([Run(0, 1, 1 << 31)], 0, choice_of(4))
    assert [index.strided for index in classes] == [[Run(k, 4, 1 << 29)] for k in range(4)]


# ---- demand in turn, and at two places of one page -------------------------------------------------------------------


@settings(max_examples=50)
@given(disjoint(), st.integers(0, 3), st.integers(1, 4))
def test_demand_in_turn_goes_round_in_ascending_order(runs: list[Run], position: int, nr: int) -> None:
    """The k-th page asked for is served by list (position + k) mod n, whatever its index."""
    position %= nr
    demands = demand_in_turn(runs, position, choice_of(nr))
    served = {page: number for number, demand in enumerate(demands) for page in pages(demand.runs)}
    assert served == {page: (position + k) % nr for k, page in enumerate(sorted(pages(runs)))}
    assert all(demand.interleave for demand in demands)


def test_what_is_asked_for_at_one_page_twice_is_given_one_after_the_other() -> None:
    """A page and its copy, three pages free: the first page gets both, the second its own alone."""
    choice = choice_of(1)
    read = [demand.scaled(2, 0) for demand in demand_by_index([Run(0, 1, 4)], 0, choice)]
    copied = [demand.scaled(2, 1) for demand in demand_by_index([Run(0, 1, 4)], 0, choice)]
    both = [*read, *copied]
    free = dict.fromkeys(NODES, 0) | {0: 3}
    indexes, lists = [RunIndex(demand.runs) for demand in both], [demand.zonelist for demand in both]
    stages, stop = place_faults(indexes, lists, free)
    assert stop == 3
    got = [pages(run for run, _ in given_to(demand, k, stages)) for k, demand in enumerate(both)]
    assert got == [[0, 2], [1]]


# ---- pieces --------------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(disjoint(), DELTAS, st.integers(1, 4), st.lists(st.integers(0, 15), min_size=4, max_size=4))
def test_pieces_are_the_placed_pages(runs: list[Run], delta: int, nr: int, room: list[int]) -> None:
    """Each page that got memory is in one piece, with the node of its class and stage; the others are in none."""
    delta = max(delta, -min((run.start for run in runs), default=0))
    choice = choice_of(nr)
    demand = demand_by_class(runs, delta, choice)
    stages, stopped = place_faults(demand, choice.zonelists, dict(zip(NODES, room, strict=True)))
    pieces = placed_pieces(runs, delta, nr, stages)
    found = {page: nid for run, nid in pieces for page in pages([run])}
    assert len(found) == sum(run.nr_pages for run, _ in pieces), "a page in two pieces"
    wanted = {}
    for stage in stages:
        for page in pages(runs):
            if stage.start <= page < stage.end:
                wanted[page] = stage.nodes[(page + delta) % INDEX_LIMIT % nr]
    assert found == wanted
    assert set(found) == {page for page in pages(runs) if stopped is None or page < stopped}
    assert all(run.nr_pages > 1 or run.step == 1 for run, _ in pieces)


def test_a_stretch_from_one_node_stays_whole() -> None:
    """Both positions get their pages from node 5: the run is not dealt."""
    assert placed_pieces([Run(0, 1, 9)], 0, 2, [Stage(0, 9, (5, 5))]) == [(Run(0, 1, 9), 5)]
    assert placed_pieces([Run(0, 1, 9)], 0, 2, [Stage(0, 9, (5, 6))]) == [(Run(0, 2, 5), 5), (Run(1, 2, 4), 6)]
