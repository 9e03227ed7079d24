"""
What a migration knows of its list: groups of pages in one state, the line in which they move, how far the scans got.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from migratectl.kernel.migrate import Course
from migratectl.kernel.rules import Rules
from migratectl.page_state import PageState
from migratectl.runs import Run, RunIndex
from migratectl.storage import pagelist
from migratectl.storage.connection import Connection
from migratectl.storage.pagelist import Selection

Position = tuple[int, int]
"""(pass, place): the order of everything that runs out."""

Bounds = tuple[int | None, int | None]
"""[low, high) of places; None: no bound."""

TOP: Final = 1 << 52
"""
Above all page numbers. A page's place in the order of a list is its page number; the posted patches push each page to
the head of the list (B3), so there it is what is left from the page number up to here.
"""


@dataclass(frozen=True, slots=True)
class Group:
    """
    The pages of a list that have one state and lie on one node: the rules' view, their course, how many, whose rules.
    """

    number: int
    state: PageState
    course: Course
    pages: int
    source: int
    rules: Rules

    @property
    def refused(self) -> bool:
        """Whether its pages have failed before the passes: when the list was made (B6)."""
        return not self.course.last.step and not self.course.goes

    @property
    def asks_for_target(self) -> bool:
        """Whether its pages are looked at only where there is a target: all but those that have failed or vanished."""
        return bool(self.course.last.step)

    @property
    def needs_slot(self) -> bool:
        """Whether its pages get a swap slot when their turn comes."""
        return self.course.slot_at is not None

    @property
    def keeps_slot(self) -> bool:
        """Whether its pages keep the slot beyond their turn: all but those that move at once and give it back."""
        return self.needs_slot and not (self.gives_back and self.course.slot_at == self.course.end)

    @property
    def asks_again(self) -> bool:
        """Whether a page that found no slot asks again in the next pass; an anonymous one has failed for good."""
        return self.state.kind != "anon"

    @property
    def gives_back(self) -> bool:
        """Whether a page gives its slot back when it moves: anonymous ones do, but for B4."""
        return self.course.moves and self.state.kind == "anon" and self.rules.restores_ptes

    def chosen(self, low: int | None = None, high: int | None = None, residue: int | None = None) -> Selection:
        """Its runs at the places [low, high), of one class or of all."""
        if self.rules.posted:
            low, high = (None if place is None else TOP - place + 1 for place in (high, low))
        return Selection((self.number,), low, high, residue)

    def places(self, runs: Iterable[Run]) -> list[Run]:
        """The places of runs of page numbers."""
        return [run._replace(start=TOP - run.last) if self.rules.posted else run for run in runs]


@dataclass(frozen=True, slots=True)
class Reached:
    """How far the scans got: to the end, or to the place of the last page that moved before memory ran out."""

    cursor: Position | None
    nothing: bool
    last_pass: int

    def parts(self) -> list[tuple[int | None, int | None, int | None]]:
        """(low, high, last pass that looked at them) of stretches of places; None: never looked at."""
        if self.nothing:
            return [(None, None, None)]
        if self.cursor is None:
            return [(None, None, self.last_pass)]
        nr_pass, place = self.cursor
        return [(None, place + 1, nr_pass), (place + 1, None, nr_pass - 1 if nr_pass else None)]

    def before(self, position: Position) -> bool:
        """Whether something at *position* was still done."""
        return not self.nothing and (self.cursor is None or position <= self.cursor)


class MovingLine:
    """
    The movers, and the pages that fail for good, in (pass, place) order.

    Rows are read only when a place is asked for: while memory lasts, counts are enough.
    """

    def __init__(self, conn: Connection, groups: Sequence[Group]) -> None:
        self.conn = conn
        self.groups = groups
        self.moving = _by_pass(group for group in groups if group.course.moves)
        listed = [group for group in groups if not group.refused]
        self.failing = _by_pass(group for group in listed if not group.course.moves and not group.course.stuck)
        self.movers = sum(group.pages for members in self.moving.values() for group in members)
        self.sources = {group.source for group in groups}
        self._indexes: dict[tuple[str, int, int | None], RunIndex] = {}

    def index(self, which: Literal["moving", "failing"], nr_pass: int, source: int | None = None) -> RunIndex:
        """The places of the pages of one pass; with *source* only those of that node."""
        key = which, nr_pass, source
        if key not in self._indexes:
            members = (self.moving if which == "moving" else self.failing).get(nr_pass, [])
            chosen = [group for group in members if source in (None, group.source)]
            self._indexes[key] = RunIndex(run for group in chosen for run in places_of(self.conn, group))
        return self._indexes[key]

    def by_class(self, nr_pass: int, nr: int) -> dict[tuple[int, int], RunIndex]:
        """The movers of one pass by (class, source node); the list has *nr* classes."""
        found: dict[tuple[int, int], list[Run]] = {}
        for residue, group, runs in self._dealt(self.moving[nr_pass], nr):
            found.setdefault((residue, group.source), []).extend(runs)
        return {key: RunIndex(runs) for key, runs in found.items()}

    def waiting(self, nr: int) -> dict[int, RunIndex]:
        """By class the pages that ask for a target and do not move in pass 0; the list has *nr* classes."""
        asking = [group for group in self.groups if group.asks_for_target]
        members = [group for group in asking if not (group.course.moves and group.course.end == 0)]
        found: dict[int, list[Run]] = {}
        for residue, _, runs in self._dealt(members, nr):
            found.setdefault(residue, []).extend(runs)
        return {residue: RunIndex(runs) for residue, runs in found.items()}

    def _dealt(self, members: Iterable[Group], nr: int) -> Iterator[tuple[int, Group, list[Run]]]:
        """The classes of groups that have pages: number, group, places."""
        for group in members:
            for residue in range(nr):
                runs = places_of(self.conn, group, residue)
                if runs:
                    yield residue, group, runs

    def freed(self, start: int, end: int) -> dict[int, int]:
        """Pages by node that the movers of these ordinals leave behind."""
        if len(self.sources) == 1:
            return dict.fromkeys(self.sources, end - start)
        return {nid: self._left_behind(end, nid) - self._left_behind(start, nid) for nid in self.sources}

    def _left_behind(self, moved: int, source: int) -> int:
        position = self.position(moved - 1)
        if position is None:
            return 0
        last_pass, place = position
        earlier = sum(self.index("moving", nr_pass, source).total for nr_pass in self.moving if nr_pass < last_pass)
        return earlier + self.index("moving", last_pass, source).below(place + 1)

    def position(self, ordinal: int) -> Position | None:
        """Pass and place of a mover; None for -1, the one before the first."""
        if ordinal < 0:
            return None
        for nr_pass, members in sorted(self.moving.items()):
            nr = sum(group.pages for group in members)
            if ordinal < nr:
                return nr_pass, self.index("moving", nr_pass).address(ordinal)
            ordinal -= nr
        raise ValueError(ordinal)

    def failed_before(self, moved: int) -> int:
        """Pages that have failed for good when so many have moved and no target is left."""
        position = self.position(moved - 1) if self.failing else None
        if position is None:
            return 0
        last_pass, place = position
        earlier = sum(g.pages for nr_pass, members in self.failing.items() if nr_pass < last_pass for g in members)
        return earlier + self.index("failing", last_pass).below(place)


def places_of(conn: Connection, group: Group, residue: int | None = None) -> list[Run]:
    """The places of the pages of a group, of one class or of all, as runs."""
    return group.places(pagelist.runs(conn, group.chosen(residue=residue)))


def chosen_of(
    groups: Sequence[Group], low: int | None = None, high: int | None = None, residue: int | None = None
) -> Selection:
    """The runs of groups, one at least, at the places [low, high), of one class or of all."""
    return replace(groups[0].chosen(low, high, residue), states=tuple(group.number for group in groups))


def _by_pass(groups: Iterable[Group]) -> dict[int, list[Group]]:
    found: dict[int, list[Group]] = {}
    for group in groups:
        found.setdefault(group.course.end or 0, []).append(group)
    return found
