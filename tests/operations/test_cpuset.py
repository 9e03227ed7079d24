"""Cpusets over the command line: semantics.md 3.6, and what a 6.1 kernel does."""

from __future__ import annotations

import pytest

from tests.conftest import Make, Runner
from tests.telling import cpuset, nodes_of, play, policy

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
    "exclusive, and without nodes": "cpuset create /p --mems none\ncpuset set /p --mem-exclusive",
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


@pytest.mark.parametrize(
    ("line", "nodes"),
    [("fault 1 area --write", "1,3"), ("mbind 1 area bind 0 --move", "1,3"), ("fault 1 more --write", "1")],
    ids=["a fault on pages that are there", "a move of pages that are where they should be", "a fault that allocates"],
)
def test_v9_rebinds_a_task_at_an_allocation_and_not_before(make: Make, line: str, nodes: str) -> None:
    """3.6: between mems 2 and mems 1,3 the task does something; {0,1} becomes {1,3}, by way of {2} {1}."""
    tool = make("v9")
    play(tool, "task create --pid 1 --cpu 0\nmmap 1 8p --label area\nmbind 1 area bind 0\nfault 1 area --write")
    play(tool, "cpuset create /p --mems 0-1\ncpuset move 1 /p\nset-mempolicy 1 interleave 0-1\nmmap 1 2p --label more")
    play(tool, f"cpuset set /p --mems 2\n{line}\ncpuset set /p --mems 1,3")
    assert policy(tool, 1) == f"interleave {nodes}"


def test_balancing_alone_keeps_no_nodes_of_the_user(make: Make) -> None:
    """Only static and relative sets are kept as they were named (modern-kernel.md 38, 39)."""
    tool = make("modern")
    play(tool, "task create --pid 1\ncpuset create /p --mems 0-1\ncpuset move 1 /p")
    play(tool, "set-mempolicy 1 bind 1-2 --numa-balancing")
    assert policy(tool, 1) == "bind 1"
    play(tool, "cpuset set /p --mems 2-3")
    assert policy(tool, 1) == "bind 3"


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


def test_a_shared_page_that_falls_back_to_its_own_node_moves_with_every_address_space(make: Make) -> None:
    """
    B18: node 0 has room for four of the eight shared pages, the others are moved to node 1, where they were.

    Each address space is migrated (B14), so the second finds those on node 1 and moves them there once more.
    """
    tool = make("v9")
    play(tool, "task create --pid 1 --node 1\nmmap 1 8p --label area\nfault 1 area --write\nfork 1 --pid 2")
    play(tool, "task create --pid 9 --node 0\nmmap 9 60p --label full\nfault 9 full --write")
    play(tool, "cpuset create /p --mems 1,2\ncpuset move 1 /p\ncpuset move 2 /p\ncpuset set /p --memory-migrate")
    found = tool("cpuset", "set", "/p", "--mems", "0-1", "--json").document
    assert found["moves"] == [{"from": 1, "to": 0, "pages": 4}, {"from": 1, "to": 1, "pages": 8}]
    assert (found["moved"], found["moved_twice"]) == (12, 4)


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


def test_the_root_cpuset_cannot_be_removed(make: Make) -> None:
    """rmdir of the mount point is EBUSY, whoever is in it."""
    tool = make("v9")
    found = tool("cpuset", "remove", "/", "--json").document
    assert (found["errno"], "root" in found["message"]) == ("EBUSY", True)


OBJECT = "task create --pid 100\nmmap 100 8p --shm seg --label seg\n"
OBJECT_REBOUND = {
    "by another task without a policy there": (
        "fork 100 --pid 101\nmbind 100 seg bind 1,2\ncpuset move 101 c2",
        ("1-2", "1-2"),
    ),
    "by the task that bound it": ("fork 100 --pid 101\nmbind 100 seg bind 1,2\ncpuset move 100 c2", ("0-1", "0-1")),
    "by another task with a copy of the policy": (
        "mbind 100 seg bind 1,2\nfork 100 --pid 101\ncpuset move 101 c2",
        ("1-2", "1-2"),
    ),
    "by the task whose policy another has replaced": (
        "fork 100 --pid 101\nmbind 100 seg bind 1,2\nmbind 101 seg bind 2\ncpuset move 100 c2",
        ("2", "2"),
    ),
    "by the task that has replaced it": (
        "fork 100 --pid 101\nmbind 100 seg bind 1,2\nmbind 101 seg bind 2\ncpuset move 101 c2",
        ("0", "0"),
    ),
    "by another area of the task that bound it": (
        "fork 100 --pid 101\nmmap 100 8p --shm seg --label too\nmbind 100 too bind 1,2\nmunmap 100 too\n"
        "cpuset move 100 c2",
        ("1-2", "1-2"),
    ),
}
"""How the policy of an object is rebound that says 1-2 or 2 of nodes 0-3, when a task may use 0-1: 1 is 1, 2 is 0."""


@pytest.mark.parametrize("profile", ["v9", "v9-posted"])
@pytest.mark.parametrize(("script", "told"), OBJECT_REBOUND.values(), ids=OBJECT_REBOUND)
def test_the_policy_of_an_object_follows_the_area_through_which_it_was_bound(
    make: Make, profile: str, script: str, told: tuple[str, str]
) -> None:
    """9a: an area without a policy of its own is not touched by its task's cpuset, nor is the object by any other."""
    tool = make(profile)
    play(tool, f"cpuset create c2 --mems 0-1\n{OBJECT}{script}")
    assert tuple(policy(tool, pid, 0x10000000).removeprefix("bind ") for pid in (100, 101)) == told


def test_a_page_that_fails_in_the_walk_of_the_second_task_is_told_there(tool: Runner) -> None:
    """The first walk moves it from 0 to 1, the second from 1 to 2 as far as node 2 has room (3.2, 3.6)."""
    for words in (
        "init --nodes 3 --memory 100p,100p,3p --cpus 2,1,1 --profile modern --swap none",
        "cpuset create c --mems 0-1 --memory-migrate",
        "task create --pid 100 --node 0 --cpuset c",
        "mmap 100 4p --label a",
        "fault 100 a --write",
        "fork 100 --pid 101",
    ):
        assert tool(*words.split()).code == 0, words
    document = tool("cpuset", "set", "c", "--mems", "1-2", "--json").document
    assert (document["moved"], document["moved_twice"], document["failed"]) == (7, 3, 1)
    assert [(each["pid"], each["node"]) for each in document["failures"]] == [(101, 1)]
