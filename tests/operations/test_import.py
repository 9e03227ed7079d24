"""import and import-numa-maps, through the command line: made-up trees, real ones, refused ones."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migratectl.linux.numa_maps import format_numa_maps, parse_numa_maps
from migratectl.runs import Run, make_run
from migratectl.storage.imports import Cache, Piece, common_pages
from tests.conftest import SHARED_DATA, Outcome, Runner

KIB_A_PAGE = 4
NUMA_MAPS = SHARED_DATA / "numa_maps"
TOPOLOGIES = SHARED_DATA / "topologies"


def make_tree(
    root: Path, tasks: dict[int, dict[str, str]] | None = None, *, nodes: int = 2, total: int = 1000, free: int = 900
) -> Path:
    """A tree of *nodes* nodes of *total* pages, *free* of them free, two CPUs each; files of tasks by name."""
    for nid in range(nodes):
        put(
            root,
            f"sys/devices/system/node/node{nid}",
            {
                "meminfo": f"Node {nid} MemTotal: {total * KIB_A_PAGE} kB\n"
                f"Node {nid} MemFree: {free * KIB_A_PAGE} kB\n",
                "cpulist": f"{2 * nid}-{2 * nid + 1}\n",
                "distance": " ".join("10" if nid == other else "20" for other in range(nodes)) + "\n",
            },
        )
    put(root, "proc", {"meminfo": "SwapTotal: 400 kB\n"})
    for pid, files in (tasks or {}).items():
        put(root, f"proc/{pid}", files)
    return root


def put(root: Path, folder: str, files: dict[str, str]) -> None:
    (root / folder).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / folder / name).write_text(text)


def done(outcome: Outcome) -> Any:
    assert outcome.code == 0, outcome.err
    return outcome.document


def loaded(tool: Runner, tree: Path, *words: object) -> Any:
    """The document of an import that was done, whose state passes every check."""
    document = done(tool("import", tree, "--json", *words))
    assert done(tool("check", "--json"))["violations"] == []
    return document


def refused(tool: Runner, *words: object) -> str:
    """What a refused call says; exit code 2 and nothing on standard output."""
    outcome = tool(*words)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.count("\n") == 1
    return outcome.err


def free(tool: Runner) -> list[int]:
    return [node["free"] for node in done(tool("node", "list", "--json"))["nodes"]]


def text_of(tool: Runner, pid: int) -> str:
    outcome = tool("numa-maps", pid)
    assert outcome.code == 0, outcome.err
    return outcome.out


def where(tool: Runner, pid: int) -> dict[int, int | None]:
    """Node of each present page of a task, by page number."""
    areas = done(tool("show", "pages", pid, "--json"))["vmas"]
    return {
        int(row["addr"], 16) // 4096 + k: row["node"]
        for area in areas
        for row in area["pages"]
        for k in range(row["pages"])
        if row["state"] == "present"
    }


# ---- the machine


def test_machine_of_a_tree(tool: Runner, tmp_path: Path) -> None:
    """1000 pages a node, 900 free: 100 are in use by others. 400 KiB of swap are 100 slots."""
    document = loaded(tool, make_tree(tmp_path / "t"))
    assert [(n["pages"], n["free"], n["other"], n["cpus"], n["distance"]) for n in document["nodes"]] == [
        (1000, 900, 100, "0-1", [10, 20]),
        (1000, 900, 100, "2-3", [20, 10]),
    ]
    assert (document["command"], document["tasks"]) == ("import", [])
    assert [line for line in document["assumptions"] if "page size not told: 4 KiB" in line]
    assert tool("swap", "on", "more", "1p").code == 0
    assert "swap0" in tool("swap", "on", "swap0", "1p").err


def test_empty_frees_what_others_use(tool: Runner, tmp_path: Path) -> None:
    loaded(tool, make_tree(tmp_path / "t"), "--empty")
    assert free(tool) == [1000, 1000]


def test_counters_of_the_tree(tool: Runner, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "t")
    put(tree, "sys/devices/system/node/node1", {"numastat": "numa_hit 70\nnuma_miss 6\nother_node 5\n"})
    first, second = loaded(tool, tree)["nodes"]
    assert set(first["numastat"].values()) == {0}
    assert {name: nr for name, nr in second["numastat"].items() if nr} == {
        "numa_hit": 70, "numa_miss": 6, "other_node": 5
    }  # fmt: skip


def test_malformed_counters_are_refused(tool: Runner, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "t")
    put(tree, "sys/devices/system/node/node1", {"numastat": "numa_hit 70\nnuma_miss many\n"})
    assert "node1/numastat: line 2:" in refused(tool, "import", tree)


def test_page_size_by_option(tool: Runner, tmp_path: Path) -> None:
    """4000 KiB are 250 pages of 16 KiB, 3600 KiB of them free are 225."""
    document = loaded(tool, make_tree(tmp_path / "t"), "--page-size", "16K")
    assert [(node["pages"], node["free"]) for node in document["nodes"]] == [(250, 225)] * 2


@pytest.mark.parametrize(("swap", "slots"), [("default", 100), ("none", 0), ("7p", 7)])
def test_swap_by_option(tool: Runner, tmp_path: Path, swap: str, slots: int) -> None:
    """One page a slot goes to the swap cache; the others of the 200 find none."""
    text = "00010000 default anon=200 dirty=200 swapcache=200 N0=200\n"
    words = () if swap == "default" else ("--swap", swap)
    document = loaded(tool, make_tree(tmp_path / "t", {7: {"numa_maps": text}}), *words)
    shown = f" swapcache={slots}" if slots else ""
    assert text_of(tool, 7) == f"00010000 default anon=200 dirty=200{shown} N0=200\n"
    said = [line for line in document["assumptions"] if "no free swap slot" in line]
    assert [f"{200 - slots} pages of the swap cache" in line for line in said] == [True]


def test_tree_without_swap_total(tool: Runner, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "t")
    (tree / "proc/meminfo").unlink()
    said = loaded(tool, tree)["assumptions"]
    assert [line for line in said if "no SwapTotal: swap as 'init' makes it: 1 GiB" in line]


def test_archive(tool: Runner, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "t", {7: {"numa_maps": "00010000 default anon=1 dirty=1 N1=1\n"}})
    with tarfile.open(tmp_path / "box.tar.gz", "w:gz") as archive:
        archive.add(tree, "box")
    assert loaded(tool, tmp_path / "box.tar.gz")["tasks"][0]["nodes"] == {"1": 1}


# ---- memory


def test_memory_of_tasks_is_part_of_what_was_in_use(tool: Runner, tmp_path: Path) -> None:
    """100 pages were in use on each node; the task holds 30 on node 0, so others keep 70, and MemFree stays."""
    text = "00010000 default anon=30 dirty=30 N0=30\n"
    first, second = loaded(tool, make_tree(tmp_path / "t", {7: {"numa_maps": text}}))["nodes"]
    assert (first["used"], first["other"], first["free"]) == (30, 70, 900)
    assert (second["used"], second["other"], second["free"]) == (0, 100, 900)


def test_tasks_that_hold_more_than_was_in_use(tool: Runner, tmp_path: Path) -> None:
    """130 of 100: nothing is left for others, 30 come from the free pages, and that is said."""
    text = "00010000 default anon=130 dirty=130 N0=130\n"
    document = loaded(tool, make_tree(tmp_path / "t", {7: {"numa_maps": text}}))
    first = document["nodes"][0]
    assert (first["used"], first["other"], first["free"]) == (130, 0, 870)
    assert [line for line in document["assumptions"] if "100 pages in use, but the tasks hold 130" in line]


def test_more_than_a_node_has(tool: Runner, tmp_path: Path, state: Path) -> None:
    """1000 pages fit, of which the first line takes 600; no state file is left behind by the refusal."""
    text = "00010000 default anon=600 dirty=600 N0=600\n01000000 default anon=500 dirty=500 N0=500\n"
    tree = make_tree(tmp_path / "t", {7: {"numa_maps": text}})
    said = refused(tool, "import", tree)
    assert "proc/7/numa_maps: line 2: 500 pages on node 0, which has room for 400 more; give --clip" in said
    assert not state.exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    document = loaded(tool, tree, "--clip")
    assert text_of(tool, 7).splitlines()[1] == "01000000 default anon=400 dirty=400 N0=400"
    assert [line for line in document["assumptions"] if "100 pages on node 0 left out" in line]
    assert free(tool) == [0, 900]


@pytest.mark.parametrize(
    ("line", "said", "left"),
    [
        (
            "00010000 default anon=3 dirty=3 N0=1 N5=2",
            "2 pages on node 5, which is no node of this machine",
            "00010000 default anon=1 dirty=1 N0=1",
        ),
        (
            "00010000 bind=0,5 anon=1 dirty=1 N0=1",
            "a policy with node 5, which is no node of this machine",
            "00010000 bind=0 anon=1 dirty=1 N0=1",
        ),
        (
            "00010000 bind=5 anon=1 dirty=1 N0=1",
            "a policy with node 5, which is no node of this machine",
            "00010000 default anon=1 dirty=1 N0=1",
        ),
    ],
)
def test_unknown_node(tool: Runner, tmp_path: Path, line: str, said: str, left: str) -> None:
    tree = make_tree(tmp_path / "t", {7: {"numa_maps": f"{line}\n"}})
    assert f"proc/7/numa_maps: line 1: {said}; give --clip to leave" in refused(tool, "import", tree)
    loaded(tool, tree, "--clip")
    assert text_of(tool, 7) == f"{left}\n"


def test_failed_import_keeps_the_old_state(tool: Runner, tmp_path: Path) -> None:
    done(tool("init", "--nodes", 3, "--json"))
    before = tool("state", "hash").out
    tree = make_tree(tmp_path / "t", {7: {"numa_maps": "00010000 default anon=1 N7=1\n"}})
    refused(tool, "import", tree, "--force")
    assert tool("state", "hash").out == before


def test_dry_run_makes_no_file(tool: Runner, tmp_path: Path, state: Path) -> None:
    assert done(tool("import", make_tree(tmp_path / "t"), "-n", "--json"))["dry_run"] is True
    assert not state.exists()


# ---- tasks


STATUS = "Name:\tmy db\nState:\tS (sleeping)\nUid:\t1\t42\t42\t42\nCapEff:\t0000000000800000\nMems_allowed_list:\t1\n"
ONE_PAGE = "00010000 default anon=1 dirty=1 N1=1\n"


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


def test_pid_chooses(tool: Runner, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "t", {pid: {"numa_maps": ONE_PAGE} for pid in (7, 8, 9)})
    assert [row["pid"] for row in loaded(tool, tree, "--pid", 9, "--pid", 7)["tasks"]] == [7, 9]
    assert "proc/10/numa_maps: missing" in refused(tool, "import", tree, "--pid", 10, "--force")


def test_tasks_only(tool: Runner, tmp_path: Path) -> None:
    """The machine at hand stays, with 4 pages a node; its memory has to do."""
    done(tool("init", "--nodes", 2, "--memory", "4p", "--json"))
    tree = make_tree(tmp_path / "t", {7: {"numa_maps": ONE_PAGE}})
    document = loaded(tool, tree, "--tasks-only")
    assert [(node["pages"], node["free"]) for node in document["nodes"]] == [(4, 4), (4, 3)]
    again = tool("import", tree, "--tasks-only")
    assert again.code == 1
    assert "pid 7: EEXIST" in again.err
    put(tree, "proc/8", {"numa_maps": "00010000 default anon=4 dirty=4 N1=4\n"})
    assert "which has room for 3 more" in refused(tool, "import", tree, "--tasks-only", "--pid", 8)


@pytest.mark.parametrize("words", [("--empty",), ("--swap", "1G"), ("--profile", "v9"), ("--force",)])
def test_tasks_only_refuses_words_about_the_machine(tool: Runner, tmp_path: Path, words: tuple[str, ...]) -> None:
    """They contradict each other on the command line: exit 2."""
    done(tool("init", "--json"))
    outcome = tool("import", make_tree(tmp_path / "t"), "--tasks-only", *words)
    assert outcome.code == 2
    assert f"leave out {words[0]}" in outcome.err


def test_tasks_only_refuses_another_page_size(tool: Runner, tmp_path: Path) -> None:
    """It contradicts the state, which has pages of 4 KiB."""
    done(tool("init", "--json"))
    outcome = tool("import", make_tree(tmp_path / "t"), "--tasks-only", "--page-size", "16K")
    assert outcome.code == 1
    assert "--page-size: EINVAL" in outcome.err


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


def test_locked_memory_is_said(tool: Runner, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "t", {7: {"numa_maps": ONE_PAGE, "status": "VmLck:\t8 kB\n"}})
    assert [line for line in loaded(tool, tree)["assumptions"] if "8 KiB are locked, not told where" in line]


def test_equal_assumptions_are_one_line(tool: Runner, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "t", {pid: {"numa_maps": ONE_PAGE} for pid in (7, 8, 9)})
    said = [line for line in loaded(tool, tree)["assumptions"] if "which page lies where" in line]
    assert [line.startswith(f"{tree}/proc/7/numa_maps and 2 more: ") for line in said] == [True]


# ---- areas and pages


def test_assumptions_go_to_standard_error(tool: Runner, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "t", {7: {"numa_maps": ONE_PAGE}})
    outcome = tool("import", tree)
    assert outcome.code == 0
    assert "which page lies where is not told" in outcome.err
    assert tool("import", tree, "--force", "-q").err == ""


MAPS = """00400000-00410000 r-xp 00002000 08:01 77 /bin/x
00600000-00604000 rw-p 00010000 08:01 77 /bin/x
00a00000-00a80000 rw-p 00000000 00:00 0 [heap]
7f0000000000-7f0000010000 rw-s 00000000 00:05 9 /dev/zero (deleted)
7ffff0000000-7ffff0021000 rw-p 00000000 00:00 0 [stack]
7ffff0030000-7ffff0034000 r--p 00000000 00:00 0 [vvar]
"""
NUMA_MAPS_OF_IT = """00400000 default file=/bin/x mapped=3 mapmax=4 N0=1 N1=2
00600000 default file=/bin/x anon=2 dirty=2 mapped=3 N0=3
00a00000 default heap anon=5 dirty=4 active=3 N1=5
7f0000000000 interleave=0-1 file=/dev/zero\\040(deleted) dirty=4 N0=2 N1=2
7ffff0000000 default stack anon=1 dirty=1 N0=1
7ffff0030000 default
"""


def test_areas_of_a_process(tool: Runner, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "t", {7: {"numa_maps": NUMA_MAPS_OF_IT, "maps": MAPS}})
    (row,) = loaded(tool, tree)["tasks"]
    assert text_of(tool, 7) == NUMA_MAPS_OF_IT
    assert (row["vmas"], row["pages"], row["nodes"]) == (6, 16, {"0": 7, "1": 9})
    areas = done(tool("show", "vmas", 7, "--json"))["vmas"]
    told = [line.split()[0].split("-") for line in MAPS.splitlines()]
    assert [(int(area["addr"], 16), int(area["end"], 16)) for area in areas] == [
        (int(start, 16), int(end, 16)) for start, end in told
    ]
    assert [area["kind"] for area in areas] == ["file", "file", "anon", "shm", "anon", "anon"]
    assert [area["label"] for area in areas] == [None, None, "heap", None, "stack", None]
    assert [set(area["flags"]) & {"write", "shared", "pfnmap"} for area in areas] == [
        set(), {"write"}, {"write"}, {"write", "shared"}, {"write"}, {"pfnmap"}
    ]  # fmt: skip


def test_bits_of_pages(tool: Runner, tmp_path: Path) -> None:
    """
    Anonymous pages of a writable area can be written, file pages of a private one cannot; a page that another
    process maps too is write-protected, and so is one in the swap cache.
    """
    text = (
        "00400000 default file=/bin/x mapped=1 N0=1\n"
        "00600000 default file=/bin/x anon=1 dirty=1 N0=1\n"
        "00700000 default anon=1 dirty=1 mapmax=2 N0=1\n"
        "00800000 default anon=1 dirty=1 swapcache=1 N0=1\n"
        "00900000 default file=/dev/shm/a dirty=1 N0=1\n"
    )
    loaded(tool, make_tree(tmp_path / "t", {7: {"numa_maps": text}}))
    assert text_of(tool, 7) == text
    flags = [area["pages"][0]["flags"] for area in done(tool("show", "pages", 7, "--json"))["vmas"]]
    assert ["writable" in words for words in flags] == [False, True, False, False, True]
    assert ["dirty" in words for words in flags] == [False, True, True, True, True]
    assert ["uptodate" in words for words in flags] == [True, False, False, True, True]
    assert ["swapcache" in words for words in flags] == [False, False, False, True, False]


def test_tasks_that_map_one_file(tool: Runner, tmp_path: Path) -> None:
    """
    Three pages mapped by both: they are there once. Each text says two mappers, and two ptes there are; a third
    process that only mapmax knows stays outside.
    """
    text = "00400000 default file=/lib/x mapped=3 mapmax={} N0=1 N1=2\n"
    tasks = {pid: {"numa_maps": text.format(3)} for pid in (7, 8)}
    nodes = loaded(tool, make_tree(tmp_path / "t", tasks))["nodes"]
    assert [node["used"] for node in nodes] == [1, 2]
    assert [text_of(tool, pid) for pid in (7, 8)] == [text.format(3)] * 2
    tool("task", "exit", 8)
    assert text_of(tool, 7) == text.format(2), "one pte and the one outside"


def test_part_of_a_file_at_another_offset(tool: Runner, tmp_path: Path) -> None:
    """Task 7 has pages 0-7 of the file, task 8 pages 4-11: four are common, and keep the node that 7 tells."""
    tasks = {
        7: {
            "numa_maps": "00400000 default file=/f mapped=8 N0=8\n",
            "maps": "00400000-00408000 r--p 00000000 08:01 5 /f\n",
        },
        8: {
            "numa_maps": "00500000 default file=/f mapped=8 N1=8\n",
            "maps": "00500000-00508000 r--p 00004000 08:01 5 /f\n",
        },
    }
    document = loaded(tool, make_tree(tmp_path / "t", tasks))
    assert [node["used"] for node in document["nodes"]] == [8, 4]
    assert where(tool, 8) == {0x500 + k: 0 if k < 4 else 1 for k in range(8)}
    assert [line for line in document["assumptions"] if "proc/8/numa_maps: 4 pages of files that were there" in line]
    assert text_of(tool, 8) == "00500000 default file=/f mapped=8 mapmax=2 N0=4 N1=4\n"


def test_strided_pages_meet_dense_ones(tool: Runner, tmp_path: Path) -> None:
    """
    Task 7 has pages 0-11 of a segment interleaved over two nodes, task 8 pages 3-8 as its own text has them, task 9
    pages 0-15 over three nodes. Whoever came first decides: even pages on node 0, odd on node 1, up to page 11.
    """

    def files(pages: int, offset: int, policy: str, counts: str) -> dict[str, str]:
        return {
            "numa_maps": f"00400000 {policy} file=/dev/shm/s dirty={pages} {counts}\n",
            "maps": f"00400000-{0x400000 + pages * 4096:08x} rw-s {offset * 4096:08x} 00:01 5 /dev/shm/s\n",
        }

    tasks = {
        7: files(12, 0, "interleave=0-1", "N0=6 N1=6"),
        8: files(6, 3, "default", "N2=6"),
        9: files(15, 0, "interleave=0-2", "N0=5 N1=5 N2=5"),
    }
    document = loaded(tool, make_tree(tmp_path / "t", tasks, nodes=3))
    assert where(tool, 7) == {0x400 + k: k % 2 for k in range(12)}
    assert where(tool, 8) == {0x400 + k: (3 + k) % 2 for k in range(6)}
    assert where(tool, 9) == {0x400 + k: k % 2 if k < 12 else k % 3 for k in range(15)}
    assert [node["used"] for node in document["nodes"]] == [6 + 1, 6 + 1, 1]


def test_pages_that_the_state_has_already(tool: Runner, tmp_path: Path) -> None:
    """The second import finds the file's pages in the state and cuts them there: pages 2-5 of 0-7."""
    first = {
        "numa_maps": "00400000 default file=/f mapped=8 mapmax=2 N0=8\n",
        "maps": "00400000-00408000 r--p 00000000 08:01 5 /f\n",
    }
    second = {
        "numa_maps": "00500000 default file=/f mapped=4 mapmax=2 N0=4\n",
        "maps": "00500000-00504000 r--p 00002000 08:01 5 /f\n",
    }
    tree = make_tree(tmp_path / "t", {7: first, 8: second})
    loaded(tool, tree, "--pid", 7)
    document = loaded(tool, tree, "--pid", 8, "--tasks-only")
    assert document["nodes"][0]["used"] == 8
    assert [text_of(tool, pid) for pid in (7, 8)] == [first["numa_maps"], second["numa_maps"]]


