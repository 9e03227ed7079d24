"""import of real machines and processes, through the command line."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import pytest

from migratectl.linux.numa_maps import format_numa_maps
from migratectl.linux.numa_maps_reader import parse_numa_maps
from migratectl.nodemask import Nodemask
from migratectl.policy import Policy
from migratectl.uapi import Mode
from tests.conftest import SHARED_DATA, Runner
from tests.operations.trees import (
    NUMA_MAPS,
    TOPOLOGIES,
    done,
    loaded,
    make_tree,
    refused,
    text_of,
)


def trees() -> list[Path]:
    known = sorted(TOPOLOGIES.iterdir()) if TOPOLOGIES.is_dir() else []
    return [path for path in known if path.is_dir() or path.name.endswith(".tar.gz")]


AS_2006 = {Mode.LOCAL: Policy(Mode.PREFERRED, Nodemask())}


def genuine() -> list[Path]:
    """The texts that the index calls genuine, but for the one before 2.6.16, which tells less than it is printed as."""
    index = NUMA_MAPS / "INDEX.tsv"
    rows = [line.split("\t") for line in index.read_text().splitlines()] if index.is_file() else []
    names = [row[0] for row in rows if row[1] == "genuine" and row[0].endswith(".numa_maps")]
    return [NUMA_MAPS / name for name in names if name != "mm-2005-07-08-getty.numa_maps"]


needs_data = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="no ../shared/data beside the repository")


@needs_data
@pytest.mark.parametrize("tree", trees(), ids=lambda path: path.name)
def test_real_tree(tool: Runner, tree: Path) -> None:
    """Every machine is imported as its own index describes it: so many nodes, with so many CPUs."""
    rows = [line.split("\t") for line in (TOPOLOGIES / "MANIFEST.tsv").read_text().splitlines()]
    told = {row[0]: dict(zip(rows[0], row, strict=False)) for row in rows[1:]}[tree.name.removesuffix(".tar.gz")]
    for profile in ("v9", "modern"):
        document = loaded(tool, tree, "--profile", profile, "--force")
        assert len(document["nodes"]) == max(int(told["nodes"]), 1)
        assert all(0 <= node["free"] <= node["pages"] for node in document["nodes"])
        assert done(tool("task", "create", "--pid", 7, "--json"))["pid"] == 7
        assert tool("mmap", 7, "10p", "--label", "x").code == 0
        assert done(tool("fault", 7, "x", "--write", "--json"))["faults"]["anonymous"] == 10


@needs_data
def test_real_64_nodes(tool: Runner) -> None:
    """Its name says ia64, so pages have 16 KiB; memory and counters of node 5 are read here by hand."""
    archive = TOPOLOGIES / "256ia64-64n2s2c.tar.gz"
    with tarfile.open(archive) as files:
        member = files.extractfile("256ia64-64n2s2c/sys/devices/system/node/node5/meminfo")
        counters = files.extractfile("256ia64-64n2s2c/sys/devices/system/node/node5/numastat")
        assert member is not None
        assert counters is not None
        memory = {words[2]: int(words[3]) for words in map(str.split, member.read().decode().splitlines()) if words}
        hits = int(counters.read().decode().split()[1])
    node = loaded(tool, archive)["nodes"][5]
    assert (node["pages"], node["free"]) == (memory["MemTotal:"] // 16, memory["MemFree:"] // 16)
    assert node["numastat"]["numa_hit"] == hits


@needs_data
@pytest.mark.parametrize("profile", ["v9", "modern"])
@pytest.mark.parametrize("path", genuine(), ids=lambda path: path.name)
def test_real_numa_maps_comes_back(tool: Runner, path: Path, profile: str) -> None:
    """
    Every line that was not left out comes back with all its counts; where the text is in the layout of the profile,
    in order and complete, it is the same byte for byte.
    """
    page_size = "16K" if "2006-03-03" in path.name else "4K"
    words = ("--nodes", 8, "--memory", "1T", "--page-size", page_size, "--profile", profile, "--swap", "1G")
    done(tool("init", *words, "--json"))
    document = done(tool("import-numa-maps", path, "--pid", 7, "--json"))
    assert done(tool("check", "--json"))["violations"] == []
    era = "modern" if profile == "modern" else "2.6.16"
    lines = sorted(parse_numa_maps(path.read_text(), "x"), key=lambda line: line.address)
    if profile == "v9":  # the local policy was preferred without a node then
        lines = [line._replace(policy=AS_2006.get(line.policy.mode, line.policy)) for line in lines]
    own = int(page_size.removesuffix("K"))
    whole = [line._replace(kernel_page_kib=line.kernel_page_kib or (2048 if line.huge else own)) for line in lines]
    printed, expected = text_of(tool, 7).splitlines(), format_numa_maps(whole, era).splitlines()
    left_out = sum("left out" in note or "taken once" in note for note in document["assumptions"])
    assert len(printed) == document["vmas"] >= len(expected) - 2 * left_out
    if "hugetlb" in path.name or "hugetest" in path.name:  # the size of their huge pages is a guess
        printed, expected = ([line.partition(" kernelpagesize")[0] for line in text] for text in (printed, expected))
    assert printed == [line for line in dict.fromkeys(expected) if line in printed]
    if not left_out:
        assert printed == expected


def malformed() -> list[Path]:
    """The texts that the index calls malformed, and the fixture of others, which has a bad word."""
    index = NUMA_MAPS / "INDEX.tsv"
    rows = [line.split("\t") for line in index.read_text().splitlines()] if index.is_file() else []
    return [NUMA_MAPS / row[0] for row in rows if row[1] in {"malformed", "fixture"}]


@needs_data
@pytest.mark.parametrize("path", malformed(), ids=lambda path: path.name)
def test_real_text_that_is_refused(tool: Runner, tmp_path: Path, state: Path, path: Path) -> None:
    """Alone and in a tree: file, line and cause, and nothing is written."""
    tree = make_tree(tmp_path / "t", {7: {"numa_maps": path.read_text()}}, nodes=16)
    assert "proc/7/numa_maps: line " in refused(tool, "import", tree)
    assert not state.exists()
    done(tool("init", "--nodes", 16, "--json"))
    before = tool("state", "hash").out
    assert f"{path.name}: line " in refused(tool, "import-numa-maps", path, "--pid", 7)
    assert tool("state", "hash").out == before


@needs_data
@pytest.mark.parametrize("profile", ["v9", "modern"])
@pytest.mark.parametrize("with_maps", [False, True])
def test_real_text_of_2005_comes_back(tool: Runner, tmp_path: Path, profile: str, with_maps: bool) -> None:
    """
    In the layout of January 2006, which has the words of 2005 in lower case and in another order. With maps there are
    16 areas, of which two have no page and so no line.
    """
    files = {"numa_maps": (NUMA_MAPS / "mm-2005-07-08-getty.numa_maps").read_text()}
    if with_maps:
        files["maps"] = (NUMA_MAPS / "mm-2005-07-08-getty.maps").read_text()
    tree = make_tree(tmp_path / "t", {7: files}, nodes=4)
    (row,) = loaded(tool, tree, "--page-size", "16K", "--profile", profile)["tasks"]
    assert (row["vmas"], row["pages"]) == (16 if with_maps else 14, 92)
    expected = re.sub(r"MaxRef=(\d+) Pages=(\d+) Mapped=(\d+)", r"pages=\2 mapped=\3 maxref=\1", files["numa_maps"])
    assert tool("numa-maps", 7, "--era", "2006-01").out == expected.replace("Anon=", "anon=")


@needs_data
def test_real_process_with_maps_and_status(tool: Runner, tmp_path: Path) -> None:
    """The live sample has all three files: its numa_maps comes back byte for byte, its areas end where maps says."""
    files = {name: (NUMA_MAPS / f"live-policies-a.{name}").read_text() for name in ("numa_maps", "maps", "status")}
    tree = make_tree(tmp_path / "t", {24102: files}, total=100000, free=10000)
    (row,) = loaded(tool, tree, "--profile", "modern")["tasks"]
    assert (row["name"], row["uid"]) == ("python3", 0)
    assert text_of(tool, 24102) == files["numa_maps"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to import")
def test_the_machine_at_hand(tool: Runner) -> None:
    """Its tasks change while they are read, this one too; what is imported passes every check."""
    document = loaded(tool, Path("/"))
    told = [line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal")]
    assert sum(node["pages"] for node in document["nodes"]) <= int(told[0]) // 4 * 1.1
    assert len(document["tasks"]) == len({row["pid"] for row in document["tasks"]})
