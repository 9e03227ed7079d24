"""Swapping out, faulting back, emptying areas, over the command line: semantics.md 1.7, 2.4, 6.4, 6.5, 9a."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Runner
from tests.telling import contents

Where = dict[int, tuple[str, int | None]]
"""By ordinal of the page in an area: its state and its node."""


def where(tool: Runner, pid: int, label: str = "a") -> Where:
    """The pages of an area."""
    found: Where = {}
    (vma,) = tool("show", "pages", pid, label, "--json").document["vmas"]
    for run in vma["pages"]:
        at = (int(run["addr"], 16) - int(vma["addr"], 16)) // 4096
        for k in range(run["pages"]):
            found[at + k] = run["state"], run["node"]
    return found


def flags_of(tool: Runner, pid: int, at: int, label: str = "a") -> set[str]:
    """The flags of one page of an area."""
    (vma,) = tool("show", "pages", pid, f"{label}+1p@{at}p", "--json").document["vmas"]
    return set(vma["pages"][0]["flags"])


def slots(tool: Runner) -> dict[str, int]:
    """Slots in use by area."""
    return {area["name"]: area["used"] for area in tool("show", "swap", "--json").document["areas"]}


def run(tool: Runner, line: str, code: int = 0) -> Any:
    """The document of a command that ends with that exit code; nothing is broken afterwards."""
    outcome = tool(*line.split(), "--json")
    assert outcome.code == code, outcome.out
    assert tool("check").code == 0, tool("check").out
    return outcome.document


@pytest.fixture
def nodes3(tool: Runner) -> Runner:
    """Three nodes of 100 pages; task 100 on node 0 with 8 written pages ``a``; 32 slots."""
    for line in (
        "init --nodes 3 --memory 100p --swap 32p",
        "task create --pid 100 --node 0",
        "mmap 100 8p --label a",
        "fault 100 a --write",
    ):
        run(tool, line)
    return tool


# ---- out -----------------------------------------------------------------------------------------------------------


def test_written_in_one_pass_gone_in_the_next(nodes3: Runner, state: Path) -> None:
    """add_to_swap makes a page dirty, so it is written before it goes (1.8, 2.4); a slot each."""
    before = contents(state)
    found = run(nodes3, "swap out 100 a+6p")
    assert (found["return"], found["swapped"], found["moved"], found["failed"], found["passes"]) == (0, 6, 0, 0, 2)
    assert found["residue"] == {"swapcache": 0, "unmapped": 0}
    assert where(nodes3, 100) == {k: ("swapped", None) if k < 6 else ("present", 0) for k in range(8)}
    assert slots(nodes3) == {"swap0": 6}
    assert nodes3("show", "nodes", "--json").document["nodes"][0]["free"] == 98
    assert contents(state) == before


def test_a_clean_page_of_the_swap_cache_goes_at_once(nodes3: Runner) -> None:
    """Read back and not written: its slot still has its content."""
    run(nodes3, "swap out 100 a")
    run(nodes3, "fault 100 a")
    found = run(nodes3, "swap out 100 a")
    assert (found["swapped"], found["passes"]) == (8, 1)
    run(nodes3, "fault 100 a --write")
    assert run(nodes3, "swap out 100 a")["passes"] == 2
    assert slots(nodes3) == {"swap0": 8}


@pytest.mark.parametrize("command", ["migrate-pages 100 0 1", "mbind 100 a bind 1 --move", "node offline 0"])
def test_a_clean_page_of_the_swap_cache_stays_clean_when_it_moves(nodes3: Runner, command: str) -> None:
    """9a, 2.3: page_copy() sets dirty only where the old page was; two of eight were written after they came back."""
    for line in ("swap out 100 a", "fault 100 a", "fault 100 a+2p --write"):
        run(nodes3, line)
    assert run(nodes3, command)["moved"] == 8
    (line,) = nodes3("numa-maps", "100", "--json").document["lines"]
    assert (line["dirty"], line["swapcache"]) == (2, 0)
    assert [flags_of(nodes3, 100, at) >= {"uptodate"} for at in (0, 7)] == [True, True]
    assert slots(nodes3) == {"swap0": 0}
    assert run(nodes3, "swap out 100 a")["swapped"] == 8


def test_shared_pages_go_too_and_no_right_is_asked_for(nodes3: Runner) -> None:
    """9a: all that MOVE_ALL would take, whoever calls."""
    run(nodes3, "fork 100 --pid 101")
    assert run(nodes3, "swap out 101 a --as 1000")["swapped"] == 8
    assert where(nodes3, 100) == where(nodes3, 101) == dict.fromkeys(range(8), ("swapped", None))
    assert slots(nodes3) == {"swap0": 8}


def test_what_is_not_looked_at(nodes3: Runner) -> None:
    """Locked areas, zero pages and pages off the LRU are skipped, not failed."""
    run(nodes3, "mmap 100 4p --label z")
    run(nodes3, "fault 100 z")
    run(nodes3, "mlock 100 a+2p")
    run(nodes3, "page park 100 a+1p@2p")
    found = run(nodes3, "swap out 100 0x10000000-0x10204000")
    assert [(each["reason"], each["pages"]) for each in found["skips"]] == [
        ("reserved-page", 4),
        ("vma-locked", 2),
        ("off-lru", 1),
    ]
    assert (found["swapped"], found["skipped"], found["failed"], found["return"]) == (5, 7, 0, 0)


def test_a_page_that_is_held_stays_without_ptes(nodes3: Runner, state: Path) -> None:
    """Unmapped, then somebody else's reference is seen (2.4, 2.6): it faults back to the same page."""
    before = contents(state)
    run(nodes3, "page pin 100 a+1p@2p")
    found = run(nodes3, "swap out 100 a", code=3)
    assert (found["return"], found["swapped"], found["failed"]) == (1, 7, 1)
    assert found["residue"] == {"swapcache": 1, "unmapped": 1}
    assert found["failures"][0]["reason"] == "pageout-keep", "dirty since add_to_swap(): pageout() says KEEP (2.4)"
    run(nodes3, "task run-on 100 --node 2")
    run(nodes3, "fault 100 a")
    assert where(nodes3, 100) == {k: ("present", 0 if k == 2 else 2) for k in range(8)}
    assert contents(state) == before


