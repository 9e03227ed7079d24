"""A small state to cut and join: two tasks of one family, anonymous areas, a file mapped twice; pages spelt out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from migratectl.nodemask import Nodemask
from migratectl.runs import Run, make_run
from migratectl.storage import facts, nodes, resident, tasks
from migratectl.storage.connection import Connection
from migratectl.storage.facts import Facts
from migratectl.storage.nodes import Node
from migratectl.storage.reach import reach_of
from migratectl.uapi import Profile

MM, CHILD = 1, 2
ANON, FILE, STRANGER = 1, 2, 3
AREA = 40
BORDERS = (0, AREA, 2 * AREA)
"""Two areas of the family, side by side, in both address spaces."""

WINDOWS = (100, 200)
"""Where the first address space maps the file: the same pages twice."""


@dataclass(frozen=True)
class Piece:
    """A run to lay: attributes that its pages share, and who maps it how."""

    run: Run
    file: bool = False
    node: int | None = 0
    area: int | None = None
    flags: int = 0
    outside: int = 0
    shift: int = 0  # origin_first minus first
    hold: tuple[str, int, int] | None = None  # kind, passes, count
    ring: int = 0
    bits: tuple[int, int, int, int] = (1, 1, 1, 1)
    child: tuple[int, int, int, int] | None = None

    def pages(self) -> set[int]:
        """Its indexes."""
        return set(range(self.run.start, self.run.last + 1, self.run.step))


def furnish(conn: Connection) -> None:
    """The machine, the tasks and the areas, without pages."""
    facts.store(conn, Facts(4096, Profile.V9))
    machine = [Node(nid, True, Nodemask([nid]), (nid, 1 - nid), 10_000, 0, 0, (0,) * 6) for nid in range(2)]
    nodes.insert(conn, machine, {(a, b): 10 if a == b else 20 for a in range(2) for b in range(2)})
    tasks.insert_cpuset(conn, tasks.Cpuset(0, "/", Nodemask([0, 1]), Nodemask([0, 1])))
    for statement in (
        "INSERT INTO swap_areas(id, name, slots) VALUES (1, 'swap0', 10000), (2, 'swap1', 10000)",
        "INSERT INTO mappings(id, kind, name, method) VALUES"
        " (1, 'anon', 'anon:10', 'page'), (2, 'file', '/lib', 'buffer'), (3, 'file', '/data', 'page')",
        "INSERT INTO mms(id, anon) VALUES (1, 1), (2, 1)",
        "INSERT INTO tasks(pid, name, uid, cpu, cpuset, mm, caps, tgid) VALUES"
        " (10, 'a', 0, 0, 1, 1, 0, 10), (11, 'b', 0, 1, 1, 2, 0, 11)",
        'INSERT INTO vmas(mm, start, "end", mapping, delta, flags) VALUES (1, 0, 40, 1, 0, 3), (1, 40, 80, 1, 0, 3),'
        " (2, 0, 40, 1, 0, 3), (2, 40, 80, 1, 0, 3), (1, 100, 140, 2, -100, 1), (1, 200, 240, 2, -200, 1)",
    ):
        conn.execute(statement)


def lay(conn: Connection, piece: Piece) -> int:
    """Write a piece as it is, and its row id."""
    run, mapping = piece.run, FILE if piece.file else ANON
    kind, passes, nr = piece.hold or ("", None, 0)
    columns = {"lock": None, "pin": None, "writeback": None} | ({kind: passes} if kind in ("lock", "pin") else {})
    row = conn.execute(
        "INSERT INTO pages(mapping, first, count, step, node, area, flags, lock, pin, pins, outside, origin,"
        " origin_first) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (
            *(mapping, run.start, run.nr_pages, run.step, piece.node, piece.area, piece.flags, columns["lock"]),
            *(columns["pin"], nr if kind == "pin" else 0, piece.outside),
            *(STRANGER if piece.shift else mapping, run.start + piece.shift),
        ),
    ).scalar_one()
    starts = (
        [(MM, run.start + window, piece.bits) for window in WINDOWS] if piece.file else [(MM, run.start, piece.bits)]
    )
    if piece.child is not None and not piece.file:
        starts.append((CHILD, run.start, piece.child))
    for mm, addr, bits in starts:
        conn.execute("INSERT INTO ptes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (mm, addr, row, *bits, reach_of(run)))
    resident.enter(conn, "t.page = ?", (row,))
    if piece.hold is not None:
        hold = "INSERT INTO holds(page, pid, kind, passes, count) VALUES (?, 10, ?, ?, ?)"
        conn.execute(hold, (row, *piece.hold))
    if piece.ring:
        conn.execute("INSERT INTO buffers(page, ring) VALUES (?, ?)", (row, piece.ring))
    return int(row)


def expanded(conn: Connection) -> Counter[tuple[Any, ...]]:
    """Every page with all that is known of it, spelt out: what cutting and joining must not change."""
    found: Counter[tuple[Any, ...]] = Counter()
    columns = "id, first, count, step, origin_first, mapping, node, area, flags, lock, pin, pins, writeback, parked,"

    def rows_of(page: int, query: str) -> tuple[tuple[Any, ...], ...]:
        return tuple(sorted(tuple(row) for row in conn.execute(f"SELECT {query} WHERE page = ?", (page,))))

    for row in conn.execute(f"SELECT {columns} outside, origin FROM pages").all():
        page, first, count, step, content = row[:5]
        mapped = rows_of(page, "mm, addr, present, young, dirty, writable FROM ptes")
        held = rows_of(page, "pid, kind, passes, count FROM holds")
        ring = rows_of(page, "ring, dirty, locked, busy FROM buffers")
        for k in range(count):
            at = k * step
            where = tuple((mm, addr + at, *bits) for mm, addr, *bits in mapped)
            found[first + at, content + at, *row[5:], where, held, ring] += 1
    return found


def shapes(conn: Connection) -> list[tuple[int, int, int]]:
    """(first, count, step) of all page rows, by first."""
    return [tuple(row) for row in conn.execute("SELECT first, count, step FROM pages ORDER BY first, id")]


def row_ids(conn: Connection) -> list[int]:
    """The page rows."""
    return [row for (row,) in conn.execute("SELECT id FROM pages ORDER BY id")]


def crossing(conn: Connection) -> int:
    """Ptes that reach over the end of the area they start in."""
    query = """SELECT count(*) FROM ptes t JOIN pages p ON p.id = t.page JOIN vmas v ON v.mm = t.mm
