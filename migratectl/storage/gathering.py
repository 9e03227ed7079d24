"""
Gathering a page list: ``iso`` is filled with present pages, and what the rules read of them is told in their state.

A state is one integer, packed by the statement that gathers (page_state.py). By which SQL expression each of its facts
is read stands here; who gathers says which of them somebody will ask for. A list can also be taken off the LRU while
other commands run beside its migration: isolate() notes it in ``isolated``, reread() gathers it anew from there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from migratectl.page_state import LATE, pack, same
from migratectl.storage import pages, resident, vmas
from migratectl.storage.connection import Connection
from migratectl.storage.pagelist import Alike, states
from migratectl.storage.tasks import first_pid
from migratectl.storage.vmas import area_of, first_from
from migratectl.storage.work import write
from migratectl.uapi import PG, VM

Expressions = dict[str, str]
"""By fact of a state the SQL expression of its value: of pages ``p``, ptes ``t`` and areas ``v``."""

_LOCKED: Final = int(VM.LOCKED)
_SHARED_WRITE: Final = int(VM.SHARED | VM.WRITE)

_AREA: Final = f"""CASE WHEN v.flags & {int(VM.HUGETLB)} THEN 'vma-hugetlb'
 WHEN v.flags & {int(VM.PFNMAP)} THEN 'vma-pfnmap' WHEN v.flags & {int(VM.IO)} THEN 'vma-io'
 WHEN v.flags & {int(VM.RESERVED)} THEN 'vma-reserved' WHEN v.flags & {_LOCKED} THEN 'vma-locked' ELSE '' END"""
_MAPCOUNT: Final = "(SELECT count(*) FROM ptes x WHERE x.page = p.id AND x.present) + p.outside"
_MLOCKED: Final = f"""EXISTS (SELECT 1 FROM ptes x CROSS JOIN vmas w ON {area_of("x", "w")}
 WHERE x.page = p.id AND x.present AND w.flags & {_LOCKED}{{}})"""
_MLOCKED_ANYWHERE: Final = _MLOCKED.format("")
_MLOCKED_ELSEWHERE: Final = _MLOCKED.format(" AND NOT (x.mm = t.mm AND x.addr = t.addr)")
_FLAG_DIRTY: Final = f"(p.flags & {int(PG.DIRTY)} <> 0)"
_DIRTY: Final = f"({_FLAG_DIRTY} OR EXISTS (SELECT 1 FROM ptes x WHERE x.page = p.id AND x.dirty))"

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
    "writepage": f"""CASE WHEN b.late THEN '{LATE}' WHEN m.kind = 'shm' OR m.fs = 'tmpfs' THEN 'swap'
 WHEN m.fs = 'ramfs' THEN 'none' ELSE 'disk' END""",
    "truncated": "m.kind = 'none'",
    "ring": "b.page IS NOT NULL",
    "ring_dirty": "coalesce(b.dirty, 0)",
    "ring_locked": "b.locked",
    "ring_busy": "b.busy",
}
"""With _WITH_FILE."""

_WITH_FILE: Final = "CROSS JOIN mappings m ON m.id = p.mapping LEFT JOIN buffers b ON b.page = p.id"

_OF_ITS_PTES: Final = {
    "young": "(SELECT count(*) FROM ptes x WHERE x.page = p.id AND x.young)",
    "dropped_dirty": f"""EXISTS (SELECT 1 FROM ptes x WHERE x.page = p.id AND x.dirty AND NOT EXISTS (
 SELECT 1 FROM ptes y CROSS JOIN vmas w ON {area_of("y", "w")}
 WHERE y.page = p.id AND y.present AND w.flags & {_LOCKED}
 AND ({first_pid("y.mm")}, y.addr) <= ({first_pid("x.mm")}, x.addr)))""",
}
_OWNED: Final = f"""(EXISTS (SELECT 1 FROM vmas w WHERE w.mapping = p.mapping
 AND w.flags & {_SHARED_WRITE} = {_SHARED_WRITE})
 OR NOT EXISTS (SELECT 1 FROM vmas w WHERE w.mapping = p.mapping AND w.mm <> v.mm))"""

_GATHER: Final = f"""INSERT OR IGNORE INTO iso(page, addr, step, count, state)
SELECT p.id, t.addr, p.step, p.count, {{state}}
FROM vmas v CROSS JOIN ptes t ON t.mm = v.mm AND t.addr >= max(v.start, ?5) AND t.addr < min(v."end", ?6)
CROSS JOIN pages p ON p.id = t.page {{join}}
WHERE v.mm = ?1 AND v.mapping {{which}} ?2 AND v.start < ?6 AND v.start >= {first_from("?1", "?5")} AND t.present
 AND (p.node IN (SELECT value FROM json_each(?3)) OR ?4 AND p.node IS NULL)
