"""The texts of numastat(8) against what the program printed on real machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from migratectl.linux.numastat import CATEGORIES, format_counters, format_process
from migratectl.storage.nodes import COUNTERS

PAGE = 4096


def test_the_counters_of_a_real_machine(shared_data: Path) -> None:
    text = (shared_data / "numa_maps" / "live-numastat.numastat").read_text()
    numbers = [int(line.split()[1]) for line in text.splitlines()[1:]]
    assert format_counters({0: dict(zip(COUNTERS, numbers, strict=True))}, COUNTERS) == text


def test_columns_are_sixteen_wide_and_follow_the_nodes() -> None:
    """The sample of semantics.md 7.2; a number that needs more room is not cut."""
    nodes = {0: {"numa_hit": 1200, "numa_miss": 0}, 1: {"numa_hit": 300, "numa_miss": 20}}
    assert format_counters(nodes, ("numa_hit", "numa_miss")) == (
        "                           node0           node1\n"
        "numa_hit                    1200             300\n"
        "numa_miss                      0              20\n"
    )
    assert format_counters({12: {"numa_hit": 10**17}}, ("numa_hit",)).splitlines() == [
        "                          node12",
        "numa_hit        100000000000000000",
    ]


def pages(**counts: int) -> dict[str, int]:
    """Pages of a node by category."""
    return dict.fromkeys(CATEGORIES, 0) | counts


def test_a_real_process(shared_data: Path) -> None:
    """118 pages of 4 KiB are 0.46 MB, 5 are 0.02, 906 are 3.54; together 4.02, rounded once."""
    text = (shared_data / "numa_maps" / "live-numastat-p.numastat-p").read_text()
    assert format_process(3086, "bash", {0: pages(heap=118, stack=5, private=906)}, PAGE) == text


def test_a_real_process_on_two_nodes(shared_data: Path) -> None:
    """The rows of a published excerpt: 93 pages are 0.36 MB on each node, and 186 are 0.73, not 0.72."""
    excerpt = (shared_data / "numa_maps" / "numactl-147-numastat.numastat-p").read_text().splitlines()
    nodes = {0: pages(huge=5120 * 256, private=93), 1: pages(huge=5120 * 256, stack=2, private=93)}
    printed = format_process(6164, "a.out", nodes, PAGE).splitlines()
    assert printed[0] == ""
    assert printed[1 : 1 + len(excerpt)] == excerpt
    assert printed[-1] == "Total                     5120.36         5120.37        10240.73"


@pytest.mark.parametrize(("page_size", "cell"), [(4096, "0.00"), (16384, "0.02"), (65536, "0.06")])
def test_units_follow_the_page_size(page_size: int, cell: str) -> None:
    row = format_process(1, "a", {3: pages(stack=1)}, page_size).splitlines()[6]
    assert row.split() == ["Stack", cell, cell]
