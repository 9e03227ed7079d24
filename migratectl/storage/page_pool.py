"""
The pages of an object while several imported tasks lay claim to them.

They are kept in memory until all have claimed theirs; only a run that the state already had is cut by a statement.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from migratectl.runs import Run, make_run
from migratectl.storage import pages
from migratectl.storage.connection import Connection
from migratectl.storage.imports import hold_writeback, insert_pages, insert_ptes
from migratectl.storage.reach import reach_of
from migratectl.storage.work import write_many


@dataclass(slots=True)
class Piece:
    """
    Pages of an object that are alike.

    Args:
        run: Their indexes.
        node: Where they are; None: swapped out.
        flags: Their page flags.
        outside: Mappers of each that are not in the state.
        area: Their swap area.
        writeback: The pass at which their writeback ends.
        row: Their page row where the state had them before the import.
        nr_ptes: Ptes of each, new ones included.
        ptes: New ptes: address space, index minus address, dirty, writable.
        holder: The task that waits for a writeback which the import found.
    """

    run: Run
    node: int | None
    flags: int
    outside: int
    area: int | None = None
    writeback: int | None = None
    row: int | None = None
    nr_ptes: int = 0
    ptes: list[tuple[int, int, int, int]] = field(default_factory=list)
    holder: int | None = None


class PagePool:
    """
    The pages of one object, or those that a task shares with its relatives, of which tasks claim some.

    Args:
        conn: The connection of the transaction.
        mapping: The object's row id.
        pieces: The pages that it has.
    """

    def __init__(self, conn: Connection, mapping: int, pieces: Iterable[Piece] = ()) -> None:
        self.conn, self.mapping = conn, mapping
        self.dense: list[Piece] = []
        self.firsts: list[int] = []
        self.strided: list[Piece] = []
        for piece in pieces:
            self.add(piece)

    @property
    def pieces(self) -> list[Piece]:
        """All pages."""
        return [*self.dense, *self.strided]

    def add(self, piece: Piece) -> None:
        """Enter pages that no other piece has."""
        if piece.run.step > 1:
            self.strided.append(piece)
        else:
            self._insert(bisect.bisect_left(self.firsts, piece.run.start), piece)

    def _insert(self, at: int, piece: Piece) -> None:
        self.firsts.insert(at, piece.run.start)
        self.dense.insert(at, piece)

    def claim(self, run: Run) -> tuple[list[Piece], list[Run]]:
        """
        Find who has the pages of *run*.

        Returns:
            The pieces that have some of them, cut so that they have no others, and the pages that nobody has.
        """
        if run.step == 1 and not self.strided:
            return self._claim_dense(run)
        had: list[Piece] = []
        fresh: list[Run] = []
        todo = [run]
        while todo:
            wanted = todo.pop()
            met = self._meet(wanted)
            if met is None:
                fresh.append(wanted)
                continue
            piece, common = met
            had.append(piece if piece.run == common else self._carve(piece, common))
            if common != wanted:
                todo += _without(wanted, common)
        return had, sorted(fresh)

    def _claim_dense(self, run: Run) -> tuple[list[Piece], list[Run]]:
        """As claim(), where nothing is strided: one sweep, with a cut at both ends."""
        had: list[Piece] = []
        fresh: list[Run] = []
        at, end = run.start, run.start + run.nr_pages
        k = max(bisect.bisect_right(self.firsts, at) - 1, 0)
        while k < len(self.firsts) and self.firsts[k] < end:
            first, piece = self.firsts[k], self.dense[k]
            above = first + piece.run.nr_pages
            k += 1
            if above <= at:
                continue
            if first < at:
                piece = self._cut(piece, at - first)
                self._insert(k, piece)
                k, first = k + 1, at
            if first > at:
                fresh.append(Run(at, 1, first - at))
            if above > end:
                self._insert(k, self._cut(piece, end - first))
            had.append(piece)
            at = min(above, end)
        if at < end:
            fresh.append(Run(at, 1, end - at))
        return had, fresh

    def _meet(self, run: Run) -> tuple[Piece, Run] | None:
        """A piece that has some of the pages of *run*, and which."""
        at = max(bisect.bisect_right(self.firsts, run.start) - 1, 0)
        last = run.last
        while at < len(self.firsts) and self.firsts[at] <= last:
            common = common_pages(self.dense[at].run, run)
            if common is not None:
                return self.dense[at], common
            at += 1
        for piece in self.strided:
            common = common_pages(piece.run, run)
            if common is not None:
                return piece, common
        return None

    def _carve(self, piece: Piece, common: Run) -> Piece:
        """Cut *piece* so that *common*, which it has, is a piece of its own."""
        self._remove(piece)
        below = piece.run.below(common.start)
        if below:
            piece, lower = self._cut(piece, below), piece
            self.add(lower)
        inside = piece.run.below(common.last + 1)
        if inside < piece.run.nr_pages:
            self.add(self._cut(piece, inside))
        classes = common.step // piece.run.step if common.nr_pages > 1 else 1
        if classes > 1:
            self._deal(piece, classes)
        self.add(piece)
        return piece

    def _cut(self, piece: Piece, at: int) -> Piece:
        """Cut a piece at an ordinal; it keeps the lower part, the upper one is returned."""
        run = piece.run
        row = None if piece.row is None else pages.split(self.conn, [(piece.row, at)])[0]
        upper = replace(
            piece, run=make_run(run.start + at * run.step, run.step, run.nr_pages - at), row=row, ptes=list(piece.ptes)
        )
        piece.run = make_run(run.start, run.step, at)
        return upper

    def _deal(self, piece: Piece, nr: int) -> None:
        """Deal a piece into its residue classes; it keeps the first, the others are entered."""
        run = piece.run
        classes = [make_run(run.start + r * run.step, run.step * nr, -((r - run.nr_pages) // nr)) for r in range(nr)]
        parts = [part for part in classes if part.nr_pages > 0]
        rows = [None] * len(parts) if piece.row is None else [*pages.deal(self.conn, piece.row, nr)]
        for part, row in zip(parts[1:], rows[1:], strict=True):
            self.add(replace(piece, run=part, row=row, ptes=list(piece.ptes)))
        piece.run = parts[0]

    def _remove(self, piece: Piece) -> None:
        if piece.run.step > 1:
            self.strided = [other for other in self.strided if other is not piece]
            return
        at = bisect.bisect_left(self.firsts, piece.run.start)
        del self.firsts[at], self.dense[at]


def load_pool(conn: Connection, mapping: int) -> PagePool:
    """The pages that an object has in the state."""
    query = """SELECT first, step, count, node, flags, outside, area, writeback, id,
 (SELECT count(*) FROM ptes t WHERE t.page = p.id) FROM pages p WHERE mapping = ?"""
    rows = conn.execute(query, (mapping,))
    return PagePool(conn, mapping, [Piece(make_run(row[0], row[1], row[2]), *row[3:]) for row in rows])


def common_pages(a: Run, b: Run) -> Run | None:
    """The page numbers that two runs share, which are a run themselves."""
    low, high = max(a.start, b.start), min(a.last, b.last)
    if low > high:
        return None
    if a.step == b.step == 1:
        return Run(low, 1, high - low + 1)
    divisor = math.gcd(a.step, b.step)
    if (b.start - a.start) % divisor:
        return None
    period = b.step // divisor
    steps = (b.start - a.start) // divisor * pow(a.step // divisor, -1, period) % period
    step = a.step * period
    start = a.start + steps * a.step
    start += -((start - low) // step) * step
    return None if start > high else make_run(start, step, (high - start) // step + 1)


def _without(run: Run, common: Run) -> list[Run]:
    """What is left of *run* without some of its pages."""
    rest = [run.between(run.start, common.start), run.between(common.last + 1, run.last + 1)]
    inside = run.between(common.start, common.last + 1)
    classes = common.step // run.step if common.nr_pages > 1 and inside is not None else 1
    for r in range(1, classes):
        rest.append(make_run(common.start + r * run.step, common.step, common.nr_pages - 1))
    return [part for part in rest if part is not None]


def write_pools(conn: Connection, pools: Iterable[PagePool]) -> None:
    """Write what an import added to the pages of objects; the tasks that map them must be there."""
    found = [(pool.mapping, piece) for pool in pools for piece in pool.pieces]
    new = [(mapping, piece) for mapping, piece in found if piece.row is None and piece.node is not None]
    rows = [
        (mapping, p.run.start, p.run.nr_pages, p.run.step, p.node, p.area, p.flags, p.writeback, p.outside)
        for mapping, p in new
        if p.node is not None
    ]
    fresh = insert_pages(conn, rows)
    for (_, piece), row in zip(new, fresh, strict=True):
        piece.row = row
    known = [piece for _, piece in found if piece.ptes and piece.row is not None]
    write_many(
        conn,
        "UPDATE pages SET outside = ?1, writeback = ?2 WHERE id = ?3 AND (outside <> ?1 OR writeback IS NOT ?2)",
        [(piece.outside, piece.writeback, piece.row) for piece in known if piece.row not in fresh],
    )
    ptes = [
        (mm, piece.run.start - delta, piece.row or 0, dirty, writable, reach_of(piece.run))
        for piece in known
        for mm, delta, dirty, writable in piece.ptes
    ]
    insert_ptes(conn, sorted(ptes))  # in the order of the key, or else each row lands on another block
    hold_writeback(conn, [(p.row or 0, p.holder, p.writeback or 0) for p in known if p.holder is not None])