def test_slots_run_out_half_way(nodes3: Runner) -> None:
    """B9's reason, in address order; ENOMEM is for good, so there is no eleventh pass for those."""
    run(nodes3, "mmap 100 30p --label b")
    run(nodes3, "fault 100 b --write")
    run(nodes3, "swap out 100 a")
    found = run(nodes3, "swap out 100 b", code=3)
    assert (found["return"], found["swapped"], found["failed"], found["passes"]) == (6, 24, 6, 2)
    (failure,) = found["failures"]
    assert (failure["reason"], failure["errno"], failure["pages"], failure["pass"]) == ("no-swap", "ENOMEM", 6, 0)
    assert where(nodes3, 100, "b") == {k: ("swapped", None) if k < 24 else ("present", 0) for k in range(30)}
    assert slots(nodes3) == {"swap0": 32}


def test_areas_are_filled_one_after_the_other(tool: Runner) -> None:
    for line in (
        "init --nodes 1 --memory 100p --swap 3p",
        "swap on second 4p",
        "swap on third 4p",
        "task create --pid 100",
        "mmap 100 8p --label a",
        "fault 100 a --write",
        "swap out 100 a",
    ):
        run(tool, line)
    assert slots(tool) == {"swap0": 3, "second": 4, "third": 1}
    run(tool, "munmap 100 a+4p")
    assert slots(tool) == {"swap0": 0, "second": 3, "third": 1}


def test_a_6x_kernel_swaps_by_the_same_passes(tool: Runner) -> None:
    for line in (
        "init --nodes 2 --memory 100p --swap 8p --profile modern",
        "task create --pid 100",
        "mmap 100 8p --label a",
        "fault 100 a --write",
    ):
        run(tool, line)
    assert run(tool, "swap out 100 a")["swapped"] == 8


@pytest.mark.parametrize("profile", ["v9", "modern"])
def test_writeback_that_a_swap_out_waited_for_is_over(tool: Runner, profile: str) -> None:
    """Pass 1 waits for it under every profile, as the passes are V9's; there the locked mapping fails for good (B8)."""
    for line in (
        f"init --nodes 1 --swap 8p --profile {profile}",
        "task create --pid 100",
        "task create --pid 101",
        "file create f 2p --fs ext3",
        "mmap 100 2p --file f --shared --label a",
        "mmap 101 2p --file f --shared --label a",
        "fault 100 a",
        "fault 101 a",
        "mlock 101 a",
        "page writeback 100 a --passes 9",
    ):
        run(tool, line)
    found = run(tool, "swap out 100 a", code=3)
    assert [(entry["reason"], entry["pass"]) for entry in found["failures"]] == [("mlocked", 1)]
    assert run(tool, "page unwriteback 100 a")["pages"] == 0, "nobody writes it any more"


# ---- back ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "nodes"),
    [
        ("task run-on 100 --node 2", [2] * 8),
        ("set-mempolicy 100 bind 1", [1] * 8),
        ("set-mempolicy 100 interleave 0-2", [(0x10000 + k) % 3 for k in range(8)]),
        ("mbind 100 a preferred 2", [2] * 8),
    ],
)
def test_the_policy_of_the_moment_decides(nodes3: Runner, state: Path, words: str, nodes: list[int]) -> None:
    """6.5: a miss allocates; placement is not remembered over swap. Where it came from was node 0."""
    before = contents(state)
    run(nodes3, "swap out 100 a")
    run(nodes3, words)
    found = run(nodes3, "fault 100 a")
    assert (found["faults"]["swapin"], found["major"]) == (8, 8)
    assert where(nodes3, 100) == {k: ("present", nid) for k, nid in enumerate(nodes)}
    assert contents(state) == before


