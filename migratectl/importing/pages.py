"""
Puts the planned pages of an area into the state: as far as memory and swap slots reach, and where others have them
already, as one more mapper.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from migratectl.importing.family import ForkFamilies, Joined, limit_of, outside_of, own_runs, sharable
from migratectl.importing.objects import elsewhere, grouped, is_swappable, join
from migratectl.importing.room import Room, Slots
from migratectl.importing.space import Space
from migratectl.linux.plan import PlannedArea, PlannedRun
from migratectl.runs import Run, make_run
from migratectl.storage.imports import NewRows
from migratectl.storage.page_pool import PagePool, Piece
from migratectl.uapi import PG

WRITEBACK_PASSES: Final = 1
_ACTIVE: Final = int(PG.ACTIVE)
_CACHE_FLAGS: Final = {
    (active, dirty): int(PG.UPTODATE | (PG.ACTIVE if active else 0) | (PG.DIRTY if dirty else 0))
    for active in (False, True)
    for dirty in (False, True)
}


class PagePlacer:
    """
    Puts pages into the state.

    Args:
        room: Where they can be.
        slots: The swap slots of those in the swap cache.
        rows: Where rows of pages and ptes that nobody shares are added.
        families: Where pages that relatives may share are offered.
    """

    def __init__(self, room: Room, slots: Slots, rows: NewRows, families: ForkFamilies) -> None:
        self.room, self.slots, self.rows, self.families = room, slots, rows, families

    def private(self, space: Space, area: PlannedArea, delta: int, *, writable: bool) -> None:
        """
        The anonymous pages of an area: those that it shares with a relative, those that it offers, and the rest.

        Args:
            space: The address space.
            area: The area.
            delta: What leads from an address to the index in the anonymous family.
            writable: The area can be written.
        """
        runs = [run for run in area.runs if run.anon]
        joined = space.joined.get(area.start)
        if joined is not None:
            self._share(space, area, joined, delta)
            runs = own_runs(area, joined)
        offered = [run for run in runs if sharable(run) and (joined is None or run.outside)]
        if not offered or not self.families.some or not limit_of(area):
            offered = []
        self._anonymous(space, area, [run for run in runs if run not in offered], delta, writable=writable)
        if offered:
            pieces = self._offered(space, area, offered, delta)
            self.families.offer(space.pid, space.family, area, pieces, writable=writable)

    def _offered(self, space: Space, area: PlannedArea, runs: Iterable[PlannedRun], delta: int) -> Iterable[Piece]:
        """Pages of a task that relatives may share, write-protected."""
        outside = outside_of(area)
        for run in runs:
            granted = self.room.take(space.source, area, run.node, run.nr_pages)
            if granted:
                space.count(run.node, granted)
                flags, step = _ACTIVE if run.active else 0, run.step if granted > 1 else 1
                piece = Piece(Run(run.first + delta, step, granted), run.node, flags, outside, nr_ptes=1)
                piece.ptes.append((space.mm, delta, int(run.dirty), 0))
                yield piece

    def _share(self, space: Space, area: PlannedArea, joined: Joined, delta: int) -> None:
        """Another pte, write-protected, on each page that an area shares."""
        mapmax = outside_of(area) + 1
        dirty = any(run.dirty for run in area.runs if run.anon)
        for run in joined.runs:
            for piece in joined.member.pool.claim(run)[0]:
                space.count(piece.node or 0, piece.run.nr_pages)
                join(piece, mapmax)
                piece.nr_ptes += 1
                piece.ptes.append((space.mm, delta, int(dirty), 0))

    def _anonymous(
        self, space: Space, area: PlannedArea, runs: Iterable[PlannedRun], delta: int, *, writable: bool
    ) -> None:
        """Pages of the task's anonymous family; shared ones and those in the swap cache are write-protected."""
        take, nodes, mm, anon = self.room.take, space.nodes, space.mm, space.anon
        pages, ptes = self.rows.pages, self.rows.ptes
        for run in runs:
            at, step, nr_pages, node, _, dirty, active, swapcache, writeback, outside = run
            granted = take(space.source, area, node, nr_pages)
            if not granted:
                continue
            nodes[node] = nodes.get(node, 0) + granted
            if swapcache or writeback:
                self._in_swap_cache(space, run, granted, delta, writable=writable)
                continue
            own = step if granted > 1 else 1
            pages.append((anon, at + delta, granted, own, node, None, _ACTIVE if active else 0, None, outside))
            ptes.append((mm, at, 1 if dirty else 0, 1 if writable and not outside else 0))

    def _in_swap_cache(self, space: Space, run: PlannedRun, count: int, delta: int, *, writable: bool) -> None:
        """The first *count* anonymous pages of a run with the slots that there are."""
        at = run.first
        for slot, nr in self._slots(space, run, count, swappable=True):
            written = WRITEBACK_PASSES if run.writeback and slot else None
            if run.writeback and not slot:
                space.drop("outside of the swap cache cannot be under writeback: they are not", nr)
            flags = (_ACTIVE if run.active else 0) if slot is None else _CACHE_FLAGS[run.active, run.dirty]
            step = run.step if nr > 1 else 1
            self.rows.wait(space.pid, written)
            self.rows.pages.append((space.anon, at + delta, nr, step, run.node, slot, flags, written, run.outside))
            able = writable and not slot and not run.outside
            self.rows.ptes.append((space.mm, at, int(run.dirty and not slot), int(able)))
            at += nr * run.step

    def _slots(self, space: Space, run: PlannedRun, count: int, *, swappable: bool) -> Iterable[tuple[int | None, int]]:
        """(swap area, pages) of a run; area None outside of the swap cache."""
        if not run.swapcache:
            return ((None, count),)
        parts = self.slots.take(count) if swappable else [(None, count)]
        without = sum(nr for area, nr in parts if area is None)
        if without:
            why = "no free swap slot" if swappable else "pages of a file have no swap slot"
            space.drop(f"of the swap cache are outside of it: {why}", without)
        return parts

    def of_object(self, space: Space, area: PlannedArea, pool: PagePool, delta: int, *, writable: bool) -> None:
        """The pages of an area that are its object's: *delta* leads from an address to an index, *pool* has them."""
        for group in grouped([run for run in area.runs if not run.anon]):
            self._of_group(space, area, group, pool, delta, writable=writable)

    def _of_group(
        self, space: Space, area: PlannedArea, group: list[PlannedRun], pool: PagePool, delta: int, *, writable: bool
    ) -> None:
        """Pages of an object: what the object has already gets another pte, the rest is new."""
        head = group[0]
        nr_pages = head.nr_pages if len(group) == 1 else sum(run.nr_pages for run in group)
        found, fresh = pool.claim(Run(head.first + delta, head.step, nr_pages))
        had = [piece for piece in found if piece.node is not None]
        if len(had) < len(found):
            out = sum(piece.run.nr_pages for piece in found if piece.node is None)
            space.drop("of files are swapped out in this state: left out", out)
        for piece in had:
            join(piece, head.outside + 1)
        new: list[Piece] = []
        for run in group if fresh else ():
            for part in fresh:
                inside = part if len(group) == 1 else part.between(run.first + delta, run.first + delta + run.nr_pages)
                if inside is not None:
                    new += self._new_pieces(space, area, run, pool, inside)
        pieces = had + new
        simple = len(group) == len(pieces) == 1 and pieces[0].node == head.node
        if had and not self.room.missing and not simple:
            space.elsewhere += elsewhere(group, pieces)
        pte = space.mm, delta, int(head.dirty), int(writable)
        for piece in pieces:
            space.count(piece.node or 0, piece.run.nr_pages)
            piece.nr_ptes += 1
            piece.ptes.append(pte)
            if head.writeback and piece.writeback is None:
                piece.writeback, piece.holder = WRITEBACK_PASSES, space.pid

    def _new_pieces(
        self, space: Space, area: PlannedArea, run: PlannedRun, pool: PagePool, part: Run
    ) -> Iterable[Piece]:
        granted = self.room.take(space.source, area, run.node, part.nr_pages)
        if not granted:
            return
        at = part.start
        for slot, nr in self._slots(space, run, granted, swappable=is_swappable(area)):
            flags = _CACHE_FLAGS[run.active, slot is not None and run.dirty]
            piece = Piece(make_run(at, part.step, nr), run.node, flags, run.outside, area=slot)
            pool.add(piece)
            yield piece
            at += nr * part.step
