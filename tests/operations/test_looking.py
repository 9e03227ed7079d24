"""The commands that look: what show, numa-maps, numastat, hardware and locality tell of states that can be counted."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from migratectl.operations.explain import SENTENCES
from migratectl.uapi import CAPABILITIES
from tests.conftest import Runner
from tests.test_plans import Executed, noted, refuse_scans

MAPS = """\
00400000 default file=/bin/db mapped=6 mapmax=3 N0=4 N1=2
10000000 interleave=0-1 anon=8 dirty=8 N0=4 N1=4
20000000 default file=/huge huge dirty=1 N1=1
30000000 default
7fff00000000 bind=1 stack anon=2 dirty=2 N1=2
"""
"""Task 200: a file, areas with policies, a huge area of one page of 2 MiB, an area without pages."""


def execute(state: Path, *statements: str) -> None:
    """Change the state file behind the program's back."""
    with closing(sqlite3.connect(state)) as plain, plain:
        for statement in statements:
            plain.execute(statement)


@pytest.fixture
def imported(machine: Runner, tmp_path: Path) -> Runner:
    """The machine with task 200 of MAPS besides task 100."""
    (tmp_path / "maps").write_text(MAPS)
    outcome = machine("import-numa-maps", tmp_path / "maps", "--pid", 200, "--name", "old", "-q")
    assert outcome.code == 0, outcome.err
    return machine


def told(machine: Runner, words: str) -> Any:
    """The document of a command that succeeds and changes nothing."""
    before = machine("state", "hash").out
    outcome = machine(*words.split(), "--json")
    assert outcome.code == 0, outcome.err
    assert machine("state", "hash").out == before
    return outcome.document


# ---- show tasks, show vmas


def test_what_a_task_has_by_its_user_is_not_told(machine: Runner) -> None:
    machine("task", "create", "--pid", 5, "--uid", 1000)
    rows = told(machine, "show tasks")["tasks"]
    assert {row["uid"] for row in rows} == {0, 1000}
    for row in rows:
        assert (row["cap"], row["drop_cap"], row["dumpable"], row["policy"]) == ([], [], True, "default")


@pytest.mark.parametrize(
    ("words", "cap", "drop_cap"),
    [
        ("--uid 1000 --cap sys_nice --cap sys_admin", ["sys_admin", "sys_nice"], []),
        ("--uid 0 --drop-cap sys_nice", [], ["sys_nice"]),
        ("--uid 0 --cap sys_nice", [], []),
        ("--uid 1000 --drop-cap sys_nice", [], []),
    ],
)
def test_capabilities_that_differ_from_the_users(
    machine: Runner, words: str, cap: list[str], drop_cap: list[str]
) -> None:
    """Root has all of them, others none; listed in the order of their numbers."""
    machine("task", "create", "--pid", 5, *words.split())
    (row,) = told(machine, "show tasks 5")["tasks"]
    assert (row["cap"], row["drop_cap"]) == (cap, drop_cap)
    assert sorted(cap, key=CAPABILITIES.index) == cap


def test_threads_are_the_others_of_an_address_space(machine: Runner) -> None:
    machine("task", "create", "--pid", 101, "--thread-of", 100)
    machine("task", "create", "--pid", 2, "--kernel-thread")
    machine("task", "create", "--pid", 3, "--kernel-thread")
    rows = {row["pid"]: row for row in told(machine, "show tasks")["tasks"]}
    assert {pid: row["threads"] for pid, row in rows.items()} == {2: [], 3: [], 100: [101], 101: [100]}
    assert [pid for pid, row in rows.items() if row["kernel_thread"]] == [2, 3]


def test_areas_tell_protection_mapping_and_whether_a_fork_copies_them(imported: Runner) -> None:
    rows = {row["addr"]: row for row in told(imported, "show vmas 200")["vmas"]}
    seen = {addr: (row["prot"], row["kind"], row["anon_vma"]) for addr, row in rows.items()}
    assert seen["0x10000000"] == ("rw", "anon", True)
    assert seen["0x400000"][:2] == ("r", "file")
    assert rows["0x10000000"]["mapping"] == rows["0x7fff00000000"]["mapping"], "one anonymous family"
    assert rows["0x400000"]["mapping"] != rows["0x20000000"]["mapping"]


# ---- show mappings, show buffers


