"""Pages in swap areas: read back, and areas emptied."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

from migratectl.storage import pages
from migratectl.storage.work import pick, write
from migratectl.uapi import PG

_READ: Final = int(PG.DIRTY | PG.UPTODATE | PG.ACTIVE)


def swapped_total(conn: Connection, area: int) -> int:
    """Pages whose content is in an area only."""
    query = "SELECT coalesce(sum(count), 0) FROM pages WHERE area = ? AND node IS NULL"
    return int(conn.exec_driver_sql(query, (area,)).scalar_one())


def read_in(conn: Connection, area: int, node: int, nr: int) -> list[int]:
    """
    Read the first *nr* pages of an area back, to a node, and take them out of it; by mapping and index.

    All their swap ptes become ptes: old, clean, read-only. The page rows.
    """
    query = "SELECT id, count FROM pages WHERE area = ? AND node IS NULL ORDER BY mapping, first, id"
    chosen: list[int] = []
    for page, count in conn.exec_driver_sql(query, (area,)).all():
        if nr < count:
            pages.split(conn, [(page, nr)])
        chosen.append(page)
        nr -= min(nr, count)
        if not nr:
            break
    pick(conn, chosen)
    write(conn, "UPDATE pages SET node = ? WHERE id IN (SELECT page FROM picked)", (node,))
    _leave(conn, area)
    return chosen


def leave_cache(conn: Connection, area: int) -> list[int]:
    """Take all pages of the swap cache out of an area; their swap ptes become ptes. The page rows."""
    query = "SELECT id FROM pages WHERE area = ? AND node IS NOT NULL ORDER BY id"
    chosen = [page for (page,) in conn.exec_driver_sql(query, (area,))]
    pick(conn, chosen)
    _leave(conn, area)
    return chosen


def _leave(conn: Connection, area: int) -> None:
    """The pages of ``picked`` leave an area: present, dirty (no copy is left on disk), their slots free."""
    listed = "id IN (SELECT page FROM picked)"
    nr = conn.exec_driver_sql(f"SELECT coalesce(sum(count), 0) FROM pages WHERE {listed}").scalar_one()
    write(conn, f"UPDATE pages SET area = NULL, flags = flags | {_READ} WHERE {listed}")
    write(conn, "UPDATE ptes SET present = 1 WHERE page IN (SELECT page FROM picked) AND NOT present")
    write(conn, "UPDATE swap_areas SET used = used - ? WHERE id = ?", (nr, area))


def remove_area(conn: Connection, area: int) -> None:
    """Remove an area that no page is in."""
    write(conn, "DELETE FROM swap_areas WHERE id = ?", (area,))
