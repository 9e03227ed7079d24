"""
The hash of a state: independent of how runs are cut, of row ids and of times.

For each distinct tuple of attributes (natural names, flags, holds, content relative to the index, the sorted ptes
relative to the index) the sum of r^index over its pages modulo a prime is taken; a run is a geometric series, so it
has a closed form. The hash is the sha256 of the sorted (tuple, sum) pairs and of the sorted rows of the small tables.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

from migratectl.storage.connection import Connection

PRIME: Final = (1 << 127) - 1
BASE: Final = 0x5DEECE66D_1B873593_85EBCA6B % PRIME

_PAGES: Final = """SELECT p.id, p.first, p.count, p.step, m.kind,
 CASE WHEN m.kind IN ('anon', 'zero') THEN '' ELSE m.name END, p.node, s.name, p.flags, p.lock, p.pin, p.pins,
 p.writeback, p.parked, p.outside, o.kind, CASE o.kind WHEN 'zero' THEN '' ELSE o.name END, p.origin_first - p.first
FROM pages p JOIN mappings m ON m.id = p.mapping JOIN mappings o ON o.id = p.origin
LEFT JOIN swap_areas s ON s.id = p.area ORDER BY p.id"""
_PTES: Final = """SELECT t.page, (SELECT min(k.pid) FROM tasks k WHERE k.mm = t.mm), t.addr - p.first, t.present,
 t.young, t.dirty, t.writable FROM ptes t JOIN pages p ON p.id = t.page ORDER BY 1, 2, 3"""
_HOLDS: Final = "SELECT page, pid, kind, passes, count FROM holds ORDER BY 1, 2, 3, 4, 5"
_BUFFERS: Final = "SELECT page, ring, dirty, locked, busy, late FROM buffers ORDER BY 1"

_SMALL: Final = {
    "facts": "SELECT format, page_size, profile, possible FROM facts",
    "nodes": "SELECT id, online, cpus, capacity, other, numa_hit, numa_miss, numa_foreign, interleave_hit, local_node,"
    " other_node, weight FROM nodes",
    "distances": "SELECT source, dest, distance FROM distances",
    "cpusets": "SELECT name, cpus, mems, cpu_exclusive, mem_exclusive, memory_migrate, kept FROM cpusets",
    "tasks": "SELECT t.pid, t.name, t.uid, t.cpu, c.name, (SELECT min(k.pid) FROM tasks k WHERE k.mm = t.mm), t.caps,"
    " t.dumpable, p.mode, p.nodes, p.flags, p.mems, t.il_next, t.il_weight,"
    " t.tgid, t.affinity, t.memlock FROM tasks t JOIN cpusets c ON c.id = t.cpuset"
    " LEFT JOIN policies p ON p.id = t.policy",
    "vmas": 'SELECT (SELECT min(k.pid) FROM tasks k WHERE k.mm = v.mm), v.start, v."end", m.kind, m.name, v.delta,'
    ' v.flags, v."order", v.anon_vma > 0, min(v.start) OVER (PARTITION BY v.mm, v.anon_vma), v.forked, p.mode,'
    " p.nodes, p.flags, p.mems FROM vmas v JOIN mappings m ON m.id = v.mapping LEFT JOIN policies p ON p.id = v.policy",
    "labels": 'SELECT (SELECT min(k.pid) FROM tasks k WHERE k.mm = l.mm), l.name, l.start, l."end" FROM labels l',
    "words": "SELECT (SELECT min(k.pid) FROM tasks k WHERE k.mm = w.mm), w.start, w.text FROM words w",
    "mappings": "SELECT kind, name, fs, journal, method, ino, size, ring FROM mappings WHERE kind IN ('file', 'shm')",
    "shared_policies": 'SELECT m.kind, m.name, s.first, s."end", p.mode, p.nodes, p.flags, p.mems,'
    " (SELECT min(k.pid) FROM tasks k WHERE k.mm = s.mm), CASE WHEN s.mm IN (SELECT mm FROM tasks) THEN s.delta END"
    " FROM shared_policies s JOIN mappings m ON m.id = s.mapping JOIN policies p ON p.id = s.policy",
    "swap_areas": "SELECT name, slots FROM swap_areas",
}
"""The small tables by natural keys, without counters that follow from the pages."""


def geometric_sum(first: int, step: int, count: int) -> int:
    """The sum of BASE^(first + k*step) for k < count, modulo PRIME."""
    if count == 1:
        return pow(BASE, first, PRIME)
    ratio = pow(BASE, step, PRIME)
    numerator = pow(ratio, count, PRIME) - 1
    return pow(BASE, first, PRIME) * numerator * pow(ratio - 1, -1, PRIME) % PRIME


def state_hash(conn: Connection) -> str:
    """The hash of the modelled state, 64 hex digits."""
    digest = hashlib.sha256()
    for name, query in _SMALL.items():
        rows = sorted(repr(tuple(row)) for row in conn.execute(query))
        digest.update(f"{name}\n".encode() + "\n".join(rows).encode() + b"\n")
    for attributes, total in sorted(_sums(conn).items()):
        digest.update(f"{attributes} {total}\n".encode())
    return digest.hexdigest()


def _sums(conn: Connection) -> dict[str, int]:
    ptes, held, rings = (_grouped(conn, query) for query in (_PTES, _HOLDS, _BUFFERS))
    sums: dict[str, int] = {}
    for row in conn.execute(_PAGES):
        attributes = repr((*row[4:], *(_take(stream, row[0]) for stream in (ptes, held, rings))))
        sums[attributes] = (sums.get(attributes, 0) + geometric_sum(row[1], row[3], row[2])) % PRIME
    return sums


class _Groups:
    """Rows of a query grouped by page, read forward alongside the pages."""

    def __init__(self, groups: Iterator[tuple[int, list[tuple[Any, ...]]]]) -> None:
        self.groups = groups
        self.head = next(groups, None)


def _grouped(conn: Connection, query: str) -> _Groups:
    rows = conn.execute(query)
    return _Groups((page, [tuple(row[1:]) for row in group]) for page, group in groupby(rows, key=lambda row: row[0]))


def _take(stream: _Groups, page: int) -> list[tuple[Any, ...]]:
    while stream.head is not None and stream.head[0] < page:
        stream.head = next(stream.groups, None)
    return stream.head[1] if stream.head is not None and stream.head[0] == page else []
