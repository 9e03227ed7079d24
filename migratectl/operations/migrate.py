"""
Moving one list of pages: gather, decide, place, apply.

``Migration`` is one call over all its node pairs; ``migrate_to_node`` is one pair. A rule is asked once for each
distinct state of the list, its effect is applied once to all pages of that state. Order, (pass, address), matters
only where something runs out: memory and swap slots are then given out by pure functions and the list is cut there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from migratectl.errors import BadAddress
from migratectl.kernel.migrate import Course
from migratectl.kernel.page import Left
from migratectl.kernel.page_alloc import Allocations, Placement, Zonelist, place_targets
from migratectl.kernel.result import Lists, MigrateResult, Stayed
from migratectl.kernel.rules import UNSEEN, Rules
from migratectl.kernel.swap import SlotPlan
from migratectl.operations.caller import Identity
from migratectl.operations.line import Bounds, Group, MovingLine, Position, Reached, chosen_of, places_of
from migratectl.operations.machine import Machine, count_allocations, load_machine, resolve_address
from migratectl.operations.slots import give_slots, keep_slots
from migratectl.operations.watch import NOT_WATCHED, Watch
from migratectl.runs import Run, RunIndex
from migratectl.spans import Address
from migratectl.storage import coalesce, effects, gathering, holds, nodes, pagelist, resident, tasks, vmas
from migratectl.storage.connection import Connection
from migratectl.storage.gathering import Asked, Wanted
from migratectl.storage.pagelist import Alike, Selection
from migratectl.uapi import MF, NEVER

if TYPE_CHECKING:
    from migratectl.operations.race import Races
    from migratectl.operations.tracing import Trace


@dataclass(slots=True)
class Migration:
    """
    One migrating call: what it may do, the address space that it is at, and what it has done so far.

    ``pid`` is None while it is at pages that nobody maps. ``pending`` are the source nodes of pairs to come, ``landed``
    those of them that pages have moved to already. ``isolated``: the list has candidates only, whatever they are now.
    ``alone``: the address space, where no other one maps an anonymous page of the list. ``evict``: the pages are to
    leave memory.
    """

    conn: Connection
    machine: Machine
    flags: MF
    caller: Identity
    pid: int | None = None
    mm: int | None = None
    result: MigrateResult = field(default_factory=MigrateResult)
    free: dict[int, int] = field(init=False)
    concerned: list[int] = field(default_factory=list)
    allocations: Allocations = field(default_factory=Allocations)
    used: dict[int, int] = field(default_factory=dict)
    touched: set[int] = field(default_factory=set)
    zero_seen: bool = False
    trace: Trace | None = None
    races: Races | None = None
    pending: set[int] = field(default_factory=set)
    landed: set[int] = field(default_factory=set)
    isolated: bool = False
    alone: int | None = None
    evict: bool = False
    rules: Rules = field(init=False)

    def __post_init__(self) -> None:
        self.free = self.machine.free
        self.rules = Rules(self.machine.facts.profile, self.evict)
        effects.forget_travels(self.conn)

    @classmethod
    def of(
        cls,
        conn: Connection,
        machine: Machine,
        pid: int,
        mm: int,
        flags: MF,
        caller: Identity,
        watch: Watch = NOT_WATCHED,
        *,
        evict: bool = False,
    ) -> Migration:
        """A call on one address space; *evict*: one that throws its pages out of memory."""
        migration = cls(conn, machine, flags, caller, trace=watch.trace, races=watch.races, evict=evict)
        migration.concern([mm])
        migration.turn_to(pid, mm)
        if watch.trace is not None and watch.trace.address is not None:
            resolve_address(conn, mm, watch.trace.address, machine.facts.page_size, f"pid {pid}")
        return migration

    def concern(self, mms: Iterable[int]) -> None:
        """Say which address spaces the call is about, before it moves anything: their pages are counted now."""
        for mm in mms:
            self.concerned.append(mm)
            _add(self.result.before, resident.by_node(self.conn, mm))

    def turn_to(self, pid: int | None, mm: int | None) -> None:
        """Go on with another address space, or with pages that nobody maps."""
        self.pid, self.mm, self.zero_seen, self.alone = pid, mm, False, None
        if self.trace is not None and self.trace.address is not None and mm is not None:
            self.trace.aim(self._traced_page(mm, self.trace.address))

    def _traced_page(self, mm: int, address: Address) -> int:
        """The page that is traced in an address space; -1 where a label is none of its."""
        page_size = self.machine.facts.page_size
        try:
            return resolve_address(self.conn, mm, address, page_size, "trace") // page_size
        except BadAddress:
            return -1

    @property
    def asked(self) -> Asked:
        """What will be asked of the pages of a list; MOVE asks for mapcounts, and so does a trace."""
        traced = self.trace is not None
        mapcounts = traced or not self.flags & MF.MOVE_ALL
        return Asked(mapcounts=mapcounts, evict=self.evict, posted=self.rules.posted, traced=traced)

    def note_trace(self, group: Group, chosen: Selection, nr_pass: int) -> None:
        """Tell the trace, where one is wanted, which way the chosen pages of a group took."""
        if self.trace is not None:
            met = {} if self.races is None else self.races.meetings
            for seen, runs in pagelist.runs_by_references(self.conn, chosen, met).items():
                here = met[seen.page] if seen.page is not None else ()
                self.trace.note(group, nr_pass, runs, seen, here)

    @contextmanager
    def told(self, groups: Sequence[Group]) -> Iterator[None]:
        """Tell the trace, where one is wanted, which sizes the lists of migrate_pages() have around what is done."""
        if self.trace is None:
            yield
            return
        listed = sum(group.pages for group in groups if not group.refused)
        refused = sum(group.pages for group in groups if group.refused)
        before = self.result.left, self.result.gone_wrong, self.result.moved, self.allocations.total
        yield
        now = self.result.left, self.result.gone_wrong, self.result.moved, self.allocations.total
        left, failed, used, taken = (new - old for old, new in zip(before, now, strict=True))
        targets = None if self.evict else taken
        self.trace.call(self.pid, Lists(listed, left, failed - refused, targets, used))

    def document(self) -> dict[str, Any]:
        """The document of the whole call, which this ends."""
        page_size = self.machine.facts.page_size
        found = self.finish().document(page_size)
        found |= self.trace.document(page_size) if self.trace is not None else {}
        return found | ({"races": self.races.finish(self.conn)} if self.races is not None else {})

    def gather(self, gather: Callable[[], list[Alike]]) -> list[Alike]:
        """Fill the list; races that meet a page of it run now, on what was isolated."""
        self.isolated = False
        return gather() if self.races is None else self.races.gather(self, gather)

    def way(self, row: Alike) -> Course | str:
        """The course of the pages of a state as far as swap slots are there, or why they are no candidates."""
        there = self.rules.today or holds.area_with_room(self.conn) is not None
        return self.rules.way(row.state, self.choosing, slot_from=0 if there else NEVER)

    @property
    def choosing(self) -> MF | None:
        """The flags by which candidates are chosen; None once the list is isolated."""
        return None if self.isolated else self.flags

    def isolate(self, rows: Iterable[Alike]) -> None:
        """Note the pages of the list that are no candidates, and take the others off the LRU."""
        if not self.isolated:
            asked = ((row, self.rules.skip_reason(row.state, self.flags)) for row in rows)
            apart = [(row, reason) for row, reason in asked if reason is not None]
            for row, reason in apart:
                if reason != UNSEEN:
                    self.skip(row, reason)
            pagelist.leave_out(self.conn, [row.number for row, _ in apart])
            gathering.isolate(self.conn)
            self.isolated = True

    def settle(self) -> None:
        """Write down what was taken and freed so far, so that another command sees it."""
        nodes.add_used(self.conn, self.used)
        self.used.clear()

    def refresh(self) -> None:
        """Learn what another command took and freed."""
        self.free = load_machine(self.conn).free

    def take(self, nid: int, nr: int) -> None:
        """Account *nr* pages taken (negative: freed) on a node."""
        self.free[nid] -= nr
        self.used[nid] = self.used.get(nid, 0) + nr

    def note_moved(self, source: int, dest: int, nr: int) -> None:
        """Account *nr* pages that have moved."""
        moves = self.result.moves
        moves[source, dest] = moves.get((source, dest), 0) + nr
        self.take(dest, nr)
        self.take(source, -nr)

    def skip(self, row: Alike, reason: str) -> None:
        """Note the pages of a state as no candidates."""
        node = row.node if row.state.kind != "zero" else None
        self.result.skip(Stayed(self.pid, node, reason), pagelist.runs(self.conn, Selection((row.number,))))

    def skip_listed(self, rows: Iterable[Alike], *, listed: bool) -> str | None:
        """Note the pages of the gathered list that are no candidates, unless *listed*; the reason of the first."""
        found = None
        for row in rows:
            reason = self.rules.skip_reason(row.state, self.flags)
            if reason is not None:
                if not listed:
                    self.skip(row, reason)
                found = found or reason
        return found

    def finish(self) -> MigrateResult:
        """Write the counters, join runs that became equal, and hand out the result."""
        for mm in self.concerned:
            _add(self.result.after, resident.by_node(self.conn, mm))
        nodes.add_used(self.conn, self.used)
        count_allocations(self.conn, self.allocations, self.caller.local)
        coalesce.coalesce(self.conn, self.touched)
        return self.result


def _add(totals: dict[int, int], counts: Mapping[int, int]) -> None:
    for nid, nr in counts.items():
        totals[nid] = totals.get(nid, 0) + nr


def migrate_to_node(migration: Migration, source: int, dest: int, *, unmet: bool = False) -> None:
    """
    Move the pages of an address space from one node to another; what stays is noted in the result.

    With *unmet* pages that another address space of the same call has left there are passed over.

    Source:
        migrate_to_node(), Direct Migration V9, 4/5; semantics.md 3.2.
    """
    wanted = Wanted((source,), zero=not migration.zero_seen, unmet=unmet)
    rows = migration.gather(lambda: collect(migration, wanted))
    migration.zero_seen = True
    migrate_list(migration, rows, dest)


def collect(migration: Migration, wanted: Wanted) -> list[Alike]:
    """
    Gather the list of a migration, or of an eviction; the states of its pages, skipped ones included.

    Source:
        check_range(), Direct Migration V9, 4/5; semantics.md 2.1.
    """
    conn, mm = migration.conn, migration.mm
    if mm is None:
        raise ValueError("no address space to collect from")
    anon = tasks.anon_mapping(conn, mm)
    alone = tasks.family_size(conn, mm) == 1
    migration.alone = mm if alone and migration.races is None else None
    files = not vmas.all_of(conn, mm, anon)
    return gathering.gather(conn, mm, wanted, migration.asked, anon=anon, alone=alone, files=files)


def migrate_list(migration: Migration, rows: Iterable[Alike], dest: int) -> None:
    """Move the gathered list to *dest*; its states are *rows*."""
    migration.result.nids.add(dest)
    if migration.rules.today:
        groups = decide(migration, rows)
        if groups:
            with migration.told(groups):
                _run_modern(migration, groups, dest)
            note_touched(migration)
        return
    allowed = tuple(nid for nid in migration.machine.fallback[dest] if nid in migration.caller.mems)
    migrate_along(migration, rows, allowed, dest)


def migrate_along(
    migration: Migration, rows: Iterable[Alike], zonelist: Zonelist, first: int, *, interleave: bool = False
) -> None:
    """
    V9's way: targets in rounds, from the nodes of a list.

    Args:
        migration: The call.
        rows: The states of the gathered list.
        zonelist: The nodes that may give, in order.
        first: The node that hits and misses are counted against.
        interleave: Hits count as interleaved ones.
    """
    groups = decide(migration, rows)
    if groups:
        with migration.told(groups):
            _run_rounds(migration, groups, zonelist, first, interleave=interleave)
        note_touched(migration)


def note_touched(migration: Migration) -> None:
    """Remember the rows of the list for joining, while there are few."""
    if pagelist.rows_listed(migration.conn) <= coalesce.LIMIT:
        migration.touched.update(pagelist.page_rows(migration.conn))


def evict_list(migration: Migration, rows: Iterable[Alike]) -> None:
    """
    Throw the gathered list out of memory, as the swap migration before direct migration did; by V9's passes.

    Source:
        migrate_pages() without a target list and swap_page(), Direct Migration V9, 2/5; semantics.md 2.2 g, 2.4.
    """
    groups = decide(migration, rows)
    if not groups:
        return
    groups, plan = give_slots(migration.conn, groups)
    reached = Reached(None, nothing=False, last_pass=migration.rules.last_pass)
    with migration.told(groups):
        note_stayed(migration, groups, plan, reached)
    migration.result.passes = max(migration.result.passes, _scans(migration, groups, reached))
    note_touched(migration)


def activate_list(migration: Migration, rows: Iterable[Alike]) -> int:
    """
    Unmap gathered cache pages that reclaim does not write, and keep them as active ones; how many.

    Source:
        shrink_page_list() of a 6.x kernel, activate_locked.
    """
    groups = decide(migration, rows)
    if not groups:
        return 0
    chosen = chosen_of(groups)
    effects.unmap(migration.conn, chosen)
    effects.activate(migration.conn, chosen)
    note_touched(migration)
    return sum(group.pages for group in groups)


def decide(migration: Migration, rows: Iterable[Alike]) -> list[Group]:
    """Sort out what is skipped; the others with their courses, as if every page found a swap slot."""
    groups = []
    for row in rows:
        way = migration.rules.way(row.state, migration.choosing)
        if isinstance(way, Course):
            groups.append(Group(row.number, row.state, way, row.pages, row.node, migration.rules))
        elif way != UNSEEN:
            migration.skip(row, way)
    return groups


def _run_rounds(migration: Migration, groups: list[Group], zonelist: Zonelist, first: int, *, interleave: bool) -> None:
    """migrate_pages_to() with node targets: semantics.md 3.1."""
    groups, plan = give_slots(migration.conn, groups)
    line = MovingLine(migration.conn, groups)
    placed = place_targets(
        sources=line.sources,
        freed=line.freed,
        zonelist=zonelist,
        first=first,
        free=migration.free,
        movers=line.movers,
        listed=sum(group.pages for group in groups if not group.refused),
        failed_before=line.failed_before,
        chunk=migration.rules.targets_at_once,
    )
    for (head, nid), nr in placed.allocations.pages.items():
        migration.allocations.add(head, nid, nr, interleave=interleave)
    cursor = line.position(placed.moved - 1) if placed.out_of_memory else None
    reached = Reached(cursor, nothing=placed.out_of_memory and not placed.moved, last_pass=migration.rules.last_pass)
    _move(migration, line, placed)
    note_stayed(migration, groups, plan, reached)
    migration.result.passes = max(migration.result.passes, _scans(migration, groups, reached))
    if placed.out_of_memory:
        migration.result.err = "ENOMEM"


def _move(migration: Migration, line: MovingLine, placed: Placement) -> None:
    """Apply the placement: cut the movers where the giving node changes, then one update a stretch and pass."""
    ends = [*(start for start, _ in placed.segments[1:]), placed.moved]
    before = 0
    for nr_pass, members in sorted(line.moving.items()):
        nr = sum(group.pages for group in members)
        for (start, nid), end in zip(placed.segments, ends, strict=False):
            low, high = max(start - before, 0), min(end - before, nr)
            if low < high:
                index = line.index("moving", nr_pass) if low or high < nr else None
                bounds = (
                    index.address(low) if index and low else None,
                    index.address(high) if index and high < nr else None,
                )
                for source in sorted({group.source for group in members}):
                    mine = [group for group in members if group.source == source]
                    move_stretch(migration, mine, bounds, (source, nid), nr_pass)
        before += nr


def move_stretch(
    migration: Migration,
    members: Sequence[Group],
    bounds: Bounds,
    nids: tuple[int, int],
    nr_pass: int,
    residue: int | None = None,
) -> int:
    """
    Move the pages of *members* in *bounds* from one node to another, and end the holds that are over by then.

    Args:
        migration: The call; gets the counts.
        members: Groups of one source node that move in this pass.
        bounds: [low, high) of places in the order of the list, which is cut there.
        nids: Source and destination.
        nr_pass: The pass.
        residue: Only the pages of this class.

    Returns:
        The pages that moved.
    """
    conn, rules, (source, dest) = migration.conn, migration.rules, nids
    chosen = pagelist.cut_out(conn, chosen_of(members, *bounds, residue=residue))
    whole = bounds == (None, None) and residue is None
    nr = sum(group.pages for group in members) if whole else pagelist.total(conn, chosen)
    if not nr:
        return 0
    _note_travel(migration, chosen, source, dest)
    for left, some in _by_left(members).items():
        part = replace(chosen, states=some)
        leave_behind(migration, part, left)
        if left.cleaned:
            migration.result.written += pagelist.total(conn, part)
    restored, alone = rules.restores_ptes, migration.alone
    effects.move(conn, chosen, dest, through_swap=not rules.today, restored=restored, alone=alone)
    for group in members:
        mine = group.chosen(*bounds, residue=residue)
        migration.note_trace(group, mine, nr_pass)
        if group.state.held:
            _expire(migration, group, mine, nr_pass)
    migration.note_moved(source, dest, nr)
    return nr


def _note_travel(migration: Migration, chosen: Selection, source: int, dest: int) -> None:
    """Note for the pairs to come that the chosen pages move; those that do so for the second time are counted."""
    if source in migration.landed:
        migration.result.moved_twice += effects.note_second_travel(migration.conn, chosen)
    if dest in migration.pending:
        migration.landed.add(dest)
        effects.note_travel(migration.conn, chosen)
    if dest == source:
        effects.note_back(migration.conn, chosen)


def _by_left(members: Iterable[Group]) -> dict[Left, tuple[int, ...]]:
    """The states of groups by what their course leaves behind besides the move."""
    found: dict[Left, tuple[int, ...]] = {}
    for group in members:
        left = group.course.last.left
        found[left] = (*found.get(left, ()), group.number)
    return found


def _expire(migration: Migration, group: Group, chosen: Selection, nr_pass: int) -> None:
    """End the holds that are over by *nr_pass*, or that were waited for."""
    over = group.rules.holds_over(nr_pass, group.state.method)
    effects.expire_holds(migration.conn, chosen, **over._asdict())


def note_stayed(migration: Migration, groups: Sequence[Group], plan: SlotPlan | None, reached: Reached) -> None:
    """
    Note what stayed and why, as far as the scans got, and end the holds that they waited for.

    Args:
        migration: The call; gets the failures and the residue.
        groups: The candidates.
        plan: Who got swap slots; None where none are needed. Some may be those that movers gave back.
        reached: How far the scans got.
    """
    if plan is not None:
        migration.result.swapcache += keep_slots(migration.conn, groups, plan, reached)
    for group in groups:
        for low, high, looked in [(None, None, 0)] if group.refused else reached.parts():
            _stay_part(migration, group, (low, high, looked))


def _stay_part(migration: Migration, group: Group, part: tuple[int | None, int | None, int | None]) -> None:
    low, high, looked = part
    end = group.course.end
    finished = looked is not None and end is not None and looked >= end
    if group.course.moves and finished:
        return
    chosen = pagelist.cut_out(migration.conn, group.chosen(low, high))
    runs = pagelist.runs(migration.conn, chosen)
    if not runs:
        return
    if looked is None:
        migration.result.fail(Stayed(migration.pid, group.source, "not-tried", "ENOMEM"), runs)
        return
    nr_pass = looked if end is None else min(looked, end)
    last = group.course.at(nr_pass)
    migration.note_trace(group, chosen, nr_pass)
    torn = leave_behind(migration, chosen, last.left)
    migration.result.written += sum(run.nr_pages for run in runs) if last.left.cleaned else 0
    if group.course.goes and finished:
        _go(migration, group, chosen, runs)
        return
    if last.left.unmapped and group.state.mapcount:
        torn = sum(run.nr_pages for run in runs)
    migration.result.unmapped += torn
    migration.result.fail(Stayed(migration.pid, group.source, last.reason, last.errno, nr_pass), runs)
    if group.state.held and last.step:  # a page of a locked area has not been looked at
        _expire(migration, group, chosen, nr_pass)


def leave_behind(migration: Migration, chosen: Selection, left: Left) -> int:
    """Apply what the passes leave behind on pages; how many of them have lost some of their ptes."""
    torn = 0
    if left.unmapped:
        effects.unmap(migration.conn, chosen)
    if left.partly:
        torn = effects.unmap_before_locked(migration.conn, chosen)
    if left.aged:
        torn = effects.age(migration.conn, chosen, left.aged)
    if left.cleaned:
        effects.clean(migration.conn, chosen)
    if left.released:
        effects.drop_rings(migration.conn, chosen)
    return torn


def _go(migration: Migration, group: Group, chosen: Selection, runs: Sequence[Run]) -> None:
    """Pages that left memory without a target: counted as swapped, but for those that had vanished before."""
    nr = sum(run.nr_pages for run in runs)
    effects.evict(migration.conn, chosen)
    migration.take(group.source, -nr)
    if group.course.last.outcome == "evicted":
        migration.result.swapped += nr


def scans(groups: Iterable[Group], last_pass: int) -> int:
    """How many scans are made where memory lasts; none where all pages were refused when the list was made (B6)."""
    listed = [group for group in groups if not group.refused]
    if any(group.course.stuck for group in listed):
        return last_pass + 1
    return max((group.course.end or 0 for group in listed), default=-1) + 1


def _scans(migration: Migration, groups: Sequence[Group], reached: Reached) -> int:
    """How many scans the round that had most made."""
    if reached.nothing:
        return 0
    if reached.cursor is None:
        return scans(groups, reached.last_pass)
    nr_pass, place = reached.cursor
    waiting = [group for group in groups if group.course.end is None or group.course.end > nr_pass]
    again = bool(waiting) and nr_pass < reached.last_pass
    return nr_pass + 1 + (again and pagelist.anything(migration.conn, chosen_of(waiting, None, place)))


def _run_modern(migration: Migration, groups: list[Group], dest: int) -> None:
    """
    migrate_pages() of a 6.x kernel: each page gets its target when it is first looked at, on *dest* or not at all.
    """
    listed = sum(group.pages for group in groups)
    room = migration.free[dest]
    migration.allocations.add(dest, dest, min(room, listed))
    line = MovingLine(migration.conn, groups)
    cursor: Position | None = None
    moved = line.movers
    if room < listed:
        everything = RunIndex(run for group in groups for run in places_of(migration.conn, group))
        limit = everything.address(room)
        cursor = (0, limit - 1)
        moved = line.index("moving", 0).below(limit)
    reached = Reached(cursor, nothing=room == 0, last_pass=migration.rules.last_pass)
    placed = Placement(((0, dest),) if moved else (), moved, Allocations(), out_of_memory=room < listed)
    _move(migration, line, placed)
    note_stayed(migration, groups, None, reached)
    scans = 1 if room and cursor is not None else _scans(migration, groups, reached)
    migration.result.passes = max(migration.result.passes, scans)
    if room < listed:
        migration.result.err = "ENOMEM"
