"""
Page runs and their ptes: cutting, dealing, laying and dropping them, as statements over sets.

``part`` holds the pieces to cut off runs: piece ``seq`` is the pages k, k + stride, … of row ``page``, ``count`` of
them; ``rest`` says what stays of each row. split() and deal() differ only in how they fill the two. A page row is
content: cutting it gives the piece a new row, a pte of every address space that maps it, its holds and its buffers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from migratectl.runs import Run
from migratectl.storage import resident
from migratectl.storage.connection import Connection
from migratectl.storage.reach import covering_ptes, reach, reach_of
from migratectl.storage.work import pick, write, write_many
from migratectl.uapi import PG

_DIRTY: Final = int(PG.DIRTY)

SHARED_COLUMNS: Final = (
    "mapping", "node", "area", "flags", "lock", "pin", "pins", "writeback", "parked", "outside", "origin",
)  # fmt: skip
"""Columns that all pages of a run share and a piece inherits."""

LARGEST_STEP: Final = 128
"""How far apart pages of a run may be that is looked for beside a single page or an area's border."""

_RANGE: Final = "t.mm = ? AND t.addr >= ? AND t.addr < ?"
_COLUMNS = ", ".join(SHARED_COLUMNS)
_INHERITED = ", ".join(f"p.{name}" for name in SHARED_COLUMNS)

_CUT_PAGES = f"""INSERT INTO pages(id, first, count, step, origin_first, {_COLUMNS})
SELECT ?1 + c.seq, p.first + c.k * p.step, c.count, CASE c.count WHEN 1 THEN 1 ELSE p.step * c.stride END,
 p.origin_first + c.k * p.step, {_INHERITED}
FROM part c CROSS JOIN pages p ON p.id = c.page"""
_CUT_PTES = f"""INSERT INTO ptes(mm, addr, page, present, young, dirty, writable, reach)
SELECT t.mm, t.addr + c.k * p.step, ?1 + c.seq, t.present, t.young, t.dirty, t.writable,
 {reach("c.count", "(p.step * c.stride)")}
FROM part c CROSS JOIN pages p ON p.id = c.page CROSS JOIN ptes t ON t.page = c.page"""
_CUT_HOLDS = """INSERT INTO holds(page, pid, kind, passes, count)
SELECT ?1 + c.seq, h.pid, h.kind, h.passes, h.count FROM part c CROSS JOIN holds h ON h.page = c.page"""
_CUT_BUFFERS = """INSERT INTO buffers(page, ring, dirty, locked, busy, late)
SELECT ?1 + c.seq, b.ring, b.dirty, b.locked, b.busy, b.late FROM part c CROSS JOIN buffers b ON b.page = c.page"""
_SHRINK = """UPDATE pages SET
 step = (SELECT CASE r.count WHEN 1 THEN 1 ELSE pages.step * r.stride END FROM rest r WHERE r.page = pages.id),
 count = (SELECT r.count FROM rest r WHERE r.page = pages.id)
WHERE id IN (SELECT page FROM rest)"""
_SHRINK_PTES = f"""UPDATE ptes SET reach = (SELECT {reach("p.count", "p.step")} FROM pages p WHERE p.id = ptes.page)
WHERE reach > 0 AND page IN (SELECT page FROM rest)"""
_REST_OF_SPLIT = "INSERT INTO rest(page, stride, count) SELECT page, 1, k FROM part"

_CROSSING = f"""INSERT INTO part(page, k, stride, count)
SELECT t.page, min((?3 - t.addr + p.step - 1) / p.step), 1, p.count - min((?3 - t.addr + p.step - 1) / p.step)
{covering_ptes("?1", "?3", "?2")} GROUP BY t.page"""


def cut_parts(conn: Connection) -> int:
    """Cut the pieces in ``part`` off their rows. The number to which a piece's ``seq`` adds up to its row id."""
    offset = last_row(conn)
    for statement in (_CUT_PAGES, _CUT_PTES, _CUT_HOLDS, _CUT_BUFFERS):
        write(conn, statement, (offset,))
    write(conn, _SHRINK)
    write(conn, _SHRINK_PTES)
    return offset


