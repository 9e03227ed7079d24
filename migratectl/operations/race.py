"""``--race``: a second task's command at a step of a page's move, on the half-migrated state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from migratectl.errors import KernelError
from migratectl.kernel.migrate import Course
from migratectl.kernel.observers import LAST_STEP_THAT_BACKS_OUT, RESTORES_PTES, Meeting, Observer, meet, reaches
from migratectl.kernel.result import MigrateResult
from migratectl.kernel.rules import Rules
from migratectl.kernel.trace import Met
from migratectl.operations.machine import give_back, load_machine, resolve_address, resolve_span
from migratectl.page_state import unpack
from migratectl.spans import Address, Size, Span
from migratectl.storage import files, gathering, holds, observers, pagelist, pages, tasks, vmas
from migratectl.storage.connection import Connection
from migratectl.storage.observers import Listed
from migratectl.storage.pagelist import Alike
from migratectl.touches import Manner, Touches

Document = dict[str, Any]
Bounds = tuple[int, int]

_EVERYWHERE: Final = (0, 1 << 62)
_LOOKING_UP: Final = Manner.TOUCHES | Manner.PINS


class Mover(Protocol):
    """What a race needs of the migration that it meets."""

    conn: Connection
    rules: Rules
    mm: int | None
    result: MigrateResult
    concerned: list[int]
    isolated: bool

    def way(self, row: Alike) -> Course | str:
        """The course of the pages of a state, or why they are no candidates."""

    def isolate(self, rows: Iterable[Alike]) -> None:
        """Note the pages of the list that are no candidates, and take the others off the LRU."""

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
        argv: The command of the second task, as it is told.
        touches: What that command touches.
        run: Runs it on the connection of the migration, and returns its document.
        result: What became of it; None until it is known.
        late: It waits until the migration is through.
        for_call: It waits for the address space that the call has, not for a page.
    """

    step: int
    argv: tuple[str, ...]
    touches: Touches
    run: Callable[[Connection], Document]
    result: Document | None = None
    late: Meeting | None = None
    for_call: bool = False


class _Touch(NamedTuple):
    """The page of the list that a command touches first: its run and ordinal, who looks at it."""

    listed: Listed
    ordinal: int
    observer: Observer

    @property
    def seen(self) -> int:
        """The address or index by which the command finds it."""
        return self.listed.seen.start + self.ordinal * self.listed.seen.step

    @property
    def address(self) -> int:
        """Its address in the list."""
        return self.listed.run.start + self.ordinal * self.listed.run.step


class _Beside(NamedTuple):
    """A page beside which a command ran: its row, its address in the list, what it was before steps were done to it."""

    page: int
    address: int
    before: observers.Residue


