"""What a test or a driver does to pages: locks, pins, writeback, parking; and the release of it."""

from __future__ import annotations

from typing import Any, Final

from migratectl.errors import BadAddress, Busy, InvalidArgument, OutOfMemory
from migratectl.kernel.memory import absent
from migratectl.kernel.page import LAST_PASS
from migratectl.operations.fault import populate
from migratectl.operations.machine import Machine, find_mm, find_task, give_back, load_machine, resolve_span
from migratectl.spans import Span
from migratectl.storage import buffers, cache, coalesce, files, holds, pages, vmas
from migratectl.storage.connection import Connection
from migratectl.storage.pages import MappedRun
from migratectl.uapi import NEVER, PG, VM

NOTE_PARKED: Final = "pages are taken off the LRU before pass 0: a parked one is skipped until 'page unpark'"


def hold(
    conn: Connection, kind: str, pid: int, span: Span, passes: int | None, count: int, reading: bool = False
) -> dict[str, Any]:
    """
    Put a hold on every page of a range, or on none.

    Args:
        conn: The connection of the transaction.
        kind: ``lock``, ``pin``, ``writeback`` or ``park``.
        pid: The task that holds.
        span: The range; ``pin`` faults absent pages in, for writing where the area is writable.
        passes: The pass of a migration from which the page is free; None: never.
        count: How many references a pin takes.
        reading: A pin faults in for reading only: pages that a fork left shared stay so.

    Returns:
        The pages held.

    Raises:
        BadAddress: No area, or for a hold other than a pin no page, at some address.
        Busy: A page is held so already.
        InvalidArgument: Writeback of an anonymous page outside the swap cache (INV-15), a bad number.
    """
    machine = load_machine(conn)
    _, mm = find_mm(conn, pid)
    subject = f"pid {pid}"
    if count < 1 or (passes is not None and passes < 0):
        raise InvalidArgument(subject, "--count is 1 or more, --passes 0 or more")
    if count > 1 and kind != "pin":
        raise InvalidArgument(subject, f"a page has one {kind}; --count goes with pin")
    page_size = machine.facts.page_size
    start, end = resolve_span(conn, mm, span, page_size, subject)
    if kind == "pin":
        _fault_in(conn, machine, pid, start, end, VM.READ if reading else VM.READ | VM.WRITE)
    else:
        pages.cut_range(conn, mm, start, end)
    rows = _present(conn, mm, start, end)
    _refuse_first(kind, rows, start, end, page_size, subject)
    held = list(dict.fromkeys(row.page for row in rows))
    release = NEVER if passes is None or passes > LAST_PASS else passes
    holds.add(conn, held, pid, kind, release, count)
    coalesce.coalesce(conn, held)
    notes = {"notes": [NOTE_PARKED]} if kind == "park" and passes is not None else {}
    return {"pid": pid, "return": 0, "errno": None, "pages": sum(row.nr_pages for row in rows), "hold": kind} | notes


def _fault_in(conn: Connection, machine: Machine, pid: int, start: int, end: int, access: VM) -> None:
    faults = populate(conn, machine, pid, start, end, access=access, rejoin=False)
    if faults.errno == "ENOMEM":
        at = hex((faults.at or 0) * machine.facts.page_size)
        raise OutOfMemory(f"pid {pid}", f"no memory to fault {at} in; nothing was pinned, free some first")


def _present(conn: Connection, mm: int, start: int, end: int) -> list[MappedRun]:
    """The present runs of a range, zero pages included; the ptes must have been cut at its ends."""
    rows: list[MappedRun] = []
    for vma in vmas.overlapping(conn, mm, start, end):
        rows += pages.mapped(conn, mm, (vma.start, vma.end), start, end)
    return [row for row in rows if row.present]


def _refuse_first(kind: str, rows: list[MappedRun], start: int, end: int, page_size: int, subject: str) -> None:
    """Refuse the hold for the first page in address order that cannot have it."""
    missing = [hole.start for hole in absent(start, end, (row.run for row in rows))[:1]]
    refused = [row for row in rows if _held(kind, row) or _unwritable(kind, row)]
    first = min(refused, key=lambda row: row.addr, default=None)
    if first is not None and not (missing and missing[0] < first.addr):
        at = hex(first.addr * page_size)
        if _held(kind, first):
            raise Busy(subject, f"the page at {at} has a {kind} already; release it first")
        raise InvalidArgument(subject, f"the anonymous page at {at} is not in the swap cache: nothing to write it to")
    if missing:
        raise BadAddress(subject, f"no page is present at {missing[0] * page_size:#x}; map and fault it in first")


