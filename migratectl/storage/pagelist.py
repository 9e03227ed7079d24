"""
The page list of one migration from one node: gathered into ``iso``, cut, applied.

``iso`` has a row a page run: its lowest address in the task, and everything that the rules read, packed into one
integer so that rows of equal state can be counted together. ``class`` is 0, or the position in an interleave set that
the index of its pages means (deal()).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from migratectl.page_state import LATE, PageState, node_of, pack, same, told_apart, unpack
from migratectl.runs import Run
from migratectl.storage import pages, resident, vmas
from migratectl.storage.connection import Connection
from migratectl.storage.work import write, write_many
from migratectl.uapi import INDEX_LIMIT, PG, VM

_AREA_OF = f"""CASE WHEN v.flags & {int(VM.HUGETLB)} THEN 'vma-hugetlb'
 WHEN v.flags & {int(VM.PFNMAP)} THEN 'vma-pfnmap' WHEN v.flags & {int(VM.IO)} THEN 'vma-io'
 WHEN v.flags & {int(VM.RESERVED)} THEN 'vma-reserved' WHEN v.flags & {int(VM.LOCKED)} THEN 'vma-locked' ELSE '' END"""
_WRITEPAGE_OF = f"""CASE WHEN b.late THEN '{LATE}' WHEN m.kind = 'shm' OR m.fs = 'tmpfs' THEN 'swap'
 WHEN m.fs = 'ramfs' THEN 'none' ELSE 'disk' END"""
_OWNED_OF = f"""(EXISTS (SELECT 1 FROM vmas w WHERE w.mapping = p.mapping
 AND w.flags & {int(VM.SHARED | VM.WRITE)} = {int(VM.SHARED | VM.WRITE)})
 OR NOT EXISTS (SELECT 1 FROM vmas w WHERE w.mapping = p.mapping AND w.mm <> v.mm))"""
_YOUNG_OF = "(SELECT count(*) FROM ptes x WHERE x.page = p.id AND x.young)"
_PTE_DIRTY_OF = "EXISTS (SELECT 1 FROM ptes x WHERE x.page = p.id AND x.dirty)"
_FLAG_DIRTY = f"(p.flags & {int(PG.DIRTY)} <> 0)"
_DIRTY_OF = f"({_FLAG_DIRTY} OR {_PTE_DIRTY_OF})"
_FIRST_PID = "(SELECT min(k.pid) FROM tasks k WHERE k.mm = {}.mm)"
_DROPPED_DIRTY_OF = f"""EXISTS (SELECT 1 FROM ptes x WHERE x.page = p.id AND x.dirty AND NOT EXISTS (
 SELECT 1 FROM ptes y CROSS JOIN vmas w ON w.mm = y.mm
 AND w.start = (SELECT max(start) FROM vmas u WHERE u.mm = y.mm AND u.start <= y.addr)
 WHERE y.page = p.id AND y.present AND w.flags & {int(VM.LOCKED)}
 AND ({_FIRST_PID.format("y")}, y.addr) <= ({_FIRST_PID.format("x")}, x.addr)))"""
_MAPCOUNT_OF = "(SELECT count(*) FROM ptes x WHERE x.page = p.id AND x.present) + p.outside"
_MLOCKED_OF = f"""EXISTS (SELECT 1 FROM ptes x CROSS JOIN vmas w ON w.mm = x.mm
 AND w.start = (SELECT max(start) FROM vmas u WHERE u.mm = x.mm AND u.start <= x.addr)
 WHERE x.page = p.id AND x.present AND w.flags & {int(VM.LOCKED)} AND NOT (x.mm = t.mm AND x.addr = t.addr))"""
_MLOCKED_ANYWHERE = f"""EXISTS (SELECT 1 FROM ptes x CROSS JOIN vmas w ON w.mm = x.mm
 AND w.start = (SELECT max(start) FROM vmas u WHERE u.mm = x.mm AND u.start <= x.addr)
 WHERE x.page = p.id AND x.present AND w.flags & {int(VM.LOCKED)})"""
_GATHER = """INSERT OR IGNORE INTO iso(page, addr, step, count, state)
SELECT p.id, t.addr, p.step, p.count, {state}
FROM vmas v CROSS JOIN ptes t ON t.mm = v.mm AND t.addr >= max(v.start, ?5) AND t.addr < min(v."end", ?6)
CROSS JOIN pages p ON p.id = t.page {join}
WHERE v.mm = ?1 AND v.mapping {which} ?2 AND v.start < ?6
 AND v.start >= coalesce((SELECT max(start) FROM vmas u WHERE u.mm = ?1 AND u.start <= ?5), 0) AND t.present
 AND (p.node IN (SELECT value FROM json_each(?3)) OR ?4 AND p.node IS NULL)