def test_strided_pages_that_the_state_has_already(tool: Runner, tmp_path: Path) -> None:
    def files(policy: str, counts: str, pages: int) -> dict[str, str]:
        return {
            "numa_maps": f"00400000 {policy} file=/dev/shm/s dirty={pages} {counts}\n",
            "maps": f"00400000-{0x400000 + pages * 4096:08x} rw-s 00000000 00:01 5 /dev/shm/s\n",
        }

    tasks = {7: files("default", "N0=9", 9), 8: files("interleave=0-1", "N0=6 N1=6", 12)}
    tree = make_tree(tmp_path / "t", tasks)
    loaded(tool, tree, "--pid", 7)
    loaded(tool, tree, "--pid", 8, "--tasks-only")
    assert where(tool, 8) == {0x400 + k: 0 if k < 9 else k % 2 for k in range(12)}
    assert where(tool, 7) == {0x400 + k: 0 for k in range(9)}


def test_nameless_objects_are_not_shared(tool: Runner, tmp_path: Path) -> None:
    """Without maps nothing says that two /dev/zero are one; with the same inode number they are."""
    text = "00400000 default file=/dev/zero\\040(deleted) dirty=2 N0=2\n"
    maps = "00400000-00402000 rw-s 00000000 00:01 5 /dev/zero (deleted)\n"
    alone = {pid: {"numa_maps": text} for pid in (7, 8)}
    assert loaded(tool, make_tree(tmp_path / "a", alone))["nodes"][0]["used"] == 4
    told = {pid: {"numa_maps": text, "maps": maps} for pid in (7, 8)}
    assert loaded(tool, make_tree(tmp_path / "b", told), "--force")["nodes"][0]["used"] == 2


