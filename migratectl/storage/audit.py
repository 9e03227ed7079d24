"""The invariants of a state (semantics.md 1.9, runs of pages, counters), as questions to the database."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from migratectl.runs import Run, clusters
from migratectl.storage.connection import Connection
from migratectl.storage.reach import reach
from migratectl.storage.vmas import area_of
from migratectl.uapi import VM


class Rule(NamedTuple):
    """An invariant: its number or name, what a row that breaks it says, and the query that finds such rows."""

    name: str
    sentence: str
    query: str


RULES: Final = (
    Rule(
        "INV-03",
        "swap area {0}: slots counted as used: {1}, pages that have one: {2}",
        "SELECT name, used, (SELECT coalesce(sum(count), 0) FROM pages WHERE area = s.id) AS held FROM swap_areas s"
        " WHERE used <> held ORDER BY s.id",
    ),
    Rule(
        "INV-05",
        "page row {0}: a cache page of '{1}' at index {2}, and the pages of the file: {3}",
        "SELECT p.id, m.name, p.next - p.step, m.size FROM pages p JOIN mappings m ON m.id = p.mapping"
        " WHERE m.kind IN ('file', 'shm') AND p.next - p.step >= m.size ORDER BY p.id",
    ),
    Rule(
        "INV-05",
        "page row {0}: is mapped at page {2} of address space {1}, and no file has it any more",
        "SELECT p.id, t.mm, t.addr FROM pages p JOIN mappings m ON m.id = p.mapping JOIN ptes t ON t.page = p.id"
        " WHERE m.kind = 'none' ORDER BY p.id, t.mm, t.addr",
    ),
    Rule(
        "INV-06",
        "page row {0}: mapped by address space {1} at page {2}, but it belongs to another family or index",
        "SELECT p.id, t.mm, t.addr FROM pages p JOIN mappings m ON m.id = p.mapping JOIN ptes t ON t.page = p.id"
        f" JOIN mms a ON a.id = t.mm LEFT JOIN vmas v ON {area_of('t')}"
        " WHERE CASE m.kind WHEN 'anon' THEN p.mapping <> a.anon WHEN 'zero' THEN 0 ELSE p.mapping <> v.mapping END"
        " OR (m.kind <> 'zero' AND p.first <> t.addr + v.delta) ORDER BY p.id, t.mm, t.addr",
    ),
    Rule(
        "INV-07",
        "page row {0}: has {1} buffers, and a page of its mapping has {2}",
        "SELECT b.page, b.ring, m.ring FROM buffers b JOIN pages p ON p.id = b.page JOIN mappings m ON m.id = p.mapping"
        " WHERE b.ring <> m.ring ORDER BY b.page",
    ),
    Rule(
        "INV-07",
        "page row {0}: has buffers and a swap entry, both of which need its private field",
        "SELECT b.page FROM buffers b JOIN pages p ON p.id = b.page WHERE p.area IS NOT NULL ORDER BY b.page",
    ),
    Rule(
        "INV-09",
        "page row {0}: its lock, pin, writeback or parked columns differ from its holds",
        "SELECT p.id FROM pages p LEFT JOIN (SELECT page, max(CASE kind WHEN 'lock' THEN passes END) AS l,"
        " max(CASE kind WHEN 'pin' THEN passes END) AS n, max(CASE kind WHEN 'writeback' THEN passes END) AS w,"
        " coalesce(sum(CASE kind WHEN 'pin' THEN count END), 0) AS c, max(kind = 'park') AS k FROM holds"
        " GROUP BY page) h ON h.page = p.id WHERE p.lock IS NOT h.l OR p.pin IS NOT h.n OR p.writeback IS NOT h.w"
        " OR p.pins <> coalesce(h.c, 0) OR p.parked <> coalesce(h.k, 0) ORDER BY p.id",
    ),
    Rule(
        "INV-10",
        "node {0}: pages counted as used: {1}, pages on it: {2}",
        "SELECT n.id, n.used, coalesce(h.total, 0) FROM nodes n LEFT JOIN (SELECT node, sum(count) AS total FROM pages"
        " GROUP BY node) h ON h.node = n.id WHERE n.used <> coalesce(h.total, 0) ORDER BY n.id",
    ),
    Rule(
        "INV-10",
        "address space {0}: pages counted as present on node {1}: {2}, there are: {3}",
        "SELECT mm, node, sum(counted), sum(there) FROM (SELECT mm, node, pages AS counted, 0 AS there FROM resident"
        " UNION ALL SELECT t.mm, p.node, 0, p.count FROM ptes t JOIN pages p ON p.id = t.page"
        " WHERE t.present AND p.node IS NOT NULL) GROUP BY mm, node HAVING sum(counted) <> sum(there) ORDER BY 1, 2",
    ),
    Rule(
        "INV-10",
        "page row {0}: lies on node {1}, which is offline",
        "SELECT p.id, p.node FROM pages p JOIN nodes n ON n.id = p.node WHERE NOT n.online ORDER BY p.id",
    ),
    Rule(
        "INV-13",
        "address space {0}: the areas at pages {1} and {2} overlap",
        "SELECT a.mm, a.start, b.start FROM vmas a JOIN vmas b ON b.mm = a.mm AND b.start > a.start"
        ' AND b.start < a."end" ORDER BY a.mm, a.start, b.start',
    ),
    Rule(
        "INV-13",
        "address space {0}: the ptes at page {1} reach beyond an area",
        f"SELECT t.mm, t.addr FROM ptes t JOIN pages p ON p.id = t.page LEFT JOIN vmas v ON {area_of('t')}"
        ' WHERE v.start IS NULL OR t.addr + (p.count - 1) * p.step >= v."end" ORDER BY t.mm, t.addr',
    ),
    Rule(
        "INV-13",
        "address space {0}: the ptes at page {1} are not indexed by how far their run reaches",
        "SELECT t.mm, t.addr FROM ptes t JOIN pages p ON p.id = t.page"
        f" WHERE t.reach <> {reach('p.count', 'p.step')} ORDER BY t.mm, t.addr",
    ),
    Rule(
        "INV-14",
        "address space {0}: the area at page {1} is raw or of device memory, yet maps page row {2}",
        "SELECT v.mm, v.start, t.page FROM vmas v JOIN ptes t ON t.mm = v.mm AND t.addr >= v.start"
        f' AND t.addr < v."end" WHERE v.flags & {int(VM.IO | VM.PFNMAP)} ORDER BY v.mm, v.start, t.addr',
    ),
    Rule(
        "INV-15",
        "page row {0}: an anonymous page is under writeback outside the swap cache",
        "SELECT p.id FROM pages p JOIN mappings m ON m.id = p.mapping"
        " WHERE m.kind = 'anon' AND p.writeback IS NOT NULL AND p.area IS NULL ORDER BY p.id",
    ),
    Rule(
        "INV-16",
        "page row {0}: its content is neither on a node nor in swap",
        "SELECT p.id FROM pages p JOIN mappings m ON m.id = p.mapping"
        " WHERE m.kind <> 'zero' AND p.node IS NULL AND p.area IS NULL ORDER BY p.id",
    ),
    Rule(
        "INV-16",
        "address space {0}: the ptes at page {1} say present or swapped, and the page is not",
        "SELECT t.mm, t.addr FROM ptes t JOIN pages p ON p.id = t.page JOIN mappings m ON m.id = p.mapping"
        " WHERE (t.present AND p.node IS NULL AND m.kind <> 'zero') OR (NOT t.present AND p.area IS NULL)"
        " ORDER BY t.mm, t.addr",
    ),
    Rule(
        "INV-19",
        "page row {0}: its content is that of page {2}, not of page {1}",
        "SELECT id, first, origin_first FROM pages WHERE origin = mapping AND origin_first <> first ORDER BY id",
    ),
    Rule(
        "INV-19",
        "page row {0}: the mapping that its content came from is gone",
        "SELECT id FROM pages WHERE origin NOT IN (SELECT id FROM mappings) ORDER BY id",
    ),
    Rule(
        "run-unmapped",
        "page row {0}: anonymous pages that nobody maps and nobody holds",
        "SELECT p.id FROM pages p JOIN mappings m ON m.id = p.mapping WHERE m.kind IN ('anon', 'zero') AND p.pins = 0"
        " AND NOT p.parked AND NOT EXISTS (SELECT 1 FROM ptes t WHERE t.page = p.id) ORDER BY p.id",
    ),
    Rule(
        "run-unmapped",
        "page row {0}: pages that no file has any more and nobody holds",
        "SELECT p.id FROM pages p JOIN mappings m ON m.id = p.mapping WHERE m.kind = 'none' AND p.pins = 0"
        " AND NOT p.parked AND NOT EXISTS (SELECT 1 FROM buffers b WHERE b.page = p.id) ORDER BY p.id",
    ),
    Rule(
        "run-shape",
        "page row {0}: pages: {1}, at step {2}",
        "SELECT id, count, step FROM pages WHERE count < 1 OR step < 1 OR (count = 1 AND step <> 1) ORDER BY id",
    ),
    Rule(
        "label",
        "address space {0}: the label '{1}' names a range without areas",
        "SELECT l.mm, l.name FROM labels l WHERE NOT EXISTS (SELECT 1 FROM vmas v WHERE v.mm = l.mm"
        ' AND v.start < l."end" AND v."end" > l.start) ORDER BY l.mm, l.name',
    ),
    Rule(
        "reference",
        "table {0}: row {1} refers to a row of {2} that is not there",
        'SELECT "table", coalesce(rowid, 0), parent FROM pragma_foreign_key_check ORDER BY 1, 2, 3',
    ),
)
"""Everything that a wrong program can break, in the order in which it is reported."""

_TABLES: Final = ("nodes", "tasks", "mms", "vmas", "mappings", "page_rows", "pages", "ptes", "holds", "swap_areas")


def counts(conn: Connection) -> dict[str, int]:
    """What there is to check: rows by table, and pages."""
    found = {}
    for name in _TABLES:
        query = {"pages": "SELECT coalesce(sum(count), 0) FROM pages", "page_rows": "SELECT count(*) FROM pages"}
        found[name] = int(conn.execute(query.get(name, f"SELECT count(*) FROM {name}")).scalar_one())
    return found


def broken(conn: Connection) -> Iterator[tuple[str, str]]:
    """(invariant, sentence) for each row that breaks one."""
    for rule in RULES:
        for row in conn.execute(rule.query):
            yield rule.name, rule.sentence.format(*row)


def overlaps(conn: Connection) -> Iterator[tuple[str, str]]:
    """Two ptes at one address of an address space, and two cache pages at one index of a file."""
    query = "SELECT t.mm, t.addr, p.step, p.count FROM ptes t JOIN pages p ON p.id = t.page ORDER BY 1, 2"
    for mm, at in _collisions(conn.execute(query)):
        yield "INV-13", f"address space {mm}: two ptes at page {at}"
    files = """SELECT p.mapping, p.first, p.step, p.count FROM pages p JOIN mappings m ON m.id = p.mapping
