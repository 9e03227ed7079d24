"""/proc/PID/numa_maps of a task."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from migratectl.linux.mpol import Era, format_policy
from migratectl.linux.numa_maps import NumaMapsLine, format_numa_maps
from migratectl.nodemask import Nodemask
from migratectl.operations.machine import Machine, find_mm, load_machine
from migratectl.policy import Policy
from migratectl.storage import summary, tasks, vmas
from migratectl.storage.connection import Connection
from migratectl.storage.files import object_policy
from migratectl.storage.summary import AreaCounts
from migratectl.storage.vmas import Vma
from migratectl.uapi import VM, Mode

_DEFAULT = Policy(Mode.DEFAULT, Nodemask())
_NOTHING = AreaCounts(0, 0, 0, 0, 0, 0)


def numa_maps(conn: Connection, pid: int, era: Era | None = None) -> dict[str, Any]:
    """
    The areas of a task as /proc/PID/numa_maps shows them: present pages only.

    Args:
        conn: The connection of the transaction.
        pid: The task.
        era: The layout: ``2006-01`` (a line only for areas with pages, huge ones left out), ``2.6.16`` or ``modern``
            (a line for every area); None: the profile's, 2.6.16 under V9.

    Returns:
        The document of ``numa-maps``, its lines those of the layout, and ``text``: the kernel's.

    Raises:
        NoSuchProcess, InvalidArgument: No such task; a kernel thread.

    Source:
        show_numa_map(); semantics.md 7.1, B27.
    """
    machine = load_machine(conn)
    task, mm = find_mm(conn, pid)
    layout: Era = era or ("modern" if machine.modern else "2.6.16")
    counts, by_node = summary.area_counts(conn, mm), summary.area_nodes(conn, mm)
    known = tasks.policies(conn)
    words = vmas.words(conn, mm)
    lines = []
    for vma in vmas.load(conn, mm):
        own = object_policy(conn, vma, vma.start) if vma.kind == "shm" else vma.policy
        policy = _named_in(layout, known[own] if own is not None else _without_policy(machine, vma, task.policy))
        found = counts.get(vma.start, _NOTHING)
        line = _line(machine, vma, policy, found, by_node.get(vma.start, []))
        lines.append(line._replace(words=tuple(words.get(vma.start, "").split())))
    old = layout == "2006-01"
    if old:
        lines = [line for line in lines if line.nodes and not line.huge]
    return {
        "pid": pid,
        "era": layout,
        "lines": [_row(line, layout) | ({"pages": line.pages, "maxref": line.mapmax} if old else {}) for line in lines],
        "text": format_numa_maps(lines, layout),
    }


def _named_in(era: Era, policy: Policy) -> Policy:
    """The policy by its name in a layout: the local one is a mode today, and was preferred without nodes."""
    if era == "modern" and policy.mode is Mode.PREFERRED and not policy.nodes:
        return replace(policy, mode=Mode.LOCAL)
    return replace(policy, mode=Mode.PREFERRED) if era != "modern" and policy.mode is Mode.LOCAL else policy


def _row(line: NumaMapsLine, era: Era) -> dict[str, Any]:
    return {
        "addr": hex(line.address),
        "policy": format_policy(line.policy, era),
        "file": line.file,
        "anon": line.anon,
        "dirty": line.dirty,
        "mapped": line.mapped,
        "mapmax": line.mapmax if line.mapmax > 1 else None,
        "swapcache": line.swapcache,
        "active": line.active,
        "writeback": line.writeback,
        "nodes": {str(node): nr for node, nr in line.nodes},
        "words": list(line.words),
    }


def _without_policy(machine: Machine, vma: Vma, task: Policy | None) -> Policy:
    """The task's policy; V9 asks shared memory itself and shows the default where its object has none (6.1)."""
    return _DEFAULT if task is None or (vma.kind == "shm" and not machine.modern) else task


def _line(machine: Machine, vma: Vma, policy: Policy, found: AreaCounts, nodes: list[tuple[int, int]]) -> NumaMapsLine:
    """One area; the counts of a huge area are in units of its pages."""
    page_size = machine.facts.page_size
    unit = 1 << vma.order
    total = sum(nr for _, nr in nodes)
    return NumaMapsLine(
        source="",
        number=0,
        address=vma.start * page_size,
        policy=policy,
        file=vma.name or None if vma.kind in ("file", "shm") else None,
        heap=bool(vma.flags & VM.HEAP),
        stack=bool(vma.flags & VM.STACK),
        huge=bool(vma.flags & VM.HUGETLB),
        anon=found.anon // unit,
        dirty=found.dirty // unit,
        mapmax=max(found.mapmax, 1),
        swapcache=found.swapcache // unit,
        active=found.active // unit if found.active < total else None,
        writeback=found.writeback // unit,
        nodes=tuple((node, nr // unit) for node, nr in nodes),
        kernel_page_kib=(page_size << vma.order) // 1024,
    )