def test_deleted_file_with_and_without_inode_number(tool: Runner, tmp_path: Path) -> None:
    """Only the first task tells the number: the second, which knows the name, maps the same two pages."""
    text = "00400000 default file=/t/x\\040(deleted) dirty=2 N0=2\n"
    maps = "00400000-00402000 rw-s 00000000 00:01 5 /t/x (deleted)\n"
    tasks = {7: {"numa_maps": text, "maps": maps}, 8: {"numa_maps": text}}
    assert loaded(tool, make_tree(tmp_path / "t", tasks))["nodes"][0]["used"] == 2


def test_writeback_ends_at_a_wait(tool: Runner, tmp_path: Path) -> None:
    """The hold is the task's and lasts until pass 1; it goes with the task, and pages of files then stay."""
    text = "00400000 default file=/f dirty=2 writeback=2 N0=2\n"
    loaded(tool, make_tree(tmp_path / "t", {7: {"numa_maps": text}, 8: {"numa_maps": text}}))
    assert text_of(tool, 7) == "00400000 default file=/f dirty=2 mapmax=2 writeback=2 N0=2\n"
    tool("task", "exit", 7)
    assert text_of(tool, 8) == "00400000 default file=/f dirty=2 N0=2\n"
    assert done(tool("check", "--json"))["ok"]


