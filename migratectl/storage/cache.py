"""
Cache pages of files and shared memory: found, cut, added and dropped by page index.

The rows of one mapping are disjoint. A pte row maps a whole page row, so whoever maps, drops or changes a part of one
cuts it first; that cuts the ptes of all address spaces with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from migratectl.runs import Run
from migratectl.storage import pages, resident
from migratectl.storage.connection import Connection
from migratectl.storage.pages import LARGEST_STEP, Freed
from migratectl.storage.reach import covering_rows, reach
from migratectl.storage.work import pick, write, write_many
from migratectl.uapi import PG

_READAHEAD: Final = int(PG.READAHEAD)


class CachedRun(NamedTuple):
    """A row of cache pages by index; ``node`` is None where they lie in swap alone, ``area`` their swap area."""

    page: int
    first: int
    step: int
    nr_pages: int
    node: int | None
    area: int | None
    flags: int
    lock: int | None
    writeback: int | None

    @property
    def run(self) -> Run:
        """Its indexes."""
        return Run(self.first, self.step, self.nr_pages)

    @property
    def marker(self) -> bool:
        """Whether it is a page at which read-ahead is to go on."""
        return bool(self.flags & _READAHEAD)


_COLUMNS: Final = "id, first, step, count, node, area, flags, lock, writeback"
_ROWS: Final = f"""SELECT p.{_COLUMNS.replace(", ", ", p.")} {covering_rows("?1", "?2")}
UNION ALL SELECT {_COLUMNS} FROM pages WHERE mapping = ?1 AND first >= ?2 AND first < ?3 ORDER BY first"""


def rows(conn: Connection, mapping: int, start: int, end: int) -> list[CachedRun]:
    """The rows of a mapping that have a page in [start, end), by lowest index; they may reach beyond."""
    return [CachedRun(*row) for row in conn.execute(_ROWS, (mapping, start, end))]


def cut_index(conn: Connection, mapping: int, at: int) -> None:
    """Cut every row of a mapping across index *at*, so that none has pages on both sides."""
    crossing = f"""INSERT INTO part(page, k, stride, count)
SELECT p.id, (?2 - p.first + p.step - 1) / p.step, 1, p.count - (?2 - p.first + p.step - 1) / p.step
{covering_rows("?1", "?2")}"""
    if conn.execute(crossing, (mapping, at)).rowcount > 0:
        conn.execute("INSERT INTO rest(page, stride, count) SELECT page, 1, k FROM part")
        pages.cut_parts(conn)
        pages.clear_parts(conn)


def cut_pieces(conn: Connection, chosen: Mapping[int, tuple[Sequence[Run], Sequence[Run]]]) -> list[int]:
    """
    Cut pieces out of rows.

    Args:
        conn: The connection of the transaction.
        chosen: By page row the pieces wanted and those that the others of its pages make up, as runs of ordinals.

    Returns:
        The rows of the wanted pieces.
    """
    whole = [row for row, (wanted, others) in chosen.items() if wanted and len(wanted) + len(others) == 1]
    parts: list[tuple[int, int, int, int]] = []
    rest: list[tuple[int, int, int]] = []
    found: list[int] = list(whole)
    numbers: list[int] = []
    for row, (wanted, others) in chosen.items():
        if not wanted or len(wanted) + len(others) == 1:
            continue
        for k, piece in enumerate((*wanted, *others)):
            if piece.start == 0:
                rest.append((row, piece.step, piece.nr_pages))
                found += [row] if k < len(wanted) else []
                continue
            parts.append((row, piece.start, piece.step, piece.nr_pages))
            numbers += [len(parts)] if k < len(wanted) else []
    if parts:
        conn.execute_many("INSERT INTO part(page, k, stride, count) VALUES (?, ?, ?, ?)", parts)
        conn.execute_many("INSERT INTO rest(page, stride, count) VALUES (?, ?, ?)", rest)
        offset = pages.cut_parts(conn)
        pages.clear_parts(conn)
        found += [offset + number for number in numbers]
    return found


def add(conn: Connection, mapping: int, placed: Sequence[tuple[Run, int]], flags: int) -> list[int]:
    """New cache pages that nobody maps: (indexes, node) each. Their rows, in the same order."""
    offset = pages.last_row(conn) + 1
    write_many(
        conn,
        "INSERT INTO pages(id, mapping, first, count, step, node, flags, origin, origin_first)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?2, ?3)",
        [
            (row, mapping, run.start, run.nr_pages, run.step, nid, flags)
            for row, (run, nid) in enumerate(placed, offset)
        ],
    )
    return list(range(offset, offset + len(placed)))


def map_rows(conn: Connection, mm: int, delta: int, ids: Iterable[int], bits: tuple[int, int, int]) -> None:
    """Give an address space a present pte for each page of rows; *delta* is index minus address."""
    pick(conn, ids)
    write(
        conn,
        f"""INSERT INTO ptes(mm, addr, page, present, young, dirty, writable, reach)