AND t.addr >= v.start AND t.addr < v."end" WHERE t.addr + (p.count - 1) * p.step >= v."end\""""
    return int(conn.execute(query).scalar_one())


BITS = st.sampled_from([(1, 1, 1, 1), (1, 0, 0, 0), (1, 1, 0, 0)])


@st.composite
def pieces(draw: st.DrawFn) -> list[Piece]:
    """Disjoint runs of few kinds, so that many could be joined; anonymous ones inside one area."""
    chosen: list[Piece] = []
    taken: dict[bool, set[int]] = {False: set(), True: set()}
    for _ in range(draw(st.integers(1, 9))):
        file = draw(st.sampled_from([False, False, True]))
        low, high = draw(st.sampled_from([(0, AREA), (AREA, 2 * AREA)] if not file else [(0, AREA)]))
        start, step = draw(st.integers(low, high - 1)), draw(st.integers(1, 6))
        count = min(draw(st.integers(1, 12)), (high - 1 - start) // step + 1)
        piece = Piece(make_run(start, step, count), file, node=draw(st.integers(0, 1)))
        if taken[file] & piece.pages():
            continue
        taken[file] |= piece.pages()
        odd = draw(st.sampled_from(["", "", "", "flags", "shift", "lock", "pin", "outside", "swapped"]))
        if odd == "swapped" and not file:
            piece = replace(
                piece, node=None, area=1, bits=(0, 0, 0, 0), child=draw(st.sampled_from([None, (0, 0, 0, 0)]))
            )
        else:
            piece = replace(piece, bits=draw(BITS), child=draw(st.none() | BITS), ring=draw(st.integers(0, 1)) * file)
        extra: dict[str, Any] = {
            "flags": {"flags": 1},
            "shift": {"shift": 7},
            "lock": {"hold": ("lock", 2, 1)},
            "pin": {"hold": ("pin", 14, 3)},
            "outside": {"outside": 2},
        }
        chosen.append(replace(piece, **extra.get(odd, {})))
    return chosen