def test_writeback_outside_of_the_swap_cache(tool: Runner, tmp_path: Path) -> None:
    """Without a slot an anonymous page cannot be written (INV-15): both properties are left out and said."""
    text = "00400000 default anon=2 dirty=2 swapcache=2 writeback=2 N0=2\n"
    document = loaded(tool, make_tree(tmp_path / "t", {7: {"numa_maps": text}}), "--swap", "1p")
    assert text_of(tool, 7) == "00400000 default anon=2 dirty=2 swapcache=1 writeback=1 N0=2\n"
    said = [line for line in document["assumptions"] if "1 pages outside of the swap cache cannot be under" in line]
    assert len(said) == 1


def test_pages_of_no_file(tool: Runner, tmp_path: Path) -> None:
    """The page of the vdso is neither anonymous nor of a file; it never moves."""
    text = "7fff00000000 default mapped=1 mapmax=35 active=0 N0=1\n"
    loaded(tool, make_tree(tmp_path / "t", {7: {"numa_maps": text}}))
    assert text_of(tool, 7) == text
    document = done(tool("migrate-pages", 7, 0, 1, "--json"))
    assert (document["moved"], document["failed"], document["skipped"]) == (0, 0, 1)


def test_huge_pages(tool: Runner, tmp_path: Path) -> None:
    """Two huge pages are 1024 base pages; clipped, only a whole one is left of 1000 free pages."""
    text = "40000000 default file=/h huge dirty=2 N0=2 kernelpagesize_kB=2048\n"
    tree = make_tree(tmp_path / "t", {7: {"numa_maps": text}})
    assert "1024 pages on node 0, which has room for 1000" in refused(tool, "import", tree, "--profile", "modern")
    loaded(tool, tree, "--profile", "modern", "--clip")
    assert text_of(tool, 7) == "40000000 default file=/h huge dirty=1 N0=1 kernelpagesize_kB=2048\n"