def test_a_page_of_the_swap_cache_stays_where_it_is(nodes3: Runner) -> None:
    """The child reads first, from node 2; the parent's fault finds its pages there: minor, nothing is allocated."""
    run(nodes3, "fork 100 --pid 101")
    run(nodes3, "swap out 100 a")
    run(nodes3, "task run-on 101 --node 2")
    assert run(nodes3, "fault 101 a")["major"] == 8
    hits = nodes3("numastat", "--json").document
    found = run(nodes3, "fault 100 a")
    assert found["faults"]["swapin"] == 8
    assert found["major"] is None
    assert where(nodes3, 100) == where(nodes3, 101) == dict.fromkeys(range(8), ("present", 2))
    assert nodes3("numastat", "--json").document == hits


def test_a_write_to_a_page_that_others_have_in_swap_copies_it(nodes3: Runner, state: Path) -> None:
    """6.4: mapcount and swap ptes of its entry make two; the copy goes by the policy, the other keeps the content."""
    before = contents(state)
    run(nodes3, "fork 100 --pid 101")
    run(nodes3, "swap out 100 a")
    run(nodes3, "task run-on 101 --node 1")
    found = run(nodes3, "fault 101 a+4p --write")
    assert (found["faults"]["swapin"], found["faults"]["cow"]) == (4, 4)
    assert "swapcache" not in flags_of(nodes3, 101, 0)
    assert slots(nodes3) == {"swap0": 8}
    run(nodes3, "fault 100 a")
    after = contents(state)
    assert {key: value for key, value in after.items() if key[0] == 100} == before


def test_a_write_to_an_unshared_page_makes_it_dirty_in_place(nodes3: Runner) -> None:
    run(nodes3, "swap out 100 a")
    found = run(nodes3, "fault 100 a --write")
    assert (found["faults"]["swapin"], found["faults"]["cow"]) == (8, 0)
    assert {"dirty", "writable", "swapcache"} <= flags_of(nodes3, 100, 0)


def test_a_read_maps_it_clean_and_the_write_after_takes_it_over(nodes3: Runner) -> None:
    run(nodes3, "swap out 100 a")
    run(nodes3, "fault 100 a")
    assert not {"dirty", "writable"} & flags_of(nodes3, 100, 0)
    assert run(nodes3, "fault 100 a --write")["faults"]["reuse"] == 8


@pytest.mark.parametrize(("read", "used"), [(0, 24), (4, 20), (8, 16), (12, 16)])
def test_entries_are_given_up_while_swap_is_more_than_half_full(nodes3: Runner, read: int, used: int) -> None:
    """24 of 32 slots are in use; each page that comes back leaves while fewer than 16 are free (6.5, 9a)."""
    run(nodes3, "mmap 100 24p --label b")
    run(nodes3, "fault 100 b --write")
    run(nodes3, "swap out 100 b")
    if read:
        run(nodes3, f"fault 100 b+{read}p")
    assert slots(nodes3) == {"swap0": used}
    if read:
        assert {"dirty", "swapcache"} & flags_of(nodes3, 100, 0, "b") == {"dirty"}, "its only copy is in memory now"
        assert ("swapcache" in flags_of(nodes3, 100, read - 1, "b")) == (read > 8)


def test_only_the_pages_that_come_back_give_their_entries_up(nodes3: Runner) -> None:
    """Page 3 came back when swap was far from full; now it is present, and its neighbours' faults are not its own."""
    for line in ("mmap 100 24p --label b", "fault 100 b --write", "swap out 100 a", "fault 100 a+1p@3p"):
        run(nodes3, line)
    run(nodes3, "swap out 100 b")
    assert slots(nodes3) == {"swap0": 32}
    run(nodes3, "fault 100 a")
    assert slots(nodes3) == {"swap0": 25}
    assert "swapcache" in flags_of(nodes3, 100, 3)


def test_an_entry_that_somebody_else_uses_stays(nodes3: Runner) -> None:
    run(nodes3, "mmap 100 24p --label b")
    run(nodes3, "fault 100 b --write")
    run(nodes3, "fork 100 --pid 101")
    run(nodes3, "swap out 100 b")
    run(nodes3, "fault 100 b")
    assert slots(nodes3) == {"swap0": 24}
    run(nodes3, "task exit 101")
    assert slots(nodes3) == {"swap0": 24}, "the page still owns the slot"


