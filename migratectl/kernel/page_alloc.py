"""
Which node gives a page: fallback lists, and who gets the last free pages.

Models build_zonelists() and __alloc_pages() of mm/page_alloc.c as semantics.md 6.2 tells them: no watermarks, no
reclaim; a node is full when nothing is free on it.
"""

from __future__ import annotations

import bisect
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from migratectl.nodemask import Nodemask
from migratectl.runs import RunIndex

Zonelist = tuple[int, ...]
"""Node ids in the order in which an allocation tries them."""


def build_zonelists(
    nids: Sequence[int],
    distance: Mapping[tuple[int, int], int],
    with_cpus: Nodemask,
    givers: Nodemask | None = None,
    *,
    modern: bool = False,
) -> dict[int, Zonelist]:
    """
    The fallback list of every node.

    Args:
        nids: The nodes that get a list, ascending.
        distance: Distance for each (from, to).
        with_cpus: The nodes that have CPUs; among equals the others are taken first.
        givers: The nodes that the lists name, all of *nids* by default; under ``modern`` those with memory.
        modern: A 6.x kernel: a node below the list's counts as one further, and each first choice loads a node by one.

    Returns:
        For each node all givers, itself first, nearest first, ties rotated by what earlier lists chose.

    Source:
        build_zonelists() and find_next_best_node() of mm/page_alloc.c; semantics.md 6.2, rule 59 of what a 6.1 kernel
        does.
    """
    load = dict.fromkeys(nids, 0)
    penalty = {nid: 1 if nid in with_cpus else 0 for nid in nids}
    heavy = len(nids) * len(nids) + 1
    givers = Nodemask(nids) if givers is None else givers
    lists = {}
    for at, local in enumerate(nids):
        # What is loaded while a list is made is out of the choice by then, so one stable sort makes all choices.
        scanned = [*nids[:at], *nids[at + 1 :]] if modern else [*nids[at + 1 :], *nids[:at]]
        others = [nid for nid in scanned if nid in givers]
        further = {nid: penalty[nid] + (modern and nid < local) for nid in others}
        weights = {nid: (distance[local, nid] + further[nid]) * heavy + load[nid] for nid in others}
        others.sort(key=weights.__getitem__)
        previous = local
        for weight, nid in zip(range(len(nids) - 1, 0, -1), others, strict=False):
            if distance[local, nid] != distance[local, previous]:
                load[nid] += 1 if modern else weight
            previous = nid
        lists[local] = (local, *others) if local in givers else tuple(others)
    return lists


