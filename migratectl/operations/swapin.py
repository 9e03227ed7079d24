"""Faults on swap ptes: do_swap_page() over a range."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

from migratectl.errors import Busy
from migratectl.kernel.memory import demand_by_index
from migratectl.operations.toucher import Toucher
from migratectl.runs import RunIndex, pages_in_order
from migratectl.storage import holds, pages, swap
from migratectl.storage.swap import SwappedRun
from migratectl.storage.vmas import Vma
from migratectl.uapi import INDEX_LIMIT

Rest = Callable[[int, int], int]
"""Touches [start, end), where no swap pte is left, and returns one past the last page that was had."""


def touch_swapped(toucher: Toucher, vma: Vma, start: int, end: int, rest: Rest, *, write: bool) -> int:
    """
    Touch a range of an area that has swap ptes.

    A page that is still in the swap cache is mapped where it is; any other is read to the node that the policy of the
    moment gives. What a write has to copy then, and everything else in the range, is the *rest*. While no node runs
    out and no slot becomes free the order of all that does not matter; else it goes page by page.

    Args:
        toucher: The task.
        vma: The area.
        start: First page; the runs are cut there.
        end: One past the last page.
        rest: Does what is left to do.
        write: Touch by writing.

    Returns:
        One past the last page that was had.

    Raises:
        Busy: A page of the swap cache is locked and all before it were had: the fault would wait for it.

    Source:
        do_swap_page(); semantics.md 6.4, 6.5.
    """
    rows = swap.swapped(toucher.conn, toucher.mm, start, end)
    locked = min((row.addr for row in rows if row.lock is not None), default=None)
    if locked is not None:
        pages.cut_address(toucher.conn, toucher.mm, locked)
        reached = touch_swapped(toucher, vma, start, locked, rest, write=write) if start < locked else start
        if reached < locked:
            return reached
        where = hex(locked * toucher.machine.facts.page_size)
        raise Busy(toucher.subject, f"the page at {where} is locked, the fault would wait for it; unlock it first")
    shared = [row.run for row in rows if row.shared and write]
    if _fits(toucher, vma, rows, (start, end), write=write):
        _swap_in(toucher, vma, start, end, write=write)
        toucher.faults.twice += sum(run.nr_pages for run in shared)
        return rest(start, end)
    reached = _page_by_page(toucher, vma, rows, (start, end), rest, write=write)
    toucher.faults.twice += sum(run.below(reached) for run in shared)
    return reached


def _page_by_page(
    toucher: Toucher, vma: Vma, rows: Sequence[SwappedRun], span: tuple[int, int], rest: Rest, *, write: bool
) -> int:
    """Memory may run out: what a page is read for, and copied for, decides what the next one finds."""
    at, end = span
    for page in pages_in_order(row.run for row in rows):
        pages.cut_range(toucher.conn, toucher.mm, page, page + 1)
        if page > at and (reached := rest(at, page)) < page:
            return reached
        _swap_in(toucher, vma, page, page + 1, write=write)
        if toucher.faults.errno:
            return page
        if rest(page, page + 1) <= page:  # it was read in, and there is no memory for its copy
            toucher.faults.twice += 1
            return page
        at = page + 1
    return rest(at, end) if at < end else end


def _fits(toucher: Toucher, vma: Vma, rows: Sequence[SwappedRun], span: tuple[int, int], *, write: bool) -> bool:
    """Whether the first node of each list has room for all that the range can ask for, and no slot becomes free."""
    asked = [row.run for row in rows if row.node is None]
    if write:
        copied = pages.protected(toucher.conn, toucher.mm, *span)
        if any(row.last and row.entry for row in copied):
            return False  # copies give up slots, and how many are free decides which entries go
        asked += [row.run for row in rows if row.shared]
        asked += [*toucher.absent(*span), *(row.run for row in copied)]
    wanted: dict[int, int] = {}
    for demand in demand_by_index(asked, vma.delta, toucher.memory.choice(toucher.policy_of(vma))):
        if demand.runs and not demand.zonelist:
            return False
        for run in demand.runs:
            wanted[demand.zonelist[0]] = wanted.get(demand.zonelist[0], 0) + run.nr_pages
    return all(nr <= toucher.memory.free[nid] for nid, nr in wanted.items())


def _swap_in(toucher: Toucher, vma: Vma, start: int, end: int, *, write: bool) -> None:
    """Map what is behind swap ptes in [start, end); pages in swap only are read first, in one stage or not at all."""
    conn, mm = toucher.conn, toucher.mm
    missing = [row for row in swap.swapped(conn, mm, start, end) if row.node is None]
    if missing:
        choice = toucher.memory.choice(toucher.policy_of(vma))
        stages, stop = toucher.memory.place(demand_by_index([row.run for row in missing], vma.delta, choice))
        if stop is not None:
            toucher.faults.stop(stop, "ENOMEM", "no free page on the nodes that the policy and the cpuset allow")
            return
        _read(toucher, vma, missing, (start, end), stages[0].nodes)
    rows = swap.swapped(conn, mm, start, end)
    for shared in (False, True):
        swap.map_again(conn, mm, [row.page for row in rows if row.shared == shared], writable=write and not shared)
    toucher.faults.swapin += sum(row.nr_pages for row in rows)
    toucher.faults.major += sum(row.nr_pages for row in missing)
    alone = [row for row in rows if not row.shared and not row.held]
    _leave_cache(toucher, alone, write=write)


def _read(
    toucher: Toucher, vma: Vma, missing: Sequence[SwappedRun], span: tuple[int, int], givers: Sequence[int | None]
) -> None:
    """Read pages from swap to the node that serves the class of their index."""
    conn, nr = toucher.conn, len(givers)
    for at in _wraps(missing, vma.delta):
        pages.cut_address(conn, toucher.mm, at)
    if nr > 1:
        for row in swap.swapped(conn, toucher.mm, *span):
            if row.node is None:
                pages.deal(conn, row.page, nr // math.gcd(row.step, nr))
    by_node: dict[int, list[int]] = {}
    for row in swap.swapped(conn, toucher.mm, *span):
        nid = givers[(row.addr + vma.delta) % INDEX_LIMIT % nr]
        if row.node is None and nid is not None:
            by_node.setdefault(nid, []).append(row.page)
    for nid, ids in by_node.items():
        swap.fill(conn, ids, nid)


def _wraps(rows: Iterable[SwappedRun], delta: int) -> Iterator[int]:
    """The addresses at which the interleave index of a run passes a multiple of 2^32."""
    for row in rows:
        low, high = row.addr + delta, row.run.last + delta
        for number in range(low // INDEX_LIMIT + 1, high // INDEX_LIMIT + 1):
            yield number * INDEX_LIMIT - delta


def _leave_cache(toucher: Toucher, rows: Sequence[SwappedRun], *, write: bool) -> None:
    """
    Let pages that nobody else uses leave the swap cache, in address order, while swap is more than half full.

    A 6.x kernel lets those go that are written to, however full it is.

    Source:
        remove_exclusive_swap_page() and vm_swap_full(); semantics.md 6.5, 9a; today's should_try_to_free_swap().
    """
    areas = holds.swap_areas(toucher.conn)
    slots, free = sum(area.slots for area in areas), sum(area.slots - area.used for area in areas)
    nr = sum(row.nr_pages for row in rows)
    if not (toucher.machine.modern and write):
        nr = min(nr, -(-slots // 2) - free)
    if nr <= 0:
        return
    index = RunIndex(row.run for row in rows)
    end = index.address(nr) if nr < index.total else index.high
    pages.cut_address(toucher.conn, toucher.mm, end)
    swap.give_up_slots(toucher.conn, [row.page for row in rows if row.addr < end])  # the lower part keeps its row
