"""Why pages of a range could move or could not: the rules of a migration asked page by page, nothing moved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from migratectl.errors import KernelError, PermissionDenied
from migratectl.kernel.memory import absent
from migratectl.kernel.rules import UNSEEN
from migratectl.nodemask import Nodemask
from migratectl.operations.caller import Caller, called_pid, identify
from migratectl.operations.machine import Machine, find_mm, load_machine, resolve_nodes, resolve_span
from migratectl.operations.migrate import Migration, collect
from migratectl.operations.migrate_pages import may_move, refusal
from migratectl.operations.remedies import BEYOND, Remedies, Remedy, Verdict
from migratectl.operations.show import WHOLE, policy_text
from migratectl.runs import Run, maximal_runs
from migratectl.spans import NodeList, Span
from migratectl.storage import files, pagelist, pages, tasks, vmas
from migratectl.storage.connection import Connection
from migratectl.storage.gathering import Wanted
from migratectl.storage.pagelist import Alike
from migratectl.storage.vmas import Vma
from migratectl.uapi import MF, NEVER, SYS_NICE, VM


@dataclass(frozen=True, slots=True)
class Explain:
    """
    The words of ``explain``.

    ``span``: the range, None for all areas; ``source``: the nodes to leave, None for all; ``move``: as MOVE, whoever
    calls.
    """

    pid: int
    span: Span | None
    source: NodeList | None = None
    move: bool = False


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

MOST_HELPS: Final = 3
"""Remedies told for one reason; they differ in addresses and holders."""

_WITHOUT_PAGES: Final = {VM.HUGETLB: "vma-hugetlb", VM.PFNMAP: "vma-pfnmap", VM.IO: "vma-io"}
"""Areas that are not looked into and have no page to show for it."""

_STANDING_IN_THE_WAY: Final = {
    "busy-locked": "lock",
    "busy-writeback": "writeback",
    "pinned": "pin",
    "pageout-keep": "pin",
    "off-lru": "park",
}


def explain(conn: Connection, caller: Caller, call: Explain) -> dict[str, Any]:
    """
    Tell for each page whether it could move, and if not, at which step, why, and what would help.

    Room on a target node is not asked for: that is what a dry run of the migration shows.

    Args:
        conn: The connection of the transaction.
        caller: Who would call: with CAP_SYS_NICE shared pages are taken too.
        call: The words.

    Returns:
        ``pages``: entries by address, each a maximal run of pages of one area with one node, reason and cause; None
        where no range is named. ``groups``: the pages by reason, each with the first remedies. ``placed``: the areas of
        files whose policy does not decide where their pages lie. ``refused``: why the caller may not move the task's
        pages at all, or None.

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
    start, end = resolve_span(conn, mm, call.span or WHOLE, machine.facts.page_size, subject)
    refused: KernelError | None = None
    if not may_move(who, task, machine):
        refused = PermissionDenied(subject, refusal(who, task))
    everything = who.capable(SYS_NICE) and not call.move and not machine.posted
    flags = MF.MOVE_ALL if everything else MF.MOVE
    migration = Migration.of(conn, machine, pid, mm, flags, who)
    areas = {vma.start: vma for vma in vmas.overlapping(conn, mm, start, end)}
    found = _verdicts(migration, areas.values(), source, (start, end))
    told = _Telling(areas, Remedies(conn, machine, task, call.move), machine.facts.page_size)
    runs = sorted(((run, verdict) for verdict, runs in found.items() for run in maximal_runs(runs)), key=_by_address)
    groups = told.groups(runs)
    return {
        "pid": pid,
        "flags": "MOVE_ALL" if flags is MF.MOVE_ALL else "MOVE",
        "from": str(source),
        "pages": None if call.span is None else [told.entry(run, verdict) for run, verdict in runs],
        "groups": groups,
        "placed": _placed(conn, machine, areas.values()),
        "refused": str(refused) if refused else None,
        "total": {group["reason"]: group["pages"] for group in groups},
    }


