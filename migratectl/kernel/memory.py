"""
What a fault needs: which pages of an area are absent, and how an area's faults divide over the lists of a policy.

Models handle_pte_fault() of mm/memory.c over ranges instead of addresses; semantics.md 6.3.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from migratectl.kernel.mempolicy import Choice
from migratectl.kernel.page_alloc import Stage, Zonelist
from migratectl.runs import Run, clusters, make_run, pages_in_order
from migratectl.uapi import INDEX_LIMIT


def absent(start: int, end: int, present: Iterable[Run]) -> list[Run]:
    """
    The addresses of [start, end) that no run of *present* holds, as runs.

    Runs may lie between one another: between two borders of spans either nothing, one dense run or a set of strided
    ones lies; the residues that a set leaves free, modulo the least common multiple of its steps, are the holes.
    """
    holes: list[Run] = []
    at = start
    for group in clusters(sorted(present)):
        low, high = group[0].start, max(run.last for run in group) + 1
        if low > at:
            holes.append(make_run(at, 1, low - at))
        if len(group) > 1 or group[0].step > 1:
            holes += _between(group, max(low, start), min(high, end))
        at = max(at, high)
    if at < end:
        holes.append(make_run(at, 1, end - at))
    return holes


def _between(group: Sequence[Run], start: int, end: int) -> list[Run]:
    """Free addresses of [start, end) among strided runs whose spans overlap."""
    borders = sorted({start, end, *(b for run in group for b in (run.start, run.last + 1) if start < b < end)})
    holes: list[Run] = []
    for low, high in itertools.pairwise(borders):
        inside = [part for run in group if (part := run.between(low, high))]
        if not inside:
            holes.append(make_run(low, 1, high - low))
            continue
        if any(part.step == 1 and part.nr_pages == high - low for part in inside):
            continue
        period = math.lcm(*(run.step for run in group if run.start < high and run.last >= low))
        taken = {
            residue
            for run in group
            if run.start < high and run.last >= low
            for residue in range(run.start % run.step, period, run.step)
        }
        for residue in range(low, min(low + period, high)):
            if residue % period not in taken:
                holes.append(make_run(residue, period, -((residue - high) // period)))
    return holes


@dataclass(frozen=True, slots=True)
class Demand:
    """
    Pages asked for along one list of nodes.

    Attributes:
        runs: Where, in the order in which memory is given: indexes, or whatever goes up with time.
        zonelist: The nodes that may give, in order.
        first: The node that hits and misses are counted against.
        interleave: The list is one of an interleave policy.
    """

    runs: tuple[Run, ...]
    zonelist: Zonelist
    first: int
    interleave: bool = False

    def scaled(self, factor: int, phase: int) -> Demand:
        """The same pages at *factor* times their place and *phase*: several things then happen at one place."""
        moved = (make_run(run.start * factor + phase, run.step * factor, run.nr_pages) for run in self.runs)
        return Demand(tuple(moved), self.zonelist, self.first, self.interleave)


def demand_by_index(runs: Iterable[Run], shift: int, choice: Choice) -> list[Demand]:
    """
    Divide pages over the lists of a policy by their index.

    Args:
        runs: Where pages are asked for.
        shift: What to add to get the index that interleaving counts by; the sum is cut to 32 bits.
        choice: The policy's lists; list number i serves the indexes that are i modulo their number.
    """
    return _demands(_classes(runs, shift, len(choice.zonelists)), choice)


def demand_in_turn(runs: Iterable[Run], position: int, choice: Choice) -> list[Demand]:
    """
    Divide pages over the lists of a policy in the order in which they are allocated, as interleaving without an area.

    Args:
        runs: Where pages are asked for; they are allocated in ascending order.
        position: Number of the list that serves the first.
        choice: The policy's lists.

    Source:
        interleave_nodes() of mm/mempolicy.c; semantics.md 6.1.
    """
    nr = len(choice.zonelists)
    classes: list[list[Run]] = [[] for _ in range(nr)]
    for run in one_after_another(runs):
        for k in range(min(nr, run.nr_pages)):
            dealt = make_run(run.start + k * run.step, run.step * nr, -((k - run.nr_pages) // nr))
            classes[(position + k) % nr].append(dealt)
        position += run.nr_pages
    return _demands(classes, choice)


def _demands(classes: Sequence[list[Run]], choice: Choice) -> list[Demand]:
    return [
        Demand(tuple(runs), zonelist, first, choice.interleave)
        for runs, zonelist, first in zip(classes, choice.zonelists, choice.firsts, strict=True)
    ]


def _classes(runs: Iterable[Run], shift: int, nr: int) -> list[list[Run]]:
    classes: list[list[Run]] = [[] for _ in range(nr)]
    for run in runs:
        for piece in _below_wrap(run, shift) if nr > 1 else (run,):
            for dealt in piece.deal(nr):
                classes[(dealt.start + shift) % INDEX_LIMIT % nr].append(dealt)
    return classes


def _below_wrap(run: Run, shift: int) -> Iterator[Run]:
    """The run, cut where its interleave index wraps at 32 bits."""
    left: Run | None = run
    while left is not None:
        border = ((left.start + shift) // INDEX_LIMIT + 1) * INDEX_LIMIT - shift
        piece = left.between(left.start, border)
        if piece is not None:
            yield piece
        left = left.between(border, run.last + 1)


def one_after_another(runs: Iterable[Run]) -> Iterator[Run]:
    """The same pages as ascending runs that do not lie between one another; those that do are read page by page."""
    for group in clusters(sorted(runs)):
        if len(group) == 1:
            yield group[0]
        else:
            yield from (Run(page, 1, 1) for page in pages_in_order(group))


def given(demand: Demand, number: int, stages: Iterable[Stage]) -> list[tuple[Run, int]]:
    """What a demand got, as (run, node); *number* is its place among the demands that were placed together."""
    found = []
    for stage in stages:
        nid = stage.nodes[number]
        if nid is not None:
            parts = (run.between(stage.start, stage.end) for run in demand.runs)
            found += [(part, nid) for part in parts if part is not None]
    return found


def placed_pieces(runs: Iterable[Run], delta: int, nr: int, stages: Sequence[Stage]) -> list[tuple[Run, int]]:
    """
    The pages of *runs* that got memory, as (run, node), cut where the giver changes.

    A stretch that all classes get from one node stays whole.
    """
    pieces: list[tuple[Run, int]] = []
    for run in runs:
        for stage in stages:
            part = run.between(stage.start, stage.end)
            if part is None:
                continue
            givers = set(stage.nodes) - {None}
            if len(givers) == 1:
                pieces.append((part, next(nid for nid in givers if nid is not None)))
                continue
            for number, dealt in enumerate(_classes([part], delta, nr)):
                nid = stage.nodes[number]
                pieces += [(piece, nid) for piece in dealt if nid is not None]
    return pieces
