"""``--race``: a second task's command at a step of a page's move, on the half-migrated state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Connection

from migratectl.kernel.migrate import Course
from migratectl.kernel.observers import LAST_STEP_THAT_BACKS_OUT, Meeting, Observer, meet, reaches
from migratectl.operations.machine import load_machine, resolve_span
from migratectl.spans import parse_span
from migratectl.storage import holds, observers, pagelist, tasks, vmas
from migratectl.storage.observers import Listed
from migratectl.storage.pagelist import StateRow

Document = dict[str, Any]


class Mover(Protocol):
    """What a race needs of the migration that it meets."""

    conn: Connection

    def way(self, row: StateRow) -> Course | None:
        """The course of the pages of a state; None where they are no candidates."""

    def settle(self) -> None:
        """Write down what was taken and freed so far, so that another command sees it."""

    def refresh(self) -> None:
        """Learn what another command took and freed."""


@dataclass(slots=True)
class Race:
    """
    One ``--race``.

    Attributes:
        step: 1 to 20.
        argv: The command of the second task.
        run: Runs it on the connection of the migration, and returns its document.
        result: What became of it; None until it is known.
        late: It waits until the migration is through.
    """

    step: int
    argv: tuple[str, ...]
    run: Callable[[Connection], Document]
    result: Document | None = None
    late: Meeting | None = None


class _Touch(NamedTuple):
    """The page of the list that a command touches first: its run and ordinal, its state, who looks at it."""

    listed: Listed
    ordinal: int
    observer: Observer


@dataclass(slots=True)
class Races:
    """
    The races of one migrating call.

    Attributes:
        races: In the order of the command line.
        held_mm: An address space that the call holds for writing: its tasks wait until the call is over.
        met: The page rows that a race met early.
    """

    races: list[Race] = field(default_factory=list)
    held_mm: int | None = None
    met: list[int] = field(default_factory=list)

    def gather(self, mover: Mover, gather: Callable[[], list[StateRow]]) -> list[StateRow]:
        """
        Gather a list and let the commands run that meet a page of it before its tree is switched.

        Args:
            mover: The migration.
            gather: Fills the list; called again after each command that ran.

        Returns:
            The states of the list as it is to be moved.
        """
        rows = gather()
        met: list[tuple[int, int]] = []
        for race in self.races:
            page = self._meet(mover, race, rows) if race.result is None and race.late is None else None
            if page is not None:
                met.append(page)
                gather()
                for row, address in met:
                    pagelist.keep(mover.conn, row, address)
                rows = pagelist.states(mover.conn)
        self.met += [page for page, _ in met]
        return rows

    def finish(self, conn: Connection) -> list[Document]:
        """After the call: run what had to wait; what became of each race, in their order."""
        observers.release(conn, self.met)
        for race in self.races:
            if race.late is not None:
                race.result = _told(race, race.late, race.run(conn))
        return [race.result or {"step": race.step, "argv": list(race.argv), "met": False} for race in self.races]

    def _meet(self, mover: Mover, race: Race, rows: Sequence[StateRow]) -> tuple[int, int] | None:
        """Row and address of the page beside which a command ran now; one that has to wait is noted."""
        touch = _first_touched(mover.conn, race)
        if touch is None:
            return None
        row = next(each for each in rows if each.state == touch.listed.state)
        way = mover.way(row)
        nr_pass = None if way is None else reaches(way, race.step)
        if way is None or nr_pass is None:
            return None
        modern = load_machine(mover.conn).modern
        meeting = meet(touch.observer, race.step, modern=modern)
        if self.held_mm is not None and self.held_mm == _mm_of(mover.conn, race.argv):
            race.late = Meeting(None, backed_out=False, retries=0, waits=True)
            return None
        if meeting.waits:
            race.late = meeting
            return None
        mover.settle()
        page = observers.cut_out(mover.conn, touch.listed.page, touch.ordinal)
        _bring_to(mover.conn, page, race.step, anon=row.kind == "anon", modern=modern)
        pins = observers.pins(mover.conn, page)
        document = _run_beside(mover.conn, race, page, touch.observer)
        if touch.observer == "pin":  # a copy made on the way is what is pinned then, and the migration goes on
            meeting = meeting._replace(backed_out=observers.pins(mover.conn, page) > pins)
        elif meeting.backed_out:
            observers.hold_back(mover.conn, page, nr_pass + 1)
        race.result = _told(race, meeting, document)
        mover.refresh()
        listed = touch.listed.run
        return page, listed.start + touch.ordinal * listed.step


def _told(race: Race, meeting: Meeting, document: Document) -> Document:
    return {
        "step": race.step,
        "argv": list(race.argv),
        "met": True,
        "blocked_on": meeting.blocked_on,
        "backed_out": meeting.backed_out,
        "retries": meeting.retries,
        "result": document,
    }


def _bring_to(conn: Connection, page: int, step: int, *, anon: bool, modern: bool) -> None:
    """Do to a page what the steps before a meeting do; a 6.x kernel's migration entries come back as they were."""
    if modern:
        return
    owns = not anon or (step >= 3 and observers.enter_swap_cache(conn, page))
    if step >= LAST_STEP_THAT_BACKS_OUT and owns:
        observers.take_ptes(conn, page)


