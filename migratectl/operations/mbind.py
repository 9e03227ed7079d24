"""mbind(2): the policy of a range, and moving what lies elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from migratectl.errors import BadAddress, InputOutputError, PermissionDenied
from migratectl.kernel.mempolicy import policy_zonelists
from migratectl.nodemask import Nodemask
from migratectl.operations.areas import alter, borders, carve, first_hole
from migratectl.operations.caller import Caller, Identity, identify
from migratectl.operations.machine import Machine, find_mm, load_machine, resolve_nodes, resolve_span
from migratectl.operations.mempolicy import check_mode, new_policy
from migratectl.operations.migrate import Migration, collect, migrate_along
from migratectl.operations.policy_targets import leave_untried, migrate_by_policy
from migratectl.operations.rebinding import keep_policy, up_to_date
from migratectl.operations.watch import NOT_WATCHED, Watch
from migratectl.policy import Policy
from migratectl.spans import NodeList, Span
from migratectl.storage import pagelist, pages, tasks, vmas
from migratectl.storage.connection import Connection
from migratectl.storage.files import object_policies, set_object_policy
from migratectl.storage.gathering import Wanted
from migratectl.storage.pagelist import Alike, Selection
from migratectl.storage.vmas import Vma
from migratectl.uapi import INDEX_LIMIT, MF, Mode, ModeFlag, errno_number
from migratectl.wording import counted, pages_text


@dataclass(frozen=True, slots=True)
class Mbind:
    """The words of ``mbind``."""

    pid: int
    span: Span
    mode: Mode
    nodes: NodeList
    flags: MF
    mode_flags: tuple[ModeFlag, ...] = ()

    @property
    def moves(self) -> bool:
        """Whether pages are to move."""
        return bool(self.flags & (MF.MOVE | MF.MOVE_ALL))


@dataclass(frozen=True, slots=True)
class _Range:
    """What the call is about once its words are checked: pages [start, end), the new policy, the nodes asked for."""

    mm: int
    start: int
    end: int
    policy: Policy | None
    asked: Nodemask
    strict: bool


def mbind(conn: Connection, call: Mbind, watch: Watch = NOT_WATCHED) -> dict[str, Any]:
    """
    Set the policy of a range of a task's address space, as if the task called mbind(2) itself.

    Args:
        conn: The connection of the transaction.
        call: The words; the length of the range is rounded up to pages.
        watch: Who looks on: gets the courses of the pages, or meets them.

    Returns:
        The document of a migration; ``return`` is 0, or minus EIO where STRICT was asked for and pages stayed: then the
        policy is set all the same, and what moved stays moved.

    Raises:
        NoSuchProcess, InvalidArgument, PermissionDenied, BadAddress: In the order of semantics.md 3.3; nothing is done.
        InputOutputError: STRICT without a move, and a page lies elsewhere: the policy is not set.

    Source:
        sys_mbind() and do_mbind(), Direct Migration V9, 4/5; mbind(2); B2, B6, B16 of semantics.md.
    """
    machine = load_machine(conn)
    task, mm = find_mm(conn, call.pid)
    subject = f"pid {call.pid}"
    who = identify(conn, machine, Caller(pid=call.pid))
    asked = resolve_nodes(machine, call.nodes, who.mems, subject)
    check_mode(machine, call.mode, call.mode_flags, subject)
    if call.flags & MF.MOVE_ALL and not who.capable(machine.move_all_capability):
        needs = machine.move_all_name
        raise PermissionDenied(subject, f"--move-all needs {needs}; leave it out or create the task with it")
    start, end = resolve_span(conn, mm, call.span, machine.facts.page_size, subject, aligned=True)
    flags = MF.MOVE_ALL if call.flags & MF.MOVE_ALL else call.flags & MF.MOVE
    if call.flags & MF.STRICT and call.mode is not Mode.DEFAULT:
        flags |= MF.STRICT
    migration = Migration.of(conn, machine, call.pid, mm, MF(flags), who, watch)
    if start < end:
        limit = who.mems if machine.modern else machine.online
        policy = new_policy(machine, call.mode, asked, limit, who.mems, subject, call.mode_flags)
        target = _Range(mm, start, end, policy, asked, bool(flags & MF.STRICT))
        _check_holes(migration, call, target)
        migration.result.nids |= {nid for nid in (policy.nodes if policy else ()) if nid in machine.nodes}
        now = up_to_date(machine, task)
        _bind(migration, call, target, who, now.policy)
        if migration.allocations.pages or migration.result.err:
            keep_policy(conn, now)
    document = {"pid": call.pid, **migration.document()}
    result = migration.result
    failed = bool(flags & MF.STRICT) and (result.failed or result.err or _unqueued(machine, document))
    return document | _outcome(call, document, failed=bool(failed))


def _check_holes(migration: Migration, call: Mbind, target: _Range) -> None:
    """
    Every page of the range lies in an area; the default policy passes over holes, but not over all of it.

    STRICT alone goes area by area under ``modern``, and notices a hole before it looks into the area in front of it:
    what is misplaced further in front is met first (rule 53 of what a 6.1 kernel does).
    """
    conn, machine = migration.conn, migration.machine
    at = first_hole(conn, target.mm, target.start, target.end)
    if at is None or (call.mode is Mode.DEFAULT and vmas.overlapping(conn, target.mm, target.start, target.end)):
        return
    if machine.modern and target.strict and not call.moves and at > target.start:
        beside = vmas.overlapping(conn, target.mm, at - 1, at)[0]
        if beside.start > target.start:
            pages.cut_range(conn, target.mm, target.start, beside.start)
            _refuse_misplaced(migration, call, _elsewhere(machine, replace(target, end=beside.start)))
    where = hex(at * machine.facts.page_size)
    raise BadAddress(f"pid {call.pid}", f"no area at {where}; see 'migratectl show vmas {call.pid}'")


def _elsewhere(machine: Machine, target: _Range) -> Wanted:
    """The pages that lie on nodes which were not asked for."""
    outside = tuple(nid for nid in machine.nodes if nid not in target.asked)
    return Wanted(outside, target.start, target.end, zero=True)


def _bind(migration: Migration, call: Mbind, target: _Range, who: Identity, task_policy: Policy | None) -> None:
    """Gather what is misplaced, split the areas and set the policy, move."""
    conn, machine = migration.conn, migration.machine
    elsewhere = _elsewhere(machine, target)
    pages.cut_range(conn, target.mm, target.start, target.end)
    first = vmas.overlapping(conn, target.mm, target.start, target.end)[0]
    if target.strict and not call.moves:
        _refuse_misplaced(migration, call, elsewhere)
    if migration.races is not None:
        migration.races.held_mm = target.mm
    rows = migration.gather(lambda: collect(migration, elsewhere)) if call.moves else []
    _set_policy(migration, target)
    deciding = _deciding(migration, target, first, task_policy) if rows else []
    if len(deciding) > 1:
        _cut_between(migration, rows, [low for low, _, _ in deciding[1:]])
        pagelist.set_aside(conn)
    for low, high, policy in deciding:
        if len(deciding) > 1:
            rows = pagelist.take_up(conn, low, high)
        choice = policy_zonelists(
            policy, who.local, machine.fallback, who.mems, modern=machine.modern, weights=machine.weights
        )
        if machine.posted:  # all targets are allocated for the start of its first area (B2)
            number = (max(first.start, target.start) + first.delta) % INDEX_LIMIT % len(choice.zonelists)
            migrate_along(
                migration, rows, choice.zonelists[number], choice.firsts[number], interleave=choice.interleave
            )
        elif migration.result.err is None:
            migrate_by_policy(migration, rows, choice)
        else:
            leave_untried(migration, rows)


def _deciding(
    migration: Migration, target: _Range, first: Vma, task_policy: Policy | None
) -> list[tuple[int, int, Policy | None]]:
    """
    The policies that choose targets in the range, each with its pages [start, end).

    V9 asks that of the first area, and of shared memory that of the object, without the task's. A 6.x kernel asks at
    each page's address, where an object may have another policy than the call has set: one that was set through another
    mapping, while this area's own was equal already (rule 50 of what a 6.1 kernel does).

    Source:
        new_vma_page(), get_vma_policy() of mm/mempolicy.c; semantics.md 6.1.
    """
    conn, whole = migration.conn, (target.start, target.end)
    if not migration.machine.modern:
        asks_object = first.kind == "shm"
        return [(*whole, target.policy if target.policy is not None or asks_object else task_policy)]
    found: list[tuple[int, int, Policy | None]] = []
    for vma in vmas.overlapping(conn, target.mm, *whole):
        low, high = max(vma.start, target.start), min(vma.end, target.end)
        for start, end, own in object_policies(conn, vma, low, high):
            policy = task_policy if own is None else tasks.find_policy(conn, own)
            goes_on = bool(found) and found[-1][1:] == (start, policy)
            found.append((found.pop()[0] if goes_on else start, end, policy))
    return found


def _cut_between(migration: Migration, rows: Sequence[Alike], starts: Sequence[int]) -> None:
    """Cut the runs of the list where another policy begins to decide."""
    for start in starts:
        pagelist.cut(migration.conn, Selection(tuple(row.number for row in rows)), start)
    if migration.mm is not None:
        migration.touched.update(pages.rows_around(migration.conn, migration.mm, starts))


def _set_policy(migration: Migration, target: _Range) -> None:
    """
    Give the areas of the range the policy, and the objects of shared memory below them.

    V9 splits at both ends and leaves equal neighbours two. A 6.x kernel leaves an area alone that has that policy
    already, and gives the object below what merges the policy too (rule 50 of what a 6.1 kernel does).

    Source:
        mbind_range() with policy_vma() or vma_replace_policy().
    """
    conn, mm = migration.conn, target.mm
    policy = None if target.policy is None else tasks.intern_policy(conn, target.policy)
    if not migration.machine.modern:
        covered = carve(conn, mm, target.start, target.end)
        vmas.set_policy(conn, mm, target.start, target.end, policy)
        for vma in covered:
            set_object_policy(conn, vma, policy)
        return
    bound = vmas.bound_by(conn, policy)

    def bind(vma: Vma) -> Vma:
        return vma if vma.bound == bound else replace(vma, policy=policy, bound=bound)

    altered = alter(conn, mm, target.start, target.end, bind, modern=True)
    for _, whole in altered:
        vmas.set_policy(conn, mm, whole.start, whole.end, policy)
        set_object_policy(conn, whole, policy)
    migration.touched.update(pages.rows_around(conn, mm, borders(target.start, target.end, altered)))


def _refuse_misplaced(migration: Migration, call: Mbind, elsewhere: Wanted) -> None:
    """STRICT alone: a present page on another node is EIO, whatever its area, but for huge ones."""
    misplaced = [
        row for row in collect(migration, elsewhere) if row.state.kind != "zero" and row.state.area != "vma-hugetlb"
    ]
    if misplaced:
        nr = sum(row.pages for row in misplaced)
        what = counted(nr, "page lies", "pages lie")
        raise InputOutputError(
            f"pid {call.pid}", f"{what} on another node, the policy is not set; add --move, or leave out --strict"
        )


def _unqueued(machine: Machine, document: dict[str, Any]) -> bool:
    """A 6.x kernel counts a page that could not be taken off the LRU against STRICT."""
    return machine.modern and any(entry["reason"] == "off-lru" for entry in document["skips"])


def _outcome(call: Mbind, document: dict[str, Any], *, failed: bool) -> dict[str, Any]:
    """What the call returns: never a count."""
    if not failed:
        return {"return": 0, "errno": None}
    nr = document["failed"]
    stayed = pages_text(nr)
    others = "the others have moved" if document["moved"] else "none has moved"
    look = f"migratectl explain {call.pid} {call.span}"
    return {
        "return": -errno_number("EIO"),
        "errno": "EIO",
        "message": f"pid {call.pid}: EIO: {stayed} stayed, {others}, the policy is set (see '{look}')",
    }
