"""Address spaces: areas mapped, unmapped, locked in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from migratectl.errors import AlreadyExists, InvalidArgument, OutOfMemory, PermissionDenied, TryAgain
from migratectl.kernel.mlock import DEFAULT_MEMLOCK, mlock_refusal
from migratectl.operations.areas import ACCESS, alter, borders, carve, first_hole, rejoin, settle
from migratectl.operations.fault import populate
from migratectl.operations.machine import (
    Machine,
    find_mm,
    give_back,
    load_machine,
    resolve_address,
    resolve_span,
)
from migratectl.operations.mmap_file import backing, release_objects
from migratectl.operations.toucher import Faults
from migratectl.spans import ADDRESS_END, Address, Size, Span
from migratectl.storage import cache, coalesce, pages, tasks, vmas
from migratectl.storage.connection import Connection
from migratectl.storage.pages import Freed
from migratectl.storage.tasks import Task
from migratectl.storage.vmas import Vma
from migratectl.uapi import IPC_LOCK, VM
from migratectl.wording import counted, pages_text

MMAP_BASE: Final = 0x10000000
MMAP_GRAIN: Final = 2 << 20
"""Without an address an area starts at the lowest free multiple of 2 MiB."""

PROTECTION: Final = {"rw": VM.READ | VM.WRITE, "r": VM.READ, "none": VM(0)}
_KEPT: Final = VM.LOCKED | VM.HUGETLB | VM.PFNMAP
"""Areas whose pages madvise may not drop."""


@dataclass(frozen=True, slots=True)
class Mmap:
    """The words of ``mmap``."""

    pid: int
    size: Size
    addr: Address | None = None
    label: str | None = None
    locked: bool = False
    prot: str = "rw"
    shared: bool = False
    ino: int | None = None
    file: str | None = None
    offset: Size | None = None
    shm: str | None = None
    hugetlb: bool = False
    io: bool = False
    pfnmap: bool = False


def mmap(conn: Connection, call: Mmap) -> dict[str, Any]:
    """
    Map anonymous memory, a file, a segment of shared memory or a device into a task's address space.

    Raises:
        InvalidArgument: No length, an unaligned address or offset, a range beyond the address space.
        AlreadyExists: An area is there already, or the label is taken.
        NoSuchFile: No such file.
        PermissionDenied, TryAgain: A locked area without CAP_IPC_LOCK, at no limit, or beyond RLIMIT_MEMLOCK.

    Source:
        do_mmap_pgoff(); neighbours with equal flags and policy merge (vma_merge()).
    """
    machine = load_machine(conn)
    task, mm = find_mm(conn, call.pid)
    subject = f"pid {call.pid}"
    page_size = machine.facts.page_size
    nr = -(-call.size.to_bytes(page_size) // page_size)
    if nr < 1:
        raise InvalidArgument(subject, "an area has at least one page")
    addr = None if call.addr is None else resolve_address(conn, mm, call.addr, page_size, subject)
    start = _place(conn, mm, addr, nr, page_size, subject)
    if call.label is not None:
        if vmas.find_label(conn, mm, call.label) is not None:
            raise AlreadyExists(subject, f"the label '{call.label}' is taken in this address space")
        vmas.add_label(conn, mm, call.label, start, start + nr)
    what = backing(conn, machine, mm, call, start, nr)
    flags = PROTECTION[call.prot] | what.flags
    if call.locked:
        _check_mlock(conn, machine, task, mm, (start, start + nr), mapping=True)
        flags |= VM.LOCKED
    area = Vma(mm, start, start + nr, what.mapping, what.delta, flags, None, 0, what.kind, what.name)
    vmas.insert(conn, area)
    settle(conn, area, modern=machine.modern)
    document: dict[str, Any] = {
        "pid": call.pid,
        "addr": hex(start * page_size),
        "end": hex((start + nr) * page_size),
        "pages": nr,
        "label": call.label,
    }
    if call.locked:
        document |= _populate(conn, machine, call.pid, start, start + nr)
    return document


def _place(conn: Connection, mm: int, addr: int | None, nr: int, page_size: int, subject: str) -> int:
    end_of_space = ADDRESS_END // page_size
    if addr is None:
        start = _lowest_gap(conn, mm, nr, page_size)
        if start + nr > end_of_space:
            raise OutOfMemory(
                subject, f"no gap of {pages_text(nr)} in the address space; unmap something or give --addr"
            )
        return start
    if addr % page_size:
        raise InvalidArgument(subject, f"{addr:#x} is not aligned to pages of {page_size} bytes")
    start = addr // page_size
    if start + nr > end_of_space:
        raise InvalidArgument(
            subject,
            f"{counted(nr, 'page')} at {addr:#x} {'ends' if nr == 1 else 'end'} beyond the 64-bit address space",
        )
    taken = vmas.overlapping(conn, mm, start, start + nr)
    if taken:
        where = f"{taken[0].start * page_size:#x}-{taken[0].end * page_size:#x}"
        raise AlreadyExists(subject, f"{where} is mapped already; unmap it first or take another address")
    return start


def _lowest_gap(conn: Connection, mm: int, nr: int, page_size: int) -> int:
    """The lowest free multiple of 2 MiB from 0x10000000 on that leaves a gap before it and behind it."""
    grain = max(MMAP_GRAIN // page_size, 1)
    start = -(-MMAP_BASE // page_size // grain) * grain
    for area_start, area_end in vmas.ranges_from(conn, mm, start):
        if start + nr < area_start:
            break
        start = (area_end // grain + 1) * grain
    return start


def munmap(conn: Connection, pid: int, span: Span) -> dict[str, Any]:
    """
    Unmap a range: what nobody else maps is freed; a range without areas is no error.

    Raises:
        InvalidArgument: An unaligned start, or length zero.

    Source:
        do_munmap(); semantics.md 6.6.
    """
    machine = load_machine(conn)
    _, mm = find_mm(conn, pid)
    subject = f"pid {pid}"
    start, end = resolve_span(conn, mm, span, machine.facts.page_size, subject, aligned=True)
    if start == end:
        raise InvalidArgument(subject, "length zero; give a range of at least one page")
    covered = carve(conn, mm, start, end)
    freed = zap_page_range(conn, mm, start, end)
    for vma in covered:
        vmas.delete(conn, vma)
    vmas.trim_labels(conn, mm, start, end)
    gone = release_objects(conn, covered)
    nr = sum(vma.end - vma.start for vma in covered)
    return {"pid": pid, "return": 0, "errno": None, "pages": nr, "freed": freed_rows([freed, *gone])}


def zap_page_range(conn: Connection, mm: int, start: int, end: int) -> Freed:
    """Drop all ptes of a range, give back what is free now, and join what is left; as pages.drop_range()."""
    of_files = [vma for vma in vmas.overlapping(conn, mm, start, end) if not vma.private_anonymous]
    left = bool(of_files) or tasks.family_size(conn, mm) > 1
    limit = coalesce.LIMIT + 1
    rows = set(pages.rows_between(conn, mm, start, end, limit) if left else ())
    freed = pages.drop_range(conn, mm, start, end)
    give_back(conn, [freed.nodes])
    for vma in of_files:
        low, high = max(vma.start, start) + vma.delta, min(vma.end, end) + vma.delta
        rows.update(cache.neighbours(conn, vma.mapping, low, high, limit))
    coalesce.coalesce(conn, rows)
    return freed


def freed_rows(parts: Iterable[Freed]) -> list[dict[str, int]]:
    """Freed pages by node, as documents tell them."""
    totals: dict[int, int] = {}
    for part in parts:
        for nid, nr in part.nodes.items():
            totals[nid] = totals.get(nid, 0) - nr
    return [{"node": nid, "pages": nr} for nid, nr in sorted(totals.items())]


def mlock(conn: Connection, pid: int, span: Span) -> dict[str, Any]:
    """
    Lock a range in memory: its areas get LOCKED and all its pages are faulted in.

    Raises:
        PermissionDenied: The task lacks CAP_IPC_LOCK and has no RLIMIT_MEMLOCK.
        OutOfMemory: It locks beyond that limit, or there is a hole in the range (ENOMEM, as the call answers). Nothing
            was done.

    Source:
        sys_mlock(), do_mlock(), make_pages_present(); semantics.md 6.6.
    """
    return _lock(conn, pid, span, locked=True)


def munlock(conn: Connection, pid: int, span: Span) -> dict[str, Any]:
    """
    Take LOCKED off a range; its pages stay.

    Raises:
        OutOfMemory: A hole in the range; nothing was done.

    Source:
        sys_munlock(); semantics.md 6.6.
    """
    return _lock(conn, pid, span, locked=False)


def _check_mlock(
    conn: Connection, machine: Machine, task: Task, mm: int, span: tuple[int, int], *, mapping: bool
) -> None:
    """
    Refuse to lock [start, end) where the task's limit, which counts its address space, forbids it.

    Source:
        kernel.mlock.
    """
    if task.caps & IPC_LOCK:
        return
    page_size = machine.facts.page_size
    bytes_allowed = DEFAULT_MEMLOCK[machine.modern] if task.memlock is None else task.memlock
    locked = vmas.locked(conn, mm)
    already = sum(max(0, min(end, span[1]) - max(start, span[0])) for start, end in locked)
    refused = mlock_refusal(
        span[1] - span[0],
        sum(end - start for start, end in locked),
        already,
        bytes_allowed // page_size,
        mapping=mapping,
        modern=machine.modern,
    )
    subject = f"pid {task.pid}"
    remedy = f"see 'migratectl task set {task.pid} --cap ipc_lock', or --memlock SIZE"
    if refused == "EPERM":
        raise PermissionDenied(subject, f"the task lacks CAP_IPC_LOCK; {remedy}")
    if refused is not None:
        error = OutOfMemory if refused == "ENOMEM" else TryAgain
        raise error(subject, f"locks beyond its limit of {pages_text(bytes_allowed // page_size)}; {remedy}")


def _lock(conn: Connection, pid: int, span: Span, *, locked: bool) -> dict[str, Any]:
    machine = load_machine(conn)
    task, mm = find_mm(conn, pid)
    subject = f"pid {pid}"
    page_size = machine.facts.page_size
    start, end = resolve_span(conn, mm, span, page_size, subject)
    if locked:
        _check_mlock(conn, machine, task, mm, (start, end), mapping=False)
    if start == end:
        return {"pid": pid, "return": 0, "errno": None, "pages": 0, "faults": Faults().counts()}
    _refuse_holes(conn, mm, start, end, page_size, subject)

    def lock(vma: Vma) -> Vma:
        return replace(vma, flags=VM(vma.flags | VM.LOCKED if locked else vma.flags & ~int(VM.LOCKED)))

    altered = alter(conn, mm, start, end, lock, modern=machine.modern)
    rejoin(conn, mm, borders(start, end, altered))
    document: dict[str, Any] = {"pid": pid, "return": 0, "errno": None, "pages": end - start}
    if locked:
        document |= _populate(conn, machine, pid, start, end)
    return document


def mprotect(conn: Connection, pid: int, span: Span, prot: str) -> dict[str, Any]:
    """
    Change the protection of a range.

    Areas split at its ends and merge with equal neighbours. Where the protection changes, ptes lose write permission:
    private memory gets it back page by page at the next write. Without any access the pages stay where they are.

    Args:
        conn: The connection of the transaction.
        pid: The task.
        span: The range; its length is rounded up to pages, zero does nothing.
        prot: ``rw``, ``r`` or ``none``.

    Raises:
        InvalidArgument: An unaligned start.
        OutOfMemory: A hole in the range (ENOMEM, as the call answers); nothing was done.

    Source:
        sys_mprotect(), mprotect_fixup() and change_protection().
    """
    machine = load_machine(conn)
    _, mm = find_mm(conn, pid)
    subject = f"pid {pid}"
    page_size = machine.facts.page_size
    start, end = resolve_span(conn, mm, span, page_size, subject, aligned=True)
    _refuse_holes(conn, mm, start, end, page_size, subject)

    def protect(vma: Vma) -> Vma:
        return replace(vma, flags=VM(vma.flags & ~int(ACCESS) | PROTECTION[prot]))

    altered = alter(conn, mm, start, end, protect, modern=machine.modern)
    for piece, _ in altered:
        pages.write_protect(conn, mm, piece.start, piece.end)
    rejoin(conn, mm, borders(start, end, altered))
    return {"pid": pid, "return": 0, "errno": None, "pages": end - start}


def _refuse_holes(conn: Connection, mm: int, start: int, end: int, page_size: int, subject: str) -> None:
    at = first_hole(conn, mm, start, end)
    if at is not None:
        raise OutOfMemory(subject, f"no area at {at * page_size:#x}; see 'migratectl show vmas'")


def _populate(conn: Connection, machine: Machine, pid: int, start: int, end: int) -> dict[str, Any]:
    """Fault a locked range in, writing where it is writable; without memory the area stays locked."""
    faults = populate(conn, machine, pid, start, end)
    document: dict[str, Any] = {"return": 0, "errno": None, "faults": faults.counts()}
    if faults.errno:
        faults.errno, faults.signal = "ENOMEM", None  # also beyond the end of a file: mlock(2) kills nobody
        document |= faults.failure(f"pid {pid}", machine.facts.page_size)
    return document
