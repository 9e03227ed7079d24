"""Looking at the state: nodes, tasks, areas, pages."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any, Final

from migratectl.linux.mpol import format_policy
from migratectl.nodemask import Nodemask
from migratectl.operations.machine import Machine, find_mm, find_task, load_machine, node_rows, resolve_span
from migratectl.operations.tasks import task_list
from migratectl.policy import Policy
from migratectl.runs import Run, clusters, maximal_runs
from migratectl.spans import ADDRESS_END, Span
from migratectl.storage import pages, tasks, vmas
from migratectl.storage.connection import Connection
from migratectl.storage.pages import MappedRun
from migratectl.storage.tasks import Task
from migratectl.storage.vmas import Vma
from migratectl.uapi import ALL_CAPABILITIES, CAPABILITIES, PG, VM, Mode

Look = tuple[str, int | None, tuple[str, ...], int]
"""State, node, flags and mapcount of a page: what a row of ``show pages`` shares."""

_ABSENT: Final[Look] = ("absent", None, (), 0)
WHOLE: Final = Span(address=0, end=ADDRESS_END)
"""Every address there is."""


def show_nodes(conn: Connection) -> dict[str, Any]:
    """The document of ``show nodes``: as ``node list``."""
    return node_rows(conn, load_machine(conn))


def show_tasks(conn: Connection, pid: int | None) -> dict[str, Any]:
    """
    All tasks by pid, or one.

    Returns:
        The document of ``show tasks``: as ``task list``, and of each task its policy, the next node of an interleaving
        one, the capabilities that it has (``cap``) or lacks (``drop_cap``) unlike others of its user, whether it is
        dumpable, the other tasks of its address space, and whether it is a kernel thread.

    Raises:
        NoSuchProcess: No such task.
    """
    if pid is not None:
        find_task(conn, pid)
    modern = load_machine(conn).modern
    known = {task.pid: task for task in tasks.load(conn)}
    sharing: dict[int | None, list[int]] = {}
    for task in known.values():
        sharing.setdefault(task.mm, []).append(task.pid)
    rows = []
    for row in task_list(conn)["tasks"]:
        task = known[row["pid"]]
        if pid in (None, task.pid):
            others = [] if task.mm is None else [other for other in sharing[task.mm] if other != task.pid]
            rows.append(row | _more_of(task, modern=modern) | {"threads": others})
    return {"tasks": rows}


def _more_of(task: Task, *, modern: bool) -> dict[str, Any]:
    default = 0 if task.uid else ALL_CAPABILITIES
    return {
        "policy": policy_text(task.policy, modern=modern),
        "il_next": task.il_next,
        "cap": _capabilities(task.caps & ~default),
        "drop_cap": _capabilities(default & ~task.caps),
        "dumpable": task.dumpable,
        "kernel_thread": task.mm is None,
    }


def _capabilities(bits: int) -> list[str]:
    return [name for number, name in enumerate(CAPABILITIES) if bits >> number & 1]


def show_vmas(conn: Connection, pid: int | None, span: Span | None) -> dict[str, Any]:
    """
    The areas of one task, or of all, by pid and address; with a range those that share a page with it.

    Raises:
        NoSuchProcess, InvalidArgument, BadAddress: No such task; a bad range.
    """
    machine = load_machine(conn)
    start, end = 0, ADDRESS_END // machine.facts.page_size
    if pid is not None:
        _, mm = find_mm(conn, pid)
        start, end = resolve_span(conn, mm, span or WHOLE, machine.facts.page_size, f"pid {pid}")
    rows = []
    for task in tasks.load(conn):
        if task.mm is not None and pid in (None, task.pid):
            rows += [
                {"pid": task.pid, **_vma_row(conn, machine, task.mm, vma)}
                for vma in vmas.overlapping(conn, task.mm, start, end)
            ]
    return {"pid": pid, "vmas": rows}


def _vma_row(conn: Connection, machine: Machine, mm: int, vma: Vma) -> dict[str, Any]:
    page_size = machine.facts.page_size
    present = pages.by_node_between(conn, mm, vma.start, vma.end)
    return {
        "addr": hex(vma.start * page_size),
        "end": hex(vma.end * page_size),
        "pages": vma.end - vma.start,
        "label": label_of(conn, mm, vma),
        "policy": policy_text(_own_policy(conn, vma), modern=machine.modern),
        "kind": vma.kind,
        "file": vma.name if vma.kind != "anon" else None,
        "mapping": vma.mapping,
        "prot": _protection(vma),
        "anon_vma": bool(vma.anon_vma),
        "flags": [flag.name.lower() for flag in VM if flag & vma.flags and flag.name],
        "order": vma.order,
        "nodes": {str(nid): nr for nid, nr in present.items()},
    }


def _protection(vma: Vma) -> str:
    """As ``mprotect`` writes it, with an x for code."""
    letters = {VM.READ: "r", VM.WRITE: "w", VM.EXEC: "x"}
    return "".join(letter for flag, letter in letters.items() if flag & vma.flags) or "none"


def label_of(conn: Connection, mm: int, vma: Vma) -> str | None:
    """The label whose range the area starts in, or else the first that starts in it."""
    found = [(name, low) for name, low, high in vmas.labels(conn, mm) if low < vma.end and high > vma.start]
    return found[0][0] if found else None


def _own_policy(conn: Connection, vma: Vma) -> Policy | None:
    return None if vma.policy is None else tasks.find_policy(conn, vma.policy)


def policy_text(policy: Policy | None, *, modern: bool) -> str:
    """A policy as numa_maps prints it: ``bind=0-1`` under V9, ``bind:0-1`` under ``modern``."""
    return format_policy(policy or Policy(Mode.DEFAULT, Nodemask()), "modern" if modern else "2.6.16")


def show_pages(conn: Connection, pid: int, span: Span | None, runs: bool) -> dict[str, Any]:
    """
    The pages of a task, area by area.

    Args:
        conn: The connection of the transaction.
        pid: The task.
        span: The range; None: everything.
        runs: Strided runs with ``step`` instead of rows of consecutive pages.

    Returns:
        The document of ``show pages``. Rows do not depend on how the state cuts its runs.

    Raises:
        NoSuchProcess, InvalidArgument, BadAddress: No such task; a bad range.
    """
    machine = load_machine(conn)
    task, mm = find_mm(conn, pid)
    page_size = machine.facts.page_size
    start, end = resolve_span(conn, mm, span or WHOLE, page_size, f"pid {pid}")
    areas = [
        _area(conn, machine, task, vma, max(start, vma.start), min(end, vma.end), runs=runs)
        for vma in vmas.overlapping(conn, mm, start, end)
    ]
    return {"pid": pid, "vmas": areas}


def _area(
    conn: Connection, machine: Machine, task: Task, vma: Vma, start: int, end: int, *, runs: bool
) -> dict[str, Any]:
    page_size = machine.facts.page_size
    looks: list[tuple[Run, Look]] = []
    for row in pages.mapped(conn, vma.mm, (vma.start, vma.end), start, end):
        inside = row.run.between(start, end)
        if inside is not None:
            looks.append((inside, look(row)))
    rows = _strided(looks) if runs else consecutive(looks, start, end)
    return {
        "addr": hex(vma.start * page_size),
        "end": hex(vma.end * page_size),
        "label": label_of(conn, vma.mm, vma),
        "policy": policy_text(_own_policy(conn, vma), modern=machine.modern),
        "pages": [_page_row(run, seen, page_size) for run, seen in rows],
    }


def _page_row(run: Run, seen: Look, page_size: int) -> dict[str, Any]:
    state, node, flags, mapcount = seen
    row: dict[str, Any] = {
        "addr": hex(run.start * page_size),
        "pages": run.nr_pages,
        "node": node,
        "state": state,
        "flags": list(flags),
        "mapcount": mapcount,
    }
    return row | ({"step": run.step} if run.step > 1 else {})


def look(row: MappedRun) -> Look:
    """What a mapped run looks like: flags of page, pte and holds together, as words in alphabetical order."""
    words = {
        "active": bool(row.flags & PG.ACTIVE),
        "dirty": bool(row.flags & PG.DIRTY or row.dirty),
        "locked": row.lock is not None,
        "parked": bool(row.parked & 1),
        "pinned": row.pins > 0,
        "referenced": bool(row.flags & PG.REFERENCED or row.young),
        "swapcache": row.area is not None and row.node is not None,
        "uptodate": bool(row.flags & PG.UPTODATE),
        "writable": bool(row.writable),
        "writeback": row.writeback is not None,
    }
    flags = tuple(word for word, holds in words.items() if holds)
    return row.state, row.node if row.state == "present" else None, flags, row.mapcount


def _strided(looks: Iterable[tuple[Run, Look]]) -> list[tuple[Run, Look]]:
    by_look: dict[Look, list[Run]] = {}
    for run, seen in looks:
        by_look.setdefault(seen, []).append(run)
    found = [(run, seen) for seen, group in by_look.items() for run in maximal_runs(group)]
    return sorted(found, key=lambda item: item[0].start)


def consecutive(looks: Sequence[tuple[Run, Look]], start: int, end: int) -> list[tuple[Run, Look]]:
    """Rows of consecutive pages that look alike, absent ones included, covering [start, end) in address order."""
    rows: list[tuple[Run, Look]] = []
    at = start
    for low, count, seen in _pieces(looks):
        if low > at:
            _append(rows, at, low - at, _ABSENT)
        _append(rows, low, count, seen)
        at = low + count
    if at < end:
        _append(rows, at, end - at, _ABSENT)
    return rows


def _pieces(looks: Sequence[tuple[Run, Look]]) -> Iterator[tuple[int, int, Look]]:
    """(start, pages, look) in address order; runs that lie between one another are read page by page."""
    of_run = dict(looks)
    for group in clusters(sorted(of_run)):
        if len(group) == 1 and group[0].step == 1:
            yield group[0].start, group[0].nr_pages, of_run[group[0]]
        else:
            yield from _page_by_page(group, of_run)


def _page_by_page(group: Sequence[Run], of_run: dict[Run, Look]) -> Iterator[tuple[int, int, Look]]:
    streams = [zip(range(run.start, run.last + 1, run.step), repeat(number)) for number, run in enumerate(group)]
    for page, number in heapq.merge(*streams):
        yield page, 1, of_run[group[number]]


def _append(rows: list[tuple[Run, Look]], start: int, count: int, seen: Look) -> None:
    if rows and rows[-1][1] == seen and rows[-1][0].start + rows[-1][0].nr_pages == start:
        rows[-1] = Run(rows[-1][0].start, 1, rows[-1][0].nr_pages + count), seen
    else:
        rows.append((Run(start, 1, count), seen))
