"""madvise(2): give pages up, swap them out, or say that they are read at random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from migratectl.errors import InvalidArgument, KernelError, OutOfMemory
from migratectl.kernel.vmscan import reclaim
from migratectl.operations.areas import alter, borders, rejoin
from migratectl.operations.caller import Caller, identify
from migratectl.operations.machine import find_mm, load_machine, resolve_span
from migratectl.operations.migrate import Migration, activate_list, collect, evict_list
from migratectl.operations.mm import freed_rows, zap_page_range
from migratectl.spans import Span
from migratectl.storage import pages, vmas
from migratectl.storage.connection import Connection
from migratectl.storage.gathering import Wanted
from migratectl.storage.pagelist import Alike
from migratectl.storage.pages import Freed
from migratectl.uapi import MF, VM, errno_number

_KEPT: Final = VM.LOCKED | VM.HUGETLB | VM.PFNMAP
"""Areas whose pages madvise may neither drop nor swap out."""

Act = Callable[[int, int], None]
"""Follows the advice for [start, end) of one area."""


def madvise(conn: Connection, pid: int, span: Span, advice: str) -> dict[str, Any]:
    """
    Tell how a range will be used.

    ``dontneed`` gives up its content: the ptes go, and what nobody else has with them; the areas stay and fault in
    anew, from the page cache where they are of files. ``pageout`` (``modern``) swaps out what only this task maps and
    nobody holds. ``random`` switches read-ahead off (``modern``; V9 has none).

    Args:
        conn: The connection of the transaction.
        pid: The task.
        span: The range; its length is rounded up to pages, zero does nothing.
        advice: ``dontneed``, ``pageout`` or ``random``.

    Returns:
        What was dropped and freed, or swapped out. Holes are passed over and answered by ENOMEM at the end; an area
        whose pages have to stay ends the call with EINVAL, what came before it is done.

    Raises:
        InvalidArgument: An unaligned start; the first area is locked, huge or raw; ``pageout`` under V9. Nothing was
            done.
        OutOfMemory: The range has no area at all.

    Source:
        sys_madvise(), madvise_dontneed() and madvise_behavior(); today's madvise_pageout(); madvise(2).
    """
    machine = load_machine(conn)
    _, mm = find_mm(conn, pid)
    subject = f"pid {pid}"
    if advice == "pageout" and not machine.modern:
        raise InvalidArgument(subject, "pageout came with Linux 5.4, so it needs the profile modern; try 'swap out'")
    page_size = machine.facts.page_size
    start, end = resolve_span(conn, mm, span, page_size, subject, aligned=True)
    who = identify(conn, machine, Caller(pid=pid))
    out = _PageOut(Migration.of(conn, machine, pid, mm, MF.MOVE, who, evict=True))
    freed: list[Freed] = []
    acts: dict[str, Act] = {
        "dontneed": lambda low, high: freed.append(_give_up(conn, mm, low, high)),
        "random": lambda low, high: _read_at_random(conn, mm, low, high, modern=machine.modern),
        "pageout": lambda low, high: out.act(mm, low, high),
    }
    keeping = VM(0) if advice == "random" else _KEPT
    nr, refusal = _each_area(conn, mm, (start, end), acts[advice], keeping, subject, page_size)
    if refusal is not None and not nr:
        raise refusal
    document: dict[str, Any] = {"pid": pid, "return": 0, "errno": None, "pages": nr, "freed": freed_rows(freed)}
    if advice == "pageout":
        document |= out.told()
    return document if refusal is None else document | fell_short(refusal)


def _each_area(
    conn: Connection, mm: int, span: tuple[int, int], act: Act, keeping: VM, subject: str, page_size: int
) -> tuple[int, KernelError | None]:
    """Follow an advice area by area: the pages it was followed for, and what the call answers besides."""
    refusal: KernelError | None = None
    at, nr = span[0], 0

    def hole(page: int) -> KernelError:
        return OutOfMemory(subject, f"no area at {page * page_size:#x}; see 'migratectl show vmas'")

    for vma in vmas.overlapping(conn, mm, *span) if span[0] < span[1] else ():
        low, high = max(vma.start, span[0]), min(vma.end, span[1])
        if low > at:
            refusal = hole(at)
        if vma.flags & keeping:
            where = f"{low * page_size:#x} is locked, huge or raw; munlock it or leave it out"
            return nr, InvalidArgument(subject, where)
        act(low, high)
        at, nr = high, nr + high - low
    return nr, refusal or (hole(at) if at < span[1] else None)


def _give_up(conn: Connection, mm: int, start: int, end: int) -> Freed:
    pages.cut_range(conn, mm, start, end)  # area by area: what is done to one may join runs beside it again
    return zap_page_range(conn, mm, start, end)


def _read_at_random(conn: Connection, mm: int, start: int, end: int, *, modern: bool) -> None:
    altered = alter(conn, mm, start, end, lambda vma: replace(vma, flags=VM(vma.flags | VM.RANDOM)), modern=modern)
    rejoin(conn, mm, borders(start, end, altered))


@dataclass(slots=True)
class _PageOut:
    """MADV_PAGEOUT: what it did so far, in pages: given up by the page cache, and unmapped without being given up."""

    migration: Migration
    dropped: int = 0
    unmapped: int = 0

    def act(self, mm: int, start: int, end: int) -> None:
        """
        Throw out what is mapped once and not held; the others are left alone, unlike V8's swap migration.

        Source:
            madvise_cold_or_pageout_pte_range(); kernel.vmscan.reclaim().
        """
        pages.cut_range(self.migration.conn, mm, start, end)
        rows = collect(self.migration, Wanted(tuple(self.migration.machine.nodes), start, end))
        ways: dict[tuple[str, bool], list[Alike]] = {}
        for row in rows:
            if not row.state.held:
                ways.setdefault((reclaim(row.state), row.state.kind == "file"), []).append(row)
        before = self.migration.result.swapped
        evict_list(self.migration, ways.get(("evict", True), []))
        self.dropped += self.migration.result.swapped - before
        self.unmapped += activate_list(self.migration, ways.get(("activate", True), []))
        evict_list(self.migration, ways.get(("evict", False), []))

    def told(self) -> dict[str, int]:
        """The keys of the document; ``swapped`` is said of anonymous memory and tmpfs alone."""
        swapped = self.migration.finish().swapped - self.dropped
        return {"swapped": swapped, "dropped": self.dropped, "unmapped": self.unmapped}


def fell_short(refusal: KernelError) -> dict[str, Any]:
    """The keys of a call that was carried out in part."""
    errno = refusal.errno_name
    return {
        "return": -errno_number(errno),
        "errno": errno,
        "message": f"{refusal}; the rest is done",
        "committed": True,
    }
