"""
The page cache: how file systems let their pages move, what a fault reads ahead, and what it maps around.

Models mm/filemap.c, mm/readahead.c and do_fault_around() of mm/memory.c; semantics.md 1.3, 6.1, 6.3; modern-kernel.md
23.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from migratectl.kernel.memory import absent, one_after_another
from migratectl.runs import Run, intersect, make_run, pages_in_order

READ_AHEAD_BEFORE: Final = 16
READ_AHEAD_PAGES: Final = 32
"""A miss at index i reads so many pages from i - 16 on (``modern``)."""

MARKER_BEFORE_END: Final = 8
"""How far from the end of what was read ahead its marker page lies."""

FAULT_AROUND_PAGES: Final = 16
"""A read fault maps what is cached in the aligned window of so many pages (``modern``)."""


class Filesystem(NamedTuple):
    """How the pages of a file system migrate under V9 and today, whether they have buffers, whether a disk is below."""

    method: str
    modern: str
    buffers: bool
    disk: bool = True


FILESYSTEMS: Final = {
    "ext2": Filesystem("buffer", "buffer", buffers=True),
    "ext3": Filesystem("buffer", "buffer", buffers=True),
    "xfs": Filesystem("buffer", "buffer", buffers=True),
    "xfs-buf": Filesystem("fail", "fail", buffers=False),
    "tmpfs": Filesystem("none", "page", buffers=False, disk=False),
    "ramfs": Filesystem("none", "none", buffers=False, disk=False),
    "ntfs": Filesystem("none", "buffer", buffers=True),
    "bdev": Filesystem("none", "buffer", buffers=True),
    "reiserfs": Filesystem("none", "none", buffers=True),
    "jfs": Filesystem("none", "none", buffers=True),
}
"""Semantics.md 1.3; ``bdev`` is the page cache of a block device."""

_OTHER: Final = Filesystem("none", "none", buffers=False)

JOURNALS: Final = ("ordered", "writeback", "journalled")
"""Modes of ext3's journal, the default first."""


def filesystem(fs: str | None) -> Filesystem:
    """What is known of a file system; one of another name has no method and no buffers."""
    return FILESYSTEMS.get(fs or "", _OTHER)


def migrate_method(fs: str, journal: str | None, *, modern: bool) -> str:
    """
    The migratepage method of a file: ``page``, ``buffer``, ``fail`` or ``none``.

    Source:
        The address_space_operations of Direct Migration V9, 3/5 and 5/5; semantics.md 1.3.
    """
    known = filesystem(fs)
    if modern:
        return known.modern
    return "none" if journal == "journalled" else known.method


@dataclass(frozen=True, slots=True)
class ReadAhead:
    """What the misses of a range read: ``runs`` of absent indexes, the marker pages among them; how many misses."""

    runs: tuple[Run, ...]
    markers: tuple[int, ...] = ()
    misses: int = 0


def read_ahead(touched: Sequence[Run], missing: Sequence[Run], free: Sequence[Run], size: int | None) -> ReadAhead:
    """
    What is read when absent pages of a disk file are touched one after the other.

    A miss at index i reads every absent page of the 32 from i - 16 on, or from 0; so inside a run of absent pages every
    16th is a miss. The eighth page from the end of what a miss reads is its marker, if it was absent, until somebody
    touches it.

    Args:
        touched: The indexes that are touched, ascending.
        missing: The absent ones among them.
        free: All absent indexes from 16 below the first to 32 above the last of *missing*.
        size: Pages of the file; nothing beyond is read. None: it has no end.

    Source:
        do_sync_mmap_readahead() and page_cache_ra_unbounded() of a 6.1 kernel; rule 23 of what it does.
    """
    windows: list[tuple[int, int]] = []
    markers: list[int] = []
    covered = misses = 0
    for run in one_after_another(missing):
        for low, high, nr in _windows(run, covered, size):
            misses += nr
            windows.append((low, high))
            if high - MARKER_BEFORE_END >= max(low, covered):
                markers.append(high - MARKER_BEFORE_END)
            covered = high
    wanted = _dense(windows)
    marked = [make_run(page, 1, 1) for page in sorted(set(markers))]
    fresh = [run.start for run in intersect(marked, free)]
    seen = {run.start for run in intersect(marked, touched)}
    return ReadAhead(tuple(intersect(free, wanted)), tuple(page for page in fresh if page not in seen), misses)