SELECT ?, p.first - ?, p.id, 1, ?, ?, ?, {reach("p.count", "p.step")}
FROM picked c CROSS JOIN pages p ON p.id = c.page""",
        (mm, delta, *bits),
    )
    mapped = "t.mm = ? AND t.page IN (SELECT page FROM picked) AND t.addr = p.first - ?"
    resident.enter(conn, mapped, (mm, delta))


def between(conn: Connection, mapping: int, start: int, end: int) -> list[int]:
    """The rows whose pages lie in [start, end); those across its ends must have been cut."""
    query = "SELECT id FROM pages WHERE mapping = ? AND first >= ? AND first < ? ORDER BY first"
    return [page for (page,) in conn.execute(query, (mapping, start, end))]


def set_flags(conn: Connection, ids: Iterable[int], flags: int) -> None:
    """Set flags of page rows."""
    pick(conn, ids)
    lacking = "id IN (SELECT page FROM picked) AND flags & ?1 <> ?1"
    write(conn, f"UPDATE pages SET flags = flags | ?1 WHERE {lacking}", (flags,))


def clear_flags(conn: Connection, ids: Iterable[int], flags: int) -> None:
    """Clear flags of page rows."""
    pick(conn, ids)
    write(conn, "UPDATE pages SET flags = flags & ~?1 WHERE id IN (SELECT page FROM picked) AND flags & ?1", (flags,))


def by_node(conn: Connection, ids: Iterable[int]) -> dict[int, int]:
    """Pages of rows by node."""
    pick(conn, ids)
    query = """SELECT p.node, sum(p.count) FROM picked c CROSS JOIN pages p ON p.id = c.page
WHERE p.node IS NOT NULL GROUP BY p.node ORDER BY p.node"""
    return {row[0]: row[1] for row in conn.execute(query)}


class Held(NamedTuple):
    """The pages of an object: by node those in memory, and how many are dirty, in memory or in swap."""

    nodes: Mapping[int, int]
    dirty: int


NOTHING: Final = Held({}, 0)


def held(conn: Connection, mapping: int | None = None) -> dict[int, Held]:
    """The pages of every file and segment that has some, by its row id; of one object only."""
    one = "" if mapping is None else "AND m.id = ?"
    query = f"""SELECT m.id, p.node, sum(p.count), sum(CASE WHEN p.flags & {int(PG.DIRTY)} THEN p.count ELSE 0 END)
FROM mappings m CROSS JOIN pages p ON p.mapping = m.id AND p.first >= 0
WHERE m.kind IN ('file', 'shm') {one} GROUP BY m.id, p.node ORDER BY m.id, p.node"""
    nodes: dict[int, dict[int, int]] = {}
    dirty: dict[int, int] = {}
    for row, node, nr, changed in conn.execute(query, () if mapping is None else (mapping,)):
        nodes.setdefault(row, {}).update({} if node is None else {node: nr})
        dirty[row] = dirty.get(row, 0) + changed
    return {row: Held(found, dirty[row]) for row, found in nodes.items()}


def total(conn: Connection, ids: Iterable[int], flags: int) -> int:
    """Pages of rows that have one of these flags."""
    pick(conn, ids)
    query = "SELECT coalesce(sum(p.count), 0) FROM picked c CROSS JOIN pages p ON p.id = c.page WHERE p.flags & ?"
    return int(conn.execute(query, (flags,)).scalar_one())


def clean_ptes(conn: Connection, ids: Iterable[int]) -> None:
    """
    Let pages know what is dirty in their ptes, and take dirty and write permission off those of page rows.

    So the next write is noticed.
    """
    pick(conn, ids)
    write(
        conn,
        f"""UPDATE pages SET flags = flags | {int(PG.DIRTY)} WHERE id IN (SELECT page FROM picked)
 AND EXISTS (SELECT 1 FROM ptes t WHERE t.page = pages.id AND t.dirty)""",
    )
    write(
        conn,
        "UPDATE ptes SET dirty = 0, writable = 0 WHERE page IN (SELECT page FROM picked) AND (dirty OR writable)",
    )


def bring_in(conn: Connection, mapping: int, placed: Iterable[tuple[int, int]]) -> None:
    """Give rows that lie in swap alone, named by (first index, node), a node; pages read from swap are active."""
    rows = [(nid, int(PG.ACTIVE), mapping, first) for first, nid in placed]
    update = "UPDATE pages SET node = ?, flags = flags | ? WHERE mapping = ? AND first = ? AND node IS NULL"
    write_many(conn, update, rows)


def return_from_swap(conn: Connection, ids: Iterable[int]) -> None:
    """Pages of shared memory in the swap cache go back to their object: dirty, their slots free."""
    pick(conn, ids)
    _free_slots(conn, "SELECT p.id FROM picked c CROSS JOIN pages p ON p.id = c.page WHERE p.node IS NOT NULL")
    write(
        conn,
        f"""UPDATE pages SET area = NULL, flags = flags | {int(PG.DIRTY | PG.UPTODATE)}