ORDER BY v.start, t.addr"""


_CACHE_JOIN = "CROSS JOIN mappings m ON m.id = p.mapping LEFT JOIN buffers b ON b.page = p.id"

_OF_ITSELF: Final = {
    "lock": "p.lock",
    "pin": "p.pin",
    "writeback": "p.writeback",
    "swapcache": "p.area IS NOT NULL",
    "parked": "p.parked <> 0",
    "node": "coalesce(p.node, 0)",
}
_OF_ITS_FILE: Final = {
    "kind": "CASE m.kind WHEN 'none' THEN 'file' ELSE m.kind END",
    "method": "m.method",
    "writepage": _WRITEPAGE_OF,
    "truncated": "m.kind = 'none'",
    "ring": "b.page IS NOT NULL",
    "ring_dirty": "coalesce(b.dirty, 0)",
    "ring_locked": "b.locked",
    "ring_busy": "b.busy",
}
"""With _CACHE_JOIN."""

_OF_ITS_PTES: Final = {"dropped_dirty": _DROPPED_DIRTY_OF, "young": _YOUNG_OF}
_ASKED_BY_POSTED: Final = {"owned": _OWNED_OF} | _OF_ITS_PTES
"""By ``v9-posted`` only."""


class Alike(NamedTuple):
    """The pages of a list that have one state: its number, what it is, the node they are on, how many they are."""

    number: int
    state: PageState
    node: int
    pages: int


def gather_statements(
    *, alone: bool, mapcounts: bool, evict: bool = False, posted: bool = False, traced: bool = False
) -> tuple[str, str]:
    """
    The statements that fill ``iso``: for anonymous areas and for all others; parameters mm, anonymous mapping, nodes
    as JSON, whether zero pages are wanted too, start and end of the range.

    Args:
        alone: No other address space is of the anonymous family, so an anonymous page has one pte at most.
        mapcounts: Whether the rules will read mapcounts.
        evict: Whether they will ask if an anonymous page is dirty.
        posted: Whether they are those of ``v9-posted``.
        traced: Whether somebody else asks that.
    """
    counted = _MAPCOUNT_OF if mapcounts else "1"
    mapped = _OF_ITSELF | {"area": _AREA_OF} | (_ASKED_BY_POSTED if posted else {})
    anon = mapped | {
        "kind": "CASE WHEN p.node IS NULL THEN 'zero' ELSE 'anon' END",
        "mlocked": "0" if alone else _MLOCKED_OF,
        "mapcount": "1 + p.outside" if alone else counted,
        "dirty": _DIRTY_OF if evict or traced else "0",
    }
    dirty = _FLAG_DIRTY if posted and not evict else _DIRTY_OF
    other = mapped | _OF_ITS_FILE | {"mlocked": _MLOCKED_OF, "mapcount": counted, "dirty": dirty}
    return (
        _GATHER.format(state=pack(anon), join="", which="="),
        _GATHER.format(state=pack(other), join=_CACHE_JOIN, which="<>"),
    )


@dataclass(frozen=True, slots=True)
class Wanted:
    """
    Which pages of an address space a list is made of.

    Attributes:
        nodes: Present pages on these nodes.
        start: Lowest address.
        end: One past the highest; runs must have been cut at both, or only be looked at.
        across: Also the runs that begin before the lowest address, not before this one, and reach it; None: none do.
        zero: Zero pages too, whatever the nodes.
        unmet: Leave out the pages that note_met() has noted.
    """

    nodes: tuple[int, ...]
    start: int = 0
    end: int = 1 << 62
    zero: bool = False
    unmet: bool = False
    across: int | None = None


def gather(
    conn: Connection,
    mm: int,
    anon: int,
    wanted: Wanted,
    *,
    alone: bool,
    mapcounts: bool,
    files: bool,
    evict: bool = False,
    posted: bool = False,
    traced: bool = False,
) -> list[Alike]:
    """
    Fill ``iso`` with present pages of an address space, each once at its lowest address.

    Args:
        conn: The connection of the transaction.
        mm: The address space.
        anon: Its anonymous mapping.
        wanted: Which pages.
        alone: See gather_statements().
        mapcounts: See gather_statements().
        files: Whether the address space has areas that are not anonymous.
        evict: See gather_statements().
        posted: See gather_statements().
        traced: See gather_statements().

    Returns:
        The distinct states, by number.
    """
    conn.execute("DELETE FROM iso")
    if not _any_wanted(conn, mm, wanted):
        return []
    statements = gather_statements(alone=alone, mapcounts=mapcounts, evict=evict, posted=posted, traced=traced)
    ranges = [(wanted.start, wanted.end)]
    if wanted.across is not None:
        ranges += [(addr, addr + 1) for addr in pages.reaching(conn, mm, wanted.start, wanted.across)]
    for statement in statements[: 2 if files else 1]:
        for span in ranges:
            conn.execute(statement, (mm, anon, json.dumps(wanted.nodes), int(wanted.zero), *span))
    if wanted.unmet:
        conn.execute("DELETE FROM iso WHERE page IN (SELECT page FROM met)")
    return states(conn)


def _any_wanted(conn: Connection, mm: int, wanted: Wanted) -> bool:
    """Whether an address space has a page on the nodes wanted, or a zero page where those are."""
    held = resident.by_node(conn, mm)
    if any(nid in held for nid in wanted.nodes):
        return True
    zero = vmas.find_zero_mapping(conn, mm) if wanted.zero else None
    some = "SELECT EXISTS (SELECT 1 FROM pages WHERE mapping = ? AND first >= 0)"
    return zero is not None and bool(conn.execute(some, (zero,)).scalar_one())


def gather_unmapped(conn: Connection, mapping: int, node: int) -> list[Alike]:
    """Fill ``iso`` with the cache pages of a mapping on a node that nobody maps; their addresses are page indexes."""
    conn.execute("DELETE FROM iso")
    state = pack(_OF_ITSELF | _OF_ITS_FILE | {"mapcount": "p.outside", "dirty": _FLAG_DIRTY})
    conn.execute(
        f"""INSERT INTO iso(page, addr, step, count, state)
