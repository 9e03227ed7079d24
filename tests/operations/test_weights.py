"""Weighted interleaving as a 6.9 kernel has it: placement by weights, over the command line."""

from __future__ import annotations

import pytest

from tests.conftest import Make, Runner
from tests.telling import counters, nodes_of, page_nodes, play, policy

AREA = 0x40000000
"""Page number 0x40000, which is 4 modulo 5."""


@pytest.fixture
def weighted(make: Make) -> Runner:
    """Task 1 and ten pages at AREA; node 0 weighs 2, node 1 weighs 3, the others 1."""
    tool = make("modern")
    play(tool, "node weight 0 2\nnode weight 1 3\ntask create --pid 1 --node 0")
    play(tool, f"mmap 1 10p --label a --addr {AREA:#x}")
    return tool


BY_INDEX = [1, 0, 0, 1, 1, 1, 0, 0, 1, 1]
"""Index modulo 5 (4, 0, 1, 2, 3, ...): 0 and 1 are node 0's, 2 to 4 are node 1's."""


@pytest.mark.parametrize("words", ["mbind 1 a weighted-interleave 0-1", "set-mempolicy 1 weighted-interleave 0-1"])
def test_faults_go_by_index_modulo_the_sum_of_the_weights(weighted: Runner, words: str) -> None:
    play(weighted, f"{words}\nfault 1 a --write")
    assert page_nodes(weighted, 1, "a") == BY_INDEX
    hits = counters(weighted)["interleave_hit"]
    assert [hits[0], hits[1]] == [BY_INDEX.count(0), BY_INDEX.count(1)]


def test_targets_of_a_move_go_by_index_too(weighted: Runner) -> None:
    play(weighted, "mbind 1 a bind 3\nfault 1 a --write\nmbind 1 a weighted-interleave 0-1 --move")
    assert page_nodes(weighted, 1, "a") == BY_INDEX


def test_page_cache_goes_on_within_a_weight(weighted: Runner) -> None:
    """Node 0 serves two, node 1 three, whatever the reads are cut into: 0 0 1 | 1 1 | 0 0 1 1 1 | 0."""
    play(weighted, "set-mempolicy 1 weighted-interleave 0-1\nfile create /f 11p --fs ext2")
    play(weighted, "mmap 1 11p --file /f --shared --label f\nmadvise 1 f random")
    for span in ("3p", "2p@3p", "5p@5p", "1p@10p"):
        play(weighted, f"file read /f {span} --by 1")
    play(weighted, "fault 1 f")
    assert page_nodes(weighted, 1, "f") == [0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 0]


@pytest.mark.parametrize(("read", "following"), [(1, 0), (2, 1), (3, 1), (5, 0)])
def test_the_next_node_is_told(weighted: Runner, read: int, following: int) -> None:
    """get_mempolicy() with MPOL_F_NODE: the node that serves the next page, also with part of its weight left."""
    play(weighted, f"set-mempolicy 1 weighted-interleave 0-1\nfile create /f 9p --fs ext2\nfile read /f {read}p --by 1")
    assert weighted("get-mempolicy", 1, "--node", "--json").document["node"] == following
    play(weighted, "fork 1 --pid 2")
    assert weighted("get-mempolicy", 2, "--node", "--json").document["node"] == following


def test_equal_weights_are_plain_interleaving(make: Make) -> None:
    tool = make("modern")
    play(tool, "task create --pid 1\nmmap 1 8p --label a\nmbind 1 a weighted-interleave 0-3\nfault 1 a --write")
    assert nodes_of(tool, 1, "a") == dict.fromkeys(range(4), 2)
    assert tool("numa-maps", 1).out.split()[1:3] == ["weighted", "interleave:0-3"]


def test_a_cpuset_rebinds_it_as_interleaving(weighted: Runner) -> None:
    play(weighted, "cpuset create /p --mems 0-1\ncpuset move 1 /p\nset-mempolicy 1 weighted-interleave 0-1")
    play(weighted, "cpuset set /p --mems 2-3")
    assert policy(weighted, 1) == "weighted-interleave 2-3"


def test_a_weight_changes_what_comes(weighted: Runner) -> None:
    play(weighted, "node weight 0 0\nnode weight 1 1\nmbind 1 a weighted-interleave 0-1\nfault 1 a --write")
    assert page_nodes(weighted, 1, "a") == [0, 1] * 5
    weights = [node["weight"] for node in weighted("node", "list", "--json").document["nodes"]]
    assert weights == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("profile", "line"),
    [
        ("modern", "EINVAL: node weight 9 1"),
        ("modern", "EINVAL: node weight 1 256"),
        ("modern", "usage: node weight 1 -1"),
        ("v9", "EINVAL: node weight 1 2"),
        ("v9", "EINVAL: set-mempolicy 1 weighted-interleave 0-1"),
        ("modern", "EINVAL: set-mempolicy 1 weighted-interleave none"),
    ],
)
def test_refusals(make: Make, profile: str, line: str) -> None:
    tool = make(profile)
    play(tool, f"task create --pid 1\n{line}")
