"""The texts of numastat(8): the counters of all nodes, and the memory of one process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

MIB: Final = 1 << 20

CATEGORIES: Final = ("huge", "heap", "stack", "private")
"""What the memory of a process is told apart by, in the order of the rows."""

_NAME: Final = 16
_CELL: Final = 15


def format_counters(nodes: Mapping[int, Mapping[str, int]], names: Sequence[str]) -> str:
    """
    The counters of nodes.

    Args:
        nodes: Counters by name, for each node, in the order of the columns; pages.
        names: Counters in the order of the rows.

    Returns:
        A heading and a line for each counter; all columns 16 characters wide, numbers that need more are not cut.

    Source:
        numastat(8) without options; semantics.md 7.2.
    """
    heading = " " * _NAME + "".join(f"{f'node{nid}':>16}" for nid in nodes)
    rows = [f"{name:<{_NAME}}" + "".join(f"{counters[name]:>16}" for counters in nodes.values()) for name in names]
    return "".join(f"{line}\n" for line in (heading, *rows))


def format_process(pid: int, name: str, nodes: Mapping[int, Mapping[str, int]], page_size: int) -> str:
    """
    The memory of a process by node, in units of 2^20 bytes with two decimals.

    Args:
        pid: The process.
        name: Its name.
        nodes: Pages by category, for each node, in the order of the columns.
        page_size: Bytes a page.

    Returns:
        An empty line, a title, and the table with a row for each category and for their sum.

    Source:
        numastat(8) with -p.
    """
    rule = "-" * _CELL
    columns = [f"Node {nid}" for nid in nodes]
    rows = {kind: [pages[kind] for pages in nodes.values()] for kind in CATEGORIES}
    lines = [
        "",
        f"Per-node process memory usage (in MBs) for PID {pid} ({name})",
        _line("", [*columns, "Total"]),
        _line("", [rule] * (len(columns) + 1)),
        *(_line(kind.capitalize(), _cells(pages, page_size)) for kind, pages in rows.items()),
        _line("-" * _NAME, [rule] * (len(columns) + 1)),
        _line("Total", _cells([sum(pages.values()) for pages in nodes.values()], page_size)),
    ]
    return "".join(f"{line}\n" for line in lines)


def _line(name: str, cells: Sequence[str]) -> str:
    return f"{name:<{_NAME}} " + "".join(f" {cell:>{_CELL}}" for cell in cells)


def _cells(pages: Sequence[int], page_size: int) -> list[str]:
    """Pages of each node and of all as megabytes; the sum is rounded once, not the sum of what was rounded."""
    return [f"{nr * page_size / MIB:.2f}" for nr in (*pages, sum(pages))]
