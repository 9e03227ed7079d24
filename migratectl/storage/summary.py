"""What the commands that look need to know and no other does: numbers of areas, mappings, rings of buffers, cpusets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from migratectl.policy import Policy
from migratectl.runs import Run
from migratectl.storage.connection import Connection
from migratectl.storage.files import COLUMNS, File
from migratectl.storage.tasks import make_policy
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
    return {row[0]: AreaCounts(*row[1:]) for row in conn.execute(_COUNTS, (mm,))}


def area_nodes(conn: Connection, mm: int) -> dict[int, list[tuple[int, int]]]:
    """(node, present pages) by start of the area, nodes ascending."""
    found: dict[int, list[tuple[int, int]]] = {}
    for start, node, nr in conn.execute(_NODES, (mm,)):
        found.setdefault(start, []).append((node, nr))
    return found


_HELD: Final = """SELECT mapping, node, area IS NOT NULL, sum(count) FROM pages {}
GROUP BY mapping, node, area IS NOT NULL ORDER BY mapping, node"""
_USERS: Final = """SELECT v.mapping, t.pid FROM vmas v JOIN tasks t ON t.mm = v.mm {}
UNION SELECT a.anon AS mapping, t.pid FROM mms a JOIN tasks t ON t.mm = a.id {} ORDER BY 1, 2"""


def mappings(conn: Connection, ids: Iterable[int] | None = None) -> list[File]:
    """The mappings of these row ids, or all; by id. Those that stand for zero pages are left out."""
    rows = _each(conn, f"{COLUMNS} WHERE kind <> 'zero' {{}} ORDER BY id", "AND id = ?", ids)
    return [File(*row) for row in rows]


def mapping_pages(conn: Connection, ids: Iterable[int] | None = None) -> dict[int, list[tuple[int | None, bool, int]]]:
    """(node or None, whether it has a swap slot, pages) by mapping, of these mappings or of all."""
    found: dict[int, list[tuple[int | None, bool, int]]] = {}
    for mapping, node, swapped, nr in _each(conn, _HELD, "WHERE mapping = ?", ids):
        found.setdefault(mapping, []).append((node, bool(swapped), nr))
    return found


def mapping_users(conn: Connection, ids: Iterable[int] | None = None) -> dict[int, list[int]]:
    """The tasks that have an area of a mapping, or whose anonymous pages belong to it; by mapping."""
    users: dict[int, list[int]] = {}
    for mapping, pid in _each(conn, _USERS, "WHERE mapping = ?", ids):
        users.setdefault(mapping, []).append(pid)
    return users


def mappings_between(conn: Connection, mm: int, start: int, end: int) -> set[int]:
    """The mappings of the areas that share a page with [start, end), and of the pages that are mapped there."""
    if start == end:
        return set()
    areas = """SELECT mapping FROM vmas WHERE mm = ?1 AND start < ?3 AND "end" > ?2"""
    mapped = """SELECT DISTINCT p.mapping FROM ptes t CROSS JOIN pages p ON p.id = t.page
WHERE t.mm = ?1 AND t.addr < ?3 AND t.addr + (p.count - 1) * p.step >= ?2"""
    return {row[0] for query in (areas, mapped) for row in conn.execute(query, (mm, start, end))}


def _each(conn: Connection, query: str, condition: str, ids: Iterable[int] | None) -> list[Any]:
    """The rows of a query with a place for a condition: once for each id, or without it."""
    if ids is None:
        return list(conn.execute(query.replace("{}", "")))
    wanted = query.replace("{}", condition)
    return [row for each in sorted(ids) for row in conn.execute(wanted, (each,) * wanted.count("?"))]


class RingRun(NamedTuple):
    """Pages with a ring of buffers; ``run`` are their indexes in the mapping, or addresses in pages."""

    run: Run
    kind: str
    name: str
    node: int | None
    ring: int
    dirty: bool
    locked: bool
    busy: bool


_RING: Final = "p.step, p.count, m.kind, m.name, p.node, b.ring, b.dirty, b.locked IS NOT NULL, b.busy IS NOT NULL"


def rings(conn: Connection) -> list[tuple[int, RingRun]]:
    """All pages with buffers as (mapping, ring), by mapping and index."""
    query = f"""SELECT m.id, p.first, {_RING} FROM buffers b CROSS JOIN pages p ON p.id = b.page
CROSS JOIN mappings m ON m.id = p.mapping ORDER BY m.id, p.first"""
    return [(row[0], _ring(row)) for row in conn.execute(query)]


def rings_between(conn: Connection, mm: int, start: int, end: int) -> list[tuple[int, RingRun]]:
    """The pages with buffers that are mapped in [start, end) as (mapping, ring), by address; runs may reach beyond."""
    query = f"""SELECT m.id, t.addr, {_RING} FROM ptes t CROSS JOIN pages p ON p.id = t.page
CROSS JOIN buffers b ON b.page = p.id CROSS JOIN mappings m ON m.id = p.mapping
WHERE t.mm = ?1 AND t.addr < ?3 AND t.addr + (p.count - 1) * p.step >= ?2 ORDER BY t.addr"""
    return [(row[0], _ring(row)) for row in conn.execute(query, (mm, start, end))]


def _ring(row: Any) -> RingRun:
    return RingRun(Run(*row[1:4]), row[4], row[5], row[6], row[7], bool(row[8]), bool(row[9]), bool(row[10]))


class ObjectPolicy(NamedTuple):
    """The policy of [start, end), page indexes, of a shared object."""

    mapping: int
    name: str
    start: int
    end: int
    policy: Policy


def object_policies(conn: Connection) -> list[ObjectPolicy]:
    """The policies of shared objects, by mapping and index."""
    query = """SELECT s.mapping, m.name, s.first, s."end", p.mode, p.nodes, p.flags, p.mems FROM shared_policies s
JOIN mappings m ON m.id = s.mapping JOIN policies p ON p.id = s.policy ORDER BY s.mapping, s.first"""
    return [ObjectPolicy(row[0], row[1], row[2], row[3], make_policy(*row[4:])) for row in conn.execute(query)]
