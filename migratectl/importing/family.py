"""
Pages that imported tasks share since a fork, which numa_maps shows by mapmax alone.

The rule, said as an assumption where it was needed: two tasks that are relatives by their parents, or of which this is
not told, share anonymous pages where areas of both begin at one address, map the same file or none, and say that pages
are mapped more than once. Shared are as many pages as lie on the same node in both, at most as many as smaps tells.
What is left is each one's own, first that on the node where the later task runs, as its copies were made there. The
areas then have the shared pages at the same addresses, and their own at those that are left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from migratectl.linux.plan import PlannedArea, PlannedRun, PlannedTask
from migratectl.runs import Run, make_run
from migratectl.storage.connection import Connection
from migratectl.storage.page_pool import PagePool, Piece
from migratectl.uapi import PG

Key = tuple[int, str]
"""What areas must have in common: first page, and file."""

_ACTIVE: Final = int(PG.ACTIVE)


@dataclass(slots=True)
class Offer:
    """
    An area whose anonymous pages relatives may share.

    Args:
        span: Its pages, as indexes of the family.
        told: How many of them are shared, where smaps tells.
        limit: Most of them that are shared.
        writable: Its own pages can be written.
    """

    span: Run
    told: int | None
    limit: int
    writable: bool


@dataclass(slots=True)
class Member:
    """A task of a family, with the pages that later ones may share, and the areas that they are in."""

    pid: int
    pool: PagePool
    offers: dict[Key, Offer] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class ForkFamily:
    """Tasks whose address spaces are of one anonymous family, named by its mapping: those that offer pages."""

    anon: int
    members: list[Member] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """Whether a page is left that one more task may map."""
        return any(piece.outside for member in self.members for piece in member.pool.pieces)


@dataclass(slots=True)
class Joined:
    """
    What a task shares of an area.

    Args:
        member: Whose pages they are.
        runs: Which, as indexes of the family.
        elsewhere: How many of its other pages are shared with tasks that are not imported.
    """

    member: Member
    runs: list[Run]
    elsewhere: int


@dataclass(slots=True)
class Match:
    """The family that a task joins, and what it shares by the first page of its areas."""

    family: ForkFamily
    areas: dict[int, Joined]


class ForkFamilies:
    """
    The families of the tasks of one import.

    Args:
        conn: The connection of the transaction.
        parents: The tasks of the import, each with its parent, None where that is not told.
    """

    def __init__(self, conn: Connection, parents: Mapping[int, int | None]) -> None:
        self.conn, self.parents = conn, parents
        self.families: list[ForkFamily] = []
        self.by_key: dict[Key, list[ForkFamily]] = {}

    @property
    def some(self) -> bool:
        """Whether there are tasks that may share pages."""
        return len(self.parents) > 1

    def new(self, anon: int) -> ForkFamily:
        """A family of that mapping."""
        self.families.append(ForkFamily(anon))
        return self.families[-1]

    def match(self, pid: int, plan: PlannedTask, home: int | None) -> Match | None:
        """
        The family with whose pages those of a task are shared.

        Args:
            pid: The task.
            plan: Its areas.
            home: The node where it runs, where that is told.
        """
        if not self.some:
            return None
        tried: set[int] = set()
        for area in plan.areas:
            for family in reversed(self.by_key.get(_key(area), ())):
                if family.anon in tried or not limit_of(area):
                    continue
                tried.add(family.anon)
                near = [member for member in family.members if self._related(pid, member.pid)]
                found = {each.start: shared for each in plan.areas if (shared := _join(near, each, home))}
                if found:
                    return Match(family, found)
        return None

    def offer(
        self, pid: int, family: ForkFamily, area: PlannedArea, pieces: Iterable[Piece], *, writable: bool
    ) -> None:
        """
        Let later relatives share pages of a task.

        Args:
            pid: The task.
            family: Its family.
            area: The area that they are in.
            pieces: The pages.
            writable: The area can be written.
        """
        member = family.members[-1] if family.members and family.members[-1].pid == pid else None
        if member is None:
            member = Member(pid, PagePool(self.conn, family.anon))
            family.members.append(member)
        for piece in pieces:
            member.pool.add(piece)
        span, limit = Run(area.start + delta_of(area), 1, area.end - area.start), limit_of(area)
        member.offers[_key(area)] = Offer(span, None if area.shared is None else limit, limit, writable)
        known = self.by_key.setdefault(_key(area), [])
        if family not in known:
            known[:] = [*(each for each in known if each.is_open), family]

    def pools(self) -> list[PagePool]:
        """The pages that were offered; those that nobody joined are the task's own where others were joined."""
        members = [member for family in self.families for member in family.members]
        for member in members:
            for offer in member.offers.values():
                _release(member.pool, offer)
        return [member.pool for member in members]

    def _related(self, one: int, other: int) -> bool:
        """Whether one is the other's ancestor or sibling, as far as is told."""
        mine, its = self.parents.get(one), self.parents.get(other)
        if mine is None or its is None or mine == its:
            return True
        return one in self._ancestors(other) or other in self._ancestors(one)

    def _ancestors(self, pid: int) -> set[int]:
        above: set[int] = set()
        parent = self.parents.get(pid)
        while parent is not None and parent not in above:
            above.add(parent)
            parent = self.parents.get(parent)
        return above


def delta_of(area: PlannedArea) -> int:
    """What leads from a page of an area to the index of its anonymous pages in the family."""
    return 0 if area.file is None and all(run.anon for run in area.runs) else area.offset - area.start


