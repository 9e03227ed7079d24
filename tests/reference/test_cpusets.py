"""The model's cpusets and policies against the worked cases of semantics.md 3.6 and modern-kernel.md 32 to 41."""

from __future__ import annotations

import pytest

from tests.reference.areas import Policy
from tests.reference.rebinding import folded, mapped, rebound
from tests.reference.session import Session

SIX = ("--nodes", "6", "--memory", "50p", "--cpus", "1")


def plain(mode: str, nodes: set[int], mems: set[int]) -> Policy:
    """A policy without flags."""
    return Policy(mode, tuple(sorted(nodes)), frozenset(mems))


def test_a_set_can_only_shrink() -> None:
    """3.6: interleave 0-1 in mems 0-3, mems -> 2 gives {2}; mems -> 4-7 afterwards gives {4}, not {4,5}."""
    once = rebound(plain("interleave", {0, 1}, {0, 1, 2, 3}), {2}, modern=False)
    assert once.nodes == (2,)
    assert rebound(once, {4, 5, 6, 7}, modern=False).nodes == (4,)


@pytest.mark.parametrize(("modern", "nodes"), [(False, (4,)), (True, (0,))])
def test_a_preferred_node_follows_under_v9_only(modern: bool, nodes: tuple[int, ...]) -> None:
    """3.6 maps it; modern-kernel.md 38 keeps it."""
    assert rebound(plain("preferred", {0}, {0, 1}), {4, 5}, modern).nodes == nodes


def test_static_and_relative_sets() -> None:
    """modern-kernel.md 38, 39: bind 7 relative in four nodes is the third; a static set that is lost is all of them."""
    assert folded({7}, {0, 1, 2, 3}) == {3}
    static = Policy("bind", (0,), frozenset({0, 1}), frozenset({"static"}))
    assert rebound(static, {1, 2}, modern=True).nodes == (1,)
    assert rebound(static, {2, 3}, modern=True).nodes == (2, 3)


@pytest.mark.parametrize(("nid", "there"), [(0, 4), (1, 5), (2, 4), (7, 7)])
def test_the_map_wraps_and_leaves_strangers(nid: int, there: int) -> None:
    """3.2, row 8 of the pairs: 0-3 to 4-5."""
    assert mapped(nid, {0, 1, 2, 3}, {4, 5}) == there


def in_cpuset(profile: str, *words: str) -> Session:
    """Task 7 in /p with nodes 0 and 1, its task and its area interleaved over them."""
    s = Session(*SIX, "--profile", profile)
    s("cpuset", "create", "/p", "--mems", "0-1", *words)
    s("cpuset", "move", "7", "/p")
    s("set-mempolicy", "7", "interleave", "0-1")
    s("mbind", "7", "v", "interleave", "0-1")
    return s


@pytest.mark.parametrize(("profile", "task"), [("v9", "4-5"), ("modern", "4")])
def test_v9_rebinds_a_task_when_it_next_needs_its_policy(profile: str, task: str) -> None:
    """3.6: mems 0-1, then 2, then 4-5 without the task running in between; the area, rebound at once, becomes {4}."""
    s = in_cpuset(profile)
    s("cpuset", "set", "/p", "--mems", "2")
    s("cpuset", "set", "/p", "--mems", "4-5")
    assert s("get-mempolicy", "7", "0x10000")["_policy"]["nodes"] == "4"
    assert s("get-mempolicy", "7")["_policy"]["nodes"] == task


def test_a_fault_without_an_allocation_rebinds_nothing() -> None:
    """All pages of the area are there: no allocation, so the policy is still that of mems 0-1."""
    s = in_cpuset("v9")
    s("cpuset", "set", "/p", "--mems", "2")
    s("fault", "7", "v")
    s("cpuset", "set", "/p", "--mems", "4-5")
    assert s("get-mempolicy", "7")["_policy"]["nodes"] == "4-5"


@pytest.mark.parametrize("profile", ["v9", "modern"])
def test_the_cpuset_that_is_joined_decides(profile: str) -> None:
    """modern-kernel.md 36; 3.2: 0-1 to 2-3 moves 0 to 2."""
    s = in_cpuset(profile)
    assert s.places() == [0, 0, 0, 0]
    s("cpuset", "create", "/stay", "--mems", "2-3")
    s("cpuset", "move", "7", "/stay")
    assert s.places() == [0, 0, 0, 0]
    s("cpuset", "create", "/follow", "--mems", "0-1", "--memory-migrate")
    s("cpuset", "move", "7", "/follow")
    assert s.places() == [0, 0, 0, 0], "from nodes 2-3, where nothing is"
    s("cpuset", "create", "/on", "--mems", "4-5", "--memory-migrate")
    s("cpuset", "move", "7", "/on")
    assert s.places() == [4, 4, 4, 4]


def test_who_may_name_which_nodes() -> None:
    """3.4 row 5, modern-kernel.md 32, 34: outside of the target's cpuset."""
    for profile in ("v9", "modern"):
        s = in_cpuset(profile)
        s("task", "create", "--pid", "8", "--uid", "5", "--node", "0")
        s("cpuset", "move", "8", "/p")
        assert s("migrate-pages", "8", "0", "3", "--by", "8")["errno"] == "EPERM"
        assert s("move-pages", "7", "0x10000=3")["errno"] == "EACCES"
        assert s("migrate-pages", "7", "0", "3", "--by", "7")["errno"] == ("EINVAL" if profile == "modern" else None)