def test_mappings_tell_all_their_pages_and_who_has_them(imported: Runner) -> None:
    """anon: 8 pages interleaved and 2 on node 1; the file: 4 and 2; the huge one: 512 base pages."""
    rows = {row["name"]: row for row in told(imported, "show mappings")["mappings"]}
    assert {name: row["nodes"] for name, row in rows.items()} == {
        "anon:100": {"0": 16},
        "anon:200": {"0": 4, "1": 6},
        "/bin/db": {"0": 4, "1": 2},
        "/huge": {"1": 512},
    }
    assert {name: row["tasks"] for name, row in rows.items()} == {
        "anon:100": [100], "anon:200": [200], "/bin/db": [200], "/huge": [200],
    }  # fmt: skip
    assert [row["mapping"] for row in rows.values()] == sorted(row["mapping"] for row in rows.values())


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("100", ["anon:100"]),
        ("200 0x10000000+1p", ["anon:200"]),
        ("200 0x400000+1p", ["/bin/db"]),
        ("200 0x405000-0x20001000", ["/bin/db", "/huge", "anon:200"]),
        ("200 0x406000+1p", []),
        ("200 0x10001000+0p", []),
    ],
)
def test_mappings_of_a_range(imported: Runner, words: str, names: list[str]) -> None:
    """Those of its areas; a hole has none."""
    assert sorted(row["name"] for row in told(imported, f"show mappings {words}")["mappings"]) == names


def test_a_private_page_of_a_file_belongs_to_the_family_too(machine: Runner, tmp_path: Path) -> None:
    """An area of the file with copied pages has two mappings in it: the file and the anonymous family."""
    (tmp_path / "maps").write_text("00400000 default file=/bin/db anon=1 dirty=1 N0=1\n")
    machine("import-numa-maps", tmp_path / "maps", "--pid", 200, "-q")
    assert {row["name"] for row in told(machine, "show mappings 200 0x400000+1p")["mappings"]} == {
        "/bin/db",
        "anon:200",
    }


def test_zero_pages_are_no_mapping(machine: Runner) -> None:
    machine("mmap", 100, "4p", "--label", "zero")
    machine("fault", 100, "zero")
    assert [row["kind"] for row in told(machine, "show mappings")["mappings"]] == ["anon"]
    assert told(machine, "show mappings 100 zero")["mappings"][0]["pages"] == 16


def test_buffers_by_index_and_by_address(imported: Runner, state: Path) -> None:
    """Rings on all six pages of the file; those on node 1 are dirty and one of their buffers is locked."""
    file = "SELECT p.id FROM pages p JOIN mappings m ON m.id = p.mapping WHERE m.name = '/bin/db'"
    execute(
        state,
        f"INSERT INTO buffers(page, ring, dirty, locked) SELECT id, 4, node, CASE node WHEN 1 THEN 14 END FROM pages"
        f" WHERE id IN ({file})",
    )
    whole = told(imported, "show buffers")["buffers"]
    assert whole == [
        {"file": "/bin/db", "index": 0, "pages": 4, "node": 0, "ring": 4, "flags": []},
        {"file": "/bin/db", "index": 4, "pages": 2, "node": 1, "ring": 4, "flags": ["dirty", "locked"]},
    ]
    mapped = told(imported, "show buffers 200")["buffers"]
    assert [(row["addr"], row["pages"]) for row in mapped] == [("0x400000", 4), ("0x404000", 2)]
    middle = told(imported, "show buffers 200 0x403000+2p")["buffers"]
    assert [(row["addr"], row["pages"], row["node"]) for row in middle] == [("0x403000", 1, 0), ("0x404000", 1, 1)]
    assert told(imported, "show buffers 100")["buffers"] == []
    assert imported("show", "buffers", 100).out == "no buffers\n"
    assert imported("show", "buffers").out.splitlines()[2].split() == ["/bin/db", "4", "2", "1", "4", "dirty,locked"]


