"""Swap in the model, against semantics.md 1.7, 2.3, 2.4, 6.4, 6.5, 9a."""

from __future__ import annotations

import pytest

from tests.reference.session import TWO, Session

SWAPPED = ("swapped", None, ["active", "uptodate"], None)


def out(*init: str, pages: int = 4) -> Session:
    """Pid 7 with its pages in swap."""
    s = Session(*(init or (*TWO, "--swap", "20p")), pages=pages)
    s("swap", "out", "7", "v")
    return s


def test_written_in_the_first_pass_gone_in_the_second() -> None:
    """2.4: add_to_swap makes it dirty, SUCCESS is EAGAIN, then it is clean."""
    s = Session(*TWO, "--swap", "20p")
    result = s("swap", "out", "7", "v")
    assert (result["return"], result["swapped"], result["moved"], result["passes"]) == (0, 4, 0, 2)
    assert s.pages()[0x10] == SWAPPED
    assert (s.machine.free_slots, s.machine.nodes[0].free) == (16, 50)


def test_the_policy_of_the_moment_decides_and_the_slot_stays() -> None:
    s = out()
    s("task", "run-on", "7", "--node", "1")
    assert s("fault", "7", "v")["faults"]["swapin"] == 4
    assert s.pages()[0x10] == ("present", 1, ["active", "referenced", "swapcache", "uptodate"], 1)
    assert s.machine.free_slots == 16
    assert s("swap", "out", "7", "v")["passes"] == 1, "clean pages are not written again"


@pytest.mark.parametrize(("slots", "free"), [("7p", 4), ("8p", 4), ("9p", 5)])
def test_entries_go_while_more_than_half_of_swap_is_full(slots: str, free: int) -> None:
    """Of 7 slots 3 are free: one page gives its entry up, then twice 4 is no more below 7; of 8 none is."""
    s = out(*TWO, "--swap", slots)
    s("fault", "7", "v")
    assert s.machine.free_slots == free


def test_a_page_in_the_swap_cache_is_found_there_and_copied_for_the_writer() -> None:
    s = Session(*TWO, "--swap", "20p")
    s("fork", "7", "--pid", "8")
    s("swap", "out", "7", "v")
    s("fault", "8", "0x10000+1p")
    s("task", "run-on", "7", "--node", "1")
    faults = s("fault", "7", "0x10000+1p", "--write")["faults"]
    assert (faults["swapin"], faults["cow"]) == (1, 1)
    assert (s.pages()[0x10][1], s.pages(8)[0x10][1]) == (1, 0)


def test_a_locked_page_of_the_swap_cache_changes_nothing() -> None:
    s = Session(*TWO, "--swap", "20p")
    s("fork", "7", "--pid", "8")
    s("swap", "out", "7", "v")
    s("fault", "8", "v")
    s("page", "lock", "8", "0x12000+1p")
    assert s("fault", "7", "v")["errno"] == "EBUSY"
    assert s.pages()[0x10][0] == "swapped"


def test_a_move_brings_back_swap_ptes_of_tasks_that_nobody_asked_to_move() -> None:
    """
    2.3: the child faulted, the parent is still swapped out; after the move both map the page, the slot is free.

    What was read from swap and not written since is clean, and moving leaves it so (9a).
    """
    s = Session(*TWO, "--swap", "20p")
    s("fork", "7", "--pid", "8")
    s("swap", "out", "7", "v")
    s("fault", "8", "v")
    assert s("migrate-pages", "8", "0", "1", "--as", "0")["moved"] == 4
    assert s.pages()[0x10] == s.pages(8)[0x10] == ("present", 1, ["active", "uptodate"], 2)
    assert s.machine.free_slots == 20


def test_slots_that_run_out_fail_page_by_page() -> None:
    s = Session(*TWO, "--swap", "3p")
    result = s("swap", "out", "7", "v")
    assert (result["return"], result["swapped"], result["exit"]) == (1, 3, 3)
    assert [(f["reason"], f["pass"], f["vpn"]) for f in result["_failures"]] == [("no-swap", 0, 0x13)]


def test_a_pinned_page_loses_its_ptes_and_faults_back_to_itself() -> None:
    s = Session(*TWO, "--swap", "20p")
    s("page", "pin", "7", "0x11000+1p")
    result = s("swap", "out", "7", "v")
    assert result["residue"] == {"swapcache": 1, "unmapped": 1}
    s("task", "run-on", "7", "--node", "1")
    s("fault", "7", "v")
    assert s.places() == [1, 0, 1, 1]


def test_the_last_swap_pte_gives_the_slot_back() -> None:
    s = out()
    s("fork", "7", "--pid", "8")
    s("munmap", "7", "v")
    assert s.machine.free_slots == 16
    s("task", "exit", "8")
    assert s.machine.free_slots == 20


def test_swapoff_brings_everything_back_to_everybody() -> None:
    s = out()
    s("fork", "7", "--pid", "8")
    assert s("swap", "off", "swap0")["read"] == 4
    assert s.pages()[0x10] == s.pages(8)[0x10] == ("present", 0, ["active", "dirty", "uptodate"], 2)
    assert s.machine.free_slots == 0


def test_pageout_leaves_shared_pages_and_nothing_in_the_cache() -> None:
    """modern-kernel.md 26, 27."""
    s = Session(*TWO, "--swap", "20p", "--profile", "modern")
    s("fork", "7", "--pid", "8")
    s("fault", "7", "0x10000+1p", "--write")
    assert s("madvise", "7", "v", "pageout")["_back"] == {"swapped": 1, "dropped": 0, "unmapped": 0}
    assert [row[0] for _, row in sorted(s.pages().items())] == ["swapped", "present", "present", "present"]