def test_imported_anonymous_memory_moves(tool: Runner, tmp_path: Path) -> None:
    text = "00400000 default heap anon=40 dirty=40 N0=40\n"
    loaded(tool, make_tree(tmp_path / "t", {7: {"numa_maps": text}}))
    document = done(tool("migrate-pages", 7, 0, 1, "--json"))
    assert (document["moved"], document["failed"]) == (40, 0)
    assert set(where(tool, 7).values()) == {1}
    assert done(tool("fault", 7, "heap", "--write", "--json"))["nodes"] == [{"node": 1, "pages": 40}]
    assert done(tool("check", "--json"))["ok"]


def test_import_is_the_same_every_time(tool: Runner, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "t", {7: {"numa_maps": NUMA_MAPS_OF_IT, "maps": MAPS}, 8: {"numa_maps": ONE_PAGE}})
    seen = set()
    for _ in range(2):
        document = loaded(tool, tree, "--force")
        seen.add((str(document), tool("state", "hash").out))
    assert len(seen) == 1


# ---- import-numa-maps


def test_import_numa_maps(tool: Runner, tmp_path: Path) -> None:
    done(tool("init", "--nodes", 2, "--memory", "100p", "--cpus", 2, "--json"))
    file = tmp_path / "text"
    file.write_text("00010000 default heap anon=3 dirty=3 N0=1 N1=2\n00020000 default\n")
    document = done(tool("import-numa-maps", file, "--pid", 7, "--name", "db", "--json"))
    assert {key: document[key] for key in ("pid", "name", "uid", "cpu", "node", "cpuset")} == {
        "pid": 7, "name": "db", "uid": 0, "cpu": 2, "node": 1, "cpuset": "/"
    }  # fmt: skip
    assert (document["vmas"], document["pages"], document["nodes"]) == (2, 3, {"0": 1, "1": 2})
    assert [line for line in document["assumptions"] if "no maps: 2 areas taken to end" in line]
    assert free(tool) == [99, 98]
    assert done(tool("import-numa-maps", file, "--pid", 8, "--node", 0, "--json"))["cpu"] == 0
    assert done(tool("check", "--json"))["ok"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--pid", 7), 1, "pid 7: EEXIST"),
        (("--pid", 8, "--cpuset", "lo"), 1, "pid 8: ENOENT"),
        (("--pid", 8, "--node", 5), 1, "pid 8: EINVAL"),
    ],
)
def test_import_numa_maps_refused(
    tool: Runner, tmp_path: Path, words: tuple[object, ...], code: int, said: str
) -> None:
    done(tool("init", "--nodes", 2, "--json"))
    done(tool("task", "create", "--pid", 7, "--json"))
    before = tool("state", "hash").out
    file = tmp_path / "text"
    file.write_text(ONE_PAGE)
    outcome = tool("import-numa-maps", file, *words)
    assert outcome.code == code
    assert said in outcome.err
    assert tool("state", "hash").out == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no line"),
        ("00010000 default N0=1\n00020000 default pages=1\n", "line 2: 'pages=1' is of the format before 2.6.16"),
        ("00010000 default anon=1 N3=1\n", "line 1: 1 pages on node 3, which is no node"),
        ("00010000 default anon=200 N1=200\n", "line 1: 200 pages on node 1, which has room for 100 more"),
        ("00010000 default anon=1 N0=1 kernelpagesize_kB=64\n", "line 1: its pages have 64 KiB"),
    ],
)
def test_numa_maps_refused(tool: Runner, tmp_path: Path, text: str, said: str) -> None:
    done(tool("init", "--nodes", 2, "--memory", "100p", "--json"))
    before = tool("state", "hash").out
    file = tmp_path / "text"
    file.write_text(text)
    assert f"{file}: {said}" in refused(tool, "import-numa-maps", file, "--pid", 7)
    assert tool("state", "hash").out == before