SELECT p.id, p.first, p.step, p.count, {state} FROM pages p {_CACHE_JOIN}
WHERE p.mapping = ? AND p.node = ? AND NOT EXISTS (SELECT 1 FROM ptes t WHERE t.page = p.id)""",
        (mapping, node),
    )
    return states(conn)


def isolate(conn: Connection) -> None:
    """
    Take the pages of the list off the LRU for as long as other commands run beside its migration.

    Each run gets a number that its pieces keep whatever those commands do, so that reread() finds them again.
    """
    conn.execute("DELETE FROM isolated")
    conn.execute(
        """INSERT INTO isolated(number, shift, state)
SELECT i.page, i.addr - p.first, i.state FROM iso i CROSS JOIN pages p ON p.id = i.page"""
    )
    write(conn, "UPDATE pages SET parked = (parked & 1) | (id << 1) WHERE id IN (SELECT page FROM iso)")


def reread(conn: Connection, backed_out: Iterable[int], *, posted: bool) -> list[Alike]:
    """
    Fill ``iso`` with what isolate() took, as it is now; no pte may lead to a page any more.

    Args:
        conn: The connection of the transaction.
        backed_out: Page rows on which another command holds a reference.
        posted: See gather_statements().

    Returns:
        The distinct states, by number.
    """
    facts = _OF_ITSELF | _OF_ITS_FILE | (_OF_ITS_PTES if posted else {})
    facts |= {
        "parked": "0",
        "mlocked": _MLOCKED_ANYWHERE,
        "mapcount": _MAPCOUNT_OF,
        "dirty": f"CASE WHEN m.kind = 'anon' THEN {_DIRTY_OF} ELSE {_FLAG_DIRTY} END" if posted else _DIRTY_OF,
        "backed_out": "p.id IN (SELECT value FROM json_each(?))",
    }
    conn.execute("DELETE FROM iso")
    conn.execute(
        f"""INSERT INTO iso(page, addr, step, count, state)
SELECT p.id, p.first + l.shift, p.step, p.count, {pack(facts)} | {same("area", "l.state")}
FROM pages p CROSS JOIN isolated l ON l.number = p.parked >> 1 {_CACHE_JOIN}
WHERE p.parked > 1 AND p.node IS NOT NULL""",
        (json.dumps(sorted(backed_out)),),
    )
    return states(conn)


def put_back(conn: Connection) -> None:
    """The pages that isolate() took are on the LRU again, as far as no task has parked them."""
    write(conn, "UPDATE pages SET parked = parked & 1 WHERE parked > 1")


def drop(conn: Connection, states: Iterable[int]) -> None:
    """Take the runs of some states off the list."""
    conn.execute("DELETE FROM iso WHERE state IN (SELECT value FROM json_each(?))", (json.dumps([*states]),))


def set_aside(conn: Connection) -> None:
    """Keep the list as it is, for take_up()."""
    conn.execute("DELETE FROM aside")
    conn.execute("INSERT INTO aside SELECT * FROM iso")


def take_up(conn: Connection, low: int, high: int) -> list[Alike]:
    """Fill ``iso`` with the part of the list set aside that lies in [low, high), where it has been cut; its states."""
    conn.execute("DELETE FROM iso")
    conn.execute("INSERT INTO iso SELECT * FROM aside WHERE addr >= ? AND addr < ?", (low, high))
    return states(conn)


def forget_met(conn: Connection) -> None:
    """Forget what note_met() and come_back() have noted."""
    conn.execute("DELETE FROM met")
    conn.execute("DELETE FROM back")


def note_met(conn: Connection, node: int) -> None:
    """Remember the pages of the list that stayed on a node, for a command over several address spaces."""
    stayed = """SELECT i.page FROM iso i CROSS JOIN pages p ON p.id = i.page
WHERE p.node = ? AND i.page NOT IN (SELECT page FROM back)"""
    conn.execute(f"INSERT OR IGNORE INTO met {stayed}", (node,))
    conn.execute("DELETE FROM back")


def come_back(conn: Connection, chosen: Selection) -> None:
    """Note that the chosen pages move to the node that they are on: they did not stay there (B18)."""
    where, values = chosen.where()
    conn.execute(f"INSERT OR IGNORE INTO back SELECT page FROM iso WHERE {where}", values)


def gather_pages(
    conn: Connection, mm: int, addresses: Sequence[int], *, mapcounts: bool, posted: bool = False
) -> list[Alike]:
    """Fill ``iso`` with single pages, which must have been cut out; as gather()."""
    conn.execute("DELETE FROM iso")
    facts = _OF_ITSELF | _OF_ITS_FILE | {"area": _AREA_OF, "mlocked": _MLOCKED_OF}
    facts |= {"mapcount": _MAPCOUNT_OF if mapcounts else "1", "dirty": _FLAG_DIRTY if posted else _DIRTY_OF}
    facts |= _ASKED_BY_POSTED if posted else {}
    statement = f"""INSERT OR IGNORE INTO iso(page, addr, step, count, state)
