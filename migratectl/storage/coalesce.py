"""
Joining runs that became equal again, around what a command touched.

Two runs are one when every column agrees, the content goes on, holds and buffers are equal and their ptes continue
each other bit for bit inside the same areas. Chains join runs that follow each other; zips join the residue classes
that deal() had dealt. Above LIMIT touched rows nothing is joined: reading them would cost more than it saves, and no
output depends on how runs are cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from migratectl.runs import make_run
from migratectl.storage.connection import Connection
from migratectl.storage.pages import LARGEST_STEP, SHARED_COLUMNS
from migratectl.storage.reach import reach_of
from migratectl.storage.work import pick, write, write_many

LIMIT: Final = 4096
"""Touched rows above which a command leaves runs as they are."""

_COLUMNS = ", ".join(f"p.{name}" for name in SHARED_COLUMNS)
_ROWS = f"""SELECT p.id, p.first, p.count, p.step, p.origin_first - p.first, {_COLUMNS}
FROM picked c CROSS JOIN pages p ON p.id = c.page"""
_PTES = """SELECT t.page, t.mm, (SELECT max(v.start) FROM vmas v WHERE v.mm = t.mm AND v.start <= t.addr),
 t.addr - p.first, t.present, t.young, t.dirty, t.writable
FROM picked c CROSS JOIN pages p ON p.id = c.page CROSS JOIN ptes t ON t.page = c.page ORDER BY 1, 2, 3, 4"""
_HOLDS = """SELECT h.page, h.pid, h.kind, h.passes, h.count
FROM picked c CROSS JOIN holds h ON h.page = c.page ORDER BY 1, 2, 3, 4, 5"""
_BUFFERS = "SELECT b.* FROM picked c CROSS JOIN buffers b ON b.page = c.page"
_NEIGHBOURS = f"""INSERT OR IGNORE INTO picked
SELECT n.id FROM picked c CROSS JOIN pages p ON p.id = c.page CROSS JOIN pages n
 ON n.mapping = p.mapping AND n.first = p.next
UNION ALL SELECT n.id FROM picked c CROSS JOIN pages p ON p.id = c.page CROSS JOIN pages n
 ON n.mapping = p.mapping AND n.next = p.first
UNION ALL SELECT n.id FROM picked c CROSS JOIN pages p ON p.id = c.page AND p.count = 1 CROSS JOIN pages n
 ON n.mapping = p.mapping AND n.first BETWEEN p.first + 1 AND p.first + {LARGEST_STEP}
 AND n.count > 1 AND n.first - n.step = p.first
