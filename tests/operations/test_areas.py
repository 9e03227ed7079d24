"""Areas that calls change: split, joined again, or left alone."""

from __future__ import annotations

import pytest

from tests.conftest import Runner


def starts(tool: Runner, pid: int) -> list[str]:
    """Where the areas of a task begin."""
    return [vma["addr"] for vma in tool("show", "vmas", pid, "--json").document["vmas"]]


@pytest.mark.parametrize("profile", ["v9", "modern"])
@pytest.mark.parametrize(
    "words", ["mprotect 1 a+0p@2p r", "mlock 1 a+0p@2p", "mbind 1 a+0p@2p bind 1", "munlock 1 a+0p"]
)
def test_a_range_without_length_changes_no_area(tool: Runner, profile: str, words: str) -> None:
    script = f"init --nodes 2 --profile {profile}\ntask create --pid 1\nmmap 1 4p --addr 0x10000 --label a\n"
    assert tool("batch", "-", stdin=f"{script}fault 1 a --write").code == 0
    assert tool(*words.split()).code == 0
    assert starts(tool, 1) == ["0x10000"]
    assert tool("check").code == 0


@pytest.mark.parametrize(("profile", "joined"), [("v9", False), ("modern", False)])
def test_equal_neighbours_that_nothing_is_done_to_stay_two(tool: Runner, profile: str, joined: bool) -> None:
    """A call that changes nothing returns before it looks at neighbours (mprotect_fixup(), mlock_fixup())."""
    script = f"""init --nodes 2 --profile {profile}
task create --pid 1 --cap ipc_lock
mmap 1 4p --addr 0x10000 --label a
mbind 1 a+2p bind 1
fault 1 a --write
mbind 1 a+2p default
mprotect 1 a rw
munlock 1 a"""
    assert tool("batch", "-", stdin=script).code == 0
    assert (starts(tool, 1) == ["0x10000"]) is joined, "both were first written while they were two"
    assert tool("check").code == 0


def test_unknown_words_of_numa_maps_stay_with_every_part_of_an_area(tool: Runner) -> None:
    """A split and a cut in front: each part has the words that the whole had."""
    assert tool("init", "--nodes", 1, "--profile", "modern").code == 0
    line = "00010000 default odd=1 anon=4 dirty=4 N0=4 kernelpagesize_kB=4\n"
    assert tool("import-numa-maps", "-", "--pid", 7, stdin=line).code == 0
    assert tool("batch", "-", stdin="munmap 7 0x10000+1p\nmprotect 7 0x12000+1p r").code == 0
    lines = tool("numa-maps", 7, "--json").document["lines"]
    assert [each["words"] for each in lines] == [["odd=1"]] * 3
