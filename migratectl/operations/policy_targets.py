"""Moving a page list to where a policy wants each page: the targets of mbind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from migratectl.kernel.mempolicy import Choice
from migratectl.kernel.page_alloc import Stretch, place_at_once, place_own_targets
from migratectl.operations.line import Group, MovingLine, Reached, chosen_of
from migratectl.operations.migrate import Migration, decide, move_stretch, note_stayed, note_touched, scans
from migratectl.operations.slots import give_slots
from migratectl.storage import pagelist
from migratectl.storage.pagelist import Alike


def migrate_by_policy(migration: Migration, rows: Iterable[Alike], choice: Choice) -> None:
    """
    Move the gathered list to the nodes that a policy chooses for the pages' own addresses.

    A target is taken when its page moves, and the old place is free from then on. A page is not touched unless there is
    one for it; the first page without a target ends it.

    Args:
        migration: The call; its result gets what moved and what stayed.
        rows: The states of the list.
        choice: The policy's lists; with ``interleave`` list number i serves the indexes that are i modulo their number.

    Source:
        migrate_pages_to() with a vma, Direct Migration V9, 4/5, with B2 of semantics.md.
    """
    groups = decide(migration, rows)
    if groups:
        with migration.told(groups):
            _migrate(migration, groups, choice)
        note_touched(migration)


def _migrate(migration: Migration, groups: list[Group], choice: Choice) -> None:
    """Give slots and targets out, move, and note what stayed."""
    plan = None
    if not migration.rules.today:
        groups, plan = give_slots(migration.conn, groups)
    nr = len(choice.zonelists)
    asking = [group for group in groups if group.asks_for_target]
    if nr > 1 and asking:
        pagelist.deal(migration.conn, chosen_of(asking), nr)
    line = MovingLine(migration.conn, groups)
    stretches, stop = _place(migration, line, choice)
    for stretch in stretches:
        _move(migration, line.moving[stretch.nr_pass], stretch, choice)
    cursor = None if stop is None else (stop[0], stop[1] - 1)
    note_stayed(migration, groups, plan, Reached(cursor, nothing=False, last_pass=migration.rules.last_pass))
    migration.result.passes = max(migration.result.passes, _scans(migration, groups, stop))
    if stop is not None:
        migration.result.err = "ENOMEM"


def leave_untried(migration: Migration, rows: Iterable[Alike]) -> None:
    """Note a gathered list that nothing is tried for, since memory has run out before it."""
    groups = decide(migration, rows)
    if groups:
        note_stayed(migration, groups, None, Reached(None, nothing=True, last_pass=migration.rules.last_pass))
        note_touched(migration)


def _place(migration: Migration, line: MovingLine, choice: Choice) -> tuple[list[Stretch], tuple[int, int] | None]:
    """The stretches of the line by giving nodes, and the first page that finds no memory."""
    nr = len(choice.zonelists)
    members = [group for groups in line.moving.values() for group in groups]
    totals = [0] * nr
    for group in members:
        for residue, pages in pagelist.class_totals(migration.conn, group.chosen()).items():
            totals[residue] += pages
    waiting = {} if migration.rules.today else line.waiting(nr)
    sources = {group.source for group in members}
    givers = place_at_once(totals, sources, choice.zonelists, migration.free, waiting)
    if givers is not None:
        return [Stretch(nr_pass, None, None, givers) for nr_pass in sorted(line.moving)], None
    passes = [(nr_pass, line.by_class(nr_pass, nr)) for nr_pass in sorted(line.moving)]
    return place_own_targets(passes, choice.zonelists, migration.free, waiting)


def _move(migration: Migration, members: Sequence[Group], stretch: Stretch, choice: Choice) -> None:
    for residue, nid in enumerate(stretch.nodes):
        if nid is None:
            continue
        for source in sorted({group.source for group in members}):
            mine = [group for group in members if group.source == source]
            only = residue if choice.interleave else None
            nr = move_stretch(migration, mine, (stretch.start, stretch.end), (source, nid), stretch.nr_pass, only)
            migration.allocations.add(choice.firsts[residue], nid, nr, interleave=choice.interleave)


def _scans(migration: Migration, groups: Sequence[Group], stop: tuple[int, int] | None) -> int:
    """How many scans were made; none where the very first page found no target."""
    if stop is not None:
        nr_pass, address = stop
        before = chosen_of([group for group in groups if not group.refused], high=address)
        begun = nr_pass or pagelist.anything(migration.conn, before)
        return nr_pass + 1 if begun else 0
    return scans(groups, migration.rules.last_pass)
