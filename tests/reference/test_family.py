"""Fork, copy on write, exit and the borders of areas in the model, against semantics.md 1.6, 2.8 A, 6.4, 6.6."""

from __future__ import annotations

import pytest

from tests.reference.areas import Pin
from tests.reference.scan import Scan
from tests.reference.session import TWO, Session


def forked(*init: str, pages: int = 4) -> Session:
    """Pid 7 with written pages and its child 8."""
    s = Session(*(init or TWO), pages=pages)
    s("fork", "7", "--pid", "8")
    return s


def test_after_fork_both_map_the_page_and_neither_may_write() -> None:
    s = forked()
    assert s.pages()[0x10] == ("present", 0, ["active", "dirty", "referenced"], 2)
    assert s.pages(8)[0x10] == ("present", 0, ["active", "dirty"], 2)
    assert s.machine.nodes[0].free == 46, "fork takes no memory"


def test_the_reference_test_asks_for_extra_references_only() -> None:
    """1.6: after add_to_swap count is k+2 for k ptes, and passes; with one more reference it fails."""
    s = forked()
    slot = s.machine.tasks[8].mm.slots[0x10]  # type: ignore[union-attr]
    assert slot.page is not None
    assert (len(slot.page.ptes), Scan.pinned(slot.page, 0)) == (2, False)
    slot.page.pins.append(Pin(7, 4))
    assert [Scan.pinned(slot.page, at) for at in (3, 4)] == [True, False]


def test_the_first_write_copies_and_the_second_reuses() -> None:
    """6.4: mapcount 2 is copied; what is left has mapcount 1 and is taken over in place."""
    s = forked()
    assert s("fault", "8", "v", "--write")["faults"]["cow"] == 4
    assert s.machine.nodes[0].free == 42
    assert s.pages()[0x10][3] == 1
    assert s("fault", "7", "v", "--write")["faults"]["reuse"] == 4


def test_a_locked_page_cannot_be_reused() -> None:
    s = forked()
    s("task", "exit", "8")
    s("page", "lock", "7", "0x10000+1p")
    faults = s("fault", "7", "v", "--write")["faults"]
    assert (faults["cow"], faults["reuse"]) == (1, 3)


def test_exit_frees_a_page_with_its_last_pte() -> None:
    s = forked()
    s("task", "exit", "7")
    assert s.machine.nodes[0].free == 46
    s("task", "exit", "8")
    assert s.machine.nodes[0].free == 50


def test_trace_a_of_2_8_both_ptes_come_back_and_the_slot_is_free() -> None:
    """Anon, parent and child, MOVE_ALL: mapcount 2 before and after, the entry is given back."""
    s = forked(*TWO, "--swap", "1p")
    result = s("migrate-pages", "7", "0", "1")
    assert (result["return"], result["moved"], result["passes"]) == (0, 4, 1)
    assert s.pages()[0x10] == s.pages(8)[0x10] == ("present", 1, ["active", "dirty", "uptodate"], 2)
    assert s.machine.free_slots == 1
    assert s.machine.nodes[0].free == 50


@pytest.mark.parametrize(("caller", "moved", "skipped"), [("0", 4, 0), ("1", 1, 3)])
def test_who_has_sys_nice_moves_shared_pages_too(caller: str, moved: int, skipped: int) -> None:
    """B5, B7: mapcount == 1 under MOVE; the skipped ones are no failures."""
    s = Session(*TWO)
    s("task", "create", "--pid", "9", "--uid", "1", "--node", "0")
    s("mmap", "9", "4p", "--addr", "0x10000", "--label", "v")
    s("fault", "9", "v", "--write")
    s("fork", "9", "--pid", "10")
    s("fault", "10", "0x10000+1p", "--write")
    result = s("migrate-pages", "9", "0", "1", "--as", caller)
    assert (result["return"], result["moved"], result["skipped"], result["exit"]) == (0, moved, skipped, 0)
    assert {skip["reason"] for skip in result["_skips"]} == ({"shared"} if skipped else set())


def test_move_pages_refuses_a_shared_page_without_move_all() -> None:
    s = forked()
    s("fault", "8", "0x11000+1p", "--write")
    statuses = s("move-pages", "7", "0x10000=1", "0x11000=1")["status"]
    assert [(row["node"], row["errno"]) for row in statuses] == [(None, "EACCES"), (1, None)]
    assert s("move-pages", "7", "0x10000=1", "--move-all")["status"][0]["node"] == 1


def test_a_page_in_a_locked_area_of_another_task_fails_at_first_sight() -> None:
    """B8, 2.6: permanent, one pass, every pte as it was, the swap entry of step 3 stays."""
    s = Session(*TWO, "--swap", "9p")
    s("mlock", "7", "0x10000+2p")
    s("fork", "7", "--pid", "8")
    before = s.pages()[0x10][2]
    result = s("migrate-pages", "8", "0", "1")
    assert (result["return"], result["moved"], result["passes"], result["exit"]) == (2, 2, 1, 3)
    assert {(f["reason"], f["errno"], f["pass"]) for f in result["_failures"]} == {("mlocked", "EPERM", 0)}
    assert result["residue"] == {"swapcache": 2, "unmapped": 0}
    assert s.pages()[0x10][2] == sorted([*before, "swapcache", "uptodate"])


def test_locked_is_not_inherited() -> None:
    s = Session(*TWO)
    s("mlock", "7", "v")
    s("fork", "7", "--pid", "8")
    s("fault", "8", "v", "--write")
    assert s("migrate-pages", "8", "0", "1")["moved"] == 4
    assert s("migrate-pages", "7", "0", "1")["_skips"][0]["reason"] == "vma-locked"


