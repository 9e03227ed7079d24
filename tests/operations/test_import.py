"""import and import-numa-maps, through the command line: made-up trees, areas, pages, refusals."""

from __future__ import annotations

import sqlite3
import tarfile
from pathlib import Path

import pytest

from tests.conftest import Runner
from tests.operations.trees import (
    ONE_PAGE,
    done,
    free,
    loaded,
    make_tree,
    put,
    refused,
    text_of,
    where,
)


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


@pytest.mark.parametrize(
    ("files", "profile", "said"),
    [
        ({}, "v9", "t: kernel not told: profile v9"),
        ({"version": "Linux version 2.6.16-rc5 (x@y) #1\n"}, "v9", "proc/version: kernel 2.6.16: profile v9"),
        ({"version": "Linux version 2.6.32.71 (x@y)\n"}, "v9", "proc/version: kernel 2.6.32: profile v9"),
        ({"version": "Linux version 2.6.33 (x@y)\n"}, "modern", "proc/version: kernel 2.6.33: profile modern"),
        ({"sys/kernel/osrelease": "3.10.0-1160.el7\n"}, "modern", "osrelease: kernel 3.10.0: profile modern"),
        (
            {"sys/kernel/osrelease": "6.12\n", "version": "Linux version 2.6.16\n"},
            "modern",
            "osrelease: kernel 6.12: profile modern, the newest that is modelled",
        ),
    ],
)
def test_profile_by_the_kernel_of_the_tree(
    tool: Runner, tmp_path: Path, files: dict[str, str], profile: str, said: str
) -> None:
    tree = make_tree(tmp_path / "t")
    for name, text in files.items():
        folder, _, file = f"proc/{name}".rpartition("/")
        put(tree, folder, {file: text})
    document = loaded(tool, tree)
    assert document["profile"] == profile
    assert len([line for line in document["assumptions"] if line.endswith(said)]) == 1
    assert loaded(tool, tree, "--profile", "v9-posted", "--force")["profile"] == "v9-posted"


def test_failed_import_keeps_the_old_state(tool: Runner, tmp_path: Path) -> None:
    done(tool("init", "--nodes", 3, "--json"))
    before = tool("state", "hash").out
    tree = make_tree(tmp_path / "t", {7: {"numa_maps": "00010000 default anon=1 N7=1\n"}})
    refused(tool, "import", tree, "--force")
    assert tool("state", "hash").out == before


def test_dry_run_makes_no_file(tool: Runner, tmp_path: Path, state: Path) -> None:
    assert done(tool("import", make_tree(tmp_path / "t"), "-n", "--json"))["dry_run"] is True
    assert not state.exists()


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


def test_areas_that_have_anonymous_pages_are_remembered(tool: Runner, tmp_path: Path, state: Path) -> None:
    """A fork copies the ptes of those only: of a private file with one copied page, not of shared or clean ones."""
    text = (
        "00400000 default file=/bin/x mapped=1 N0=1\n"
        "00600000 default file=/bin/x anon=1 dirty=1 mapped=2 N0=2\n"
        "00700000 default heap anon=1 dirty=1 N0=1\n"
        "00800000 default stack\n"
        "00900000 default file=/dev/shm/a dirty=1 N0=1\n"
    )
    loaded(tool, make_tree(tmp_path / "t", {7: {"numa_maps": text}}))
    with sqlite3.connect(state) as conn:
        found = [row[0] for row in conn.execute("SELECT anon_vma FROM vmas ORDER BY start")]
    conn.close()
    assert [bool(number) for number in found] == [False, True, True, False, False]
    assert found[1] != found[2], "neighbours that a kernel has left two"


def test_equal_assumptions_are_one_line(tool: Runner, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "t", {pid: {"numa_maps": ONE_PAGE} for pid in (7, 8, 9)})
    said = [line for line in loaded(tool, tree)["assumptions"] if "which page lies where" in line]
    assert [line.startswith(f"{tree}/proc/7/numa_maps and 2 more: ") for line in said] == [True]


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
        ("00010000 default N0=1\n00020000 default pages=1 N0=1\n", "line 2: no mapped=, which stands in every line"),
        (
            "00010000 default N0=1\n00020000 default pages=1 mapped=1 maxref=1 N0=1\n",
            "line 2: its layout is that before 2.6.16, but lines above it have that from 2.6.16 on",
        ),
        ("00010000 default anon=1 dirty=1 N0=1\n00020000 default anon=1 dirty=1 N0=1\0\0\n", "line 2: it has a NUL"),
        ("00010000 default anon=9 dirty=9 N0=9\n00020000 default anon=9 dirty=9 N0=", "line 2: 'N0=' has no number"),
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


def test_nodes_that_can_exist_come_from_the_tree(tool: Runner, tmp_path: Path) -> None:
    """get_mempolicy(2) tells a static set up to the long of the highest possible node (rule 55 of a 6.1 kernel)."""
    tree = make_tree(tmp_path / "t")
    (tree / "sys/devices/system/node/possible").write_text("0-127\n")
    assert tool("import", tree, "--profile", "modern").code == 0
    assert tool("task", "create", "--pid", 5).code == 0
    assert tool("set-mempolicy", 5, "bind", "1,127,128", "--static-nodes").code == 0
    assert tool("get-mempolicy", 5, "--json").document["nodes"] == "1,127"
