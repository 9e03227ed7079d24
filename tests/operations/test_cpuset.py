"""Cpusets over the command line: semantics.md 3.6, what a 6.1 kernel does, and rows of public suites by their id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.conftest import Runner

Make = Callable[[str], Runner]

ERRNOS = ("EACCES", "EBUSY", "EEXIST", "EINVAL", "ENOENT", "ENOSPC", "ESRCH")


@pytest.fixture
def make(tool: Runner) -> Make:
    """A machine of four nodes with two CPUs each, under a profile."""

    def build(profile: str) -> Runner:
        words = "--nodes 4 --memory 64p --cpus 2 --distance 10,20 --swap 64p --profile"
        assert tool("init", *words.split(), profile).code == 0
        return tool

    return build


def tell(tool: Runner, line: str) -> str:
    """'ok', 'usage', or the errno of a command; the state is sound after it."""
    found = tool(*line.split(), "--json")
    assert tool("check").code == 0, tool("check").out
    if found.code == 2:
        return "usage"
    return "ok" if found.code in (0, 3) else str(found.document["errno"])


def play(tool: Runner, script: str) -> None:
    """Commands, one a line; one that is to fail has its errno, or 'usage', before a colon."""
    for line in filter(None, map(str.strip, script.splitlines())):
        word, _, rest = line.partition(": ")
        wanted, command = (word, rest) if word in (*ERRNOS, "usage") else ("ok", line)
        assert tell(tool, command) == wanted, line


def cpuset(tool: Runner, name: str) -> tuple[str, str]:
    """The mems and the CPUs of a cpuset."""
    row = next(row for row in tool("cpuset", "list", "--json").document["cpusets"] if row["name"] == name)
    return row["mems"], row["cpus"]


def switch(tool: Runner, name: str, of: str) -> bool:
    """Whether a cpuset has a switch on."""
    row = next(row for row in tool("cpuset", "list", "--json").document["cpusets"] if row["name"] == name)
    return bool(row[of])


def nodes_of(tool: Runner, pid: int, area: str) -> dict[int, int]:
    """Pages of an area by node."""
    found: Counter[int] = Counter()
    for vma in tool("show", "pages", pid, area, "--json").document["vmas"]:
        for run in vma["pages"]:
            if run["node"] is not None:
                found[run["node"]] += run["pages"]
    return dict(found)


def policy(tool: Runner, pid: int, addr: int | None = None) -> str:
    """The policy of a task, or of the area at an address."""
    words = [] if addr is None else [hex(addr)]
    found = tool("get-mempolicy", pid, *words, "--json").document
    return f"{found['mode']} {found['nodes']}".rstrip()


ATTACH = {
    "without nodes": "cpuset create /e --mems none\nENOSPC: cpuset move 1 /e",
    "without nodes, before the task is looked for": "cpuset create /e --mems none\nENOSPC: cpuset move 99 /e",
    "no such task": "cpuset create /lo --mems 0\nESRCH: cpuset move 99 /lo",
    "neither owner nor root": "cpuset create /lo --mems 0\nEACCES: --as 7 cpuset move 1 /lo",
    "by its owner": "cpuset create /lo --mems 0\ntask set 1 --uid 7\n--as 7 cpuset move 1 /lo",
    "no such cpuset": "ENOENT: cpuset move 1 /lo",
}
MEMS = {
    "equal": "cpuset create /p --mems 0-1\ncpuset set /p --mems 0-1",
    "empty, with a task": "cpuset create /p --mems 0\ncpuset move 1 /p\nENOSPC: cpuset set /p --mems none",
    "a child loses": "cpuset create /p --mems 0-1\ncpuset create /p/c --mems 1\nEBUSY: cpuset set /p --mems 0",
    "not of the parent": "cpuset create /p --mems 0-1\ncpuset create /p/c --mems 1\nEACCES: cpuset set /p/c --mems 1-2",
    "a child loses, before the parent is asked": (
        "cpuset create /p --mems 0-1\ncpuset create /p/c --mems 0-1\ncpuset create /p/c/d --mems 0\n"
        "EBUSY: cpuset set /p/c --mems 1-2"
    ),
    "an exclusive sibling": (
        "cpuset create /a --mems 0\ncpuset set /a --mem-exclusive\ncpuset create /b --mems 1\n"
        "EINVAL: cpuset set /b --mems 0-1\nEINVAL: cpuset create /c --mems 0"
    ),
    "exclusive itself": (
        "cpuset create /a --mems 0\ncpuset create /b --mems 1\ncpuset set /b --mem-exclusive\n"
        "EINVAL: cpuset set /b --mems 0-1"
    ),
    "exclusive, and overlapping": "cpuset create /a --mems 0\ncpuset create /b --mems 0\n"
    "EINVAL: cpuset set /b --mem-exclusive",
    "no parent": "ENOENT: cpuset create /p/c --mems 0",
    "taken": "cpuset create /p --mems 0\nEEXIST: cpuset create p --mems 0",
    "the root": "EACCES: cpuset set / --mems 0",
    "removed with a task": "cpuset create /p --mems 0\ncpuset move 1 /p\nEBUSY: cpuset remove /p\ncpuset move 1 /\n"
    "cpuset remove /p",
    "removed with a child": "cpuset create /p --mems 0\ncpuset create /p/c --mems 0\nEBUSY: cpuset remove /p",
    "the root removed": "EBUSY: cpuset remove /",
    "nothing said": "cpuset create /p --mems 0\nusage: cpuset set /p",
}


@pytest.mark.parametrize("profile", ["v9", "modern"])
@pytest.mark.parametrize("script", [*ATTACH.values(), *MEMS.values()], ids=[*ATTACH, *MEMS])
def test_checks(make: Make, profile: str, script: str) -> None:
    tool = make(profile)
    play(tool, f"task create --pid 1\n{script}")


def test_v9_never_leaves_a_cpuset_without_nodes_and_drops_nodes_that_are_offline(make: Make) -> None:
    tool = make("v9")
    play(tool, "node offline 3\ncpuset create /p --mems 0\nENOSPC: cpuset set /p --mems none")
    play(tool, "cpuset set /p --mems 1,3\nENOSPC: cpuset set /p --mems 3")
    assert cpuset(tool, "/p") == ("1", "0-7")


def test_modern_refuses_nodes_that_are_offline(make: Make) -> None:
    tool = make("modern")
    play(tool, "node offline 3\ncpuset create /p --mems 0\ncpuset set /p --mems none\nEINVAL: cpuset set /p --mems 1,3")


# The worked case of 3.6: interleave 0-1 in mems 0-1; then mems 2; then mems 4-5, here 2 and then 1,3.
REBOUND = """
    task create --pid 1 --cpu 0
    cpuset create /p --mems 0-1
    cpuset move 1 /p
    mmap 1 8p --label area
    set-mempolicy 1 interleave 0-1
    mbind 1 area interleave 0-1
    cpuset set /p --mems 2
    cpuset set /p --mems 1,3
