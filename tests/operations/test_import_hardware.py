"""import of a text of numactl --hardware, and of trees that tell no memory; through the command line."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SHARED_DATA, Runner
from tests.operations.trees import NUMA_MAPS, done, loaded, make_tree, refused

SPARSE = """available: 3 nodes (0-1,8)
node 0 cpus: 0 1 4 5
node 0 size: 64 MB
node 0 free: 32 MB
node 1 cpus: 2-3,6
node 1 size: 0 MB
node 1 free: 0 MB
node 8 cpus:
node 8 size: 16 MB
node 8 free: 16 MB
node distances:
node   0   1   8
  0:  10  21  40
  1:  21  10  41
  8:  40  41  10
"""

NODES = [
    {"node": 0, "cpus": "0-1,4-5", "pages": 16384, "free": 8192, "distance": [10, 21, 40]},
    {"node": 1, "cpus": "2-3,6", "pages": 0, "free": 0, "distance": [21, 10, 41]},
    {"node": 8, "cpus": "", "pages": 4096, "free": 4096, "distance": [40, 41, 10]},
]


def machine_of(document: Any) -> list[dict[str, Any]]:
    return [{key: node[key] for key in NODES[0]} for node in document["nodes"]]


def variants() -> dict[str, str]:
    """The same machine as people paste it."""
    lines = SPARSE.splitlines()
    return {
        "as-printed": SPARSE,
        "prompt": f"$ numactl -H\n{SPARSE}",
        "mail": "".join(f"> {line}\n" for line in lines),
        "windows": "".join(f"{line}\r\n" for line in lines),
        "wrapped": SPARSE.replace("0 1 4 5", "0 1\n4 5"),
        "wide": SPARSE.replace("node   0   1   8", "node     0    1    8").replace("  0:  10", "   0:   10"),
    }


@pytest.mark.parametrize("form", variants())
@pytest.mark.parametrize("way", ["file", "-", "pipe"])
def test_a_pasted_text_makes_a_machine(tool: Runner, tmp_path: Path, form: str, way: str) -> None:
    """Sparse ids, a node without memory and one without CPUs."""
    text, path = variants()[form], tmp_path / "hw"
    if way == "-":
        document = done(tool("import", "-", "--json", stdin=text))
    elif way == "pipe":
        os.mkfifo(path)
        writer = threading.Thread(target=path.write_text, args=(text,))
        writer.start()
        document = done(tool("import", path, "--json"))
        writer.join()
    else:
        path.write_bytes(text.encode())
        document = loaded(tool, path)
    assert machine_of(document) == NODES
    assert document["tasks"] == []
    told = [line for line in document["assumptions"] if line.endswith("taken off")]
    added = {"mail": "'>' in front, as in a quoted mail", "windows": "CR before the newline, as in a file of Windows"}
    assert [line.partition(": line 1: ")[2] for line in told] == (
        [f"{added[form]}: taken off"] if form in added else []
    )


def test_what_hardware_prints_is_read_again(tool: Runner) -> None:
    done(tool("init", "--nodes", 3, "--memory", "64M,0,16M", "--cpus", "4,3,0", "--distance", "10,21", "--json"))
    text = tool("hardware").out
    done(tool("import", "-", "--force", "--json", stdin=text))
    assert tool("hardware").out == text


def test_tasks_run_on_it(tool: Runner, tmp_path: Path) -> None:
    """What was free is free, and no more: 8192 pages of node 0 are in use by others."""
    (tmp_path / "hw").write_text(SPARSE)
    loaded(tool, tmp_path / "hw", "--profile", "modern", "--page-size", "16K", "--swap", "none")
    done(tool("task", "create", "--pid", 1, "--cpu", 6, "--json"))
    done(tool("mmap", 1, "8p", "--label", "a", "--json"))
    assert done(tool("fault", 1, "a", "--write", "--json"))["nodes"] == [{"node": 0, "pages": 8}]
    assert done(tool("mbind", 1, "a", "bind", 8, "--move", "--json"))["moved"] == 8


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "available: 3 nodes (0-1,8)",
            "available: 2 nodes (0-1,8)",
            "line 1: 'available: 2 nodes (0-1,8)' does not tell",
        ),
        ("(0-1,8)", "(8-0)", "line 1: the range '8-0' runs backwards"),
        ("node 8 cpus:", "node 7 cpus:", "line 8: node 7 is none of those that are available, 0-1,8"),
        ("2-3,6", "2-3,x", "line 5: '2-3,x' are no CPUs such as 0 1 2"),
        ("2-3,6", "3-2", "line 5: the range '3-2' runs backwards"),
        ("2-3,6", "99999", "line 5: '99999' are no CPUs"),
        ("size: 64 MB", "size: much", "line 3: 'much' is no size such as 4096 MB"),
        ("free: 32 MB", "free: 65 MB", "node 0 has 65 MB free of 64 MB"),
        ("node 1 size: 0 MB\n", "", "no line 'node 1 size: ... MB'; give it with --node-memory SIZE"),
        ("node   0   1   8", "node   0   1   2", "line 12: the columns are not the nodes 0-1,8"),
    ],
)
def test_malformed_text(tool: Runner, tmp_path: Path, state: Path, old: str, new: str, said: str) -> None:
    assert SPARSE.count(old) >= 1
    (tmp_path / "hw").write_text(SPARSE.replace(old, new, 1))
    assert f"{tmp_path / 'hw'}: {said}" in refused(tool, "import", tmp_path / "hw")
    assert not state.exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("node 0 free: 32 MB\n", "", "no line 'node 0 free: ... MB': all of its memory taken as free"),
        ("node 8 cpus:\n", "", "no line 'node 8 cpus: ...': node 8 has no CPU"),
        ("  8:  40  41  10\n", "", "no distances of node 8: 10 local and 20 remote are used instead, for all nodes"),
        ("  8:  40  41  10\n", "  8:  40  41\n", "line 15: 2 distances for 3 online nodes: 10 local and 20"),
        ("node distances:\n", "node 0 hugepages: 5\n", "line 11: 'node 0 hugepages: 5' is no line of numactl"),
        ("cpus: 2-3,6", "cpus: 0", "several nodes claim CPU 0: each is given to its lowest node"),
    ],
)
def test_what_a_text_does_not_tell(tool: Runner, tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in SPARSE
    (tmp_path / "hw").write_text(SPARSE.replace(old, new, 1))
    notes = loaded(tool, tmp_path / "hw")["assumptions"]
    assert [line for line in notes if said in line]


def test_oldest_text(tool: Runner) -> None:
    """numactl 0.x tells neither ids nor CPUs nor distances."""
    text = "available: 2 nodes\nnode 0 size: 64 MB\nnode 0 free: 32 MB\nnode 1 size: 64 MB\nnode 1 free: 1 MB\n"
    document = done(tool("import", "-", "--json", stdin=f"{text}No distance information available.\n"))
    assert [(node["cpus"], node["pages"]) for node in document["nodes"]] == [("0", 16384), ("", 16384)]


def test_a_text_has_no_tasks(machine: Runner, tmp_path: Path) -> None:
    (tmp_path / "hw").write_text(SPARSE)
    assert "has no tasks; leave out --tasks-only" in refused(machine, "import", tmp_path / "hw", "--tasks-only")


def test_standard_input_that_is_something_else(tool: Runner) -> None:
    assert "standard input: no line such as 'available: 2 nodes (0-1)'" in refused(tool, "import", "-")


def without_memory(root: Path, *, nodes: int = 2) -> Path:
    """A tree as topology dumps are: nodes with CPUs, and no meminfo at all."""
    tree = make_tree(root, nodes=nodes)
    for nid in range(nodes):
        (tree / f"sys/devices/system/node/node{nid}/meminfo").unlink()
    return tree


@pytest.mark.parametrize(("given", "pages"), [("64K", [16, 16]), ("1M,0", [256, 0]), ("8p", [8, 8])])
def test_node_memory_where_the_tree_tells_none(tool: Runner, tmp_path: Path, given: str, pages: list[int]) -> None:
    tree = without_memory(tmp_path / "t")
    document = loaded(tool, tree, "--node-memory", given)
    assert [(node["pages"], node["free"]) for node in document["nodes"]] == [(nr, nr) for nr in pages]
    told = [line for line in document["assumptions"] if "of --node-memory, all free" in line]
    assert len(told) == 2


def test_node_memory_is_asked_for(tool: Runner, tmp_path: Path) -> None:
    tree = without_memory(tmp_path / "t")
    assert "node0/meminfo: missing; without it the memory of node 0 is unknown; give it with --node-memory SIZE" in (
        refused(tool, "import", tree)
    )
    outcome = tool("import", tree, "--node-memory", "1M,1M,1M")
    assert outcome.code == 1
    assert "--node-memory: EINVAL: 3 values for 2 nodes; give one, or one a node" in outcome.err


def test_what_a_tree_tells_of_memory_counts(tool: Runner, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "t")
    (tree / "sys/devices/system/node/node1/meminfo").unlink()
    nodes = loaded(tool, tree, "--node-memory", "1M")["nodes"]
    assert [(node["pages"], node["free"]) for node in nodes] == [(1000, 900), (256, 256)]


def test_node_memory_of_a_machine_without_nodes(tool: Runner, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "t")
    shutil.rmtree(tree / "sys")
    assert "or give --node-memory SIZE" in refused(tool, "import", tree)
    assert [node["pages"] for node in loaded(tool, tree, "--node-memory", "1M")["nodes"]] == [256]


def test_node_memory_of_a_text(tool: Runner) -> None:
    text = SPARSE.replace("node 8 size: 16 MB\n", "").replace("node 1 size: 0 MB", "node 1 size: <not available>")
    nodes = done(tool("import", "-", "--node-memory", "2M,1M,4M", "--json", stdin=text))["nodes"]
    assert [(node["pages"], node["free"]) for node in nodes] == [(16384, 8192), (256, 256), (1024, 1024)]


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="no ../shared/data beside the repository")
@pytest.mark.parametrize("name", ["mm-2015-08-21.numactl-H", "aws-c-s3-403.numactl-H"])
def test_real_texts_come_back(tool: Runner, name: str) -> None:
    """But for the blank behind each distance, which the published texts have lost."""
    loaded(tool, NUMA_MAPS / name)
    assert [line.rstrip() for line in tool("hardware").out.splitlines()] == (NUMA_MAPS / name).read_text().splitlines()