def test_buffers_do_not_depend_on_how_runs_are_cut(imported: Runner, state: Path) -> None:
    """The four pages of the file on node 0, cut in two rows: still one run."""
    file = "SELECT id FROM mappings WHERE name = '/bin/db'"
    cut = f"WHERE mapping = ({file}) AND first = 0"
    execute(
        state,
        f"INSERT INTO buffers(page, ring) SELECT id, 1 FROM pages WHERE mapping = ({file})",
        "INSERT INTO pages(id, mapping, first, count, step, node, flags, outside, origin, origin_first)"
        f" SELECT 1000, mapping, 1, 3, 1, node, flags, outside, origin, 1 FROM pages {cut}",
        "INSERT INTO ptes(mm, addr, page, present, young, dirty, writable, reach) SELECT t.mm, t.addr + 1, 1000,"
        f" t.present, t.young, t.dirty, t.writable, 1 FROM ptes t JOIN pages p ON p.id = t.page {cut}",
        f"UPDATE pages SET count = 1 {cut}",
        f"UPDATE ptes SET reach = 0 WHERE page = (SELECT id FROM pages {cut})",
        "INSERT INTO buffers(page, ring) VALUES (1000, 1)",
        f"UPDATE mappings SET ring = 1 WHERE id = ({file})",
    )
    assert imported("check").code == 0
    assert [row["pages"] for row in told(imported, "show buffers")["buffers"]] == [4, 2]
    assert [row["pages"] for row in told(imported, "show buffers 200")["buffers"]] == [4, 2]


# ---- show policies, show cpusets, show swap


def test_policies_and_who_has_them(imported: Runner) -> None:
    imported("set-mempolicy", 100, "bind", "0-1")
    rows = told(imported, "show policies")["policies"]
    assert [(row["scope"], row["pids"], row.get("addr"), row["policy"]) for row in rows] == [
        ("task", [100], None, "bind=0-1"),
        ("vma", [200], "0x10000000", "interleave=0-1"),
        ("vma", [200], "0x7fff00000000", "bind=1"),
    ]
    assert told(imported, "show policies 200")["policies"] == rows[1:]
    assert told(imported, "show policies 200 0x10001000-0x20000000")["policies"] == rows[1:2]
    assert told(imported, "show policies 200 0x10001000+0p")["policies"] == []
    assert told(imported, "show policies 100 heap")["policies"] == rows[:1], (
        "the task's counts wherever the area has none"
    )


def test_the_policy_of_an_area_is_that_of_every_thread(imported: Runner) -> None:
    imported("task", "create", "--pid", 201, "--thread-of", 200)
    assert [row["pids"] for row in told(imported, "show policies 201")["policies"]] == [[200, 201], [200, 201]]


def test_the_policy_of_a_shared_object(imported: Runner, state: Path) -> None:
    """semantics.md 6.1: the object's policy, told with the tasks that map it."""
    execute(
        state,
        "INSERT INTO policies(id, mode, nodes, flags, mems) VALUES (900, 'preferred', '1', '', '0-1')",
        'INSERT INTO shared_policies(mapping, first, "end", policy)'
        " SELECT id, 2, 10, 900 FROM mappings WHERE name = '/huge'",
    )
    (row,) = [row for row in told(imported, "show policies")["policies"] if row["scope"] == "object"]
    assert (row["object"], row["index"], row["pages"], row["policy"], row["pids"]) == ("/huge", 2, 8, "prefer=1", [200])
    assert row in told(imported, "show policies 200 0x20000000+1p")["policies"]
    assert row not in told(imported, "show policies 200 0x10000000+1p")["policies"]
    assert "/huge, 8 pages from 2" in imported("show", "policies").out


def test_a_kernel_thread_has_no_areas_but_may_be_asked(machine: Runner) -> None:
    machine("task", "create", "--pid", 2, "--kernel-thread")
    assert told(machine, "show policies 2")["policies"] == []
    assert machine("show", "policies", 2, "0x1000+1p").code == 1


def test_cpusets_with_their_tasks(machine: Runner, state: Path) -> None:
    execute(
        state,
        "INSERT INTO cpusets(id, name, cpus, mems, memory_migrate, mem_exclusive) VALUES (9, '/lo', '0', '1', 1, 1)",
        "INSERT INTO cpusets(id, name, cpus, mems) VALUES (8, '/lo/in', '0', '1')",
    )
    machine("task", "create", "--pid", 5, "--cpuset", "/lo")
    rows = told(machine, "show cpusets")["cpusets"]
    assert [(row["name"], row["mems"], row["cpus"], row["tasks"]) for row in rows] == [
        ("/", "0-1", "0-7", [100]),
        ("/lo", "1", "0", [5]),
        ("/lo/in", "1", "0", []),
    ]
    assert [row["memory_migrate"] for row in rows] == [False, True, False]
    assert [row["mem_exclusive"] for row in rows] == [True, True, False]
    assert told(machine, "show cpusets 5")["cpusets"] == rows[1:2]
    assert machine("show", "cpusets", 6).code == 1


