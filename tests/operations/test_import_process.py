"""What a tree tells of processes beside numa_maps, and what of it is refused; through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from migratectl.linux.tree import DirectoryTree
from tests.conftest import Runner
from tests.operations.trees import (
    ONE_PAGE,
    done,
    loaded,
    make_tree,
    refused,
    where,
)

STATUS = "Name:\tmy db\nState:\tS (sleeping)\nUid:\t1\t42\t42\t42\nCapEff:\t0000000000800000\nMems_allowed_list:\t1\n"


def test_task_by_its_status(tool: Runner, tmp_path: Path) -> None:
    """The effective user id is the second; CAP_SYS_NICE is bit 23; CPU 2 is the lowest of the node with its page."""
    tree = make_tree(tmp_path / "t", {7: {"numa_maps": ONE_PAGE, "status": STATUS}})
    (row,) = loaded(tool, tree)["tasks"]
    assert {key: row[key] for key in ("pid", "name", "uid", "cpu", "node", "cpuset")} == {
        "pid": 7, "name": "my db", "uid": 42, "cpu": 2, "node": 1, "cpuset": "/"
    }  # fmt: skip
    done(tool("task", "create", "--pid", 8, "--uid", 5, "--json"))
    assert tool("migrate-pages", 8, 0, 1, "--by", 7).code == 0, "SYS_NICE may move the pages of another user"


def test_task_runs_where_stat_says(tool: Runner, tmp_path: Path) -> None:
    """Field 39 of stat: 3 fields, 35 numbers, the CPU. The name has a bracket and a blank in it."""
    stat = "7 (a b) c) S " + " ".join(["0"] * 35) + " 1 0 0\n"
    tree = make_tree(tmp_path / "t", {7: {"numa_maps": ONE_PAGE, "stat": stat}})
    (row,) = loaded(tool, tree)["tasks"]
    assert (row["name"], row["cpu"], row["node"]) == ("a b) c", 1, 0)


def test_task_on_a_cpu_that_is_not_there(tool: Runner, tmp_path: Path) -> None:
    stat = "7 (x) S " + " ".join(["0"] * 35) + " 99\n"
    document = loaded(tool, make_tree(tmp_path / "t", {7: {"numa_maps": ONE_PAGE, "stat": stat}}))
    assert document["tasks"][0]["cpu"] == 2
    assert [line for line in document["assumptions"] if "ran on CPU 99, which no node has" in line]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("stat", "7 x S 0\n", "proc/7/stat: line 1:"),
        ("status", "Name:\tx\nUid:\troot\n", "proc/7/status: line 2: Uid"),
        ("status", "CapEff:\tall\n", "proc/7/status: line 1: CapEff"),
        ("status", "Mems_allowed_list:\t3-1\n", "proc/7/status: line 1: Mems_allowed_list"),
        ("cpuset", "none\n", "proc/7/cpuset: line 1:"),
        ("maps", "00010000-00010000 rw-p 00000000 00:00 0\n", "proc/7/maps: line 1:"),
        ("numa_maps", "00010000 default anon=2 N0=1\n", "proc/7/numa_maps: line 1: anon=2"),
        ("numa_maps", "00010000 default\n00010000 bind=0\n", "proc/7/numa_maps: line 2:"),
    ],
)
def test_malformed_files_of_a_task(tool: Runner, tmp_path: Path, name: str, text: str, said: str) -> None:
    assert said in refused(tool, "import", make_tree(tmp_path / "t", {7: {"numa_maps": ONE_PAGE, name: text}}))


def test_cpusets_are_made(tool: Runner, tmp_path: Path) -> None:
    """Both tasks are in /a/b, which has node 1 only; the policy of the first then has nothing on node 0 to fall to."""
    files = {"numa_maps": ONE_PAGE, "cpuset": "/a/b\n", "status": "Mems_allowed_list:\t1\n"}
    document = loaded(tool, make_tree(tmp_path / "t", {7: files, 8: files}))
    assert [row["cpuset"] for row in document["tasks"]] == ["/a/b", "/a/b"]
    assert len([line for line in document["assumptions"] if "cpuset /a/b made" in line]) == 1
    assert tool("mmap", 8, "4p", "--label", "x").code == 0
    done(tool("fault", 8, "x", "--write", "--json"))
    assert set(where(tool, 8).values()) == {1}


def test_kernel_threads_and_the_dead(tool: Runner, tmp_path: Path) -> None:
    """No areas and alive: a kernel thread. A zombie, and a task without numa_maps, are no tasks to import."""
    tasks = {
        2: {"numa_maps": "", "status": "Name:\tkthreadd\nState:\tS\n"},
        3: {"numa_maps": "", "status": "Name:\tgone\nState:\tZ (zombie)\n"},
        4: {"status": "Name:\tx\n"},
    }
    assert [row["name"] for row in loaded(tool, make_tree(tmp_path / "t", tasks))["tasks"]] == ["kthreadd"]
    assert "EINVAL" in tool("numa-maps", 2).err


@pytest.mark.parametrize(("lower", "upper"), [(5, 6), (6, 5)])
def test_a_cpuset_has_the_nodes_of_those_below_it(tool: Runner, tmp_path: Path, lower: int, upper: int) -> None:
    """INV-18: /a is told to have node 0 and /a/b node 1, so /a has both, whichever task comes first."""
    files = {
        lower: {"numa_maps": ONE_PAGE, "cpuset": "/a/b\n", "status": "Mems_allowed_list:\t1\n"},
        upper: {"numa_maps": ONE_PAGE, "cpuset": "/a\n", "status": "Mems_allowed_list:\t0\n"},
    }
    notes = loaded(tool, make_tree(tmp_path / "t", files))["assumptions"]
    assert [line.partition("cpuset ")[2] for line in notes if " made with " in line] == [
        "/a/b made with all CPUs and node 1",
        "/a made with all CPUs and node 0-1",
    ]
    assert tool("check").code == 0


@pytest.mark.parametrize(
    ("told", "cpus"),
    [
        ("Cpus_allowed_list:\t0,2\n", "CPU 0,2"),
        ("Cpus_allowed:\t0000000c\n", "CPU 2-3"),
        ("Cpus_allowed_list:\t0-3\n", "all CPUs"),
        ("Cpus_allowed_list:\t0-99\n", "all CPUs"),
        ("", "all CPUs"),
    ],
)
def test_a_made_cpuset_has_the_cpus_of_its_tasks(tool: Runner, tmp_path: Path, told: str, cpus: str) -> None:
    """And so have those above it: /a has what /a/b has. The machine has CPUs 0-3."""
    files = {"numa_maps": ONE_PAGE, "cpuset": "/a/b\n", "status": f"{told}Mems_allowed:\t00000002\n"}
    notes = loaded(tool, make_tree(tmp_path / "t", {7: files}))["assumptions"]
    assert [line.partition("cpuset ")[2] for line in notes if " made with " in line] == [
        f"{path} made with {cpus} and node 1" for path in ("/a/b", "/a")
    ]


def test_cpus_of_several_tasks_and_where_one_runs(tool: Runner, tmp_path: Path) -> None:
    """Task 7 may run on CPU 0, task 8 on CPU 1, and task 9, which tells no set, runs on CPU 3 of any."""
    stat = "9 (x) S " + " ".join(["0"] * 35) + " 3 0 0\n"
    tasks = {
        7: {"numa_maps": ONE_PAGE, "cpuset": "/a\n", "status": "Cpus_allowed:\t1\n"},
        8: {"numa_maps": ONE_PAGE, "cpuset": "/a\n", "status": "Cpus_allowed:\t2\n"},
        9: {"numa_maps": ONE_PAGE, "cpuset": "/a\n", "status": "Cpus_allowed:\t8\n", "stat": stat},
    }
    document = loaded(tool, make_tree(tmp_path / "t", tasks))
    assert [line for line in document["assumptions"] if "cpuset /a made with CPU 0-1,3 and node 0-1" in line]
    assert [row["cpu"] for row in document["tasks"]] == [0, 1, 3], "their pages are on node 1, but where may they run?"


def test_swapped_memory_is_said(tool: Runner, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "t", {7: {"numa_maps": ONE_PAGE, "status": "VmSwap:\t8 kB\n"}})
    said = [line for line in loaded(tool, tree)["assumptions"] if "proc/7/status: 8 KiB are swapped out" in line]
    assert len(said) == 1


LOCKED_MAPS = """00010000-00012000 rw-p 00000000 00:00 0
00020000-00024000 rw-p 00000000 00:00 0
00030000-00031000 rw-p 00000000 00:00 0
"""


@pytest.mark.parametrize(
    ("locked_kib", "marked", "placed", "said"),
    [
        (8, {0}, {0}, ""),
        (24, {0, 1}, {0, 1}, ""),
        (28, {0, 1}, {0, 1}, "28 KiB are locked, smaps marks 24 KiB: the rest is not taken as locked"),
        (16, {0, 1}, set(), "16 KiB are locked, but smaps marks 24 KiB: none is taken as locked"),
        (8, set(), set(), "8 KiB are locked, not told where: none is taken as locked"),
    ],
)
def test_locked_memory_is_placed_where_smaps_marks_it(
    tool: Runner, tmp_path: Path, locked_kib: int, marked: set[int], placed: set[int], said: str
) -> None:
    """The areas have 8, 16 and 4 KiB."""
    lines = LOCKED_MAPS.splitlines()
    smaps = "".join(f"{line}\nSize: 4 kB\nVmFlags: rd wr{' lo' * (k in marked)}\n" for k, line in enumerate(lines))
    numa_maps = "".join(f"{line.partition('-')[0]} default anon=1 dirty=1 N0=1\n" for line in lines)
    files = {"numa_maps": numa_maps, "maps": LOCKED_MAPS, "smaps": smaps, "status": f"VmLck:\t{locked_kib} kB\n"}
    notes = loaded(tool, make_tree(tmp_path / "t", {7: files}))["assumptions"]
    flags = [area["flags"] for area in done(tool("show", "vmas", 7, "--json"))["vmas"]]
    assert {k for k, words in enumerate(flags) if "locked" in words} == placed
    assert [line.partition("proc/7/status: ")[2] for line in notes if "KiB are locked" in line] == [said] * bool(said)
    moved = done(tool("migrate-pages", 7, 0, 1, "--json"))["moved"]
    assert moved == 3 - len(placed), "V9 leaves locked areas alone"


def test_malformed_smaps(tool: Runner, tmp_path: Path) -> None:
    files = {"numa_maps": ONE_PAGE, "maps": LOCKED_MAPS, "smaps": "Size: 4 kB\n", "status": "VmLck:\t8 kB\n"}
    assert "proc/7/smaps: line 1:" in refused(tool, "import", make_tree(tmp_path / "t", {7: files}))


def test_process_that_changes_while_it_is_read(tool: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its area shrinks between the reading of numa_maps and of maps: both are read again, and fit."""
    files = {
        "numa_maps": "00010000 default anon=1 dirty=1 N1=1\n",
        "maps": "00010000-00011000 rw-p 00000000 00:00 0\n",
    }
    tree, earlier = make_tree(tmp_path / "t", {7: files}), ["00010000 default anon=2 dirty=2 N1=2\n"]
    read = DirectoryTree.read

    def moving(self: DirectoryTree, name: str) -> str | None:
        return earlier.pop() if name.endswith("numa_maps") and earlier else read(self, name)

    monkeypatch.setattr(DirectoryTree, "read", moving)
    assert loaded(tool, tree)["tasks"][0]["pages"] == 1
    assert not earlier


