"""Distances between nodes as texts tell them, and what the kernel does with a table that makes no sense."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from migratectl.errors import InputFileError

LOCAL_DISTANCE: Final = 10
REMOTE_DISTANCE: Final = 20
MAX_DISTANCE: Final = 255
MAX_DIGITS: Final = 16
"""Most digits of a number that is read; which numbers make sense is another question."""


def distance_table(
    nids: Sequence[int], rows: Mapping[int, tuple[str, list[int]]], trouble: str
) -> tuple[dict[tuple[int, int], int], list[str]]:
    """
    A table of distances, or, as the kernel does with one that makes no sense, 10 and 20.

    Args:
        nids: The nodes, ascending.
        rows: The row of each node, as far as there are any, and what tells it, for messages.
        trouble: What is wrong already; empty if nothing is.

    Returns:
        The distance for each ordered pair of nodes, and what was assumed.
    """
    for nid, (where, row) in rows.items():
        trouble = trouble or _nonsense(row, nids.index(nid), len(nids), where)
    if trouble:
        used = f"{LOCAL_DISTANCE} local and {REMOTE_DISTANCE} remote are used instead, for all nodes"
        plain = {(a, b): LOCAL_DISTANCE if a == b else REMOTE_DISTANCE for a in nids for b in nids}
        return plain, [f"{trouble}: {used}"]
    return {(a, b): distance for a in nids for b, distance in zip(nids, rows[a][1], strict=True)}, []


def parse_row(text: str, where: str) -> list[int]:
    """Distances with blanks between. Raises InputFileError, which *where* begins."""
    words = text.rstrip("\n\0 ").split()
    for word in words:
        if not (word.isascii() and word.isdigit() and len(word) <= MAX_DIGITS):
            raise InputFileError(f"{where}: {word[:40]!r} is no distance")
    return [int(word) for word in words]


def _nonsense(row: list[int], own: int, columns: int, where: str) -> str:
    """What is wrong with a row of distances; empty if nothing is."""
    if len(row) != columns:
        return f"{where}: {len(row)} distances for {columns} online nodes"
    if row[own] != LOCAL_DISTANCE:
        return f"{where}: the node's distance to itself is {row[own]}, not {LOCAL_DISTANCE}"
    remote = [distance for k, distance in enumerate(row) if k != own]
    if any(distance <= LOCAL_DISTANCE for distance in remote):
        return f"{where}: another node at distance {min(remote)}, not above {LOCAL_DISTANCE}"
    if any(distance > MAX_DISTANCE for distance in remote):
        return f"{where}: a distance of {max(remote)}, above {MAX_DISTANCE}"
    return ""
