"""Swap slots in a migration under V9: who finds one, who keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from migratectl.kernel.swap import SlotPlan, What, plan_slots, slot_events
from migratectl.operations.line import Bounds, Group, Reached, places_of
from migratectl.runs import Run
from migratectl.storage import effects, holds, pagelist
from migratectl.storage.connection import Connection
from migratectl.uapi import NEVER


def give_slots(conn: Connection, groups: list[Group]) -> tuple[list[Group], SlotPlan]:
    """
    Give out swap slots before anything moves.

    A page that moves in the pass in which it asks gives its slot back at once, so one free slot is enough for any
    number of those. A page of tmpfs that found none asks again in each later pass. Where slots cannot run out nothing
    is read.

    Args:
        conn: The connection of the transaction; the list is cut where slots run out.
        groups: The candidates.

    Returns:
        The groups, with groups of their own for pages that find no slot or one in a later pass only, and who gets
        slots of which area.

    Source:
        add_to_swap() and get_swap_page(); semantics.md 1.7, 2.2 e and f, B9.
    """
    asking = [group for group in groups if group.needs_slot]
    areas = [(area.id, area.slots - area.used) for area in holds.swap_areas(conn)]
    keeping = [group for group in asking if group.keeps_slot]
    wanted = sum(group.pages for group in keeping) + bool(asking)
    first, free = next(((name, free) for name, free in areas if free), (None, 0))
    giving = any(group.state.swapcache and group.gives_back for group in groups)
    if free >= wanted and not (keeping and giving and len(areas) > 1):
        return groups, SlotPlan(area=first)
    plan = plan_slots(slot_events(_slot_runs(conn, groups, keeping)), areas)
    return _without_slots(conn, groups, plan), plan


def _slot_runs(
    conn: Connection, groups: Sequence[Group], keeping: Sequence[Group]
) -> Iterable[tuple[int, Run, What, int]]:
    freed = {group.course.end or 0 for group in groups if group.gives_back}
    for group in keeping:
        asked = group.course.slot_at or 0
        again = range(asked + 1, group.rules.last_pass + 1) if group.asks_again else ()
        passes = [asked, *(k for k in again if k in freed or k - 1 in freed)]
        for run in places_of(conn, group):
            for nr_pass in passes:
                yield nr_pass, run, "keep", 0
            if group.gives_back:
                yield group.course.end or 0, run, "return", 0
    for group in groups:
        if group.state.swapcache and group.gives_back:
            for area, run in pagelist.cached_runs(conn, group.chosen()):
                for place in group.places([run]):
                    yield group.course.end or 0, place, "give", area


def _without_slots(conn: Connection, groups: Sequence[Group], plan: SlotPlan) -> list[Group]:
    """Cut the groups at the stretches where no slot was free; what lies in them found one later, or never."""
    found = []
    for group in groups:
        if not group.needs_slot:
            found.append(group)
            continue
        asked = group.course.slot_at or 0
        without, at_once = _set_apart(conn, group, NEVER, _stretches(plan, asked))
        for nr_pass in range(asked + 1, group.rules.last_pass + 1) if without.pages and group.asks_again else ():
            late, without = _set_apart(conn, without, nr_pass, _kept_in(plan, nr_pass))
            found.append(late)
        found += [without, at_once]
    return [group for group in found if group.pages]


def _set_apart(conn: Connection, group: Group, slot_from: int, stretches: Iterable[Bounds]) -> tuple[Group, Group]:
    """The pages of a group in some stretches, which find a slot from that pass on, and the others."""
    nr = 0
    number = group.number
    for low, high in stretches:
        chosen = pagelist.cut_out(conn, group.chosen(low, high))
        nr += pagelist.total(conn, chosen)
        number = pagelist.set_apart(conn, chosen, min(slot_from, group.rules.last_pass + 1))
    way = group.rules.course(group.state, slot_from=slot_from)
    return replace(group, number=number, course=way, pages=nr), replace(group, pages=group.pages - nr)


def _kept_in(plan: SlotPlan, nr_pass: int) -> Iterable[Bounds]:
    """The places [low, high) of pages that follow each other and got a slot in a pass."""
    low = high = None
    for place in [place for kept_in, place, _ in plan.kept if kept_in == nr_pass]:
        if place != high:
            if low is not None:
                yield low, high
            low = place
        high = place + 1
    if low is not None:
        yield low, high


def _stretches(plan: SlotPlan, nr_pass: int) -> Iterable[Bounds]:
    """The places [low, high) of one pass at which no slot was free."""
    for start, end in plan.dry:
        if start[0] <= nr_pass and (end is None or nr_pass <= end[0]):
            low = start[1] if start[0] == nr_pass and start[1] else None
            high = end[1] if end is not None and end[0] == nr_pass else None
            yield low, high


def keep_slots(conn: Connection, groups: Sequence[Group], plan: SlotPlan, reached: Reached) -> int:
    """
    Put pages that keep the slot they got into the swap cache, as far as the scans got.

    Those are anonymous pages that backed out after step 3 or are to leave memory, and pages of tmpfs that were written.

    Args:
        conn: The connection of the transaction.
        groups: What give_slots() returned.
        plan: What give_slots() returned.
        reached: How far the scans got.

    Returns:
        Pages that stayed and keep a new entry: the residue.

    Source:
        semantics.md 2.6, B24: V9 does not undo swap entries.
    """
    nr = 0
    for group in groups:
        moved = group.gives_back and reached.cursor is None and not reached.nothing
        if not group.needs_slot or moved:
            continue
        for low, high, area in _kept_stretches(group, plan):
            for part_low, part_high, done in _acted(group, reached, low, high):
                chosen = pagelist.cut_out(conn, group.chosen(part_low, part_high))
                kept = effects.keep_swap_entry(conn, chosen, area)
                nr += 0 if done else kept
    return nr


def _acted(group: Group, reached: Reached, low: int | None, high: int | None) -> Iterable[tuple[*Bounds, bool]]:
    """The parts of [low, high) whose pages asked for their slot and kept it, and whether the list is rid of them."""
    asked, end = group.course.slot_at or 0, group.course.end
    for part_low, part_high, looked in reached.parts():
        if looked is None or looked < asked:
            continue
        done = group.course.last.done and end is not None and looked >= end
        if done and group.gives_back:
            continue
        lowest = max((x for x in (low, part_low) if x is not None), default=None)
        highest = min((x for x in (high, part_high) if x is not None), default=None)
        if lowest is None or highest is None or lowest < highest:
            yield lowest, highest, done


def _kept_stretches(group: Group, plan: SlotPlan) -> Iterable[tuple[int | None, int | None, int]]:
    """(low, high, swap area) of the slots that pages of a group got."""
    if plan.area is not None:
        yield None, None, plan.area
        return
    kept = [(address, area) for nr_pass, address, area in plan.kept if nr_pass == group.course.slot_at]
    start = 0
    for k in range(1, len(kept) + 1):
        if k == len(kept) or kept[k][1] != kept[start][1]:
            yield kept[start][0], kept[k][0] if k < len(kept) else None, kept[start][1]
            start = k