def test_swapped_pages_and_pages_of_the_swap_cache(machine: Runner, state: Path) -> None:
    """The sixteen pages of task 100 in swap alone; then in memory too, with their slots."""
    execute(
        state,
        "UPDATE ptes SET present = 0, young = 0, dirty = 0, writable = 0",
        "UPDATE pages SET node = NULL, area = 1",
        "UPDATE nodes SET used = 0",
        "UPDATE swap_areas SET used = 16",
    )
    assert machine("check").code == 0
    document = told(machine, "show swap 100 heap+4p@8p")
    assert document["areas"] == [
        {"name": "swap0", "slots": 1000, "used": 16, "free": 984, "swapped": 4, "swapcache": 0}
    ]
    assert document["pages"] == [
        {"addr": "0x10008000", "pages": 4, "area": "swap0", "state": "swapped", "node": None, "mapped": False}
    ]
    execute(
        state,
        "UPDATE pages SET node = 0",
        "UPDATE ptes SET present = 1",
        "UPDATE nodes SET used = 16 WHERE id = 0",
    )
    document = told(machine, "show swap 100")
    assert (document["areas"][0]["swapped"], document["areas"][0]["swapcache"]) == (0, 16)
    assert document["pages"] == [
        {"addr": "0x10000000", "pages": 16, "area": "swap0", "state": "swapcache", "node": 0, "mapped": True}
    ]


def test_only_what_has_a_slot_is_listed(machine: Runner) -> None:
    """A pinned page keeps its slot (semantics.md 2.6); the pages around it gave theirs back."""
    machine("page", "pin", 100, "heap+1p@2p")
    machine("page", "pin", 100, "heap+2p@5p")
    assert machine("migrate-pages", 100, 0, 1).code == 3
    runs = [(row["addr"], row["pages"], row["node"]) for row in told(machine, "show swap 100")["pages"]]
    assert runs == [("0x10002000", 1, 0), ("0x10005000", 2, 0)]


def test_a_machine_without_swap(tool: Runner) -> None:
    tool("init", "--swap", "none")
    assert tool("show", "swap").out == "no swap areas\n"


# ---- numa-maps


def test_the_layout_follows_the_profile_unless_told(imported: Runner) -> None:
    assert told(imported, "numa-maps 200")["era"] == "2.6.16"
    text = imported("numa-maps", 200).out
    assert text == imported("numa-maps", 200, "--era", "2.6.16").out
    assert "10000000 interleave=0-1 anon=8 dirty=8 N0=4 N1=4\n" in text
    modern = imported("numa-maps", 200, "--era", "modern").out
    assert "10000000 interleave:0-1 anon=8 dirty=8 N0=4 N1=4 kernelpagesize_kB=4\n" in modern
    assert modern.count("\n") == text.count("\n") == MAPS.count("\n")


def test_the_layout_of_january_2006(imported: Runner) -> None:
    """semantics.md 7.1 a: no line for the area without pages and for the huge one; no file names."""
    assert imported("numa-maps", 200, "--era", "2006-01").out == (
        "00400000 default pages=6 mapped=6 maxref=3 N0=4 N1=2\n"
        "10000000 interleave=0-1 pages=8 mapped=8 maxref=1 anon=8 N0=4 N1=4\n"
        "7fff00000000 bind=1 pages=2 mapped=2 maxref=1 anon=2 N1=2\n"
    )
    document = told(imported, "numa-maps 200 --era 2006-01")
    assert [(line["addr"], line["pages"], line["maxref"]) for line in document["lines"]] == [
        ("0x400000", 6, 3),
        ("0x10000000", 8, 1),
        ("0x7fff00000000", 2, 1),
    ]


@pytest.mark.parametrize("profile", ["v9", "modern"])
@pytest.mark.parametrize(("era", "policy"), [("2006-01", "prefer"), ("2.6.16", "prefer"), ("modern", "local")])
def test_the_local_policy_has_the_name_of_its_time(tool: Runner, profile: str, era: str, policy: str) -> None:
    """B27: preferred without nodes was printed as ``prefer``; today it is the mode ``local``."""
    for words in (
        f"init --profile {profile}",
        "task create --pid 1",
        "mmap 1 1p --addr 0x1000 --label a",
        "fault 1 a --write",
        "set-mempolicy 1 preferred none",
    ):
        assert tool(*words.split()).code == 0
    assert tool("numa-maps", 1, "--era", era).out.split()[1] == policy


def test_an_unknown_layout_is_a_wrong_word(machine: Runner) -> None:
    outcome = machine("numa-maps", 100, "--era", "2.4")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)