# ---- sets of pages

runs = st.builds(make_run, st.integers(0, 60), st.integers(1, 9), st.integers(1, 20))


def members(found: Iterable[Run]) -> set[int]:
    return {page for run in found for page in range(run.start, run.last + 1, run.step)}


@given(runs, runs)
def test_common_pages(a: Run, b: Run) -> None:
    common = common_pages(a, b)
    assert members([common] if common else []) == members([a]) & members([b])


@given(st.lists(runs, min_size=1, max_size=6))
def test_claims(wanted: list[Run]) -> None:
    """Each claim names the pages that an earlier one took, in pieces without others, and the pages that nobody has."""
    cache = Cache(None, 1)  # type: ignore[arg-type]  # only pages that the state had before are cut by statements
    taken: set[int] = set()
    for run in wanted:
        had, fresh = cache.claim(run)
        assert members(piece.run for piece in had) == members([run]) & taken
        assert members(fresh) == members([run]) - taken
        assert sum(part.nr_pages for part in fresh) == len(members(fresh))
        for part in fresh:
            cache.add(Piece(part, 0, 0, 0))
        taken |= members([run])
        assert members(piece.run for piece in cache.pieces) == taken
        assert sum(piece.run.nr_pages for piece in cache.pieces) == len(taken)
        assert all(piece.run.nr_pages > 1 or piece.run.step == 1 for piece in cache.pieces)


