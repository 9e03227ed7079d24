"""mbind, get-mempolicy, writeback, parking and draining in the model, against semantics.md 2.2, 3.3, 3.5."""

from __future__ import annotations

import pytest

from tests.reference.machine import PAGE
from tests.reference.session import TWO, Session

THREE = ("--nodes", "3", "--memory", "50p")


@pytest.mark.parametrize(
    ("words", "errno"),
    [
        (("8", "v", "bind", "1"), "ESRCH"),
        (("7", "v", "bind", "1024"), "EINVAL"),
        (("9", "0x10800+1p", "bind", "1", "--move-all"), "EPERM"),
        (("9", "v", "local", "--move-all"), "EINVAL"),
        (("9", "0x10000+0p", "bind", "--move-all"), "EPERM"),
        (("7", "0x10800+1p", "bind", "1"), "EINVAL"),
        (("7", "0x10000+0p", "bind", "none"), None),
        (("7", "v", "default", "0"), "EINVAL"),
        (("7", "v", "interleave"), "EINVAL"),
        (("7", "0x10000+9p", "bind", "5"), "EINVAL"),
        (("7", "0x10000+9p", "bind", "1", "--strict"), "EFAULT"),
        (("7", "0xf000+2p", "preferred"), "EFAULT"),
        (("7", "0xf000+2p", "default"), None),
        (("7", "0x90000+2p", "default"), "EFAULT"),
        (("7", "v", "bind", "1", "--strict"), "EIO"),
        (("7", "v", "default", "--strict"), None),
        (("7", "v", "preferred", "--strict"), "EIO"),
    ],
)
def test_checks_in_the_order_of_the_table(words: tuple[str, ...], errno: str | None) -> None:
    """3.3: each line has only later errors beside its own."""
    s = Session(*TWO)
    s("task", "create", "--pid", "9", "--uid", "1")
    s("mmap", "9", "4p", "--addr", "0x10000", "--label", "v")
    assert s("mbind", *words)["errno"] == errno
    if errno:
        assert s("get-mempolicy", "7", "0x10000")["_policy"]["mode"] == "default", "refused: policy not applied"


def test_nodes_that_are_not_there_drop_out_under_modern_only() -> None:
    for profile, errno in (("v9", "EINVAL"), ("modern", None)):
        s = Session(*TWO, "--profile", profile)
        assert s("mbind", "7", "v", "bind", "1,5")["errno"] == errno
        assert s("get-mempolicy", "7", "0x10000")["_policy"]["nodes"] == ("" if errno else "1")


def test_interleave_goes_by_the_address_and_leaves_what_is_in_the_set() -> None:
    """modern-kernel.md 12: pages in the set but out of phase stay; the others go where a fault would put them."""
    for profile in ("v9", "modern"):
        s = Session(*THREE, "--profile", profile, pages=6)
        s("move-pages", "7", "0x11000=1", "0x13000=2")
        assert s("mbind", "7", "v", "interleave", "1-2", "--move")["moved"] == 4
        assert s.places() == [1, 1, 1, 2, 1, 2]  # even page numbers on 1, odd ones on 2


def test_faults_obey_the_policy_of_the_area_before_that_of_the_task() -> None:
    s = Session(*THREE)
    s("set-mempolicy", "7", "bind", "2")
    s("mmap", "7", "4p", "--addr", "0x20000", "--label", "w")
    s("mbind", "7", "0x20000+2p", "interleave", "0-1")
    assert s("fault", "7", "w", "--write")["_present"] == {0: 1, 1: 1, 2: 2}
    assert s.machine.nodes[1].stat["interleave_hit"] == 1


def test_default_with_move_allocates_every_page_anew_by_the_policy_of_the_task() -> None:
    """3.3: re-allocated on the node where it is counts as a move."""
    s = Session(*TWO)
    result = s("mbind", "7", "v", "default", "--move")
    assert result["moves"] == [{"from": 0, "to": 0, "pages": 4}]
    assert (result["_rows"][0]["in"], result["_rows"][0]["out"]) == (4, 4)
    s("set-mempolicy", "7", "preferred", "1")
    assert s("mbind", "7", "v", "default", "--move")["moves"] == [{"from": 0, "to": 1, "pages": 4}]


