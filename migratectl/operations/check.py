"""Every invariant of the state, checked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from migratectl.nodemask import Nodemask
from migratectl.operations.init import NodeShape, zonelists
from migratectl.operations.machine import load_machine
from migratectl.storage import audit, nodes
from migratectl.storage.connection import Connection


def check(conn: Connection) -> dict[str, Any]:
    """
    Check every invariant.

    Returns:
        The document of ``check``: ``ok``, what was checked, and an entry for each violation, named by its number in
        semantics.md 1.9 or by what it is.
    """
    found = [*audit.broken(conn), *audit.overlaps(conn), *_policies(conn), *_zonelists(conn)]
    return {
        "ok": not found,
        "checked": audit.counts(conn),
        "violations": [{"invariant": name, "message": sentence} for name, sentence in found],
    }


def _policies(conn: Connection) -> Iterator[tuple[str, str]]:
    """INV-17, and INV-18 for nested cpusets."""
    for pid, nid, text in audit.interleave_positions(conn):
        if nid is None or nid not in Nodemask.parse(text):
            yield "INV-17", f"task {pid}: the next interleave node {nid} is not in its policy {text}"
    mems = {name: Nodemask.parse(text) for name, text in audit.cpusets(conn)}
    for name, own in mems.items():
        parent = name.rpartition("/")[0] or "/"
        if name != "/" and not own <= mems.get(parent, Nodemask()):
            yield "INV-18", f"cpuset {name}: its mems {own} are not all in those of {parent}"


def _zonelists(conn: Connection) -> Iterator[tuple[str, str]]:
    machine = load_machine(conn)
    online = [NodeShape(n.nid, n.cpus, n.capacity, n.other) for n in machine.nodes.values() if n.online]
    expected = zonelists(online, nodes.distances(conn), modern=machine.modern)
    for nid, zonelist in expected.items():
        if machine.nodes[nid].zonelist != zonelist:
            yield "fallback", f"node {nid}: its fallback list does not follow from the distances"
