"""The cpusets of a tree, and those of imported tasks; through the command line."""

from __future__ import annotations

import sqlite3
import tarfile
from pathlib import Path

import pytest

from tests.conftest import SHARED_DATA, Runner
from tests.operations.trees import ONE_PAGE, TOPOLOGIES, done, loaded, make_tree, put, refused, where

Row = tuple[str, str, str, int, int, int, str]


def cpusets(state: Path) -> list[Row]:
    """Name, CPUs, nodes, memory_migrate, cpu_exclusive, mem_exclusive and other switches of all but the root."""
    conn = sqlite3.connect(state)
    columns = "name, cpus, mems, memory_migrate, cpu_exclusive, mem_exclusive, kept"
    found = conn.execute(f"SELECT {columns} FROM cpusets WHERE name <> '/' ORDER BY name").fetchall()
    conn.close()
    return found


def about_cpusets(notes: list[str]) -> list[str]:
    return [line for line in notes if " cpuset" in line]


@pytest.mark.parametrize("folder", ["dev/cpuset", "sys/fs/cgroup/cpuset"])
def test_files_of_a_cpuset_tell_more_than_its_tasks(tool: Runner, tmp_path: Path, state: Path, folder: str) -> None:
    """
    The task may use CPU 0 and node 1 only; /a/b has more, and lets pages follow. /a has no files, so it has what /a/b
    has. /other has no task, and comes in all the same.
    """
    status = "Cpus_allowed_list:\t0\nMems_allowed_list:\t1\n"
    tree = make_tree(tmp_path / "t", {7: {"numa_maps": ONE_PAGE, "cpuset": "/a/b\n", "status": status}})
    prefix = "" if folder == "dev/cpuset" else "cpuset."
    put(tree, f"{folder}/a/b", {f"{prefix}mems": "0-1\n", f"{prefix}cpus": "0,2\n", f"{prefix}memory_migrate": "1\n"})
    put(tree, f"{folder}/other", {f"{prefix}mems": "0\n", f"{prefix}cpus": "0\n"})
    notes = loaded(tool, tree)["assumptions"]
    assert about_cpusets(notes) == [f"{tree}/{folder}: cpuset /a made with CPU 0,2 and node 0-1"]
    assert cpusets(state) == [
        ("/a", "0,2", "0-1", 0, 0, 0, ""),
        ("/a/b", "0,2", "0-1", 1, 0, 0, ""),
        ("/other", "0", "0", 0, 0, 0, ""),
    ]


def test_cpuset_of_a_larger_machine(tool: Runner, tmp_path: Path, state: Path) -> None:
    """Nodes and CPUs that this machine has not got are left out, all the way down (INV-18)."""
    tree = make_tree(tmp_path / "t", {7: {"numa_maps": ONE_PAGE, "cpuset": "/a/b/c\n"}})
    for path in ("a", "a/b", "a/b/c"):
        put(tree, f"dev/cpuset/{path}", {"mems": "1-9\n", "cpus": "2-99\n"})
    notes = loaded(tool, tree)["assumptions"]
    assert {row[1:3] for row in cpusets(state)} == {("2-3", "1")}
    assert about_cpusets(notes) == [
        f"{tree}/dev/cpuset: CPU 4-99 of cpuset /a and 2 more is not in what is above it: left out",
        f"{tree}/dev/cpuset: node 2-9 of cpuset /a and 2 more is not in what is above it: left out",
    ]


def test_cpuset_below_one_that_the_state_has(tool: Runner, tmp_path: Path, state: Path) -> None:
    """/a has node 0 in the state; the tasks of the tree, on node 1, are put into what /a has (INV-18)."""
    first = {"numa_maps": "00010000 default anon=1 dirty=1 N0=1\n", "cpuset": "/a\n", "status": "Mems_allowed:\t1\n"}
    loaded(tool, make_tree(tmp_path / "t", {7: first}))
    later = {"numa_maps": ONE_PAGE, "cpuset": "/a/b/c\n", "status": "Mems_allowed:\t2\n"}
    loaded(tool, make_tree(tmp_path / "u", {8: later}), "--tasks-only")
    assert [(row[0], row[2]) for row in cpusets(state)] == [("/a", "0"), ("/a/b", "0"), ("/a/b/c", "0")]