SELECT p.id, t.addr, p.step, p.count, {pack(facts)}
FROM ptes t CROSS JOIN pages p ON p.id = t.page {_CACHE_JOIN}
CROSS JOIN vmas v ON v.mm = t.mm AND v.start = (SELECT max(start) FROM vmas u WHERE u.mm = t.mm AND u.start <= t.addr)
WHERE t.mm = ?1 AND t.addr = ?2 AND t.present"""
    if addresses:
        conn.execute_many(statement, [(mm, addr) for addr in addresses])
    return states(conn)


def node_by_address(conn: Connection) -> dict[int, int | None]:
    """Where the single pages of the list are now, by the page number at which they were found; None: in swap."""
    query = "SELECT i.addr, p.node FROM iso i CROSS JOIN pages p ON p.id = i.page"
    return {addr: node for addr, node in conn.execute(query)}  # noqa: C416 - a row is no pair for mypy


def kind_of(state: int) -> str:
    """The kind of the pages of a state: ``anon``, ``zero``, ``file`` or ``shm``."""
    return unpack(state).kind


def in_area(conn: Connection, area: int) -> set[int]:
    """The page rows of the list that have a slot of a swap area."""
    query = "SELECT i.page FROM iso i CROSS JOIN pages p ON p.id = i.page WHERE p.area = ?"
    return {page for (page,) in conn.execute(query, (area,))}


def states(conn: Connection) -> list[Alike]:
    """The distinct states of the list, by number."""
    rows = conn.execute("SELECT state, sum(count) FROM iso GROUP BY state ORDER BY state")
    return [Alike(state, unpack(state), node_of(state), nr) for state, nr in rows]


@dataclass(frozen=True, slots=True)
class Selection:
    """
    Runs of the list: of some states, in [low, high) of addresses; ``residue``: those of one class (None: of all).
    """

    states: tuple[int, ...]
    low: int | None = None
    high: int | None = None
    residue: int | None = None

    def where(self) -> tuple[str, tuple[str | int, ...]]:
        """The WHERE clause on ``iso`` and its values, for positional parameters."""
        clauses = ["state IN (SELECT value FROM json_each(?))"]
        values: list[str | int] = [json.dumps(self.states)]
        bounds = (("addr >= ?", self.low), ("addr < ?", self.high), ("class = ?", self.residue))
        for clause, bound in bounds:
            if bound is not None:
                clauses.append(clause)
                values.append(bound)
        return " AND ".join(clauses), tuple(values)


def runs(conn: Connection, chosen: Selection) -> list[Run]:
    """The addresses of the chosen runs, by lowest address."""
    where, values = chosen.where()
    query = f"SELECT addr, step, count FROM iso WHERE {where} ORDER BY addr"
    return [Run(*row) for row in conn.execute(query, values)]


def listed(conn: Connection, state: int) -> list[tuple[int, Run]]:
    """The runs of one state with their page rows, by lowest address."""
    query = "SELECT page, addr, step, count FROM iso WHERE state = ? ORDER BY addr"
    return [(page, Run(addr, step, count)) for page, addr, step, count in conn.execute(query, (state,))]


def mappers(conn: Connection, state: int, *, locked: bool) -> dict[int, tuple[int, ...]]:
    """The tasks that map the pages of one state, in areas locked in memory or in any, by page row."""
    area = f"""AND EXISTS (SELECT 1 FROM vmas v WHERE v.mm = t.mm AND v.flags & {int(VM.LOCKED)}
 AND v.start = (SELECT max(start) FROM vmas u WHERE u.mm = t.mm AND u.start <= t.addr))"""
    query = f"""SELECT DISTINCT i.page, k.pid FROM iso i CROSS JOIN ptes t ON t.page = i.page
CROSS JOIN tasks k ON k.mm = t.mm WHERE i.state = ? {area if locked else ""} ORDER BY i.page, k.pid"""
    found: dict[int, list[int]] = {}
    for page, pid in conn.execute(query, (state,)):
        found.setdefault(page, []).append(pid)
    return {page: tuple(pids) for page, pids in found.items()}


def locked_at(conn: Connection, state: int) -> list[tuple[int, int, int]]:
    """
    Where the pages of one state are mapped in locked areas.

    Returns:
        Page row, lowest pid of the address space, and how many pages further on it is mapped there than in the list.
    """
    query = f"""SELECT i.page, (SELECT min(k.pid) FROM tasks k WHERE k.mm = t.mm), t.addr - i.addr
FROM iso i CROSS JOIN ptes t ON t.page = i.page WHERE i.state = ? AND t.present AND EXISTS (
 SELECT 1 FROM vmas v WHERE v.mm = t.mm AND v.flags & {int(VM.LOCKED)}
 AND v.start = (SELECT max(start) FROM vmas u WHERE u.mm = t.mm AND u.start <= t.addr)) ORDER BY 1, 2, 3"""
    return [(page, pid, shift) for page, pid, shift in conn.execute(query, (state,)) if pid is not None]


def mapped_outside(conn: Connection, state: int) -> set[int]:
    """The page rows of one state that tasks outside the state file map too."""
    query = "SELECT i.page FROM iso i CROSS JOIN pages p ON p.id = i.page WHERE i.state = ? AND p.outside > 0"
    return {page for (page,) in conn.execute(query, (state,))}


def cut(conn: Connection, chosen: Selection, at: int) -> None:
    """Cut the chosen runs across address *at*, in the state and in the list."""
    where, values = chosen.where()
    crossing = f"""INSERT INTO part(page, k, stride, count)
