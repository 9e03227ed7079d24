"""What stands in a migration's way: page locks, pins, writeback; and the swap areas."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from migratectl.storage import pages
from migratectl.storage.connection import Connection
from migratectl.storage.work import pick, write, write_many


def add(conn: Connection, rows: Iterable[int], pid: int, kind: str, passes: int, count: int) -> None:
    """Put a hold of a task on page rows."""
    ids = list(rows)
    write_many(
        conn,
        "INSERT INTO holds(page, pid, kind, passes, count) VALUES (?, ?, ?, ?, ?)",
        [(page, pid, kind, passes, count) for page in ids],
    )
    pick(conn, ids)
    refresh(conn)


def held_by(conn: Connection, pid: int, kind: str, inside: Iterable[int] | None = None) -> list[int]:
    """The page rows that a task holds so; of some rows, those among them."""
    if inside is None:
        query = "SELECT DISTINCT page FROM holds WHERE pid = ? AND kind = ? ORDER BY page"
        return [page for (page,) in conn.execute(query, (pid, kind))]
    pick(conn, inside)
    query = """SELECT DISTINCT h.page FROM picked c CROSS JOIN holds h ON h.page = c.page
WHERE h.kind = ? AND h.pid = ? ORDER BY h.page"""
    return [page for (page,) in conn.execute(query, (kind, pid))]


def kinds_of(conn: Connection, pid: int) -> list[str]:
    """The kinds of hold that a task has."""
    query = "SELECT DISTINCT kind FROM holds WHERE pid = ? ORDER BY kind"
    return [kind for (kind,) in conn.execute(query, (pid,))]


def end(conn: Connection, rows: Iterable[int], pid: int, kind: str) -> pages.Freed:
    """End the holds of a task on page rows; a page that nobody maps and nobody holds any more is freed."""
    ids = list(rows)
    write_many(conn, "DELETE FROM holds WHERE page = ? AND pid = ? AND kind = ?", [(page, pid, kind) for page in ids])
    pick(conn, ids)
    refresh(conn)
    return pages.free_idle(conn)


def refresh(conn: Connection) -> None:
    """Bring the hold columns of the rows in ``picked`` up to date with ``holds``."""
    write(
        conn,
        """UPDATE pages SET
 lock = (SELECT max(passes) FROM holds WHERE page = pages.id AND kind = 'lock'),
 writeback = (SELECT max(passes) FROM holds WHERE page = pages.id AND kind = 'writeback'),
 pin = (SELECT max(passes) FROM holds WHERE page = pages.id AND kind = 'pin'),
 pins = (SELECT coalesce(sum(count), 0) FROM holds WHERE page = pages.id AND kind = 'pin'),
 parked = parked & ~1 | EXISTS (SELECT 1 FROM holds WHERE page = pages.id AND kind = 'park')
WHERE id IN (SELECT page FROM picked)""",
    )


class SwapArea(NamedTuple):
    """A swap area; slots and used in pages."""

    id: int
    name: str
    slots: int
    used: int


def swap_areas(conn: Connection) -> list[SwapArea]:
    """The swap areas, in the order in which they are used."""
    return [SwapArea(*row) for row in conn.execute("SELECT id, name, slots, used FROM swap_areas ORDER BY id")]


def area_with_room(conn: Connection) -> SwapArea | None:
    """The swap area that gives the next slot; None where no slot is free."""
    return next((area for area in swap_areas(conn) if area.used < area.slots), None)


def add_swap_area(conn: Connection, name: str, slots: int) -> None:
    """Add a swap area."""
    write(conn, "INSERT INTO swap_areas(name, slots) VALUES (?, ?)", (name, slots))
