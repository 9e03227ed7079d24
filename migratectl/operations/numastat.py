"""numastat(8) of the modelled machine."""

from __future__ import annotations

from typing import Any

from migratectl.linux.numastat import CATEGORIES, format_counters, format_process
from migratectl.operations.machine import find_mm, load_machine
from migratectl.storage import summary, vmas
from migratectl.storage.connection import Connection
from migratectl.storage.nodes import COUNTERS
from migratectl.storage.vmas import Vma
from migratectl.uapi import VM


def numastat(conn: Connection) -> dict[str, Any]:
    """
    The allocation counters of the nodes.

    Returns:
        The document of ``numastat``: the online nodes with their counters in pages, and ``text``: as numastat(8)
        prints them. A node that is offline is none to /sys.

    Source:
        drivers/base/node.c; semantics.md 7.2.
    """
    nodes = {
        nid: dict(zip(COUNTERS, node.counters, strict=True))
        for nid, node in load_machine(conn).nodes.items()
        if node.online
    }
    return {
        "nodes": [{"node": nid, **counters} for nid, counters in nodes.items()],
        "text": format_counters(nodes, COUNTERS),
    }


def numastat_of(conn: Connection, pid: int) -> dict[str, Any]:
    """
    The memory of a process by node and kind of area.

    Returns:
        The document of ``numastat -p``: for each online node, and in all, the present pages (base pages also of huge
        areas), and ``text``: as numastat(8) prints them in units of 2^20 bytes.

    Raises:
        NoSuchProcess, InvalidArgument: No such task; a kernel thread.

    Source:
        numastat(8) with -p, which adds up /proc/PID/numa_maps: the first of heap, stack and huge in a line decides.
    """
    machine = load_machine(conn)
    task, mm = find_mm(conn, pid)
    found = {nid: dict.fromkeys(CATEGORIES, 0) for nid, node in machine.nodes.items() if node.online}
    counts = summary.area_nodes(conn, mm)
    for vma in vmas.load(conn, mm):
        for nid, nr in counts.get(vma.start, ()):
            found[nid][_category(vma)] += nr
    total = {kind: sum(pages[kind] for pages in found.values()) for kind in CATEGORIES}
    return {
        "pid": pid,
        "name": task.name,
        "nodes": [{"node": nid, **pages, "total": sum(pages.values())} for nid, pages in found.items()],
        "total": {**total, "total": sum(total.values())},
        "text": format_process(pid, task.name, found, machine.facts.page_size),
    }


def _category(vma: Vma) -> str:
    if vma.flags & VM.HEAP:
        return "heap"
    if vma.flags & VM.STACK:
        return "stack"
    return "huge" if vma.flags & VM.HUGETLB else "private"
