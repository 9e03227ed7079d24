"""mbind: who may move what, where targets come from, what a refused call leaves, over the command line."""

from __future__ import annotations

import pytest

from tests.conftest import Runner

WRAP = 0xFFFFFFFC
"""Page number 2^32 - 4."""


def nodes_of(tool: Runner, pid: int = 100) -> list[int | None]:
    """The node of each page of a task, by address."""
    found: dict[int, int | None] = {}
    for vma in tool("show", "pages", pid, "--json").document["vmas"]:
        for run in vma["pages"]:
            for k in range(run["pages"]):
                found[int(run["addr"], 16) // 4096 + k] = run["node"]
    return [found[page] for page in sorted(found)]


@pytest.mark.parametrize("profile", ["v9", "modern"])
def test_the_interleave_index_is_cut_to_32_bits(tool: Runner, profile: str) -> None:
    """2^32 - 4 modulo 3 is 0, and page 2^32 begins anew with 0: as a fault places them, so does a move."""
    tool("init", "--nodes", 4, "--memory", "100p", "--profile", profile)
    tool("task", "create", "--pid", 100, "--node", 3)
    tool("mmap", 100, "10p", "--addr", hex(WRAP * 4096), "--label", "a")
    tool("fault", 100, "a", "--write")
    assert tool("mbind", 100, "a", "interleave", "0-2", "--move").code == 0
    assert nodes_of(tool) == [0, 1, 2, 0, 0, 1, 2, 0, 1, 2]
    tool("madvise", 100, "a", "dontneed")
    tool("fault", 100, "a", "--write")
    assert nodes_of(tool) == [0, 1, 2, 0, 0, 1, 2, 0, 1, 2]
    assert tool("check").code == 0


def test_a_page_that_stays_takes_no_target(tool: Runner) -> None:
    """Each target belongs to the page that moves (B2): two of eight are pinned, six are allocated."""
    tool("init", "--nodes", 2, "--memory", "100p")
    tool("task", "create", "--pid", 100, "--node", 0)
    tool("mmap", 100, "8p", "--label", "a")
    tool("fault", 100, "a", "--write")
    tool("page", "pin", 100, "a+2p@3p")
    outcome = tool("mbind", 100, "a", "bind", 1, "--move", "--json")
    assert (outcome.code, outcome.document["return"], outcome.document["failed"]) == (3, 0, 2)
    row = tool("show", "nodes", "--json").document["nodes"][1]["numastat"]
    assert (row["numa_hit"], row["other_node"]) == (6, 6)


def test_the_old_place_is_free_at_once(tool: Runner) -> None:
    """One free page on the node is enough to place all pages anew, and nothing falls back."""
    tool("init", "--nodes", 2, "--memory", "9p")
    tool("task", "create", "--pid", 100, "--node", 0)
    tool("mmap", 100, "8p", "--label", "a")
    tool("fault", 100, "a", "--write")
    document = tool("mbind", 100, "a", "default", "--move", "--json").document
    assert document["moves"] == [{"from": 0, "to": 0, "pages": 8}]
    assert nodes_of(tool) == [0] * 8


@pytest.mark.parametrize("profile", ["v9", "modern"])
def test_a_set_without_room_is_silent_unless_strict(tool: Runner, profile: str) -> None:
    """ENOMEM of the move is success without STRICT and EIO with it (semantics.md 9, 10); the policy is set."""
    tool("init", "--nodes", 2, "--memory", "10p,3p", "--profile", profile)
    tool("task", "create", "--pid", 100, "--node", 0)
    tool("mmap", 100, "8p", "--label", "a")
    tool("fault", 100, "a", "--write")
    first = tool("mbind", 100, "a", "bind", 1, "--move", "--dry-run", "--json").document
    second = tool("mbind", 100, "a", "bind", 1, "--move", "--strict", "--json").document
    assert (first["return"], first["errno"], first["moved"], first["failed"]) == (0, None, 3, 5)
    assert (second["return"], second["errno"], second["moved"], second["committed"]) == (-5, "EIO", 3, True)
    assert {entry["reason"] for entry in second["failures"]} == {"not-tried"}
    assert tool("get-mempolicy", 100, "0x10000000", "--json").document["mode"] == "bind"


def test_shared_pages_need_move_all_and_that_a_capability(tool: Runner) -> None:
    tool("init", "--nodes", 2, "--memory", "100p")
    tool("task", "create", "--pid", 100, "--node", 0, "--uid", 1000)
    tool("mmap", 100, "8p", "--label", "a")
    tool("fault", 100, "a", "--write")
    tool("fork", 100, "--pid", 101)
    tool("fault", 101, "a+2p", "--write")
    document = tool("mbind", 100, "a", "bind", 1, "--move", "--json").document
    assert (document["moved"], document["skipped"], document["skips"][0]["reason"]) == (2, 6, "shared")
    assert tool("mbind", 100, "a", "bind", 1, "--move-all", "--json").document["errno"] == "EPERM"
    tool("task", "set", 101, "--uid", 0)
    document = tool("mbind", 101, "a", "bind", 1, "--move-all", "--json").document
    assert (document["moved"], document["skipped"]) == (8, 0)
    assert nodes_of(tool, 100) == [1] * 8
    assert nodes_of(tool, 101) == [1] * 8


@pytest.mark.parametrize(
    "words",
    [
        "mbind 100 heap bind 1 --strict",
        "mbind 100 heap+4p bind 7",
        "mbind 100 0x10000000+17p bind 1 --move",
        "mbind 100 heap bind none --move",
        "mbind 100 heap interleave 0-1 --move --dry-run",
        "mprotect 100 0x10000000+17p r",
        "madvise 100 0x20000000+17p dontneed",
        "get-mempolicy 100 0x20000000",
        "fork 100 --pid 100",
    ],
)
def test_refused_calls_and_dry_runs_change_nothing(machine: Runner, words: str) -> None:
    before = machine("state", "hash").out
    outcome = machine(*words.split())
    assert outcome.code == (0 if "--dry-run" in words else 1)
    assert machine("state", "hash").out == before


def test_neighbours_merge_under_modern_only(tool: Runner) -> None:
    """V9's mbind leaves equal neighbours apart (3.3); a 6.x kernel joins them."""
    for profile, lines in (("v9", 3), ("modern", 1)):
        tool("init", "--nodes", 2, "--memory", "100p", "--profile", profile, "--force")
        tool("task", "create", "--pid", 100)
        tool("mmap", 100, "12p", "--label", "a")
        tool("mbind", 100, "a+4p@4p", "bind", 0)
        tool("mbind", 100, "a+4p@4p", "default")
        assert len(tool("numa-maps", 100, "--json").document["lines"]) == lines


def test_length_zero_comes_after_the_capability(tool: Runner) -> None:
    """Rows 3 and 6 of semantics.md 3.3: EPERM first, then 0, whatever the nodes."""
    tool("init", "--nodes", 2, "--memory", "100p")
    tool("task", "create", "--pid", 100, "--uid", 1000)
    assert tool("mbind", 100, "0x10000000+0p", "bind", "none", "--json").document["return"] == 0
    assert tool("mbind", 100, "0x10000000+0p", "bind", "none", "--move-all", "--json").document["errno"] == "EPERM"


def test_pages_of_locked_areas_count_in_no_round_of_targets(tool: Runner) -> None:
    """
    B1 and B6 as posted: four rounds of one target each, as STRICT's two locked pages are not on the list.

    Three pages move and keep their slots (B4); the fourth round's target is allocated, then no slot is left.
    """
    for line in (
        "init --nodes 2 --memory 100p --profile v9-posted --swap 3p",
        "task create --pid 100",
        "mmap 100 6p --label a",
        "fault 100 a --write",
        "mlock 100 a+2p@4p",
    ):
        assert tool(*line.split()).code == 0
    found = tool("mbind", 100, "a", "bind", 1, "--move", "--strict", "--json").document
    assert (found["moved"], sorted((f["reason"], f["pages"]) for f in found["failures"])) == (
        3,
        [("mlocked", 2), ("no-swap", 1)],
    )
    assert tool("numastat", "--json").document["nodes"][1]["numa_hit"] == 4


WITHOUT_TARGET = {
    "written tmpfs": ("file create f 4p --fs tmpfs", "mmap 100 4p --shared --file f --label a", "fault 100 a --write"),
    "a file without a method, with rings": (
        "file create f 4p --fs ext3 --journal journalled",
        "mmap 100 4p --shared --file f --label a",
        "file write f",
        "file sync f",
        "fault 100 a",
    ),
    "pinned": ("mmap 100 4p --label a", "fault 100 a --write", "page pin 100 a"),
    "locked": ("mmap 100 4p --label a", "fault 100 a --write", "page lock 100 a --passes 3"),
    "anonymous": ("mmap 100 4p --label a", "fault 100 a --write"),
}
FULL = (
    "init --nodes 3 --memory 20p,4p,20p --swap 32p",
    "task create --pid 100 --node 0",
    "task create --pid 7 --node 1",
    "mmap 7 4p --label b",
    "fault 7 b --write",
)


@pytest.mark.parametrize("flag", ["--move", "--move-all"])
@pytest.mark.parametrize("setup", WITHOUT_TARGET.values(), ids=WITHOUT_TARGET)
def test_a_page_without_a_target_is_not_touched(tool: Runner, setup: tuple[str, ...], flag: str) -> None:
    """9a, B2: no unmapping, no writing, no swap entry; mbind says 0, with STRICT EIO."""
    for line in (*FULL, *setup):
        assert tool(*line.split()).code == 0, line
    shown, maps = tool("show", "pages", 100).out, tool("numa-maps", 100).out.split()[2:]
    for words, errno in (([], None), (["--strict"], "EIO")):
        found = tool("mbind", 100, "a", "bind", 1, flag, *words, "--json")
        assert (found.code, found.document["errno"]) == (1 if errno else 3, errno)
        (why,) = found.document["failures"]
        assert (why["reason"], why["errno"], why["pages"]) == ("not-tried", "ENOMEM", 4)
        assert (found.document["passes"], found.document["moved"]) == (0, 0)
        assert found.document["residue"] == {"swapcache": 0, "unmapped": 0}
        assert tool("show", "pages", 100).out == shown.replace("default", "bind=1")
        assert tool("numa-maps", 100).out.split()[2:] == maps
        assert tool("show", "swap", "--json").document["areas"][0]["used"] == 0
        assert tool("check").code == 0


def test_the_first_page_without_a_target_ends_the_moving(tool: Runner) -> None:
    """Two targets: one moves, a pinned page sees the other and leaves it to the next; the last is not tried."""
    for line in (*FULL, "munmap 7 b+2p", "mmap 100 4p --label a", "fault 100 a --write", "page pin 100 a+1p@1p"):
        assert tool(*line.split()).code == 0, line
    found = tool("mbind", 100, "a", "bind", 1, "--move", "--json").document
    assert (found["moved"], found["return"], found["passes"]) == (2, 0, 1)
    told = [(each["addr"], each["pages"], each["reason"]) for each in found["failures"]]
    assert told == [("0x10001000", 1, "pinned"), ("0x10003000", 1, "not-tried")]
