"""The text of ``numactl --hardware`` against what the program printed on real machines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from migratectl.linux.hardware import NodeHardware, format_hardware
from migratectl.nodemask import Nodemask


def read(text: str) -> tuple[dict[int, NodeHardware], dict[int, list[int]]]:
    """Nodes and distances of a published text."""
    cpus = {int(nid): list(map(int, ids.split())) for nid, ids in re.findall(r"^node (\d+) cpus:(.*)$", text, re.M)}
    sizes, free = (
        {int(nid): int(mb) for nid, mb in re.findall(rf"^node (\d+) {word}: (\d+) MB$", text, re.M)}
        for word in ("size", "free")
    )
    rows = {int(nid): list(map(int, row.split())) for nid, row in re.findall(r"^ *(\d+): (.*)$", text, re.M)}
    return {nid: NodeHardware(Nodemask(cpus[nid]), sizes[nid], free[nid]) for nid in cpus}, rows


@pytest.mark.parametrize("name", ["mm-2015-08-21.numactl-H", "aws-c-s3-403.numactl-H"])
def test_a_real_machine(shared_data: Path, name: str) -> None:
    """Published texts have lost the blanks at the ends of their lines."""
    text = (shared_data / "numa_maps" / name).read_text()
    nodes, distances = read(text)
    assert len(nodes) == 2
    printed = format_hardware(nodes, distances)
    assert [line.rstrip() for line in printed.splitlines()] == text.splitlines()


def test_the_blanks_of_the_table() -> None:
    """semantics.md 7.3: three columns and a blank for each distance, also the last; no CPU, no blank."""
    nodes = {
        0: NodeHardware(Nodemask([0, 1]), 4096, 1024),
        1: NodeHardware(Nodemask(), 4096, 2048),
        4: NodeHardware(Nodemask([2]), 0, 0),
    }
    distances = {0: [10, 20, 100], 1: [20, 10, 30], 4: [100, 30, 10]}
    assert format_hardware(nodes, distances) == (
        "available: 3 nodes (0-1,4)\n"
        "node 0 cpus: 0 1\nnode 0 size: 4096 MB\nnode 0 free: 1024 MB\n"
        "node 1 cpus:\nnode 1 size: 4096 MB\nnode 1 free: 2048 MB\n"
        "node 4 cpus: 2\nnode 4 size: 0 MB\nnode 4 free: 0 MB\n"
        "node distances:\n"
        "node   0   1   4 \n"
        "  0:  10  20 100 \n"
        "  1:  20  10  30 \n"
        "  4: 100  30  10 \n"
    )