SELECT page, (? - addr + step - 1) / step, 1, count - (? - addr + step - 1) / step FROM iso
WHERE {where} AND addr < ? AND addr + (count - 1) * step >= ?"""
    if conn.execute(crossing, (at, at, *values, at, at)).rowcount <= 0:
        return
    conn.execute("INSERT INTO rest(page, stride, count) SELECT page, 1, k FROM part")
    _cut_listed(conn)


def _cut_listed(conn: Connection) -> None:
    """Cut the pieces in ``part`` off their runs, in the state and in the list."""
    offset = pages.cut_parts(conn)
    conn.execute(
        """INSERT INTO iso(page, addr, step, count, state, class)
SELECT ? + c.seq, i.addr + c.k * i.step, CASE c.count WHEN 1 THEN 1 ELSE i.step * c.stride END, c.count, i.state,
 i.class FROM part c CROSS JOIN iso i ON i.page = c.page""",
        (offset,),
    )
    conn.execute(
        "INSERT INTO travelled SELECT ? + c.seq, t.again FROM part c CROSS JOIN travelled t ON t.page = c.page",
        (offset,),
    )
    conn.execute(
        """UPDATE iso SET
 step = (SELECT CASE r.count WHEN 1 THEN 1 ELSE iso.step * r.stride END FROM rest r WHERE r.page = iso.page),
 count = (SELECT r.count FROM rest r WHERE r.page = iso.page) WHERE page IN (SELECT page FROM rest)"""
    )
    pages.clear_parts(conn)


def deal(conn: Connection, chosen: Selection, nr: int) -> None:
    """
    Deal the chosen runs into classes: ``class`` is the page index, cut to 32 bits, modulo *nr*.

    Args:
        conn: The connection of the transaction.
        chosen: Runs of the list.
        nr: Nodes of the interleave set; a run of step s falls into nr / gcd(s, nr) classes.
    """
    where, values = chosen.where()
    _cut_at_index_wrap(conn, where, values)
    steps = conn.execute(f"SELECT DISTINCT step FROM iso WHERE {where} AND count > 1", values).scalars()
    for step in steps:
        classes = nr // math.gcd(step, nr)
        many = f"FROM iso i CROSS JOIN json_each(?) r WHERE {where} AND step = ? AND count > r.value"
        dealt = (json.dumps(list(range(1, classes))), *values, step)
        conn.execute(
            f"""INSERT INTO part(page, k, stride, count)
SELECT i.page, r.value, {classes}, (i.count - r.value + {classes} - 1) / {classes} {many}""",
            dealt,
        )
        kept = f"SELECT DISTINCT page, {classes}, (count + {classes} - 1) / {classes} FROM iso"
        conn.execute(f"INSERT INTO rest(page, stride, count) {kept} WHERE page IN (SELECT page FROM part)")
        _cut_listed(conn)
    number = f"(SELECT p.first FROM pages p WHERE p.id = iso.page) % {INDEX_LIMIT} % ?"
    conn.execute(f"UPDATE iso SET class = {number} WHERE {where}", (nr, *values))


def _cut_at_index_wrap(conn: Connection, where: str, values: Sequence[str | int]) -> None:
    """Cut runs where the interleave index passes a multiple of 2^32, so that each has its indexes on one side."""
    border = f"((p.first / {INDEX_LIMIT} + 1) * {INDEX_LIMIT} - p.first + p.step - 1) / p.step"
    crossing = f"""INSERT INTO part(page, k, stride, count) SELECT p.id, {border}, 1, p.count - ({border})
