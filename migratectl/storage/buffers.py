"""Rings of buffers: a row for each page row that has one; all buffers of a row are in one state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from migratectl.storage.connection import Connection
from migratectl.storage.work import pick, write

_ATTACH: Final = """INSERT OR IGNORE INTO buffers(page, ring)
SELECT p.id, m.ring FROM picked c CROSS JOIN pages p ON p.id = c.page CROSS JOIN mappings m ON m.id = p.mapping
WHERE m.ring > 0"""
_PICKED: Final = "WHERE page IN (SELECT page FROM picked)"


def attach(conn: Connection, ids: Iterable[int]) -> None:
    """Give page rows a ring, idle, where their file system has buffers and they have none yet; leaves them picked."""
    pick(conn, ids)
    write(conn, _ATTACH)


def write_to(conn: Connection, ids: Iterable[int], held: int | None) -> None:
    """The buffers of page rows are written to: they are attached and dirty; *held*: a journal uses them until then."""
    attach(conn, ids)
    write(conn, f"UPDATE buffers SET dirty = 1 {_PICKED} AND NOT dirty")
    if held is not None:
        write(conn, f"UPDATE buffers SET busy = ? {_PICKED} AND busy IS NULL", (held,))


def clean(conn: Connection, ids: Iterable[int], held: int | None) -> None:
    """The buffers of page rows are on disk; *held*: as write_to(), a journal uses them no more."""
    pick(conn, ids)
    write(conn, f"UPDATE buffers SET dirty = 0 {_PICKED} AND dirty")
    if held is not None:
        write(conn, f"UPDATE buffers SET busy = NULL {_PICKED} AND busy = ?", (held,))


def set_state(conn: Connection, ids: Iterable[int], state: str, release: int, *, late: bool = False) -> None:
    """
    Attach buffers to page rows and set their state.

    ``dirty``, or ``busy`` or ``locked`` until pass *release* of a migration, come to what they are already; ``idle``
    ends all three. *late*: busy also at the first question of that pass.
    """
    attach(conn, ids)
    changes = {
        "idle": "dirty = 0, busy = NULL, late = 0, locked = NULL",
        "dirty": "dirty = 1",
        "busy": f"busy = {int(release)}, late = {int(late)}",
        "locked": f"locked = {int(release)}",
    }
    write(conn, f"UPDATE buffers SET {changes[state]} {_PICKED}")


def possible(conn: Connection, ids: Iterable[int]) -> set[int]:
    """Those of the page rows that may have buffers: cache pages of a file system that has them."""
    pick(conn, ids)
    query = """SELECT p.id FROM picked c CROSS JOIN pages p ON p.id = c.page CROSS JOIN mappings m ON m.id = p.mapping
WHERE m.ring > 0 AND p.area IS NULL"""
    return {page for (page,) in conn.execute(query)}


def held(conn: Connection, ids: Iterable[int], column: str) -> list[int]:
    """Those of the page rows whose buffers are ``locked`` or ``busy``."""
    if column not in ("locked", "busy"):
        raise ValueError(column)
    pick(conn, ids)
    query = f"""SELECT b.page FROM picked c CROSS JOIN buffers b ON b.page = c.page
WHERE b.{column} IS NOT NULL ORDER BY b.page"""
    return [page for (page,) in conn.execute(query)]