def test_today_a_written_page_leaves_the_swap_cache(tool: Runner) -> None:
    for line in (
        "init --nodes 2 --memory 100p --swap 100p --profile modern",
        "task create --pid 100",
        "mmap 100 8p --label a",
        "fault 100 a --write",
        "swap out 100 a",
        "fault 100 a+4p",
    ):
        run(tool, line)
    assert slots(tool) == {"swap0": 8}
    run(tool, "fault 100 a+4p@4p --write")
    assert slots(tool) == {"swap0": 4}


def test_copies_on_the_way_give_slots_back_first(tool: Runner) -> None:
    """
    6.5, in address order: pages 1 to 3 are locked, so a write copies them and their three of five slots are free.

    By then swap is no longer more than half full, so page 4 keeps its entry, as page 0 does.
    """
    for line in (
        "init --nodes 1 --memory 100p --swap 5p",
        "task create --pid 100",
        "mmap 100 5p --label a",
        "fault 100 a --write",
        "fork 100 --pid 101",
        "swap out 100 a",
        "fault 100 a",
        "task exit 101",
        "swap out 100 a+1p@4p",
        "page lock 100 a+3p@1p",
    ):
        run(tool, line)
    assert slots(tool) == {"swap0": 5}
    found = run(tool, "fault 100 a --write")["faults"]
    assert (found["reuse"], found["cow"], found["swapin"]) == (1, 3, 1)
    assert slots(tool) == {"swap0": 2}


def test_no_memory_to_come_back_to(tool: Runner) -> None:
    """Page by page: what came before is there, the rest stays in swap."""
    for line in (
        "init --nodes 1 --memory 10p --swap 20p",
        "task create --pid 100",
        "mmap 100 8p --label a",
        "fault 100 a --write",
        "swap out 100 a",
        "mmap 100 5p --label b",
        "fault 100 b --write",
    ):
        run(tool, line)
    found = run(tool, "fault 100 a", code=1)
    assert (found["errno"], found["at"], found["faults"]["swapin"]) == ("ENOMEM", "0x10005000", 5)
    assert where(tool, 100) == {k: ("present", 0) if k < 5 else ("swapped", None) for k in range(8)}


@pytest.mark.parametrize("kind", ["lock", "writeback"])
def test_a_fault_does_not_wait_for_a_lock(nodes3: Runner, kind: str) -> None:
    """A lock would be waited for, so nothing is done; writeback stands in nobody's way, and keeps the entry."""
    run(nodes3, "fork 100 --pid 101")
    run(nodes3, "swap out 100 a")
    run(nodes3, "fault 101 a")
    run(nodes3, f"page {kind} 101 a+1p@3p")
    found = run(nodes3, "fault 100 a", code=1 if kind == "lock" else 0)
    assert (found["errno"] == "EBUSY") == (kind == "lock")
    if kind == "lock":
        assert where(nodes3, 100) == dict.fromkeys(range(8), ("swapped", None))
        run(nodes3, "page unlock 101")
        run(nodes3, "fault 100 a")
    assert where(nodes3, 100) == dict.fromkeys(range(8), ("present", 0))


def test_a_page_under_writeback_stays_in_the_swap_cache(nodes3: Runner) -> None:
    """INV-15, however full swap is: its content is on the way to the slot."""
    for line in (
        "mmap 100 24p --label b",
        "fault 100 b --write",
        "fork 100 --pid 101",
        "swap out 100 b",
        "fault 101 b",
        "page writeback 101 b+1p",
        "munmap 101 b",
        "fault 100 b",
    ):
        run(nodes3, line)
    assert "swapcache" in flags_of(nodes3, 100, 0, "b")


def test_a_fork_shares_the_entries_and_the_last_one_frees_them(nodes3: Runner) -> None:
    """6.6: swap_map is copied with the swap ptes; munmap and exit give their share back."""
    run(nodes3, "swap out 100 a")
    run(nodes3, "fork 100 --pid 101")
    run(nodes3, "munmap 100 a")
    assert slots(nodes3) == {"swap0": 8}
    run(nodes3, "task exit 101")
    assert slots(nodes3) == {"swap0": 0}


def test_a_move_brings_back_what_was_swapped_out_before(nodes3: Runner, state: Path) -> None:
    """2.3: every swap pte of the entry becomes a pte, also in tasks that nobody asked to move; no fault needed."""
    run(nodes3, "fork 100 --pid 101")
    run(nodes3, "swap out 100 a")
    run(nodes3, "fault 101 a+4p")
    before = contents(state)
    found = run(nodes3, "migrate-pages 101 0 1")
    assert (found["moved"], found["failed"]) == (4, 0)
    wanted = {k: ("present", 1) if k < 4 else ("swapped", None) for k in range(8)}
    assert where(nodes3, 100) == where(nodes3, 101) == wanted
    assert not {"dirty", "writable", "referenced", "swapcache"} & (flags_of(nodes3, 100, 0) - {"dirty"})
    assert slots(nodes3) == {"swap0": 4}
    assert contents(state) == before