ORDER BY v.start, t.addr"""


@dataclass(frozen=True, slots=True)
class Asked:
    """
    What somebody will ask of the pages of a list beyond what is always read.

    Attributes:
        mapcounts: The rules read mapcounts.
        evict: They ask whether an anonymous page is dirty.
        posted: They are those of ``v9-posted``.
        traced: A trace asks whether an anonymous page is dirty.
    """

    mapcounts: bool
    evict: bool = False
    posted: bool = False
    traced: bool = False


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
        unmet: Leave out the pages that effects.note_met() has noted in ``met``.
    """

    nodes: tuple[int, ...]
    start: int = 0
    end: int = 1 << 62
    zero: bool = False
    unmet: bool = False
    across: int | None = None


def _of_anonymous(asked: Asked, *, alone: bool) -> Expressions:
    """The facts of a page of an anonymous area."""
    return _of_mapped(asked) | {
        "kind": "CASE WHEN p.node IS NULL THEN 'zero' ELSE 'anon' END",
        "mlocked": "0" if alone else _MLOCKED_ELSEWHERE,
        "mapcount": "1 + p.outside" if alone else _mapcount(asked),
        "dirty": _DIRTY if asked.evict or asked.traced else "0",
    }


def _of_any(asked: Asked) -> Expressions:
    """The facts of a page of any area; with _WITH_FILE."""
    return _of_mapped(asked) | {
        **_OF_ITS_FILE,
        "mlocked": _MLOCKED_ELSEWHERE,
        "mapcount": _mapcount(asked),
        "dirty": _FLAG_DIRTY if asked.posted and not asked.evict else _DIRTY,
    }


def _of_mapped(asked: Asked) -> Expressions:
    posted = {"owned": _OWNED, **_OF_ITS_PTES} if asked.posted else {}
    return _OF_ITSELF | {"area": _AREA} | posted


def _mapcount(asked: Asked) -> str:
    return _MAPCOUNT if asked.mapcounts else "1"


def gather_statements(asked: Asked, *, alone: bool) -> tuple[str, str]:
    """
    The statements that fill ``iso``: for anonymous areas and for all others.

    Args:
        asked: What somebody will ask of the pages.
        alone: No other address space is of the anonymous family, so an anonymous page has one pte at most.

    Returns:
        Two statements with the parameters mm, anonymous mapping, nodes as JSON, whether zero pages are wanted too,
        start and end of the range.
    """
    return (
        _GATHER.format(state=pack(_of_anonymous(asked, alone=alone)), join="", which="="),
        _GATHER.format(state=pack(_of_any(asked)), join=_WITH_FILE, which="<>"),
    )


def gather(
    conn: Connection, mm: int, wanted: Wanted, asked: Asked, *, anon: int, alone: bool, files: bool
) -> list[Alike]:
    """
    Fill ``iso`` with present pages of an address space, each once at its lowest address.

    Args:
        conn: The connection of the transaction.
        mm: The address space.
        wanted: Which pages; may leave out those in ``met``.
        asked: What somebody will ask of them.
        anon: The anonymous mapping of the address space.
        alone: See gather_statements().
        files: Whether the address space has areas that are not anonymous.

    Returns:
        The distinct states, by number.
    """
    conn.execute("DELETE FROM iso")
    if not _any_wanted(conn, mm, wanted):
        return []
    ranges = [(wanted.start, wanted.end)]
    if wanted.across is not None:
        ranges += [(addr, addr + 1) for addr in pages.reaching(conn, mm, wanted.start, wanted.across)]
    for statement in gather_statements(asked, alone=alone)[: 2 if files else 1]:
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