@pytest.mark.parametrize(
    ("name", "text"),
    [("mems", "0-x\n"), ("cpus", "3-1\n"), ("memory_migrate", "yes\n"), ("sched_relax_domain_level", "x\n")],
)
def test_malformed_files_of_a_cpuset(tool: Runner, tmp_path: Path, name: str, text: str) -> None:
    tree = make_tree(tmp_path / "t", {7: {"numa_maps": ONE_PAGE, "cpuset": "/a\n"}})
    put(tree, "dev/cpuset/a", {"mems": "0\n", "cpus": "0\n", name: text})
    assert f"dev/cpuset/a/{name}: line 1: " in refused(tool, "import", tree)


def test_cpuset_outside_of_the_namespace(tool: Runner, tmp_path: Path) -> None:
    """The kernel shows the path of a task above the root of whoever looks with dots."""
    tree = make_tree(tmp_path / "t", {7: {"numa_maps": ONE_PAGE, "cpuset": "/../b\n"}})
    assert loaded(tool, tree)["tasks"][0]["cpuset"] == "/../b"


KEPT = "cgroup.clone_children mem_hardwall memory_spread_page sched_load_balance=0 sched_relax_domain_level=2"


@pytest.mark.parametrize(
    ("mounts", "folder", "prefix"),
    [
        ("none /dev/cpuset cpuset rw 0 0", "dev/cpuset", ""),
        ("cpuset /mnt/my\\040cpusets cpuset rw,noprefix 0 0", "mnt/my cpusets", ""),
        ("none /cgroup/cpuset cgroup rw,cpuset 0 0", "cgroup/cpuset", "cpuset."),
        ("none /cgroup/cpu cgroup rw,cpu 0 0\nnone /x cgroup rw,cpuset,memory,noprefix 0 0", "x", ""),
        ("cgroup2 /cg2 cgroup2 rw 0 0\nnone /elsewhere cgroup rw,cpuset 0 0", "elsewhere", "cpuset."),
        ("", "sys/fs/cgroup/cpuset", "cpuset."),
        ("", "cgroup", "cpuset."),
    ],
)
def test_every_mount_of_version_1(
    tool: Runner, tmp_path: Path, state: Path, mounts: str, folder: str, prefix: str
) -> None:
    """Where proc/mounts says, or else where it usually is; with its switches, with tasks or without."""
    tree = make_tree(tmp_path / "t")
    put(tree, "proc", {"mounts": f"proc /proc proc rw 0 0\n{mounts}\n"})
    own = {"mems": "1\n", "cpus": "0-1\n", "memory_migrate": "1\n", "cpu_exclusive": "1\n", "mem_exclusive": "1\n"}
    own |= {"mem_hardwall": "1\n", "memory_spread_page": "1\n", "memory_spread_slab": "0\n"}
    own |= {"sched_load_balance": "0\n", "sched_relax_domain_level": "2\n"}
    empty = {"mems": "\n", "cpus": "\n", "memory_migrate": "0\n"}
    put(tree, folder, {f"{prefix}mems": "0-1\n", f"{prefix}cpus": "0-3\n", f"{prefix}memory_pressure_enabled": "1\n"})
    put(tree, f"{folder}/a.b", {prefix + name: text for name, text in own.items()})
    put(tree, f"{folder}/a.b", {"cgroup.clone_children": "1\n"})
    put(tree, f"{folder}/a.b/none", {prefix + name: text for name, text in empty.items()})
    document = loaded(tool, tree, "--profile", "modern")
    assert about_cpusets(document["assumptions"]) == []
    assert cpusets(state) == [
        ("/a.b", "0-1", "1", 1, 1, 1, KEPT),
        ("/a.b/none", "", "", 0, 0, 0, ""),
    ]
    assert done(tool("cpuset", "read", "/", "memory_pressure_enabled", "--json"))["value"] == "1"


