"""Numbers about areas that /proc/PID/numa_maps prints, counted by the database."""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import Connection

from migratectl.uapi import PG

_COUNTS: Final = f"""SELECT v.start,
 sum(CASE WHEN m.kind = 'anon' THEN p.count ELSE 0 END),
 sum(CASE WHEN p.flags & {int(PG.DIRTY)} OR t.dirty THEN p.count ELSE 0 END),
 max(p.outside + (SELECT count(*) FROM ptes x WHERE x.page = p.id AND x.present)),
 sum(CASE WHEN p.area IS NOT NULL THEN p.count ELSE 0 END),
 sum(CASE WHEN p.flags & {int(PG.ACTIVE)} THEN p.count ELSE 0 END),
 sum(CASE WHEN p.writeback IS NOT NULL THEN p.count ELSE 0 END)
FROM vmas v CROSS JOIN ptes t ON t.mm = v.mm AND t.addr >= v.start AND t.addr < v."end"
CROSS JOIN pages p ON p.id = t.page CROSS JOIN mappings m ON m.id = p.mapping
WHERE v.mm = ? AND t.present AND p.node IS NOT NULL GROUP BY v.start ORDER BY v.start"""
_NODES: Final = """SELECT v.start, p.node, sum(p.count)
FROM vmas v CROSS JOIN ptes t ON t.mm = v.mm AND t.addr >= v.start AND t.addr < v."end"
CROSS JOIN pages p ON p.id = t.page
WHERE v.mm = ? AND t.present AND p.node IS NOT NULL GROUP BY v.start, p.node ORDER BY v.start, p.node"""


class AreaCounts(NamedTuple):
    """Present pages of an area by property; ``mapmax`` is the largest mapcount. Zero pages do not count."""

    anon: int
    dirty: int
    mapmax: int
    swapcache: int
    active: int
    writeback: int


def area_counts(conn: Connection, mm: int) -> dict[int, AreaCounts]:
    """By start of the area; areas without present pages are left out."""
    return {row[0]: AreaCounts(*row[1:]) for row in conn.exec_driver_sql(_COUNTS, (mm,))}


def area_nodes(conn: Connection, mm: int) -> dict[int, list[tuple[int, int]]]:
    """(node, present pages) by start of the area, nodes ascending."""
    found: dict[int, list[tuple[int, int]]] = {}
    for start, node, nr in conn.exec_driver_sql(_NODES, (mm,)):
        found.setdefault(start, []).append((node, nr))
    return found
