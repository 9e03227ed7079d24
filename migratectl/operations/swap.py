"""Swap areas: put into use, filled by swapping a range out, emptied."""

from __future__ import annotations

from typing import Any

from migratectl.errors import Busy, InvalidArgument, NoSuchFile
from migratectl.kernel.memory import given
from migratectl.operations.allocator import Allocator
from migratectl.operations.caller import Caller, called_pid, identify
from migratectl.operations.init import slots_of
from migratectl.operations.machine import Machine, find_mm, load_machine, resolve_span
from migratectl.operations.migrate import Migration, collect, evict_list
from migratectl.operations.watch import NOT_WATCHED, Watch
from migratectl.runs import make_run
from migratectl.spans import Size, Span
from migratectl.storage import coalesce, facts, holds, pages, swap
from migratectl.storage.connection import Connection
from migratectl.storage.gathering import Wanted
from migratectl.uapi import MF, errno_number
from migratectl.wording import counted


def swap_on(conn: Connection, name: str, size: Size) -> dict[str, Any]:
    """
    Add a swap area, used after those that are there.

    Raises:
        Busy: An area of that name is in use (as swapon(2) answers).
        InvalidArgument: It would have no slot.
    """
    if not name or not name.isprintable():
        raise InvalidArgument("swap area", "its name is empty or has characters that cannot be printed")
    slots = slots_of(size, facts.page_size(conn))
    if slots < 1:
        raise InvalidArgument(f"swap area '{name}'", f"{size} is less than a page")
    if any(area.name == name for area in holds.swap_areas(conn)):
        raise Busy(f"swap area '{name}'", "in use already; take another name")
    holds.add_swap_area(conn, name, slots)
    return {"return": 0, "errno": None, "areas": [swap_row(area) for area in holds.swap_areas(conn)]}


def swap_row(area: holds.SwapArea) -> dict[str, Any]:
    """A swap area as documents show it; in slots of a page each."""
    return {"name": area.name, "slots": area.slots, "used": area.used, "free": area.slots - area.used}


def swap_out(conn: Connection, caller: Caller, pid: int, span: Span, watch: Watch = NOT_WATCHED) -> dict[str, Any]:
    """
    Swap the pages of a range out, as pages were migrated before there was direct migration.

    Shared pages go too, and no right is asked for. What is dirty is written in one pass and gone in the next.

    Args:
        conn: The connection of the transaction.
        caller: Who calls.
        pid: The task; 0 is the caller.
        span: The range.
        watch: Who looks on: gets the courses of the pages, or meets them.

    Returns:
        The document of a migration: ``swapped`` pages left memory, ``return`` is the number of those that stayed.

    Raises:
        NoSuchProcess, InvalidArgument, BadAddress: No such task, a kernel thread, a bad range.

    Source:
        swap_page() as called by migrate_pages() without targets, Direct Migration V9, 2/5; semantics.md 2.4, 9a.
    """
    machine = load_machine(conn)
    pid = called_pid(caller, pid)
    _, mm = find_mm(conn, pid)
    start, end = resolve_span(conn, mm, span, machine.facts.page_size, f"pid {pid}")
    pages.cut_range(conn, mm, start, end)
    migration = Migration.of(conn, machine, pid, mm, MF.MOVE_ALL, identify(conn, machine, caller), watch, evict=True)
    wanted = Wanted(tuple(machine.nodes), start, end, zero=True)
    evict_list(migration, migration.gather(lambda: collect(migration, wanted)))
    return {"pid": pid, **migration.document()}


def swap_off(conn: Connection, caller: Caller, name: str) -> dict[str, Any]:
    """
    Take a swap area out of use: what is in it is read back, all its swap ptes become ptes.

    Args:
        conn: The connection of the transaction.
        caller: Who calls: its policy, CPU and cpuset decide where the pages come to lie, no policy of an area is asked.
        name: The area.

    Returns:
        ``read`` pages by node. Without memory for all of them ENOMEM: what was read stays, the area is in use again.

    Raises:
        NoSuchFile: No area of that name.
        Busy: A page of it is locked or under writeback, which would be waited for; nothing was done.

    Source:
        sys_swapoff() and try_to_unuse(); semantics.md 6.5.
    """
    machine = load_machine(conn)
    area = next((each for each in holds.swap_areas(conn) if each.name == name), None)
    if area is None:
        known = ", ".join(each.name for each in holds.swap_areas(conn)) or "none"
        raise NoSuchFile(f"swap area '{name}'", f"no such area is in use (areas: {known})")
    waiting = swap.nr_waited_for(conn, area.id)
    if waiting:
        told = counted(waiting, "of its pages is", "of its pages are")
        what = f"{told} locked or under writeback, which would be waited for; end that first"
        raise Busy(f"swap area '{name}'", what)
    wanted = swap.swapped_total(conn, area.id)
    read, touched = _read_all(conn, _reader(conn, machine, caller), area.id, wanted)
    left = wanted - sum(read.values())
    document: dict[str, Any] = {"name": name, "return": 0, "errno": None, "read": sum(read.values())}
    document["nodes"] = [{"node": nid, "pages": nr} for nid, nr in sorted(read.items())]
    if left:
        what = f"no free page for {left} of the pages in it; those before are read, the area stays in use"
        message = f"swap area '{name}': ENOMEM: {what}"
        document |= {"return": -errno_number("ENOMEM"), "errno": "ENOMEM", "message": message, "committed": True}
    else:
        touched.update(swap.leave_cache(conn, area.id))
        swap.remove_area(conn, area.id)
    coalesce.coalesce(conn, touched)
    return document


def _reader(conn: Connection, machine: Machine, caller: Caller) -> Allocator:
    who = identify(conn, machine, caller)
    if who.pid is not None:
        return Allocator.of(conn, machine, who.pid)
    return Allocator(conn, machine, None, None, who.mems, who.local, free=machine.free)


def _read_all(conn: Connection, reader: Allocator, area: int, wanted: int) -> tuple[dict[int, int], set[int]]:
    """Read so many pages of an area, as far as there is memory: pages by node, and the rows."""
    demands = reader.without_area([make_run(0, 1, wanted)] if wanted else [])
    stages, _ = reader.place(demands) if wanted else ([], None)
    pieces = [piece for number, demand in enumerate(demands) for piece in given(demand, number, stages)]
    read: dict[int, int] = {}
    touched: set[int] = set()
    for run, nid in sorted(pieces):
        touched.update(swap.read_in(conn, area, nid, run.nr_pages))
        read[nid] = read.get(nid, 0) + run.nr_pages
    reader.took_turns(sum(read.values()))
    reader.settle()
    return read, touched
