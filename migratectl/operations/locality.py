"""How far from where it runs a task's memory lies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from migratectl.nodemask import Nodemask
from migratectl.operations.machine import find_mm, load_machine
from migratectl.storage import nodes, resident, tasks
from migratectl.storage.connection import Connection


def locality(conn: Connection, pid: int | None) -> dict[str, Any]:
    """
    Present pages by distance from the node where their task runs.

    Args:
        conn: The connection of the transaction.
        pid: One task; None: all that have an address space.

    Returns:
        The document of ``locality``: for each task, by pid, its node, its pages and ``distances``, nearest first: how
        many pages lie how far away, their share in percent with one decimal, and on which nodes. Of all tasks also
        the sum; tasks that share an address space run in different places, so its pages count once for each.

    Raises:
        NoSuchProcess, InvalidArgument: No such task; a kernel thread.
    """
    machine = load_machine(conn)
    chosen = tasks.load(conn) if pid is None else [find_mm(conn, pid)[0]]
    distance = nodes.distances(conn)
    held: dict[int, Mapping[int, int]] = {}
    rows = []
    everything: dict[int, dict[int, int]] = {}
    for task in chosen:
        if task.mm is None:
            continue
        if task.mm not in held:
            held[task.mm] = resident.by_node(conn, task.mm)
        home = machine.home(task.cpu)
        found: dict[int, dict[int, int]] = {}
        for nid, nr in held[task.mm].items():
            found.setdefault(distance[home, nid], {})[nid] = nr
            every = everything.setdefault(distance[home, nid], {})
            every[nid] = every.get(nid, 0) + nr
        rows.append({"pid": task.pid, "name": task.name, "node": home, **_shares(found)})
    return {"pid": pid, "tasks": rows, **({} if pid is not None else {"total": _shares(everything)})}


def _shares(found: Mapping[int, Mapping[int, int]]) -> dict[str, Any]:
    """Pages in all and by distance, from pages by distance and node."""
    total = sum(sum(by_node.values()) for by_node in found.values())
    return {
        "pages": total,
        "distances": [
            {
                "distance": distance,
                "pages": sum(by_node.values()),
                "percent": round(100 * sum(by_node.values()) / total, 1),
                "nodes": str(Nodemask(by_node)),
            }
            for distance, by_node in sorted(found.items())
        ],
    }
