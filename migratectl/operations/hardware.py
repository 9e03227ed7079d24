"""The nodes as ``numactl --hardware`` shows them."""

from __future__ import annotations

from typing import Any, Final

from migratectl.linux.hardware import NodeHardware, format_hardware
from migratectl.operations.machine import load_machine, node_rows
from migratectl.storage.connection import Connection

MIB: Final = 1 << 20


def hardware(conn: Connection) -> dict[str, Any]:
    """
    The online nodes with CPUs, memory and distances.

    Returns:
        The document of ``hardware``: as ``node list``, with ``size_mb`` and ``free_mb`` in units of 2^20 bytes, rounded
        down, distances to online nodes only; and ``text``: numactl's.

    Source:
        numactl(8); semantics.md 7.3.
    """
    machine = load_machine(conn)
    page_size = machine.facts.page_size
    at = [k for k, node in enumerate(machine.nodes.values()) if node.online]
    rows = [
        row
        | {
            "size_mb": row["pages"] * page_size // MIB,
            "free_mb": row["free"] * page_size // MIB,
            "distance": [row["distance"][k] for k in at],
        }
        for row in node_rows(conn, machine)["nodes"]
        if row["online"]
    ]
    nodes = {row["node"]: NodeHardware(machine.nodes[row["node"]].cpus, row["size_mb"], row["free_mb"]) for row in rows}
    return {"nodes": rows, "text": format_hardware(nodes, {row["node"]: row["distance"] for row in rows})}
