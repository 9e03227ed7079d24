"""Which object an imported area maps, and what several tasks that map its pages tell of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from migratectl.linux.plan import PlannedArea, PlannedRun
from migratectl.storage.page_pool import Piece

_SHARED_MEMORY: Final = ("/dev/zero (deleted)", "/SYSV", "/memfd:", "/dev/shm/", "/anon_hugepage")
_NAMELESS: Final = ("/dev/zero (deleted)", "/SYSV00000000", "/memfd:", "/anon_hugepage")
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
    """Whether the area maps shared memory."""
    return area.file is not None and area.file.startswith(_SHARED_MEMORY)


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