def test_switches_that_mean_nothing_are_said(tool: Runner, tmp_path: Path, state: Path) -> None:
    """
    V9 has no memory_spread_page. /a is exclusive below a root that is not; /b/c and /b/d share node 0, so neither can
    be. That is said once a switch.
    """
    tree = make_tree(tmp_path / "t")
    put(tree, "dev/cpuset", {"mems": "0-1\n", "cpus": "0-3\n", "cpu_exclusive": "0\n", "mem_exclusive": "1\n"})
    own = {"mems": "0\n", "cpus": "0-1\n", "memory_spread_page": "1\n", "notify_on_release": "1\n"}
    put(tree, "dev/cpuset/a", own | {"cpu_exclusive": "1\n", "mems": "1\n", "cpus": "2\n"})
    put(tree, "dev/cpuset/b", own | {"mem_exclusive": "1\n"})
    for name in ("c", "d"):
        put(tree, f"dev/cpuset/b/{name}", own | {"mem_exclusive": "1\n"})
    notes = about_cpusets(loaded(tool, tree)["assumptions"])
    assert [line.partition("dev/cpuset: ")[2] for line in notes] == [
        "memory_spread_page 1 of cpuset /a and 3 more means nothing here: left out",
        "notify_on_release 1 of cpuset /a and 3 more means nothing here: left out",
        "cpu_exclusive of cpuset /a left out: the one above it is not cpu_exclusive",
        "mem_exclusive of cpuset /b/c and 1 more left out: one beside it has the same node",
    ]
    assert [(row[0], *row[3:6]) for row in cpusets(state)] == [
        ("/a", 0, 0, 0), ("/b", 0, 0, 1), ("/b/c", 0, 0, 0), ("/b/d", 0, 0, 0)
    ]  # fmt: skip


PODS = {"cpuset.cpus": "0-3\n", "cpuset.cpus.effective": "0-1\n", "cpuset.mems": "\n", "cpuset.mems.effective": "0\n"}


@pytest.mark.parametrize("file", ["cpuset", "cgroup"])
@pytest.mark.parametrize("profile", ["v9", "modern"])
def test_version_2_comes_in_with_effective_sets_and_migrates(
    tool: Runner, tmp_path: Path, state: Path, file: str, profile: str
) -> None:
    """
    /pods has no files, as its parent does not hand the controller on; /pods/one inherits its nodes. A group of
    processes below a cpuset that is none itself is in that cpuset. A change of nodes takes the page along.
    """
    paths = {"cpuset": "/pods/one\n", "cgroup": "12:memory:/m\n0::/pods/one/init.scope\n"}
    task = {"numa_maps": "00010000 default anon=1 dirty=1 N0=1\n", file: paths[file], "status": "Uid:\t5\n"}
    tree = make_tree(tmp_path / "t", {7: task})
    put(tree, "proc", {"mounts": "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"})
    put(tree, "sys/fs/cgroup", {"cpuset.cpus.effective": "0-3\n", "cpuset.mems.effective": "0-1\n"})
    put(tree, "sys/fs/cgroup/pods/one", PODS)
    put(tree, "sys/fs/cgroup/pods/one/init.scope", {"cgroup.procs": "7\n"})
    put(tree, "sys/fs/cgroup/system.slice", {"cgroup.procs": "\n"})
    document = loaded(tool, tree, "--profile", profile)
    assert document["tasks"][0]["cpuset"] == "/pods/one"
    assert [line.partition("fs/cgroup: ")[2] for line in about_cpusets(document["assumptions"])] == [
        "control groups of version 2: cpusets taken with their effective nodes and CPUs, and with memory_migrate, as"
        " their memory always follows",
        "cpuset /pods made with CPU 0-1 and node 0, memory_migrate",
    ]
    assert cpusets(state) == [("/pods", "0-1", "0", 1, 0, 0, ""), ("/pods/one", "0-1", "0", 1, 0, 0, "")]
    done(tool("cpuset", "set", "/pods", "--mems", "0-1", "--json"))
    assert done(tool("cpuset", "set", "/pods/one", "--mems", "1", "--json"))["moved"] == 1
    assert set(where(tool, 7).values()) == {1}