# ---- off -----------------------------------------------------------------------------------------------------------


def test_swapoff_restores_all_ptes_of_the_family(nodes3: Runner, state: Path) -> None:
    """try_to_unuse: no policy of an area is asked, the caller's CPU decides; one page in the swap cache stays."""
    run(nodes3, "fork 100 --pid 101")
    run(nodes3, "swap out 100 a")
    run(nodes3, "fault 101 a+1p")
    run(nodes3, "mbind 100 a bind 1")
    run(nodes3, "task create --pid 7 --node 2")
    before = contents(state)
    found = run(nodes3, "swap off swap0 --by 7")
    assert (found["read"], found["nodes"]) == (7, [{"node": 2, "pages": 7}])
    wanted = {k: ("present", 2 if k else 0) for k in range(8)}
    assert where(nodes3, 100) == where(nodes3, 101) == wanted
    assert slots(nodes3) == {}
    assert contents(state) == before
    assert run(nodes3, "fault 100 a --write")["faults"]["cow"] == 8, "they are shared and write-protected still"


def test_swapoff_takes_only_what_is_in_that_area(tool: Runner) -> None:
    for line in (
        "init --nodes 1 --memory 100p --swap 3p",
        "swap on second 8p",
        "task create --pid 100",
        "mmap 100 8p --label a",
        "fault 100 a --write",
        "swap out 100 a",
    ):
        run(tool, line)
    assert run(tool, "swap off swap0")["read"] == 3
    assert where(tool, 100) == {k: ("present", 0) if k < 3 else ("swapped", None) for k in range(8)}
    assert slots(tool) == {"second": 5}


def test_swapoff_without_memory_keeps_what_it_read_and_the_area(tool: Runner, state: Path) -> None:
    for line in (
        "init --nodes 1 --memory 10p --swap 20p",
        "task create --pid 100",
        "mmap 100 8p --label a",
        "fault 100 a --write",
        "swap out 100 a",
        "mmap 100 5p --label b",
        "fault 100 b --write",
    ):
        run(tool, line)
    before = contents(state)
    found = run(tool, "swap off swap0", code=1)
    assert (found["errno"], found["committed"], found["read"]) == ("ENOMEM", True, 5)
    assert where(tool, 100) == {k: ("present", 0) if k < 5 else ("swapped", None) for k in range(8)}
    assert slots(tool) == {"swap0": 3}
    run(tool, "munmap 100 b")
    before = {key: value for key, value in before.items() if key[1] < 0x10200}
    assert run(tool, "swap off swap0")["read"] == 3
    assert contents(state) == before


def test_swapoff_of_an_unknown_area(nodes3: Runner) -> None:
    found = run(nodes3, "swap off nosuch", code=1)
    assert (found["errno"], found["committed"]) == ("ENOENT", False)
    assert "swap0" in found["message"]


@pytest.mark.parametrize("kind", ["lock", "writeback"])
def test_swapoff_would_wait_for_a_lock_and_for_writeback(nodes3: Runner, kind: str) -> None:
    """Section 5, U: it waits for both, and a page outside the swap cache is under no writeback (INV-15)."""
    run(nodes3, "swap out 100 a")
    run(nodes3, "fault 100 a")
    run(nodes3, f"page {kind} 100 a+1p@3p")
    assert run(nodes3, "swap off swap0", code=1)["errno"] == "EBUSY"
    assert slots(nodes3) == {"swap0": 8}
    run(nodes3, f"page un{kind} 100")
    run(nodes3, "swap off swap0")


@pytest.mark.parametrize("profile", ["v9", "modern"])
def test_swapoff_counts_what_it_reads_as_allocations_of_its_caller(tool: Runner, profile: str) -> None:
    for line in (
        f"init --nodes 2 --memory 100p --swap 20p --profile {profile}",
        "task create --pid 100 --node 1",
        "mmap 100 8p --label a",
        "fault 100 a --write",
        "swap out 100 a",
        "swap off swap0",
    ):
        run(tool, line)
    assert where(tool, 100) == dict.fromkeys(range(8), ("present", 0))
    row = tool("show", "nodes", "--json").document["nodes"][0]["numastat"]
    assert (row["numa_hit"], row["local_node"]) == (8, 8)