def _windows(run: Run, covered: int, size: int | None) -> Iterator[tuple[int, int, int]]:
    """What the misses of a run read, as [low, high), and how many they are; of a dense run all but the last as one."""

    def cut(high: int) -> int:
        return high if size is None else min(high, size)

    left = run.between(covered, run.last + 1)
    while left is not None:
        low = max(left.start, READ_AHEAD_BEFORE) - READ_AHEAD_BEFORE
        high = low + READ_AHEAD_PAGES
        misses = -(-(left.last + 1 - high) // READ_AHEAD_BEFORE) if left.step == 1 else 0
        if misses > 0:
            yield low, cut(high + (misses - 1) * READ_AHEAD_BEFORE), misses
            low = high + (misses - 2) * READ_AHEAD_BEFORE
            high = low + READ_AHEAD_PAGES
        yield low, cut(high), 1
        left = left.between(high, left.last + 1)


def fault_around(touched: Iterable[Run], start: int, end: int) -> list[Run]:
    """
    The windows, of 16 pages each at a multiple of 16, that read faults at these addresses map; cut to [start, end).

    Source:
        do_fault_around() of a 6.1 kernel; rule 23 of what it does.
    """
    windows = (window for run in one_after_another(touched) for window in _aligned(run))
    return _dense((max(low, start), min(high, end)) for low, high in windows)


def read_faults(touched: Sequence[Run], alone: Sequence[Run]) -> int:
    """
    How many of the read accesses to absent pages fault; the others find their page mapped around another fault.

    The first fault in a window maps all that is cached there, so of the cached pages at most the first one faults.

    Args:
        touched: The addresses, ascending.
        alone: Those of them that no fault maps around itself: not in memory, or with a marker of read-ahead.

    Source:
        do_read_fault() of a 6.1 kernel; rule 23 of what it does.
    """
    if not alone:
        end = max((run.last for run in touched), default=0) + FAULT_AROUND_PAGES
        return sum(run.nr_pages for run in fault_around(touched, 0, end)) // FAULT_AROUND_PAGES
    firsts: dict[int, int] = {}
    for run in touched:
        for low, high in _aligned(run):
            for window in range(low, high, FAULT_AROUND_PAGES):
                inside = run.between(window, window + FAULT_AROUND_PAGES)
                if inside is not None:
                    firsts[window] = min(inside.start, firsts.get(window, inside.start))
    cached = sum(1 for first in firsts.values() if not any(run.between(first, first + 1) for run in alone))
    return cached + sum(run.nr_pages for run in alone)


def _dense(windows: Iterable[tuple[int, int]]) -> list[Run]:
    """What ascending windows, which may overlap, cover."""
    found: list[Run] = []
    for low, high in windows:
        if found and low <= found[-1].last + 1:
            before = found.pop()
            found.append(make_run(before.start, 1, max(before.last + 1, high) - before.start))
        else:
            found.append(make_run(low, 1, high - low))
    return found


def _aligned(run: Run) -> Iterator[tuple[int, int]]:
    grain = FAULT_AROUND_PAGES
    if run.step <= grain:
        yield run.start // grain * grain, (run.last // grain + 1) * grain
        return
    for page in pages_in_order([run]):
        yield page // grain * grain, (page // grain + 1) * grain


def pieces_of(run: Run, chosen: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """
    A run told apart by which of its pages are chosen.

    Args:
        run: The run.
        chosen: Disjoint runs that it may share pages with.

    Returns:
        The chosen pieces and the others, as runs of ordinals within *run*; no others where all of it is chosen.
    """
    shared = [
        make_run((part.start - run.start) // run.step, max(part.step // run.step, 1), part.nr_pages)
        for part in intersect([run], chosen)
    ]
    return shared, absent(0, run.nr_pages, shared)