def _run_beside(conn: Connection, race: Race, page: int, observer: Observer) -> Document:
    """Run the command; reclaim finds the list off the LRU, and who does not wait for the page lock finds it taken."""
    kept = observers.kept_tables(conn)
    isolated = observers.isolate(conn, page) if observer == "reclaim" else []
    if observer == "other":
        observers.lock(conn, page)
    document = race.run(conn)
    observers.release(conn, [*isolated, page])
    observers.restore_tables(conn, kept)
    return document


def _first_touched(conn: Connection, race: Race) -> _Touch | None:
    """The first page of the list that a command touches, and as whom it comes."""
    words = [word for word in race.argv if not word.startswith("-")]
    name, rest = " ".join(words[:2]), words[2:]
    if words and words[0] == "file" and rest:
        return _touch_of_file(conn, rest)
    if name == "swap off" and rest:
        return _touch_of_area(conn, rest[0], race.step)
    mm = _mm_of(conn, race.argv)
    if mm is None:
        return _first(observers.everything(conn), (0, 1 << 62), "other")
    bounds = _bounds(conn, mm, words)
    if bounds is None:
        return None
    touch = _first(observers.mapped_by(conn, mm), bounds, "other")
    if touch is None:
        return None
    return touch._replace(observer=_observer(conn, race, name, touch, mm))


def _observer(conn: Connection, race: Race, name: str, touch: _Touch, mm: int) -> Observer:
    """As whom a command comes that goes through an address space."""
    if name.startswith("fork "):
        return "fork"
    if name == "swap out":
        return "reclaim"
    if not name.startswith("fault ") and name != "page pin":
        return "other"
    address = touch.listed.seen.start + touch.ordinal * touch.listed.seen.step
    parked = race.step >= LAST_STEP_THAT_BACKS_OUT or observers.is_swapped(conn, mm, address)
    if parked:
        return "swap" if pagelist.kind_of(touch.listed.state) == "anon" else "file"
    return "pin" if name == "page pin" else "other"


def _touch_of_file(conn: Connection, rest: Sequence[str]) -> _Touch | None:
    mapping = next((found for kind in ("file", "shm") if (found := vmas.find_mapping(conn, kind, rest[0]))), None)
    if mapping is None:
        return None
    rows = observers.cached_in(conn, mapping)
    return _first(rows, (0, 1 << 62), "file")


def _touch_of_area(conn: Connection, name: str, step: int) -> _Touch | None:
    """A page that swapoff finds: one with a slot of the area, or from step 3 on the first that gets one."""
    areas = holds.swap_areas(conn)
    area = next((each for each in areas if each.name == name), None)
    owning = pagelist.in_area(conn, area.id) if area is not None else set()
    rows = observers.everything(conn)
    found = _first([row for row in rows if row.page in owning], (0, 1 << 62), "swap")
    giving = next((each for each in areas if each.used < each.slots), None)
    if found is None and step >= 3 and area is not None and giving == area:
        found = _first([row for row in rows if pagelist.kind_of(row.state) == "anon"], (0, 1 << 62), "swap")
    return found or _first(rows, (0, 1 << 62), "other")


def _first(rows: Sequence[Listed], bounds: tuple[int, int], observer: Observer) -> _Touch | None:
    """The page with the lowest address or index in [low, high)."""
    best: tuple[int, _Touch] | None = None
    for row in rows:
        inside = row.seen.between(*bounds)
        if inside is not None and (best is None or inside.start < best[0]):
            ordinal = (inside.start - row.seen.start) // row.seen.step
            best = inside.start, _Touch(row, ordinal, observer)
    return None if best is None else best[1]


def _mm_of(conn: Connection, argv: Sequence[str]) -> int | None:
    """The address space of the task that a command is about: the first word that is the pid of one."""
    pid = next((word for word in argv if word.isascii() and word.isdigit()), None)
    task = None if pid is None else tasks.find(conn, int(pid))
    return None if task is None else task.mm


def _bounds(conn: Connection, mm: int, words: Sequence[str]) -> tuple[int, int] | None:
    """The pages of the range that a command names behind the pid; all where it names none."""
    at = next(k for k, word in enumerate(words) if word.isascii() and word.isdigit())
    if at + 1 >= len(words):
        return 0, 1 << 62
    try:
        span = parse_span(words[at + 1])
    except ValueError:
        return 0, 1 << 62
    return resolve_span(conn, mm, span, load_machine(conn).facts.page_size, " ".join(words))