def gather_pages(conn: Connection, mm: int, addresses: Sequence[int], asked: Asked) -> list[Alike]:
    """
    Fill ``iso`` with the present ones of single pages of an address space.

    Args:
        conn: The connection of the transaction.
        mm: The address space.
        addresses: Where the pages are; each must have been cut out.
        asked: What somebody will ask of them.

    Returns:
        The distinct states, by number.
    """
    conn.execute("DELETE FROM iso")
    statement = f"""INSERT OR IGNORE INTO iso(page, addr, step, count, state)
SELECT p.id, t.addr, p.step, p.count, {pack(_of_any(asked))}
FROM ptes t CROSS JOIN pages p ON p.id = t.page {_WITH_FILE} CROSS JOIN vmas v ON {area_of("t")}
WHERE t.mm = ?1 AND t.addr = ?2 AND t.present"""
    if addresses:
        conn.execute_many(statement, [(mm, addr) for addr in addresses])
    return states(conn)


def gather_unmapped(conn: Connection, mapping: int, node: int) -> list[Alike]:
    """
    Fill ``iso`` with the cache pages of a mapping on a node that nobody maps; their addresses are page indexes.

    Returns:
        The distinct states, by number.
    """
    conn.execute("DELETE FROM iso")
    state = pack(_OF_ITSELF | _OF_ITS_FILE | {"mapcount": "p.outside", "dirty": _FLAG_DIRTY})
    conn.execute(
        f"""INSERT INTO iso(page, addr, step, count, state)
SELECT p.id, p.first, p.step, p.count, {state} FROM pages p {_WITH_FILE}
WHERE p.mapping = ? AND p.node = ? AND NOT EXISTS (SELECT 1 FROM ptes t WHERE t.page = p.id)""",
        (mapping, node),
    )
    return states(conn)


def isolate(conn: Connection) -> None:
    """
    Take the pages in ``iso`` off the LRU, noted in ``isolated``, while other commands run beside their migration.

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
    Fill ``iso`` with what isolate() noted in ``isolated``, as it is now; no pte may lead to a page any more.

    Args:
        conn: The connection of the transaction.
        backed_out: Page rows on which another command holds a reference.
        posted: The rules are those of ``v9-posted``.

    Returns:
        The distinct states, by number.
    """
    facts = _OF_ITSELF | _OF_ITS_FILE | (_OF_ITS_PTES if posted else {})
    facts |= {
        "parked": "0",
        "mlocked": _MLOCKED_ANYWHERE,
        "mapcount": _MAPCOUNT,
        "dirty": f"CASE WHEN m.kind = 'anon' THEN {_DIRTY} ELSE {_FLAG_DIRTY} END" if posted else _DIRTY,
        "backed_out": "p.id IN (SELECT value FROM json_each(?))",
    }
    conn.execute("DELETE FROM iso")
    conn.execute(
        f"""INSERT INTO iso(page, addr, step, count, state)
SELECT p.id, p.first + l.shift, p.step, p.count, {pack(facts)} | {same("area", "l.state")}
FROM pages p CROSS JOIN isolated l ON l.number = p.parked >> 1 {_WITH_FILE}
WHERE p.parked > 1 AND p.node IS NOT NULL""",
        (json.dumps(sorted(backed_out)),),
    )
    return states(conn)


def put_back(conn: Connection) -> None:
    """The pages that isolate() took are on the LRU again, as far as no task has parked them."""
    write(conn, "UPDATE pages SET parked = parked & 1 WHERE parked > 1")