@dataclass(slots=True)
class Races:
    """
    The races of one migrating call.

    Attributes:
        races: In the order of the command line.
        held_mm: An address space that the call holds for writing: its tasks wait until the call is over.
        met: The page rows that a race met early.
        backed_out: Page rows from which the migration backs out, with the first pass that may have them.
        meetings: For a trace: what those page rows were until then.
    """

    races: list[Race] = field(default_factory=list)
    held_mm: int | None = None
    met: list[int] = field(default_factory=list)
    backed_out: dict[int, int] = field(default_factory=dict)
    meetings: dict[int, list[Met]] = field(default_factory=dict)

    def gather(self, mover: Mover, gather: Callable[[], list[Alike]]) -> list[Alike]:
        """
        Gather a list and let the commands run that meet a page of it before its tree is switched.

        What the list was made of stays on it; pages that a command adds or puts in the place of others do not join it.

        Args:
            mover: The migration.
            gather: Fills the list.

        Returns:
            The states of the list as it is to be moved.
        """
        met: list[_Beside] = []
        rows = gather()
        for race in self.races:
            page = self._meet(mover, race, rows) if race.result is None and race.late is None else None
            if page is not None:
                met.append(page)
                rows = self._reread(mover)
        if met:
            gathering.put_back(mover.conn)
            self._note_residue(mover, met, {row.number: row for row in rows})
        self.met += [each.page for each in met]
        return rows

    def _reread(self, mover: Mover) -> list[Alike]:
        """The isolated list as it is now."""
        return gathering.reread(mover.conn, self.backed_out, posted=mover.rules.posted)

    def finish(self, conn: Connection) -> list[Document]:
        """After the call: run what had to wait; what became of each race, in their order."""
        _let_go(conn, self.met)
        for race in self.races:
            if race.late is not None:
                race.result = _told(race, race.late, race.run(conn))
        return [race.result or {"step": race.step, "argv": list(race.argv), "met": False} for race in self.races]

    def _waits_for_the_call(self, mover: Mover, race: Race) -> bool:
        """
        Whether a command needs an address space that the call has: to change it, or to tear it down (mmput()).

        Source:
            down_read() and down_write() of mmap_sem in migrate_pages() and do_mbind(); semantics.md 9a, patch 4.
        """
        mm, manner = _mm_of(mover.conn, race.touches), race.touches.manner
        if mm is None:
            return False
        has = mm == mover.mm and Manner.WRITES in manner
        return has or mm == self.held_mm or (Manner.EXITS in manner and mm in mover.concerned)

    def _note_residue(self, mover: Mover, met: Sequence[_Beside], rows: dict[int, Alike]) -> None:
        """Count what the steps before a meeting have done to pages that will stay."""
        for each in met:
            state = observers.listed_state(mover.conn, each.page)
            if state is None:
                continue
            row = rows[state]
            way = mover.way(row)
            if isinstance(way, Course) and not way.moves and not way.goes:
                now = observers.residue(mover.conn, each.page)
                by_passes = way.last.left.unmapped and row.state.mapcount > 0
                mover.result.swapcache += now.cached and not each.before.cached
                mover.result.unmapped += bool(each.before.ptes - now.ptes) and not by_passes

    def _meet(self, mover: Mover, race: Race, rows: Sequence[Alike]) -> _Beside | None:
        """The page beside which a command ran now; one that has to wait is noted."""
        for_call = self._waits_for_the_call(mover, race)
        touch = _first(observers.everything(mover.conn), _EVERYWHERE, "other") if for_call else None
        touch = touch or _first_touched(mover.conn, race)
        if touch is None:
            return None
        row = next(each for each in rows if each.number == touch.listed.state)
        way = mover.way(row)
        nr_pass = reaches(way, race.step) if isinstance(way, Course) else None
        if isinstance(way, str) or nr_pass is None:
            return None
        if for_call:
            race.late, race.for_call = Meeting(None, backed_out=False, retries=0, waits=True), True
            return None
        if touch.observer == "file" and (row.state.swapcache or (nr_pass and way.at(nr_pass - 1).left.stored)):
            touch = touch._replace(observer="swap")
        meeting = meet(touch.observer, race.step, mover.rules)
        if meeting.waits:
            race.late = meeting
            return None
        mover.settle()
        mover.isolate(rows)
        page = observers.cut_page(mover.conn, touch.listed.page, touch.ordinal)
        self._reread(mover)
        gathering.isolate(mover.conn)  # it is a row of its own from now on
        before = observers.residue(mover.conn, page)
        seen = observers.references(mover.conn, page)
        _bring_to(mover.conn, page, race.step, anon=row.state.kind == "anon", today=mover.rules.today)
        document = _run_beside(mover.conn, race, page, touch.observer)
        if touch.observer == "pin":  # a copy made on the way is what is pinned then, and the migration goes on
            meeting = meeting._replace(backed_out=observers.references(mover.conn, page).pins > seen.pins)
        elif meeting.backed_out:
            self.backed_out[page] = nr_pass + 1
            what = " ".join(race.argv)
            swap_ptes = max(seen.ptes - row.state.mapcount, 0)
            met = Met(row.state, way, nr_pass, race.step, what, seen.pins, swap_ptes)
            self.meetings.setdefault(page, []).append(met)
        for other, first in self.backed_out.items():  # also those that an earlier race met
            observers.hold_back(mover.conn, other, first)
        race.result = _told(race, meeting, document)
        mover.refresh()
        return _Beside(page, touch.address, before)


def _told(race: Race, meeting: Meeting, document: Document) -> Document:
    """The document of a race; ``waited_for_call`` only where it did."""
    return {
        "step": race.step,
        "argv": list(race.argv),
        "met": True,
        "blocked_on": meeting.blocked_on,
        "backed_out": meeting.backed_out,
        "retries": meeting.retries,
        **({"waited_for_call": True} if race.for_call else {}),
        "result": document,
    }


def _bring_to(conn: Connection, page: int, step: int, *, anon: bool, today: bool) -> None:
    """Do to a page what the steps before a meeting do; a 6.x kernel's migration entries come back as they were."""
    if today or (anon and step >= RESTORES_PTES):
        return
    owns = not anon or (step >= 3 and observers.enter_swap_cache(conn, page))
    if step >= LAST_STEP_THAT_BACKS_OUT and owns:
        observers.take_ptes(conn, page)


def _run_beside(conn: Connection, race: Race, page: int, observer: Observer) -> Document:
    """
    Run the command while the list is off the LRU.

    Who does not wait for the page lock finds it taken.
    """
    kept = observers.kept_tables(conn)
    if observer == "other":
        observers.lock(conn, page)
    document = race.run(conn)
    _let_go(conn, [page])
    observers.restore_tables(conn, kept)
    return document


def _let_go(conn: Connection, rows: Iterable[int]) -> None:
    """Pages are held by the holds of tasks only; one that nobody has any more was freed under the migration."""
    observers.release(conn, rows)
    freed = [pages.free_idle(conn).nodes]
    observers.pick_vanished(conn)
    freed.append(pages.free_idle(conn).nodes)
    files.drop_empty_orphanages(conn)
    give_back(conn, freed)


