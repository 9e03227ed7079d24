"""Page faults over a range: what a task gets when it touches its memory."""

from __future__ import annotations

from typing import Any, Final

from migratectl.kernel.memory import demand_by_index, placed_pieces
from migratectl.operations.allocator import Allocator
from migratectl.operations.areas import prepare_anon_vma
from migratectl.operations.file_fault import touch_file_area
from migratectl.operations.machine import Machine, find_mm, load_machine, resolve_span
from migratectl.operations.swapin import touch_swapped
from migratectl.operations.toucher import Faults, Toucher, leaving
from migratectl.spans import Span
from migratectl.storage import pages, tasks, vmas
from migratectl.storage.connection import Connection
from migratectl.storage.pages import Laid
from migratectl.storage.vmas import Vma
from migratectl.uapi import PG, VM

_FRESH: Final = int(PG.ACTIVE)
_WRITTEN: Final = (1, 1, 1)
_READ: Final = (1, 0, 0)
_UNTOUCHABLE: Final = VM.IO | VM.PFNMAP | VM.HUGETLB


def fault(conn: Connection, pid: int, span: Span, write: bool) -> dict[str, Any]:
    """
    Touch every page of a range in address order.

    Args:
        conn: The connection of the transaction.
        pid: The task.
        span: The range.
        write: Touch by writing.

    Returns:
        The document of ``fault``. Where a page cannot be had, what came before it stays done and ``errno`` is
        EFAULT with a signal, or ENOMEM. ``major``, where there were any: faults that read from a disk.

    Raises:
        Busy: A fault would have to wait for a page lock; nothing was done.

    Source:
        handle_mm_fault(), do_anonymous_page(), do_no_page(), do_wp_page(); semantics.md 6.1 to 6.4.
    """
    machine = load_machine(conn)
    _, mm = find_mm(conn, pid)
    page_size = machine.facts.page_size
    start, end = resolve_span(conn, mm, span, page_size, f"pid {pid}")
    toucher = _toucher(conn, machine, pid, mm)
    _walk(toucher, start, end, VM.WRITE if write else VM.READ)
    held = pages.by_node_between(conn, mm, start, end)
    toucher.finish(start, end, rejoin=True)
    document: dict[str, Any] = {
        "pid": pid,
        "return": 0,
        "errno": None,
        "faults": toucher.faults.counts(),
        "nodes": [{"node": nid, "pages": nr} for nid, nr in held.items()],
    }
    if toucher.faults.major:
        document["major"] = toucher.faults.major
    if toucher.faults.errno:
        document |= toucher.faults.failure(f"pid {pid}", page_size)
    return document


def populate(
    conn: Connection,
    machine: Machine,
    pid: int,
    start: int,
    end: int,
    *,
    access: VM | None = None,
    rejoin: bool = True,
) -> Faults:
    """
    Fault a range in as mlock and get_user_pages do.

    Args:
        conn: The connection of the transaction.
        machine: The machine.
        pid: The task.
        start: The first page.
        end: One past the last.
        access: How to touch; READ | WRITE: by write where the area is writable, else by read; None: so too, but under
            ``modern`` by read where it is shared.
        rejoin: Else the runs stay cut at both ends of the range, for a caller that goes on there.

    Source:
        make_pages_present(); semantics.md 9a; populate_vma_page_range() of a 6.x kernel.
    """
    _, mm = find_mm(conn, pid)
    toucher = _toucher(conn, machine, pid, mm)
    _walk(toucher, start, end, access)
    toucher.finish(start, end, rejoin=rejoin)
    return toucher.faults


def come_back(conn: Connection, machine: Machine, pid: int) -> Faults:
    """
    Read in whatever a task has behind swap ptes, as if it touched those pages now: by its policies and its CPU.

    Source:
        do_swap_page(); semantics.md 6.5, 9a (how a swap migration ends).
    """
    _, mm = find_mm(conn, pid)
    toucher = _toucher(conn, machine, pid, mm)
    areas = vmas.load(conn, mm)
    for vma in areas:
        if pages.swapped_between(conn, mm, vma.start, vma.end):
            for piece, start, end in toucher.by_policy(vma, vma.start, vma.end):
                if not toucher.faults.errno:
                    touch_swapped(toucher, piece, start, end, lambda _low, high: high, write=False)
    if areas:
        toucher.finish(areas[0].start, areas[-1].end, rejoin=True)
    return toucher.faults


def _toucher(conn: Connection, machine: Machine, pid: int, mm: int) -> Toucher:
    return Toucher(Allocator.of(conn, machine, pid), pid, mm, tasks.anon_mapping(conn, mm))