@pytest.mark.parametrize("profile", ["v9", "modern"])
def test_swapoff_reads_by_the_policy_of_its_caller(tool: Runner, profile: str) -> None:
    """6.5: the task's policy, as no area is known; it interleaves in turn, and goes on from there."""
    for line in (
        f"init --nodes 3 --memory 100p --swap 20p --profile {profile}",
        "task create --pid 100 --node 0",
        "mmap 100 5p --label a",
        "fault 100 a --write",
        "swap out 100 a",
        "task create --pid 7 --node 2",
        "set-mempolicy 7 interleave 0-1",
    ):
        run(tool, line)
    found = run(tool, "swap off swap0 --by 7")
    assert found["nodes"] == [{"node": 0, "pages": 3}, {"node": 1, "pages": 2}]
    assert run(tool, "get-mempolicy 7 --node")["node"] == 1
    hits = {row["node"]: row["interleave_hit"] for row in tool("numastat", "--json").document["nodes"]}
    assert hits == {0: 3, 1: 2, 2: 0}


def test_swapoff_keeps_to_the_cpuset_of_its_caller(tool: Runner) -> None:
    """V9 counts what its cpuset forbids as a miss of the first node of the list (7.2)."""
    for line in (
        "init --nodes 2 --memory 100p --cpus 2 --swap 20p",
        "task create --pid 100 --node 0",
        "mmap 100 5p --label a",
        "fault 100 a --write",
        "swap out 100 a",
        "cpuset create /p --mems 1",
        "task create --pid 7 --node 0 --cpuset /p",
    ):
        run(tool, line)
    assert run(tool, "swap off swap0 --by 7")["nodes"] == [{"node": 1, "pages": 5}]
    rows = tool("numastat", "--json").document["nodes"]
    assert (rows[0]["numa_foreign"], rows[1]["numa_miss"], rows[1]["numa_hit"]) == (5, 5, 0)


# ---- files, and shared memory ---------------------------------------------------------------------------------------


@pytest.fixture
def mapped(tool: Runner) -> Runner:
    """A file on ext2 and one on tmpfs, four written pages each, mapped by tasks 100 and 101; 32 slots."""
    for line in (
        "init --nodes 3 --memory 100p --swap 32p",
        "task create --pid 100 --node 0",
        "task create --pid 101 --node 2",
        "file create disk 4p --fs ext2",
        "file create shm 4p --fs tmpfs",
        *(f"mmap {pid} 4p --shared --file {name} --label {name}" for pid in (100, 101) for name in ("disk", "shm")),
        "fault 100 disk --write",
        "fault 100 shm --write",
        "fault 101 disk",
        "fault 101 shm",
    ):
        run(tool, line)
    return tool


def cached(tool: Runner, name: str) -> dict[str, int]:
    """The pages of a file that are in memory, by node."""
    (row,) = [row for row in tool("file", "list", "--json").document["files"] if row["file"] == name]
    nodes: dict[str, int] = row["nodes"]
    return nodes


def test_pages_of_a_disk_file_need_no_slot(mapped: Runner) -> None:
    """Unmapped everywhere, written in one pass, dropped with their rings in the next; read from the disk again."""
    found = run(mapped, "swap out 100 disk")
    assert (found["swapped"], found["passes"], slots(mapped)) == (4, 2, {"swap0": 0})
    assert (cached(mapped, "disk"), where(mapped, 101, "disk")) == ({}, dict.fromkeys(range(4), ("absent", None)))
    found = run(mapped, "fault 101 disk")
    assert (found["faults"]["file"], found["major"], cached(mapped, "disk")) == (4, 4, {"2": 4})
    assert run(mapped, "swap out 101 disk")["passes"] == 1, "it is clean"


def test_pages_of_tmpfs_go_to_swap_and_come_back_by_whoever_touches_them(mapped: Runner) -> None:
    """Stored, written, gone: three passes. The slot is their object's, so they come back through it (6.3)."""
    found = run(mapped, "swap out 100 shm")
    assert (found["swapped"], found["passes"], slots(mapped)) == (4, 3, {"swap0": 4})
    assert cached(mapped, "shm") == {}
    found = run(mapped, "fault 101 shm")
    assert (found["faults"]["swapin"], found["major"]) == (4, 4)
    assert (cached(mapped, "shm"), slots(mapped)) == ({"2": 4}, {"swap0": 0})
    assert run(mapped, "fault 100 shm")["faults"]["file"] == 4
    assert cached(mapped, "shm") == {"2": 4}


def test_a_page_of_tmpfs_is_active_once_it_was_read_from_swap(mapped: Runner) -> None:
    """Page cache pages are inactive at first (6.3); what is read from swap joins the active list (6.5)."""
    assert "active" not in flags_of(mapped, 101, 0, "shm")
    run(mapped, "swap out 100 shm")
    run(mapped, "fault 101 shm")
    assert "active" in flags_of(mapped, 101, 0, "shm")


def test_swapoff_brings_pages_of_tmpfs_back_to_their_object(mapped: Runner) -> None:
    run(mapped, "swap out 100 shm")
    run(mapped, "task create --pid 7 --node 1")
    assert run(mapped, "swap off swap0 --by 7")["read"] == 4
    assert (cached(mapped, "shm"), slots(mapped)) == ({"1": 4}, {})
    assert run(mapped, "fault 101 shm")["faults"]["file"] == 4


