"""
What is done to the chosen pages of a list (``iso``), and what a command remembers of it for its next list.

All pages of a selection fare alike, so an effect is a few statements over its page rows. The list stays as it is: who
needs the new states gathers again. Every function here takes the pages from ``iso``; who reads or writes another work
table says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, NamedTuple

from migratectl.page_state import node_of, unpack
from migratectl.storage import holds, resident
from migratectl.storage.connection import Connection, Parameters
from migratectl.storage.pagelist import Selection
from migratectl.storage.tasks import first_pid
from migratectl.storage.vmas import area_of
from migratectl.storage.work import write, write_many
from migratectl.uapi import PG, VM

_ENTERED: Final = int(PG.DIRTY | PG.UPTODATE)
"""The flags of an anonymous page that enters the swap cache."""

_SWAP_PTES: Final = "UPDATE ptes SET present = 0, young = 0, dirty = 0, writable = 0"


# ---- moving


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
    kinds = {state: unpack(state).kind for state in chosen.states}
    anon = replace(chosen, states=tuple(state for state, kind in kinds.items() if kind == "anon"))
    others = replace(chosen, states=tuple(state for state, kind in kinds.items() if kind != "anon"))
    for part, mm in ((anon, alone if restored else None), (others, None)):
        if not part.states:
            continue
        with _counted(conn, part, node, mm):
            if not through_swap:
                listed, values = part.listed()
                write(conn, f"UPDATE pages SET node = ? WHERE id IN ({listed})", (node, *values))
            elif part is anon:
                _move_through_swap(conn, part, node, restored=restored)
            else:
                _move_cache(conn, part, node)


@contextmanager
def _counted(conn: Connection, chosen: Selection, node: int, alone: int | None) -> Iterator[None]:
    """Keep count of who has how many pages where, while the chosen runs go to another node."""
    if alone is None:
        listed, values = chosen.listed()
        with resident.counted(conn, f"t.page IN ({listed})", values):
            yield
        return
    yield
    where, values = chosen.where()
    change: dict[int, int] = {}
    for state, nr in conn.execute(f"SELECT state, sum(count) FROM iso WHERE {where} GROUP BY state", values):
        for nid, more in ((node_of(state), -nr), (node, nr)):
            change[nid] = change.get(nid, 0) + more
    resident.add(conn, alone, change)


def _move_through_swap(conn: Connection, chosen: Selection, node: int, *, restored: bool) -> None:
    """Anonymous pages: into the swap cache, to the node, and out of it again where their ptes are restored."""
    listed, values = chosen.listed()
    _dirty_as_ptes(conn, listed, values)
    if restored:
        _give_slots_back(conn, chosen)
    entered = f"flags | CASE WHEN area IS NULL THEN {_ENTERED} ELSE 0 END"
    change = f"node = ?, flags = {entered}{', area = NULL' if restored else ''}"
    write(conn, f"UPDATE pages SET {change} WHERE id IN ({listed})", (node, *values))
    write(
        conn,
        f"UPDATE ptes SET present = {int(restored)}, young = 0, dirty = 0, writable = 0 WHERE page IN ({listed})",
        values,
    )


def _give_slots_back(conn: Connection, chosen: Selection) -> None:
    """The swap slots of the chosen pages are free; the pages themselves do not know it yet."""
    if any(unpack(state).swapcache for state in chosen.states):
        listed, values = chosen.listed()
        query = f"SELECT area, sum(count) FROM pages WHERE area IS NOT NULL AND id IN ({listed}) GROUP BY area"
        for area, nr in conn.execute(query, values).all():
            write(conn, "UPDATE swap_areas SET used = used - ? WHERE id = ?", (nr, area))


def _move_cache(conn: Connection, chosen: Selection, node: int) -> None:
    """Pages of a file: pte dirty becomes page dirty, every pte goes, nobody maps the new page until it is touched."""
    _dirty_rings(conn, chosen)
    listed, values = chosen.listed()
    _dirty_as_ptes(conn, listed, values)
    write(conn, f"UPDATE pages SET node = ?, outside = 0 WHERE id IN ({listed})", (node, *values))
    write(conn, f"DELETE FROM ptes WHERE page IN ({listed})", values)


def _dirty_rings(conn: Connection, chosen: Selection) -> None:
    """A dirty page that takes its ring along is set dirty through the mapping: the buffers are dirty now (2.3)."""
    told = {number: unpack(number) for number in chosen.states}
    behind = [number for number, page in told.items() if page.dirty and page.ring and not page.ring.dirty]
    if behind:
        listed, values = replace(chosen, states=tuple(behind)).listed()
        write(conn, f"UPDATE buffers SET dirty = 1 WHERE page IN ({listed})", values)


def _dirty_as_ptes(conn: Connection, listed: str, values: Parameters) -> None:
    """What a pte knows as dirty makes its page dirty, through the mapping: the buffers too (semantics.md 1.8)."""
    dirty = f"SELECT page FROM ptes WHERE dirty AND page IN ({listed})"
    write(conn, f"UPDATE pages SET flags = flags | {int(PG.DIRTY)} WHERE id IN ({dirty})", values)
    write(conn, f"UPDATE buffers SET dirty = 1 WHERE NOT dirty AND page IN ({dirty})", values)


# ---- unmapping


def unmap(conn: Connection, chosen: Selection) -> None:
    """Take the ptes of the chosen pages away: anonymous ones become swap ptes, their dirty bit goes to the page."""
    listed, values = chosen.listed()
    _dirty_as_ptes(conn, listed, values)
    anon = "(SELECT m.kind FROM pages p CROSS JOIN mappings m ON m.id = p.mapping WHERE p.id = ptes.page) = 'anon'"
    resident.leave(conn, f"t.page IN ({listed})", values)
    write(conn, f"{_SWAP_PTES} WHERE page IN ({listed}) AND {anon}", values)
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
    stopped: dict[int, _Visited] = {}
    gone: list[_Visited] = []
    for pte in _visited(conn, chosen):
        if pte.page not in stopped and stops(pte):
            stopped[pte.page] = pte
        elif pte.page not in stopped:
            gone.append(pte)
    dirty = json.dumps([pte.page for pte in gone if pte.dirty])
    _dirty_as_ptes(conn, "SELECT value FROM json_each(?)", (dirty,))
    _leave_resident(conn, gone)
    at = "WHERE mm = ? AND addr = ?"
    write_many(conn, f"{_SWAP_PTES} {at}", [(pte.mm, pte.addr) for pte in gone if pte.kind == "anon"])
    write_many(conn, f"DELETE FROM ptes {at}", [(pte.mm, pte.addr) for pte in gone if pte.kind != "anon"])
    aged = [(pte.mm, pte.addr) for pte in stopped.values() if pte.young and not pte.locked]
    write_many(conn, f"UPDATE ptes SET young = 0 {at}", aged)
    return _pages_in(conn, {pte.page for pte in gone})


def _visited(conn: Connection, chosen: Selection) -> list[_Visited]:
    """The present ptes of the chosen pages, for each page in the order of pid and address."""
    listed, values = chosen.listed()
    order = f"{first_pid('t.mm')}, t.addr"
    query = f"""SELECT t.page, t.mm, t.addr, m.kind, v.flags & {int(VM.LOCKED)}, t.dirty,
 t.young * sum(t.young) OVER (PARTITION BY t.page ORDER BY {order})
