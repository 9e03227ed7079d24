"""
The page list of one migration from one node, in ``iso``: choosing runs of it, cutting, dealing, asking about them.

``iso`` has a row a page run: its lowest address in the task, and everything that the rules read, packed into one
integer so that rows of equal state can be counted together. ``class`` is 0, or the position in an interleave set that
the index of its pages means (deal()). Every function here is about ``iso``; who reads or writes another work table says
so. gathering.py fills the list, effects.py has what is done to its pages.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from migratectl.page_state import PageState, node_of, told_apart, unpack
from migratectl.runs import Run
from migratectl.storage import pages
from migratectl.storage.connection import Connection, Parameters
from migratectl.storage.tasks import first_pid
from migratectl.storage.vmas import area_of
from migratectl.uapi import INDEX_LIMIT, VM

_LOCKED: Final = f"EXISTS (SELECT 1 FROM vmas v WHERE {area_of('t')} AND v.flags & {int(VM.LOCKED)})"
"""Whether a pte ``t`` lies in an area locked in memory."""

_UPPER_PARTS: Final = "INSERT INTO rest(page, stride, count) SELECT page, 1, k FROM part"
"""What stays of a run is all that lies before the piece in ``part``."""


class Alike(NamedTuple):
    """The pages of a list that have one state: its number, what it is, the node they are on, how many they are."""

    number: int
    state: PageState
    node: int
    pages: int


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

    def where(self) -> tuple[str, Parameters]:
        """The condition on ``iso`` and its values, for positional parameters."""
        clauses = ["state IN (SELECT value FROM json_each(?))"]
        values: list[str | int] = [json.dumps(self.states)]
        bounds = (("addr >= ?", self.low), ("addr < ?", self.high), ("class = ?", self.residue))
        for clause, bound in bounds:
            if bound is not None:
                clauses.append(clause)
                values.append(bound)
        return " AND ".join(clauses), tuple(values)

    def listed(self) -> tuple[str, Parameters]:
        """The SELECT of its page rows and its values, for positional parameters."""
        where, values = self.where()
        return f"SELECT page FROM iso WHERE {where}", values


def leave_out(conn: Connection, states: Iterable[int]) -> None:
    """Take the runs of some states off the list."""
    conn.execute("DELETE FROM iso WHERE state IN (SELECT value FROM json_each(?))", (json.dumps([*states]),))


def set_aside(conn: Connection) -> None:
    """Keep the list as it is in ``aside``, for take_up()."""
    conn.execute("DELETE FROM aside")
    conn.execute("INSERT INTO aside SELECT * FROM iso")


def take_up(conn: Connection, low: int, high: int) -> list[Alike]:
    """Fill ``iso`` with the part of ``aside`` that lies in [low, high), where it has been cut; its states."""
    conn.execute("DELETE FROM iso")
    conn.execute("INSERT INTO iso SELECT * FROM aside WHERE addr >= ? AND addr < ?", (low, high))
    return states(conn)


# ---- cutting and dealing


def cut_out(conn: Connection, chosen: Selection) -> Selection:
    """Cut runs at both bounds of a selection, so that each lies wholly inside or outside of it; the selection."""
    unbounded = replace(chosen, low=None, high=None)
    for at in (chosen.low, chosen.high):
        if at is not None:
            cut(conn, unbounded, at)
    return chosen


def cut(conn: Connection, chosen: Selection, at: int) -> None:
    """Cut the chosen runs across address *at*, in the state, in the list and in ``travelled``."""
    where, values = chosen.where()
    crossing = f"""INSERT INTO part(page, k, stride, count)
SELECT page, (? - addr + step - 1) / step, 1, count - (? - addr + step - 1) / step FROM iso
WHERE {where} AND addr < ? AND addr + (count - 1) * step >= ?"""
    if conn.execute(crossing, (at, at, *values, at, at)).rowcount > 0:
        conn.execute(_UPPER_PARTS)
        _cut_listed(conn)


def _cut_listed(conn: Connection) -> None:
    """Cut the pieces in ``part`` off their runs, in the state, in the list and in ``travelled``."""
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
    _cut_at_index_wrap(conn, chosen)
    where, values = chosen.where()
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


def _cut_at_index_wrap(conn: Connection, chosen: Selection) -> None:
    """Cut runs where the interleave index passes a multiple of 2^32, so that each has its indexes on one side."""
    listed, values = chosen.listed()
    border = f"((p.first / {INDEX_LIMIT} + 1) * {INDEX_LIMIT} - p.first + p.step - 1) / p.step"
    crossing = f"""INSERT INTO part(page, k, stride, count) SELECT p.id, {border}, 1, p.count - ({border})