def _by_address(item: tuple[Run, Verdict]) -> tuple[int, str]:
    return item[0].start, item[1].reason


def _verdicts(
    migration: Migration, areas: Iterable[Vma], source: Nodemask, span: tuple[int, int]
) -> dict[Verdict, list[Run]]:
    """The pages of a range by verdict. Runs that reach beyond the range are clipped, not cut: nothing is written."""
    conn = migration.conn
    found: dict[Verdict, list[Run]] = {}
    for vma in areas:
        low, high = max(vma.start, span[0]), min(vma.end, span[1])
        rows = collect(migration, Wanted(tuple(migration.machine.nodes), low, high, zero=True, across=vma.start))
        present: list[Run] = []
        for row in rows:
            for verdict, run in _of_state(migration, row, source, vma):
                inside = run.between(low, high)
                if inside:
                    present.append(inside)
                    found.setdefault(verdict, []).append(inside)
        mapped = pages.mapped(conn, vma.mm, (vma.start, vma.end), low, high)
        swapped = [piece for row in mapped if row.state == "swapped" and (piece := row.run.between(low, high))]
        for verdict, run in _without_page(conn, vma, swapped, absent(low, high, [*present, *swapped])):
            found.setdefault(verdict, []).append(run)
    return found


def _without_page(
    conn: Connection, vma: Vma, swapped: Iterable[Run], gone: Iterable[Run]
) -> Iterator[tuple[Verdict, Run]]:
    """What there is to say of addresses without a page."""
    for run in swapped:
        yield Verdict(vma.start, None, "swapped", "not-present"), run
    closed = next((word for flag, word in _WITHOUT_PAGES.items() if vma.flags & flag), None)
    size = None if vma.private_anonymous else files.load(conn, vma.mapping).size
    end = vma.end if size is None or closed else size - vma.delta
    for run in gone:
        inside, beyond = run.between(vma.start, end), run.between(max(end, vma.start), vma.end)
        if inside:
            yield Verdict(vma.start, None, "absent", closed or "not-present"), inside
        if beyond:
            yield Verdict(vma.start, None, BEYOND, "not-present"), beyond


def _of_state(migration: Migration, row: Alike, source: Nodemask, vma: Vma) -> Iterable[tuple[Verdict, Run]]:
    """The runs of one gathered state, each with what would become of it and who stands in its way."""
    plain = _judge(migration, row, source, vma)
    kind = _STANDING_IN_THE_WAY.get(plain.reason)
    by_page: dict[int, list[tuple[int, str, int]]] = {}
    if kind:
        for page, holder in pagelist.holders(migration.conn, row.number, kind):
            by_page.setdefault(page, []).append(holder)
    mappers: dict[int, tuple[int, ...]] = {}
    locked: dict[int, list[tuple[int, int]]] = {}
    outside: set[int] = set()
    if plain.reason in ("shared", "mlocked"):
        mappers = pagelist.mappers(migration.conn, row.number, locked=plain.reason == "mlocked")
        outside = pagelist.mapped_outside(migration.conn, row.number)
    if plain.reason == "mlocked":
        for page, pid, shift in pagelist.locked_at(migration.conn, row.number):
            locked.setdefault(page, []).append((pid, shift))
    for page, run in pagelist.runs_by_row(migration.conn, row.number):
        holding, mapping = tuple(by_page.get(page, ())), mappers.get(page, ())
        there = tuple(locked.get(page, ()))
        yield plain._replace(holders=holding, mappers=mapping, outside=page in outside, locked=there), run