def test_eio_after_a_move_applies_the_policy_and_keeps_the_moves() -> None:
    s = Session(*TWO)
    s("page", "pin", "7", "0x11000+1p")
    result = s("mbind", "7", "v", "bind", "1", "--move", "--strict")
    assert (result["return"], result["errno"], result["moved"], result["exit"]) == (-5, "EIO", 3, 1)
    assert s("get-mempolicy", "7", "0x11000")["_policy"]["mode"] == "bind"
    result = s("mbind", "7", "v", "bind", "1", "--move")
    assert (result["return"], result["exit"], result["passes"]) == (0, 3, 11)


def test_pages_that_stay_count_no_target() -> None:
    s = Session(*TWO)
    s("page", "pin", "7", "v")
    s("mbind", "7", "v", "bind", "1", "--move")
    assert s.machine.nodes[1].stat["numa_hit"] == 0


def test_the_first_page_without_a_target_ends_the_call() -> None:
    """Node 1 has two free pages; the page before, pinned, was looked at and has its entry, those behind were not."""
    s = Session("--nodes", "2", "--memory", "9p,2p", pages=5)
    s("page", "pin", "7", "0x10000+1p")
    result = s("mbind", "7", "v", "bind", "1", "--move", "--strict")
    assert (result["errno"], result["moved"], s.places()) == ("EIO", 2, [0, 1, 1, 0, 0])
    assert [f["reason"] for f in result["_failures"]] == ["pinned", "not-tried", "not-tried"]
    assert [f["pass"] for f in result["_failures"]] == [0, None, None]
    assert result["residue"]["swapcache"] == 1


def test_a_frame_is_free_for_the_next_page_at_once() -> None:
    """Both are full but for one page: preferred 1 spills to node 0, into the frame that the page before left."""
    s = Session("--nodes", "2", "--memory", "4p,1p")
    assert s("mbind", "7", "v", "preferred", "1", "--move")["moved"] == 4
    assert s.places() == [1, 0, 0, 0]


def test_pages_of_a_locked_area_fail_only_with_strict() -> None:
    """B6: untouched, EIO; without STRICT left out. `modern` moves them."""
    s = Session(*TWO)
    s("mlock", "7", "0x10000+1p")
    result = s("mbind", "7", "v", "bind", "1", "--move")
    assert (result["errno"], result["moved"], result["_skips"][0]["reason"]) == (None, 3, "vma-locked")
    result = s("mbind", "7", "v", "bind", "1", "--move", "--strict")
    assert (result["errno"], result["moved"], result["residue"]["swapcache"]) == ("EIO", 0, 0)
    assert [(f["reason"], f["errno"], f["pass"]) for f in result["_failures"]] == [("mlocked", "EPERM", 0)]
    modern = Session(*TWO, "--profile", "modern")
    modern("mlock", "7", "v")
    assert modern("mbind", "7", "v", "bind", "1", "--move", "--strict")["moved"] == 4


def test_shared_pages_under_move_are_no_failure() -> None:
    """modern-kernel.md 9."""
    for profile in ("v9", "modern"):
        s = Session(*TWO, "--profile", profile)
        s("fork", "7", "--pid", "8")
        result = s("mbind", "7", "v", "bind", "1", "--move", "--strict")
        assert (result["return"], result["moved"], result["skipped"], result["exit"]) == (0, 0, 4, 0)
        assert s("mbind", "7", "v", "bind", "1", "--move-all", "--strict")["moved"] == 4