# ---- real machines and processes


def trees() -> list[Path]:
    known = sorted(TOPOLOGIES.iterdir()) if TOPOLOGIES.is_dir() else []
    return [path for path in known if path.is_dir() or path.name.endswith(".tar.gz")]


def genuine() -> list[Path]:
    """The texts that the index calls genuine, but for the one of the format before 2.6.16."""
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


@needs_data
@pytest.mark.parametrize(
    "name", ["mm-2005-07-08-getty.numa_maps", "mm-2018-vamaps.numa_vamaps", "dragonwell-fixture.numa_maps"]
)
def test_real_text_that_is_not_read(tool: Runner, name: str) -> None:
    done(tool("init", "--nodes", 8, "--json"))
    assert f"{name}: line " in refused(tool, "import-numa-maps", NUMA_MAPS / name, "--pid", 7)


@needs_data
def test_real_process_with_maps_and_status(tool: Runner, tmp_path: Path) -> None:
    """The live sample has all three files: its numa_maps comes back byte for byte, its areas end where maps says."""
    files = {name: (NUMA_MAPS / f"live-policies-a.{name}").read_text() for name in ("numa_maps", "maps", "status")}
    tree = make_tree(tmp_path / "t", {24102: files}, total=100000, free=10000)
    (row,) = loaded(tool, tree, "--profile", "modern")["tasks"]
    assert (row["name"], row["uid"]) == ("python3", 0)
    assert text_of(tool, 24102) == files["numa_maps"]
