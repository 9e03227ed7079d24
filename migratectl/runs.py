"""
Arithmetic of strided runs: how many of their pages lie below an address, where the j-th one is, how to list them.

Nothing here expands a run into pages, except ``maximal_runs`` where runs lie between one another.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple


class Run(NamedTuple):
    """``nr_pages`` page numbers ``start + k*step``."""

    start: int
    step: int
    nr_pages: int

    @property
    def last(self) -> int:
        """The highest page number of the run."""
        return self.start + (self.nr_pages - 1) * self.step

    def below(self, limit: int) -> int:
        """How many of its pages lie below *limit*."""
        return min(max(-((self.start - limit) // self.step), 0), self.nr_pages)

    def between(self, low: int, high: int) -> Run | None:
        """The part of the run in [low, high), None where that is empty."""
        skip = self.below(low)
        count = self.below(high) - skip
        return make_run(self.start + skip * self.step, self.step, count) if count > 0 else None

    def deal(self, nr: int) -> list[Run]:
        """
        The run dealt into the fewest residue classes on which page number modulo *nr* is constant.

        A run of step s needs nr / gcd(s, nr) of them.
        """
        classes = nr // math.gcd(self.step, nr)
        return [
            make_run(self.start + r * self.step, self.step * classes, -((r - self.nr_pages) // classes))
            for r in range(min(classes, self.nr_pages))
        ]


def make_run(start: int, step: int, count: int) -> Run:
    """A run whose step is 1 when it has one page, as in the state file."""
    return Run(start, step if count > 1 else 1, count)


class RunIndex:
    """
    Disjoint runs that can be counted and searched in address order.

    Args:
        runs: Disjoint sets of page numbers, in any order; strided ones may lie between one another.
    """

    def __init__(self, runs: Iterable[Run]) -> None:
        dense: list[Run] = []
        self.strided: list[Run] = []
        for run in runs:
            (dense if run.step == 1 else self.strided).append(run)
        dense.sort()
        self.dense = dense
        self.starts = [run.start for run in dense]
        self.sums = [0, *itertools.accumulate(run.nr_pages for run in dense)]
        self.total = self.sums[-1] + sum(run.nr_pages for run in self.strided)
        edges = [run.start for run in self.strided] + self.starts[:1]
        self.low = min(edges, default=0)
        self.high = max([run.last + 1 for run in self.strided] + [run.last + 1 for run in dense[-1:]], default=0)

    def below(self, limit: int) -> int:
        """How many pages lie below *limit*."""
        k = bisect.bisect_left(self.starts, limit)
        found = self.sums[k]
        if k:
            before = self.dense[k - 1]
            found += before.below(limit) - before.nr_pages
        return found + sum(run.below(limit) for run in self.strided)

    def address(self, ordinal: int) -> int:
        """The page number with exactly *ordinal* pages below it; *ordinal* is below the total."""
        low, high = self.low, self.high
        while low < high:
            middle = (low + high) // 2
            if self.below(middle + 1) > ordinal:
                high = middle
            else:
                low = middle + 1
        return low


def pages_in_order(runs: Iterable[Run]) -> Iterator[int]:
    """All page numbers of *runs*, ascending; runs may lie between one another."""
    return heapq.merge(*(range(run.start, run.last + 1, run.step) for run in runs))


def maximal_runs(runs: Iterable[Run]) -> list[Run]:
    """
    The same pages as the fewest runs that a greedy reader from the lowest address finds.

    The gap between the two lowest pages left is the step; a run goes on while the next page follows at that step.
    The answer depends on the set of pages alone, not on how *runs* cut it.
    """
    found: list[list[int]] = []
    for group in clusters(sorted(runs)):
        pieces: Iterable[Run] = group if len(group) == 1 else (Run(p, 1, 1) for p in pages_in_order(group))
        for piece in pieces:
            _append(found, piece)
    return [make_run(*run) for run in found]


def overlaps(some: Sequence[Run], others: Iterable[Run]) -> Iterator[tuple[int, Run]]:
    """
    The pages that two sets of disjoint runs share, run by run.

    Yields:
        (place in *some*, the run shared with one of *others*); its step is the least common multiple of theirs.
    """
    left = [(run, 0, k) for k, run in enumerate(some)]
    right = [(run, 1, 0) for run in others]
    active: tuple[list[tuple[Run, int, int]], list[tuple[Run, int, int]]] = ([], [])
    for item in sorted(left + right):
        run, side, number = item
        for group in active:
            group[:] = [other for other in group if other[0].last >= run.start]
        for other, _, its_number in active[1 - side]:
            part = _shared(run, other)
            if part is not None:
                yield (its_number if side else number), part
        active[side].append(item)


def intersect(some: Iterable[Run], others: Iterable[Run]) -> list[Run]:
    """The pages that two sets of disjoint runs share, as runs, by lowest page."""
    return sorted(part for _, part in overlaps(list(some), others))


def _shared(a: Run, b: Run) -> Run | None:
    low, high = max(a.start, b.start), min(a.last, b.last)
    if a.step == b.step == 1:
        return make_run(low, 1, high - low + 1) if low <= high else None
    common = math.gcd(a.step, b.step)
    if (b.start - a.start) % common:
        return None
    period = math.lcm(a.step, b.step)
    other = b.step // common
    ordinal = (b.start - a.start) // common * pow(a.step // common, -1, other) % other if other > 1 else 0
    start = a.start + ordinal * a.step
    start += -((start - low) // period) * period
    return make_run(start, period, (high - start) // period + 1) if start <= high else None


def clusters(runs: Sequence[Run]) -> Iterator[list[Run]]:
    """*runs*, which are sorted, grouped so that the spans of two groups do not overlap."""
    group: list[Run] = []
    high = -1
    for run in runs:
        if group and run.start > high:
            yield group
            group = []
        group.append(run)
        high = max(high, run.last)
    if group:
        yield group


def _append(found: list[list[int]], run: Run) -> None:
    """Join *run*, which lies above all of *found*, page by page as far as the greedy reading does."""
    start, step, count = run
    while count:
        if not found:
            found.append([start, step, count])
            return
        head = found[-1]
        next_page = head[0] + head[2] * head[1]
        if head[2] == 1:
            head[1], head[2] = start - head[0], 2
            taken = 1
        elif start == next_page:
            taken = count if step == head[1] or count == 1 else 1
            head[2] += taken
        else:
            found.append([start, step, count])
            return
        start, count = start + taken * step, count - taken
        if count and taken == 1 and head[1] != step and start != head[0] + head[2] * head[1]:
            found.append([start, step, count])
            return
        if count and head[1] == step:
            head[2] += count
            return