# ---- numastat, hardware, locality


def test_numastat_of_a_task_counts_base_pages_by_kind(imported: Runner) -> None:
    """One huge page of 2 MiB is 512; files count as private, as the program that adds up numa_maps has it."""
    document = told(imported, "numastat -p 200")
    assert document["nodes"] == [
        {"node": 0, "huge": 0, "heap": 0, "stack": 0, "private": 8, "total": 8},
        {"node": 1, "huge": 512, "heap": 0, "stack": 2, "private": 6, "total": 520},
    ]
    assert document["total"] == {"huge": 512, "heap": 0, "stack": 2, "private": 14, "total": 528}


def test_an_offline_node_is_none_to_the_tools_of_users(machine: Runner, state: Path) -> None:
    """/sys has no folder for it: neither a column, nor a line, nor a distance."""
    execute(state, "UPDATE nodes SET online = 0 WHERE id = 1")
    assert [row["node"] for row in told(machine, "numastat")["nodes"]] == [0]
    assert [row["node"] for row in told(machine, "numastat -p 100")["nodes"]] == [0]
    document = told(machine, "hardware")
    assert [(row["node"], row["distance"]) for row in document["nodes"]] == [(0, [10])]
    assert machine("hardware").out.endswith("node distances:\nnode   0 \n  0:  10 \n")
    assert machine("hardware").out.startswith("available: 1 nodes (0)\n")


def test_locality_follows_the_task(machine: Runner) -> None:
    """All pages on node 0: at distance 10, and from node 1 at 20."""
    assert told(machine, "locality 100")["tasks"][0]["distances"] == [
        {"distance": 10, "pages": 16, "percent": 100.0, "nodes": "0"}
    ]
    machine("task", "run-on", 100, "--node", 1)
    assert told(machine, "locality 100")["tasks"][0]["distances"] == [
        {"distance": 20, "pages": 16, "percent": 100.0, "nodes": "0"}
    ]


def test_locality_of_all_counts_a_shared_address_space_once_for_each_task(machine: Runner) -> None:
    machine("task", "create", "--pid", 101, "--thread-of", 100, "--node", 1)
    machine("task", "create", "--pid", 2, "--kernel-thread")
    document = told(machine, "locality")
    assert [(row["pid"], row["distances"][0]["distance"]) for row in document["tasks"]] == [(100, 10), (101, 20)]
    assert document["total"] == {
        "pages": 32,
        "distances": [
            {"distance": 10, "pages": 16, "percent": 50.0, "nodes": "0"},
            {"distance": 20, "pages": 16, "percent": 50.0, "nodes": "0"},
        ],
    }


def test_locality_without_tasks(tool: Runner) -> None:
    tool("init")
    assert tool("locality").out == "no tasks with an address space\n"
    assert told(tool, "locality")["total"] == {"pages": 0, "distances": []}


# ---- what they read

OF_ONE_TASK = (
    "show buffers 100",
    "show policies 100",
    "show swap 100",
    "numastat -p 100",
    "locality 100",
    "numa-maps 100",
)


@pytest.mark.parametrize("words", OF_ONE_TASK)
def test_a_look_at_one_task_reads_no_others_pages(imported: Runner, state: Path, words: str) -> None:
    """No plan of its statements scans all pages or ptes of the machine."""
    executed: Executed = {}
    with noted(executed):
        assert imported(*words.split()).code == 0
    assert executed
    refuse_scans(state, executed)


# ---- all of them

LOOKS = (
    "show tasks", "show mappings", "show mappings 200", "show buffers", "show policies", "show policies 200",
    "show cpusets", "show swap", "show swap 100", "numa-maps 200 --era 2006-01", "numastat", "numastat -p 200",
    "hardware", "locality", "locality 200", "log", "log --last 2", "log show 4", "db current", "db upgrade",
)  # fmt: skip


