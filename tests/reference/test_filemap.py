"""Files in the model, against semantics.md 1.3, 1.4, 1.8, 2.4, 2.6, 2.8 B, 6.1, 6.3."""

from __future__ import annotations

import pytest

from tests.reference.base import Document
from tests.reference.session import TWO, Session

AT = 0x20  # page number of the area of the file


def mapped(*create: str, shared: bool = True, init: tuple[str, ...] = (*TWO, "--swap", "20p")) -> Session:
    """Pid 7 with a file of 4 pages at AT."""
    s = Session(*init)
    s("file", "create", "/f", "4p", *create)
    s("mmap", "7", "6p", "--file", "/f", "--addr", hex(AT << 12), "--label", "f", *(["--shared"] if shared else []))
    return s


def reasons(result: Document) -> list[tuple[str, int]]:
    """Reasons and last passes."""
    return sorted({(f["reason"], f["pass"]) for f in result["_failures"]})


def test_reading_maps_the_cache_and_ends_at_the_file() -> None:
    s = mapped("--fs", "ext2")
    found = s("fault", "7", "f")
    assert (found["errno"], found["signal"], found["at"], found["faults"]["file"]) == ("EFAULT", "SIGBUS", "0x24000", 4)
    assert s.pages()[AT] == ("present", 0, ["referenced", "uptodate", "writable"], 1)


def test_page_cache_takes_turns_and_private_copies_go_by_the_area() -> None:
    """6.1, 6.3: the cache by the task's policy from il_next on, the copy by the area's."""
    s = mapped("--fs", "ext2", shared=False)
    s("set-mempolicy", "7", "interleave", "0-1")
    s("mbind", "7", "f", "bind", "1")
    s("fault", "7", "0x22000+2p")
    assert [s.pages()[AT + k][1] for k in (2, 3)] == [0, 1]
    assert s("fault", "7", "0x22000+2p", "--write")["faults"]["cow"] == 2
    assert [s.pages()[AT + k][1] for k in (2, 3)] == [1, 1]
    assert s("file", "list")["_files"][0]["nodes"] == {"0": 1, "1": 1}


def test_a_migrated_page_is_mapped_by_nobody_and_keeps_its_ring() -> None:
    """Trace B of 2.8: ring handed over, ptes gone, dirt in the page and its buffers."""
    s = mapped("--fs", "ext2")
    s("fault", "7", "0x20000+1p", "--write")
    s("page", "buffers", "7", "0x20000+1p", "--state", "busy")
    assert s("migrate-pages", "7", "0", "1")["moved"] == 5
    assert s.pages()[AT][0] == "absent"
    assert s("show", "buffers")["_rings"] == {("/f", 0): (1, ["busy", "dirty"])}
    assert s("fault", "7", "0x20000+1p")["_present"] == {1: 1}


@pytest.mark.parametrize(
    ("create", "write", "outcome"),
    [
        (["--fs", "xfs-buf"], False, [("fs-refuses", 0)]),
        (["--fs", "ramfs"], False, []),
        (["--fs", "ramfs"], True, [("pageout-activate", 10)]),
        (["--fs", "ext3", "--journal", "journalled"], True, []),
        (["--fs", "tmpfs"], True, []),
    ],
)
def test_how_a_page_moves_is_told_by_its_method(create: list[str], write: bool, outcome: list[tuple[str, int]]) -> None:
    """1.3, 2.4: refused, moved clean, not to be written, written first, by way of the swap cache."""
    s = mapped(*create)
    s("fault", "7", "0x20000+4p", *(["--write"] if write else []))
    result = s("migrate-pages", "7", "0", "1")
    assert reasons(result) == outcome
    assert result["moved"] == 4 + (0 if outcome else 4)


def test_a_ring_that_the_journal_uses_is_not_dropped() -> None:
    s = mapped("--fs", "ext3", "--journal", "journalled")
    s("file", "write", "/f")
    s("fault", "7", "0x20000+4p")
    assert reasons(s("migrate-pages", "7", "0", "1")) == [("buffers-busy", 10)]
    s("file", "sync", "/f")
    s("fault", "7", "0x20000+4p")
    assert s("migrate-pages", "7", "0", "1")["moved"] == 4
    assert s("show", "buffers")["_rings"] == {}


