"""Why pages of a range could move or could not: the rules of a migration asked page by page, nothing moved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from migratectl.errors import KernelError, PermissionDenied
from migratectl.kernel.memory import absent
from migratectl.kernel.migrate import LAST_PASS, UNSEEN, course, skip_reason
from migratectl.nodemask import Nodemask
from migratectl.operations.caller import Caller, called_pid, identify
from migratectl.operations.line import page_state
from migratectl.operations.machine import Machine, find_mm, load_machine, resolve_nodes, resolve_span
from migratectl.operations.migrate import Migration, collect
from migratectl.operations.migrate_pages import may_move, refusal
from migratectl.runs import Run, maximal_runs
from migratectl.spans import NodeList, Span
from migratectl.storage import holds, pagelist, pages, vmas
from migratectl.storage.pagelist import StateRow, Wanted
from migratectl.uapi import MF, NEVER, SYS_NICE


@dataclass(frozen=True, slots=True)
class Explain:
    """The words of ``explain``; ``source``: the nodes to leave, None for all; ``move``: as MOVE, whoever calls."""

    pid: int
    span: Span
    source: NodeList | None = None
    move: bool = False


class Verdict(NamedTuple):
    """
    What would become of a page.

    ``step`` is the one of the documentation's twenty at which it ends, None where the page is not even collected;
    ``holders`` are (pid, kind, release pass), ``mappers`` pids, as far as they stand in its way; ``outside``: tasks
    that this state does not have map it too.
    """

    node: int | None
    state: str
    reason: str
    errno: str | None = None
    nr_pass: int | None = None
    step: int | None = None
    holders: tuple[tuple[int, str, int], ...] = ()
    mappers: tuple[int, ...] = ()
    outside: bool = False


SENTENCES: Final = {
    "movable": "nothing stands in its way",
    "not-present": "no page is mapped here, so none is collected",
    "other-node": "lies on a node that is not to be left",
    "shared": "mapped more than once; MOVE takes pages that are mapped once",
    "vma-locked": "in an area that is locked in memory, which is not looked into",
    "vma-io": "in an area of device memory, which is not looked into",
    "vma-pfnmap": "in an area of raw page frames, which is not looked into",
    "vma-hugetlb": "in an area of huge pages, which is not looked into",
    "vma-reserved": "in a reserved area, which is not looked into",
    "reserved-page": "the zero page, which all tasks share and which has no place of its own",
    "off-lru": "not on the LRU list (parked in a per-CPU batch), so it cannot be isolated",
    "busy-locked": "somebody holds its page lock in every pass",
    "busy-writeback": "is being written back in every pass",
    "no-swap": "an anonymous page needs a swap slot for the time of its move, and none is free",
    "pinned": "somebody holds a reference that its mappings and the migration do not account for",
    "mlocked": "another mapping of it is in an area that is locked in memory",
    "unmap-incomplete": "a mapping of it cannot be taken away",
    "slot-changed": "the tree of its file holds another page in its place",
    "truncated": "its file was cut while somebody held it, so it has no mapping any more",
    "fs-refuses": "the file system's migratepage method refuses",
    "pageout-keep": "dirty, and cannot be written while others have it; its file system has no method to move it",
    "pageout-activate": "dirty, its file system has no method to move it, and nothing can write it",
    "writeback-started": "dirty without a method: it is written in the very last pass and could move then",
    "buffers-busy": "its file system has no method to move it, and its buffers cannot be dropped",
}
"""What each word means, in the order of cli.md."""

_HELP: Final = {
    "not-present": "touch it first: 'migratectl fault {pid} {span}'",
    "other-node": "name its node among those to leave",
    "shared": "take shared pages too: --move-all, or a caller with CAP_SYS_NICE; mapped by pid {mappers}",
    "vma-locked": "unlock it for the time of the move: 'migratectl munlock {pid} {span}'",
    "reserved-page": "a write gives it a page of its own: 'migratectl fault {pid} {span} --write'",
    "off-lru": "take it out of the batch: 'migratectl page unpark {holder}'",
    "busy-locked": "let the lock go: 'migratectl page unlock {holder}'",
    "busy-writeback": "let it be over: 'migratectl page unwriteback {holder}'",
    "no-swap": "one free slot is enough for any number of pages: 'migratectl swap on NAME SIZE'",
    "pinned": "let the references go: 'migratectl page unpin {holder}'",
    "mlocked": "unlock it for the time of the move ('migratectl munlock') there: pid {mappers}",
    "pageout-keep": "let the references go: 'migratectl page unpin {holder}'",
    "pageout-activate": "swap space, for tmpfs: 'migratectl swap on NAME SIZE'; ramfs has nowhere to write",
    "writeback-started": "try once more, or write it first: 'migratectl file sync'",
    "buffers-busy": "let its buffers be idle: 'migratectl page buffers {pid} {span} --state idle'",
}
"""What would help, where something would."""

_STANDING_IN_THE_WAY: Final = {
    "busy-locked": "lock",
    "busy-writeback": "writeback",
    "pinned": "pin",
    "pageout-keep": "pin",
    "off-lru": "park",
}


def explain(conn: Connection, caller: Caller, call: Explain) -> dict[str, Any]:
    """
    Tell for each page of a range whether it could move, and if not, at which step, why, and what would help.

    Room on a target node is not asked for: that is what a dry run of the migration shows.

    Args:
        conn: The connection of the transaction.
        caller: Who would call: with CAP_SYS_NICE shared pages are taken too.
        call: The words.

    Returns:
        ``pages``: entries by address, each a maximal run of pages with one node, reason and cause; ``refused``: why
        the caller may not move the task's pages at all, or None.

    Raises:
        NoSuchProcess, InvalidArgument, BadAddress: No such task; a kernel thread; a bad range or node.

    Source:
        check_range(), isolate_lru_page() and migrate_pages(), Direct Migration V9, 2/5 and 4/5; semantics.md 2.
    """
    machine = load_machine(conn)
    pid = called_pid(caller, call.pid)
    task, mm = find_mm(conn, pid)
    subject = f"pid {pid}"
    who = identify(conn, machine, caller)
    source = machine.online
    if call.source is not None:
        source = resolve_nodes(machine, call.source, task.cpuset.mems, subject)
    start, end = resolve_span(conn, mm, call.span, machine.facts.page_size, subject)
    refused: KernelError | None = None
    if not may_move(who, task, machine):
        refused = PermissionDenied(subject, refusal(who, task))
    everything = who.capable(SYS_NICE) and not call.move and not machine.posted
    flags = MF.MOVE_ALL if everything else MF.MOVE
    migration = Migration.of(conn, machine, pid, mm, flags, who)
    found = _verdicts(migration, mm, source, (start, end))
    document = {
        "pid": pid,
        "flags": "MOVE_ALL" if flags is MF.MOVE_ALL else "MOVE",
        "from": str(source),
        "pages": _entries(found, machine, pid),
        "refused": str(refused) if refused else None,
    }
    totals: dict[str, int] = {}
    for verdict, runs in found.items():
        totals[verdict.reason] = totals.get(verdict.reason, 0) + sum(run.nr_pages for run in runs)
    return document | {"total": {word: totals[word] for word in SENTENCES if word in totals}}


def _verdicts(migration: Migration, mm: int, source: Nodemask, span: tuple[int, int]) -> dict[Verdict, list[Run]]:
    """The pages of a range by verdict. Runs that reach beyond the range are clipped, not cut: nothing is written."""
    conn = migration.conn
    found: dict[Verdict, list[Run]] = {}
    for vma in vmas.overlapping(conn, mm, *span):
        low, high = max(vma.start, span[0]), min(vma.end, span[1])
        rows = collect(migration, Wanted(tuple(migration.machine.nodes), vma.start, vma.end, zero=True))
        present: list[Run] = []
        for row in rows:
            for verdict, run in _of_state(migration, row, source):
                inside = run.between(low, high)
                if inside:
                    present.append(inside)
                    found.setdefault(verdict, []).append(inside)
        swapped = [row.run for row in pages.mapped(conn, mm, (vma.start, vma.end), low, high) if row.state == "swapped"]
        inside_swap = [piece for run in swapped if (piece := run.between(low, high))]
        for state, runs in (("swapped", inside_swap), ("absent", absent(low, high, [*present, *inside_swap]))):
            if runs:
                reason = vma.raw if state == "absent" and vma.raw else "not-present"
                found.setdefault(Verdict(None, state, reason), []).extend(runs)
    return found


def _of_state(migration: Migration, row: StateRow, source: Nodemask) -> Iterable[tuple[Verdict, Run]]:
    """The runs of one gathered state, each with what would become of it and who stands in its way."""
    plain = _judge(migration, row, source)
    kind = _STANDING_IN_THE_WAY.get(plain.reason)
    by_page: dict[int, list[tuple[int, str, int]]] = {}
    if kind:
        for page, holder in holds.holders(migration.conn, row.state, kind):
            by_page.setdefault(page, []).append(holder)
    mappers: dict[int, tuple[int, ...]] = {}
    outside: set[int] = set()
    if plain.reason in ("shared", "mlocked"):
        mappers = pagelist.mappers(migration.conn, row.state, locked=plain.reason == "mlocked")
        outside = pagelist.mapped_outside(migration.conn, row.state)
    for page, run in pagelist.listed(migration.conn, row.state):
        holding, mapping = tuple(by_page.get(page, ())), mappers.get(page, ())
        yield plain._replace(holders=holding, mappers=mapping, outside=page in outside), run


def _judge(migration: Migration, row: StateRow, source: Nodemask) -> Verdict:
    """What would become of the pages of a state."""
    state = page_state(row)
    zero = row.kind == "zero"
    node, shown = (None, "zero") if zero else (row.node, "present")
    if not zero and row.node not in source:
        return Verdict(node, shown, "other-node")
    posted = migration.machine.posted
    reason = skip_reason(state, migration.flags, modern=migration.modern, posted=posted)
    if reason is not None:
        return Verdict(node, shown, row.area if reason == UNSEEN else reason)
    way = course(state, modern=migration.modern, slot_from=migration.slot_from(), posted=posted)
    nr_pass = way.end if way.end is not None else LAST_PASS[migration.modern]
    if way.moves:
        return Verdict(node, shown, "movable", None, nr_pass, way.last.step)
    return Verdict(node, shown, way.last.reason, way.last.errno, nr_pass, way.last.step)


def _entries(found: dict[Verdict, list[Run]], machine: Machine, pid: int) -> list[dict[str, Any]]:
    """One entry a maximal run, by address."""
    entries = []
    page_size = machine.facts.page_size
    for verdict, runs in found.items():
        for run in maximal_runs(runs):
            entry: dict[str, Any] = {
                "addr": hex(run.start * page_size),
                "pages": run.nr_pages,
                "node": verdict.node,
                "state": verdict.state,
                "movable": verdict.reason == "movable",
                "reason": verdict.reason,
                "errno": verdict.errno,
                "pass": verdict.nr_pass,
                "at_step": verdict.step,
                "why": SENTENCES[verdict.reason],
                "help": _help(verdict, pid, f"{run.start * page_size:#x}+{run.last - run.start + 1}p"),
                "holders": [
                    {"pid": holder, "hold": kind, "passes": None if passes >= NEVER else passes}
                    for holder, kind, passes in verdict.holders
                ],
                "mappers": list(verdict.mappers),
                "mapped_outside": verdict.outside,
            }
            if run.step > 1:
                entry["step"] = run.step
            entries.append((run.start, verdict.reason, entry))
    return [entry for *_, entry in sorted(entries, key=lambda item: item[:2])]


def _help(verdict: Verdict, pid: int, span: str) -> str | None:
    """What would help; None where nothing does."""
    text = _HELP.get(verdict.reason)
    if text is None or (verdict.reason == "pageout-keep" and not verdict.holders):
        return None
    holder = verdict.holders[0][0] if verdict.holders else pid
    mappers = ", ".join(map(str, verdict.mappers)) + (" and others outside this state" if verdict.outside else "")
    return text.format(pid=pid, span=span, holder=holder, mappers=mappers)
