"""What the Linux Test Project expects of cpusets, by id: base_ops, exclusive, hierarchy, inherit, memory, syscall."""

from __future__ import annotations

import pytest

from tests.conftest import Make
from tests.telling import cpuset, nodes_of, play, policy, switch, tell

ALL = "--mems 0-3 --cpus 0-7"
# id: (script, {cpuset: (mems, cpus)})
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
    # a child has its parent's CPUs as with clone_children 1; without it has what it is given
    "CSINH-01": ("cpuset create /f --mems 0 --cpus none\ncpuset create /f/c --mems 0", {"/f/c": ("0", "")}),
    "CSINH-03": (f"cpuset create /f {ALL}\ncpuset create /f/c --mems 0 --cpus none", {"/f/c": ("0", "")}),
    "CSINH-05": ("cpuset create /f --mems 0 --cpus 0\ncpuset create /f/c --mems 0", {"/f/c": ("0", "0")}),
    "CSINH-07": ("cpuset create /f --mems none\ncpuset create /f/c --mems none", {"/f/c": ("", "0-7")}),
    "CSINH-09": (f"cpuset create /f {ALL}\ncpuset create /f/c --mems none", {"/f/c": ("", "0-7")}),
    "CSINH-11": ("cpuset create /f --mems 0\ncpuset create /f/c --mems 0", {"/f/c": ("0", "0-7")}),
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
    "CSBASE-39": ("usage: cpuset set / --cpu-exclusive=A", "/", "cpu_exclusive", True),
    "CSBASE-41": ("cpuset set / --no-mem-exclusive", "/", "mem_exclusive", False),
    "CSBASE-43": ("usage: cpuset set / --mem-exclusive=-1", "/", "mem_exclusive", True),
    "CSBASE-51": ("cpuset set / --no-memory-migrate", "/", "memory_migrate", False),
    "CSBASE-53": ("usage: cpuset set / --memory-migrate=-1", "/", "memory_migrate", False),
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


# id: (file of the root cpuset, what is written, the answer, what it reads afterwards)
FILES = {
    "CSBASE-03": ("memory_pressure", "0", "EACCES", "0"),
    "CSBASE-45": ("mem_exclusive", "2", "ok", "1"),
    "CSBASE-47": ("mem_hardwall", "1", "ok", "1"),
    "CSBASE-49": ("mem_hardwall", "A", "EINVAL", "0"),
    "CSBASE-55": ("memory_migrate", "2", "ok", "1"),
    "CSBASE-57": ("memory_spread_page", "1", "ok", "1"),
    "CSBASE-59": ("memory_spread_page", "A", "EINVAL", "0"),
    "CSBASE-61": ("memory_spread_slab", "0", "ok", "0"),
    "CSBASE-63": ("memory_spread_slab", "-1", "EINVAL", "0"),
    "CSBASE-65": ("memory_spread_slab", "2", "ok", "1"),
    "CSBASE-71": ("memory_pressure_enabled", "0", "ok", "0"),
    "CSBASE-73": ("memory_pressure_enabled", "-1", "EINVAL", "0"),
    "CSBASE-75": ("memory_pressure_enabled", "2", "ok", "1"),
}


@pytest.mark.parametrize(("file", "text", "answer", "left"), FILES.values(), ids=FILES)
def test_files_of_the_root(make: Make, file: str, text: str, answer: str, left: str) -> None:
    tool = make("modern")
    assert tell(tool, f"cpuset write / cpuset.{file} {text}") == answer
    assert tool("cpuset", "read", "/", file).out == f"{left}\n"


@pytest.mark.parametrize(
    ("file", "inherited"),
    [("mem_hardwall", False), ("memory_spread_page", True), ("memory_spread_slab", True)],
    ids=["CSINH-17", "CSINH-21", "CSINH-23"],
)
def test_files_of_a_child(make: Make, file: str, inherited: bool) -> None:
    """The parent's are 0; where they are 1 a child begins with 0, but for where memory is spread (rule 60)."""
    tool = make("modern")
    for value in ("0", "1"):
        play(tool, f"cpuset create /p{value} --mems 0\ncpuset write /p{value} {file} {value}")
        play(tool, f"cpuset create /p{value}/c --mems 0")
        assert tool("cpuset", "read", f"/p{value}/c", file).out == f"{value if inherited else 0}\n"


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
    "CSMEM-07": (f"{INSIDE}{TOUCH}\nmunmap 1 a\nmmap 1 1p --label b\nfault 1 b --write", "b", {0: 1}),
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
    "CSMEM-24": (f"{THREADS}{SWITCHED}{TOUCH}", "a", {0: 1}),
    "CSMEM-25": (f"{THREADS}{SWITCHED}mmap 2 1p --label b\nfault 2 b --write", "b", {1: 1}),
    "CSMEM-26": (f"{THREADS}{SWITCHED}{TOUCH}\nmadvise 1 a dontneed\nfault 1 a --write", "a", {0: 1}),
    "CSMEM-31": (f"{THREADS}{SWITCHED}cpuset set /p --mems 1\n{TOUCH}", "a", {1: 1}),
    "CSMEM-32": (f"{THREADS}{SWITCHED}cpuset set /p --mems 1\nmmap 2 1p --label b\nfault 2 b --write", "b", {1: 1}),
    "CSMEM-33": (
        f"{THREADS}{SWITCHED}cpuset set /p --mems 1\n{TOUCH}\ncpuset set /p --mems 0\nmadvise 1 a dontneed\n"
        "fault 1 a --write",
        "a",
        {0: 1},
    ),
    "CSMEM-34": (
        f"{THREADS}{SWITCHED}cpuset set /p --mems 1\nmmap 2 1p --label b\nfault 2 b --write\ncpuset set /p --mems 0\n"
        "madvise 2 b dontneed\nfault 2 b --write",
        "b",
        {1: 1},
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


def test_allowed_nodes_cssys_15(make: Make) -> None:
    """get_mempolicy() with MPOL_F_MEMS_ALLOWED and the status file say the same."""
    tool = make("modern")
    play(tool, "cpuset create /p --mems 0 --cpus 0\ntask create --pid 1\ncpuset move 1 /p")
    assert tool("get-mempolicy", 1, "--mems-allowed", "--json").document["nodes"] == "0" == cpuset(tool, "/p")[0]


def test_mems_change_under_workers_cstask_01(make: Make) -> None:
    """The first node, then the second, while tasks bound to all nodes map, touch and unmap: nobody fails."""
    tool = make("modern")
    play(tool, "cpuset create /p --mems 0-3")
    for pid in (1, 2):
        play(tool, f"task create --pid {pid} --cpuset /p\nset-mempolicy {pid} bind 0-3")
    for mems in ("0-3", "0", "1"):
        play(tool, f"cpuset set /p --mems {mems}" if mems != "0-3" else "")
        for pid in (1, 2):
            play(tool, f"mmap {pid} 10p --label a\nfault {pid} a --write")
            assert sum(nodes_of(tool, pid, "a").values()) == 10
            play(tool, f"munmap {pid} a")