FROM ptes t CROSS JOIN pages p ON p.id = t.page CROSS JOIN mappings m ON m.id = p.mapping
CROSS JOIN vmas v ON {area_of("t")}
WHERE t.page IN ({listed}) AND t.present ORDER BY t.page, {order}"""
    return [_Visited(*row) for row in conn.execute(query, values)]


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


# ---- writing back, leaving memory


def activate(conn: Connection, chosen: Selection) -> None:
    """The chosen pages go to the active list."""
    listed, values = chosen.listed()
    write(conn, f"UPDATE pages SET flags = flags | {int(PG.ACTIVE)} WHERE id IN ({listed})", values)


def clean(conn: Connection, chosen: Selection) -> None:
    """The chosen pages are written: neither they nor their rings are dirty any more, and their ptes notice writes."""
    listed, values = chosen.listed()
    write(conn, f"UPDATE pages SET flags = flags & ~{int(PG.DIRTY)} WHERE id IN ({listed})", values)
    write(conn, f"UPDATE buffers SET dirty = 0 WHERE page IN ({listed})", values)
    write(conn, f"UPDATE ptes SET dirty = 0, writable = 0 WHERE dirty AND page IN ({listed})", values)


def drop_rings(conn: Connection, chosen: Selection) -> None:
    """Take the buffers off the chosen pages."""
    listed, values = chosen.listed()
    write(conn, f"DELETE FROM buffers WHERE page IN ({listed})", values)


def evict(conn: Connection, chosen: Selection) -> None:
    """
    Take the chosen pages, which nobody maps, out of memory: with a swap slot their content stays there, else on disk.

    Their holds end with them.
    """
    listed, values = chosen.listed()
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
    listed, values = chosen.listed()
    query = f"SELECT coalesce(sum(count), 0) FROM pages WHERE area IS NULL AND id IN ({listed})"
    nr = int(conn.execute(query, values).scalar_one())
    if nr:
        entering = f"UPDATE pages SET area = ?, flags = flags | {_ENTERED} WHERE area IS NULL AND id IN ({listed})"
        write(conn, entering, (area, *values))
        write(conn, "UPDATE swap_areas SET used = used + ? WHERE id = ?", (nr, area))
    return nr


def expire_holds(conn: Connection, chosen: Selection, *, lock: int, writeback: int, pin: int, ring: int) -> None:
    """
    End the holds on the chosen pages that are over by a pass; fills ``picked``.

    Args:
        conn: The connection of the transaction.
        chosen: The pages.
        lock: The last release pass of page locks that end.
        writeback: That of writeback.
        pin: That of pins, and of buffers in use.
        ring: That of locks of buffers.
    """
    listed, values = chosen.listed()
    ended = f"""DELETE FROM holds WHERE page IN ({listed})
 AND passes <= CASE kind WHEN 'lock' THEN ? WHEN 'writeback' THEN ? WHEN 'pin' THEN ? ELSE -1 END"""
    write(conn, ended, (*values, lock, writeback, pin))
    conn.execute("DELETE FROM picked")
    conn.execute(f"INSERT INTO picked {listed}", values)
    holds.refresh(conn)
    for column, change, last in (("locked", "locked = NULL", ring), ("busy", "busy = NULL, late = 0", pin)):
        ended = f"UPDATE buffers SET {change} WHERE {column} <= ? AND page IN (SELECT page FROM picked)"
        write(conn, ended, (last,))


# ---- what a command remembers over its lists


def forget_met(conn: Connection) -> None:
    """Forget what note_met() and note_back() have noted: empty ``met`` and ``back``."""
    conn.execute("DELETE FROM met")
    conn.execute("DELETE FROM back")


def note_met(conn: Connection, node: int) -> None:
    """Note in ``met`` the pages of the list that stayed on a node, but for those in ``back``, which is emptied."""
    stayed = """SELECT i.page FROM iso i CROSS JOIN pages p ON p.id = i.page
