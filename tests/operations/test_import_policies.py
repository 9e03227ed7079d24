"""The policies of imported tasks: whose they are, and which nodes the user named; through the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Runner
from tests.operations.trees import done, loaded, make_tree, put, text_of


def policy_of(tool: Runner, pid: int, *words: object) -> dict[str, Any]:
    found = done(tool("get-mempolicy", pid, *words, "--json"))
    return {key: found[key] for key in ("mode", "nodes", "scope")}


ALL_AGREE = """00400000 {0} file=/bin/db mapped=2 N0=2
10000000 {0} heap anon=2 dirty=2 N0=2
20000000 {0} anon=2 dirty=2 N0=2
"""
STACK_SAYS = """00400000 {0} file=/bin/db mapped=2 N0=2
10000000 bind{1}0 anon=2 dirty=2 N0=2
7fff0000 {0} stack anon=2 dirty=2 N0=2
"""
SHARED = """00400000 {0} file=/bin/db mapped=2 N0=2
10000000 default file=/SYSV00000001\\040(deleted) dirty=2 N0=2
7fff0000 {0} stack anon=2 dirty=2 N0=2
"""
ONE_DEFAULT = """00400000 default file=/bin/db mapped=2 N0=2
7fff0000 {0} stack anon=2 dirty=2 N0=2
"""
NO_STACK = """00400000 {0} file=/bin/db mapped=2 N0=2
10000000 bind{1}0 anon=2 dirty=2 N0=2
"""


@pytest.mark.parametrize(
    ("text", "mode"),
    [(ALL_AGREE, "interleave"), (STACK_SAYS, "interleave"), (SHARED, "interleave"), (ONE_DEFAULT, "default"),
     (NO_STACK, "default"), (ALL_AGREE.replace("{0}", "default"), "default")],
    ids=["all-agree", "stack", "shared-memory", "one-default", "no-stack", "default"],
)  # fmt: skip
@pytest.mark.parametrize(("profile", "mark"), [("v9", "="), ("modern", ":")])
def test_the_policy_that_lines_agree_on_is_the_tasks(
    tool: Runner, tmp_path: Path, text: str, mode: str, profile: str, mark: str
) -> None:
    """
    A policy of a task shows in every area without one of its own, so a line with the default one is none of a task
    that has another; but shared memory that V9 asks itself. The text is the same afterwards, and get_mempolicy(2) of an
    address tells the area's own policy only.
    """
    if text == SHARED and profile == "modern":
        mode = "default"  # a kernel of today shows the task's policy there
    text = text.format(f"interleave{mark}0-1", mark)
    document = loaded(tool, make_tree(tmp_path / "t", {7: {"numa_maps": text}}), "--profile", profile)
    notes = [line for line in document["assumptions"] if "taken as the task's" in line]
    assert len(notes) == (mode != "default")
    assert policy_of(tool, 7)["mode"] == mode
    own = policy_of(tool, 7, "0x00400000")
    assert own["mode"] == ("interleave" if mode == "default" and text.startswith("00400000 i") else "default")
    size = " kernelpagesize_kB=4" if profile == "modern" else ""
    assert text_of(tool, 7).splitlines() == [line + size for line in text.splitlines()]


def test_new_areas_follow_the_policy_of_the_task(tool: Runner, tmp_path: Path) -> None:
    """Interleaving by address: four pages on nodes 0, 1, 0, 1."""
    text = ALL_AGREE.format("interleave:0-1")
    loaded(tool, make_tree(tmp_path / "t", {7: {"numa_maps": text}}), "--profile", "modern")
    done(tool("mmap", 7, "4p", "--label", "x", "--json"))
    assert done(tool("fault", 7, "x", "--write", "--json"))["nodes"] == [
        {"node": 0, "pages": 2},
        {"node": 1, "pages": 2},
    ]


def test_static_and_relative_sets_are_the_users(tool: Runner, tmp_path: Path) -> None:
    """
    In a cpuset of nodes 1-2 the relative set 0 means node 1, the static one is node 2. Among 2-3 both are 2;
    among 0-1 they are 0 and all that there is; among 1-2 again what they were. Rule 38 of what a 6.1 kernel does.
    """
    text = "10000000 bind=static:2 anon=1 dirty=1 N2=1\n20000000 interleave=relative:1 anon=1 dirty=1 N1=1\n"
    tree = make_tree(tmp_path / "t", {7: {"numa_maps": text, "cpuset": "/a\n"}}, nodes=4)
    put(tree, "dev/cpuset/a", {"mems": "1-2\n", "cpus": "0\n"})
    document = loaded(tool, tree, "--profile", "modern")
    assert (
        len([line for line in document["assumptions"] if "static and relative policies taken as made with" in line])
        == 1
    )

    def policies(mems: str) -> list[str]:
        done(tool("cpuset", "set", "/a", "--mems", mems, "--json"))
        return [line.split()[1] for line in text_of(tool, 7).splitlines()]

    assert policies("2-3") == ["bind=static:2", "interleave=relative:2"]
    assert policies("0-1") == ["bind=static:0-1", "interleave=relative:0"]
    assert policies("1-2") == ["bind=static:2", "interleave=relative:1"]