def _walk(toucher: Toucher, start: int, end: int, access: VM | None) -> None:
    """Touch [start, end) area by area until a page cannot be had. *access* None: as the area allows."""
    conn, mm, faults = toucher.conn, toucher.mm, toucher.faults
    if start == end:
        return
    pages.cut_range(conn, mm, start, end)
    at = start
    for vma in vmas.overlapping(conn, mm, start, end):
        if vma.start > at:
            break
        high = min(vma.end, end)
        wanted = _access(vma, access, modern=toucher.machine.modern)
        if vma.flags & wanted:
            for piece, low, end_of_piece in toucher.by_policy(vma, at, high):
                if not faults.errno:
                    _touch_area(toucher, piece, low, end_of_piece, write=wanted is VM.WRITE)
        elif access is not None:
            faults.stop(at, "EFAULT", "the area's protection forbids it", "SIGSEGV")
        if faults.errno:
            return
        at = high
    if at < end:
        faults.stop(at, "EFAULT", "no area", "SIGSEGV")


def _access(vma: Vma, access: VM | None, *, modern: bool) -> VM:
    """How to touch an area; see populate()."""
    if access in (VM.READ, VM.WRITE):
        return access
    shared = modern and access is None and vma.flags & VM.SHARED
    return VM.WRITE if vma.flags & VM.WRITE and not shared else VM.READ


def _touch_area(toucher: Toucher, vma: Vma, start: int, end: int, *, write: bool) -> None:
    if vma.flags & _UNTOUCHABLE:
        return

    def resident(low: int, high: int) -> int:
        return _touch_resident(toucher, vma, low, high, write=write)

    faults, before, twice = toucher.faults, toucher.faults.counts(), toucher.faults.twice
    if pages.swapped_between(toucher.conn, toucher.mm, start, end):
        reached = touch_swapped(toucher, vma, start, end, resident, write=write)
    else:
        reached = resident(start, end)
    pages.touch(toucher.conn, toucher.mm, start, reached, write_access=write)
    worked = sum(faults.counts().values()) - sum(before.values()) - (faults.twice - twice)
    faults.present += reached - start - worked


def _touch_resident(toucher: Toucher, vma: Vma, start: int, end: int, *, write: bool) -> int:
    """Touch a range without swap ptes. One past the last page that was had."""
    if not vma.private_anonymous:
        return touch_file_area(toucher, vma, start, end, write=write)
    if not write:
        _read_faults(toucher, start, end)
        return end
    reached = _write_faults(toucher, vma, start, end)
    toucher.faults.reuse += pages.unprotect(toucher.conn, toucher.mm, start, reached)
    return reached


def _read_faults(toucher: Toucher, start: int, end: int) -> None:
    """Absent pages that are read map the zero page; that needs no memory."""
    holes = toucher.absent(start, end)
    if holes:
        mapping = vmas.zero_mapping(toucher.conn, toucher.mm)
        laid = [Laid(run, None) for run in holes]
        pages.lay(toucher.conn, toucher.mm, mapping, 0, laid, flags=0, bits=_READ)
        toucher.faults.zero += sum(run.nr_pages for run in holes)


def _write_faults(toucher: Toucher, vma: Vma, start: int, end: int) -> int:
    """Give memory to absent, zero and shared pages in address order. One past the last page that was had."""
    conn, mm = toucher.conn, toucher.mm
    holes = toucher.absent(start, end)
    replaced = pages.protected(conn, mm, start, end)
    wanted = [*holes, *(row.run for row in replaced)]
    if not wanted:
        return end
    choice = toucher.memory.choice(toucher.policy_of(vma))
    demands = demand_by_index(wanted, vma.delta, choice)
    stages, stop = toucher.memory.place(demands, leaving(replaced))
    if stop is not None:
        toucher.faults.stop(stop, "ENOMEM", "no free page on the nodes that the policy and the cpuset allow")
        pages.cut_address(conn, mm, stop)
        replaced = [row for row in pages.protected(conn, mm, start, stop) if row.addr < stop]
    reached = end if stop is None else stop
    nr = len(choice.zonelists)
    laid = [Laid(run, nid) for run, nid in placed_pieces(holes, vma.delta, nr, stages)]
    for row in replaced:
        for run, nid in placed_pieces([row.run], vma.delta, nr, stages):
            copied = (row.origin, row.origin_first + run.start - row.addr) if row.kind != "zero" else None
            laid.append(Laid(run, nid, copied))
            if row.kind == "zero":
                toucher.faults.anonymous += run.nr_pages
            else:
                toucher.faults.cow += run.nr_pages
    toucher.faults.anonymous += sum(run.below(reached) for run in holes)
    if replaced:
        toucher.memory.freed.append(pages.drop_ptes(conn, mm, [row.addr for row in replaced]))
    if laid:
        pages.lay(conn, mm, toucher.anon, vma.delta, laid, flags=_FRESH, bits=_WRITTEN)
        prepare_anon_vma(conn, vma, modern=toucher.machine.modern)
    return reached
