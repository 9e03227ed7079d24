"""The text of ``numactl --hardware``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from migratectl.nodemask import Nodemask


class NodeHardware(NamedTuple):
    """A node: its CPUs, and its memory and the free part of it in units of 2^20 bytes."""

    cpus: Nodemask
    size_mb: int
    free_mb: int


def format_hardware(nodes: Mapping[int, NodeHardware], distances: Mapping[int, Sequence[int]]) -> str:
    """
    Nodes with CPUs, memory and distances.

    Args:
        nodes: The nodes that are online, ascending.
        distances: For each of them the distance to each, in the same order.

    Returns:
        The text; each line of the table of distances ends with a blank.

    Source:
        numactl(8) of the series 2.0 with --hardware; semantics.md 7.3.
    """
    lines = [f"available: {len(nodes)} nodes ({Nodemask(nodes)})"]
    for nid, node in nodes.items():
        lines.append(f"node {nid} cpus:" + "".join(f" {cpu}" for cpu in node.cpus))
        lines.append(f"node {nid} size: {node.size_mb} MB")
        lines.append(f"node {nid} free: {node.free_mb} MB")
    lines.append("node distances:")
    lines.append("node " + "".join(f"{nid:3} " for nid in nodes))
    lines += [f"{nid:3}: " + "".join(f"{distance:3} " for distance in distances[nid]) for nid in nodes]
    return "".join(f"{line}\n" for line in lines)
