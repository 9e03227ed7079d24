"""Faults on areas of files and shared memory: cache pages mapped, or copied where the area is private."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from migratectl.errors import Busy
from migratectl.kernel.filemap import fault_around, pieces_of, read_faults
from migratectl.kernel.memory import absent, demand_by_index, given
from migratectl.operations.areas import prepare_anon_vma
from migratectl.operations.page_cache import Lookup, Placed, below, fetch, fetch_and_copy, look_up, shifted
from migratectl.operations.toucher import Toucher, leaving
from migratectl.runs import Run, intersect, overlaps
from migratectl.storage import cache, files, pages
from migratectl.storage.files import File
from migratectl.storage.pages import Laid, ProtectedRun
from migratectl.storage.vmas import Vma
from migratectl.uapi import PG, VM

_FRESH: Final = int(PG.ACTIVE)
_WRITTEN: Final = (1, 1, 1)
_NO_MEMORY: Final = "no free page on the nodes that the policy and the cpuset allow"


def touch_file_area(toucher: Toucher, vma: Vma, start: int, end: int, *, write: bool) -> int:
    """
    Touch [start, end) of an area, which was cut there, in address order.

    A page that is not cached is read, or filled with zeros; then it is mapped, or copied where a private area is
    written. Beyond the end of the file the task would be killed.

    Args:
        toucher: The task; its faults get what was done.
        vma: The area.
        start: The first page.
        end: One past the last.
        write: Touch by writing.

    Returns:
        One past the last page that was had.

    Raises:
        Busy: Under ``modern``, a page to map is locked and all before it were had: the fault would wait for it.

    Source:
        do_no_page(), filemap_nopage() and shmem_nopage(); semantics.md 6.3; do_fault() of a 6.x kernel.
    """
    file = files.load(toucher.conn, vma.mapping)
    limit = end if file.size is None else min(end, max(start, file.size - vma.delta))
    locked = _first_locked(toucher, vma, start, limit) if start < limit and toucher.machine.modern else None
    limit = limit if locked is None else locked
    reached = start
    if start < limit:
        pages.cut_address(toucher.conn, toucher.mm, limit)
        if write and not vma.flags & VM.SHARED:
            reached = _copy(toucher, vma, file, start, limit)
        else:
            reached = _map(toucher, vma, file, start, limit, write=write)
        toucher.faults.reuse += pages.unprotect(toucher.conn, toucher.mm, start, reached) if write else 0
    if locked is not None and reached == locked and toucher.faults.errno is None:
        at = hex(locked * toucher.machine.facts.page_size)
        raise Busy(toucher.subject, f"the page at {at} is locked and the fault would wait; unlock it first")
    if reached < end and toucher.faults.errno is None:
        toucher.faults.stop(limit, "EFAULT", f"the end of '{file.name}' lies before the page", "SIGBUS")
    return reached


def _look(toucher: Toucher, vma: Vma, file: File, holes: Sequence[Run]) -> Lookup | None:
    """What the cache has of the absent addresses; None where there are none."""
    if not holes:
        return None
    touched = shifted(holes, vma.delta)
    found = look_up(toucher.memory, file, touched, ahead=not vma.flags & VM.RANDOM)
    toucher.cached.append((file.id, *found.window))
    return found


def _first_locked(toucher: Toucher, vma: Vma, start: int, end: int) -> int | None:
    """The first address of [start, end) that has no pte and whose cache page is locked."""
    rows = cache.rows(toucher.conn, vma.mapping, start + vma.delta, end + vma.delta)
    locked = [row.run for row in rows if row.lock is not None]
    touched = shifted(toucher.absent(start, end), vma.delta) if locked else []
    return min((run.start - vma.delta for run in intersect(touched, locked)), default=None)


def _map(toucher: Toucher, vma: Vma, file: File, start: int, end: int, *, write: bool) -> int:
    """Map cache pages where the area has no pte; a read fault maps what is cached around, under ``modern``."""
    holes = toucher.absent(start, end)
    found = _look(toucher, vma, file, holes)
    if found is None:
        return end
    stop = fetch(toucher.memory, found)
    reached = end if stop is None else stop - vma.delta
    if stop is not None:
        toucher.faults.stop(reached, "ENOMEM", _NO_MEMORY)
    toucher.faults.major += found.misses_below(stop)
    swapped = sum(run.nr_pages for run in below(found.swapped, stop))
    toucher.faults.swapin += swapped
    touched = below(found.touched, stop)
    wanted, faults = touched, sum(run.nr_pages for run in touched)
    if not write and toucher.machine.modern:
        faults = _read_faults(found, touched, vma)
        wanted = shifted(_around(toucher, vma, file, shifted(touched, -vma.delta)), vma.delta)
    _map_cached(toucher, vma, file, touched, wanted)
    if wanted is not touched:  # what was mapped around reaches over the range
        for at in (start, reached, end):
            pages.cut_address(toucher.conn, toucher.mm, at)
    toucher.faults.file += faults - swapped
    return reached


def _read_faults(found: Lookup, touched: Sequence[Run], vma: Vma) -> int:
    """How many of the touched indexes fault under ``modern``; fault-around has the others mapped by then."""
    markers = intersect(touched, [row.run for row in found.cached if row.marker])
    alone = sorted([*markers, *intersect(touched, found.missing)])
    return read_faults(shifted(touched, -vma.delta), shifted(alone, -vma.delta))


def _around(toucher: Toucher, vma: Vma, file: File, touched: Sequence[Run]) -> list[Run]:
    """The addresses without pte in the windows around those that are touched."""
    end = vma.end if file.size is None else min(vma.end, file.size - vma.delta)
    windows = fault_around(touched, vma.start, end)
    if not windows:
        return []
    low, high = windows[0].start, windows[-1].last + 1
    rows = pages.mapped(toucher.conn, toucher.mm, (vma.start, vma.end), low, high)
    present = [part for row in rows if (part := row.run.between(low, high)) is not None]
    return intersect(windows, absent(low, high, present))


def _map_cached(toucher: Toucher, vma: Vma, file: File, touched: Sequence[Run], wanted: Sequence[Run]) -> None:
    """
    Map the cached ones of the wanted indexes; a marker of read-ahead only where it is touched, which ends it.

    Fault-around leaves locked pages out. What is in the swap cache has no place in the cache of its object: touched
    ones have left it by now.
    """
    if not wanted:
        return
    low, high = min(run.start for run in wanted), max(run.last for run in wanted) + 1
    rows = [row for row in cache.rows(toucher.conn, file.id, low, high) if row.area is None]
    if touched is not wanted:
        rows = [row for row in rows if row.lock is None]
    chosen: dict[int, tuple[list[Run], list[Run]]] = {}
    for of_markers, group in ((False, [row for row in rows if not row.marker]), (True, [r for r in rows if r.marker])):
        runs = [row.run for row in group]
        parts: dict[int, list[Run]] = {}
        for k, part in overlaps(runs, touched if of_markers else wanted):
            parts.setdefault(k, []).append(part)
        chosen |= {group[k].page: pieces_of(runs[k], shared) for k, shared in parts.items()}
    ids = cache.cut_pieces(toucher.conn, chosen)
    writable = int(bool(vma.flags & VM.SHARED and vma.flags & VM.WRITE))
    cache.map_rows(toucher.conn, toucher.mm, vma.delta, ids, (1, 0, writable))
    cache.clear_flags(toucher.conn, ids, PG.READAHEAD)
    toucher.cached.append((file.id, low, high))


def _copy(toucher: Toucher, vma: Vma, file: File, start: int, end: int) -> int:
    """
    Writes to a private area: each absent or write-protected page gets an anonymous copy by the area's policy.

    What is not cached is read first, by the task's policy, page after page.
    """
    conn, mm = toucher.conn, toucher.mm
    holes = toucher.absent(start, end)
    replaced = pages.protected(conn, mm, start, end)
    copied = shifted([*holes, *(row.run for row in replaced)], vma.delta)
    if not copied:
        return end
    choice = toucher.memory.choice(toucher.policy_of(vma))
    copies = demand_by_index(copied, 0, choice)
    free_again = [(run._replace(start=run.start + vma.delta), nid) for run, nid in leaving(replaced)]
    found = _look(toucher, vma, file, holes)
    if found is None:
        stages, stop = toucher.memory.place(copies, free_again)
        placed = [part for k, demand in enumerate(copies) for part in given(demand, k, stages)]
    else:
        stop, placed = fetch_and_copy(toucher.memory, found, copies, free_again)
        toucher.faults.major += found.misses_below(stop)
    reached = end
    if stop is not None:
        reached = stop - vma.delta
        toucher.faults.stop(reached, "ENOMEM", _NO_MEMORY)
        pages.cut_address(conn, mm, reached)
        replaced = [row for row in pages.protected(conn, mm, start, reached) if row.addr < reached]
    _lay_copies(toucher, vma, below(shifted(holes, vma.delta), stop), replaced, placed)
    return reached


def _lay_copies(
    toucher: Toucher, vma: Vma, holes: Sequence[Run], replaced: Sequence[ProtectedRun], placed: Placed
) -> None:
    """Put anonymous copies where memory was given: of cache pages at indexes without pte, and of replaced runs."""
    conn, mm = toucher.conn, toucher.mm
    sources = [*holes, *shifted((row.run for row in replaced), vma.delta)]
    laid: list[Laid] = []
    for nid in sorted({nid for _, nid in placed}):
        for k, part in overlaps(sources, [run for run, node in placed if node == nid]):
            origin = vma.mapping, part.start
            if k >= len(holes):
                row = replaced[k - len(holes)]
                origin = row.origin, row.origin_first + part.start - vma.delta - row.addr
            laid.append(Laid(part._replace(start=part.start - vma.delta), nid, origin))
    if replaced:
        toucher.memory.freed.append(pages.drop_ptes(conn, mm, [row.addr for row in replaced]))
    if laid:
        pages.lay(conn, mm, toucher.anon, vma.delta, laid, flags=_FRESH, bits=_WRITTEN)
        prepare_anon_vma(conn, vma, modern=toucher.machine.modern)
        toucher.faults.cow += sum(piece.run.nr_pages for piece in laid)