WHERE id IN (SELECT page FROM picked) AND area IS NOT NULL AND node IS NOT NULL""",
    )


def _free_slots(conn: Connection, listed: str) -> None:
    """Take the slots of page rows, named by a statement, off the accounts of their swap areas."""
    query = f"SELECT area, sum(count) FROM pages WHERE id IN ({listed}) AND area IS NOT NULL GROUP BY area"
    for area, nr in conn.execute(query).all():
        write(conn, "UPDATE swap_areas SET used = used - ? WHERE id = ?", (nr, area))


def mapped_by(conn: Connection, mapping: int) -> list[tuple[int, int, int, int]]:
    """The areas of a mapping as (address space, start, end, index minus address)."""
    query = 'SELECT mm, start, "end", delta FROM vmas WHERE mapping = ? ORDER BY mm, start'
    return [(mm, start, end, delta) for mm, start, end, delta in conn.execute(query, (mapping,))]


def is_mapped(conn: Connection, mapping: int) -> bool:
    """Whether an area of any address space is of a mapping."""
    return bool(conn.execute("SELECT EXISTS (SELECT 1 FROM vmas WHERE mapping = ?)", (mapping,)).scalar_one())


def drop(conn: Connection, ids: Iterable[int], orphanage: int, held: int | None = None) -> Freed:
    """
    Take cache pages that nobody maps out of their mapping.

    Those that somebody holds, by a pin, in a per-CPU batch or in a buffer that is in use, lose their mapping and stay:
    their row goes to the mapping *orphanage*, of kind ``none``. All others are freed with their holds, buffers and
    slots. A journal lets go of buffers that are busy as long as *held* says.
    """
    pick(conn, ids)
    if held is not None:
        write(conn, "UPDATE buffers SET busy = NULL WHERE page IN (SELECT page FROM picked) AND busy = ?", (held,))
    write(conn, "UPDATE buffers SET dirty = 0 WHERE page IN (SELECT page FROM picked) AND dirty")
    idle = "busy IS NULL AND locked IS NULL"
    write(conn, f"DELETE FROM buffers WHERE page IN (SELECT page FROM picked) AND {idle}")
    staying = """SELECT p.id FROM picked c CROSS JOIN pages p ON p.id = c.page WHERE p.node IS NOT NULL
 AND (p.pins > 0 OR p.parked OR EXISTS (SELECT 1 FROM buffers b WHERE b.page = p.id))"""
    _free_slots(conn, staying)
    lose = f"UPDATE pages SET mapping = ?, area = NULL, flags = flags & ~{int(PG.DIRTY)} WHERE id IN ({staying})"
    write(conn, lose, (orphanage,))
    conn.execute(f"DELETE FROM picked WHERE page IN ({staying})")
    return pages.free_picked(conn)


def release_orphans(conn: Connection, orphanage: int) -> Freed:
    """Let nobody use the buffers of pages that lost their mapping any more; those that nobody pins are freed."""
    query = "SELECT id FROM pages WHERE mapping = ? AND first >= 0"
    pick(conn, [page for (page,) in conn.execute(query, (orphanage,))])
    write(conn, "DELETE FROM buffers WHERE page IN (SELECT page FROM picked) AND locked IS NULL")
    return pages.free_idle(conn)


def neighbours(conn: Connection, mapping: int, start: int, end: int, limit: int) -> list[int]:
    """The rows that start near [start, end), where runs may have become equal; at most *limit*."""
    query = "SELECT id FROM pages WHERE mapping = ? AND first >= ? AND first < ? ORDER BY first LIMIT ?"
    near = (mapping, max(start - LARGEST_STEP, 0), end + LARGEST_STEP, limit)
    return [page for (page,) in conn.execute(query, near)]
