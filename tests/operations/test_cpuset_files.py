"""Reading and writing the files of a cpuset, over the command line: cpuset(7)."""

from __future__ import annotations

import pytest

from tests.conftest import Make, Runner
from tests.telling import cpuset, nodes_of, play, tell


def read(tool: Runner, name: str, file: str) -> str:
    """What cat would print."""
    found = tool("cpuset", "read", name, file)
    assert found.code == 0, found.err
    return found.out.removesuffix("\n")


@pytest.mark.parametrize("profile", ["v9", "modern"])
def test_files_are_what_set_and_move_change(make: Make, profile: str) -> None:
    """Nodes, CPUs, switches and tasks: the same checks, the same migration."""
    tool = make(profile)
    play(tool, "cpuset create /p --mems 0-1\ntask create --pid 1\nmmap 1 4p --label a\nfault 1 a --write")
    play(tool, "cpuset write /p tasks 1\ncpuset write /p cpuset.memory_migrate 7\ncpuset write p mems 2-3")
    assert [read(tool, "/p", file) for file in ("tasks", "memory_migrate", "mems", "cpus")] == ["1", "1", "2-3", "0-7"]
    assert nodes_of(tool, 1, "a") == {2: 4}
    found = tool("cpuset", "write", "/p", "mems", "0", "--json").document
    assert (found["moved"], found["file"], found["value"], cpuset(tool, "/p")[0]) == (4, "mems", "0", "0")
    play(tool, "EBUSY: cpuset remove /p\nEACCES: cpuset write / mems 0")


def test_an_empty_text_empties_a_list(make: Make) -> None:
    """As `echo > cpuset.mems`; with a task inside it is ENOSPC (modern-kernel.md 41)."""
    tool = make("modern")
    play(tool, "cpuset create /p --mems 0\ntask create --pid 1")
    assert tool("cpuset", "write", "/p", "mems", "").code == 0
    assert read(tool, "/p", "mems") == ""
    play(tool, "cpuset write /p mems 0\ncpuset write /p tasks 1")
    assert tool("cpuset", "write", "/p", "mems", "", "--json").document["errno"] == "ENOSPC"


WRONG = {
    "no such file": ("modern", "ENOENT: cpuset write / mem 0"),
    "no such file to read": ("modern", "ENOENT: cpuset read / cpuset.nothing"),
    "no such cpuset": ("modern", "ENOENT: cpuset write /x mems 0"),
    "a file of the root alone": ("modern", "ENOENT: cpuset read /p memory_pressure_enabled"),
    "younger than V9": ("v9", "ENOENT: cpuset write / mem_hardwall 1"),
    "no list": ("modern", "EINVAL: cpuset write /p mems 0-"),
    "a list of numactl's": ("modern", "EINVAL: cpuset write /p mems all"),
    "no number": ("modern", "EINVAL: cpuset write /p memory_migrate on"),
    "no pid": ("modern", "EINVAL: cpuset write /p tasks db"),
    "no such task": ("modern", "ESRCH: cpuset write /p tasks 99"),
    "pressure": ("v9", "EACCES: cpuset write / memory_pressure 1"),
}


@pytest.mark.parametrize(("profile", "line"), WRONG.values(), ids=WRONG)
def test_refusals_change_nothing(make: Make, profile: str, line: str) -> None:
    tool = make(profile)
    play(tool, "cpuset create /p --mems 0")
    before = tool("state", "hash").out
    play(tool, line)
    assert tool("state", "hash").out == before


def test_what_means_nothing_is_kept(make: Make) -> None:
    """Written, read, part of the state, off again."""
    tool = make("modern")
    before = tool("state", "hash").out
    assert tell(tool, "cpuset write / memory_spread_page 1") == "ok"
    assert (read(tool, "/", "memory_spread_page"), tool("state", "hash").out == before) == ("1", False)
    assert tell(tool, "cpuset write / memory_spread_page 0") == "ok"
    assert (read(tool, "/", "memory_spread_page"), tool("state", "hash").out == before) == ("0", True)


MODERN_FILES = [
    # file, text, answer, what it holds then
    ("sched_load_balance", "0", None, "0"),
    ("sched_load_balance", "A", "EINVAL", "1"),
    ("sched_relax_domain_level", "5", None, "5"),
    ("sched_relax_domain_level", "-1", None, "-1"),
    ("sched_relax_domain_level", "6", "EINVAL", "-1"),
    ("sched_relax_domain_level", "-2", "EINVAL", "-1"),
    ("cgroup.clone_children", "1", None, "1"),
    ("memory_migrate", "0x1", None, "1"),
    ("memory_migrate", "00", None, "0"),
    ("memory_migrate", " 1", "EINVAL", "0"),
    ("memory_migrate", "-1", "EINVAL", "0"),
    ("mems", "0,,1", None, "0-1"),
    ("mems", "0-3:1/2", "EINVAL", "0"),  # node 2 is not there
    ("effective_mems", "1", "EACCES", "0"),
]


@pytest.mark.parametrize(("file", "text", "errno", "left"), MODERN_FILES)
def test_what_the_files_of_today_take(tool: Runner, file: str, text: str, errno: str | None, left: str) -> None:
    """Rule 56 of what a 6.1 kernel does; cpuset(7) for the levels of the scheduler."""
    assert tool("init", "--nodes", 2, "--profile", "modern").code == 0
    assert tool("cpuset", "create", "c", "--mems", 0).code == 0
    assert tool("cpuset", "write", "c", file, "--json", "--", text).document["errno"] == errno
    assert tool("cpuset", "read", "c", file).out == f"{left}\n"


def test_a_clone_has_the_nodes_of_the_one_above(tool: Runner) -> None:
    """CSINH-05 and -11 of the Linux Test Project; not beside a neighbour that is exclusive."""
    assert tool("init", "--nodes", 2, "--profile", "modern").code == 0
    script = "cpuset create p --mems 1\ncpuset write p cgroup.clone_children 1\ncpuset create p/c --mems none"
    assert tool("batch", "-", stdin=script).code == 0
    assert tool("cpuset", "read", "p/c", "mems").out == "1\n"
    assert tool("cpuset", "read", "p/c", "cgroup.clone_children").out == "1\n"
    script = "cpuset set p --mem-exclusive\ncpuset set p/c --mem-exclusive\ncpuset create p/d --mems none"
    assert tool("batch", "-", stdin=script).code == 0
    assert tool("cpuset", "read", "p/d", "mems").out == "\n"


def test_what_is_no_pid_for_tasks_is_eio_under_v9(tool: Runner) -> None:
    """semantics.md 3.6, the first row of attach."""
    assert tool("init", "--nodes", 2).code == 0
    assert tool("cpuset", "create", "c", "--mems", 0).code == 0
    assert tool("cpuset", "write", "c", "tasks", "me", "--json").document["errno"] == "EIO"