FROM pages p WHERE p.id IN (SELECT page FROM iso WHERE {where})
 AND p.first / {INDEX_LIMIT} <> (p.first + (p.count - 1) * p.step) / {INDEX_LIMIT}"""
    while conn.execute(crossing, tuple(values)).rowcount > 0:
        conn.execute("INSERT INTO rest(page, stride, count) SELECT page, 1, k FROM part")
        _cut_listed(conn)


def class_totals(conn: Connection, chosen: Selection) -> dict[int, int]:
    """Pages of the chosen runs by class."""
    where, values = chosen.where()
    query = f"SELECT class, sum(count) FROM iso WHERE {where} GROUP BY class ORDER BY class"
    return {row[0]: row[1] for row in conn.execute(query, values)}


def anything(conn: Connection, chosen: Selection) -> bool:
    """Whether a run is chosen, by its lowest address."""
    where, values = chosen.where()
    return bool(conn.execute(f"SELECT EXISTS (SELECT 1 FROM iso WHERE {where})", values).scalar_one())


def cut_out(conn: Connection, chosen: Selection) -> None:
    """Cut runs at both bounds of the selection, so that each lies wholly inside or outside of it."""
    unbounded = replace(chosen, low=None, high=None)
    for at in (chosen.low, chosen.high):
        if at is not None:
            cut(conn, unbounded, at)


def set_apart(conn: Connection, chosen: Selection, number: int) -> int:
    """
    Give the chosen runs, which are of one state, a state of their own.

    Args:
        conn: The connection of the transaction.
        chosen: The runs, which have been cut out.
        number: 1 to 15, for each kind of runs set apart from a state another one.

    Returns:
        The new state; all that the rules read of it is as it was.
    """
    (state,) = chosen.states
    apart = told_apart(state, number)
    where, values = chosen.where()
    conn.execute(f"UPDATE iso SET state = ? WHERE {where}", (apart, *values))
    return apart


def total(conn: Connection, chosen: Selection) -> int:
    """Pages of the chosen runs."""
    where, values = chosen.where()
    query = f"SELECT coalesce(sum(count), 0) FROM iso WHERE {where}"
    return int(conn.execute(query, values).scalar_one())


def move(
    conn: Connection,
    chosen: Selection,
    node: int,
    *,
    through_swap: bool,
    restored: bool = True,
    alone: int | None = None,
) -> None:
    """
    Give the chosen pages another node.

    Args:
        conn: The connection of the transaction.
        chosen: Runs that move.
        node: Where to.
        through_swap: V9's way: an anonymous page that enters the swap cache for its move becomes dirty and up to date,
            one that was there keeps what it is; it leaves the swap cache, its ptes come back old, clean and read-only,
            all of them. A file page loses its ptes.
        restored: Else an anonymous page stays behind swap ptes (B4); it is in the swap cache, or will be put there.
        alone: The one address space that maps the anonymous pages of the list, each once; None where several may.
    """
    anon = tuple(state for state in chosen.states if kind_of(state) == "anon")
    others = tuple(state for state in chosen.states if state not in anon)
    for states, mm in ((anon, alone if restored else None), (others, None)):
        if not states:
            continue
        part = replace(chosen, states=states)
        with _counted(conn, part, node, mm):
            if not through_swap:
                where, values = part.where()
                listed = f"SELECT page FROM iso WHERE {where}"
                write(conn, f"UPDATE pages SET node = ? WHERE id IN ({listed})", (node, *values))
            elif states is anon:
                _move_through_swap(conn, part, node, restored=restored)
            else:
                _dirty_rings(conn, part)
                _move_cache(conn, part, node)


@contextmanager
def _counted(conn: Connection, chosen: Selection, node: int, alone: int | None) -> Iterator[None]:
    """Keep count of who has how many pages where, while the chosen runs go to another node."""
    where, values = chosen.where()
    if alone is None:
        with resident.counted(conn, f"t.page IN (SELECT page FROM iso WHERE {where})", values):
            yield
        return
    yield
    change: dict[int, int] = {}
    for state, nr in conn.execute(f"SELECT state, sum(count) FROM iso WHERE {where} GROUP BY state", values):
        for nid, more in ((node_of(state), -nr), (node, nr)):
            change[nid] = change.get(nid, 0) + more
    resident.add(conn, alone, change)


def _move_through_swap(conn: Connection, chosen: Selection, node: int, *, restored: bool) -> None:
    """Anonymous pages: into the swap cache, to the node, and out of it again where their ptes are restored."""
    where, values = chosen.where()
    listed = f"SELECT page FROM iso WHERE {where}"
    _dirty_as_ptes(conn, listed, values)
    if restored:
        _leave_swap(conn, chosen.states, listed, values)
    entered = f"flags | CASE WHEN area IS NULL THEN {int(PG.DIRTY | PG.UPTODATE)} ELSE 0 END"
    change = f"node = ?, flags = {entered}{', area = NULL' if restored else ''}"
    write(conn, f"UPDATE pages SET {change} WHERE id IN ({listed})", (node, *values))
    write(
        conn,
        f"UPDATE ptes SET present = {int(restored)}, young = 0, dirty = 0, writable = 0 WHERE page IN ({listed})",
        values,
    )


def _leave_swap(conn: Connection, anon: Sequence[int], listed: str, values: Sequence[str | int]) -> None:
    if any(unpack(state).swapcache for state in anon):
        query = f"SELECT area, sum(count) FROM pages WHERE area IS NOT NULL AND id IN ({listed}) GROUP BY area"
        for area, nr in conn.execute(query, tuple(values)).all():
            write(conn, "UPDATE swap_areas SET used = used - ? WHERE id = ?", (nr, area))


def _dirty_as_ptes(conn: Connection, listed: str, values: Sequence[str | int]) -> None:
    """What a pte knows as dirty makes its page dirty, through the mapping: the buffers too (semantics.md 1.8)."""
    dirty = f"SELECT page FROM ptes WHERE dirty AND page IN ({listed})"
    write(conn, f"UPDATE pages SET flags = flags | {int(PG.DIRTY)} WHERE id IN ({dirty})", tuple(values))
    write(conn, f"UPDATE buffers SET dirty = 1 WHERE NOT dirty AND page IN ({dirty})", tuple(values))


def _dirty_rings(conn: Connection, chosen: Selection) -> None:
    """A dirty page that takes its ring along is set dirty through the mapping: the buffers are dirty now (2.3)."""
    told = {number: unpack(number) for number in chosen.states}
    behind = [number for number, page in told.items() if page.dirty and page.ring and not page.ring.dirty]
    if behind:
        where, values = replace(chosen, states=tuple(behind)).where()
        write(conn, f"UPDATE buffers SET dirty = 1 WHERE page IN (SELECT page FROM iso WHERE {where})", values)


def _move_cache(conn: Connection, chosen: Selection, node: int) -> None:
    """Pages of a file: pte dirty becomes page dirty, every pte goes, nobody maps the new page until it is touched."""
    where, values = chosen.where()
    listed = f"SELECT page FROM iso WHERE {where}"
    _dirty_as_ptes(conn, listed, values)
    write(conn, f"UPDATE pages SET node = ?, outside = 0 WHERE id IN ({listed})", (node, *values))
    write(conn, f"DELETE FROM ptes WHERE page IN ({listed})", tuple(values))


class Seen(NamedTuple):
    """How many pins a page has, and how many ptes, swap ptes included; its row where it is told apart."""

    pins: int
    ptes: int
    page: int | None = None


def runs_by_references(conn: Connection, chosen: Selection, apart: Collection[int] = ()) -> dict[Seen, list[Run]]:
    """The chosen runs by what their pages have; the page rows *apart* each of their own."""
    where, values = chosen.where()
    query = f"""SELECT p.id, p.pins, (SELECT count(*) FROM ptes x WHERE x.page = p.id) + p.outside, i.addr, i.step,
 i.count FROM iso i CROSS JOIN pages p ON p.id = i.page WHERE {where} ORDER BY i.addr"""
    found: dict[Seen, list[Run]] = {}
    for page, pins, ptes, *run in conn.execute(query, values):
        found.setdefault(Seen(pins, ptes, page if page in apart else None), []).append(Run(*run))
    return found


def unmap(conn: Connection, chosen: Selection) -> None:
    """Take the ptes of the chosen pages away: anonymous ones become swap ptes, their dirty bit goes to the page."""
    where, values = chosen.where()
    listed = f"SELECT page FROM iso WHERE {where}"
    _dirty_as_ptes(conn, listed, values)
    swapped = "UPDATE ptes SET present = 0, young = 0, dirty = 0, writable = 0"
    anon = "(SELECT m.kind FROM pages p CROSS JOIN mappings m ON m.id = p.mapping WHERE p.id = ptes.page) = 'anon'"
    resident.leave(conn, f"t.page IN ({listed})", values)
    write(conn, f"{swapped} WHERE page IN ({listed}) AND {anon}", values)
    write(conn, f"DELETE FROM ptes WHERE page IN ({listed}) AND present", values)
    write(conn, f"UPDATE pages SET outside = 0 WHERE outside > 0 AND id IN ({listed})", values)


def unmap_before_locked(conn: Connection, chosen: Selection) -> int:
    """
    Take away those ptes of the chosen pages that are visited before the first one of a locked area (B8).

    The order is that of pid and address.

    Returns:
        How many pages lost a pte.
    """
    return _unmap_before(conn, chosen, lambda pte: bool(pte.locked))


def age(conn: Connection, chosen: Selection, passes: int) -> int:
    """
    Take away the ptes of the chosen pages before the last of ten young ones a pass, which becomes old (B28).

    Returns:
        How many pages lost a pte.
    """
    return _unmap_before(conn, chosen, lambda pte: pte.young == 10 * passes)


class _Visited(NamedTuple):
    """A pte as try_to_unmap() comes by it: in a locked area, and the how many-th young one of its page (0: old)."""

    page: int
    mm: int
    addr: int
    kind: str
    locked: int
    dirty: int
    young: int


def _unmap_before(conn: Connection, chosen: Selection, stops: Callable[[_Visited], bool]) -> int:
    """Take away the ptes of the chosen pages before the first at which a visit stops; that one becomes old."""
    where, values = chosen.where()
    order = f"{_FIRST_PID.format('t')}, t.addr"
    query = f"""SELECT t.page, t.mm, t.addr, m.kind, v.flags & {int(VM.LOCKED)}, t.dirty,
 t.young * sum(t.young) OVER (PARTITION BY t.page ORDER BY {order})