FROM pages p WHERE p.id IN ({listed})
 AND p.first / {INDEX_LIMIT} <> (p.first + (p.count - 1) * p.step) / {INDEX_LIMIT}"""
    while conn.execute(crossing, values).rowcount > 0:
        conn.execute(_UPPER_PARTS)
        _cut_listed(conn)


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


# ---- questions about what is chosen


def total(conn: Connection, chosen: Selection) -> int:
    """Pages of the chosen runs."""
    where, values = chosen.where()
    return int(conn.execute(f"SELECT coalesce(sum(count), 0) FROM iso WHERE {where}", values).scalar_one())


def class_totals(conn: Connection, chosen: Selection) -> dict[int, int]:
    """Pages of the chosen runs by class."""
    where, values = chosen.where()
    query = f"SELECT class, sum(count) FROM iso WHERE {where} GROUP BY class ORDER BY class"
    return {row[0]: row[1] for row in conn.execute(query, values)}


def anything(conn: Connection, chosen: Selection) -> bool:
    """Whether a run is chosen, by its lowest address."""
    listed, values = chosen.listed()
    return bool(conn.execute(f"SELECT EXISTS ({listed})", values).scalar_one())


def runs(conn: Connection, chosen: Selection) -> list[Run]:
    """The addresses of the chosen runs, by lowest address."""
    where, values = chosen.where()
    query = f"SELECT addr, step, count FROM iso WHERE {where} ORDER BY addr"
    return [Run(*row) for row in conn.execute(query, values)]


def cached_runs(conn: Connection, chosen: Selection) -> list[tuple[int, Run]]:
    """The chosen runs that have a swap entry, each with its swap area."""
    where, values = chosen.where()
    query = f"""SELECT p.area, i.addr, i.step, i.count FROM iso i CROSS JOIN pages p ON p.id = i.page
WHERE {where} AND p.area IS NOT NULL ORDER BY i.addr"""
    return [(area, Run(addr, step, count)) for area, addr, step, count in conn.execute(query, values)]


class Seen(NamedTuple):
    """How many pins a page has, and how many ptes, swap ptes included; its row where it is told apart."""

    pins: int
    ptes: int
    page: int | None = None


def runs_by_references(conn: Connection, chosen: Selection, apart: Collection[int] = ()) -> dict[Seen, list[Run]]:
    """The chosen runs by what their pages have; the page rows *apart* each of their own."""
    where, values = chosen.where()
    query = f"""SELECT p.id, p.pins, (SELECT count(*) FROM ptes x WHERE x.page = p.id) + p.outside,
 i.addr, i.step, i.count FROM iso i CROSS JOIN pages p ON p.id = i.page WHERE {where} ORDER BY i.addr"""
    found: dict[Seen, list[Run]] = {}
    for page, pins, ptes, *run in conn.execute(query, values):
        found.setdefault(Seen(pins, ptes, page if page in apart else None), []).append(Run(*run))
    return found


# ---- questions about one state


def runs_by_row(conn: Connection, state: int) -> list[tuple[int, Run]]:
    """The runs of one state with their page rows, by lowest address."""
    query = "SELECT page, addr, step, count FROM iso WHERE state = ? ORDER BY addr"
    return [(page, Run(addr, step, count)) for page, addr, step, count in conn.execute(query, (state,))]


def mappers(conn: Connection, state: int, *, locked: bool) -> dict[int, tuple[int, ...]]:
    """The tasks that map the pages of one state, in areas locked in memory or in any, by page row."""
    query = f"""SELECT DISTINCT i.page, k.pid FROM iso i CROSS JOIN ptes t ON t.page = i.page
CROSS JOIN tasks k ON k.mm = t.mm WHERE i.state = ? {f"AND {_LOCKED}" if locked else ""} ORDER BY i.page, k.pid"""
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
    query = f"""SELECT i.page, {first_pid("t.mm")}, t.addr - i.addr
FROM iso i CROSS JOIN ptes t ON t.page = i.page WHERE i.state = ? AND t.present AND {_LOCKED} ORDER BY 1, 2, 3"""
    return [(page, pid, shift) for page, pid, shift in conn.execute(query, (state,)) if pid is not None]


def mapped_outside(conn: Connection, state: int) -> set[int]:
    """The page rows of one state that tasks outside the state file map too."""
    query = "SELECT i.page FROM iso i CROSS JOIN pages p ON p.id = i.page WHERE i.state = ? AND p.outside > 0"
    return {page for (page,) in conn.execute(query, (state,))}


def holders(conn: Connection, state: int, kind: str) -> list[tuple[int, tuple[int, str, int]]]:
    """(page row, (pid, kind, release pass)) of the holds of one kind on the pages of one state."""
    query = """SELECT DISTINCT i.page, h.pid, h.kind, h.passes FROM iso i CROSS JOIN holds h ON h.page = i.page
WHERE i.state = ? AND h.kind = ? ORDER BY i.page, h.pid, h.passes"""
    return [(row[0], (row[1], row[2], row[3])) for row in conn.execute(query, (state, kind))]


# ---- questions about the whole list


def rows_listed(conn: Connection) -> int:
    """Number of runs in the list."""
    return int(conn.execute("SELECT count(*) FROM iso").scalar_one())


def page_rows(conn: Connection) -> Iterable[int]:
    """The page rows of the list."""
    return [row for (row,) in conn.execute("SELECT page FROM iso")]


def in_swap_area(conn: Connection, area: int) -> set[int]:
    """The page rows of the list that have a slot of a swap area."""
    query = "SELECT i.page FROM iso i CROSS JOIN pages p ON p.id = i.page WHERE p.area = ?"
    return {page for (page,) in conn.execute(query, (area,))}


def node_by_address(conn: Connection) -> dict[int, int | None]:
    """Where the single pages of the list are now, by the page number at which they were found; None: in swap."""
    query = "SELECT i.addr, p.node FROM iso i CROSS JOIN pages p ON p.id = i.page"
    return {addr: node for addr, node in conn.execute(query)}  # noqa: C416 - a row is no pair for mypy