def test_a_parked_page_is_left_out_and_strict_says_so_under_modern() -> None:
    """B30; modern-kernel.md 10."""
    for profile, errno in (("v9", None), ("modern", "EIO")):
        s = Session(*TWO, "--profile", profile)
        s("page", "park", "7", "0x10000+1p")
        assert s("page", "park", "7", "0x10000+1p")["errno"] == "EBUSY"
        assert s("migrate-pages", "7", "0", "1", "--dry-run")["_skips"][0]["reason"] == "off-lru"
        result = s("mbind", "7", "v", "bind", "1", "--move", "--strict")
        assert (result["errno"], result["moved"], result["skipped"], result["failed"]) == (errno, 3, 1, 0)
        s("page", "unpark", "7")
        assert s("migrate-pages", "7", "0", "1")["moved"] == 1


@pytest.mark.parametrize(
    ("passes", "scans", "moved"), [("0", 1, 4), ("1", 2, 4), ("5", 2, 4), ("10", 2, 4), (None, 11, 3)]
)
def test_writeback_is_waited_for_from_pass_one_on(passes: str | None, scans: int, moved: int) -> None:
    s = Session(*TWO)
    assert s("page", "writeback", "7", "0x10000+1p")["errno"] == "EINVAL", "INV-15"
    s("page", "pin", "7", "0x10000+1p")
    s("migrate-pages", "7", "0", "1")
    s("page", "unpin", "7")
    s("move-pages", "7", *(f"{vpn * PAGE:#x}=0" for vpn in range(0x11, 0x14)))
    s("page", "writeback", "7", "0x10000+1p", *(["--passes", passes] if passes else []))
    result = s("migrate-pages", "7", "0", "1")
    assert (result["passes"], result["moved"]) == (scans, moved)
    assert {f["reason"] for f in result["_failures"]} == ({"busy-writeback"} if moved == 3 else set())
    assert ("writeback" in s.pages()[0x10][2]) == (moved == 3)


def test_get_mempolicy_tells_the_area_only_where_an_address_is_given() -> None:
    s = Session(*THREE)
    assert s("get-mempolicy", "7")["_policy"] == {"mode": "default", "nodes": "", "flags": [], "scope": "task"}
    s("set-mempolicy", "7", "interleave", "1-2")
    assert s("get-mempolicy", "7", "0x10000")["_policy"]["mode"] == "default"
    assert s("get-mempolicy", "7", "--node")["_policy"] == {"node": 1}
    assert s("numa-maps", "7")["_lines"][0]["policy"] == "interleave=1-2", "the effective one"
    assert s("get-mempolicy", "7", "0x90000")["errno"] == "EFAULT"
    assert s("get-mempolicy", "7", "--mems-allowed")["errno"] == "EINVAL"
    s("set-mempolicy", "7", "preferred")
    assert s("get-mempolicy", "7")["_policy"]["nodes"] == "0-2"
    assert s("get-mempolicy", "7", "--node")["errno"] == "EINVAL"


def test_get_mempolicy_reads_an_absent_page_in() -> None:
    s = Session("--nodes", "3", "--memory", "0,9p,9p", "--cpus", "1")
    s("mmap", "7", "1p", "--addr", "0x20000")
    assert s("get-mempolicy", "7", "0x20000", "--node")["_policy"] == {"node": 1}
    assert s.pages()[0x20][0] == "zero"


def test_a_node_goes_offline_along_its_fallback_list() -> None:
    for profile in ("v9", "modern"):
        s = Session("--nodes", "3", "--memory", "9p,2p,9p", "--profile", profile)
        s("fork", "7", "--pid", "8")
        result = s("node", "offline", "0")
        assert (result["errno"], result["moved"], s.places()) == (None, 4, [1, 1, 2, 2])
        assert s.machine.lists == {1: [1, 2], 2: [2, 1]}
        assert s("node", "offline", "0")["errno"] == "EINVAL"
        assert s("node", "online", "0")["errno"] is None
        assert s("node", "online", "0")["errno"] == "EINVAL"


def test_a_page_that_stays_keeps_the_node_online() -> None:
    s = Session(*TWO)
    s("page", "pin", "7", "0x10000+1p")
    result = s("node", "offline", "0")
    assert (result["errno"], result["exit"], result["moved"], s.places()) == ("EBUSY", 1, 3, [0, 1, 1, 1])
    assert s.machine.nodes[0].online
