"""Fallback lists (semantics.md 6.2), numastat (7.2), and who gets the last pages, against models page by page."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migratectl.kernel.page_alloc import Allocations, Stage, build_zonelists, place_faults, place_targets
from migratectl.nodemask import Nodemask
from migratectl.runs import Run, RunIndex, make_run

# ---- 6.2: fallback lists -------------------------------------------------------------------------------------------


def uniform(nids: Sequence[int], remote: int = 20) -> dict[tuple[int, int], int]:
    """Every remote node equally far."""
    return {(a, b): 10 if a == b else remote for a in nids for b in nids}


def matrix(rows: list[list[int]]) -> dict[tuple[int, int], int]:
    """Distances from a matrix."""
    return {(a, b): value for a, row in enumerate(rows) for b, value in enumerate(row)}


PAIRS = [[10, 20, 40, 40], [20, 10, 40, 40], [40, 40, 10, 20], [40, 40, 20, 10]]
RING = [[10, 20, 30, 20], [20, 10, 20, 30], [30, 20, 10, 20], [20, 30, 20, 10]]
LINE = [[10, 20, 20, 15], [20, 10, 15, 20], [20, 15, 10, 15], [15, 20, 15, 10]]
"""
1 - 2 - 3 - 0, neighbours 15. The list of 3 tells at what the counter starts: taking the node itself was the first of
its four choices, so 0 and 2 have load 3 each by then (0: 2 from list 1, 1 from list 2; 2: 3 from list 1), and 0 is
first in the scan from 3.
"""

N4 = [[10, 15, 20, 25], [15, 10, 25, 20], [20, 25, 10, 15], [25, 20, 15, 10]]
HALF = [[10, 12, 16, 16], [12, 10, 16, 16], [16, 16, 10, 12], [16, 16, 12, 10]]
N8 = [row + [24] * 4 for row in HALF] + [[24] * 4 + row for row in HALF]

MACHINES: dict[str, tuple[dict[tuple[int, int], int], str, list[str]]] = {
    "4 nodes, all 20, all with cpus": (uniform(range(4)), "0-3", ["0123", "1230", "2301", "3012"]),
    "two pairs: 20 inside, else 40": (matrix(PAIRS), "0-3", ["0123", "1032", "2301", "3210"]),
    "ring: neighbours 20, opposite 30": (matrix(RING), "0-3", ["0132", "1023", "2310", "3201"]),
    "all 20, node 3 without cpus": (uniform(range(4)), "0-2", ["0312", "1320", "2301", "3012"]),
    "a line, neighbours 15, else 20": (matrix(LINE), "0-3", ["0312", "1203", "2130", "3021"]),
    "n4 of the 6.1 kernel, no ties": (matrix(N4), "0-3", ["0123", "1032", "2301", "3210"]),
    "one node": (uniform([0]), "0", ["0"]),
}


@pytest.mark.parametrize(("distance", "cpus", "lists"), MACHINES.values(), ids=MACHINES)
def test_fallback_lists(distance: dict[tuple[int, int], int], cpus: str, lists: list[str]) -> None:
    """The machines of semantics.md 6.2: lists of the nodes 0, 1, …"""
    found = build_zonelists(range(len(lists)), distance, Nodemask.parse(cpus))
    assert found == {nid: tuple(map(int, order)) for nid, order in enumerate(lists)}


@pytest.mark.parametrize(
    ("nid", "order"), [(0, "01234567"), (1, "10325674"), (2, "23016745"), (3, "32107456")], ids=str
)
def test_lists_that_a_running_kernel_had(nid: int, order: str) -> None:
    """modern-kernel.md 25: eight nodes, CPUs on 0 to 3; equal distances are rotated by what earlier lists chose."""
    assert build_zonelists(range(8), matrix(N8), Nodemask(range(4)), modern=True)[nid] == tuple(map(int, order))


def test_a_memoryless_node_is_listed_in_2006_and_left_out_today() -> None:
    """The machine n4h: node 1 has no memory, node 3 no CPU; no two distances from a node are equal."""
    cpus = Nodemask.parse("0-2")
    v9 = build_zonelists(range(4), matrix(N4), cpus)
    assert v9 == {0: (0, 1, 2, 3), 1: (1, 0, 3, 2), 2: (2, 3, 0, 1), 3: (3, 2, 1, 0)}
    modern = build_zonelists(range(4), matrix(N4), cpus, Nodemask.parse("0,2-3"))
    assert modern == {0: (0, 2, 3), 1: (0, 3, 2), 2: (2, 3, 0), 3: (3, 2, 0)}


@pytest.mark.parametrize(
    ("rows", "lists"),
    [
        ([[10, 20, 30, 20], [20, 10, 20, 30], [30, 20, 10, 20], [20, 30, 20, 10]], "0132 1203 2310 3021"),
        # the boot log of a server with two distances, 5.19
        (
            [
                [10, 16, 16, 22, 16, 16, 22, 22],
                [16, 10, 16, 22, 22, 22, 16, 22],
                [16, 16, 10, 16, 22, 22, 22, 16],
                [22, 22, 16, 10, 22, 16, 22, 16],
                [16, 22, 22, 22, 10, 16, 16, 16],
                [16, 22, 22, 16, 16, 10, 22, 22],
                [22, 16, 22, 22, 16, 22, 10, 16],
                [22, 22, 16, 16, 16, 22, 16, 10],
            ],
            "01245367 12604573 27301564 35726401 46750123 50347621 67410235 72346015",
        ),
    ],
    ids=["ring", "two distances"],
)
def test_today_a_node_below_counts_as_further(rows: list[list[int]], lists: str) -> None:
    """Rule 59 of what a 6.1 kernel does: lists that running kernels had."""
    nids = range(len(rows))
    found = build_zonelists(nids, matrix(rows), Nodemask(nids), modern=True)
    assert " ".join("".join(map(str, found[nid])) for nid in nids) == lists


def test_sparse_ids_rotate_over_the_ids_there_are() -> None:
    found = build_zonelists([0, 2, 5, 9], uniform([0, 2, 5, 9]), Nodemask([0, 2, 5, 9]))
    assert found == {0: (0, 2, 5, 9), 2: (2, 5, 9, 0), 5: (5, 9, 0, 2), 9: (9, 0, 2, 5)}


@given(
    st.integers(1, 6).flatmap(
        lambda nr: st.tuples(
            st.lists(st.lists(st.sampled_from([15, 20, 30, 254]), min_size=nr, max_size=nr), min_size=nr, max_size=nr),
            st.frozensets(st.integers(0, nr - 1)),
        )
    )
)
def test_a_list_names_every_node_by_distance_headless_first(given_: tuple[list[list[int]], frozenset[int]]) -> None:
    """Whatever the firmware says, also of distances that differ by direction: ties alone are left to the rotation."""
    rows, with_cpus = given_
    nids = range(len(rows))
    distance = {(a, b): 10 if a == b else rows[a][b] for a in nids for b in nids}
    for nid, order in build_zonelists(nids, distance, Nodemask(with_cpus)).items():
        assert order[0] == nid
        assert sorted(order) == list(nids)
        keys = [(distance[nid, other] + (other in with_cpus)) for other in order[1:]]
        assert keys == sorted(keys)


# ---- 7.2: numastat -------------------------------------------------------------------------------------------------


def test_a_hit_on_the_local_node() -> None:
    got = Allocations()
    got.add(0, 0, 5)
    assert got.numastat(local=0) == {0: {"numa_hit": 5, "local_node": 5}}


def test_a_hit_on_a_remote_node() -> None:
    got = Allocations()
    got.add(1, 1, 5)
    assert got.numastat(local=0) == {1: {"numa_hit": 5, "other_node": 5}}


def test_a_miss_is_foreign_to_the_first_of_the_list() -> None:
    """Wanted on 0, got on 2 by a CPU of 2: the page is local to the CPU all the same."""
    got = Allocations()
    got.add(0, 2, 3)
    assert got.numastat(local=2) == {2: {"numa_miss": 3, "local_node": 3}, 0: {"numa_foreign": 3}}


def test_interleave_hits_count_in_addition_and_only_on_the_chosen_node() -> None:
    got = Allocations()
    got.add(1, 1, 4, interleave=True)
    got.add(1, 2, 6, interleave=True)
    assert got.numastat(local=0) == {
        1: {"numa_hit": 4, "other_node": 4, "interleave_hit": 4, "numa_foreign": 6},
        2: {"numa_miss": 6, "other_node": 6},
    }


def test_nothing_taken_counts_nothing() -> None:
    got = Allocations()
    got.add(0, 1, 0, interleave=True)
    assert got.numastat(local=0) == {}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 9), st.booleans())), st.integers(0, 3))
def test_every_page_is_a_hit_or_a_miss_and_local_or_other(rows: list[tuple[int, int, int, bool]], local: int) -> None:
    got = Allocations()
    for first, nid, nr, interleave in rows:
        got.add(first, nid, nr, interleave=interleave)
    totals: dict[str, int] = {}
    for row in got.numastat(local).values():
        for counter, nr in row.items():
            totals[counter] = totals.get(counter, 0) + nr
    pages = sum(nr for _, _, nr, _ in rows)
    assert totals.get("numa_hit", 0) + totals.get("numa_miss", 0) == pages
    assert totals.get("local_node", 0) + totals.get("other_node", 0) == pages
    assert totals.get("numa_miss", 0) == totals.get("numa_foreign", 0)
    assert totals.get("interleave_hit", 0) == sum(nr for first, nid, nr, how in rows if how and first == nid)


# ---- faults --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Faults:
    """Demand by class, lists, free pages."""

    demand: list[list[Run]]
    zonelists: list[tuple[int, ...]]
    free: dict[int, int]


@st.composite
def faults(draw: st.DrawFn) -> Faults:
    """Up to 6 nodes with fewer pages than are asked for, up to 6 classes that lie between one another."""
    nids = list(range(draw(st.integers(1, 6))))
    nr = draw(st.integers(1, 6))
    demand: list[list[Run]] = [[] for _ in range(nr)]
    taken: set[int] = set()
    runs = st.builds(make_run, st.integers(0, 40), st.integers(1, 7), st.integers(1, 12))
    for run in draw(st.lists(runs, max_size=10)):
        pages = set(range(run.start, run.last + 1, run.step))
        if taken.isdisjoint(pages):
            taken |= pages
            demand[draw(st.integers(0, nr - 1))].append(run)
    orders = st.permutations(nids).flatmap(lambda order: st.integers(0, len(order)).map(lambda k: tuple(order[:k])))
    zonelists = [draw(orders) for _ in range(nr)]
    return Faults(demand, zonelists, {nid: draw(st.integers(0, 12)) for nid in nids})


def fault_one_by_one(case: Faults) -> tuple[dict[int, int], int | None]:
    """The node of every page, in address order, up to the first that finds no memory."""
    left = dict(case.free)
    asked = sorted(
        (page, number)
        for number, runs in enumerate(case.demand)
        for run in runs
        for page in range(run.start, run.last + 1, run.step)
    )
    got: dict[int, int] = {}
    for page, number in asked:
        nid = next((nid for nid in case.zonelists[number] if left[nid]), None)
        if nid is None:
            return got, page
        left[nid] -= 1
        got[page] = nid
    return got, None


def spelt_out(case: Faults, stages: Sequence[Stage]) -> dict[int, int]:
    """The node of every page, from the stages."""
    got: dict[int, int] = {}
    for stage in stages:
        for number, runs in enumerate(case.demand):
            for run in runs:
                for page in range(run.start, run.last + 1, run.step):
                    if stage.start <= page < stage.end:
                        nid = stage.nodes[number]
                        assert nid is not None, f"page {page} of class {number} has no giver"
                        assert page not in got
                        got[page] = nid
    return got


@settings(max_examples=150)
@given(faults())
def test_faults_get_what_they_would_get_one_by_one(case: Faults) -> None:
    stages, stopped = place_faults([RunIndex(runs) for runs in case.demand], case.zonelists, case.free)
    assert (spelt_out(case, stages), stopped) == fault_one_by_one(case)
    assert len(stages) <= len(case.free) + 1, "a stage ends where a node is full, not page by page"
    assert all(a.end == b.start for a, b in itertools.pairwise(stages))


def test_an_interleaved_fault_larger_than_the_machine_is_a_few_stages() -> None:
    """2^40 pages over two nodes of 2^30 and a third behind them: 2 stages, then no memory."""
    demand = [RunIndex([Run(k, 2, 1 << 39)]) for k in range(2)]
    free = {0: 1 << 30, 1: 1 << 31, 2: 10}
    stages, stopped = place_faults(demand, [(0, 2), (1, 2)], free)
    end = 2 << 30
    assert stages[0] == Stage(0, end, (0, 1))
    assert stages[1] == Stage(end, end + 20, (2, 1)), "node 0 is full: its 10 next pages come from node 2"
    assert (len(stages), stopped) == (2, end + 20)


def test_nothing_asked_for_is_no_stage() -> None:
    assert place_faults([RunIndex([])], [(0,)], {0: 0}) == ([], None)


def test_a_list_without_nodes_finds_no_memory() -> None:
    """All nodes of the list lie outside of the cpuset."""
    assert place_faults([RunIndex([Run(5, 1, 3)])], [()], {0: 100}) == ([], 5)


# ---- targets of a migration ----------------------------------------------------------------------------------------

STUCK = 99
LAST = 10


@dataclass(frozen=True)
class Listed:
    """A page of the list: where it lies, and in which pass it moves or fails for good."""

    source: int
    moves: bool
    nr_pass: int


@dataclass(frozen=True)
class Migration:
    """A page list in address order, and what there is to give."""

    pages: list[Listed]
    zonelist: tuple[int, ...]
    free: dict[int, int]
    chunk: int


@dataclass
class Done:
    """What became of it: node by index in the list, in the order of moving; targets by node; memory ran out."""

    landed: dict[int, int] = field(default_factory=dict)
    targets: dict[int, int] = field(default_factory=dict)
    out_of_memory: bool = False


def migrate_one_by_one(case: Migration) -> Done:
    """
    migrate_pages_to() of semantics.md 3.1 and the passes of 2.2, literally: a list of targets, eleven scans a round.

    A scan ends when the targets are used up; the next round begins again with pass 0.
    """
    left = dict(case.free)
    live = list(range(len(case.pages)))
    done = Done()
    while live:
        targets = []
        for _ in range(min(case.chunk, len(live))):
            nid = next((nid for nid in case.zonelist if left[nid]), None)
            if nid is None:
                done.out_of_memory = True
                return done
            left[nid] -= 1
            done.targets[nid] = done.targets.get(nid, 0) + 1
            targets.append(nid)
        moved: list[int] = []
        for nr_pass in range(LAST + 1):
            for at in list(live):
                if not targets:
                    break
                page = case.pages[at]
                if nr_pass < page.nr_pass:
                    continue
                live.remove(at)
                if page.moves:
                    done.landed[at] = targets.pop(0)
                    moved.append(at)
        for at in moved:
            left[case.pages[at].source] += 1
        if targets:
            for nid in targets:
                left[nid] += 1
            return done
    return done


@st.composite
def migrations(draw: st.DrawFn) -> Migration:
    """Up to 6 nodes, capacities below the demand, sources before and behind the destination in its list."""
    nids = list(range(draw(st.integers(2, 6))))
    sources = draw(st.lists(st.sampled_from(nids), min_size=1, max_size=2))
    weights = [Listed(s, True, 0) for s in sources] * 4
    others = [Listed(s, moves, p) for s in sources for moves in (True, False) for p in (0, 1, 3, 7)]
    stay = [Listed(s, False, STUCK) for s in sources]
    kinds = st.sampled_from(draw(st.sampled_from([weights, [*weights, *others, *stay]])))
    pages = draw(st.lists(kinds, min_size=1, max_size=40))
    order = draw(st.permutations(nids))
    cut = draw(st.integers(1, len(order)))
    free = {nid: draw(st.sampled_from([0, 0, 1, 2, 3, 5, 8, 13, 60])) for nid in nids}
    return Migration(pages, tuple(order[:cut]), free, draw(st.integers(1, 8)))


class Line:
    """The movers and the failing pages of a case in (pass, address) order, as place_targets() asks for them."""

    def __init__(self, case: Migration) -> None:
        ordered = sorted(range(len(case.pages)), key=lambda at: (case.pages[at].nr_pass, at))
        self.case = case
        self.movers = [at for at in ordered if case.pages[at].moves]
        self.failing = [at for at in ordered if not case.pages[at].moves and case.pages[at].nr_pass != STUCK]

    def position(self, at: int) -> tuple[int, int]:
        """Pass and place in the list."""
        return self.case.pages[at].nr_pass, at

    def freed(self, start: int, end: int) -> Mapping[int, int]:
        """Pages by node that these movers leave behind."""
        found: dict[int, int] = {}
        for at in self.movers[start:end]:
            source = self.case.pages[at].source
            found[source] = found.get(source, 0) + 1
        return found

    def failed_before(self, moved: int) -> int:
        """Failing pages before the last mover."""
        if not moved:
            return 0
        return sum(self.position(at) < self.position(self.movers[moved - 1]) for at in self.failing)


def place(case: Migration, freed: Callable[[int, int], Mapping[int, int]] | None = None) -> Done:
    """What place_targets() says, in the words of the literal model."""
    line = Line(case)
    placed = place_targets(
        sources={page.source for page in case.pages},
        freed=freed or line.freed,
        zonelist=case.zonelist,
        first=case.zonelist[0],
        free=case.free,
        movers=len(line.movers),
        listed=len(case.pages),
        failed_before=line.failed_before,
        chunk=case.chunk,
    )
    landed: dict[int, int] = {}
    for k, (start, nid) in enumerate(placed.segments):
        end = placed.segments[k + 1][0] if k + 1 < len(placed.segments) else placed.moved
        landed |= dict.fromkeys(line.movers[start:end], nid)
    assert {first for first, _ in placed.allocations.pages} <= {case.zonelist[0]}
    targets = {nid: nr for (_, nid), nr in placed.allocations.pages.items()}
    assert len(landed) == placed.moved
    return Done(landed, targets, placed.out_of_memory)


@settings(max_examples=150)
@given(migrations())
def test_targets_are_those_of_rounds_done_one_by_one(case: Migration) -> None:
    """Where each page lands, all targets taken, and whether memory ran out (half-way through a round, too)."""
    wanted = migrate_one_by_one(case)
    found = place(case)
    # Targets of the round in which memory ran out were taken and given back; both count them.
    assert found == wanted


MOVERS = [Listed(0, True, 0)]
STAY = [Listed(0, False, STUCK)]

EXAMPLES = {
    "fits": (Migration(MOVERS * 5, (1, 0), {0: 0, 1: 9}, 2), dict.fromkeys(range(5), 1), {1: 5}, False),
    "spills to the next of the list": (
        Migration(MOVERS * 5, (1, 2), {0: 0, 1: 2, 2: 9}, 8),
        {0: 1, 1: 1, 2: 2, 3: 2, 4: 2},
        {1: 2, 2: 3},
        False,
    ),
    "the second round runs dry half-way: the first stays moved": (
        Migration(MOVERS * 6, (1,), {0: 0, 1: 5}, 4),
        dict.fromkeys(range(4), 1),
        {1: 5},
        True,
    ),
    "a page falls back to the node it comes from, with pages that the round before freed": (
        Migration(MOVERS * 4, (1, 0), {0: 0, 1: 2}, 2),
        {0: 1, 1: 1, 2: 0, 3: 0},
        {1: 2, 0: 2},
        False,
    ),
    "a spill in the second round finds what the first has freed, before the next of the list": (
        Migration(MOVERS * 8, (1, 0, 2), {0: 0, 1: 5, 2: 9}, 4),
        dict.fromkeys(range(5), 1) | dict.fromkeys(range(5, 8), 0),
        {1: 5, 0: 3},
        False,
    ),
    "freed pages are usable after the round, not in it": (
        Migration(MOVERS * 4, (1, 0), {0: 0, 1: 2}, 4),
        {},
        {1: 2},
        True,
    ),
    "pages that stay take targets too: too little memory though nothing is left to move": (
        Migration(MOVERS * 2 + STAY * 3, (1,), {0: 0, 1: 3}, 2),
        {0: 1, 1: 1},
        {1: 3},
        True,
    ),
    "unused targets are given back and end it": (
        Migration(STAY * 3 + MOVERS, (1,), {0: 0, 1: 4}, 4),
        {3: 1},
        {1: 4},
        False,
    ),
}


@pytest.mark.parametrize(("case", "landed", "targets", "dry"), EXAMPLES.values(), ids=EXAMPLES)
def test_examples_of_targets(case: Migration, landed: dict[int, int], targets: dict[int, int], dry: bool) -> None:
    """Worked by hand; the literal model says the same."""
    assert migrate_one_by_one(case) == Done(landed, targets, dry)
    assert place(case) == Done(landed, targets, dry)


def test_a_large_migration_is_not_a_loop_over_rounds() -> None:
    """2^36 pages in chunks of 256 to a node with room: two allocations, one segment, at once."""
    nr = (1 << 36) + 5
    asked: list[tuple[int, int]] = []

    def freed(start: int, end: int) -> Mapping[int, int]:
        asked.append((start, end))
        return {0: end - start}

    placed = place_targets(
        sources={0},
        freed=freed,
        zonelist=(1, 0),
        first=1,
        free={0: 0, 1: 1 << 40},
        movers=nr,
        listed=nr,
        failed_before=lambda moved: 0,
        chunk=256,
    )
    assert (placed.segments, placed.moved, placed.out_of_memory) == (((0, 1),), nr, False)
    assert placed.allocations.pages == {(1, 1): nr}
    assert asked == [(0, 1 << 36), (1 << 36, nr)]