def test_a_page_of_tmpfs_that_cannot_be_copied_was_looked_up_all_the_same(tool: Runner) -> None:
    """6.3: the lookup takes it out of the swap cache; then there is no memory for the private copy."""
    for line in (
        "init --nodes 2 --memory 4p,2p --swap 8p",
        "task create --pid 100 --node 0",
        "file create /s 1p --fs tmpfs",
        "mmap 100 1p --file /s --shared --label s",
        "fault 100 s --write",
        "migrate-pages 100 0 1",
        "mmap 100 1p --file /s --label p",
        "mmap 100 5p --label fill",
        "fault 100 fill --write",
    ):
        run(tool, line)
    assert slots(tool) == {"swap0": 1}
    assert run(tool, "fault 100 p --write", code=1)["errno"] == "ENOMEM"
    assert slots(tool) == {"swap0": 0}


def test_tmpfs_without_a_slot_stays(tool: Runner) -> None:
    """shmem_writepage() activates what it cannot store (2.4): unmapped, and in its object still."""
    for line in (
        "init --nodes 1 --memory 100p --swap 3p",
        "task create --pid 100",
        "file create shm 4p --fs tmpfs",
        "mmap 100 4p --shared --file shm --label shm",
        "fault 100 shm --write",
    ):
        run(tool, line)
    found = run(tool, "swap out 100 shm", code=3)
    assert [(each["reason"], each["pages"]) for each in found["failures"]] == [("pageout-activate", 1)]
    assert (found["swapped"], found["residue"]["unmapped"], cached(tool, "shm")) == (3, 1, {"0": 1})


def test_ramfs_has_nowhere_to_go(tool: Runner) -> None:
    for line in (
        "init --nodes 1 --memory 100p --swap 8p",
        "task create --pid 100",
        "file create ram 4p --fs ramfs",
        "mmap 100 4p --shared --file ram --label ram",
        "fault 100 ram --write",
    ):
        run(tool, line)
    found = run(tool, "swap out 100 ram", code=3)
    assert (found["failures"][0]["reason"], found["failed"], found["swapped"]) == ("pageout-activate", 4, 0)
    assert run(tool, "fault 100 ram")["faults"]["file"] == 4


def test_today_a_move_leaves_swap_ptes_to_their_tasks(tool: Runner, state: Path) -> None:
    """Migration entries are for present ptes; the page keeps its slot, and the other task finds it in the cache."""
    for line in (
        "init --nodes 3 --memory 100p --swap 32p --profile modern",
        "task create --pid 100 --node 0",
        "mmap 100 4p --label a",
        "fault 100 a --write",
        "fork 100 --pid 101",
        "swap out 100 a",
        "fault 101 a",
    ):
        run(tool, line)
    before = contents(state)
    assert run(tool, "migrate-pages 101 0 1")["moved"] == 4
    assert where(tool, 100) == dict.fromkeys(range(4), ("swapped", None))
    assert slots(tool) == {"swap0": 4}
    found = run(tool, "fault 100 a")
    assert (found["faults"]["swapin"], found["major"]) == (4, None)
    assert where(tool, 100) == dict.fromkeys(range(4), ("present", 1))
    assert contents(state) == before


def test_swap_off_makes_pages_active_that_it_reads_and_no_others(tool: Runner) -> None:
    """A page of tmpfs that is in the swap cache when the area goes keeps its place on the LRU."""
    for line in (
        "init --nodes 2 --memory 60p",
        "task create --pid 101",
        "file create /f 4p --fs tmpfs",
        "mmap 101 4p --file /f --shared --label a",
        "fault 101 a --write",
        "migrate-pages 101 0 1",
        "swap off swap0 --by 101",
        "fault 101 a",
    ):
        run(tool, line)
    assert "active" not in flags_of(tool, 101, 0)


def test_tmpfs_that_was_stored_and_then_stays_is_residue(tool: Runner) -> None:
    """Pass 0 stores all four (2.4), pass 1 finds memory for two: the others are in the swap cache and were not."""
    for line in (
        "init --nodes 2 --memory 100p,2p --swap 8p",
        "task create --pid 100",
        "file create shm 4p --fs tmpfs",
        "mmap 100 4p --shared --file shm --label shm",
        "fault 100 shm --write",
    ):
        run(tool, line)
    found = run(tool, "mbind 100 shm bind 1 --move", code=3)
    assert (found["moved"], found["failed"]) == (2, 2)
    assert found["residue"] == {"swapcache": 2, "unmapped": 2}