def test_a_busy_buffer_is_dropped_when_it_is_free() -> None:
    s = mapped("--fs", "ext2", "--method", "none")
    s("fault", "7", "0x20000+1p")
    s("page", "buffers", "7", "0x20000+1p", "--state", "busy", "--passes", "6")
    result = s("migrate-pages", "7", "0", "1")
    assert (result["moved"], result["passes"]) == (5, 7)


def test_tmpfs_comes_back_from_the_swap_cache_with_the_next_fault() -> None:
    """9a: it keeps a slot until then, and is dirty afterwards (6.3)."""
    s = mapped("--fs", "tmpfs")
    s("file", "write", "/f", "1p")
    s("fault", "7", "0x20000+1p")
    assert s("migrate-pages", "7", "0", "1")["moved"] == 5
    assert s.machine.free_slots == 19
    s("fault", "7", "0x20000+1p")
    assert s.machine.free_slots == 20
    assert s.pages()[AT] == ("present", 1, ["dirty", "referenced", "uptodate", "writable"], 1)


def test_a_policy_of_tmpfs_belongs_to_the_object() -> None:
    s = mapped("--fs", "tmpfs")
    s("mbind", "7", "f", "bind", "1")
    s("task", "create", "--pid", "8", "--node", "0")
    s("mmap", "8", "4p", "--file", "/f", "--shared", "--addr", "0x50000")
    assert s("fault", "8", "0x50000+4p")["_present"] == {1: 4}


def test_cutting_a_file_takes_pages_and_copies_and_leaves_what_is_pinned() -> None:
    s = mapped("--fs", "ext2", shared=False)
    s("fault", "7", "0x20000+2p", "--write")
    s("fault", "7", "0x22000+2p")
    s("task", "create", "--pid", "8")
    s("mmap", "8", "4p", "--file", "/f", "--shared", "--addr", "0x50000")
    s("page", "pin", "8", "0x53000+1p")
    assert s("file", "truncate", "/f", "1p")["_back"] == {"size": 1, "cached": 1, "orphaned": 1}
    assert [s.pages()[AT + k][0] for k in range(4)] == ["present", "absent", "absent", "absent"]
    assert s.machine.nodes[0].free == 50 - 4 - 2 - 1
    s("page", "unpin", "8")
    assert s.machine.nodes[0].free == 50 - 4 - 2


def test_a_child_finds_shared_areas_empty_and_copied_ones_full() -> None:
    """6.6: only areas that had an anonymous fault are copied, with the cache pages in them."""
    s = mapped("--fs", "ext2", shared=False)
    s("mmap", "7", "4p", "--file", "/f", "--shared", "--addr", "0x50000")
    s("fault", "7", "0x20000+1p", "--write")
    s("fault", "7", "0x21000+1p")
    s("fault", "7", "0x50000+4p")
    s("fork", "7", "--pid", "8")
    assert [s.pages(8)[AT + k][0] for k in range(3)] == ["present", "present", "absent"]
    assert s.pages(8)[0x50][0] == "absent"


def test_a_read_fault_of_today_maps_what_is_cached_around() -> None:
    """modern-kernel.md 23: the aligned window of 16 pages within the area; a write maps one page."""
    s = Session(*TWO, "--profile", "modern")
    s("file", "create", "/t", "8p", "--fs", "tmpfs")
    s("file", "write", "/t", "4p@2p")
    s("mmap", "7", "8p", "--file", "/t", "--shared", "--addr", "0x20000")
    s("fault", "7", "0x27000+1p", "--write")
    assert [s.pages()[0x20 + k][0] for k in range(8)] == ["absent"] * 7 + ["present"]
    s("fault", "7", "0x22000+1p")
    assert [s.pages()[0x20 + k][0] for k in range(8)] == ["absent"] * 2 + ["present"] * 4 + ["absent", "present"]