@dataclass(slots=True)
class Allocations:
    """
    What a row of allocations took and counted.

    Attributes:
        pages: Pages taken by (first node of the list used, node that gave them).
        interleaved: Of these, pages of an interleave policy on the node that it chose.
    """

    pages: dict[tuple[int, int], int] = field(default_factory=dict)
    interleaved: dict[int, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Pages taken."""
        return sum(self.pages.values())

    def add(self, first: int, nid: int, nr: int, *, interleave: bool = False) -> None:
        """Count *nr* pages that came from *nid* though the list began with *first*."""
        if nr:
            self.pages[first, nid] = self.pages.get((first, nid), 0) + nr
            if interleave and first == nid:
                self.interleaved[nid] = self.interleaved.get(nid, 0) + nr

    def numastat(self, local: int) -> dict[int, dict[str, int]]:
        """
        The counters of numastat(8) by node for allocations by a CPU of node *local*.

        Source:
            zone_statistics() of mm/page_alloc.c; semantics.md 7.2.
        """
        counters: dict[int, dict[str, int]] = {}

        def count(nid: int, name: str, nr: int) -> None:
            row = counters.setdefault(nid, {})
            row[name] = row.get(name, 0) + nr

        for (first, nid), nr in self.pages.items():
            if first == nid:
                count(nid, "numa_hit", nr)
            else:
                count(nid, "numa_miss", nr)
                count(first, "numa_foreign", nr)
            count(nid, "local_node" if nid == local else "other_node", nr)
        for nid, nr in self.interleaved.items():
            count(nid, "interleave_hit", nr)
        return counters


@dataclass(frozen=True, slots=True)
class Stage:
    """Pages of [start, end) come from ``nodes[class]`` (None: nobody of that class asks there)."""

    start: int
    end: int
    nodes: tuple[int | None, ...]


def place_faults(
    demand: Sequence[RunIndex], zonelists: Sequence[Zonelist], free: Mapping[int, int]
) -> tuple[list[Stage], int | None]:
    """
    Give pages in address order to faults that free nothing.

    Args:
        demand: For each class of addresses (one, or one an interleave position) the pages asked for.
        zonelists: For each class the nodes that may give, in order.
        free: Free pages by node.

    Returns:
        The stages in ascending order, and the page number of the first fault that finds no memory, or None. At most
        one stage a node: within a stage each class has one giver, found by bisection, never page by page.
    """
    left = dict(free)
    active = [index for index in demand if index.total]
    stages: list[Stage] = []
    if not active:
        return stages, None
    low, high = min(index.low for index in active), max(index.high for index in active)
    while low < high:
        givers = tuple(_giver(index, zonelist, left) for index, zonelist in zip(demand, zonelists, strict=True))
        taken = _bisect_room(demand, givers, left, low, high)
        for index, giver in zip(demand, givers, strict=True):
            if giver is not None:
                left[giver] -= index.below(taken) - index.below(low)
        if taken > low:
            stages.append(Stage(low, taken, givers))
        elif any(g is None and i.below(low + 1) > i.below(low) for g, i in zip(givers, demand, strict=True)):
            return stages, low
        low = taken
    return stages, None


def _giver(index: RunIndex, zonelist: Zonelist, left: Mapping[int, int]) -> int | None:
    return next((nid for nid in zonelist if left[nid] > 0), None) if index.total else None


def _bisect_room(
    demand: Sequence[RunIndex], givers: Sequence[int | None], left: Mapping[int, int], low: int, high: int
) -> int:
    """The largest address up to which no giver is overdrawn and nobody without a giver asks."""
    base = [index.below(low) for index in demand]

    def fits(limit: int) -> bool:
        asked: dict[int | None, int] = {}
        for index, giver, before in zip(demand, givers, base, strict=True):
            asked[giver] = asked.get(giver, 0) + index.below(limit) - before
        return all(nr <= (0 if giver is None else left[giver]) for giver, nr in asked.items())

    return _last_that(fits, low, high)


def _last_that(fits: Callable[[int], bool], low: int, high: int) -> int:
    """The largest address up to *high* that fits; *low* does, and beyond one that does not none does."""
    return low + bisect.bisect_left(range(low + 1, high + 1), True, key=lambda limit: not fits(limit))


@dataclass(frozen=True, slots=True)
class Placement:
    """
    Where the targets of one migration came from.

    Attributes:
        segments: (ordinal of the first mover, node) in ascending order: movers in (pass, address) order.
        moved: Movers that got a target and used it; the others were never tried.
        allocations: Targets by (first node of the list, node), unused ones included.
        out_of_memory: An allocation failed before the list was done.
    """

    segments: tuple[tuple[int, int], ...]
    moved: int
    allocations: Allocations
    out_of_memory: bool


def place_targets(
    *,
    sources: Collection[int],
    freed: Callable[[int, int], Mapping[int, int]],
    zonelist: Zonelist,
    first: int,
    free: Mapping[int, int],
    movers: int,
    listed: int,
    failed_before: Callable[[int], int],
    chunk: int,
) -> Placement:
    """
    Simulate the refill rounds of migrate_pages_to() with integers.

    Args:
        sources: The nodes that pages of the list lie on.
        freed: Pages by node that the movers from one ordinal to another leave behind; freed after each round.
        zonelist: Nodes that may give targets, in order; *first* is the head of the list before cpusets cut it.
        first: The node that hits and misses are counted against.
        free: Free pages by node.
        movers: Pages that move when they get a target.
        listed: All pages of the list, those that stay included.
        failed_before: How many pages have failed for good (and so left the list) by the time that this many
            movers have moved, in (pass, address) order.
        chunk: Targets allocated at a time.

    Returns:
        The placement. A round takes min(chunk, pages left) targets before it moves anything; targets that nobody
        used are given back and end the loop.

    Source:
        migrate_pages_to(), Direct Migration V9, 4/5, with B1 and B18 of semantics.md.
    """
    left = {nid: free[nid] for nid in zonelist}
    allocations = Allocations()
    segments: list[tuple[int, int]] = []
    moved = 0
    while (remaining := listed - moved - failed_before(moved)) > 0:
        rounds = _equal_rounds(left, zonelist, sources, movers - moved, chunk)
        nr = rounds * chunk if rounds else min(chunk, remaining)
        taken = _take(left, zonelist, nr)
        if sum(count for _, count in taken) < nr:  # what was taken of this round counts, and is given back
            for nid, count in taken:
                allocations.add(first, nid, count)
            return Placement(tuple(segments), moved, allocations, out_of_memory=True)
        used = min(nr, movers - moved)
        at = moved
        for nid, count in taken:
            allocations.add(first, nid, count)
            if at < moved + used and (not segments or segments[-1][1] != nid):
                segments.append((at, nid))
            at += count
        if used < nr:  # unused targets end the loop, and the list
            moved += used
            break
        for nid, count in freed(moved, moved + used).items():
            if nid in left:
                left[nid] += count
        moved += used
    return Placement(tuple(segments), moved, allocations, out_of_memory=False)


def _equal_rounds(
    left: Mapping[int, int], zonelist: Zonelist, sources: Collection[int], movers: int, chunk: int
) -> int:
    """How many whole rounds in a row take all their targets from one node without any node running out."""
    giver = next((nid for nid in zonelist if left[nid] > 0), None)
    if giver is None or any(nid in sources for nid in zonelist[: zonelist.index(giver)]):
        return 0
    return 0 if giver in sources else min(movers // chunk, left[giver] // chunk)


def _take(left: dict[int, int], zonelist: Zonelist, nr: int) -> list[tuple[int, int]]:
    """Take *nr* pages along the list, or all there are: (node, pages) in order."""
    taken: list[tuple[int, int]] = []
    for nid in zonelist:
        count = min(left[nid], nr)
        if count:
            taken.append((nid, count))
            left[nid] -= count
            nr -= count
        if not nr:
            break
    return taken


@dataclass(frozen=True, slots=True)
class Stretch:
    """Movers of pass ``nr_pass`` in [start, end) of addresses (None: no bound) get targets of ``nodes[class]``."""

    nr_pass: int
    start: int | None
    end: int | None
    nodes: tuple[int | None, ...]


Movers = Mapping[tuple[int, int], RunIndex]
"""Pages that move in one pass, by (class, source node)."""


def place_at_once(
    totals: Sequence[int],
    sources: Collection[int],
    zonelists: Sequence[Zonelist],
    free: Mapping[int, int],
    waiting: Collection[int] = (),
) -> tuple[int | None, ...] | None:
    """
    The giving node of each class, where memory lasts for all pages without counting what they leave behind.

    Args:
        totals: Pages that move, by class.
        sources: The nodes that they lie on.
        zonelists: For each class the nodes that may give, in order.
        free: Free pages by node.
        waiting: The classes of pages that want to see a target without taking it.

    Returns:
        None where the order in which pages move may matter: then place_own_targets() goes through it.
    """
    asked: dict[int, int] = {}
    givers = []
    for number, (total, zonelist) in enumerate(zip(totals, zonelists, strict=True)):
        nr = total + (number in waiting)
        giver = next((nid for nid in zonelist if free[nid] > 0), None)
        if nr and (giver is None or any(nid in sources for nid in zonelist[: zonelist.index(giver)])):
            return None
        givers.append(giver)
        if giver is not None:
            asked[giver] = asked.get(giver, 0) + nr
    return tuple(givers) if all(nr <= free[nid] for nid, nr in asked.items()) else None


def place_own_targets(
    passes: Sequence[tuple[int, Movers]],
    zonelists: Sequence[Zonelist],
    free: Mapping[int, int],
    waiting: Mapping[int, RunIndex] | None = None,
) -> tuple[list[Stretch], tuple[int, int] | None]:
    """
    Targets by policy: each page gets its own when it moves, and its old place is free for the next one.

    Args:
        passes: Pass numbers, ascending, with what moves in them.
        zonelists: For each class the nodes that may give, in order.
        free: Free pages by node.
        waiting: By class, pages that do not move in pass 0 and are not touched there unless a target is to be had.

    Returns:
        The stretches in (pass, address) order, and (pass, address) of the first page that finds no memory, or None.
        Within a stretch no class changes its giver: it ends where a giver is used up, or where a page leaves a node
        that stands before the giver of some class.

    Source:
        migrate_pages_to() with a policy, Direct Migration V9, 4/5, with B2 of semantics.md: a page's own address
        decides, at the moment it moves.
    """
    left = dict(free)
    found: list[Stretch] = []
    work = {nr_pass: (movers, waiting if waiting and not nr_pass else {}) for nr_pass, movers in passes}
    if waiting:
        work.setdefault(0, ({}, waiting))
    for nr_pass, (movers, looked_at) in sorted(work.items()):
        indexes = [*movers.values(), *looked_at.values()]
        low, high = min(index.low for index in indexes), max(index.high for index in indexes)
        while low < high:
            pending = {key: index for key, index in movers.items() if index.below(low) < index.total}
            looking = {number: index for number, index in looked_at.items() if index.below(low) < index.total}
            asking = {*looking, *(number for number, _ in pending)}
            givers = tuple(
                next((nid for nid in zonelist if left[nid] > 0), None) if number in asking else None
                for number, zonelist in enumerate(zonelists)
            )
            before = {nid for number in asking for nid in _standing_before(zonelists[number], givers[number])}
            limit = min(_first_leaving(pending, before, low), high)
            taken = _bisect_own(pending, looking, givers, left, low, limit)
            if taken == low:
                return found, (nr_pass, low)
            if movers:
                found.append(Stretch(nr_pass, low, taken, givers))
            _settle(pending, givers, left, low, taken)
            low = taken
    return found, None


def _standing_before(zonelist: Zonelist, giver: int | None) -> Zonelist:
    """The nodes that would give before the giver does, if they had a page; all of them where none gives."""
    return zonelist if giver is None else zonelist[: zonelist.index(giver)]


def _first_leaving(movers: Movers, nids: Collection[int], low: int) -> int:
    """One past the first page that leaves one of these nodes."""
    leaving = [index for (_, source), index in movers.items() if source in nids]
    return min((index.address(index.below(low)) + 1 for index in leaving), default=sys.maxsize)


def _bisect_own(
    movers: Movers,
    looking: Mapping[int, RunIndex],
    givers: Sequence[int | None],
    left: Mapping[int, int],
    low: int,
    high: int,
) -> int:
    """
    The largest address up to which every giver has a page for all that come, whatever they leave behind.

    Who only looks needs one that nobody before it has taken.
    """
    base = {key: index.below(low) for key, index in movers.items()}

    def taken_by(giver: int | None, limit: int) -> int:
        mine = [(key, index) for key, index in movers.items() if givers[key[0]] == giver != key[1]]
        return sum(index.below(limit) - base[key] for key, index in mine)

    def seen(number: int, limit: int) -> bool:
        index, giver = looking[number], givers[number]
        nr = index.below(limit)
        if nr == index.below(low):
            return True
        return giver is not None and taken_by(giver, index.address(nr - 1)) < left[giver]

    def fits(limit: int) -> bool:
        if not all(seen(number, limit) for number in looking):
            return False
        taken: dict[int | None, int] = {}
        staying: set[int | None] = set()
        for (number, source), index in movers.items():
            nr = index.below(limit) - base[number, source]
            giver = givers[number]
            if giver == source and nr:
                staying.add(giver)  # takes a page of the node and leaves one: needs one to be free
            elif nr:
                taken[giver] = taken.get(giver, 0) + nr
        rooms = {giver: 0 if giver is None else left[giver] for giver in {*taken, *staying}}
        return all(taken.get(giver, 0) + (giver in staying) <= room for giver, room in rooms.items())

    return _last_that(fits, low, high)


def _settle(movers: Movers, givers: Sequence[int | None], left: dict[int, int], low: int, high: int) -> None:
    """What the movers of [low, high) took and left behind."""
    for (number, source), index in movers.items():
        nr = index.below(high) - index.below(low)
        giver = givers[number]
        if nr and giver is not None:
            left[giver] -= nr
            left[source] += nr