def test_links_between_cpusets_are_not_followed(tool: Runner, tmp_path: Path, state: Path) -> None:
    tree = make_tree(tmp_path / "t")
    put(tree, "dev/cpuset/a", {"mems": "0\n", "cpus": "0\n"})
    (tree / "dev/cpuset/a/loop").symlink_to(".")
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        archive.add(tree, "t")
    for each in (tree, tmp_path / "t.tar"):
        loaded(tool, each, "--force")
        assert [row[0] for row in cpusets(state)] == ["/a"]


def test_tasks_only_makes_the_cpusets_of_the_tasks(machine: Runner, tmp_path: Path, state: Path) -> None:
    """The state has its own cpusets; what the tree has besides is not the tasks'."""
    tree = make_tree(tmp_path / "t", {7: {"numa_maps": ONE_PAGE, "cpuset": "/a\n"}})
    for name in ("a", "b"):
        put(tree, f"dev/cpuset/{name}", {"mems": "0-1\n", "cpus": "0\n"})
    loaded(machine, tree, "--tasks-only")
    assert [row[0] for row in cpusets(state)] == ["/a"]


@pytest.mark.parametrize(
    ("told", "cpus"),
    [("0\n", "0"), ("0-2\n", None), ("0-3\n", None), ("0,3\n", "0")],
)
def test_tasks_that_may_not_run_on_all_cpus_of_their_cpuset(
    tool: Runner, tmp_path: Path, told: str, cpus: str | None
) -> None:
    """The cpuset has CPUs 0-2; task 8 is in the root, which has four."""
    stat = "7 (x) S 1 " + " ".join(["0"] * 34) + " 0\n"
    files = {"numa_maps": ONE_PAGE, "status": f"Cpus_allowed_list:\t{told}", "stat": stat}
    tree = make_tree(tmp_path / "t", {7: {**files, "cpuset": "/a\n"}, 8: files})
    put(tree, "dev/cpuset/a", {"mems": "0-1\n", "cpus": "0-2\n"})
    rows = loaded(tool, tree)["tasks"]
    assert rows[0]["cpus"] == cpus
    assert rows[1]["cpus"] == (None if told == "0-3\n" else told.strip())


needs_data = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="no ../shared/data beside the repository")


@needs_data
def test_real_cpusets_of_a_batch_scheduler(tool: Runner, state: Path) -> None:
    """Torque's tree: a folder of its own without task, two jobs, and under one of them a cpuset for each of 40 CPUs."""
    notes = loaded(tool, TOPOLOGIES / "40intel64-2g2n4c+pcilocality.tar.gz")["assumptions"]
    found = {row[0]: row[1:3] for row in cpusets(state)}
    assert len(found) == 43
    assert found["/torque/511983.master.cm.cluster"] == ("27", "0-3")
    assert found["/torque/513099.master.cm.cluster"] == ("0-39", "0-3")
    assert found["/torque/513099.master.cm.cluster/1"] == ("38", "0-3")
    assert not about_cpusets(notes)


@needs_data
def test_real_cpuset_with_a_cpu_that_is_offline(tool: Runner, state: Path) -> None:
    notes = loaded(tool, TOPOLOGIES / "16amd64-8n2c-cpusets")["assumptions"]
    assert cpusets(state) == [("/dummy", "0-3,5-6,12-15", "1-4", 0, 0, 0, "")]
    assert [line.partition("dev/cpuset: ")[2] for line in about_cpusets(notes) if "dummy" in line] == [
        "CPU 4 of cpuset /dummy is not in what is above it: left out"
    ]


@needs_data
def test_real_job_step_of_version_2(tool: Runner, state: Path) -> None:
    loaded(tool, TOPOLOGIES / "32amd64-4s2n4c-cgroup2")
    job = "/uid_2008/job_15389"
    assert cpusets(state) == [(path, "0-5", "0-5", 1, 0, 0, "") for path in ("/uid_2008", job, f"{job}/step_0")]
