"""The model against the worked tables of semantics.md; its own books against a recount."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from tests.reference.areas import NOWHERE
from tests.reference.machine import PAGE, Machine, Unmodelled
from tests.reference.model import Model
from tests.reference.nodes import fallback_lists, node_pairs
from tests.reference.scan import Scan
from tests.reference.scripts import SEEDS, script_of
from tests.reference.session import TWO, Session
from tests.reference.words import parse_nodes

PAIRS = [
    ("0", "1", "0>1"),
    ("0-1", "2-3", "0>2 1>3"),
    ("0-1", "1-2", "1>2 0>1"),
    ("0-2", "1-3", "2>3 1>2 0>1"),
    ("1-3", "0-2", "1>0 2>1 3>2"),
    ("0-1", "0-1", ""),
    ("2-5", "7,9,12-13", "2>7 3>9 4>12 5>13"),
    ("0-3", "4-5", "0>4 1>5 2>4 3>5"),
    ("0-1", "4-7", "0>4 1>5"),
    ("0-3", "0-1", "3>1 2>0"),
    ("0-3", "2-3", "1>3 0>2"),
    ("0,2,4", "1-3", "0>1 4>3"),
    ("0-2", "1-2", "2>1 1>2 0>1"),
    ("1-3", "2-3", "3>2 2>3 1>2"),
    ("0-2", "0,2", "2>0 1>2"),
    ("0-3", "1,3", "2>1 1>3 0>1"),
    ("0-7", "3-5", "7>4 6>3 2>5 1>4 0>3"),
    ("0-1", "none", ""),
]
MODERN_PAIRS = [
    ("0-2", "1-2", "0>1"),
    ("1-3", "2-3", "1>2"),
    ("0-2", "0,2", "1>2"),
    ("0-3", "1,3", "2>1 0>1"),
    ("0-2", "1-3", "2>3 1>2 0>1"),
    ("3", "0-3", ""),
]


def written(pairs: list[tuple[int, int]]) -> str:
    """As the table of 3.2 writes them."""
    return " ".join(f"{s}>{d}" for s, d in pairs)


@pytest.mark.parametrize(("source", "dest", "want"), PAIRS)
def test_pairs_of_v9_come_in_the_order_of_the_table(source: str, dest: str, want: str) -> None:
    assert written(node_pairs(parse_nodes(source, 16), parse_nodes(dest, 16), False)) == want


@pytest.mark.parametrize(("source", "dest", "want"), MODERN_PAIRS)
def test_modern_leaves_members_of_an_unequal_set_alone(source: str, dest: str, want: str) -> None:
    assert written(node_pairs(parse_nodes(source, 16), parse_nodes(dest, 16), True)) == want


def distances(count: int, default: int, special: dict[tuple[int, int], int]) -> list[list[int]]:
    """A symmetric table."""
    rows = [[10 if i == j else default for j in range(count)] for i in range(count)]
    for (i, j), value in special.items():
        rows[i][j] = rows[j][i] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "cpus", "want"),
    [
        (distances(4, 20, {}), [True] * 4, "0123 1230 2301 3012"),
        (distances(4, 40, {(0, 1): 20, (2, 3): 20}), [True] * 4, "0123 1032 2301 3210"),
        (distances(4, 20, {(0, 2): 30, (1, 3): 30}), [True] * 4, "0132 1023 2310 3201"),
        (distances(4, 20, {}), [True, True, True, False], "0312 1320 2301 3012"),
    ],
    ids=["equal", "two pairs", "ring", "node 3 headless"],
)
def test_fallback_lists_of_the_table(rows: list[list[int]], cpus: list[bool], want: str) -> None:
    assert " ".join("".join(map(str, one)) for one in fallback_lists(rows, cpus)) == want


def test_fallback_lists_of_the_eight_node_machine() -> None:
    """Seen on a running kernel: CPUs on nodes 0 to 3 only, tied distances (modern-kernel.md 25)."""
    near = {(0, 1): 12, (2, 3): 12, (4, 5): 12, (6, 7): 12}
    special = {(i, j): 16 for i in range(4) for j in range(i)} | {(i, j): 16 for i in range(4, 8) for j in range(4, i)}
    special |= {(j, i): value for (i, j), value in near.items()}
    lists = fallback_lists(distances(8, 24, special), [True] * 4 + [False] * 4)
    assert lists[:4] == [
        [0, 1, 2, 3, 4, 5, 6, 7],
        [1, 0, 3, 2, 5, 6, 7, 4],
        [2, 3, 0, 1, 6, 7, 4, 5],
        [3, 2, 1, 0, 7, 4, 5, 6],
    ]


def test_a_moved_page_has_old_clean_read_only_ptes_and_is_dirty_itself() -> None:
    s = Session(*TWO)
    assert s("show", "pages", "7")["_pages"][0x10] == ("present", 0, ["active", "dirty", "referenced", "writable"], 1)
    result = s("migrate-pages", "7", "0", "1")
    assert (result["return"], result["moved"], result["passes"], result["exit"]) == (0, 4, 1, 0)
    assert s("show", "pages", "7")["_pages"][0x10] == ("present", 1, ["active", "dirty", "uptodate"], 1)
    assert s("fault", "7", "v", "--write")["faults"]["reuse"] == 4


def test_a_pinned_page_stays_in_the_swap_cache_and_keeps_its_pte() -> None:
    """Trace C of 2.8: eleven tries, slot used, dirty, pte untouched, counted."""
    s = Session(*TWO, "--swap", "5p")
    s("page", "pin", "7", "0x11000+1p")
    result = s("migrate-pages", "7", "0", "1")
    assert (result["return"], result["moved"], result["passes"], result["exit"]) == (1, 3, 11, 3)
    assert [(f["reason"], f["errno"], f["pass"]) for f in result["_failures"]] == [("pinned", "EAGAIN", 10)]
    assert result["residue"] == {"swapcache": 1, "unmapped": 0}
    flags = ["active", "dirty", "pinned", "referenced", "swapcache", "uptodate", "writable"]
    assert s("show", "pages", "7")["_pages"][0x11] == ("present", 0, flags, 1)
    assert s.machine.free_slots == 4


def test_one_slot_is_enough_for_any_number_and_none_fails_each_page() -> None:
    enough = Session(*TWO, "--swap", "1p", pages=30)
    assert enough("migrate-pages", "7", "0", "1")["moved"] == 30
    without = Session(*TWO, "--swap", "none")
    result = without("migrate-pages", "7", "0", "1")
    assert (result["return"], result["moved"], result["passes"]) == (4, 0, 1)
    assert {(f["reason"], f["errno"], f["pass"]) for f in result["_failures"]} == {("no-swap", "ENOMEM", 0)}


@pytest.mark.parametrize(
    ("passes", "scans", "moved"), [("0", 1, 4), ("1", 2, 4), ("2", 3, 4), ("3", 4, 4), ("10", 4, 4), (None, 11, 3)]
)
def test_a_lock_is_tried_three_times_then_waited_for(passes: str | None, scans: int, moved: int) -> None:
    s = Session(*TWO)
    s("page", "lock", "7", "0x12000+1p", *(["--passes", passes] if passes else []))
    result = s("migrate-pages", "7", "0", "1")
    assert (result["passes"], result["moved"]) == (scans, moved)
    assert ("locked" in s("show", "pages", "7")["_pages"][0x12][2]) == (moved == 3)


@pytest.mark.parametrize(("passes", "scans", "moved"), [("0", 1, 4), ("5", 6, 4), ("10", 11, 4), (None, 11, 3)])
def test_a_pin_fails_until_its_pass(passes: str | None, scans: int, moved: int) -> None:
    s = Session(*TWO)
    s("page", "pin", "7", "0x12000+1p", *(["--passes", passes] if passes else []))
    result = s("migrate-pages", "7", "0", "1")
    assert (result["passes"], result["moved"]) == (scans, moved)


def test_modern_makes_ten_passes_and_leaves_no_residue() -> None:
    s = Session(*TWO, "--profile", "modern")
    s("page", "pin", "7", "0x12000+1p")
    s("page", "pin", "7", "0x13000+1p", "--passes", "9")
    result = s("migrate-pages", "7", "0", "1")
    assert (result["passes"], result["moved"], result["_failures"][0]["pass"]) == (10, 3, 9)
    assert result["residue"] == {"swapcache": 0, "unmapped": 0}
    assert s("show", "pages", "7")["_pages"][0x10][2] == ["active", "dirty", "referenced", "writable"]


def test_a_full_destination_falls_back_and_counts_as_moved() -> None:
    """B18: node 1 has room for two; the list of node 1 goes on with node 2."""
    s = Session("--nodes", "3", "--memory", "10p,2p,10p", pages=5)
    result = s("migrate-pages", "7", "0", "1")
    assert s.places() == [1, 1, 2, 2, 2]
    assert result["moves"] == [{"from": 0, "to": 1, "pages": 2}, {"from": 0, "to": 2, "pages": 3}]
    stat = [n.stat for n in s.machine.nodes]
    assert (stat[1]["numa_hit"], stat[1]["numa_foreign"], stat[2]["numa_miss"]) == (2, 3, 3)
    assert stat[1]["other_node"] == 2  # the caller runs on node 0


def test_memory_that_ends_in_a_chunk_drops_the_whole_chunk() -> None:
    """Node 0 is full, node 1 has one free page: the second target of the first chunk is not to be had."""
    s = Session("--nodes", "2", "--memory", "4p,1p", chunk=2)
    result = s("migrate-pages", "7", "0", "1")
    assert (result["return"], result["errno"], result["moved"], result["passes"]) == (-12, "ENOMEM", 0, 0)
    assert [f["reason"] for f in result["_failures"]] == ["not-tried"] * 4
    assert s.machine.nodes[1].free == 1
    assert s.machine.nodes[1].stat["numa_hit"] == 1


def test_old_pages_are_free_after_their_round_only() -> None:
    """One target a round: the page freed by a round is the fallback of the next one, on the source node itself."""
    s = Session("--nodes", "2", "--memory", "4p,1p", chunk=1)
    result = s("migrate-pages", "7", "0", "1")
    assert (result["return"], result["moved"]) == (0, 4)
    assert s.places() == [1, 0, 0, 0]


def test_targets_for_pages_that_stay_are_counted_and_given_back() -> None:
    s = Session(*TWO)
    s("page", "pin", "7", "v")
    s("migrate-pages", "7", "0", "1")
    assert s.machine.nodes[1].stat["numa_hit"] == 4
    assert s.machine.nodes[1].free == 50


def test_modern_stops_where_the_destination_is_full() -> None:
    s = Session("--nodes", "3", "--memory", "10p,2p,10p", "--profile", "modern", pages=5)
    result = s("migrate-pages", "7", "0", "1")
    assert (result["return"], result["moved"], result["failed"]) == (-12, 2, 3)
    assert s.places() == [1, 1, 0, 0, 0]


def test_pages_move_twice_where_unequal_sets_overlap() -> None:
    """Row 13 of 3.2: pages of node 2 travel 2>1>2."""
    s = Session("--nodes", "3", "--memory", "10p", pages=3)
    s("move-pages", "7", "0x10000=0", "0x11000=1", "0x12000=2")
    result = s("migrate-pages", "7", "0-2", "1-2")
    assert s.places() == [1, 2, 2]
    assert (result["moved"], result["moved_twice"]) == (4, 1)


def test_mlocked_pages_are_skipped_under_v9_and_move_under_modern() -> None:
    for profile, moved, skipped in (("v9", 3, 1), ("modern", 4, 0)):
        s = Session(*TWO, "--profile", profile)
        s("mlock", "7", "0x11000+1p")
        result = s("migrate-pages", "7", "0", "1")
        assert (result["return"], result["moved"], result["skipped"]) == (0, moved, skipped)


def test_bind_goes_by_number_under_v9_and_by_nearness_under_modern() -> None:
    for profile, node in (("v9", 0), ("modern", 2)):
        s = Session("--nodes", "3", "--memory", "10p", "--profile", profile)
        s("mmap", "7", "1p", "--label", "w")
        s("task", "run-on", "7", "--node", "2")
        s("set-mempolicy", "7", "bind", "0,2")
        assert s("fault", "7", "w", "--write")["_present"] == {node: 1}


def test_interleave_cuts_the_page_number_to_32_bits() -> None:
    """modern-kernel.md 19: page 2^33 with three nodes lies on the first of them; uncut it would be the third."""
    s = Session("--nodes", "3", "--memory", "10p")
    s("set-mempolicy", "7", "interleave", "0-2")
    s("mmap", "7", "1p", "--addr", hex((1 << 33) * PAGE), "--label", "w")
    assert s("fault", "7", "w", "--write")["_present"] == {0: 1}


def test_the_reference_test_counts_active_pins_only() -> None:
    """1.6: anon after add_to_swap has count k+2 and passes; pinned once it fails."""
    s = Session(*TWO)
    s("page", "pin", "7", "0x10000+1p", "--passes", "3", "--count", "2")
    page = s.machine.tasks[7].mm.slots[0x10].page  # type: ignore[union-attr]
    assert page is not None
    assert [Scan.pinned(page, at) for at in (0, 2, 3, 10)] == [True, True, False, False]


def test_move_pages_statuses() -> None:
    """modern-kernel.md 28 to 31."""
    s = Session(*TWO, "--profile", "modern")
    s("mmap", "7", "2p", "--addr", "0x20000")
    s("fault", "7", "0x21000+1p")
    words = ("0x10000=1", "0x10000=1", "0x10000=0", "0x20000=1", "0x21000=1", "0x900000=1")
    result = s("move-pages", "7", *words)
    assert [row["node"] if row["errno"] is None else row["errno"] for row in result["status"]] == [
        1, "EBUSY", 0, "EFAULT", "EFAULT", "EFAULT",
    ]  # fmt: skip
    result = s("move-pages", "7", "0x10000=1", "0x11000=5", "0x12000=1")
    assert (result["errno"], s.places()[:3]) == ("ENODEV", [1, 0, 0])
    s("page", "pin", "7", "0x11000+1p")
    result = s("move-pages", "7", "0x11000=1", "0x12000=1")
    assert (result["return"], result["exit"], s.places()[:3]) == (1, 3, [1, 0, 1])
    assert [row["node"] for row in result["status"]] == [None, None]


def recount(machine: Machine) -> None:
    """Free pages and free slots are what is not used; ptes and slots tell of each other (INV-01 to 04, 06, 10, 13)."""
    pages = machine.all_pages()
    for node in machine.nodes:
        assert node.free == node.capacity - sum(1 for page in pages if page.node == node.nid)
        assert node.online or node.free == node.capacity
    mms = {task.mm.number: task.mm for task in machine.tasks.values() if task.mm}
    for mm in mms.values():
        assert all((mm.number, vpn) in page.ptes for vpn, page in mm.pages())
        starts = [part.start for part, _ in mm.areas()]
        assert len({id(area) for _, area in mm.areas()}) == len(starts), "an area is one stretch"
        assert all(slot.area.anon_vma for slot in mm.slots.values() if slot.page and slot.page.file is None)
    swapped = {slot.swapped for mm in mms.values() for slot in mm.slots.values() if slot.swapped}
    swapped |= {page for file in machine.files.values() for page in file.pages.values() if page.slot}
    for area in machine.swap_areas:
        assert area.used == sum(1 for page in swapped | set(pages) if page.slot is area)
    for page in swapped | set(pages):
        assert page.swapcache == (page.node != NOWHERE and page.slot is not None)  # INV-04
        assert all(mms[number].slots[vpn].swapped is page for number, vpn in page.swaps)  # INV-03
        assert page.slot is not None or not page.swaps  # INV-16
        assert page.ring is None or page.slot is None  # INV-04
    for page in pages:
        assert all(mms[number].slots[vpn].page is page for number, vpn in page.ptes)
        alone = page.file is not None or len(page.ptes) < 2
        assert alone or not any(pte.writable for pte in page.ptes.values()), "shared, yet writable"
        assert page.writeback is None or page.swapcache or page.file is not None  # INV-15
        assert page.file is None or page.file.pages[page.index] is page  # INV-05
    assert all((page.pins or page.park) and not page.ptes and not page.lock for page in machine.held)


@settings(max_examples=25, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=SEEDS)
def test_the_books_of_the_model_balance(seed: int) -> None:
    script = script_of(seed, most=25)
    model = Model(script.chunk)
    for argv, document in zip(script.lines, script.expected, strict=True):
        again = model.run(argv)
        assert again == document, "the model must not depend on anything but the script"
        assert model.machine is not None
        recount(model.machine)


@pytest.mark.parametrize("kind", ["--io", "--pfnmap", "--hugetlb"])
def test_raw_areas_have_nothing_present(kind: str) -> None:
    """9a: a fault succeeds with nothing there; MADV_DONTNEED refuses huge and raw ones."""
    s = Session(*TWO)
    s("mmap", "7", "4p", "--addr", hex(0x80 * PAGE), kind)
    span = f"{0x80 * PAGE:#x}+4p"
    assert s("fault", "7", span, "--write")["_present"] == {}
    assert s("madvise", "7", span, "dontneed").get("errno") == (None if kind == "--io" else "EINVAL")


def test_what_the_documents_leave_open_is_refused_by_the_model() -> None:
    s = Session(*TWO)
    with pytest.raises(Unmodelled):
        s("fault", "7", "no-such-label")
