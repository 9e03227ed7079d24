"""Targets by policy: stretches against a loop that gives each page its target when its turn comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migratectl.kernel.page_alloc import Stretch, Zonelist, place_at_once, place_own_targets
from migratectl.runs import Run, RunIndex

Page = tuple[int, int, int, int]
"""(pass, address, class, source node)"""


def one_by_one(
    pages: Sequence[Page], zonelists: Sequence[Zonelist], free: Mapping[int, int], waiting: Sequence[Page] = ()
) -> tuple[dict[tuple[int, int], int], tuple[int, int] | None]:
    """
    The node of each page in (pass, address) order, its old place free from then on; where memory ended.

    Those of *waiting* only look.
    """
    left = dict(free)
    found = {}
    for nr_pass, address, number, source in sorted([*pages, *waiting]):
        giver = next((nid for nid in zonelists[number] if left[nid] > 0), None)
        if giver is None:
            return found, (nr_pass, address)
        if (nr_pass, address, number, source) in waiting:
            continue
        left[giver] -= 1
        left[source] += 1
        found[nr_pass, address] = giver
    return found, None


def passes_of(pages: Sequence[Page]) -> list[tuple[int, dict[tuple[int, int], RunIndex]]]:
    """The same pages as the function takes them."""
    found: dict[int, dict[tuple[int, int], list[Run]]] = {}
    for nr_pass, address, number, source in pages:
        found.setdefault(nr_pass, {}).setdefault((number, source), []).append(Run(address, 1, 1))
    return [
        (nr_pass, {key: RunIndex(runs) for key, runs in movers.items()}) for nr_pass, movers in sorted(found.items())
    ]


def expanded(pages: Sequence[Page], stretches: Sequence[Stretch]) -> dict[tuple[int, int], int | None]:
    """The node of each page that a stretch has."""
    found = {}
    for nr_pass, address, number, _ in pages:
        for stretch in stretches:
            inside = (stretch.start or 0) <= address and (stretch.end is None or address < stretch.end)
            if stretch.nr_pass == nr_pass and inside:
                found[nr_pass, address] = stretch.nodes[number]
    return found


@st.composite
def machines(draw: st.DrawFn) -> tuple[list[Page], list[Zonelist], dict[int, int]]:
    """Up to five nodes with little memory, one to three classes, pages in up to three passes."""
    nids = range(draw(st.integers(2, 5)))
    order = st.permutations(list(nids))
    classes = draw(st.integers(1, 3))
    zonelists = [tuple(draw(order))[: draw(st.integers(1, len(nids)))] for _ in range(classes)]
    free = {nid: draw(st.integers(0, 6)) for nid in nids}
    addresses = draw(st.lists(st.integers(0, 40), unique=True, max_size=24))
    pages = [
        (draw(st.integers(0, 2)), address, address % classes, draw(st.sampled_from(list(nids))))
        for address in addresses
    ]
    return pages, zonelists, free


@settings(max_examples=400)
@given(machines())
def test_stretches_are_what_a_loop_over_pages_does(case: tuple[list[Page], list[Zonelist], dict[int, int]]) -> None:
    pages, zonelists, free = case
    want, stop = one_by_one(pages, zonelists, free)
    stretches, got_stop = place_own_targets(passes_of(pages), zonelists, free)
    got = {key: nid for key, nid in expanded(pages, stretches).items() if stop is None or key < stop}
    assert (got, got_stop) == (want, stop)


@settings(max_examples=400)
@given(machines(), st.data())
def test_a_page_that_waits_is_looked_at_only_where_it_would_get_a_target(
    case: tuple[list[Page], list[Zonelist], dict[int, int]], data: st.DataObject
) -> None:
    """9a, B2: those of a later pass, and those that never move, ask in pass 0 for what they do not take then."""
    pages, zonelists, free = case
    stuck = set(data.draw(st.lists(st.sampled_from(pages), unique=True))) if pages else set()
    movers = [page for page in pages if page not in stuck]
    waiting = [(0, address, number, source) for nr_pass, address, number, source in pages if nr_pass]
    waiting += [(0, address, number, source) for nr_pass, address, number, source in stuck if not nr_pass]
    want, stop = one_by_one(movers, zonelists, free, waiting)
    looking: dict[int, list[Run]] = {}
    for _, address, number, _ in waiting:
        looking.setdefault(number, []).append(Run(address, 1, 1))
    indexes = {number: RunIndex(runs) for number, runs in looking.items()}
    stretches, got_stop = place_own_targets(passes_of(movers), zonelists, free, indexes)
    got = {key: nid for key, nid in expanded(movers, stretches).items() if stop is None or key < stop}
    assert (got, got_stop) == (want, stop)
    assert {stretch.nr_pass for stretch in stretches} <= {page[0] for page in movers}
    totals = [sum(page[2] == number for page in movers) for number in range(len(zonelists))]
    givers = place_at_once(totals, {page[3] for page in movers}, zonelists, free, indexes)
    if givers is not None:
        assert stop is None
        assert want == {(nr_pass, address): givers[number] for nr_pass, address, number, _ in movers}


@settings(max_examples=400)
@given(machines())
def test_what_fits_at_once_is_what_the_loop_does(case: tuple[list[Page], list[Zonelist], dict[int, int]]) -> None:
    pages, zonelists, free = case
    totals = [sum(page[2] == number for page in pages) for number in range(len(zonelists))]
    givers = place_at_once(totals, {page[3] for page in pages}, zonelists, free)
    if givers is not None:
        want, stop = one_by_one(pages, zonelists, free)
        assert stop is None
        assert want == {(nr_pass, address): givers[number] for nr_pass, address, number, _ in pages}


def test_memory_in_plenty_needs_one_stretch() -> None:
    """64 GiB over eight nodes: nothing is expanded, and nothing is walked."""
    movers = {(number, 8): RunIndex([Run(number, 8, 1 << 21)]) for number in range(8)}
    lists = [(number, *(nid for nid in range(8) if nid != number)) for number in range(8)]
    stretches, stop = place_own_targets([(0, movers)], lists, dict.fromkeys(range(9), 1 << 22))
    assert [stretch.nodes for stretch in stretches] == [tuple(range(8))]
    assert stop is None


def test_one_free_page_is_enough_to_place_a_node_anew() -> None:
    """Default with a move on a node with one page left: each page leaves a place for the next, in one stretch."""
    movers = {(0, 0): RunIndex([Run(0, 1, 1 << 24)])}
    stretches, stop = place_own_targets([(0, movers)], [(0, 1)], {0: 1, 1: 0})
    assert (stretches, stop) == ([Stretch(0, 0, 1 << 24, (0,))], None)


@pytest.mark.parametrize(("free", "stop"), [({0: 0, 1: 2}, (0, 12)), ({0: 0, 1: 0}, (0, 10)), ({0: 5, 1: 3}, None)])
def test_a_set_that_is_used_up_stops_at_the_next_page(free: dict[int, int], stop: tuple[int, int] | None) -> None:
    """Bind to node 1: what the pages leave on node 0 is no use."""
    movers = {(0, 0): RunIndex([Run(10, 1, 3)])}
    assert place_own_targets([(0, movers)], [(1,)], free)[1] == stop
