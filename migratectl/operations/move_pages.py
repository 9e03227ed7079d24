"""move_pages(2): move single pages of a task, or tell where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from migratectl.errors import AccessDenied, InvalidArgument, NoSuchDevice, PermissionDenied
from migratectl.kernel.result import Stayed
from migratectl.operations.caller import Caller, Identity, called_pid, identify
from migratectl.operations.machine import Machine, allowed_nodes, find_task, load_machine, resolve_address, resolve_span
from migratectl.operations.migrate import Migration, migrate_list
from migratectl.operations.migrate_pages import may_move, refusal
from migratectl.operations.watch import NOT_WATCHED, Watch
from migratectl.runs import Run
from migratectl.spans import Address, Span
from migratectl.storage import gathering, pagelist, pages, vmas
from migratectl.storage.connection import Connection
from migratectl.storage.pagelist import Alike
from migratectl.storage.pages import MappedRun
from migratectl.storage.tasks import Task
from migratectl.storage.vmas import Vma
from migratectl.uapi import MF, VM, errno_number

NOTE_V9: Final = "move_pages(2) came after this patch set (2.6.18); its pages move by V9's rules"

MOST_QUERIED: Final = 1 << 20
"""Pages that one query may ask for: the answer has an entry for each."""

_STATUS_OF_SKIP: Final = {"shared": "EACCES", "reserved-page": "EFAULT"}
"""Status of a page that is no candidate; the others could not be isolated: EBUSY."""

Status = int | str | None
"""A node, an errno name, or nothing written."""


@dataclass(slots=True)
class _Call:
    """One call with targets: entries are queued, a change of node or an entry that is not queued moves the queue."""

    conn: Connection
    machine: Machine
    task: Task
    mm: int
    migration: Migration
    moves: Sequence[tuple[int, int]]
    status: list[Status] = field(default_factory=list)
    queue: list[int] = field(default_factory=list)
    queued: set[int] = field(default_factory=set)
    listed: set[int] = field(default_factory=set)
    skipped: int = 0
    left: int = 0
    err: str | None = None
    message: str = ""

    def run(self) -> None:
        """Entry by entry, as do_pages_move()."""
        self.status = [None] * len(self.moves)
        nr = len(self.moves)
        for at, (_, node) in enumerate(self.moves):
            refused = self._refused(node)
            if refused is not None:
                self.flush(0)
                self.err, self.message, self.left = refused.errno_name, str(refused), 0
                return
            if self.queue and self.moves[self.queue[0]][1] != node and not self.flush(nr - at):
                return
            verdict = self._verdict(at)
            if verdict is None:
                self.queue.append(at)
                self.queued.add(self._page(at))
                continue
            self.status[at] = verdict
            self.skipped += isinstance(verdict, str)
            if not self.flush(nr - at - 1):
                return
        self.flush(0)

    def _refused(self, node: int) -> NoSuchDevice | AccessDenied | None:
        subject = f"pid {self.task.pid}"
        if node not in self.machine.usable:
            return NoSuchDevice(subject, f"no node {node} can take pages; see 'migratectl node list'")
        if node not in allowed_nodes(self.machine, self.task):
            return AccessDenied(subject, f"node {node} is outside the task's cpuset '{self.task.cpuset.name}'")
        return None

    def flush(self, unreached: int) -> bool:
        """Move the queue; False ends the call: with the number of pages that stayed and of entries not reached."""
        if not self.queue:
            return True
        node = self.moves[self.queue[0]][1]
        addresses = sorted(self._page(at) for at in self.queue)
        before = self.migration.result.failed
        rows = self.migration.gather(lambda: self._listed(addresses))
        migrate_list(self.migration, rows, node)
        if self.migration.result.err:
            self.err = self.migration.result.err
            return False
        failed = self.migration.result.failed - before
        if failed:
            self.left = failed + unreached
            return False
        landed = pagelist.node_by_address(self.conn)  # the ptes of files do not come back
        for at in self.queue:
            self.status[at] = landed.get(self._page(at), node)
        self.queue = []
        self.queued = set()
        return True

    def _listed(self, addresses: Sequence[int]) -> list[Alike]:
        """The page list of some addresses."""
        return gathering.gather_pages(self.conn, self.mm, addresses, self.migration.asked)

    def _page(self, at: int) -> int:
        return self.moves[at][0] // self.machine.facts.page_size

    def _verdict(self, at: int) -> Status:
        """Status of an entry that is not queued; None for one that is."""
        page, node = self._page(at), self.moves[at][1]
        place = _find(self.conn, self.mm, page)
        missing = absence(place, modern=self.machine.modern)
        if place.row is not None and place.row.state == "zero" and page not in self.listed:
            self.migration.result.skip(Stayed(self.task.pid, None, "reserved-page"), [Run(page, 1, 1)])
            self.listed.add(page)
        if place.row is None or missing:
            return missing
        if place.row.node == node:
            return node
        if page in self.queued:
            return "EBUSY"  # off the LRU since it was queued
        for edge in (page, page + 1):
            pages.cut_address(self.conn, self.mm, edge)
        rows = self._listed([page])
        reason = self.migration.skip_listed(rows, listed=page in self.listed)
        if reason is None:
            return None
        self.listed.add(page)
        return _STATUS_OF_SKIP.get(reason, "EBUSY")


@dataclass(frozen=True, slots=True)
class AtAddress:
    """What is at an address: the area, and the run whose pte is there."""

    vma: Vma | None
    row: MappedRun | None


def absence(place: AtAddress, *, modern: bool) -> str:
    """
    The status of an address that has no page to move; empty where it has one.

    Args:
        place: What is there.
        modern: A 6.x kernel says EFAULT for an absent anonymous page, the manual page ENOENT; it also says ENOENT
            for a page behind an area without any access.

    Source:
        move_pages(2) as of 2.6.18; rule 28 of what a 6.1 kernel does.
    """
    vma, row = place.vma, place.row
    if vma is None or (row is not None and row.state == "zero"):
        return "EFAULT"
    if row is None:
        return "EFAULT" if modern and vma.private_anonymous else "ENOENT"
    closed = modern and not vma.flags & (VM.READ | VM.WRITE | VM.EXEC)
    return "ENOENT" if closed or row.state == "swapped" else ""


def _find(conn: Connection, mm: int, page: int) -> AtAddress:
    return _look_up(conn, mm, page, page + 1)[page]


def _look_up(conn: Connection, mm: int, start: int, end: int) -> dict[int, AtAddress]:
    """What is at each page of [start, end)."""
    found = dict.fromkeys(range(start, end), AtAddress(None, None))
    for vma in vmas.overlapping(conn, mm, start, end):
        empty = AtAddress(vma, None)
        found.update(dict.fromkeys(range(max(vma.start, start), min(vma.end, end)), empty))
        for row in pages.mapped(conn, mm, (vma.start, vma.end), start, end):
            inside = row.run.between(start, end)
            if inside is not None:
                found.update(dict.fromkeys(range(inside.start, inside.last + 1, inside.step), AtAddress(vma, row)))
    return found


def _target(
    conn: Connection, machine: Machine, caller: Caller, pid: int, *, move_all: bool
) -> tuple[Identity, Task, int]:
    """Who calls, the task and its address space, after the checks in their order."""
    who = identify(conn, machine, caller)
    subject = f"pid {pid}"
    if move_all and not who.capable(machine.move_all_capability):
        raise PermissionDenied(subject, f"--move-all needs {machine.move_all_name}; leave it out, or try --as 0")
    task = find_task(conn, pid)
    if not may_move(who, task, machine):
        raise PermissionDenied(subject, refusal(who, task))
    if task.mm is None:
        raise InvalidArgument(subject, "a kernel thread has no pages to move; name an ordinary task")
    return who, task, task.mm


def move_pages(
    conn: Connection,
    caller: Caller,
    pid: int,
    words: tuple[tuple[Address, int], ...],
    move_all: bool,
    watch: Watch = NOT_WATCHED,
) -> dict[str, Any]:
    """
    Move single pages.

    Args:
        conn: The connection of the transaction.
        caller: Who calls.
        pid: The task; 0 is the caller.
        words: (address, node) pairs, in the caller's order.
        move_all: Take pages that others map too.
        watch: Who looks on: gets the courses of the pages, or meets them.

    Returns:
        The document of a migration with ``status``, one entry an argument. A bad node ends the call with ENODEV or
        EACCES, pages that stay end it with their number; what moved before stays moved.

    Raises:
        PermissionDenied, NoSuchProcess, InvalidArgument, BadAddress: In the order of the call; a label of no area.

    Source:
        move_pages(2), do_pages_move() of today; rules 28 to 33 of what a 6.1 kernel does.
    """
    machine = load_machine(conn)
    pid = called_pid(caller, pid)
    who, task, mm = _target(conn, machine, caller, pid, move_all=move_all)
    page_size, subject = machine.facts.page_size, f"pid {pid}"
    moves = [(resolve_address(conn, mm, address, page_size, subject), node) for address, node in words]
    migration = Migration.of(conn, machine, pid, mm, MF.MOVE_ALL if move_all else MF.MOVE, who, watch)
    call = _Call(conn, machine, task, mm, migration, moves)
    migration.pending = set(machine.nodes)
    call.run()
    document = {"pid": pid, **migration.document()}
    document |= {"return": -errno_number(call.err) if call.err else call.left, "errno": call.err}
    document |= {"skipped": call.skipped, "status": _rows([address for address, _ in moves], call.status)}
    if call.message:
        document["message"] = call.message
    if not machine.modern:
        document["notes"] = [NOTE_V9]
    return document


def _rows(addresses: Sequence[int], status: Sequence[Status]) -> list[dict[str, Any]]:
    return [
        {
            "addr": hex(address),
            "node": value if isinstance(value, int) else None,
            "errno": value if isinstance(value, str) else None,
        }
        for address, value in zip(addresses, status, strict=True)
    ]


def query_pages(conn: Connection, caller: Caller, pid: int, spans: tuple[Span, ...]) -> dict[str, Any]:
    """
    Tell where pages are.

    Args:
        conn: The connection of the transaction.
        caller: Who asks.
        pid: The task; 0 is the caller.
        spans: Addresses, or ranges for all pages in them.

    Returns:
        ``status``: for each page its node, or the errno name of what is there instead.

    Raises:
        PermissionDenied, NoSuchProcess, InvalidArgument: As move_pages().

    Source:
        move_pages(2), do_pages_stat().
    """
    machine = load_machine(conn)
    pid = called_pid(caller, pid)
    _, _, mm = _target(conn, machine, caller, pid, move_all=False)
    page_size = machine.facts.page_size
    addresses: list[int] = []
    status: list[Status] = []
    for span in spans:
        single = span.address if span.length is None and span.end is None else None
        start, end = resolve_span(conn, mm, span, page_size, f"pid {pid}")
        if end - start + len(addresses) > MOST_QUERIED:
            raise InvalidArgument(f"pid {pid}", f"more than {MOST_QUERIED} pages asked for; name a smaller range")
        for page, place in _look_up(conn, mm, start, end).items():
            missing = absence(place, modern=machine.modern)
            addresses.append(page * page_size if single is None else single)
            status.append(missing or (place.row.node if place.row is not None else None))
    document: dict[str, Any] = {"pid": pid, "return": 0, "errno": None, "status": _rows(addresses, status)}
    return document if machine.modern else document | {"notes": [NOTE_V9]}