"""


@pytest.mark.parametrize(("profile", "task"), [("v9", "interleave 1,3"), ("modern", "interleave 1")])
def test_areas_are_rebound_at_once_and_tasks_lazily_under_v9(make: Make, profile: str, task: str) -> None:
    tool = make(profile)
    play(tool, REBOUND)
    assert policy(tool, 1, 0x10000000) == "interleave 1"  # {0,1} to {2}, and {2} to the first of {1,3}
    assert policy(tool, 1) == task


@pytest.mark.parametrize("profile", ["v9", "modern"])
def test_pages_follow_node_by_node_only_where_the_cpuset_says_so(make: Make, profile: str) -> None:
    tool = make(profile)
    play(tool, "task create --pid 1 --cpu 0\nset-mempolicy 1 interleave 0-1\nmmap 1 8p --label area")
    play(tool, "fault 1 area --write\nset-mempolicy 1 default\ncpuset create /p --mems 0-1\ncpuset move 1 /p")
    play(tool, "cpuset set /p --mems 1-2")
    assert nodes_of(tool, 1, "area") == {0: 4, 1: 4}
    play(tool, "cpuset set /p --mems 0-1\ncpuset set /p --memory-migrate\ncpuset set /p --mems 2-3")
    assert nodes_of(tool, 1, "area") == {2: 4, 3: 4}  # 0 to 2, 1 to 3
    play(tool, "cpuset create /q --mems 0\ncpuset move 1 /q")
    assert nodes_of(tool, 1, "area") == {2: 4, 3: 4}, "the cpuset that is joined decides"
    play(tool, "cpuset move 1 /p\ncpuset set /q --memory-migrate\ncpuset move 1 /q")
    assert nodes_of(tool, 1, "area") == {0: 8}


@pytest.mark.parametrize("profile", ["v9", "modern"])
def test_what_stays_is_told_and_is_no_error_of_the_call(make: Make, profile: str) -> None:
    tool = make(profile)
    play(tool, "task create --pid 1\nmmap 1 8p --label area\nfault 1 area --write\npage pin 1 area+2p")
    play(tool, "cpuset create /p --mems 1 --memory-migrate")
    found = tool("cpuset", "move", 1, "/p", "--json")
    assert (found.code, found.document["errno"], found.document["moved"]) == (3, None, 6)
    assert [(entry["reason"], entry["pages"]) for entry in found.document["failures"]] == [("pinned", 2)]
    assert nodes_of(tool, 1, "area") == {0: 2, 1: 6}


def test_an_address_space_of_two_threads_moves_once(make: Make) -> None:
    tool = make("v9")
    play(tool, "task create --pid 1\nmmap 1 8p --label area\nfault 1 area --write\ntask create --pid 2 --thread-of 1")
    play(tool, "cpuset create /p --mems 0 --memory-migrate\ncpuset move 1 /p\ncpuset move 2 /p")
    found = tool("cpuset", "set", "/p", "--mems", "2", "--json").document
    assert (found["moved"], nodes_of(tool, 1, "area")) == (8, {2: 8})


@pytest.mark.parametrize("profile", ["v9", "modern"])
def test_a_task_whose_cpu_the_cpuset_has_not_got_leaves_it(make: Make, profile: str) -> None:
    tool = make(profile)
    play(tool, "task create --pid 1 --cpu 0\ncpuset create /p --mems 1 --cpus 2-3\ncpuset move 1 /p")
    (row,) = tool("task", "list", "--json").document["tasks"]
    assert (row["cpu"], row["node"], row["cpuset"]) == (2, 1, "/p")
    play(tool, "EINVAL: task run-on 1 --cpu 0\ntask run-on 1 --cpu 3")


@pytest.mark.parametrize("words", ["cpuset move 1 /p", "cpuset set /q --mems 1", "cpuset remove /p"])
def test_a_dry_run_changes_nothing(make: Make, words: str) -> None:
    tool = make("v9")
    play(tool, "task create --pid 1\nmmap 1 8p --label area\nfault 1 area --write\ncpuset create /p --mems 1")
    play(tool, "cpuset create /q --mems 0 --memory-migrate")
    before = tool("state", "hash").out
    assert tool("--dry-run", *words.split()).code == 0
    assert tool("state", "hash").out == before


@pytest.mark.parametrize("profile", ["v9", "modern"])
def test_a_node_that_goes_leaves_the_cpusets_and_tasks_of_an_empty_one_go_up(make: Make, profile: str) -> None:
    tool = make(profile)
    play(tool, "cpuset create /p --mems 0-1\ncpuset create /p/c --mems 1\ntask create --pid 1 --cpuset /p/c")
    play(tool, "node offline 1\nmmap 1 1p --label a\nfault 1 a --write")
    assert [cpuset(tool, name)[0] for name in ("/", "/p", "/p/c")] == ["0,2-3", "0", ""]
    (row,) = tool("task", "list", "--json").document["tasks"]
    assert (row["cpuset"], nodes_of(tool, 1, "a")) == ("/p", {0: 1})


ALL = "--mems 0-3 --cpus 0-7"
# id: (script, {cpuset: (mems, cpus)}), under modern; -1 and A are not switches that the command line has.
HIERARCHY = {
    "CSBASE-01": ("EACCES: cpuset set / --cpus 0", {"/": ("0-3", "0-7")}),
    "CSBASE-05": ("cpuset create /c --mems 0 --cpus 0", {"/c": ("0", "0")}),
    "CSBASE-07": ("cpuset create /c --mems 0 --cpus 0,1,2,3,4,5,6,7", {"/c": ("0", "0-7")}),
    "CSBASE-09": ("cpuset create /c --mems 0 --cpus 0,0", {"/c": ("0", "0")}),
    "CSBASE-11": ("cpuset create /c --mems 0 --cpus 0-7", {"/c": ("0", "0-7")}),
    "CSBASE-13": ("EACCES: cpuset create /c --mems 0 --cpus 0-8", {}),
    "CSBASE-15": ("usage: cpuset create /c --mems 0 --cpus 0AAA", {}),
    "CSBASE-17": ("cpuset create /c --mems 0 --cpus 0,1-6,7", {"/c": ("0", "0-7")}),
    "CSBASE-19": ("usage: cpuset create /c --mems 0 --cpus 0-", {}),
    "CSBASE-21": ("cpuset create /c --mems 0", {"/c": ("0", "0-7")}),
    "CSBASE-23": ("cpuset create /c --mems 0,1,2,3", {"/c": ("0-3", "0-7")}),
    "CSBASE-25": ("cpuset create /c --mems 0,0", {"/c": ("0", "0-7")}),
    "CSBASE-27": ("cpuset create /c --mems 0-3", {"/c": ("0-3", "0-7")}),
    "CSBASE-29": ("EINVAL: cpuset create /c --mems 0-4", {}),
    "CSBASE-31": ("usage: cpuset create /c --mems 0AAA", {}),
    "CSBASE-33": ("cpuset create /c --mems 0,1-2,3", {"/c": ("0-3", "0-7")}),
    "CSBASE-35": ("usage: cpuset create /c --mems 0-", {}),
    "CSBASE-77": ("cpuset create /c --mems 0 --cpus 0\ncpuset move 1 /c", {"/c": ("0", "0")}),
    "CSHIER-01": (
        "cpuset create /f --mems 0 --cpus none\ncpuset create /f/c --mems 0 --cpus none",
        {"/f/c": ("0", "")},
    ),
    "CSHIER-03": ("cpuset create /f --mems 0 --cpus 0\ncpuset create /f/c --mems 0 --cpus none", {"/f": ("0", "0")}),
    "CSHIER-05": (
        "cpuset create /f --mems 0 --cpus 0\ncpuset create /f/c --mems 0 --cpus none\nEACCES: cpuset set /f/c --cpus 1",
        {"/f": ("0", "0"), "/f/c": ("0", "")},
    ),
    "CSHIER-07": (
        "cpuset create /f --mems 0 --cpus 0,1\ncpuset create /f/c --mems 0 --cpus 0",
        {"/f": ("0", "0-1"), "/f/c": ("0", "0")},
    ),
    "CSHIER-09": (
        f"cpuset create /f {ALL}\ncpuset create /f/c --mems 0 --cpus none\ncpuset set /f --cpus none",
        {"/f": ("0-3", ""), "/f/c": ("0", "")},
    ),
    "CSHIER-11": (
        f"cpuset create /f {ALL}\ncpuset create /f/c --mems 0 --cpus none\ncpuset set /f --cpus 0",
        {"/f": ("0-3", "0"), "/f/c": ("0", "")},
    ),
    "CSHIER-13": (
        f"cpuset create /f {ALL}\ncpuset create /f/c --mems 0 --cpus 1\nEBUSY: cpuset set /f --cpus 0",
        {"/f": ("0-3", "0-7"), "/f/c": ("0", "1")},
    ),
    "CSHIER-15": (
        f"cpuset create /f {ALL}\ncpuset create /f/c --mems 0 --cpus 0\ncpuset set /f --cpus 0,1",
        {"/f": ("0-3", "0-1"), "/f/c": ("0", "0")},
    ),
    "CSHIER-17": ("cpuset create /f --mems none\ncpuset create /f/c --mems none", {"/f": ("", "0-7")}),
    "CSHIER-19": ("cpuset create /f --mems 0\ncpuset create /f/c --mems none", {"/f": ("0", "0-7")}),
    "CSHIER-21": (
        "cpuset create /f --mems 0\ncpuset create /f/c --mems none\nEACCES: cpuset set /f/c --mems 1",
        {"/f": ("0", "0-7"), "/f/c": ("", "0-7")},
    ),
    "CSHIER-23": ("cpuset create /f --mems 0,1\ncpuset create /f/c --mems 0", {"/f": ("0-1", "0-7")}),
    "CSHIER-25": (
        f"cpuset create /f {ALL}\ncpuset create /f/c --mems none\ncpuset set /f --mems none",
        {"/f": ("", "0-7"), "/f/c": ("", "0-7")},
    ),
    "CSHIER-27": (
        f"cpuset create /f {ALL}\ncpuset create /f/c --mems none\ncpuset set /f --mems 0",
        {"/f": ("0", "0-7"), "/f/c": ("", "0-7")},
    ),
    "CSHIER-29": (
        f"cpuset create /f {ALL}\ncpuset create /f/c --mems 1\nEBUSY: cpuset set /f --mems 0",
        {"/f": ("0-3", "0-7"), "/f/c": ("1", "0-7")},
    ),
    "CSHIER-31": (
        f"cpuset create /f {ALL}\ncpuset create /f/c --mems 0\ncpuset set /f --mems 0,1",
        {"/f": ("0-1", "0-7"), "/f/c": ("0", "0-7")},
    ),
}


@pytest.mark.parametrize(("script", "left"), HIERARCHY.values(), ids=HIERARCHY)
def test_hierarchy(make: Make, script: str, left: dict[str, tuple[str, str]]) -> None:
    tool = make("modern")
    play(tool, f"task create --pid 1\n{script}")
    for name, wanted in left.items():
        assert tuple(value if value != "none" else "" for value in cpuset(tool, name)) == wanted


CPU_FATHER = "cpuset create /f --mems 0 --cpus 0-1\ncpuset set /f --cpu-exclusive\n"
MEM_FATHER = "cpuset create /f --mems 0-1\ncpuset set /f --mem-exclusive\n"
# id: (script, cpuset, switch, whether it is on afterwards)
EXCLUSIVE = {
    "CSBASE-37": ("cpuset set / --cpu-exclusive", "/", "cpu_exclusive", True),
    "CSBASE-41": ("cpuset set / --no-mem-exclusive", "/", "mem_exclusive", False),
    "CSBASE-51": ("cpuset set / --no-memory-migrate", "/", "memory_migrate", False),
    "CSINH-13": ("cpuset create /f --mems 0\ncpuset create /f/c --mems 0", "/f/c", "cpu_exclusive", False),
    "CSINH-15": ("cpuset create /f --mems 0\ncpuset create /f/c --mems 0", "/f/c", "mem_exclusive", False),
    "CSINH-19": ("cpuset create /f --mems 0\ncpuset create /f/c --mems 0", "/f/c", "memory_migrate", False),
    "CSEXC-01": (
        "cpuset create /f --mems 0\ncpuset create /f/c --mems 0\ncpuset set /f/c --no-cpu-exclusive",
        "/f/c",
        "cpu_exclusive",
        False,
    ),
    "CSEXC-03": (
        f"{CPU_FATHER}cpuset create /f/c --mems 0 --cpus 0\ncpuset set /f/c --cpu-exclusive",
        "/f/c",
        "cpu_exclusive",
        True,
    ),
    "CSEXC-05": (
        f"{CPU_FATHER}cpuset create /f/c --mems 0 --cpus 0\ncpuset set /f/c --cpu-exclusive\n"
        "EBUSY: cpuset set /f --no-cpu-exclusive",
        "/f",
        "cpu_exclusive",
        True,
    ),
    "CSEXC-07": (
        f"{CPU_FATHER}cpuset create /f/c --mems 0 --cpus 0\ncpuset set /f/c --cpu-exclusive\n"
        "EINVAL: cpuset create /f/s --mems 0 --cpus 0-1",
        "/f/c",
        "cpu_exclusive",
        True,
    ),
    "CSEXC-09": (
        f"{CPU_FATHER}cpuset create /f/c --mems 0 --cpus 0\ncpuset create /f/s --mems 0 --cpus 0-1\n"
        "EINVAL: cpuset set /f/c --cpu-exclusive",
        "/f/c",
        "cpu_exclusive",
        False,
    ),
    "CSEXC-11": (
        f"{MEM_FATHER}cpuset create /f/c --mems 0\ncpuset set /f/c --no-mem-exclusive",
        "/f/c",
        "mem_exclusive",
        False,
    ),
    "CSEXC-13": (
        "cpuset create /f --mems 0-1\ncpuset create /f/c --mems 0\nEACCES: cpuset set /f/c --mem-exclusive",
        "/f/c",
        "mem_exclusive",
        False,
    ),
    "CSEXC-15": (
        f"{MEM_FATHER}cpuset create /f/c --mems 0\ncpuset set /f/c --mem-exclusive\ncpuset create /f/s --mems 1",
        "/f/s",
        "mem_exclusive",
        False,
    ),
    "CSEXC-17": (
        f"{MEM_FATHER}cpuset create /f/c --mems 0\ncpuset create /f/s --mems 1\ncpuset set /f/c --mem-exclusive",
        "/f/c",
        "mem_exclusive",
        True,
    ),
}


@pytest.mark.parametrize(("script", "name", "of", "on"), EXCLUSIVE.values(), ids=EXCLUSIVE)
def test_switches(make: Make, script: str, name: str, of: str, on: bool) -> None:
    tool = make("modern")
    play(tool, script)
    assert switch(tool, name, of) is on


INSIDE = "cpuset create /p --mems 0 --cpus 0-1\ntask create --pid 1 --cpu 0\ncpuset move 1 /p\n"
TWO = "cpuset create /p --mems 0\ncpuset create /q --mems 1\ntask create --pid 1 --cpu 0\ncpuset move 1 /p\n"
THREADS = f"{TWO}task create --pid 2 --thread-of 1\ncpuset move 2 /q\n"
TOUCH = "mmap 1 1p --label a\nfault 1 a --write"
SWITCHED = "cpuset set /p --memory-migrate\ncpuset set /q --memory-migrate\n"
# id: (script, area of task 1, its pages by node)
MEMORY = {
    "CSMEM-01": (f"{INSIDE}{TOUCH}", "a", {0: 1}),
    "CSMEM-03": (f"{INSIDE}mmap 1 1p --shm key --label a\nfault 1 a --write", "a", {0: 1}),
    "CSMEM-05": (f"{INSIDE}mmap 1 1p --label a\nmlock 1 a\nfault 1 a --write", "a", {0: 1}),
    "CSMEM-09": (f"{TWO}{TOUCH}", "a", {0: 1}),
    "CSMEM-10": (f"{TWO}{TOUCH}\ncpuset move 1 /q\nfault 1 a --write", "a", {0: 1}),
    "CSMEM-11": (f"{TWO}{TOUCH}\ncpuset move 1 /q\nmmap 1 1p --label b\nfault 1 b --write", "b", {1: 1}),
    "CSMEM-15": (f"{TWO}cpuset set /p --mems 1\n{TOUCH}", "a", {1: 1}),
    "CSMEM-16": (
        f"{TWO}cpuset set /p --mems 1\n{TOUCH}\ncpuset set /p --mems 0\nmunmap 1 a\nmmap 1 1p --label b\n"
        "fault 1 b --write",
        "b",
        {0: 1},
    ),
    "CSMEM-20": (f"{THREADS}{TOUCH}", "a", {0: 1}),
    "CSMEM-21": (f"{THREADS}mmap 2 1p --label b\nfault 2 b --write", "b", {1: 1}),
    "CSMEM-26": (f"{THREADS}{SWITCHED}{TOUCH}\nmadvise 1 a dontneed\nfault 1 a --write", "a", {0: 1}),
    "CSMEM-31": (f"{THREADS}{SWITCHED}cpuset set /p --mems 1\n{TOUCH}", "a", {1: 1}),
    "CSMEM-33": (
        f"{THREADS}{SWITCHED}cpuset set /p --mems 1\n{TOUCH}\ncpuset set /p --mems 0\nmadvise 1 a dontneed\n"
        "fault 1 a --write",
        "a",
        {0: 1},
    ),
}


@pytest.mark.parametrize(("script", "area", "wanted"), MEMORY.values(), ids=MEMORY)
def test_memory(make: Make, script: str, area: str, wanted: dict[int, int]) -> None:
    tool = make("modern")
    play(tool, script)
    assert nodes_of(tool, 1, area) == wanted


# id: (mems, call, an address of the area or None, the policy afterwards)
CALLS = {
    "CSSYS-07": ("0", "mbind 1 a bind 0", 0x10000000, "bind 0"),
    "CSSYS-09": ("0-1", "mbind 1 a bind 1,2", 0x10000000, "bind 1"),
    "CSSYS-11": ("0", "set-mempolicy 1 bind 0", None, "bind 0"),
    "CSSYS-13": ("0-1", "set-mempolicy 1 bind 1,2", None, "bind 1"),
}


@pytest.mark.parametrize(("mems", "call", "addr", "wanted"), CALLS.values(), ids=CALLS)
def test_policies_are_cut_to_the_cpuset(make: Make, mems: str, call: str, addr: int | None, wanted: str) -> None:
    tool = make("modern")
    play(tool, f"cpuset create /p --mems {mems}\ntask create --pid 1\ncpuset move 1 /p\nmmap 1 4p --label a\n{call}")
    assert policy(tool, 1, addr) == wanted


def test_the_root_cpuset_cannot_be_removed(make: Make) -> None:
    """rmdir of the mount point is EBUSY, whoever is in it."""
    tool = make("v9")
    found = tool("cpuset", "remove", "/", "--json").document
    assert (found["errno"], "root" in found["message"]) == ("EBUSY", True)