def _first_touched(conn: Connection, race: Race) -> _Touch | None:
    """The first page of the list that a command touches, and as whom it comes."""
    touches = race.touches
    if touches.file is not None:
        return _touch_of_file(conn, touches.file, touches.part)
    if touches.swap_area is not None:
        return _touch_of_area(conn, touches.swap_area, race.step)
    mm = _mm_of(conn, touches)
    parts = [] if mm is None else _parts(conn, mm, touches.spans)
    if mm is None or not parts:
        anybody: Observer = "reclaim" if Manner.ISOLATES in touches.manner else "other"
        return _first(observers.everything(conn), _EVERYWHERE, anybody)
    mapped = observers.mapped_by(conn, mm)
    found = [_first(mapped, bounds, "other") for bounds in parts]
    if touches.manner & _LOOKING_UP:
        found += [touch for bounds in parts for touch in _looked_up(conn, mm, bounds)]
    touch = _lowest(found)
    return None if touch is None else touch._replace(observer=_observer(conn, race, touch, mm))


def _mm_of(conn: Connection, touches: Touches) -> int | None:
    """The address space that a command goes through; None where it names none that there is."""
    task = None if touches.pid is None else tasks.find(conn, touches.pid)
    return None if task is None else task.mm


def _parts(conn: Connection, mm: int, spans: Sequence[Span | Address]) -> list[Bounds]:
    """The pages of the ranges that a command names; all where it names none, nothing where one of them is bad."""
    page_size = load_machine(conn).facts.page_size
    try:
        return [_bounds(conn, mm, span, page_size) for span in spans] or [_EVERYWHERE]
    except KernelError:
        return []


def _bounds(conn: Connection, mm: int, span: Span | Address, page_size: int) -> Bounds:
    if isinstance(span, Span):
        return resolve_span(conn, mm, span, page_size, "")
    page = resolve_address(conn, mm, span, page_size, "") // page_size
    return page, page + 1


def _looked_up(conn: Connection, mm: int, bounds: Bounds) -> list[_Touch | None]:
    """For each area of an object: the first page of it that a fault there would look up, mapped or not."""
    found = []
    for vma in vmas.load(conn, mm):
        if not vma.private_anonymous:
            by_index = observers.cached_in(conn, vma.mapping)
            rows = [row._replace(seen=row.seen._replace(start=row.seen.start - vma.delta)) for row in by_index]
            found.append(_first(rows, (max(bounds[0], vma.start), min(bounds[1], vma.end)), "other"))
    return found


def _observer(conn: Connection, race: Race, touch: _Touch, mm: int) -> Observer:
    """As whom a command comes that goes through an address space."""
    manner = race.touches.manner
    if Manner.FORKS in manner:
        return "fork"
    if Manner.ISOLATES in manner:
        return "reclaim"
    if not manner & _LOOKING_UP:
        return "other"
    if race.step >= LAST_STEP_THAT_BACKS_OUT or not observers.is_mapped(conn, mm, touch.seen):
        return "swap" if unpack(touch.listed.state).kind == "anon" else "file"
    return "pin" if Manner.PINS in manner else "other"


def _touch_of_file(conn: Connection, name: str, part: tuple[Size | None, Size]) -> _Touch | None:
    """The first page of a part of a file that a command looks up."""
    mapping = next((found for kind in ("file", "shm") if (found := vmas.find_mapping(conn, kind, name))), None)
    if mapping is None:
        return None
    length, offset = part
    low = _pages(conn, offset)
    high = _EVERYWHERE[1] if length is None else low + _pages(conn, length)
    return _first(observers.cached_in(conn, mapping), (low, high), "file")


def _pages(conn: Connection, size: Size) -> int:
    """A size in whole pages, rounded up."""
    page_size = load_machine(conn).facts.page_size
    return -(-size.to_bytes(page_size) // page_size)


def _touch_of_area(conn: Connection, name: str, step: int) -> _Touch | None:
    """A page that swapoff finds: one with a slot of the area, or from step 3 on the first that gets one."""
    area = next((each for each in holds.swap_areas(conn) if each.name == name), None)
    owning = pagelist.in_swap_area(conn, area.id) if area is not None else set()
    rows = observers.everything(conn)
    found = _first([row for row in rows if row.page in owning], _EVERYWHERE, "swap")
    if found is None and step >= 3 and area is not None and holds.area_with_room(conn) == area:
        found = _first([row for row in rows if unpack(row.state).kind == "anon"], _EVERYWHERE, "swap")
    return found or _first(rows, _EVERYWHERE, "other")


def _first(rows: Sequence[Listed], bounds: Bounds, observer: Observer) -> _Touch | None:
    """The page with the lowest address or index in [low, high)."""
    found: list[_Touch | None] = []
    for row in rows:
        inside = row.seen.between(*bounds)
        if inside is not None:
            found.append(_Touch(row, (inside.start - row.seen.start) // row.seen.step, observer))
    return _lowest(found)


def _lowest(found: Sequence[_Touch | None]) -> _Touch | None:
    return min((each for each in found if each is not None), key=lambda each: each.seen, default=None)
