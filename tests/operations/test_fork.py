"""fork and copy on write: what is shared, who gets what, and what an end leaves, over the command line."""

from __future__ import annotations

import pytest

from tests.conftest import Runner
from tests.operations.test_mbind import nodes_of


def used(tool: Runner) -> list[int]:
    """Used pages by node."""
    return [node["used"] for node in tool("show", "nodes", "--json").document["nodes"]]


def test_a_family_shares_until_it_writes(machine: Runner) -> None:
    machine("fork", 100, "--pid", 101)
    machine("fork", 101, "--pid", 102)
    assert used(machine) == [16, 0]
    machine("task", "run-on", 102, "--node", 1)
    assert machine("fault", 102, "heap+4p", "--write", "--json").document["faults"]["cow"] == 4
    assert used(machine) == [16, 4]
    machine("task", "exit", 100)
    assert used(machine) == [16, 4]
    machine("task", "exit", 101)
    assert used(machine) == [12, 4]
    assert nodes_of(machine, 102) == [1] * 4 + [0] * 12
    machine("task", "exit", 102)
    assert used(machine) == [0, 0]
    assert machine("check").code == 0


def test_a_fork_that_is_gone_leaves_the_state_that_was(machine: Runner) -> None:
    """But for write permission: the next write takes every page over in place."""
    rows = machine("check", "--json").document["checked"]
    machine("fork", 100, "--pid", 101)
    machine("fault", 101, "heap+3p@5p", "--write")
    machine("task", "exit", 101)
    assert machine("fault", 100, "heap", "--write", "--json").document["faults"]["reuse"] == 16
    assert machine("check", "--json").document["checked"] == rows


def test_zero_pages_go_along_where_an_anonymous_page_ever_was(machine: Runner) -> None:
    """madvise takes the pages, not what the area remembers of them."""
    machine("mmap", 100, "4p", "--label", "never")
    machine("fault", 100, "never")
    machine("madvise", 100, "heap", "dontneed")
    machine("fault", 100, "heap+2p")
    machine("fork", 100, "--pid", 101)
    vmas = machine("show", "pages", 101, "--json").document["vmas"]
    assert [(run["pages"], run["state"]) for run in vmas[0]["pages"]] == [(2, "zero"), (14, "absent")]
    assert [(run["pages"], run["state"]) for run in vmas[1]["pages"]] == [(4, "absent")]
    assert machine("fault", 101, "heap+2p", "--write", "--json").document["faults"]["anonymous"] == 2
    assert machine("show", "pages", 100, "heap+1p", "--json").document["vmas"][0]["pages"][0]["state"] == "zero"
    assert machine("check").code == 0


def test_merged_areas_remember_for_both(machine: Runner) -> None:
    """An area that was only read joins one that was written: its zero pages are copied from then on."""
    machine("mmap", 100, "4p", "--addr", "0x10010000")
    machine("fault", 100, "0x10010000+4p")
    machine("fork", 100, "--pid", 101)
    vmas = machine("show", "pages", 101, "--json").document["vmas"]
    assert [(vma["addr"], vma["end"]) for vma in vmas] == [("0x10000000", "0x10014000")]
    assert vmas[0]["pages"][-1]["state"] == "zero"


def test_a_lock_in_memory_is_not_inherited(machine: Runner) -> None:
    machine("mlock", 100, "heap")
    machine("fork", 100, "--pid", 101)
    assert machine("migrate-pages", 100, 0, 1, "--json").document["skips"][0]["reason"] == "vma-locked"
    assert machine("migrate-pages", 101, 0, 1, "--json").document["failures"][0]["reason"] == "mlocked"
    # mlock populates by write, so the child's own lock makes copies (modern-kernel.md, from memory)
    assert machine("mlock", 101, "heap+4p", "--json").document["faults"]["cow"] == 4


def test_a_pinned_page_stays_with_its_holder_when_another_writes(machine: Runner) -> None:
    machine("page", "pin", 100, "heap+1p")
    machine("fork", 100, "--pid", 101)
    machine("fault", 101, "heap", "--write")
    assert machine("migrate-pages", 101, 0, 1, "--json").document["moved"] == 16
    assert machine("migrate-pages", 100, 0, 1, "--json").document["failed"] == 1


@pytest.mark.parametrize(
    ("words", "errno"),
    [("fork 7 --pid 8", "ESRCH"), ("fork 100 --pid 100", "EEXIST"), ("fork 100 --pid 0", "EINVAL")],
)
def test_refused(machine: Runner, words: str, errno: str) -> None:
    assert machine(*words.split(), "--json").document["errno"] == errno


def test_policies_go_along(machine: Runner) -> None:
    machine("set-mempolicy", 100, "bind", 1)
    machine("mbind", 100, "heap", "interleave", "0-1")
    machine("fork", 100, "--pid", 101)
    assert machine("get-mempolicy", 101, "--json").document["nodes"] == "1"
    assert machine("get-mempolicy", 101, "0x10000000", "--json").document["mode"] == "interleave"
    machine("mbind", 101, "heap", "default")
    assert machine("get-mempolicy", 100, "0x10000000", "--json").document["mode"] == "interleave"


def test_dontneed_drops_its_range_alone_where_areas_meet_in_it(tool: Runner) -> None:
    """What is given up in one area must not join the runs that were cut at the end of the range."""
    for line in (
        "init --nodes 2 --memory 64p",
        "task create --pid 101",
        "mmap 101 21p --label heap --addr 0x40000000",
        "fault 101 heap --write",
        "mlock 101 0x40003000+2p",
        "fork 101 --pid 104",
        "fault 104 heap+1p@1p --write",
        "madvise 104 heap+3p@1p dontneed",
    ):
        assert tool(*line.split()).code == 0, line
    there = [(run["addr"], run["pages"]) for run in present(tool, 104)]
    assert there == [("0x40000000", 1), ("0x40004000", 1), ("0x40005000", 16)]


def present(tool: Runner, pid: int) -> list[dict[str, object]]:
    """The present runs of a task."""
    vmas = tool("show", "pages", pid, "--json").document["vmas"]
    return [run for vma in vmas for run in vma["pages"] if run["state"] == "present"]


def test_mapcount_counts_present_ptes_only(tool: Runner) -> None:
    for line in (
        "init --nodes 2 --memory 64p --swap 8p",
        "task create --pid 100",
        "mmap 100 2p --label h",
        "fault 100 h --write",
        "fork 100 --pid 101",
        "swap out 100 h",
        "fault 100 h+1p",
    ):
        assert tool(*line.split()).code == 0, line
    counted = [
        (run["state"], run["mapcount"])
        for pid in (100, 101)
        for vma in tool("show", "pages", pid, "--json").document["vmas"]
        for run in vma["pages"]
    ]
    assert counted == [("present", 1), ("swapped", 0), ("swapped", 1), ("swapped", 0)]


def test_a_page_that_was_read_in_and_could_not_be_copied_is_not_counted_twice(tool: Runner) -> None:
    for line in (
        "init --nodes 2 --memory 9p,0 --swap 8p",
        "task create --pid 100",
        "mmap 100 1p --label h",
        "fault 100 h --write",
        "fork 100 --pid 101",
        "swap out 100 h",
        "mmap 100 8p --label more",
        "fault 100 more --write",
    ):
        assert tool(*line.split()).code == 0, line
    found = tool("fault", 100, "h", "--write", "--json").document
    assert (found["errno"], found["faults"]["swapin"], found["faults"]["present"]) == ("ENOMEM", 1, 0)
