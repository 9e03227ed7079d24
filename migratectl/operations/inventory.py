"""Looking at the state: mappings, buffers, policies, cpusets, swap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from migratectl.operations.machine import Machine, find_mm, find_task, load_machine, resolve_span
from migratectl.operations.show import WHOLE, Look, consecutive, label_of, policy_text
from migratectl.policy import Policy
from migratectl.runs import Run, maximal_runs
from migratectl.spans import ADDRESS_END, Span
from migratectl.storage import holds, pages, summary, tasks, vmas
from migratectl.storage.connection import Connection
from migratectl.storage.pages import MappedRun
from migratectl.storage.summary import RingRun
from migratectl.storage.tasks import Cpuset

Range = tuple[int, int, int]
"""An address space, and [start, end) of it in pages."""


def _range(conn: Connection, machine: Machine, pid: int, span: Span | None) -> Range:
    _, mm = find_mm(conn, pid)
    return (mm, *resolve_span(conn, mm, span or WHOLE, machine.facts.page_size, f"pid {pid}"))


def show_mappings(conn: Connection, pid: int | None, span: Span | None) -> dict[str, Any]:
    """
    The anonymous families, files and shared segments, by number.

    Args:
        conn: The connection of the transaction.
        pid: Only those of the areas and pages of this task.
        span: Only those of areas and pages in this range.

    Returns:
        The document of ``show mappings``. Of each all its pages, by node, and how many of them lie in swap alone; and
        the tasks that have it. What stands for zero pages is no mapping of the kernel and left out.

    Raises:
        NoSuchProcess, InvalidArgument, BadAddress: No such task; a bad range.
    """
    ids = None if pid is None else summary.mappings_between(conn, *_range(conn, load_machine(conn), pid, span))
    held, users = summary.mapping_pages(conn, ids), summary.mapping_users(conn, ids)
    rows = []
    for mapping in summary.mappings(conn, ids):
        nodes: dict[int, int] = {}
        swapped = 0
        for nid, slot, nr in held.get(mapping.id, ()):
            if nid is not None:
                nodes[nid] = nodes.get(nid, 0) + nr
            elif slot:
                swapped += nr
        rows.append(
            {
                "mapping": mapping.id,
                **{key: getattr(mapping, key) for key in ("kind", "name", "fs", "journal", "method", "ino", "size")},
                "pages": sum(nodes.values()),
                "swapped": swapped,
                "nodes": {str(nid): nr for nid, nr in nodes.items()},
                "tasks": users.get(mapping.id, []),
            }
        )
    return {"pid": pid, "mappings": rows}


def show_buffers(conn: Connection, pid: int | None, span: Span | None) -> dict[str, Any]:
    """
    The pages that have a ring of buffers: all by file and index, or those that a task maps by address.

    Returns:
        The document of ``show buffers``: runs of pages that agree, with ``step`` where they are not neighbours.
        ``ring`` is the number of buffers a page; ``flags`` what a buffer of it is: busy, dirty, locked.

    Raises:
        NoSuchProcess, InvalidArgument, BadAddress: No such task; a bad range.
    """
    machine = load_machine(conn)
    if pid is None:
        found = summary.rings(conn)
    else:
        mm, start, end = _range(conn, machine, pid, span)
        found = [
            (mapping, ring._replace(run=inside))
            for mapping, ring in summary.rings_between(conn, mm, start, end)
            if (inside := ring.run.between(start, end)) is not None
        ]
    alike: dict[tuple[int, RingRun], list[Run]] = {}
    for mapping, ring in found:
        alike.setdefault((mapping, ring._replace(run=Run(0, 1, 1))), []).append(ring.run)
    rows = [(key[0], key[1]._replace(run=run)) for key, group in alike.items() for run in maximal_runs(group)]
    rows.sort(key=lambda item: (0 if pid is not None else item[0], item[1].run))
    size = machine.facts.page_size
    return {"pid": pid, "buffers": [_ring_row(ring, None if pid is None else size) for _, ring in rows]}


def _ring_row(ring: RingRun, page_size: int | None) -> dict[str, Any]:
    at = {"index": ring.run.start} if page_size is None else {"addr": hex(ring.run.start * page_size)}
    return {
        "file": ring.name,
        **at,
        "pages": ring.run.nr_pages,
        **({"step": ring.run.step} if ring.run.step > 1 else {}),
        "node": ring.node,
        "ring": ring.ring,
        "flags": [word for word in ("busy", "dirty", "locked") if getattr(ring, word)],
    }


def show_policies(conn: Connection, pid: int | None, span: Span | None) -> dict[str, Any]:
    """
    The policies that are set, and who has them: tasks by pid, then areas by address, then shared objects.

    Args:
        conn: The connection of the transaction.
        pid: Only those that count for this task.
        span: Of its areas only those that share a page with this range.

    Returns:
        The document of ``show policies``. ``scope`` is ``task``, ``vma`` or ``object``; ``pids`` the tasks that have it
        or whose address space it is in; ``mems`` the nodes that were allowed when it was made. Who has no policy of
        his own is not listed: his is the default, of an area the task's.

    Raises:
        NoSuchProcess, InvalidArgument, BadAddress: No such task; a bad range.
    """
    machine = load_machine(conn)
    everyone = tasks.load(conn)
    sharing: dict[int, list[int]] = {}
    for task in everyone:
        if task.mm is not None:
            sharing.setdefault(task.mm, []).append(task.pid)
    if pid is None:
        ranges = [(mm, 0, ADDRESS_END // machine.facts.page_size) for mm in sharing]
    elif span is None and find_task(conn, pid).mm is None:
        ranges = []
    else:
        ranges = [_range(conn, machine, pid, span)]
    rows = [
        _policy_row(machine, task.policy, "task", [task.pid], il_next=task.il_next)
        for task in everyone
        if task.policy is not None and pid in (None, task.pid)
    ]
    for mm, start, end in ranges:
        if start < end:
            rows += _area_policies(conn, machine, sharing[mm], (mm, start, end))
    return {"pid": pid, "policies": rows + _object_policies(conn, machine, None if pid is None else ranges)}


def _area_policies(conn: Connection, machine: Machine, pids: list[int], chosen: Range) -> list[dict[str, Any]]:
    page_size = machine.facts.page_size
    known = tasks.policies(conn)
    rows = []
    for vma in vmas.overlapping(conn, *chosen):
        if vma.policy is not None:
            at = {"addr": hex(vma.start * page_size), "end": hex(vma.end * page_size)}
            rows.append(_policy_row(machine, known[vma.policy], "vma", pids, **at, label=label_of(conn, vma.mm, vma)))
    return rows


def _object_policies(conn: Connection, machine: Machine, ranges: Sequence[Range] | None) -> list[dict[str, Any]]:
    """The policies of all shared objects, or of those that are mapped in some ranges."""
    ids = None if ranges is None else {each for chosen in ranges for each in summary.mappings_between(conn, *chosen)}
    users = summary.mapping_users(conn, ids)
    return [
        _policy_row(machine, found.policy, "object", users.get(found.mapping, []), **_extent(found))
        for found in summary.object_policies(conn)
        if ids is None or found.mapping in ids
    ]


def _extent(found: summary.ObjectPolicy) -> dict[str, Any]:
    return {"object": found.name, "index": found.start, "pages": found.end - found.start}


def _policy_row(machine: Machine, policy: Policy, scope: str, pids: list[int], **where: Any) -> dict[str, Any]:
    return {
        "scope": scope,
        "pids": pids,
        **where,
        "policy": policy_text(policy, modern=machine.modern),
        "mode": str(policy.mode),
        "nodes": str(policy.nodes),
        "flags": [str(flag) for flag in policy.flags],
        "mems": str(policy.mems),
    }


def show_cpusets(conn: Connection, pid: int | None) -> dict[str, Any]:
    """
    The cpusets by name, or the one that a task is in.

    Returns:
        The document of ``show cpusets``: nodes and CPUs, switches, and the tasks in it.

    Raises:
        NoSuchProcess: No such task.
    """
    only = None if pid is None else tasks.find_cpuset(conn, find_task(conn, pid).cpuset.name)
    chosen = tasks.cpusets(conn) if only is None else [only]
    members = tasks.pids_by_cpuset(conn, None if only is None else only.id)
    return {"cpusets": [cpuset_row(cpuset, members.get(cpuset.id, [])) for cpuset in chosen]}


def cpuset_row(cpuset: Cpuset, pids: Sequence[int]) -> dict[str, Any]:
    """What is told of a cpuset and the tasks in it."""
    return {
        "name": cpuset.name,
        "mems": str(cpuset.mems),
        "cpus": str(cpuset.cpus),
        "memory_migrate": cpuset.memory_migrate,
        "cpu_exclusive": cpuset.cpu_exclusive,
        "mem_exclusive": cpuset.mem_exclusive,
        "tasks": list(pids),
    }


def show_swap(conn: Connection, pid: int | None, span: Span | None) -> dict[str, Any]:
    """
    The swap areas with their slots, and of a task the pages that have one.

    Returns:
        The document of ``show swap``: ``areas`` in the order in which they are used. With *pid* each area also tells
        how many pages of the range lie in it alone (``swapped``) or in memory too (``swapcache``), and ``pages`` lists
        them: runs of neighbours that agree; ``mapped``: a pte is present.

    Raises:
        NoSuchProcess, InvalidArgument, BadAddress: No such task; a bad range.
    """
    areas = holds.swap_areas(conn)
    rows = [{"name": a.name, "slots": a.slots, "used": a.used, "free": a.slots - a.used} for a in areas]
    if pid is None:
        return {"pid": None, "areas": rows}
    machine = load_machine(conn)
    mm, start, end = _range(conn, machine, pid, span)
    names = {area.id: area.name for area in areas}
    found = []
    for vma in vmas.overlapping(conn, mm, start, end):
        low, high = max(start, vma.start), min(end, vma.end)
        mapped = pages.mapped(conn, mm, (vma.start, vma.end), low, high)
        found += _slots(mapped, names, low, high, machine.facts.page_size)
    for row in rows:
        for state in ("swapped", "swapcache"):
            here = [each for each in found if each["area"] == row["name"] and each["state"] == state]
            row[state] = sum(each["pages"] for each in here)
    return {"pid": pid, "areas": rows, "pages": found}


def _slots(
    mapped: Iterable[MappedRun], names: dict[int, str], start: int, end: int, page_size: int
) -> list[dict[str, Any]]:
    """The rows of ``show swap`` for the pages of an area in [start, end)."""
    looks: list[tuple[Run, Look]] = []
    for row in mapped:
        inside = row.run.between(start, end)
        if inside is not None and row.area is not None:
            state = "swapped" if row.node is None else "swapcache"
            looks.append((inside, (state, row.node, (names[row.area],), row.present)))
    return [
        {
            "addr": hex(run.start * page_size),
            "pages": run.nr_pages,
            "area": area[0],
            "state": state,
            "node": node,
            "mapped": bool(present),
        }
        for run, (state, node, area, present) in consecutive(looks, start, end)
        if area
    ]
