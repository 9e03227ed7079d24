"""What numactl expects of the machine, by id: distance, nodemap, checktopology, node-parse, tbitmap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migratectl.nodemask import Nodemask
from tests.conftest import Runner

MACHINES = {
    "one node": "--nodes 1 --memory 64p",
    "a ring": "--nodes 4 --memory 64p --cpus 2 --distance 10,20",
    "nodes without CPUs or memory": "--nodes 3 --memory 64p,0,64p --cpus 2,4,0",
}


@pytest.fixture(params=MACHINES.values(), ids=MACHINES)
def topology(tool: Runner, request: pytest.FixtureRequest) -> Runner:
    """Some machine."""
    assert tool("init", *request.param.split()).code == 0
    return tool


def test_the_distance_to_itself_ntopo_01(topology: Runner) -> None:
    nodes = topology("hardware", "--json").document["nodes"]
    assert [node["distance"][k] for k, node in enumerate(nodes)] == [10] * len(nodes)


def test_the_cpus_of_every_node_ntopo_03(topology: Runner) -> None:
    for node in topology("node", "list", "--json").document["nodes"]:
        Nodemask.parse(node["cpus"])


def test_every_cpu_is_listed_once_ntopo_05(topology: Runner) -> None:
    """numactl's listing names the CPUs of each node; together they are those of the machine."""
    (root,) = topology("cpuset", "list", "--json").document["cpusets"]
    lines = [line for line in topology("hardware").out.splitlines() if " cpus:" in line]
    listed = [int(word) for line in lines for word in line.split(":")[1].split()]
    assert sorted(listed) == list(Nodemask.parse(root["cpus"]))


@given(st.frozensets(st.integers(0, 1023)))
def test_a_set_is_read_back_nparse_01(ids: frozenset[int]) -> None:
    assert Nodemask.parse(str(Nodemask(ids))) == Nodemask(ids)
    assert list(Nodemask.parse(",".join(map(str, sorted(ids))))) == sorted(ids)


def test_the_first_of_one_nparse_03() -> None:
    for bit in range(300):
        assert next(iter(Nodemask.of_bits(1 << bit))) == bit
        assert list(Nodemask([bit])) == [bit]
