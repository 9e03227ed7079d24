"""
What a fault needs: which pages of an area are absent, and how an area's faults divide over the lists of a policy.

Models handle_pte_fault() of mm/memory.c over ranges instead of addresses; semantics.md 6.3.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

from migratectl.kernel.mempolicy import Choice
from migratectl.kernel.page_alloc import Stage
from migratectl.runs import Run, RunIndex, clusters, make_run
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


def demand_by_class(runs: Iterable[Run], delta: int, choice: Choice) -> list[RunIndex]:
    """
    Divide faults over the lists of a policy.

    Args:
        runs: Addresses that need a page.
        delta: Page index minus address.
        choice: The policy's lists; with ``interleave`` list number i serves the indexes that are i modulo their number.

    Returns:
        For each list the addresses that it serves.
    """
    return [RunIndex(part) for part in _classes(runs, delta, len(choice.zonelists))]


def _classes(runs: Iterable[Run], delta: int, nr: int) -> list[list[Run]]:
    classes: list[list[Run]] = [[] for _ in range(nr)]
    for run in runs:
        for piece in _within_index_range(run, delta) if nr > 1 else (run,):
            for dealt in piece.deal(nr):
                classes[(dealt.start + delta) % INDEX_LIMIT % nr].append(dealt)
    return classes


def _within_index_range(run: Run, delta: int) -> list[Run]:
    """Cut a run where its index wraps at 32 bits."""
    pieces: list[Run] = []
    left: Run | None = run
    while left is not None:
        border = ((left.start + delta) // INDEX_LIMIT + 1) * INDEX_LIMIT - delta
        piece = left.between(left.start, border)
        if piece is not None:
            pieces.append(piece)
        left = left.between(border, run.last + 1)
    return pieces


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