def _held(kind: str, row: MappedRun) -> bool:
    return {"lock": row.lock is not None, "writeback": row.writeback is not None, "park": bool(row.parked & 1)}.get(
        kind, False
    )


def _unwritable(kind: str, row: MappedRun) -> bool:
    """Writeback of an anonymous page outside the swap cache (INV-15)."""
    return kind == "writeback" and row.kind in ("anon", "zero") and row.area is None


def set_buffers(
    conn: Connection, pid: int, span: Span, state: str, passes: int | None, late: bool = False
) -> dict[str, Any]:
    """
    Attach buffers to the cache pages of a range and set the state of all of them, or of none.

    Args:
        conn: The connection of the transaction.
        pid: The task whose range it is; the state is the pages' own and outlives it.
        span: The range.
        state: ``idle`` ends all others; ``dirty`` makes the page dirty and up to date too; ``busy``: somebody uses the
            buffers; ``locked``.
        passes: The pass of a migration from which busy or locked ones are free; None: never.
        late: In that pass busy ones are free at the second question only.

    Returns:
        How many pages.

    Raises:
        BadAddress: No page at some address.
        InvalidArgument: A page that can have no buffers.
        Busy: Its buffers are locked or in use already, where that is asked for.

    Source:
        create_empty_buffers() of fs/buffer.c; semantics.md 1.4.
    """
    machine = load_machine(conn)
    _, mm = find_mm(conn, pid)
    subject = f"pid {pid}"
    page_size = machine.facts.page_size
    start, end = resolve_span(conn, mm, span, page_size, subject)
    pages.cut_range(conn, mm, start, end)
    rows = _present(conn, mm, start, end)
    ids = list(dict.fromkeys(row.page for row in rows))
    able = buffers.possible(conn, ids)
    taken = set(buffers.held(conn, ids, state)) if state in ("busy", "locked") else set()
    missing = [hole.start for hole in absent(start, end, (row.run for row in rows))[:1]]
    refused = min((row for row in rows if row.page not in able or row.page in taken), key=_address, default=None)
    if refused is not None and not (missing and missing[0] < refused.addr):
        at_text = hex(refused.addr * page_size)
        if refused.page in taken:
            raise Busy(subject, f"the buffers of the page at {at_text} are {state} already; set them idle first")
        raise InvalidArgument(subject, f"the page at {at_text} can have no buffers: they belong to files of a disk")
    if missing:
        raise BadAddress(subject, f"no page is present at {missing[0] * page_size:#x}; map and fault it in first")
    release = NEVER if passes is None or passes > LAST_PASS else passes
    buffers.set_state(conn, ids, state, release, late=late)
    if state == "dirty":
        cache.set_flags(conn, ids, PG.DIRTY | PG.UPTODATE)
    coalesce.coalesce(conn, ids)
    return {"pid": pid, "return": 0, "errno": None, "pages": sum(row.nr_pages for row in rows), "state": state}


def _address(row: MappedRun) -> int:
    return row.addr


def release(conn: Connection, kind: str, pid: int, span: Span | None) -> dict[str, Any]:
    """
    End the holds of one kind that a task has, on a range or everywhere.

    Returns:
        The pages released; a pinned page that nobody maps any more is freed.

    Raises:
        NoSuchProcess, InvalidArgument, BadAddress: No such task; a bad range.
    """
    machine = load_machine(conn)
    find_task(conn, pid)
    inside: set[int] | None = None
    if span is not None:
        _, mm = find_mm(conn, pid)
        start, end = resolve_span(conn, mm, span, machine.facts.page_size, f"pid {pid}")
        pages.cut_range(conn, mm, start, end)
        inside = set(pages.rows_between(conn, mm, start, end, -1))
    mine = holds.held_by(conn, pid, kind, inside)
    nr = pages.total(conn, mine)
    freed = holds.end(conn, sorted(mine), pid, kind)
    files.drop_empty_orphanages(conn)
    give_back(conn, [freed.nodes])
    coalesce.coalesce(conn, mine)
    return {"pid": pid, "return": 0, "errno": None, "pages": nr, "hold": kind}