UNION ALL SELECT n.id FROM picked c CROSS JOIN pages p ON p.id = c.page AND p.count > 1 CROSS JOIN pages n
 ON n.mapping = p.mapping AND n.first = p.first - p.step AND n.count = 1"""


@dataclass(slots=True)
class _Row:
    id: int
    first: int
    count: int
    step: int
    state: tuple[Any, ...]
    details: list[tuple[Any, ...]] = field(default_factory=list)
    absorbed: list[int] = field(default_factory=list)
    grown: bool = False

    @property
    def key(self) -> tuple[Any, ...]:
        return (*self.state, *self.details)

    @property
    def next(self) -> int:
        return self.first + self.count * self.step


def coalesce(conn: Connection, touched: Iterable[int]) -> None:
    """
    Join what became equal around the page rows *touched*; rows that are gone are passed over.

    Neighbours are looked up by index; after a join all that was looked at, and the new neighbours, are looked at again:
    a joined run may be a residue class beside one that did not grow.
    """
    wanted = set(touched)
    if not 0 < len(wanted) <= LIMIT:
        return
    while wanted:
        pick(conn, wanted)
        conn.execute(_NEIGHBOURS)
        rows = _read(conn)
        joined = _zipped(_chained(rows))
        grown = [row for row in joined if row.grown]
        _write(conn, grown)
        wanted = {row.id for row in joined} if grown else set()


def _read(conn: Connection) -> list[_Row]:
    rows = {row[0]: _Row(row[0], row[1], row[2], row[3], tuple(row[4:])) for row in conn.execute(_ROWS)}
    if len(rows) < 2:  # nothing to join
        return list(rows.values())
    for query in (_PTES, _HOLDS, _BUFFERS):
        for row in conn.execute(query):
            rows[row[0]].details.append(tuple(row[1:]))
    return list(rows.values())


def _chained(rows: Iterable[_Row]) -> list[_Row]:
    """Append to each run the runs that follow it; a single page fits behind or before a run of any step."""
    groups: dict[tuple[Any, ...], list[_Row]] = {}
    for row in rows:
        groups.setdefault(row.key, []).append(row)
    done: list[_Row] = []
    for group in groups.values():
        if len(group) == 1:
            done += group
            continue
        by_first = {row.first: row for row in group}
        for row in sorted(group, key=lambda row: row.first):
            if by_first.get(row.first) is row:
                done.append(_grow(row, by_first))
    return done


def _grow(row: _Row, by_first: dict[int, _Row]) -> _Row:
    while True:
        if row.count == 1:
            _adopt_step(row, by_first)
        follower = by_first.get(row.next)
        if follower is None or follower is row or (follower.count > 1 and follower.step != row.step):
            return row
        del by_first[follower.first]
        _absorb(row, follower, row.step)


def _adopt_step(row: _Row, by_first: dict[int, _Row]) -> None:
    """A single page takes the step of a run of larger step that it begins."""
    if row.first + 1 in by_first:
        return
    for distance in range(2, LARGEST_STEP + 1):
        other = by_first.get(row.first + distance)
        if other is not None and other.count > 1 and other.step == distance:
            row.step = distance
            return


def _absorb(row: _Row, other: _Row, step: int) -> None:
    row.count, row.step, row.grown = row.count + other.count, step, True
    row.absorbed += [other.id, *other.absorbed]


def _zipped(rows: list[_Row]) -> list[_Row]:
    """Join n runs of step s whose firsts are s/n apart into one run of step s/n."""
    groups: dict[tuple[Any, ...], list[_Row]] = {}
    for row in rows:
        if row.count > 1 and row.step > 1:
            groups.setdefault((row.step, *row.key), []).append(row)
    gone: set[int] = set()
    for group in groups.values():
        group.sort(key=lambda row: row.first)
        for zipped in _zips(group):
            head = zipped[0]
            for other in zipped[1:]:
                gone.add(other.id)
                _absorb(head, other, head.step)
            head.step //= len(zipped)
    return [row for row in rows if row.id not in gone]


def _zips(group: list[_Row]) -> Iterator[list[_Row]]:
    """The sets of runs of one step that can be zipped, from the lowest."""
    at = 0
    while at + 1 < len(group):
        head, step = group[at], group[at].step
        distance = group[at + 1].first - head.first
        nr = step // distance if distance and step % distance == 0 else 0
        candidate = group[at : at + nr]
        if nr > 1 and len(candidate) == nr and _fit(candidate, distance):
            yield candidate
            at += nr
        else:
            at += 1


def _fit(candidate: list[_Row], distance: int) -> bool:
    total = sum(row.count for row in candidate)
    nr = len(candidate)
    return all(
        row.first == candidate[0].first + r * distance and row.count == -((r - total) // nr)
        for r, row in enumerate(candidate)
    )


def _write(conn: Connection, rows: list[_Row]) -> None:
    gone = [(page,) for row in rows for page in row.absorbed]
    for statement in (
        "DELETE FROM ptes WHERE page = ?",
        "DELETE FROM holds WHERE page = ?",
        "DELETE FROM buffers WHERE page = ?",
        "DELETE FROM pages WHERE id = ?",
    ):
        write_many(conn, statement, gone)
    for row in rows:
        run = make_run(row.first, row.step, row.count)
        write(conn, "UPDATE pages SET count = ?, step = ? WHERE id = ?", (run.nr_pages, run.step, row.id))
        write(conn, "UPDATE ptes SET reach = ? WHERE page = ?", (reach_of(run), row.id))
