"""What an area maps: anonymous memory, a file, a segment of shared memory, a device."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from migratectl.errors import InvalidArgument, NoSuchFile
from migratectl.kernel.filemap import migrate_method
from migratectl.operations.machine import Machine, give_back, whole_pages
from migratectl.spans import Size
from migratectl.storage import cache, files, tasks
from migratectl.storage.connection import Connection
from migratectl.storage.files import UNNAMED, File
from migratectl.storage.pages import Freed
from migratectl.storage.vmas import Vma
from migratectl.uapi import VM

if TYPE_CHECKING:
    from migratectl.operations.mm import Mmap


@dataclass(frozen=True, slots=True)
class Backing:
    """What an area maps: a mapping, page index minus address, the flags that come with it."""

    mapping: int
    delta: int
    flags: VM
    kind: str = "anon"
    name: str = ""


def backing(conn: Connection, machine: Machine, mm: int, call: Mmap, start: int, nr: int) -> Backing:
    """
    Find or make what a call of mmap maps.

    Args:
        conn: The connection of the transaction.
        machine: The machine.
        mm: The address space.
        call: The words.
        start: The area's first page.
        nr: Its pages.

    Raises:
        NoSuchFile: No such file.
        InvalidArgument: An offset that is no whole number of pages, an inode number of something that has one.

    Source:
        do_mmap_pgoff(), shmem_zero_setup(), shmem_file_setup(); semantics.md 1.5.
    """
    subject = f"pid {call.pid}"
    shared = VM.SHARED if call.shared or call.shm is not None else VM(0)
    if call.ino is not None and (call.file is not None or call.shm is not None or not call.shared):
        raise InvalidArgument(subject, "--ino is the number of shared anonymous memory; give --shared alone with it")
    if call.file is not None:
        return _of_file(conn, machine, call, start, shared, subject)
    if call.shm is not None:
        return _of_object(_segment(conn, machine, call.shm, nr), start)
    special = (call.io, VM.IO), (call.pfnmap, VM.PFNMAP), (call.hugetlb, VM.HUGETLB)
    flags = VM(sum(flag for given, flag in special if given))
    if shared and not flags:
        ino = files.next_ino(conn) if call.ino is None else call.ino
        return _of_object(files.insert(conn, _tmpfs(machine, UNNAMED, ino, nr)), start)
    return Backing(tasks.anon_mapping(conn, mm), 0, VM(flags | shared))


def _of_file(conn: Connection, machine: Machine, call: Mmap, start: int, shared: VM, subject: str) -> Backing:
    file = find_file(conn, call.file or "")
    offset = whole_pages(call.offset or Size(0), machine.facts.page_size, subject)
    return Backing(file.id, offset - start, shared, file.kind, file.name)


def _of_object(file: File, start: int) -> Backing:
    return Backing(file.id, -start, VM.SHARED, file.kind, file.name)


def _segment(conn: Connection, machine: Machine, name: str, nr: int) -> File:
    """The segment of that name, which grows to the largest size asked for."""
    path = segment_path(name)
    if not name.strip("/"):
        raise InvalidArgument(f"segment '{name}'", "a segment has a name, such as --shm web")
    if not path.isprintable():
        raise InvalidArgument(f"segment '{name}'", "the name has characters that cannot be printed")
    found = files.find(conn, path)
    if found is None:
        return files.insert(conn, _tmpfs(machine, path, files.next_ino(conn), nr))
    if found.size is not None and found.size < nr:
        files.set_size(conn, found.id, nr)
    return found


def segment_path(name: str) -> str:
    """Where a segment of shared memory lies in the file tree."""
    return name if name.startswith("/") else f"/dev/shm/{name}"


def _tmpfs(machine: Machine, name: str, ino: int, size: int) -> File:
    method = migrate_method("tmpfs", None, modern=machine.modern)
    return File(0, "shm", name, "tmpfs", None, method, ino, size, 0)


def find_file(conn: Connection, path: str) -> File:
    """The file of that name. Raises NoSuchFile."""
    found = files.find(conn, path)
    if found is None:
        raise NoSuchFile(f"file '{path}'", "no such file in this state; see 'migratectl file list' and 'file create'")
    return found


def release_objects(conn: Connection, gone: Iterable[Vma]) -> list[Freed]:
    """
    Free the unnamed objects whose last area went with *gone*; pages that somebody pins become orphans.

    Source:
        shmem_delete_inode() after the last fput(); semantics.md 6.6.
    """
    freed = []
    for mapping in sorted({vma.mapping for vma in gone if vma.kind == "shm" and vma.name == UNNAMED}):
        if not cache.is_mapped(conn, mapping):
            freed.append(cache.drop(conn, cache.between(conn, mapping, 0, 1 << 62), mapping))
            files.forget(conn, mapping)
    give_back(conn, (each.nodes for each in freed))
    return freed
