"""
The 64-node machine, imported: a task that spills over, an interleaved one with holds in its middle, a full destination.

Expected numbers come from the tree itself (MemFree and distance files) and from the rules of semantics.md 3 and 6.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SHARED_DATA, Runner

TREE = SHARED_DATA / "topologies" / "256ia64-64n2s2c.tar.gz"
PAGE = 16384
GIB = 1 << 30

pytestmark = pytest.mark.skipif(not TREE.exists(), reason="../shared/data is not there: no 64-node machine to import")


@pytest.fixture(scope="module")
def free() -> dict[int, int]:
    """Free pages by node, read from the tree by other means than the tool's."""
    found = {}
    with tarfile.open(TREE) as tar:
        for member in tar.getmembers():
            path = Path(member.name)
            if path.name == "meminfo" and path.parent.name.startswith("node"):
                lines = tar.extractfile(member).read().decode().splitlines()  # type: ignore[union-attr]
                kib = next(int(line.split()[3]) for line in lines if "MemFree" in line)
                found[int(path.parent.name[4:])] = kib * 1024 // PAGE
    return found


@pytest.fixture
def machine(tool: Runner) -> Runner:
    """The tool, on the imported machine."""
    assert tool("import", TREE).code == 0
    return tool


def by_node(rows: list[dict[str, Any]], key: str = "pages") -> dict[int, int]:
    return {row["node"]: row[key] for row in rows if row[key]}


def counters(machine: Runner) -> dict[int, dict[str, int]]:
    """The numastat counters by node; the import takes those of the tree over."""
    return {row["node"]: row["numastat"] for row in machine("node", "list", "--json").document["nodes"]}


def test_a_task_larger_than_its_node_spills_over_the_nearest_nodes_in_fallback_order(
    machine: Runner, free: dict[int, int]
) -> None:
    """Nodes 1, 2 and 3 are at distance 22 of node 0, all others farther: 24 GiB fill 0, 1 and 2 and end on 3."""
    machine("task", "create", "--pid", 100, "--node", 0)
    machine("mmap", 100, "24G", "--label", "field")
    idle = counters(machine)
    placed = machine("fault", 100, "field", "--write", "--json").document
    wanted = 24 * GIB // PAGE
    rest = wanted - free[0] - free[1] - free[2]
    assert 0 < rest < free[3]
    assert by_node(placed["nodes"]) == {0: free[0], 1: free[1], 2: free[2], 3: rest}
    after = counters(machine)
    assert after[0]["numa_foreign"] - idle[0]["numa_foreign"] == wanted - free[0]
    misses = [after[n]["numa_miss"] - idle[n]["numa_miss"] for n in range(4)]
    assert misses == [0, free[1], free[2], rest]


def test_four_nodes_move_rank_by_rank_and_a_dry_run_tells_it_without_changing_anything(
    machine: Runner, free: dict[int, int]
) -> None:
    machine("task", "create", "--pid", 100, "--node", 0)
    machine("mmap", 100, "24G", "--label", "field")
    before = by_node(machine("fault", 100, "field", "--write", "--json").document["nodes"])
    assert all(before[n] <= free[60 + n] for n in range(4)), "each destination has room, so nothing falls back"
    unchanged = machine("state", "hash").out
    foretold = machine("migrate-pages", 100, "0-3", "60-63", "--dry-run", "--json")
    assert machine("state", "hash").out == unchanged
    moved = machine("migrate-pages", 100, "0-3", "60-63", "--json")
    assert moved.code == foretold.code == 0
    expected = [{"from": n, "to": 60 + n, "pages": before[n]} for n in range(4)]
    assert moved.document["moves"] == foretold.document["moves"] == expected
    assert machine("state", "hash").out != unchanged
    assert machine("check").code == 0


def test_held_pages_in_the_middle_of_an_interleaved_task_stay_behind_with_their_reasons(machine: Runner) -> None:
    """
    8 GiB over eight nodes: 65,536 pages on each. Eight neighbours are one page a node, so 64 pinned ones are 8 a node.
    """
    machine("task", "create", "--pid", 7, "--node", 8)
    machine("set-mempolicy", 7, "interleave", "8-15")
    machine("mmap", 7, "8G", "--label", "grid")
    machine("fault", 7, "grid", "--write")
    machine("page", "pin", 7, "grid+64p@100000p")
    machine("page", "lock", 7, "grid+8p@200000p")
    machine("page", "lock", 7, "grid+8p@300000p", "--passes", 1)
    machine("mlock", 7, "grid+16p@400000p")
    moved = machine("migrate-pages", 7, "8-15", "16-23", "--json")
    document = moved.document
    assert moved.code == 3
    assert document["return"] == document["failed"] == 64 + 8
    assert (document["moved"], document["skipped"]) == (8 * GIB // PAGE - 64 - 8 - 16, 16)
    assert [row["failed"] for row in document["nodes"] if row["node"] < 16] == [9] * 8
    reasons = {(entry["reason"], entry["errno"], entry["pass"]) for entry in document["failures"]}
    assert reasons == {("pinned", "EAGAIN", 10), ("busy-locked", "EAGAIN", 10)}
    assert {entry["reason"] for entry in document["skips"]} == {"vma-locked"}
    assert document["residue"] == {"swapcache": 64, "unmapped": 0}
    assert document["passes"] == 11
    # Each node's pinned pages are every eighth page: one entry a node.
    pinned = [entry for entry in document["failures"] if entry["reason"] == "pinned"]
    assert [(entry["node"], entry["pages"], entry["step"]) for entry in pinned] == [(n, 8, 8) for n in range(8, 16)]
    assert machine("check").code == 0


def test_a_destination_that_fills_up_passes_the_rest_on_to_its_nearest_nodes(
    machine: Runner, free: dict[int, int]
) -> None:
    """Two nodes' worth to one: what does not fit lands at distance 22 (61 to 63), and still counts as moved (B18)."""
    machine("task", "create", "--pid", 7, "--node", 0)
    machine("mmap", 7, "14G", "--label", "big")
    before = by_node(machine("fault", 7, "big", "--write", "--json").document["nodes"])
    machine("page", "pin", 7, "big+1p@5p")
    moved = machine("migrate-pages", 7, "0-1", "60", "--json")
    total = 14 * GIB // PAGE - 1
    assert set(before) == {0, 1, 2}, "a third node took the rest; it is not asked to move"
    asked = before[0] + before[1] - 1
    summed: dict[int, int] = {}
    for move in moved.document["moves"]:
        summed[move["to"]] = summed.get(move["to"], 0) + move["pages"]
    assert moved.code == 3
    assert moved.document["moved"] == asked < total
    assert summed[60] == free[60]
    assert set(summed) == {60, 61}, "node 61 is the first on node 60's list and has room for the rest"
    assert sum(summed.values()) == asked
    assert moved.document["failed"] == 1