WHERE p.node = ? AND i.page NOT IN (SELECT page FROM back)"""
    conn.execute(f"INSERT OR IGNORE INTO met {stayed}", (node,))
    conn.execute("DELETE FROM back")


def note_back(conn: Connection, chosen: Selection) -> None:
    """Note in ``back`` that the chosen pages move to the node that they are on: they did not stay there (B18)."""
    listed, values = chosen.listed()
    conn.execute(f"INSERT OR IGNORE INTO back {listed}", values)


def forget_travels(conn: Connection) -> None:
    """Forget what earlier commands have moved: empty ``travelled``."""
    conn.execute("DELETE FROM travelled")


def note_travel(conn: Connection, chosen: Selection) -> None:
    """Note in ``travelled`` that the chosen pages move."""
    listed, values = chosen.listed()
    conn.execute(f"INSERT OR IGNORE INTO travelled(page) {listed}", values)


def note_second_travel(conn: Connection, chosen: Selection) -> int:
    """How many of the chosen pages are in ``travelled`` and move for the second time; a third time does not count."""
    where, values = chosen.where()
    once = f"SELECT i.page FROM iso i CROSS JOIN travelled t ON t.page = i.page WHERE {where} AND NOT t.again"
    query = f"SELECT coalesce(sum(count), 0) FROM iso WHERE page IN ({once})"
    nr = int(conn.execute(query, values).scalar_one())
    if nr:
        conn.execute(f"UPDATE travelled SET again = 1 WHERE page IN ({once})", values)
    return nr
