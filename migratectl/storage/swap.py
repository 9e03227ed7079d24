"""Pages in swap areas: read back, and areas emptied."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from migratectl.runs import Run
from migratectl.storage import pages, resident
from migratectl.storage.connection import Connection
from migratectl.storage.work import pick, write
from migratectl.uapi import PG

_READ: Final = int(PG.UPTODATE | PG.ACTIVE)


def swapped_total(conn: Connection, area: int) -> int:
    """Pages whose content is in an area only."""
    query = "SELECT coalesce(sum(count), 0) FROM pages WHERE area = ? AND node IS NULL"
    return int(conn.execute(query, (area,)).scalar_one())


def nr_waited_for(conn: Connection, area: int) -> int:
    """Pages of the swap cache with a slot of an area that are locked or under writeback."""
    query = """SELECT coalesce(sum(count), 0) FROM pages
WHERE area = ? AND node IS NOT NULL AND (lock IS NOT NULL OR writeback IS NOT NULL)"""
    return int(conn.execute(query, (area,)).scalar_one())


def read_in(conn: Connection, area: int, node: int, nr: int) -> list[int]:
    """
    Read the first *nr* pages of an area back, to a node, and take them out of it; by mapping and index.

    All their swap ptes become ptes: old, clean, read-only. The page rows.
    """
    query = "SELECT id, count FROM pages WHERE area = ? AND node IS NULL ORDER BY mapping, first, id"
    chosen: list[int] = []
    for page, count in conn.execute(query, (area,)).all():
        if nr < count:
            pages.split(conn, [(page, nr)])
        chosen.append(page)
        nr -= min(nr, count)
        if not nr:
            break
    pick(conn, chosen)
    read = f"UPDATE pages SET node = ?, flags = flags | {_READ} WHERE id IN (SELECT page FROM picked)"
    write(conn, read, (node,))
    _leave(conn, area)
    return chosen


def leave_cache(conn: Connection, area: int) -> list[int]:
    """Take all pages of the swap cache out of an area; their swap ptes become ptes. The page rows."""
    query = "SELECT id FROM pages WHERE area = ? AND node IS NOT NULL ORDER BY id"
    chosen = [page for (page,) in conn.execute(query, (area,))]
    pick(conn, chosen)
    _leave(conn, area)
    return chosen


def _leave(conn: Connection, area: int) -> None:
    """The pages of ``picked`` leave an area: present, dirty (no copy is left on disk), their slots free."""
    listed = "id IN (SELECT page FROM picked)"
    nr = conn.execute(f"SELECT coalesce(sum(count), 0) FROM pages WHERE {listed}").scalar_one()
    write(conn, f"UPDATE pages SET area = NULL, flags = flags | {int(PG.DIRTY)} WHERE {listed}")
    with resident.counted(conn, "t.page IN (SELECT page FROM picked)"):
        write(conn, "UPDATE ptes SET present = 1 WHERE page IN (SELECT page FROM picked) AND NOT present")
    write(conn, "UPDATE swap_areas SET used = used - ? WHERE id = ?", (nr, area))


def remove_area(conn: Connection, area: int) -> None:
    """Remove an area that no page is in."""
    write(conn, "DELETE FROM swap_areas WHERE id = ?", (area,))


class SwappedRun(NamedTuple):
    """
    A run behind swap ptes of an address space; ``node`` is None where its content is in swap only.

    ``ptes`` counts all its mappings, swap ptes included.
    """

    page: int
    addr: int
    step: int
    nr_pages: int
    node: int | None
    area: int
    lock: int | None
    writeback: int | None
    pins: int
    parked: int
    outside: int
    origin: int
    origin_first: int
    ptes: int

    @property
    def run(self) -> Run:
        """Its addresses."""
        return Run(self.addr, self.step, self.nr_pages)

    @property
    def held(self) -> bool:
        """Whether it has a reference besides its ptes: a pin, writeback, or the batch in which it is parked."""
        return bool(self.pins or self.parked) or self.writeback is not None

    @property
    def shared(self) -> bool:
        """Whether somebody else maps its pages too, or has their swap entry."""
        return self.ptes + self.outside > 1


_SWAPPED: Final = """SELECT t.page, t.addr, p.step, p.count, p.node, p.area, p.lock, p.writeback, p.pins,
 p.parked, p.outside, p.origin, p.origin_first, (SELECT count(*) FROM ptes x WHERE x.page = p.id)
FROM ptes t CROSS JOIN pages p ON p.id = t.page
WHERE t.mm = ? AND t.addr >= ? AND t.addr < ? AND NOT t.present ORDER BY t.addr"""


def swapped(conn: Connection, mm: int, start: int, end: int) -> list[SwappedRun]:
    """The runs behind swap ptes in [start, end), which was cut there, by lowest address."""
    return [SwappedRun(*row) for row in conn.execute(_SWAPPED, (mm, start, end))]


def fill(conn: Connection, rows: Iterable[int], node: int) -> None:
    """Page rows that were in swap only are read to a node; they are in the swap cache then."""
    pick(conn, rows)
    write(conn, "UPDATE pages SET node = ?, flags = flags | ? WHERE id IN (SELECT page FROM picked)", (node, _READ))


def map_again(conn: Connection, mm: int, rows: Iterable[int], *, writable: bool) -> None:
    """The swap ptes of an address space to page rows become ptes: young, and where written to writable and dirty."""
    pick(conn, rows)
    bits = int(writable)
    with resident.counted(conn, "t.mm = ? AND t.page IN (SELECT page FROM picked)", (mm,)):
        write(
            conn,
            "UPDATE ptes SET present = 1, young = 1, dirty = ?, writable = ?"
            " WHERE mm = ? AND page IN (SELECT page FROM picked) AND NOT present",
            (bits, bits, mm),
        )


def give_up_slots(conn: Connection, rows: Iterable[int]) -> None:
    """Page rows that are on a node leave the swap cache: dirty, as no copy is left on disk; their slots are free."""
    pick(conn, rows)
    listed = "id IN (SELECT page FROM picked)"
    totals = conn.execute(f"SELECT area, sum(count) FROM pages WHERE {listed} GROUP BY area").all()
    for area, nr in totals:
        write(conn, "UPDATE swap_areas SET used = used - ? WHERE id = ?", (nr, area))
    write(conn, f"UPDATE pages SET area = NULL, flags = flags | {int(PG.DIRTY)} WHERE {listed}")
