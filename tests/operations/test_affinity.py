"""The CPUs that a task may run on, its thread group and its limit of locked memory."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Runner


def build(tool: Runner, *lines: str) -> None:
    """Run lines that must succeed."""
    outcome = tool("batch", "-", stdin="\n".join(lines))
    assert outcome.code == 0, outcome.err


def task(tool: Runner, pid: int) -> dict[str, Any]:
    """A task as it is listed."""
    return next(row for row in tool("task", "list", "--json").document["tasks"] if row["pid"] == pid)


def test_a_cpuset_cuts_the_cpus_of_a_task(tool: Runner) -> None:
    """CSSYS-03 of the Linux Test Project: {1,2} in a cpuset with 0-1 is 1."""
    build(tool, "init --nodes 2 --cpus 2", "cpuset create c --mems 0 --cpus 0-1", "task create --pid 1 --cpuset c")
    assert tool("task", "run-on", 1, "--cpus", "1,2", "--json").document["cpus"] == "1"
    assert (task(tool, 1)["cpu"], task(tool, 1)["cpus"]) == (1, "1")
    refused = tool("task", "run-on", 1, "--cpus", "2-3", "--json")
    assert (refused.code, refused.document["errno"]) == (1, "EINVAL")
    assert tool("task", "run-on", 1, "--cpu", 0).code == 1, "it may run on 1 only"
    assert tool("task", "set", 1, "--cpus", "0-3", "--json").document["cpus"] == "0-1"


def test_a_task_stays_where_it_runs_if_it_may(tool: Runner) -> None:
    build(tool, "init --nodes 2 --cpus 2", "task create --pid 1 --cpu 3", "task run-on 1 --cpus 1-3")
    assert task(tool, 1)["cpu"] == 3
    build(tool, "task run-on 1 --cpus 0-1", "fork 1 --pid 2")
    assert [(task(tool, pid)["cpu"], task(tool, pid)["cpus"]) for pid in (1, 2)] == [(0, "0-1"), (0, "0-1")]


@pytest.mark.parametrize("change", ["cpuset move 1 c", "cpuset set c --cpus 0-2"])
def test_joining_a_cpuset_or_other_cpus_of_it_widen_the_task_again(tool: Runner, change: str) -> None:
    """Rule 42 of what a 6.1 kernel does; V9 resets cpus_allowed likewise."""
    build(tool, "init --nodes 2 --cpus 2", "cpuset create c --mems 0-1", "task create --pid 1 --cpus 1")
    if "set" in change.split()[1]:
        build(tool, "cpuset move 1 c", "task run-on 1 --cpus 1")
    build(tool, change)
    assert task(tool, 1)["cpus"] is None


def test_masks_are_read_as_the_kernel_prints_them(tool: Runner) -> None:
    build(tool, "init --nodes 2", "task create --pid 1 --cpus 00000000,000000f0", "set-mempolicy 1 bind 00000002")
    assert task(tool, 1)["cpus"] == "4-7"
    assert tool("get-mempolicy", 1, "--json").document["nodes"] == "1"


@pytest.mark.parametrize("text", ["00000000", "00000000,00000000"])
def test_a_mask_without_cpus_is_none(tool: Runner, text: str) -> None:
    build(tool, "init --nodes 2")
    assert tool("task", "create", "--pid", 1, "--cpus", text).code == 2


@pytest.mark.parametrize("words", ["migrate-pages -1 0 1", "move-pages -5 --query 0x1000", "task exit -1"])
def test_a_negative_pid_is_no_task(tool: Runner, words: str) -> None:
    build(tool, "init --nodes 2")
    outcome = tool(*words.split(), "--json")
    assert (outcome.code, outcome.document["errno"]) == (1, "ESRCH")


@pytest.mark.parametrize(("profile", "nodes"), [("v9", {"1": 2}), ("modern", {"0": 2})])
def test_a_thread_that_leads_no_group_moves_no_pages(tool: Runner, profile: str, nodes: dict[str, int]) -> None:
    """Rule 61 of what a 6.1 kernel does: only its own policy and nodes change; V9 migrates once an address space."""
    build(
        tool,
        f"init --nodes 2 --profile {profile} --swap 8p",
        "task create --pid 1",
        "task create --pid 2 --thread-of 1",
        "mmap 1 2p --label a",
        "mbind 1 a bind 0-1",
        "fault 1 a --write",
        "set-mempolicy 2 bind 0-1",
        "cpuset create c --mems 1 --memory-migrate",
        "cpuset move 2 c",
    )
    assert task(tool, 1)["nodes"] == nodes
    policies = tool("get-mempolicy", 1, "a").code, tool("get-mempolicy", 2, "--json").document["nodes"]
    assert policies[1] == "1"
    (line,) = tool("numa-maps", 1, "--json").document["lines"]
    assert line["policy"] == ("bind=1" if profile == "v9" else "bind:0-1")
    build(tool, "cpuset create d --mems 0-1", "cpuset move 1 d", "cpuset move 1 c")
    assert task(tool, 1)["nodes"] == {"1": 2}, "the leader takes the pages along"


@pytest.mark.parametrize(("profile", "first"), [("v9", "EPERM"), ("modern", None)])
def test_the_limit_of_locked_memory(tool: Runner, profile: str, first: str | None) -> None:
    """Rule 57: 8 MiB where nothing was said, counted an address space; root's tasks have the capability."""
    build(tool, f"init --nodes 1 --profile {profile}", "task create --pid 1 --uid 5", "mmap 1 9M --label a")
    assert tool("mlock", 1, "a+4M", "--json").document["errno"] == first
    if first is None:
        assert tool("mlock", 1, "a+4M@4M").code == 0
        assert tool("mlock", 1, "a+2M@2M").code == 0, "locked already"
        assert tool("mlock", 1, "a+1p@8M", "--json").document["errno"] == "ENOMEM"
        assert tool("mmap", 1, "1p", "--locked", "--json").document["errno"] == "EAGAIN"
    build(tool, "task create --pid 2 --uid 5 --memlock 2p", "mmap 2 4p --label b", "mlock 2 b+2p")
    assert tool("mlock", 2, "b+1p@2p", "--json").document["errno"] == "ENOMEM"
    build(tool, "task set 2 --memlock 3p", "mlock 2 b+1p@2p")
    build(tool, "task create --pid 3 --uid 5 --memlock 0", "mmap 3 1p --label c")
    assert tool("mlock", 3, "c", "--json").document["errno"] == "EPERM"
