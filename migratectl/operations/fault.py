"""Page faults over a range: what a task gets when it touches its memory."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Final

from sqlalchemy import Connection

from migratectl.errors import NotModelled
from migratectl.kernel.memory import absent, demand_by_class, placed_pieces
from migratectl.kernel.mempolicy import Choice, policy_zonelists
from migratectl.kernel.page_alloc import Allocations, Stage, place_faults
from migratectl.operations.machine import (
    Machine,
    allowed_nodes,
    count_allocations,
    find_mm,
    give_back,
    load_machine,
    resolve_span,
)
from migratectl.policy import Policy
from migratectl.runs import Run, RunIndex, pages_in_order
from migratectl.spans import Span
from migratectl.storage import coalesce, nodes, pages, tasks, vmas
from migratectl.storage.pages import Freed, Laid, ProtectedRun
from migratectl.storage.tasks import Task
from migratectl.storage.vmas import Vma
from migratectl.uapi import PG, VM, errno_number

_FRESH: Final = int(PG.ACTIVE)
_WRITTEN: Final = (1, 1, 1)
_READ: Final = (1, 0, 0)
_UNTOUCHABLE: Final = VM.IO | VM.PFNMAP | VM.HUGETLB


@dataclass(slots=True)
class Faults:
    """
    What the faults of a range did, in pages, and the first page that could not be had.

    ``at`` is its page number, ``errno`` EFAULT or ENOMEM, ``signal`` SIGSEGV where the task would be killed.
    """

    anonymous: int = 0
    zero: int = 0
    cow: int = 0
    reuse: int = 0
    file: int = 0
    swapin: int = 0
    present: int = 0
    errno: str | None = None
    signal: str | None = None
    at: int | None = None
    reason: str = ""

    def counts(self) -> dict[str, int]:
        """The numbers, as the document names them."""
        names = ("anonymous", "zero", "cow", "reuse", "file", "swapin", "present")
        return {name: getattr(self, name) for name in names}

    def stop(self, at: int, errno: str, reason: str, signal: str | None = None) -> None:
        """Remember the page that could not be had."""
        self.at, self.errno, self.reason, self.signal = at, errno, reason, signal

    def failure(self, subject: str, page_size: int) -> dict[str, Any]:
        """The keys that a document has when a page could not be had."""
        at = hex((self.at or 0) * page_size)
        keys: dict[str, Any] = {
            "return": -errno_number(self.errno or ""),
            "errno": self.errno,
            "message": f"{subject}: {self.errno}: {self.reason} at {at}; what came before it is done",
            "committed": True,
            "at": at,
        }
        return keys | ({"signal": self.signal} if self.signal else {})


@dataclass(slots=True)
class _Toucher:
    """A task that touches memory: where it allocates, and what it has taken so far."""

    conn: Connection
    machine: Machine
    task: Task
    mm: int
    anon: int
    faults: Faults = field(default_factory=Faults)
    allocations: Allocations = field(default_factory=Allocations)
    free: dict[int, int] = field(default_factory=dict)
    used: dict[int, int] = field(default_factory=dict)
    freed: list[Freed] = field(default_factory=list)

    @property
    def local(self) -> int:
        return self.machine.home(self.task.cpu)

    def choice(self, vma: Vma) -> Choice:
        """The nodes that the area's policy, or else the task's, lets a fault use."""
        policy: Policy | None = self.task.policy
        if vma.policy is not None:
            policy = tasks.find_policy(self.conn, vma.policy)
        allowed = allowed_nodes(self.machine, self.task)
        return policy_zonelists(policy, self.local, self.machine.fallback, allowed, modern=self.machine.modern)


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
        EFAULT with a signal, or ENOMEM.

    Source:
        handle_mm_fault(), do_anonymous_page(), do_wp_page(); semantics.md 6.1 to 6.4.
    """
    machine = load_machine(conn)
    task, mm = find_mm(conn, pid)
    page_size = machine.facts.page_size
    start, end = resolve_span(conn, mm, span, page_size, f"pid {pid}")
    toucher = _toucher(conn, machine, task, mm)
    _walk(toucher, start, end, VM.WRITE if write else VM.READ)
    held = pages.by_node_between(conn, mm, start, end)
    _finish(toucher, start, end)
    document: dict[str, Any] = {
        "pid": pid,
        "return": 0,
        "errno": None,
        "faults": toucher.faults.counts(),
        "nodes": [{"node": nid, "pages": nr} for nid, nr in held.items()],
    }
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
        access: How to touch; None: by write where the area is writable, else by read.
        rejoin: Else the runs stay cut at both ends of the range, for a caller that goes on there.

    Source:
        make_pages_present(); semantics.md 9a.
    """
    task, mm = find_mm(conn, pid)
    toucher = _toucher(conn, machine, task, mm)
    _walk(toucher, start, end, access)
    _finish(toucher, start, end, rejoin=rejoin)
    return toucher.faults


def _toucher(conn: Connection, machine: Machine, task: Task, mm: int) -> _Toucher:
    return _Toucher(conn, machine, task, mm, tasks.anon_mapping(conn, mm), free=machine.free)


def _walk(toucher: _Toucher, start: int, end: int, access: VM | None) -> None:
    """Touch [start, end) area by area until a page cannot be had. *access* None: as the area allows."""
    conn, mm, faults = toucher.conn, toucher.mm, toucher.faults
    if start == end:
        return
    for at in (start, end):
        pages.cut_address(conn, mm, at)
    at = start
    for vma in vmas.overlapping(conn, mm, start, end):
        if vma.start > at:
            break
        high = min(vma.end, end)
        wanted = (VM.WRITE if vma.flags & VM.WRITE else VM.READ) if access is None else access
        if vma.flags & wanted:
            _touch_area(toucher, vma, at, high, write=wanted is VM.WRITE)
        elif access is not None:
            faults.stop(at, "EFAULT", "the area's protection forbids it", "SIGSEGV")
        if faults.errno:
            return
        at = high
    if at < end:
        faults.stop(at, "EFAULT", "no area", "SIGSEGV")


def _touch_area(toucher: _Toucher, vma: Vma, start: int, end: int, *, write: bool) -> None:
    if vma.flags & _UNTOUCHABLE:
        return
    if not vma.private_anonymous:
        raise NotModelled(f"pid {toucher.task.pid}", f"faults on areas of files are not modelled ('{vma.name}')")
    if pages.swapped_total(toucher.conn, toucher.mm, start, end):
        raise NotModelled(f"pid {toucher.task.pid}", "swapping in is not modelled")
    before = toucher.faults.counts()
    if write:
        reached = _write_faults(toucher, vma, start, end)
        toucher.faults.reuse += pages.unprotect(toucher.conn, toucher.mm, start, reached)
    else:
        reached = end
        _read_faults(toucher, start, end)
    pages.touch(toucher.conn, toucher.mm, start, reached, write_access=write)
    worked = sum(toucher.faults.counts().values()) - sum(before.values())
    toucher.faults.present += reached - start - worked


def _absent(toucher: _Toucher, start: int, end: int) -> list[Run]:
    mapped = pages.mapped_total(toucher.conn, toucher.mm, start, end)
    if mapped == end - start:
        return []
    present = pages.spans(toucher.conn, toucher.mm, start, end) if mapped else []
    return absent(start, end, present)


def _read_faults(toucher: _Toucher, start: int, end: int) -> None:
    """Absent pages that are read map the zero page; that needs no memory."""
    holes = _absent(toucher, start, end)
    if holes:
        mapping = vmas.zero_mapping(toucher.conn, toucher.mm)
        laid = [Laid(run, None) for run in holes]
        pages.lay(toucher.conn, toucher.mm, mapping, 0, laid, flags=0, bits=_READ)
        toucher.faults.zero += sum(run.nr_pages for run in holes)


def _write_faults(toucher: _Toucher, vma: Vma, start: int, end: int) -> int:
    """Give memory to absent, zero and shared pages in address order. One past the last page that was had."""
    conn, mm = toucher.conn, toucher.mm
    holes = _absent(toucher, start, end)
    replaced = pages.protected(conn, mm, start, end)
    wanted = [*holes, *(row.run for row in replaced)]
    if not wanted:
        return end
    choice = toucher.choice(vma)
    stages, stop = _allocate(toucher, wanted, replaced, vma.delta, choice)
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
        toucher.freed.append(pages.drop_ptes(conn, mm, [row.addr for row in replaced]))
    if laid:
        pages.lay(conn, mm, toucher.anon, vma.delta, laid, flags=_FRESH, bits=_WRITTEN)
        vmas.note_anon_vma(conn, vma)
    return reached


def _allocate(
    toucher: _Toucher, wanted: list[Run], replaced: list[ProtectedRun], delta: int, choice: Choice
) -> tuple[list[Stage], int | None]:
    """
    Place faults on nodes and count them; the stages, and the first page without memory.

    A page that a copy leaves without mapper is free for the next fault. That matters only where something falls
    back; then the range is placed piece by piece, cut behind each such page.
    """
    demand = demand_by_class(wanted, delta, choice)
    stages, stop = place_faults(demand, choice.zonelists, toucher.free)
    leaving = [row for row in replaced if row.last]
    firsts = {zonelist[0] for zonelist in choice.zonelists if zonelist}
    if not leaving or (stop is None and all(set(stage.nodes) <= firsts | {None} for stage in stages)):
        _take(toucher, demand, stages, choice)
        for row in leaving:
            toucher.free[row.node or 0] += row.nr_pages
        return stages, stop
    return _allocate_piecewise(toucher, wanted, leaving, delta, choice)


def _allocate_piecewise(
    toucher: _Toucher, wanted: list[Run], leaving: list[ProtectedRun], delta: int, choice: Choice
) -> tuple[list[Stage], int | None]:
    left = heapq.merge(*(zip(pages_in_order([row.run]), repeat(row.node or 0)) for row in leaving))
    end = max(run.last for run in wanted) + 1
    found: list[Stage] = []
    at = min(run.start for run in wanted)
    for page, nid in [*left, (end - 1, None)]:
        pieces = [piece for run in wanted if (piece := run.between(at, page + 1))]
        demand = demand_by_class(pieces, delta, choice)
        stages, stop = place_faults(demand, choice.zonelists, toucher.free)
        _take(toucher, demand, stages, choice)
        found += stages
        if stop is not None:
            return found, stop
        if nid is not None:
            toucher.free[nid] += 1
        at = page + 1
    return found, None


def _take(toucher: _Toucher, demand: list[RunIndex], stages: list[Stage], choice: Choice) -> None:
    for stage in stages:
        for number, nid in enumerate(stage.nodes):
            if nid is not None:
                _count(toucher, demand[number], stage, nid, choice.firsts[number], interleave=choice.interleave)


def _count(toucher: _Toucher, index: RunIndex, stage: Stage, nid: int, first: int, *, interleave: bool) -> None:
    nr = index.below(stage.end) - index.below(stage.start)
    toucher.allocations.add(first, nid, nr, interleave=interleave)
    toucher.free[nid] -= nr
    toucher.used[nid] = toucher.used.get(nid, 0) + nr


def _finish(toucher: _Toucher, start: int, end: int, *, rejoin: bool = True) -> None:
    """Counters, and runs joined again."""
    give_back(toucher.conn, (freed.nodes for freed in toucher.freed))
    nodes.add_used(toucher.conn, toucher.used)
    count_allocations(toucher.conn, toucher.allocations, toucher.local)
    limit = coalesce.LIMIT + 1
    if rejoin:
        coalesce.coalesce(toucher.conn, pages.rows_between(toucher.conn, toucher.mm, start, end, limit))