def limit_of(area: PlannedArea) -> int:
    """Most anonymous pages of an area that other tasks map too: as smaps tells, else all where mapmax is of them."""
    anon = sum(run.nr_pages for run in area.runs if run.anon)
    cached = sum(run.nr_pages for run in area.runs if not run.anon)
    if area.shared is not None:
        return min(anon, max(area.shared - cached, 0))
    return anon if not cached and any(run.outside for run in area.runs) else 0


def sharable(run: PlannedRun) -> bool:
    """Whether pages are offered to relatives: anonymous ones outside of the swap cache."""
    return run.anon and not run.swapcache and not run.writeback


def own_runs(area: PlannedArea, joined: Joined) -> list[PlannedRun]:
    """The anonymous runs of an area without the pages that it shares, at addresses which those leave free."""
    delta = delta_of(area)
    taken = Counter[tuple[int, bool]]()
    occupied = PagePool(joined.member.pool.conn, 0)
    for run in joined.runs:
        for piece in joined.member.pool.claim(run)[0]:
            taken[piece.node or 0, bool(piece.flags & _ACTIVE)] += piece.run.nr_pages
        occupied.add(Piece(make_run(run.start - delta, run.step, run.nr_pages), None, 0, 0))
    for each in area.runs:
        if not each.anon:
            occupied.add(Piece(make_run(each.first, each.step, each.nr_pages), None, 0, 0))
    gaps = occupied.claim(Run(area.start, 1, area.end - area.start))[1]
    left = [run._replace(outside=outside_of(area)) for run in _left(area.runs, taken)]
    return _placed(left, gaps, joined.elsewhere)


def outside_of(area: PlannedArea) -> int:
    """The other mappers of the page of an area that has most."""
    return max((run.outside for run in area.runs), default=0)


def _release(pool: PagePool, offer: Offer) -> None:
    """Take the mappers outside from what an area does not share, as smaps tells, or where others joined it."""
    pieces = pool.claim(offer.span)[0]
    joined = sum(piece.run.nr_pages for piece in pieces if piece.nr_ptes > 1)
    kept = max((offer.told or 0) - joined, 0)
    for piece in pieces if joined or offer.told is not None else ():
        run = piece.run
        if piece.nr_ptes > 1 or kept >= run.nr_pages:
            kept -= run.nr_pages if piece.nr_ptes == 1 else 0
            continue
        rest = make_run(run.start + kept * run.step, run.step, run.nr_pages - kept)
        kept = 0
        for own in pool.claim(rest)[0]:
            own.outside = 0
            own.ptes = [(mm, delta, dirty, int(offer.writable)) for mm, delta, dirty, _ in own.ptes]


def _key(area: PlannedArea) -> Key:
    return area.start, area.file or ""


def _join(members: Sequence[Member], area: PlannedArea, home: int | None) -> Joined | None:
    """What an area shares with one of some tasks: with the one that gives most."""
    limit = limit_of(area)
    best: Joined | None = None
    most = 0
    for member in members if limit else ():
        offer = member.offers.get(_key(area))
        if offer is None:
            continue
        runs = _common(member, area, min(limit, offer.limit), home)
        total = sum(run.nr_pages for run in runs)
        if total > most:
            most, told = total, area.shared is not None
            best = Joined(member, runs, limit - total if told else 0)
    return best


def _common(member: Member, area: PlannedArea, quota: int, home: int | None) -> list[Run]:
    """Pages of a task that are as those of an area: on the same node, as active, and mapped by somebody else too."""
    wanted = Counter[tuple[int, bool]]()
    for run in area.runs:
        if sharable(run):
            wanted[run.node, run.active] += run.nr_pages
    span = Run(area.start + delta_of(area), 1, area.end - area.start)
    most = outside_of(area)
    pieces = [piece for piece in member.pool.claim(span)[0] if piece.outside and piece.nr_ptes <= most]
    runs = []
    for piece in sorted(pieces, key=lambda piece: (piece.node == home, piece.run.start)):
        kind = piece.node or 0, bool(piece.flags & _ACTIVE)
        nr = min(quota, wanted[kind], piece.run.nr_pages)
        if nr:
            runs.append(make_run(piece.run.start, piece.run.step, nr))
            wanted[kind] -= nr
            quota -= nr
    return runs


def _left(runs: Iterable[PlannedRun], taken: Counter[tuple[int, bool]]) -> list[PlannedRun]:
    """The anonymous runs without as many pages of each kind as were taken."""
    left = []
    for run in runs:
        nr = run.nr_pages
        if sharable(run):
            out = min(taken[run.node, run.active], nr)
            taken[run.node, run.active] -= out
            nr -= out
        if run.anon and nr:
            left.append(run._replace(nr_pages=nr))
    return left


def _placed(runs: Iterable[PlannedRun], gaps: Sequence[Run], elsewhere: int) -> list[PlannedRun]:
    """The runs at the addresses of *gaps*; all but the first *elsewhere* pages are the task's own."""
    free = list(gaps)[::-1]
    placed = []
    for run in runs:
        left = run.nr_pages
        while left:
            gap = free.pop()
            nr = min(left, gap.nr_pages, elsewhere or left)
            if nr < gap.nr_pages:
                free.append(make_run(gap.start + nr * gap.step, gap.step, gap.nr_pages - nr))
            step = gap.step if nr > 1 else 1
            outside = run.outside if elsewhere else 0
            placed.append(run._replace(first=gap.start, step=step, nr_pages=nr, outside=outside))
            left -= nr
            elsewhere -= min(elsewhere, nr)
    return placed