def _cut_and_clear(conn: Connection) -> int:
    offset = cut_parts(conn)
    clear_parts(conn)
    return offset


def clear_parts(conn: Connection) -> None:
    """Empty ``part`` and ``rest``: they are empty between two uses."""
    conn.execute("DELETE FROM part")
    conn.execute("DELETE FROM rest")


def split(conn: Connection, cuts: Iterable[tuple[int, int]]) -> list[int]:
    """
    Cut page runs in two.

    Args:
        conn: The connection of the transaction.
        cuts: (page row, ordinal) pairs, 0 < ordinal < count, a row once.

    Returns:
        The rows of the upper parts, in the order of *cuts*.
    """
    rows = list(cuts)
    if not rows:
        return []
    conn.execute_many(
        "INSERT INTO part(page, k, stride, count) SELECT id, ?2, 1, count - ?2 FROM pages WHERE id = ?1", rows
    )
    conn.execute(_REST_OF_SPLIT)
    offset = _cut_and_clear(conn)
    return [offset + k for k in range(1, len(rows) + 1)]


def deal(conn: Connection, page: int, nr: int) -> list[int]:
    """
    Deal a page run into its *nr* residue classes: class r has the pages r, r + nr, … of it.

    Returns:
        The rows of the classes 0, 1, …; fewer than *nr* where the run has fewer pages.
    """
    count = conn.execute("SELECT count FROM pages WHERE id = ?", (page,)).scalar_one()
    classes = [(r, -((r - count) // nr)) for r in range(min(nr, count))]
    if len(classes) < 2:
        return [page]
    conn.execute_many(
        "INSERT INTO part(page, k, stride, count) VALUES (?, ?, ?, ?)", [(page, r, nr, n) for r, n in classes[1:]]
    )
    conn.execute("INSERT INTO rest VALUES (?, ?, ?)", (page, nr, classes[0][1]))
    offset = _cut_and_clear(conn)
    return [page, *(offset + k for k in range(1, len(classes)))]


def cut_address(conn: Connection, mm: int, at: int) -> None:
    """Cut every run that *mm* maps across page address *at*, so that no pte has pages on both sides."""
    area = conn.execute("SELECT max(start) FROM vmas WHERE mm = ? AND start <= ?", (mm, at)).scalar()
    if area is None or area == at:
        return
    while True:  # once, but for a page that the task maps at two addresses
        if conn.execute(_CROSSING, (mm, area, at)).rowcount <= 0:
            return
        conn.execute(_REST_OF_SPLIT)
        _cut_and_clear(conn)


def cut_range(conn: Connection, mm: int, start: int, end: int) -> None:
    """Cut as cut_address() does, at both ends of a range."""
    for at in (start, end):
        cut_address(conn, mm, at)


class MappedRun(NamedTuple):
    """A pte row with the page row that it maps; addresses in pages. ``node`` is None for swapped and zero pages."""

    page: int
    addr: int
    step: int
    nr_pages: int
    kind: str
    node: int | None
    area: int | None
    flags: int
    lock: int | None
    pins: int
    writeback: int | None
    parked: int
    outside: int
    present: int
    young: int
    dirty: int
    writable: int
    ptes: int

    @property
    def run(self) -> Run:
        """Its addresses."""
        return Run(self.addr, self.step, self.nr_pages)

    @property
    def mapcount(self) -> int:
        """Present ptes of each of its pages, with those of mappers outside the state; 0 where it is in swap only."""
        return 0 if self.node is None and self.kind != "zero" else self.ptes + self.outside

    @property
    def state(self) -> str:
        """``present``, ``swapped`` or ``zero``."""
        if self.kind == "zero":
            return "zero"
        return "present" if self.present else "swapped"


_MAPPED = f"""SELECT t.page, t.addr, p.step, p.count, m.kind, p.node, p.area, p.flags, p.lock, p.pins, p.writeback,
 p.parked, p.outside, t.present, t.young, t.dirty, t.writable,
 (SELECT count(*) FROM ptes x WHERE x.page = p.id AND x.present)
FROM (SELECT t.addr {covering_ptes("?1", "?4", "?2")} UNION ALL
 SELECT addr FROM ptes WHERE mm = ?1 AND addr >= max(?2, ?4) AND addr < ?3) c CROSS JOIN ptes t ON t.mm = ?1
 AND t.addr = c.addr CROSS JOIN pages p ON p.id = t.page CROSS JOIN mappings m ON m.id = p.mapping ORDER BY t.addr"""


def mapped(conn: Connection, mm: int, area: tuple[int, int], start: int, end: int) -> list[MappedRun]:
    """The runs of an area that have a page in [start, end), by lowest address; they may reach beyond."""
    rows = conn.execute(_MAPPED, (mm, area[0], min(end, area[1]), start))
    return [MappedRun(*row) for row in rows]


def reaching(conn: Connection, mm: int, at: int, low: int) -> list[int]:
    """Where the runs begin, from *low* on, that begin before an address and reach it or beyond."""
    return conn.execute(f"SELECT t.addr {covering_ptes('?1', '?2', '?3')} ORDER BY 1", (mm, at, low)).scalars()


def spans(conn: Connection, mm: int, start: int, end: int) -> list[Run]:
    """The addresses of all ptes in [start, end); the ptes must have been cut there."""
    query = """SELECT t.addr, p.step, p.count FROM ptes t CROSS JOIN pages p ON p.id = t.page
WHERE t.mm = ? AND t.addr >= ? AND t.addr < ? ORDER BY t.addr"""
    return [Run(*row) for row in conn.execute(query, (mm, start, end))]


def mapped_total(conn: Connection, mm: int, start: int, end: int) -> int:
    """How many pages have a pte in [start, end); the ptes must have been cut there."""
    query = """SELECT coalesce(sum(p.count), 0) FROM ptes t CROSS JOIN pages p ON p.id = t.page
WHERE t.mm = ? AND t.addr >= ? AND t.addr < ?"""
    return int(conn.execute(query, (mm, start, end)).scalar_one())


@dataclass(frozen=True, slots=True)
class Laid:
    """
    Fresh pages at the addresses of ``run`` on ``node`` (None: zero pages).

    ``origin`` is the content of the first page: the mapping and index that it came from; None: zero-filled here.
    """

    run: Run
    node: int | None
    origin: tuple[int, int] | None = None


def lay(
    conn: Connection,
    mm: int,
    mapping: int,
    delta: int,
    pieces: Sequence[Laid],
    *,
    flags: int,
    bits: tuple[int, int, int],
) -> list[int]:
    """
    New pages and a pte for each.

    Args:
        conn: The connection of the transaction.
        mm: The address space.
        mapping: The mapping that the pages belong to.
        delta: Page index minus address.
        pieces: Where, and on which node.
        flags: Page flags.
        bits: Young, dirty, writable of the ptes.

    Returns:
        The new page rows, in the order of *pieces*.
    """
    offset = last_row(conn)
    ids = range(offset + 1, offset + 1 + len(pieces))
    write_many(
        conn,
        "INSERT INTO pages(id, mapping, first, count, step, node, flags, origin, origin_first)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (row, mapping, p.run.start + delta, p.run.nr_pages, p.run.step, p.node, flags)
            + (p.origin or (mapping, p.run.start + delta))
            for row, p in zip(ids, pieces, strict=True)
        ],
    )
    write_many(
        conn,
        "INSERT INTO ptes(mm, addr, page, present, young, dirty, writable, reach) VALUES (?, ?, ?, 1, ?, ?, ?, ?)",
        [(mm, p.run.start, row, *bits, reach_of(p.run)) for row, p in zip(ids, pieces, strict=True)],
    )
    laid: dict[int, int] = {}
    for p in pieces:
        if p.node is not None:
            laid[p.node] = laid.get(p.node, 0) + p.run.nr_pages
    resident.add(conn, mm, laid)
    return list(ids)


def fork_ptes(conn: Connection, mm: int, copy: int, area: tuple[int, int], *, private: bool) -> None:
    """
    Copy the ptes of an area to the same addresses of another address space, present and swapped ones.

    Args:
        conn: The connection of the transaction.
        mm: Whose they are.
        copy: The new address space; its ptes are old.
        area: [start, end) in pages.
        private: The ptes of both are write-protected.
    """
    write(
        conn,
        f"""INSERT INTO ptes(mm, addr, page, present, young, dirty, writable, reach)
SELECT ?, t.addr, t.page, t.present, 0, t.dirty, {"0" if private else "t.writable"}, t.reach
FROM ptes t CROSS JOIN pages p ON p.id = t.page CROSS JOIN mappings m ON m.id = p.mapping
WHERE t.mm = ? AND t.addr >= ? AND t.addr < ? AND m.kind <> 'zero'""",
        (copy, mm, *area),
    )
    resident.enter(conn, _RANGE, (copy, *area))
    if private:
        write_protect(conn, mm, *area)


def fork_zero_pages(conn: Connection, mm: int, copy: int, areas: Iterable[tuple[int, int]], own: int) -> None:
    """
    Map zero pages of another address space where *mm* maps some in *areas*: rows of their own, in mapping *own*.

    So the neighbours of a zero page are looked for among those of one address space.
    """
    listed = """INSERT INTO part(page, k, stride, count) SELECT t.page, t.addr, p.step, p.count
FROM ptes t CROSS JOIN pages p ON p.id = t.page CROSS JOIN mappings m ON m.id = p.mapping
WHERE t.mm = ? AND t.addr >= ? AND t.addr < ? AND m.kind = 'zero'"""
    for area in areas:
        conn.execute(listed, (mm, *area))
    offset = last_row(conn)
    write(
        conn,
        """INSERT INTO pages(id, mapping, first, count, step, origin, origin_first)
SELECT ?1 + c.seq, ?2, c.k, c.count, c.stride, ?2, c.k FROM part c""",
        (offset, own),
    )
    far = reach("c.count", "c.stride")
    write(conn, f"INSERT INTO ptes(mm, addr, page, reach) SELECT ?, c.k, ? + c.seq, {far} FROM part c", (copy, offset))
    clear_parts(conn)


def write_protect(conn: Connection, mm: int, start: int, end: int) -> None:
    """Take write permission off all ptes in [start, end); the ptes must have been cut there."""
    write(conn, "UPDATE ptes SET writable = 0 WHERE mm = ? AND addr >= ? AND addr < ? AND writable", (mm, start, end))


def last_row(conn: Connection) -> int:
    """The highest row id that a page run ever had; row ids are never reused."""
    query = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'pages'"
    return int(conn.execute(query).scalar_one())


def rows_between(conn: Connection, mm: int, start: int, end: int, limit: int) -> list[int]:
    """The page rows whose ptes start in [start, end), at most *limit* of them."""
    query = "SELECT page FROM ptes WHERE mm = ? AND addr >= ? AND addr < ? LIMIT ?"
    return [page for (page,) in conn.execute(query, (mm, start, end, limit))]


def rows_around(conn: Connection, mm: int, borders: Iterable[int]) -> set[int]:
    """The page rows on both sides of addresses at which areas were joined, strided ones included."""
    area = "(SELECT coalesce(max(start), 0) FROM vmas WHERE mm = ?1 AND start < ?2)"
    query = f"""SELECT t.page {covering_ptes("?1", f"(?2 - {LARGEST_STEP})", area)} UNION ALL
SELECT page FROM ptes WHERE mm = ?1 AND addr >= max(?2 - {LARGEST_STEP}, {area}) AND addr < ?2 + {LARGEST_STEP}"""
    return {page for at in borders for (page,) in conn.execute(query, (mm, at))}


class ProtectedRun(NamedTuple):
    """
    A write-protected run that a write cannot take over in place: zero pages, or pages to copy.

    ``last``: nobody else refers to its pages, so each is freed when it has been copied; ``entry``: they are in the swap
    cache, whose slots are free then.
    """

    page: int
    addr: int
    step: int
    nr_pages: int
    kind: str
    present: int
    origin: int
    origin_first: int
    node: int | None
    last: int
    entry: int

    @property
    def run(self) -> Run:
        """Its addresses."""
        return Run(self.addr, self.step, self.nr_pages)


_PROTECTED = """SELECT t.page, t.addr, p.step, p.count, m.kind, t.present, p.origin, p.origin_first, p.node,
 p.node IS NOT NULL AND p.pins = 0 AND NOT p.parked AND p.outside = 0
 AND (SELECT count(*) FROM ptes x WHERE x.page = p.id) = 1, t.present AND p.area IS NOT NULL
FROM ptes t CROSS JOIN pages p ON p.id = t.page CROSS JOIN mappings m ON m.id = p.mapping
WHERE t.mm = ? AND t.addr >= ? AND t.addr < ? AND NOT t.writable AND (m.kind <> 'anon' OR NOT t.present
 OR p.lock IS NOT NULL OR p.outside > 0 OR (SELECT count(*) FROM ptes x WHERE x.page = p.id) > 1)
ORDER BY t.addr"""


def protected(conn: Connection, mm: int, start: int, end: int) -> list[ProtectedRun]:
    """The write-protected runs in [start, end) that a write must replace: zero, locked, shared or swapped pages."""
    return [ProtectedRun(*row) for row in conn.execute(_PROTECTED, (mm, start, end))]


def swapped_between(conn: Connection, mm: int, start: int, end: int) -> int:
    """Pages in [start, end) that have a swap pte."""
    query = """SELECT coalesce(sum(p.count), 0) FROM ptes t CROSS JOIN pages p ON p.id = t.page
WHERE t.mm = ? AND t.addr >= ? AND t.addr < ? AND NOT t.present"""
    return int(conn.execute(query, (mm, start, end)).scalar_one())


def unprotect(conn: Connection, mm: int, start: int, end: int) -> int:
    """Take all write-protected present ptes in [start, end) over in place. Pages that were."""
    scope = "mm = ? AND addr >= ? AND addr < ? AND present AND NOT writable"
    query = f"SELECT coalesce(sum(p.count), 0) FROM ptes t CROSS JOIN pages p ON p.id = t.page WHERE {scope}"
    nr = int(conn.execute(query, (mm, start, end)).scalar_one())
    if nr:
        write(conn, f"UPDATE ptes SET writable = 1 WHERE {scope}", (mm, start, end))
    return nr


def touch(conn: Connection, mm: int, start: int, end: int, *, write_access: bool) -> None:
    """Set the young bit, and on a write the dirty bit of writable ptes, of all present ptes in [start, end)."""
    scope = "mm = ? AND addr >= ? AND addr < ? AND present"
    write(conn, f"UPDATE ptes SET young = 1 WHERE {scope} AND NOT young", (mm, start, end))
    if write_access:
        write(conn, f"UPDATE ptes SET dirty = 1 WHERE {scope} AND writable AND NOT dirty", (mm, start, end))


@dataclass(frozen=True, slots=True)
class Freed:
    """Pages given back by node, and swap slots by area."""

    nodes: Mapping[int, int]
    areas: Mapping[int, int]


_IDLE = """FROM pages WHERE id IN (SELECT page FROM picked)
 AND NOT EXISTS (SELECT 1 FROM ptes t WHERE t.page = pages.id) AND pins = 0 AND NOT parked
 AND (SELECT m.kind FROM mappings m WHERE m.id = pages.mapping) IN ('anon', 'zero', 'none')
 AND NOT EXISTS (SELECT 1 FROM buffers b WHERE b.page = pages.id)"""


def drop_range(conn: Connection, mm: int, start: int, end: int) -> Freed:
    """
    Drop all ptes in [start, end) and what nobody maps any more; the ptes must have been cut there.

    A pinned page stays, without a pte. Cache pages of files stay.
    """
    conn.execute("DELETE FROM picked")
    conn.execute(
        "INSERT OR IGNORE INTO picked SELECT page FROM ptes WHERE mm = ? AND addr >= ? AND addr < ?", (mm, start, end)
    )
    dirty = f"""UPDATE pages SET flags = flags | {_DIRTY} WHERE NOT flags & {_DIRTY} AND id IN (SELECT page FROM ptes
 WHERE mm = ? AND addr >= ? AND addr < ? AND dirty)
 AND (SELECT m.kind FROM mappings m WHERE m.id = pages.mapping) <> 'anon'"""
    write(conn, dirty, (mm, start, end))
    rings = """UPDATE buffers SET dirty = 1 WHERE NOT dirty AND page IN (SELECT page FROM ptes
 WHERE mm = ? AND addr >= ? AND addr < ? AND dirty)"""
    write(conn, rings, (mm, start, end))
    resident.leave(conn, _RANGE, (mm, start, end))
    write(conn, "DELETE FROM ptes WHERE mm = ? AND addr >= ? AND addr < ?", (mm, start, end))
    return free_idle(conn)


def drop_ptes(conn: Connection, mm: int, addresses: Iterable[int]) -> Freed:
    """Drop single pte rows, by lowest address, and what nobody maps any more."""
    wanted = [(mm, addr) for addr in addresses]
    found = [conn.execute("SELECT page FROM ptes WHERE mm = ? AND addr = ?", key).scalar_one() for key in wanted]
    pick(conn, found)
    gone = json.dumps([addr for _, addr in wanted])
    resident.leave(conn, "t.mm = ? AND t.addr IN (SELECT value FROM json_each(?))", (mm, gone))
    write_many(conn, "DELETE FROM ptes WHERE mm = ? AND addr = ?", wanted)
    return free_idle(conn)


def free_idle(conn: Connection) -> Freed:
    """Free the pages of ``picked`` that are of no file and have neither pte nor pin, with locks and swap slots."""
    left = _leave_swap_cache(conn)
    conn.execute(f"DELETE FROM picked WHERE page NOT IN (SELECT id {_IDLE})")
    freed = free_picked(conn)
    return Freed(freed.nodes, {area: left.get(area, 0) + freed.areas.get(area, 0) for area in {*left, *freed.areas}})


def free_picked(conn: Connection) -> Freed:
    """Free all pages of ``picked``, which nobody maps, with their holds, buffers and swap slots."""
    nodes: dict[int, int] = {}
    areas: dict[int, int] = {}
    query = "SELECT p.node, p.area, sum(p.count) FROM picked c CROSS JOIN pages p ON p.id = c.page GROUP BY 1, 2"
    for node, area, count in conn.execute(query).all():
        if node is not None:
            nodes[node] = nodes.get(node, 0) - count
        if area is not None:
            areas[area] = areas.get(area, 0) - count
    write(conn, "DELETE FROM holds WHERE page IN (SELECT page FROM picked)")
    write(conn, "DELETE FROM buffers WHERE page IN (SELECT page FROM picked)")
    write(conn, "DELETE FROM pages WHERE id IN (SELECT page FROM picked)")
    write_many(conn, "UPDATE swap_areas SET used = used + ? WHERE id = ?", [(nr, area) for area, nr in areas.items()])
    return Freed(nodes, areas)


def _leave_swap_cache(conn: Connection) -> dict[int, int]:
    """
    Pinned anonymous pages of ``picked`` that lost their last pte lose their swap entry with it; slots by area.

    There is nothing to write them to then: writeback is over (INV-15).
    """
    held = """FROM pages WHERE id IN (SELECT page FROM picked) AND (pins > 0 OR parked)
 AND area IS NOT NULL AND node IS NOT NULL AND NOT EXISTS (SELECT 1 FROM ptes t WHERE t.page = pages.id)
 AND (SELECT m.kind FROM mappings m WHERE m.id = pages.mapping) = 'anon'"""
    areas: dict[int, int] = {}
    for area, count in conn.execute(f"SELECT area, sum(count) {held} GROUP BY area").all():
        areas[area] = -count
        ended = f"DELETE FROM holds WHERE kind = 'writeback' AND page IN (SELECT id {held} AND area = ?)"
        write(conn, ended, (area,))
        write(
            conn, f"UPDATE pages SET area = NULL, writeback = NULL WHERE id IN (SELECT id {held} AND area = ?)", (area,)
        )
        write(conn, "UPDATE swap_areas SET used = used - ? WHERE id = ?", (count, area))
    return areas


def total(conn: Connection, rows: Iterable[int]) -> int:
    """Pages of page rows."""
    pick(conn, rows)
    query = "SELECT coalesce(sum(count), 0) FROM pages WHERE id IN (SELECT page FROM picked)"
    return int(conn.execute(query).scalar_one())


class Orphan(NamedTuple):
    """Anonymous pages that nobody maps any more, kept by the pins of a task."""

    pid: int
    pages: int


def total_on(conn: Connection, node: int) -> int:
    """Pages that lie on a node, as the pages themselves say."""
    return int(conn.execute("SELECT coalesce(sum(count), 0) FROM pages WHERE node = ?", (node,)).scalar_one())


def orphans_on(conn: Connection, node: int) -> list[Orphan]:
    """Pinned pages on a node without any pte, by holder."""
    query = """SELECT h.pid, sum(p.count) FROM pages p JOIN holds h ON h.page = p.id AND h.kind IN ('pin', 'park')
WHERE p.node = ? AND NOT EXISTS (SELECT 1 FROM ptes t WHERE t.page = p.id) GROUP BY h.pid ORDER BY h.pid"""
    return [Orphan(*row) for row in conn.execute(query, (node,))]


def address_spaces_on(conn: Connection, node: int) -> list[tuple[int, int]]:
    """(lowest pid, address space) of all that have pages on a node, by pid."""
    query = """SELECT min(k.pid), k.mm FROM tasks k WHERE k.mm IN
 (SELECT t.mm FROM pages p JOIN ptes t ON t.page = p.id WHERE p.node = ? AND t.present) GROUP BY k.mm ORDER BY 1"""
    return [(pid, mm) for pid, mm in conn.execute(query, (node,))]


def unmapped_mappings_on(conn: Connection, node: int) -> list[int]:
    """Files and shared memory that have pages on a node which nobody maps, by row id."""
    query = """SELECT DISTINCT p.mapping FROM pages p JOIN mappings m ON m.id = p.mapping
WHERE p.node = ? AND m.kind IN ('file', 'shm') AND NOT EXISTS (SELECT 1 FROM ptes t WHERE t.page = p.id) ORDER BY 1"""
    return [mapping for (mapping,) in conn.execute(query, (node,))]


def by_node_between(conn: Connection, mm: int, start: int, end: int) -> dict[int, int]:
    """Present pages of [start, end) by node; the ptes must have been cut there."""
    query = """SELECT p.node, sum(p.count) FROM ptes t CROSS JOIN pages p ON p.id = t.page
WHERE t.mm = ? AND t.addr >= ? AND t.addr < ? AND t.present AND p.node IS NOT NULL GROUP BY p.node ORDER BY p.node"""
    return {row[0]: row[1] for row in conn.execute(query, (mm, start, end))}


def query_plan(conn: Connection, statement: str, parameters: Sequence[Any] = ()) -> list[str]:
    """The lines of EXPLAIN QUERY PLAN of a statement."""
    rows = conn.execute(f"EXPLAIN QUERY PLAN {statement}", tuple(parameters))
    return [str(row[3]) for row in rows]
