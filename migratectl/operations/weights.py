"""How many pages in a row weighted interleaving gives a node."""

from __future__ import annotations

from typing import Any, Final

from migratectl.errors import InvalidArgument
from migratectl.operations.machine import load_machine
from migratectl.storage import nodes
from migratectl.storage.connection import Connection

DEFAULT_WEIGHT: Final = 1
MOST: Final = 255


def node_weight(conn: Connection, nid: int, weight: int) -> dict[str, Any]:
    """
    Set the weight of a node; pages that are there stay, targets and faults from now on follow it.

    Args:
        conn: The connection of the transaction.
        nid: The node.
        weight: 1 to 255; 0: back to the default, 1.

    Returns:
        The node and its weight.

    Raises:
        InvalidArgument: No such node, a weight above 255, or another profile than ``modern``.

    Source:
        /sys/kernel/mm/mempolicy/weighted_interleave/nodeN of a 6.9 kernel.
    """
    machine = load_machine(conn)
    subject = f"node {nid}"
    if not machine.modern:
        raise InvalidArgument(subject, "weights exist under the profile modern only; take interleave without them")
    if nid not in machine.nodes:
        raise InvalidArgument(subject, "no such node; see 'migratectl node list'")
    if weight > MOST:
        raise InvalidArgument(subject, f"a weight is a number from 1 to {MOST}, or 0 for the default; not {weight}")
    nodes.set_weight(conn, nid, weight or DEFAULT_WEIGHT)
    return {"node": nid, "return": 0, "errno": None, "weight": weight or DEFAULT_WEIGHT}