def test_process_that_never_stands_still(tool: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left out and that is said; where it was asked for by name, that is refused."""
    files = {"numa_maps": ONE_PAGE, "maps": "00010000-00011000 rw-p 00000000 00:00 0\n"}
    tree, turns = make_tree(tmp_path / "t", {7: files, 8: {"numa_maps": ONE_PAGE}}), [1]
    read = DirectoryTree.read

    def moving(self: DirectoryTree, name: str) -> str | None:
        if name != "proc/7/numa_maps":
            return read(self, name)
        turns[0] += 1
        return f"00010000 default anon={turns[0]} dirty={turns[0]} N1={turns[0]}\n"

    monkeypatch.setattr(DirectoryTree, "read", moving)
    document = loaded(tool, tree)
    assert [row["pid"] for row in document["tasks"]] == [8]
    said = [line for line in document["assumptions"] if "proc/7: changed at each of 5 readings: the task is" in line]
    assert len(said) == 1
    assert "proc/7: changed at each of 5 readings" in refused(tool, "import", tree, "--pid", 7, "--force")


def test_text_without_a_last_newline_is_said(tool: Runner, tmp_path: Path) -> None:
    """The kernel ends every line; a copy that was cut off looks like this."""
    document = loaded(tool, make_tree(tmp_path / "t", {7: {"numa_maps": ONE_PAGE.rstrip()}}))
    said = [line for line in document["assumptions"] if "no newline behind the last line: taken as whole" in line]
    assert len(said) == 1


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("numa_maps", ONE_PAGE + "00010000 default anon=2 dirty=2 N1=2\n", "line 2: the same address as line 1"),
        ("numa_maps", ONE_PAGE * 2, "line 2: the address 00010000 stands there twice"),
        ("numa_maps", "00020000 default\n00010000 default\n", "line 2: its address is below"),
        ("numa_maps", "00010000 default anon=9 dirty=9 N0=9\n00012000 default\n", "line 2: it lies among the pages"),
        ("numa_maps", ONE_PAGE + "00020000 default anon=-1 dirty=1 N0=1\n", "line 2: 'anon=-1' has no number"),
        ("numa_maps", ONE_PAGE + "00020000 default mapped=3 N0=1 N1=1\n", "line 2: mapped=3, but the counts"),
        ("numa_maps", ONE_PAGE + "00020000 default anon=3 N0=1 N1=1\n", "line 2: anon=3, but the counts"),
        (
            "numa_maps",
            ONE_PAGE + "00020000 default anon=1 dirty=1 N7=1\n",
            "line 2: 1 pages on node 7, which is no node",
        ),
        (
            "numa_maps",
            ONE_PAGE + "00020000 default anon=1 dirty=1 N1024=1\n",
            "line 2: 'N1024=1': node ids end at 1023",
        ),
        ("numa_maps", ONE_PAGE + "00020000 default dirty=1 N0=" + "9" * 15 + "\n", "line 2: "),
        ("numa_maps", ONE_PAGE + "00020000 default dirty=1 N0=" + "9" * 99 + "\n", "line 2: 'N0=9999"),
        ("numa_maps", ONE_PAGE + "00020000 default file=/a\0b\n", "line 2: it has a NUL byte"),
        ("numa_maps", ONE_PAGE + "000200", "line 2: '' is no policy"),
        ("numa_maps", ONE_PAGE + "00020000 default anon=1 dir", "line 2: 'dir' is no word"),
        ("numa_maps", "00010001 default\n", "line 1: the address 00010001 is no multiple of the page size"),
        ("maps", "00010000-00012000 rw-p 00000000 00:00 0\n00011000-00013000 rw-p 00000000 00:00 0\n", "line 2: "),
        ("maps", "00010000-00012000 rw-p 00000000 00:00 0 /a\0\n", "line 1: "),
        ("maps", "00010000-00012000 rw-p 00000000 00:0", "line 1: "),
        ("status", "VmSwap:\tmuch\n", "line 1: VmSwap"),
        ("status", "Mems_allowed:\tx\n", "line 1: Mems_allowed"),
        ("stat", "7 (x) S 0 0\n8 (y) S 0\n0", "line 1: "),
    ],
)
def test_nothing_is_written_of_a_malformed_tree(
    tool: Runner, tmp_path: Path, state: Path, name: str, text: str, said: str
) -> None:
    """File, line and cause; a good task before it leaves nothing behind either."""
    tasks = {6: {"numa_maps": ONE_PAGE}, 7: {"numa_maps": ONE_PAGE, name: text}}
    assert f"proc/7/{name}: {said}" in refused(tool, "import", make_tree(tmp_path / "t", tasks))
    assert not state.exists()


def test_locked_memory_is_said(tool: Runner, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "t", {7: {"numa_maps": ONE_PAGE, "status": "VmLck:\t8 kB\n"}})
    assert [line for line in loaded(tool, tree)["assumptions"] if "8 KiB are locked, not told where" in line]


def test_a_policy_of_shared_memory_comes_to_its_object(machine: Runner, tmp_path: Path) -> None:
    """Also with one task's numa_maps: another task that maps the segment faults by it (semantics.md 6.1)."""
    text = tmp_path / "numa_maps"
    text.write_text("20000000 bind=1 file=/dev/shm/seg dirty=2 N1=2\n")
    assert machine("import-numa-maps", "--pid", 9, text).code == 0
    assert machine("mmap", 100, "4p", "--shm", "seg", "--label", "seg").code == 0
    assert machine("fault", 100, "seg+1p", "--write").code == 0
    area = machine("show", "pages", 100, "seg+1p", "--json").document["vmas"][0]
    assert [row["node"] for row in area["pages"]] == [1]
    found = machine("get-mempolicy", 100, area["addr"], "--json").document
    assert (found["mode"], found["nodes"]) == ("bind", "1")