def _judge(migration: Migration, row: Alike, source: Nodemask, vma: Vma) -> Verdict:
    """What would become of the pages of a state."""
    state = row.state
    zero = state.kind == "zero"
    node, shown = (None, "zero") if zero else (row.node, "present")
    if not zero and row.node not in source:
        return Verdict(vma.start, node, shown, "other-node")
    way = migration.way(row)
    if isinstance(way, str):
        return Verdict(vma.start, node, shown, state.area if way == UNSEEN else way)
    nr_pass = way.end if way.end is not None else migration.rules.last_pass
    if way.moves:
        return Verdict(vma.start, node, shown, "movable", None, nr_pass, way.last.step)
    writepage = state.writepage if way.last.reason == "pageout-activate" else ""
    last = way.last
    return Verdict(vma.start, node, shown, last.reason, last.errno, nr_pass, last.step, writepage=writepage)


@dataclass(frozen=True, slots=True)
class _Telling:
    """Verdicts as a document tells them; ``areas`` by their first page."""

    areas: Mapping[int, Vma]
    remedies: Remedies
    page_size: int

    def remedy(self, run: Run, verdict: Verdict) -> Remedy | None:
        """What would help."""
        return self.remedies.of(verdict, self.areas[verdict.area], run)

    def entry(self, run: Run, verdict: Verdict) -> dict[str, Any]:
        """One maximal run."""
        remedy = self.remedy(run, verdict)
        entry: dict[str, Any] = {
            "addr": hex(run.start * self.page_size),
            "pages": run.nr_pages,
            "node": verdict.node,
            "state": "absent" if verdict.state == BEYOND else verdict.state,
            "movable": verdict.reason == "movable",
            "reason": verdict.reason,
            "errno": verdict.errno,
            "pass": verdict.nr_pass,
            "at_step": verdict.step,
            "why": SENTENCES[verdict.reason],
            "help": str(remedy) if remedy else None,
            "commands": list(remedy.commands) if remedy else [],
            "holders": [
                {"pid": holder, "hold": kind, "passes": None if passes >= NEVER else passes}
                for holder, kind, passes in verdict.holders
            ],
            "mappers": list(verdict.mappers),
            "mapped_outside": verdict.outside,
        }
        return entry | ({"step": run.step} if run.step > 1 else {})

    def groups(self, runs: Iterable[tuple[Run, Verdict]]) -> list[dict[str, Any]]:
        """The runs by reason, in the order of the words; each group with its first remedies."""
        by_reason: dict[str, list[tuple[Run, Verdict]]] = {}
        for run, verdict in runs:
            by_reason.setdefault(verdict.reason, []).append((run, verdict))
        return [self._group(word, by_reason[word]) for word in SENTENCES if word in by_reason]

    def _group(self, word: str, runs: Sequence[tuple[Run, Verdict]]) -> dict[str, Any]:
        helps: dict[str, int] = {}
        seen = 0
        for run, verdict in runs:
            if len(helps) == MOST_HELPS:
                break
            seen += 1
            if remedy := self.remedy(run, verdict):
                helps.setdefault(str(remedy), seen)
        return {
            "reason": word,
            "errno": runs[0][1].errno,
            "pages": sum(run.nr_pages for run, _ in runs),
            "areas": len({verdict.area for _, verdict in runs}),
            "addr": hex(runs[0][0].start * self.page_size),
            "why": SENTENCES[word],
            "help": list(helps),
            "more": len(runs) - seen,
        }


def _placed(conn: Connection, machine: Machine, areas: Iterable[Vma]) -> list[dict[str, Any]]:
    """
    The areas with a policy that does not place their pages: those of files, under today's kernel.

    Source:
        filemap_alloc_folio() of a 6.x kernel; rule 22 of what a 6.1 kernel does.
    """
    page_size = machine.facts.page_size
    return [
        {
            "addr": hex(vma.start * page_size),
            "end": hex(vma.end * page_size),
            "file": vma.name,
            "policy": policy_text(tasks.find_policy(conn, vma.policy), modern=True),
        }
        for vma in areas
        if machine.modern and vma.kind == "file" and vma.policy is not None
    ]
