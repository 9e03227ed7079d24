"""Which object an imported area maps, and what several tasks that map its pages tell of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from migratectl.linux.placement_area import is_shared_memory
from migratectl.linux.plan import PlannedArea, PlannedRun
from migratectl.storage.connection import Connection
from migratectl.storage.imports import NewRows
from migratectl.storage.page_pool import PagePool, Piece, load_pool

_HUGE: Final = "/anon_hugepage"
_NAMELESS: Final = ("/dev/zero (deleted)", "/SYSV00000000", "/memfd:", _HUGE)
_DELETED: Final = " (deleted)"


class ObjectIdentity(NamedTuple):
    """
    What makes two areas map the same object: its name, and where that does not tell, inode number or task.

    Args:
        kind: ``file`` or ``shm``.
        name: Its path; empty without one.
        ino: Its inode number where two objects may have the name.
        pid: Its task where it is the task's own.
        method: How its pages migrate.
        by_name: Whether the name alone tells the object.
    """

    kind: str
    name: str
    ino: int | None
    pid: int | None
    method: str
    by_name: bool = False


def identity_of(area: PlannedArea, pid: int) -> ObjectIdentity:
    """The object that an area of the task *pid* maps; the pages of no file are of one object without a name."""
    name = area.file
    if name is None:
        return ObjectIdentity("file", "", None, None, "none")
    if not name:
        return ObjectIdentity("file", "", None, pid, "buffer")
    if is_swappable(area):
        kind, method = "shm", "none"
    else:
        kind, method = "file", "buffer"
    if name.startswith(_NAMELESS) or name.endswith(_DELETED):
        own = not area.inode and name.startswith(_NAMELESS)
        return ObjectIdentity(kind, name, area.inode or None, pid if own else None, method)
    return ObjectIdentity(kind, name, None, None, method, by_name=True)


def is_swappable(area: PlannedArea) -> bool:
    """Whether the area maps shared memory, of huge pages too."""
    return area.file is not None and (is_shared_memory(area.file) or area.file.startswith(_HUGE))


class Objects:
    """
    The objects that areas map, each with its pages.

    Args:
        conn: The connection of the transaction.
        rows: Where new ones are entered.
        modern: The profile is a 6.x kernel.
    """

    def __init__(self, conn: Connection, rows: NewRows, modern: bool) -> None:
        self.conn, self.rows, self.modern = conn, rows, modern
        self.old_mappings = rows.last_mapping
        self.pools: dict[int, PagePool] = {}
        self._objects: dict[ObjectIdentity, PagePool] = {}
        self._named: dict[str, PagePool] = {}

    def pool_of(self, pid: int, area: PlannedArea) -> PagePool:
        """What an area of the task *pid* maps, with the pages that it has in the state."""
        return self._named.get(area.file or "") or self._found(pid, area)

    def _found(self, pid: int, area: PlannedArea) -> PagePool:
        """As pool_of(), by everything that tells the object."""
        identity = identity_of(area, pid)
        if identity not in self._objects:
            kind, name, ino, owner, method, _ = identity
            found = self.rows.find_object(kind, name, ino) if owner is None else None
            if found is None:
                method = "page" if kind == "shm" and self.modern else method
                found = self.rows.new_object(kind, name, method, ino)
            self._objects[identity] = self._pages_of(found)
        pool = self._objects[identity]
        if identity.name and identity.by_name:
            self._named[identity.name] = pool
        return pool

    def _pages_of(self, mapping: int) -> PagePool:
        """The pages of an object, which may be known by its name with and without inode number."""
        if mapping not in self.pools:
            old = mapping <= self.old_mappings
            self.pools[mapping] = load_pool(self.conn, mapping) if old else PagePool(self.conn, mapping)
        return self.pools[mapping]


def grouped(runs: Sequence[PlannedRun]) -> list[list[PlannedRun]]:
    """Neighbouring runs of file pages that differ in node or age at most; where they are there, that is nobody's."""
    groups: list[list[PlannedRun]] = [[runs[0]]]
    for run in runs[1:]:
        last = groups[-1][-1]
        if (
            not (run.anon or last.anon or run.step > 1 or last.step > 1)
            and run.first == last.first + last.nr_pages
            and (run.dirty, run.writeback, run.outside) == (last.dirty, last.writeback, last.outside)
        ):
            groups[-1].append(run)
        else:
            groups.append([run])
    return groups


def join(piece: Piece, mapmax: int) -> None:
    """Make room for another mapper of pages: one of those that were outside so far, where there are such."""
    piece.outside = max(max(piece.nr_ptes + piece.outside, mapmax) - piece.nr_ptes - 1, 0)


def elsewhere(group: Sequence[PlannedRun], pieces: Iterable[Piece]) -> int:
    """How many pages the lines count on other nodes than those where they lie."""
    short: dict[int, int] = {}
    for run in group:
        short[run.node] = short.get(run.node, 0) + run.nr_pages
    for piece in pieces:
        node = piece.node or 0
        short[node] = short.get(node, 0) - piece.run.nr_pages
    return sum(nr for nr in short.values() if nr > 0)
