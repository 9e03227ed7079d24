"""Looking pages up in the cache of a file, and reading in what is not there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from migratectl.kernel.filemap import (
    READ_AHEAD_BEFORE,
    READ_AHEAD_PAGES,
    ReadAhead,
    filesystem,
    pieces_of,
    read_ahead,
)
from migratectl.kernel.memory import Demand, absent, given
from migratectl.operations.allocator import Allocator, Leaving
from migratectl.runs import Run, intersect, make_run, overlaps
from migratectl.storage import cache
from migratectl.storage.cache import CachedRun
from migratectl.storage.connection import Connection
from migratectl.storage.files import File
from migratectl.uapi import PG

_READ_IN: Final = PG.UPTODATE

Placed = list[tuple[Run, int]]
"""Pages with the node that they got."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """
    What the cache has of the pages that somebody touches one after the other, all by index.

    Attributes:
        file: The file.
        touched: The pages touched.
        missing: Those of them that are not in memory.
        swapped: Those of them that lie in swap alone.
        free: All pages near them that are not cached.
        cached: The rows near them.
        window: [low, high), what was looked at.
        plan: What is to be read.
        ahead: It reads ahead.
    """

    file: File
    touched: tuple[Run, ...]
    missing: tuple[Run, ...]
    swapped: tuple[Run, ...]
    free: tuple[Run, ...]
    cached: tuple[CachedRun, ...]
    window: tuple[int, int]
    plan: ReadAhead
    ahead: bool

    def misses_below(self, stop: int | None) -> int:
        """How many of the touches below *stop* had to wait for a disk."""
        swapped = sum(run.nr_pages for run in below(self.swapped, stop))
        if self.file.shared_memory or (self.file.fs is not None and not filesystem(self.file.fs).disk):
            return swapped
        missing = below(self.missing, stop)
        if not self.ahead:
            return sum(run.nr_pages for run in missing)
        return read_ahead(below(self.touched, stop), missing, self.free, self.file.size).misses


def look_up(memory: Allocator, file: File, touched: Sequence[Run], *, ahead: bool) -> Lookup:
    """
    Look pages up.

    Args:
        memory: Who asks.
        file: The file.
        touched: The indexes, ascending; there is at least one.
        ahead: Misses may read more than what is touched (``modern``, disk files only).
    """
    low, high = touched[0].start, max(run.last for run in touched) + 1
    ahead = ahead and memory.machine.modern and not file.shared_memory
    ahead = ahead and (file.fs is None or filesystem(file.fs).disk)
    if ahead:
        low = max(low - READ_AHEAD_BEFORE, 0)
        high = high + READ_AHEAD_PAGES if file.size is None else min(high + READ_AHEAD_PAGES, file.size)
    cached = cache.rows(memory.conn, file.id, low, high)
    free = absent(low, high, [row.run for row in cached])
    swapped = intersect(touched, [row.run for row in cached if row.node is None])
    missing = sorted([*intersect(touched, free), *swapped])
    plan = read_ahead(touched, missing, free, file.size) if ahead else ReadAhead(tuple(missing))
    return Lookup(
        file, tuple(touched), tuple(missing), tuple(swapped), tuple(free), tuple(cached), (low, high), plan, ahead
    )


def fetch(memory: Allocator, found: Lookup) -> int | None:
    """
    Read in what is missing, by the policy of who asks.

    Returns:
        The first touched index for which there is no memory, or None. Everything below it is cached then.

    Source:
        page_cache_read(), shmem_getpage(); semantics.md 6.1, 6.3, 6.5.
    """
    stop, _ = fetch_and_copy(memory, found, (), ())
    return stop


def fetch_and_copy(
    memory: Allocator, found: Lookup, copies: Sequence[Demand], free_again: Leaving
) -> tuple[int | None, Placed]:
    """
    Read in what is missing, and give memory to copies of pages on the way.

    Args:
        memory: Who asks.
        found: What was looked up.
        copies: What the copies ask for, by index.
        free_again: Pages that a copy leaves free, by index.

    Returns:
        The first index that has no memory, and what the copies got. A page and its copy are two places in the order
        in which memory is given; what is read ahead is given its memory at its own index.
    """
    reading = memory.for_file(found.file, found.plan.runs) if found.plan.runs else []
    factor = 2 if copies else 1
    demands = [demand.scaled(factor, 0) for demand in reading] + [demand.scaled(2, 1) for demand in copies]
    leaving = [(make_run(run.start * 2 + 1, run.step * 2, run.nr_pages), nid) for run, nid in free_again]
    stages, place = memory.place(demands, leaving)
    nr = len(reading)
    read = [(_halved(run, factor), nid) for k in range(nr) for run, nid in given(demands[k], k, stages)]
    copied = [(_halved(run, 2), nid) for k in range(nr, len(demands)) for run, nid in given(demands[k], k, stages)]
    _store(memory, found, read)
    stop = _stopped(found, copies, place, factor)
    only_copy_failed = stop is not None and factor > 1 and place == stop * factor + 1
    _return_from_swap(memory, found, stop if stop is None else stop + only_copy_failed)
    if not found.file.shared_memory:
        memory.took_turns(sum(run.nr_pages for run, _ in read) + (place is not None and place % factor == 0))
    return stop, copied


def _halved(run: Run, factor: int) -> Run:
    return make_run(run.start // factor, max(run.step // factor, 1), run.nr_pages)


def _stopped(found: Lookup, copies: Sequence[Demand], place: int | None, factor: int) -> int | None:
    """The first touch that fails where memory ends at a place: what is only read ahead fails nobody."""
    if place is None:
        return None
    index = place // factor
    asking = [*found.missing, *(run for demand in copies for run in demand.runs)]
    left = [part.start for run in asking if (part := run.between(index, run.last + 1)) is not None]
    return min(left, default=None)


def _store(memory: Allocator, found: Lookup, read: Placed) -> None:
    """Put what was read into the cache; the markers of read-ahead are cut out."""
    conn, file = memory.conn, found.file
    fresh = read
    if found.swapped:
        fresh = [(run, nid) for run, nid in read if not intersect([run], found.swapped)]
        _swap_in(memory, found, [item for item in read if item not in fresh])
    ids = cache.add(conn, file.id, fresh, _READ_IN)
    if found.plan.markers:
        runs = [run for run, _ in fresh]
        markers = [make_run(index, 1, 1) for index in found.plan.markers]
        cache.set_flags(conn, _cut_indexes(conn, list(zip(ids, runs, strict=True)), markers), PG.READAHEAD)


def _swap_in(memory: Allocator, found: Lookup, read: Placed) -> None:
    """Pages of shared memory that lie in swap alone get the memory they were given."""
    absent_rows = [(row.page, row.run) for row in found.cached if row.node is None]
    ids = _cut_indexes(memory.conn, absent_rows, [run for run, _ in read])
    cache.bring_in(memory.conn, found.file.id, [(run.start, nid) for run, nid in read])
    cache.return_from_swap(memory.conn, ids)


def _return_from_swap(memory: Allocator, found: Lookup, stop: int | None) -> None:
    """The touched pages of shared memory that are in the swap cache go back to their object."""
    entered = [(row.page, row.run) for row in found.cached if row.node is not None and row.area is not None]
    if entered:
        cache.return_from_swap(memory.conn, _cut_indexes(memory.conn, entered, below(found.touched, stop)))


def _cut_indexes(conn: Connection, rows: Sequence[tuple[int, Run]], wanted: Sequence[Run]) -> list[int]:
    """Cut the wanted indexes out of page rows; their rows."""
    runs = [run for _, run in rows]
    parts: dict[int, list[Run]] = {}
    for k, part in overlaps(runs, wanted):
        parts.setdefault(k, []).append(part)
    return cache.cut_pieces(conn, {rows[k][0]: pieces_of(runs[k], shared) for k, shared in parts.items()})


def below(runs: Iterable[Run], limit: int | None) -> list[Run]:
    """The parts of *runs* below *limit*; None: all."""
    if limit is None:
        return list(runs)
    parts = (run.between(run.start, limit) for run in runs)
    return [part for part in parts if part is not None]


def shifted(runs: Iterable[Run], distance: int) -> list[Run]:
    """*runs*, each page number moved by *distance*."""
    return [run._replace(start=run.start + distance) for run in runs]
