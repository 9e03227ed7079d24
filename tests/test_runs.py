"""Strided runs against plain sets of page numbers."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migratectl.runs import Run, RunIndex, clusters, intersect, make_run, maximal_runs, overlaps, pages_in_order

RUNS = st.builds(make_run, st.integers(0, 60), st.integers(1, 9), st.integers(1, 12))
LIMITS = st.integers(-3, 180)


def pages(run: Run) -> list[int]:
    """The page numbers, spelt out."""
    return [run.start + k * run.step for k in range(run.nr_pages)]


def all_pages(runs: Iterable[Run]) -> list[int]:
    """The page numbers of many runs, with repetitions."""
    return [page for run in runs for page in pages(run)]


@st.composite
def disjoint(draw: st.DrawFn, at_most: int = 12) -> list[Run]:
    """Runs that share no page, some between one another."""
    taken: set[int] = set()
    chosen: list[Run] = []
    for run in draw(st.lists(RUNS, max_size=at_most)):
        if taken.isdisjoint(pages(run)):
            taken.update(pages(run))
            chosen.append(run)
    return chosen


def test_a_single_page_has_step_1() -> None:
    """As the state file's CHECK wants it."""
    assert make_run(7, 5, 1) == Run(7, 1, 1)
    assert make_run(7, 5, 2) == Run(7, 5, 2)


@settings(max_examples=200)
@given(disjoint(), disjoint())
def test_intersect_is_the_intersection(some: list[Run], others: list[Run]) -> None:
    """As disjoint runs; overlaps() tells which run of the first set each part is of."""
    found = intersect(some, others)
    assert sorted(all_pages(found)) == sorted(set(all_pages(some)) & set(all_pages(others)))
    assert all(run.nr_pages > 1 or run.step == 1 for run in found)
    parts = list(overlaps(some, others))
    assert sorted(part for _, part in parts) == found
    assert all(set(pages(part)) <= set(pages(some[k])) for k, part in parts)


@settings(max_examples=50)
@given(RUNS, LIMITS, LIMITS)
def test_below_and_between(run: Run, low: int, high: int) -> None:
    assert run.last == pages(run)[-1]
    assert run.below(low) == sum(page < low for page in pages(run))
    part = run.between(low, high)
    wanted = [page for page in pages(run) if low <= page < high]
    assert (pages(part) if part else []) == wanted
    assert part is None or part.nr_pages > 1 or part.step == 1


@settings(max_examples=50)
@given(RUNS, st.integers(1, 12))
def test_deal_makes_classes_of_one_residue(run: Run, nr: int) -> None:
    """A run is dealt into as few runs as there are residues, each of one residue modulo *nr*."""
    dealt = run.deal(nr)
    assert sorted(all_pages(dealt)) == pages(run)
    residues = [{page % nr for page in pages(part)} for part in dealt]
    assert all(len(found) == 1 for found in residues)
    assert len(dealt) == len({page % nr for page in pages(run)})
    assert all(part.nr_pages > 1 or part.step == 1 for part in dealt)


def test_deal_uses_the_common_divisor() -> None:
    """Step 6 over 4 nodes: pages 0, 6, 12, 18 lie on 0, 2, 0, 2, so two classes of step 12 are enough, not four."""
    assert Run(0, 6, 5).deal(4) == [Run(0, 12, 3), Run(6, 12, 2)]


@settings(max_examples=50)
@given(disjoint(), LIMITS)
def test_an_index_counts_and_finds(runs: list[Run], limit: int) -> None:
    index = RunIndex(runs)
    ordered = sorted(all_pages(runs))
    assert index.total == len(ordered)
    assert index.below(limit) == sum(page < limit for page in ordered)
    assert [index.address(k) for k in range(len(ordered))] == ordered
    if ordered:
        assert (index.low, index.high) == (ordered[0], ordered[-1] + 1)


def test_an_index_of_a_large_machine_expands_nothing() -> None:
    """2^40 pages of step 8 and 2^40 of step 1 beyond them: the answers are arithmetic."""
    index = RunIndex([Run(0, 8, 1 << 40), Run(1 << 43, 1, 1 << 40)])
    assert index.total == 1 << 41
    assert index.below(8 << 30) == 1 << 30
    assert index.address((1 << 40) + 5) == (1 << 43) + 5


@settings(max_examples=50)
@given(disjoint())
def test_pages_in_order(runs: list[Run]) -> None:
    assert list(pages_in_order(runs)) == sorted(all_pages(runs))


@settings(max_examples=50)
@given(st.lists(RUNS, max_size=10))
def test_clusters_have_spans_that_do_not_overlap(runs: list[Run]) -> None:
    groups = list(clusters(sorted(runs)))
    assert [run for group in groups for run in group] == sorted(runs)
    assert all(groups)
    ends = [max(run.last for run in group) for group in groups]
    assert all(end < group[0].start for end, group in zip(ends, groups[1:], strict=False))
    for group in groups:
        for k in range(1, len(group)):
            assert group[k].start <= max(run.last for run in group[:k]), "a cluster without an overlap"


def greedy(numbers: Iterable[int]) -> list[Run]:
    """The definition, word for word: from the lowest page left, at the gap to the next, as far as it goes."""
    left = sorted(numbers)
    found = []
    while left:
        start = left[0]
        if len(left) == 1:
            found.append(Run(start, 1, 1))
            break
        step = left[1] - start
        nr = 1
        while nr < len(left) and left[nr] == start + nr * step:
            nr += 1
        found.append(Run(start, step, nr))
        left = left[nr:]
    return found


@settings(max_examples=50)
@given(disjoint())
def test_maximal_runs_read_greedily(runs: list[Run]) -> None:
    """The next page at that step must be the next page left."""
    assert maximal_runs(runs) == greedy(all_pages(runs))


@settings(max_examples=50)
@given(disjoint(), st.randoms(use_true_random=False))
def test_maximal_runs_do_not_depend_on_the_cutting(runs: list[Run], rng: random.Random) -> None:
    singles = [Run(page, 1, 1) for page in all_pages(runs)]
    rng.shuffle(singles)
    assert maximal_runs(singles) == maximal_runs(runs)


def test_maximal_runs_of_a_large_area() -> None:
    """Two halves of 2^40 pages and the one page behind them are one run."""
    half = 1 << 40
    assert maximal_runs([Run(half, 1, half), Run(0, 1, half), Run(2 * half, 1, 1)]) == [Run(0, 1, 2 * half + 1)]


@pytest.mark.parametrize(
    ("numbers", "runs"),
    [
        ([], []),
        ([4], [Run(4, 1, 1)]),
        ([4, 5, 6], [Run(4, 1, 3)]),
        ([0, 2, 4, 5], [Run(0, 2, 3), Run(5, 1, 1)]),
        ([0, 4, 5, 6], [Run(0, 4, 2), Run(5, 1, 2)]),
        ([0, 1, 3, 5], [Run(0, 1, 2), Run(3, 2, 2)]),
    ],
    ids=str,
)
def test_examples_of_maximal_runs(numbers: list[int], runs: list[Run]) -> None:
    assert maximal_runs(Run(page, 1, 1) for page in numbers) == runs
