"""Methods of file systems (semantics.md 1.3); read-ahead and fault-around (modern-kernel.md 23), page by page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migratectl.kernel.filemap import fault_around, migrate_method, pieces_of, read_ahead, read_faults
from migratectl.kernel.memory import absent
from migratectl.runs import Run, intersect, make_run

END = 150
RUNS = st.builds(make_run, st.integers(0, 90), st.sampled_from([1, 1, 1, 2, 3, 20]), st.integers(1, 40))


def pages(runs: Iterable[Run]) -> list[int]:
    """The page numbers, spelt out, ascending."""
    return sorted(run.start + k * run.step for run in runs for k in range(run.nr_pages))


@st.composite
def disjoint(draw: st.DrawFn, most: int = 5) -> list[Run]:
    """Runs below END that share no page, some between one another."""
    taken: set[int] = set()
    chosen: list[Run] = []
    for run in draw(st.lists(RUNS, max_size=most)):
        if run.last < END and taken.isdisjoint(pages([run])):
            taken.update(pages([run]))
            chosen.append(run)
    return chosen


# ---- methods -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fs", "journal", "v9", "modern"),
    [
        ("ext2", None, "buffer", "buffer"),
        ("ext3", "ordered", "buffer", "buffer"),
        ("ext3", "writeback", "buffer", "buffer"),
        ("ext3", "journalled", "none", "buffer"),
        ("xfs", None, "buffer", "buffer"),
        ("xfs-buf", None, "fail", "fail"),
        ("tmpfs", None, "none", "page"),
        ("ntfs", None, "none", "buffer"),
        ("ramfs", None, "none", "none"),
        ("bdev", None, "none", "buffer"),
        ("reiserfs", None, "none", "none"),
        ("jfs", None, "none", "none"),
        ("nfs", None, "none", "none"),
        ("anyfs", None, "none", "none"),
    ],
)
def test_methods(fs: str, journal: str | None, v9: str, modern: str) -> None:
    assert migrate_method(fs, journal, modern=False) == v9
    assert migrate_method(fs, journal, modern=True) == modern


# ---- read-ahead ----------------------------------------------------------------------------------------------------


Read = tuple[list[int], list[int], int]
"""The pages read, the markers left, the misses."""


def read_one_by_one(touched: Sequence[int], cached: Iterable[int], size: int | None) -> Read:
    """As the rule says it, one miss after the other."""
    there, read, markers, misses = set(cached), [], set(), 0
    for index in touched:
        if index not in there:
            misses += 1
            low = max(0, index - 16)
            high = low + 32 if size is None else min(low + 32, size)
            fresh = [page for page in range(low, high) if page not in there]
            read += fresh
            there.update(fresh)
            markers |= {high - 8} & set(fresh)
        markers.discard(index)
    return read, sorted(markers), misses


def read_by_runs(touched: Sequence[Run], cached: Sequence[Run], size: int | None) -> Read:
    """As the program plans it."""
    free = absent(0, END + 32 if size is None else size, cached)
    found = read_ahead(sorted(touched), intersect(touched, free), free, size)
    return pages(found.runs), list(found.markers), found.misses


@settings(max_examples=300)
@given(disjoint(), disjoint(), st.sampled_from([None, 7, 20, 33, 64, 100]))
def test_read_ahead_is_what_one_miss_after_the_other_reads(
    touched: list[Run], cached: list[Run], size: int | None
) -> None:
    """Also that it is read in ascending order: that is how interleaving deals it out."""
    limit = END if size is None else size
    touched, cached = (intersect(runs, [Run(0, 1, limit)]) for runs in (touched, cached))
    read, markers, misses = read_one_by_one(pages(touched), pages(cached), size)
    assert read == sorted(read)
    assert read_by_runs(touched, cached, size) == (read, markers, misses)


@pytest.mark.parametrize(
    ("miss", "low", "high", "marker"),
    [(0, 0, 32, 24), (3, 0, 32, 24), (10, 0, 32, 24), (20, 4, 36, 28), (40, 24, 56, 48), (63, 47, 64, 56)],
)
def test_a_miss_of_a_file_of_64_pages(miss: int, low: int, high: int, marker: int) -> None:
    """The misses of modern-kernel.md 23; it names the markers of 20 and 63."""
    found = read_ahead([Run(miss, 1, 1)], [Run(miss, 1, 1)], [Run(0, 1, 64)], 64)
    assert (found.runs, found.markers, found.misses) == ((Run(low, 1, high - low),), (marker,), 1)


def test_a_large_file_is_read_in_one_stroke() -> None:
    """2^40 pages: the first miss reads 32, each further one 16 more; the last marker lies behind what is touched."""
    touched = [Run(0, 1, 1 << 40)]
    found = read_ahead(touched, touched, [Run(0, 1, (1 << 40) + 32)], None)
    assert found.runs == (Run(0, 1, 1 << 40),)
    assert found.misses == 1 + ((1 << 40) - 32) // 16
    assert found.markers == ()


# ---- fault-around --------------------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(disjoint(), st.integers(0, 20), st.integers(0, 40))
def test_fault_around_is_the_aligned_windows(runs: list[Run], before: int, behind: int) -> None:
    """Inside the area, which holds what is touched."""
    touched = pages(runs)
    if not touched:
        assert fault_around(runs, 0, END) == []
        return
    start, end = max(touched[0] - before, 0), touched[-1] + 1 + behind
    windows = {page for at in touched for page in range(at // 16 * 16, at // 16 * 16 + 16) if start <= page < end}
    found = fault_around(runs, start, end)
    assert pages(found) == sorted(windows)
    assert all(run.step == 1 for run in found)


# ---- pieces --------------------------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(RUNS, disjoint())
def test_pieces_tell_the_chosen_pages_from_the_others(run: Run, chosen: list[Run]) -> None:
    """Every ordinal of the run is in one piece."""
    wanted, others = pieces_of(run, chosen)
    assert sorted(pages([run])[k] for k in pages(wanted)) == sorted(set(pages([run])) & set(pages(chosen)))
    assert sorted(pages(wanted) + pages(others)) == list(range(run.nr_pages))
    assert all(piece.nr_pages > 1 or piece.step == 1 for piece in (*wanted, *others))


@pytest.mark.parametrize(
    ("touched", "alone", "faults"),
    [
        ([Run(5, 1, 3)], [], 1),
        ([Run(5, 1, 20)], [], 2),  # windows 0-15 and 16-31
        ([Run(0, 4, 8)], [], 2),
        ([Run(3, 20, 3)], [], 3),  # 3, 23, 43
        ([Run(5, 1, 3)], [Run(5, 1, 1)], 1),  # the first is read, the others are mapped around it
        ([Run(5, 1, 3)], [Run(6, 1, 1)], 2),
        ([Run(5, 1, 3)], [Run(5, 1, 3)], 3),
        ([Run(14, 1, 4)], [Run(16, 1, 2)], 3),
    ],
)
def test_of_cached_pages_in_a_window_only_the_first_faults(touched: list[Run], alone: list[Run], faults: int) -> None:
    assert read_faults(touched, alone) == faults