WHERE m.kind IN ('file', 'shm') ORDER BY 1, 2"""
    for mapping, at in _collisions(conn.execute(files)):
        yield "INV-05", f"mapping {mapping}: two pages at index {at}"


def _collisions(rows: Iterable[Sequence[Any]]) -> Iterator[tuple[int, int]]:
    """(owner, page number) that two runs of one owner share; rows are (owner, start, step, count), sorted."""
    owner: int | None = None
    runs: list[Run] = []
    for row in [*rows, (None, 0, 1, 1)]:
        if row[0] != owner:
            if owner is not None:
                yield from ((owner, at) for at in _shared(runs))
            owner, runs = row[0], []
        runs.append(Run(row[1], row[2], row[3]))


def _shared(runs: Sequence[Run]) -> Iterator[int]:
    for group in clusters(runs):
        for k, run in enumerate(group):
            for other in group[k + 1 :]:
                at = _meeting(run, other)
                if at is not None:
                    yield at


def _meeting(a: Run, b: Run) -> int | None:
    """The lowest page number that two runs share."""
    if (b.start - a.start) % math.gcd(a.step, b.step):
        return None
    period = math.lcm(a.step, b.step)
    low, high = max(a.start, b.start), min(a.last, b.last)
    for at in range(a.start + (-((a.start - low) // a.step)) * a.step, min(low + period, high + 1), a.step):
        if (at - b.start) % b.step == 0:
            return at
    return None


def interleave_positions(conn: Connection) -> list[tuple[int, int | None, str]]:
    """(pid, next node, policy's nodes) of the tasks whose policy interleaves."""
    query = """SELECT t.pid, t.il_next, p.nodes FROM tasks t JOIN policies p ON p.id = t.policy
WHERE p.mode IN ('interleave', 'weighted-interleave') ORDER BY t.pid"""
    return [(pid, nid, text) for pid, nid, text in conn.execute(query)]


def cpusets(conn: Connection) -> list[tuple[str, str]]:
    """(name, mems) of all cpusets, by name."""
    return [(name, mems) for name, mems in conn.execute("SELECT name, mems FROM cpusets ORDER BY name")]