@pytest.mark.parametrize("words", LOOKS)
def test_a_look_has_no_width_and_changes_nothing(imported: Runner, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bytes at 35, 80 and 200 columns, where a pipe reads; JSON with the keys of every document."""
    seen = set()
    for columns in ("35", "80", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        monkeypatch.setenv("FORCE_COLOR", "1")
        outcome = imported(*words.split())
        assert (outcome.code, outcome.err) == (0, "")
        seen.add(outcome.out)
    assert len(seen) == 1
    document = told(imported, words)
    depth = 2 if words.startswith(("show", "log show", "db")) else 1
    assert document["format"] == "migratectl/1"
    assert document["command"].split() == words.split()[:depth]


@pytest.mark.parametrize("words", ["mappings", "buffers", "policies", "cpusets", "swap"])
def test_no_such_task(machine: Runner, words: str) -> None:
    outcome = machine("show", words, 999, "--json")
    assert (outcome.code, outcome.document["errno"]) == (1, "ESRCH")


@pytest.mark.parametrize("words", ["mappings", "buffers", "policies", "swap"])
@pytest.mark.parametrize(("span", "errno"), [("nothing", "EFAULT"), ("heap+17p", "EFAULT"), ("heap+1p@100", "EINVAL")])
def test_a_bad_range(machine: Runner, words: str, span: str, errno: str) -> None:
    outcome = machine("show", words, 100, span, "--json")
    assert (outcome.code, outcome.document["errno"]) == (1, errno)


EXPLAINED = {
    "pageout-activate": (
        "file create /f 1p --fs ramfs",
        "mmap 100 1p --shared --file /f --label r",
        "fault 100 r --write",
    ),
    "buffers-busy": (
        "file create /f 1p --fs reiserfs",
        "mmap 100 1p --shared --file /f --label r",
        "fault 100 r",
        "page buffers 100 r --state busy",
    ),
}


@pytest.mark.parametrize("reason", EXPLAINED)
@pytest.mark.parametrize("profile", ["v9", "v9-posted"])
def test_pages_without_a_method_are_explained_as_a_move_tells_them(tool: Runner, profile: str, reason: str) -> None:
    """A page that is dirty in its pte alone is not dirty yet where that is asked before unmapping (B10)."""
    for line in (f"init --nodes 2 --memory 1M --profile {profile}", "task create --pid 100", *EXPLAINED[reason]):
        assert tool(*line.split()).code == 0, line
    (entry,) = told(tool, "explain 100 r")["pages"]
    failed = tool("migrate-pages", 100, 0, 1, "--dry-run", "--json").document["failures"]
    assert [(each["reason"], each["pass"]) for each in failed] == ([] if entry["movable"] else [(entry["reason"], 10)])
    assert entry["reason"] == ("movable" if (profile, reason) == ("v9-posted", "pageout-activate") else reason)


def test_tmpfs_without_swap_is_explained_as_a_move_tells_it(tool: Runner) -> None:
    for line in (
        "init --nodes 2 --memory 1M --swap none",
        "task create --pid 100",
        "file create /t 2p --fs tmpfs",
        "mmap 100 2p --shared --file /t --label t",
        "file write /t --by 100",
        "fault 100 t",
    ):
        assert tool(*line.split()).code == 0, line
    assert told(tool, "explain 100 t")["total"] == {"pageout-activate": 2}


def test_every_reason_of_a_migration_has_its_sentence() -> None:
    """The lists of cli.md; not-tried is no reason of a page that is looked at alone."""
    failures = "busy-locked busy-writeback no-swap pinned mlocked unmap-incomplete slot-changed truncated fs-refuses"
    skips = "shared vma-locked vma-io vma-pfnmap vma-hugetlb vma-reserved reserved-page off-lru"
    written = "pageout-keep pageout-activate writeback-started buffers-busy"
    assert {*failures.split(), *skips.split(), *written.split()} <= {*SENTENCES}


@pytest.mark.parametrize("profile", ["v9", "v9-posted", "modern"])
@pytest.mark.parametrize("kind", ["io", "pfnmap", "hugetlb"])
def test_explain_names_areas_that_are_not_looked_into(tool: Runner, profile: str, kind: str) -> None:
    """They hold no pages, and a fault brings none (9a): what stands in the way is the area, and nothing would help."""
    for line in (
        f"init --nodes 2 --memory 1000p --profile {profile}",
        "task create --pid 100 --cap ipc_lock",
        f"mmap 100 512p --{kind} --label raw",
        "fault 100 raw --write",
    ):
        assert tool(*line.split()).code == 0
    (entry,) = tool("explain", 100, "raw", "--json").document["pages"]
    told = [entry[key] for key in ("state", "pages", "reason", "movable", "errno", "help")]
    assert told == ["absent", 512, f"vma-{kind}", False, None, None]
    assert "which is not looked into" in tool("explain", 100, "raw").out
    found = tool("migrate-pages", 100, 0, 1, "--json").document
    assert (found["moved"], found["failed"], found["skipped"], found["passes"]) == (0, 0, 0, 0)