def test_mlock_breaks_sharing() -> None:
    s = forked()
    s("mlock", "8", "v")
    assert s.pages(8)[0x10][3] == 1
    assert s.machine.nodes[0].free == 42


def test_zero_pages_are_copied_only_with_an_area_that_had_an_anonymous_fault() -> None:
    s = Session(*TWO)
    s("mmap", "7", "4p", "--addr", "0x20000")
    s("fault", "7", "0x20000+4p")
    s("fork", "7", "--pid", "8")
    assert {s.pages(8)[vpn][0] for vpn in range(0x20, 0x24)} == {"absent"}
    s("fault", "7", "0x20000+1p", "--write")
    s("madvise", "7", "0x20000+1p", "dontneed")  # does not take the anon_vma away
    s("fork", "7", "--pid", "9")
    assert [s.pages(9)[vpn][0] for vpn in range(0x20, 0x24)] == ["absent", "zero", "zero", "zero"]


def test_an_anon_vma_stays_in_both_parts_of_a_split_and_in_a_merged_area() -> None:
    s = Session(*TWO)
    s("mmap", "7", "2p", "--addr", "0x20000")
    s("fault", "7", "0x20000+1p", "--write")
    s("mbind", "7", "0x21000+1p", "preferred", "1")
    s("fault", "7", "0x21000+1p")
    s("mmap", "7", "2p", "--addr", "0x30000", "--prot", "r")
    s("fault", "7", "0x30000+2p")
    s("mmap", "7", "1p", "--addr", "0x32000")
    s("fault", "7", "0x32000+1p", "--write")
    s("mprotect", "7", "0x32000+1p", "r")  # equal now: one area, which has an anon_vma
    s("fork", "7", "--pid", "8")
    assert [s.pages(8)[vpn][0] for vpn in (0x21, 0x30, 0x31, 0x32)] == ["zero", "zero", "zero", "present"]


def starts(s: Session) -> list[str]:
    """Where the areas of pid 7 begin."""
    return [line["addr"] for line in s("numa-maps", "7")["_lines"]]


def test_areas_split_and_merge_with_flags_and_policies() -> None:
    for profile, after in (("v9", ["0x10000", "0x11000", "0x13000"]), ("modern", ["0x10000"])):
        s = Session(*TWO, "--profile", profile)
        s("mprotect", "7", "0x11000+2p", "r")
        assert starts(s) == ["0x10000", "0x11000", "0x13000"]
        s("mprotect", "7", "0x11000+2p", "rw")
        assert starts(s) == ["0x10000"]
        s("mbind", "7", "0x11000+2p", "bind", "0")
        assert starts(s) == ["0x10000", "0x11000", "0x13000"]
        s("mbind", "7", "0x11000+2p", "default")
        assert starts(s) == after, "V9's mbind does not merge"
        s("mmap", "7", "1p", "--addr", "0x14000")
        assert starts(s) == after, "mmap does"


def test_mprotect_leaves_pages_where_they_are_and_ptes_read_only() -> None:
    s = Session(*TWO)
    s("mprotect", "7", "0x10000+2p", "none")
    assert s("fault", "7", "0x10000+1p")["signal"] == "SIGSEGV"
    assert s.places() == [0, 0, 0, 0]
    s("mprotect", "7", "v", "rw")
    faults = s("fault", "7", "v", "--write")["faults"]
    assert (faults["reuse"], faults["present"]) == (2, 2), "an area that was rw already keeps its ptes"


def test_mprotect_over_a_hole_does_nothing() -> None:
    s = Session(*TWO)
    assert s("mprotect", "7", "0x10000+5p", "r")["errno"] == "ENOMEM"
    assert s("mprotect", "7", "0x10800+1p", "r")["errno"] == "EINVAL"
    assert s("mprotect", "7", "0x10000+0p", "r")["errno"] is None
    assert s("fault", "7", "v", "--write")["faults"]["present"] == 4


def test_madvise_stops_at_a_locked_area_and_goes_on_over_a_hole() -> None:
    s = Session(*TWO, pages=6)
    s("munmap", "7", "0x11000+1p")
    assert s("madvise", "7", "0x10000+3p", "dontneed")["errno"] == "ENOMEM"
    assert [row[0] for _, row in sorted(s.pages().items())] == ["absent", "absent", "present", "present", "present"]
    s("mlock", "7", "0x14000+1p")
    assert s("madvise", "7", "0x12000+4p", "dontneed")["errno"] == "EINVAL"
    assert [row[0] for _, row in sorted(s.pages().items())] == ["absent"] * 3 + ["present"] * 2
    assert s.machine.nodes[0].free == 48


def test_a_pinned_page_outlives_its_ptes_until_the_holder_lets_go() -> None:
    s = forked()
    s("page", "pin", "7", "0x10000+1p")  # the child keeps the old page, the pinned one is a copy
    s("task", "exit", "8")
    s("munmap", "7", "v")
    assert s.machine.nodes[0].free == 49
    s("page", "unpin", "7")
    assert s.machine.nodes[0].free == 50


def test_a_hold_on_a_page_that_only_the_child_maps_ends_with_its_task() -> None:
    s = forked()
    s("page", "lock", "7", "0x10000+1p")
    s("munmap", "7", "v")
    assert "locked" in s.pages(8)[0x10][2]
    s("task", "exit", "7")
    assert "locked" not in s.pages(8)[0x10][2]


def test_numa_maps_counts_a_shared_page_in_both_tasks() -> None:
    s = forked()
    line = s("numa-maps", "8")["_lines"][0]
    assert (line["anon"], line["dirty"], line["mapmax"], line["nodes"]) == (4, 4, 2, {"0": 4})