FROM ptes t CROSS JOIN pages p ON p.id = t.page CROSS JOIN mappings m ON m.id = p.mapping
CROSS JOIN vmas v ON v.mm = t.mm AND v.start = (SELECT max(start) FROM vmas u WHERE u.mm = t.mm AND u.start <= t.addr)
WHERE t.page IN (SELECT page FROM iso WHERE {where}) AND t.present ORDER BY t.page, {order}"""
    stopped: dict[int, _Visited] = {}
    gone: list[_Visited] = []
    for row in conn.execute(query, tuple(values)).all():
        pte = _Visited(*row)
        if pte.page not in stopped and stops(pte):
            stopped[pte.page] = pte
        elif pte.page not in stopped:
            gone.append(pte)
    dirty = json.dumps([pte.page for pte in gone if pte.dirty])
    _dirty_as_ptes(conn, "SELECT value FROM json_each(?)", (dirty,))
    _leave_resident(conn, gone)
    swapped = "UPDATE ptes SET present = 0, young = 0, dirty = 0, writable = 0 WHERE mm = ? AND addr = ?"
    write_many(conn, swapped, [(pte.mm, pte.addr) for pte in gone if pte.kind == "anon"])
    write_many(
        conn,
        "DELETE FROM ptes WHERE mm = ? AND addr = ?",
        [(pte.mm, pte.addr) for pte in gone if pte.kind != "anon"],
    )
    old = "UPDATE ptes SET young = 0 WHERE mm = ? AND addr = ?"
    write_many(conn, old, [(pte.mm, pte.addr) for pte in stopped.values() if pte.young and not pte.locked])
    return _pages_in(conn, {pte.page for pte in gone})


def _leave_resident(conn: Connection, gone: Iterable[_Visited]) -> None:
    """Count the ptes no longer that are about to go."""
    by_mm: dict[int, list[int]] = {}
    for pte in gone:
        by_mm.setdefault(pte.mm, []).append(pte.addr)
    for mm, addresses in by_mm.items():
        scope = "t.mm = ? AND t.addr IN (SELECT value FROM json_each(?))"
        resident.leave(conn, scope, (mm, json.dumps(addresses)))


def _pages_in(conn: Connection, rows: Collection[int]) -> int:
    query = "SELECT coalesce(sum(count), 0) FROM pages WHERE id IN (SELECT value FROM json_each(?))"
    return int(conn.execute(query, (json.dumps(sorted(rows)),)).scalar_one())


def activate(conn: Connection, chosen: Selection) -> None:
    """The chosen pages go to the active list."""
    where, values = chosen.where()
    listed = f"SELECT page FROM iso WHERE {where}"
    write(conn, f"UPDATE pages SET flags = flags | {int(PG.ACTIVE)} WHERE id IN ({listed})", values)


def clean(conn: Connection, chosen: Selection) -> None:
    """The chosen pages are written: neither they nor their rings are dirty any more, and their ptes notice writes."""
    where, values = chosen.where()
    listed = f"SELECT page FROM iso WHERE {where}"
    write(conn, f"UPDATE pages SET flags = flags & ~{int(PG.DIRTY)} WHERE id IN ({listed})", values)
    write(conn, f"UPDATE buffers SET dirty = 0 WHERE page IN ({listed})", values)
    write(conn, f"UPDATE ptes SET dirty = 0, writable = 0 WHERE dirty AND page IN ({listed})", values)


def drop_rings(conn: Connection, chosen: Selection) -> None:
    """Take the buffers off the chosen pages."""
    where, values = chosen.where()
    write(conn, f"DELETE FROM buffers WHERE page IN (SELECT page FROM iso WHERE {where})", values)


def evict(conn: Connection, chosen: Selection) -> None:
    """
    Take the chosen pages, which nobody maps, out of memory: with a swap slot their content stays there, else on disk.

    Their holds end with them.
    """
    where, values = chosen.where()
    listed = f"SELECT page FROM iso WHERE {where}"
    write(conn, f"DELETE FROM holds WHERE page IN ({listed})", values)
    write(
        conn,
        "UPDATE pages SET node = NULL, lock = NULL, pin = NULL, pins = 0, writeback = NULL, parked = 0"
        f" WHERE area IS NOT NULL AND id IN ({listed})",
        values,
    )
    write(conn, f"DELETE FROM pages WHERE area IS NULL AND id IN ({listed})", values)


def keep_swap_entry(conn: Connection, chosen: Selection, area: int) -> int:
    """Chosen anonymous pages that are in no swap cache enter it and stay: a slot each of *area*. Pages that did."""
    where, values = chosen.where()
    flags = int(PG.DIRTY | PG.UPTODATE)
    listed = f"SELECT page FROM iso WHERE {where}"
    query = f"SELECT coalesce(sum(count), 0) FROM pages WHERE area IS NULL AND id IN ({listed})"
    nr = int(conn.execute(query, values).scalar_one())
    if nr:
        write(
            conn,
            f"UPDATE pages SET area = ?, flags = flags | ? WHERE area IS NULL AND id IN ({listed})",
            (area, flags, *values),
        )
        write(conn, "UPDATE swap_areas SET used = used + ? WHERE id = ?", (nr, area))
    return nr


def travel(conn: Connection, chosen: Selection) -> None:
    """Note that the chosen pages move."""
    where, values = chosen.where()
    conn.execute(f"INSERT OR IGNORE INTO travelled(page) SELECT page FROM iso WHERE {where}", values)


def travel_again(conn: Connection, chosen: Selection) -> int:
    """How many of the chosen pages move for the second time in this command; a third time does not count."""
    where, values = chosen.where()
    once = f"SELECT i.page FROM iso i CROSS JOIN travelled t ON t.page = i.page WHERE {where} AND NOT t.again"
    query = f"SELECT coalesce(sum(count), 0) FROM iso WHERE page IN ({once})"
    nr = int(conn.execute(query, values).scalar_one())
    if nr:
        conn.execute(f"UPDATE travelled SET again = 1 WHERE page IN ({once})", values)
    return nr


def cached_runs(conn: Connection, chosen: Selection) -> list[tuple[int, Run]]:
    """The chosen runs that have a swap entry, each with its swap area."""
    where, values = chosen.where()
    query = f"""SELECT p.area, i.addr, i.step, i.count FROM iso i CROSS JOIN pages p ON p.id = i.page
WHERE {where} AND p.area IS NOT NULL ORDER BY i.addr"""
    return [(area, Run(addr, step, count)) for area, addr, step, count in conn.execute(query, values)]


def start_travel(conn: Connection) -> None:
    """Forget what earlier commands have moved."""
    conn.execute("DELETE FROM travelled")


def rows_listed(conn: Connection) -> int:
    """Number of runs in the list."""
    return int(conn.execute("SELECT count(*) FROM iso").scalar_one())


def page_rows(conn: Connection) -> Iterable[int]:
    """The page rows of the list."""
    return [row for (row,) in conn.execute("SELECT page FROM iso")]
