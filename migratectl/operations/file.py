"""Files: making them, reading, writing, cutting and syncing them, without an address space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from migratectl.errors import AlreadyExists, Busy, InvalidArgument
from migratectl.kernel.buffer import buffers_per_page, journal_holds
from migratectl.kernel.filemap import JOURNALS, filesystem, migrate_method
from migratectl.operations.allocator import Allocator
from migratectl.operations.caller import Caller
from migratectl.operations.machine import Machine, give_back, load_machine, whole_pages
from migratectl.operations.mmap_file import find_file
from migratectl.operations.page_cache import fetch, look_up
from migratectl.runs import Run
from migratectl.spans import Size
from migratectl.storage import buffers, cache, coalesce, files, pages
from migratectl.storage.cache import CachedRun
from migratectl.storage.connection import Connection
from migratectl.storage.files import UNNAMED, File
from migratectl.uapi import NEVER, PG, errno_number

_WRITTEN: Final = PG.DIRTY | PG.UPTODATE
_TO_THE_END: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class FileCreate:
    """The words of ``file create``."""

    path: str
    size: Size
    fs: str
    journal: str | None = None
    ino: int | None = None
    method: str | None = None
    block_size: Size | None = None


@dataclass(frozen=True, slots=True)
class FileRange:
    """A part of a file: ``length`` from ``offset`` on; without length to its end."""

    length: Size | None = None
    offset: Size | None = None


def file_create(conn: Connection, call: FileCreate) -> dict[str, Any]:
    """
    Make a file; none of its pages is cached.

    Args:
        conn: The connection of the transaction.
        call: The words; the method is that of the file system under the profile, unless one is given.

    Returns:
        The file, as ``file list`` shows one.

    Raises:
        AlreadyExists: There is such a file.
        InvalidArgument: A name that cannot be printed, a journal of something else than ext3, a block size that pages
            or the file system cannot have.

    Source:
        The address spaces of semantics.md 1.3.
    """
    machine = load_machine(conn)
    subject = f"file '{call.path}'"
    if not call.path or not call.path.isprintable() or call.path == UNNAMED:
        raise InvalidArgument(subject, "the name is empty, taken by nameless memory, or cannot be printed")
    if files.find(conn, call.path) is not None:
        raise AlreadyExists(subject, "there is such a file already; truncate it, or take another name")
    if call.journal is not None and call.fs != "ext3":
        raise InvalidArgument(subject, f"{call.fs} has no mode of journal; leave --journal out, or take ext3")
    journal = (call.journal or JOURNALS[0]) if call.fs == "ext3" else None
    shared_memory = call.fs == "tmpfs"
    ino = files.next_ino(conn) if call.ino is None and shared_memory else call.ino
    method = call.method or migrate_method(call.fs, journal, modern=machine.modern)
    size = _rounded(call.size, machine)
    kind = "shm" if shared_memory else "file"
    ring = _ring(call, machine, subject)
    file = files.insert(conn, File(0, kind, call.path, call.fs, journal, method, ino, size, ring))
    return {"return": 0, "errno": None, **_row(conn, file)}


def _ring(call: FileCreate, machine: Machine, subject: str) -> int:
    """Buffers that a page of the new file has."""
    page_size = machine.facts.page_size
    if not filesystem(call.fs).buffers:
        if call.block_size is not None:
            raise InvalidArgument(subject, f"pages of {call.fs} have no buffers; leave --block-size out")
        return 0
    block = None if call.block_size is None else call.block_size.to_bytes(page_size)
    ring = buffers_per_page(page_size, block)
    if ring is None:
        raise InvalidArgument(subject, f"blocks of {block} bytes do not fit into pages of {page_size}: 1, 2, 4 or 8 do")
    return ring


def file_list(conn: Connection) -> dict[str, Any]:
    """All files and named segments by name, each with its pages in memory."""
    held = cache.held(conn)
    return {"files": [_told(file, held.get(file.id, cache.NOTHING)) for file in files.named(conn)]}


def _row(conn: Connection, file: File) -> dict[str, Any]:
    return _told(file, cache.held(conn, file.id).get(file.id, cache.NOTHING))


def _told(file: File, held: cache.Held) -> dict[str, Any]:
    return {
        "file": file.name,
        "fs": file.fs,
        "journal": file.journal,
        "method": file.method,
        "ino": file.ino,
        "size": file.size,
        "ring": file.ring,
        "cached": sum(held.nodes.values()),
        "dirty": held.dirty,
        "nodes": {str(nid): nr for nid, nr in held.nodes.items()},
    }


def file_read(conn: Connection, caller: Caller, path: str, part: FileRange) -> dict[str, Any]:
    """
    Read a part of a file, as far as it reaches: what is not cached is read in by the reader's policy.

    Pages beyond the part are not read ahead.

    Args:
        conn: The connection of the transaction.
        caller: Who reads: a task, or somebody without policy on CPU 0.
        path: The file.
        part: Which pages.

    Returns:
        ``pages`` that were read, of these ``cached`` and ``read`` in, and all by node. ENOMEM where one could not be
        had; what came before it is cached.

    Raises:
        NoSuchFile, InvalidArgument: No such file; a part that is no whole number of pages.

    Source:
        do_generic_mapping_read() and page_cache_read() of mm/filemap.c; semantics.md 6.1.
    """
    machine = load_machine(conn)
    file = find_file(conn, path)
    start, end = _part(machine, file, part)
    if file.size is not None:
        end = min(end, file.size)
    memory = Allocator.of(conn, machine, caller.pid)
    missed, stop = _have(memory, file, start, end)
    had = end if stop is None else stop
    ids = _rows(conn, file, start, had)
    cache.clear_flags(conn, ids, PG.READAHEAD)
    return _done(memory, file, ids, (start, max(had, start)), missed, stop)


def file_write(conn: Connection, caller: Caller, path: str, part: FileRange) -> dict[str, Any]:
    """
    Write a part of a file, page by page; what lies behind its end makes it longer.

    The pages are dirty and up to date; where the file system has buffers they are attached and dirty, and a journal
    that knows the data uses them until ``file sync``.

    Args:
        conn: The connection of the transaction.
        caller: Who writes: a task, or somebody without policy on CPU 0.
        path: The file.
        part: Which pages; without, all that it has.

    Returns:
        As file_read().

    Raises:
        NoSuchFile, InvalidArgument: As file_read().
        Busy: A page, or a buffer of it, is locked and the call would wait; nothing is done.

    Source:
        generic_file_buffered_write() of mm/filemap.c, shmem_file_write(); semantics.md 1.4, 6.3, 9a.
    """
    machine = load_machine(conn)
    file = find_file(conn, path)
    start, end = _part(machine, file, part)
    memory = Allocator.of(conn, machine, caller.pid)
    _refuse_locked(conn, machine, file, start, end, writeback=False)
    missed, stop = _have(memory, file, start, end)
    had = max(end if stop is None else stop, start)
    ids = _rows(conn, file, start, had)
    cache.clear_flags(conn, ids, PG.READAHEAD)
    cache.set_flags(conn, ids, _WRITTEN)
    if file.ring:
        buffers.write_to(conn, ids, _held(file))
    if file.size is not None and had > max(file.size, start):
        files.set_size(conn, file.id, had)
    return _done(memory, file, ids, (start, had), missed, stop)


def _have(memory: Allocator, file: File, start: int, end: int) -> tuple[int, int | None]:
    """Read in what is missing of [start, end): how many pages that were, and the first that could not be had."""
    if start >= end:
        return 0, None
    found = look_up(memory, file, [Run(start, 1, end - start)], ahead=False)
    stop = fetch(memory, found)
    limit = end if stop is None else stop
    return sum(run.below(limit) for run in found.missing), stop


def _rows(conn: Connection, file: File, start: int, end: int) -> list[int]:
    """The rows of [start, end), which are cut out."""
    if start >= end:
        return []
    for at in (start, end):
        cache.cut_index(conn, file.id, at)
    return cache.between(conn, file.id, start, end)


def _done(
    memory: Allocator, file: File, ids: list[int], window: tuple[int, int], missed: int, stop: int | None
) -> dict[str, Any]:
    """Settle the accounts, join runs, and tell what was done."""
    conn = memory.conn
    nodes = cache.by_node(conn, ids)
    memory.settle()
    coalesce.coalesce(conn, cache.neighbours(conn, file.id, *window, coalesce.LIMIT + 1))
    nr = window[1] - window[0]
    document: dict[str, Any] = {
        "file": file.name,
        "return": 0,
        "errno": None,
        "pages": nr,
        "cached": nr - missed,
        "read": missed,
        "nodes": [{"node": nid, "pages": count} for nid, count in nodes.items()],
    }
    if stop is None:
        return document
    why = "no free page on the nodes that the policy and the cpuset allow"
    return document | {
        "return": -errno_number("ENOMEM"),
        "errno": "ENOMEM",
        "message": f"file '{file.name}': ENOMEM: {why} for page {stop}; what came before it is done",
        "committed": True,
        "index": stop,
    }


def file_truncate(conn: Connection, path: str, size: Size) -> dict[str, Any]:
    """
    Give a file another size. Pages behind it leave the cache and all address spaces, private copies too.

    A page that somebody pins, or whose buffers are in use, loses its mapping and stays until the last of them is gone.

    Args:
        conn: The connection of the transaction.
        path: The file.
        size: The new size, rounded up to pages.

    Returns:
        The file, as ``file list`` shows one; ``freed`` pages by node, and how many were ``orphaned``.

    Raises:
        NoSuchFile: No such file.
        Busy: A page to drop is locked, under writeback or has locked buffers, and the call would wait; nothing is done.

    Source:
        vmtruncate(), unmap_mapping_range(), truncate_inode_pages(); semantics.md 1.6.
    """
    machine = load_machine(conn)
    file = find_file(conn, path)
    pages_left = _rounded(size, machine)
    _refuse_locked(conn, machine, file, pages_left, _TO_THE_END, writeback=True)
    freed = _zap(conn, file, pages_left)
    cache.cut_index(conn, file.id, pages_left)
    ids = cache.between(conn, file.id, pages_left, _TO_THE_END)
    if ids:
        dropped = cache.drop(conn, ids, files.orphanage(conn, file), _held(file))
        freed.append(dict(dropped.nodes))
        files.drop_empty_orphanages(conn)
    orphaned = pages.total(conn, ids)
    give_back(conn, freed)
    files.set_size(conn, file.id, pages_left)
    totals: dict[int, int] = {}
    for nodes in freed:
        for nid, nr in nodes.items():
            totals[nid] = totals.get(nid, 0) - nr
    rows = [{"node": nid, "pages": nr} for nid, nr in sorted(totals.items()) if nr]
    row = _row(conn, files.load(conn, file.id))
    return {"return": 0, "errno": None, **row, "freed": rows, "orphaned": orphaned}


def _zap(conn: Connection, file: File, size: int) -> list[dict[int, int]]:
    """Drop the ptes of all areas behind the new end of a file; what was freed by that, by node."""
    freed = []
    for mm, start, end, delta in cache.mapped_by(conn, file.id):
        low = max(start, size - delta)
        if low < end:
            pages.cut_address(conn, mm, low)
            freed.append(dict(pages.drop_range(conn, mm, low, end).nodes))
    return freed


def file_sync(conn: Connection, path: str) -> dict[str, Any]:
    """
    Write the dirty pages of a file to its disk: pages and buffers are clean, and no journal uses them any more.

    Buffers that somebody else uses (``page buffers --state busy``) stay in use; where there is a journal, use without
    an end is the journal's.

    What is dirty in a pte alone is not seen by V9; ``modern`` writes it, and write-protects the pte. Files without a
    disk below, of tmpfs and ramfs, stay as they are.

    Args:
        conn: The connection of the transaction.
        path: The file.

    Returns:
        The file, as ``file list`` shows one, and how many pages were ``written``.

    Raises:
        NoSuchFile: No such file.
        Busy: A page is locked, under writeback or has locked buffers, and the call would wait; nothing is done.

    Source:
        do_fsync(), filemap_fdatawrite(), journal_force_commit(); semantics.md 9a (1.4).
    """
    machine = load_machine(conn)
    file = find_file(conn, path)
    written = 0
    if file.fs is None or filesystem(file.fs).disk:
        _refuse_locked(conn, machine, file, 0, _TO_THE_END, writeback=True)
        ids = cache.between(conn, file.id, 0, _TO_THE_END)
        if machine.modern:
            cache.clean_ptes(conn, ids)
        written = cache.total(conn, ids, PG.DIRTY)
        cache.clear_flags(conn, ids, PG.DIRTY)
        buffers.clean(conn, ids, _held(file))
        coalesce.coalesce(conn, cache.neighbours(conn, file.id, 0, _TO_THE_END, coalesce.LIMIT + 1))
        _free_orphans(conn, file)
    return {"return": 0, "errno": None, **_row(conn, file), "written": written}


def _held(file: File) -> int | None:
    """The pass from which a journal of the file would no longer use its buffers; None where it uses none."""
    return NEVER if journal_holds(file.journal) else None


def _free_orphans(conn: Connection, file: File) -> None:
    """A journal lets the orphans of a file go; those that nobody pins are freed."""
    orphanage = files.orphanage_of(conn, file.name)
    if orphanage is not None:
        give_back(conn, [cache.release_orphans(conn, orphanage).nodes])
        files.drop_empty_orphanages(conn)


def _refuse_locked(conn: Connection, machine: Machine, file: File, start: int, end: int, *, writeback: bool) -> None:
    """Refuse a call that would wait for the lock of a page of [start, end) or of its buffers, or for its writeback."""
    rows = [row for row in cache.rows(conn, file.id, start, end) if row.run.between(start, end) is not None]
    locked = set(buffers.held(conn, [row.page for row in rows], "locked")) if file.ring else set()
    for row in rows:
        what = _waited_for(row, locked=row.page in locked, writeback=writeback)
        if what is not None:
            part = row.run.between(start, end)
            at = row.first if part is None else part.start
            raise Busy(f"file '{file.name}'", f"page {at} {what} and the call would wait; end that first")


def _waited_for(row: CachedRun, *, locked: bool, writeback: bool) -> str | None:
    if row.lock is not None:
        return "is locked"
    if locked:
        return "has locked buffers"
    return "is under writeback" if writeback and row.writeback is not None else None


def _part(machine: Machine, file: File, part: FileRange) -> tuple[int, int]:
    """The indexes [start, end) that a part names; without length to the end of the file."""
    subject = f"file '{file.name}'"
    page_size = machine.facts.page_size
    start = whole_pages(part.offset, page_size, subject) if part.offset else 0
    if part.length is not None:
        return start, start + whole_pages(part.length, page_size, subject)
    if file.size is None:
        raise InvalidArgument(subject, "its size is not known; say how much, such as 16p@8p")
    return start, max(start, file.size)


def _rounded(size: Size, machine: Machine) -> int:
    """A size in pages, rounded up."""
    page_size = machine.facts.page_size
    return -(-size.to_bytes(page_size) // page_size)