@pytest.mark.parametrize(("memory", "errno"), [(6, "ENOMEM"), (7, "EBUSY")])
def test_a_fault_that_runs_out_of_memory_never_comes_to_the_locked_page(tool: Runner, memory: int, errno: str) -> None:
    """Four shared pages, the last in the swap cache and locked: three copies need three free pages."""
    for line in (
        f"init --nodes 1 --memory {memory}p --swap 4p --profile modern",
        "task create --pid 100",
        "mmap 100 4p --label heap",
        "fault 100 heap --write",
        "fork 100 --pid 200",
        "swap out 100 heap+1p@3p",
        "fault 200 heap+1p@3p",
        "page lock 200 heap+1p@3p",
    ):
        run(tool, line)
    found = run(tool, "fault 100 heap --write", code=1)
    assert found["errno"] == errno
    assert where(tool, 100, "heap")[3][0] == "swapped"


def test_tmpfs_asks_again_for_a_slot(tool: Runner) -> None:
    """
    The pinned page has the only slot until it moves in pass 7; the first page of tmpfs behind it is stored in that
    pass and moves in the next. It keeps the slot, so the others find none to the end (2.4, B9).
    """
    for line in (
        "init --nodes 2 --memory 100p --swap 1p",
        "task create --pid 100",
        "mmap 100 1p --label heap",
        "fault 100 heap --write",
        "page pin 100 heap --passes 7",
        "file create shm 3p --fs tmpfs",
        "mmap 100 3p --shared --file shm --label shm",
        "fault 100 shm --write",
    ):
        run(tool, line)
    found = run(tool, "migrate-pages 100 0 1", code=3)
    assert (found["moved"], found["passes"], slots(tool)) == (2, 11, {"swap0": 1})
    assert where(tool, 100, "heap") == {0: ("present", 1)}
    assert [(each["reason"], each["pages"]) for each in found["failures"]] == [("pageout-activate", 2)]
    assert cached(tool, "shm") == {"0": 2, "1": 1}


def test_a_page_that_is_read_in_and_cannot_be_copied_is_no_present_one(tool: Runner) -> None:
    """Two pages of the child's own, two shared ones in swap; there is memory to read the first, none to copy it."""
    for line in (
        "init --nodes 1 --memory 7p --swap 4p",
        "task create --pid 100",
        "mmap 100 4p --label heap",
        "fault 100 heap --write",
        "fork 100 --pid 200",
        "fault 200 heap+2p --write",
        "swap out 100 heap+2p@2p",
        "task create --pid 300",
        "mmap 300 2p --label a",
        "fault 300 a --write",
    ):
        run(tool, line)
    found = run(tool, "fault 200 heap --write", code=1)
    kinds = {kind: nr for kind, nr in found["faults"].items() if nr}
    assert (found["errno"], kinds) == ("ENOMEM", {"present": 2, "swapin": 1})


@pytest.mark.parametrize("command", ["migrate-pages 100 0 1", "mbind 100 shm bind 1 --move", "swap out 100 shm"])
@pytest.mark.parametrize(("fill", "reason"), [("fault 100 shm --write", "pageout-keep"), ("fault 100 shm", "pinned")])
def test_a_reference_keeps_a_dirty_page_without_a_method(tool: Runner, command: str, fill: str, reason: str) -> None:
    """9a, 2.6: pageout() says KEEP of a dirty one, a clean one fails the count; the ptes of both are gone (B10)."""
    for line in (
        "init --nodes 2 --memory 100p --swap 8p",
        "task create --pid 100",
        "file create shm 4p --fs tmpfs",
        "mmap 100 4p --shared --file shm --label shm",
        fill,
        "page pin 100 shm+1p@2p" if reason == "pageout-keep" else "mprotect 100 shm r",
        "page pin 100 shm+1p@2p",
    ):
        run(tool, line)
    found = run(tool, command, 3)
    (why,) = found["failures"]
    assert (why["reason"], why["errno"], why["pass"], why["pages"]) == (reason, "EAGAIN", 10, 1)
    assert found["residue"] == {"swapcache": 0, "unmapped": 1}
    assert where(tool, 100, "shm")[2] == ("absent", None)
    told = run(tool, "explain 100 shm")
    assert told["total"] == {"not-present": 4}


def test_a_parked_page_keeps_its_swap_entry(tool: Runner) -> None:
    """The batch has a reference: of four slots two become free, and that of the first page is none of them (6.5)."""
    for words in (
        "init --nodes 1 --memory 100p --swap 4p",
        "task create --pid 100 --node 0",
        "mmap 100 4p --label a",
        "fault 100 a --write",
        "fork 100 --pid 101",
        "swap out 100 a",
        "fault 100 a",
        "page park 100 a+1p",
        "madvise 100 a dontneed",
        "fault 101 a",
    ):
        run(tool, words)
    assert [at for at in range(4) if "swapcache" in flags_of(tool, 101, at)] == [0, 3]
