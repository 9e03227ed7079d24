"""Nodes, CPUs, memory and distances of trees, whole ones and odd ones."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from migratectl.errors import InputFileError
from migratectl.linux.topology import Topology, read_topology
from migratectl.linux.tree import open_tree
from migratectl.nodemask import Nodemask

NODE = "sys/devices/system/node"
DATA = Path(__file__).parents[3] / "shared/data/topologies"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real trees: {DATA} is missing")


def node_files(
    nid: int, cpus: str = "", distance: str | None = None, total: int = 4096, free: int = 1024
) -> dict[str, str]:
    files = {
        f"{NODE}/node{nid}/meminfo": f"\nNode {nid} MemTotal: {total} kB\nNode {nid} MemFree:   {free} kB\n",
        f"{NODE}/node{nid}/cpulist": f"{cpus}\n",
    }
    if distance is not None:
        files[f"{NODE}/node{nid}/distance"] = f"{distance}\n"
    return files


def read(root: Path, files: dict[str, str], name: str = "box") -> Topology:
    for path, text in {"proc/version": "Linux\n", **files}.items():
        (root / name / path).parent.mkdir(parents=True, exist_ok=True)
        (root / name / path).write_bytes(text.encode())
    return read_topology(open_tree(root / name))


def two_nodes(first: str = "10 21", second: str = "21 10") -> dict[str, str]:
    return {**node_files(0, "0-1", first), **node_files(1, "2-3", second)}


def test_two_plain_nodes(tmp_path: Path) -> None:
    machine = read(tmp_path, two_nodes())
    assert [(node.nid, str(node.cpus), node.total_kib, node.free_kib) for node in machine.nodes] == [
        (0, "0-1", 4096, 1024),
        (1, "2-3", 4096, 1024),
    ]
    assert machine.distances == {(0, 0): 10, (0, 1): 21, (1, 0): 21, (1, 1): 10}
    assert machine.assumptions == ()
    assert machine.swap_kib is None
    assert machine.page_size_hint == 4096


def test_sparse_ids_take_distance_columns_in_their_order(tmp_path: Path) -> None:
    """A row has a column for each online node, not for each possible id."""
    files = {**node_files(2, "0", "10 20 30"), **node_files(33, "1", "20 10 40"), **node_files(72, "2", "30 40 10")}
    machine = read(tmp_path, files)
    assert [node.nid for node in machine.nodes] == [2, 33, 72]
    assert (machine.distances[2, 72], machine.distances[33, 72], machine.distances[72, 33]) == (30, 40, 40)


@pytest.mark.parametrize(
    ("mask", "cpus"),
    [
        ("00000000,0000ffff\n", "0-15"),
        ("0000ffff,00000000\n", "32-47"),
        ("000f,c0000000\n", "30-35"),
        ("03\n\0", "0-1"),
        ("0,00000001\n", "0"),
        ("1,00000000,00000000\n", "64"),
        ("00000000\n", ""),
    ],
)
def test_mask_words(tmp_path: Path, mask: str, cpus: str) -> None:
    """32 bits a word, the highest word first; node 1 keeps the machine from being without any CPU."""
    files = two_nodes()
    del files[f"{NODE}/node0/cpulist"]
    machine = read(tmp_path, {**files, f"{NODE}/node0/cpumap": mask})
    assert str(machine.nodes[0].cpus) == cpus


def test_claimed_twice_goes_to_the_lowest_node(tmp_path: Path) -> None:
    machine = read(tmp_path, {**node_files(0, "0-7", "10 20"), **node_files(1, "0-9", "20 10")})
    assert [str(node.cpus) for node in machine.nodes] == ["0-7", "8-9"]
    assert any("claim CPU 0-7" in line for line in machine.assumptions)


def test_offline_cpu_is_left_out(tmp_path: Path) -> None:
    machine = read(tmp_path, {**two_nodes(), "sys/devices/system/cpu/online": "0-1,3\n"})
    assert str(machine.nodes[1].cpus) == "3"
    assert [line for line in machine.assumptions if "CPU 2 of node 1 is offline" in line]


def test_list_and_mask_that_disagree(tmp_path: Path) -> None:
    machine = read(tmp_path, {**two_nodes(), f"{NODE}/node1/cpumap": "8\n"})
    assert str(machine.nodes[1].cpus) == "2-3"
    assert [line for line in machine.assumptions if "cpumap says 3" in line]


def test_offline_node_is_left_out(tmp_path: Path) -> None:
    """Rows have columns for the online nodes only."""
    files = {**two_nodes(), **node_files(2, "4"), f"{NODE}/online": "0-1\n"}
    machine = read(tmp_path, files)
    assert [node.nid for node in machine.nodes] == [0, 1]
    assert [line for line in machine.assumptions if "node 2 is offline" in line]


def test_online_node_without_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"online: says 0-2, but there is no folder for node 2"):
        read(tmp_path, {**two_nodes(), f"{NODE}/online": "0-2\n"})


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (("10 20", None), "node1/distance: missing"),
        ((None, None), "node0/distance: missing"),
        (("0 20", "20 10"), "to itself is 0"),
        (("10 10", "10 10"), "another node at distance 10"),
        (("10 9", "20 10"), "another node at distance 9"),
        (("10 20 20", "20 10 20"), "3 distances for 2 online nodes"),
        (("10", "10"), "1 distances for 2"),
        (("10 300", "300 10"), "a distance of 300"),
    ],
)
def test_table_that_makes_no_sense_is_replaced_whole(
    tmp_path: Path, rows: tuple[str | None, str | None], said: str
) -> None:
    machine = read(tmp_path, {**node_files(0, "0", rows[0]), **node_files(1, "1", rows[1])})
    assert machine.distances == {(0, 0): 10, (0, 1): 20, (1, 0): 20, (1, 1): 10}
    assert len(machine.assumptions) == 1
    assert said in machine.assumptions[0]
    assert "10 local and 20 remote" in machine.assumptions[0]


def test_asymmetric_table_is_kept(tmp_path: Path) -> None:
    machine = read(tmp_path, two_nodes("10 30", "21 10"))
    assert (machine.distances[0, 1], machine.distances[1, 0]) == (30, 21)


def test_only_memtotal(tmp_path: Path) -> None:
    machine = read(tmp_path, {**two_nodes(), f"{NODE}/node1/meminfo": "Node 1 MemTotal: 500 kB\n"})
    assert machine.nodes[1].free_kib == 500
    assert [line for line in machine.assumptions if "all 500 KiB of node 1" in line]


def test_nodes_without_memory_and_without_cpus(tmp_path: Path) -> None:
    machine = read(tmp_path, {**node_files(0, "0-3", "10 20", 0, 0), **node_files(1, "", "20 10")})
    assert machine.nodes[0].total_kib == 0
    assert not machine.nodes[1].cpus
    assert machine.assumptions == ()


def test_machine_without_nodes(tmp_path: Path) -> None:
    files = {"proc/meminfo": "MemTotal: 900 kB\nMemFree: 100 kB\nSwapTotal: 50 kB\n"}
    machine = read(tmp_path, {**files, "sys/devices/system/cpu/online": "0,2\n"})
    assert [(node.nid, str(node.cpus), node.total_kib, node.free_kib) for node in machine.nodes] == [
        (0, "0,2", 900, 100)
    ]
    assert machine.distances == {(0, 0): 10}
    assert machine.swap_kib == 50
    assert len(machine.assumptions) == 1


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, "0"),
        ({"proc/cpuinfo": "processor\t: 0\nvendor_id : x\nprocessor\t: 3\n"}, "0,3"),
        ({"sys/devices/system/cpu/cpu1/x": "", "sys/devices/system/cpu/cpuidle/x": ""}, "1"),
        ({"sys/devices/system/cpu/present": "0-1\n"}, "0-1"),
    ],
)
def test_cpus_of_a_machine_without_nodes(tmp_path: Path, files: dict[str, str], cpus: str) -> None:
    machine = read(tmp_path, {"proc/meminfo": "MemTotal: 900 kB\nMemFree: 100 kB\n", **files})
    assert str(machine.nodes[0].cpus) == cpus


def test_more_free_than_there_is_without_nodes(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="proc/meminfo: MemFree is more than MemTotal"):
        read(tmp_path, {"proc/meminfo": "MemTotal: 900 kB\nMemFree: 901 kB\n"})


def test_neither_nodes_nor_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="no nodes, and no MemTotal"):
        read(tmp_path, {})


@pytest.mark.parametrize("where", ["name", "proc/cpuinfo"])
def test_ia64_has_pages_of_16_kib(tmp_path: Path, where: str) -> None:
    files = two_nodes() if where == "name" else {**two_nodes(), where: "vendor : X\narch : IA-64\n"}
    machine = read(tmp_path, files, "2ia64-2n" if where == "name" else "box")
    assert machine.page_size_hint == 16384
    assert [line for line in machine.assumptions if "says ia64" in line]


@pytest.mark.parametrize("name", ["media64", "4em64t", "64amd64", "intel64"])
def test_other_names_do_not_say_ia64(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, two_nodes(), name).page_size_hint == 4096


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        (f"{NODE}/node1/meminfo", None, "node1/meminfo: missing"),
        (f"{NODE}/node1/meminfo", "Node 1 MemFree: 1 kB\n", "no line 'Node 1 MemTotal"),
        (f"{NODE}/node1/meminfo", "\nNode 1 MemTotal: -5 kB\n", "line 2: '-5' is no number"),
        (f"{NODE}/node1/meminfo", "Node 1 MemTotal: x kB\n", "line 1: 'x' is no number"),
        (f"{NODE}/node1/meminfo", "Node 1 MemTotal: " + "9" * 31 + " kB\n", "line 1: .* more than any machine"),
        (f"{NODE}/node1/meminfo", "Node 1 MemTotal: " + "9" * 9999 + " kB\n", "line 1: .* more than any machine"),
        (f"{NODE}/node1/meminfo", "Node 0 MemTotal: 5 kB\n", "line 1: .* is not 'Node 1"),
        (f"{NODE}/node1/meminfo", "Node 1 MemTotal 5\n", "line 1: "),
        (f"{NODE}/node1/meminfo", "Node 1 MemTotal: 5 kB\nNode 1 MemFree: 6 kB\n", r"MemFree \(6 kB\) is more"),
        (f"{NODE}/node1/cpulist", "0-x\n", "cpulist: line 1: '0-x'"),
        (f"{NODE}/node1/cpulist", "7-4\n", "cpulist: line 1: .*backwards"),
        (f"{NODE}/node1/cpulist", "0-99999\n", "cpulist: line 1: ids go beyond"),
        (f"{NODE}/node1/cpulist", "0-999999999\n", "cpulist: line 1: "),
        (f"{NODE}/node1/cpumap", "00g0\n", "cpumap: line 1: "),
        (f"{NODE}/node1/cpumap", "-1\n", "cpumap: line 1: "),
        (f"{NODE}/node1/cpumap", "f" * 20000 + "\n", "cpumap: line 1: ids go beyond"),
        (f"{NODE}/node1/distance", "21 ten\n", "distance: line 1: 'ten'"),
        (f"{NODE}/node1/distance", "-21 10\n", "distance: line 1: '-21'"),
        (f"{NODE}/node5000/meminfo", "", "node ids end at 1023"),
        (f"{NODE}/online", "none\n", "online: line 1: "),
        (f"{NODE}/online", "\n", "no node is online"),
        ("proc/meminfo", "SwapTotal: -1 kB\n", "meminfo: line 1: '-1'"),
        ("proc/meminfo", "MemTotal: 1 kB\nSwapTotal: 7\n", "meminfo: line 2: "),
    ],
)
def test_malformed_file_is_named_with_its_line(tmp_path: Path, path: str, text: str | None, said: str) -> None:
    files = two_nodes()
    if text is None:
        del files[path]
    else:
        files[path] = text
    with pytest.raises(InputFileError, match=said) as caught:
        read(tmp_path, files)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


# ---- the real trees

ODD = {
    "8ia64-2s2c2t": ["to itself is 0"],
    "16amd64-8n2c-cpusets": ["CPU 4 of node 2 is offline"],
    "8em64t-2s2ca2c-buggynuma": ["claim CPU 0-7", "another node at distance 10"],
    "64fake-4n2s2ca2c2t": ["no MemFree", "distance: missing"],
    "2i386-2c-nohugepage": ["no nodes: one node 0"],
}


def manifest() -> list[dict[str, str]]:
    if not DATA.is_dir():
        return []
    with (DATA / "MANIFEST.tsv").open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def real(row: dict[str, str]) -> Topology:
    name = row["tree"] + (".tar.gz" if row["form"] == "tar.gz" else "")
    return read_topology(open_tree(DATA / name))


@needs_data
@pytest.mark.parametrize("row", manifest(), ids=lambda row: row["tree"])
def test_real_tree_is_what_its_manifest_says(row: dict[str, str]) -> None:
    machine = real(row)
    nids = Nodemask(node.nid for node in machine.nodes)
    assert str(nids) == (row["node_ids"] if row["nodes"] != "0" else "0")
    cpus = sum(len(node.cpus) for node in machine.nodes)
    if row["tree"] == "8em64t-2s2ca2c-buggynuma":
        assert cpus == 8  # the manifest counts each claim
    elif row["nodes"] != "0":
        assert cpus == int(row["cpus_in_nodes"]) - ("CPU 4 offline" in row["peculiarity"])
    if row["cpuless_nodes"] != "-":
        assert str(Nodemask(node.nid for node in machine.nodes if not node.cpus)) == row["cpuless_nodes"]
    if row["mem_per_node_MiB"] != "none":
        low, _, high = row["mem_per_node_MiB"].partition("..")
        sizes = [node.total_kib >> 10 for node in machine.nodes]
        assert (min(sizes), max(sizes)) == (int(low), int(high or low))
    assert machine.page_size_hint == (16384 if "ia64" in row["tree"] else 4096)
    assert len(machine.distances) == len(nids) ** 2


@needs_data
@pytest.mark.parametrize("row", manifest(), ids=lambda row: row["tree"])
def test_real_tree_with_oddities_says_so(row: dict[str, str]) -> None:
    said = [line for line in real(row).assumptions if "says ia64" not in line]
    for words in ODD.get(row["tree"], []):
        assert [line for line in said if words in line]
    assert bool(said) == (row["tree"] in ODD)


@needs_data
@pytest.mark.parametrize("row", manifest(), ids=lambda row: row["tree"])
def test_distances_of_real_trees(row: dict[str, str]) -> None:
    machine = real(row)
    values = sorted(set(machine.distances.values()))
    words = row["distance_kind"].split()
    given = [int(value) for value in words[-1].split("/")] if words[0] == "symmetric" else []
    if given and given[0] == 10 and (len(given) > 1 or len(machine.nodes) == 1):
        assert values == given
    else:
        assert values == ([10, 20] if len(machine.nodes) > 1 else [10])
