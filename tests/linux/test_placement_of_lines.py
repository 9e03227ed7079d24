"""From lines of numa_maps to areas with placed pages."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migratectl.errors import InputFileError
from migratectl.linux.maps import parse_maps
from migratectl.linux.numa_maps import NumaMapsLine
from migratectl.linux.numa_maps_reader import parse_numa_maps
from migratectl.linux.placement import plan_task
from migratectl.linux.plan import PlannedArea, PlannedRun, PlannedTask
from migratectl.nodemask import Nodemask
from migratectl.policy import Policy
from migratectl.uapi import VM, Mode

DATA = Path(__file__).parents[3] / "shared/data/numa_maps"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real samples: {DATA} is missing")


def plan(text: str, maps: str | None = None, *, page_size: int = 4096, strict: bool = False) -> PlannedTask:
    areas = None if maps is None else parse_maps(maps, "maps")
    return plan_task(parse_numa_maps(text, "nm"), page_size=page_size, maps=areas, strict=strict)


def one(text: str, maps: str | None = None, *, page_size: int = 4096) -> PlannedArea:
    (area,) = plan(text, maps, page_size=page_size).areas
    return area


def addresses(run: PlannedRun) -> range:
    return range(run.first, run.first + run.nr_pages * run.step, run.step)


def assert_is_its_line(area: PlannedArea, line: NumaMapsLine) -> None:
    """Every count of the line comes back from the runs, which are disjoint and inside the area."""
    pages = [page for run in area.runs for page in (run.first, run.first + (run.nr_pages - 1) * run.step)]
    assert all(area.start <= page < area.end for page in pages)
    nodes: Counter[int] = Counter()
    for run in area.runs:
        nodes[run.node] += run.nr_pages
        assert run.nr_pages > 1 or run.step == 1
        assert not run.writeback or run.swapcache or not run.anon
    size = 1 << area.huge_order
    assert nodes == {node: count * size for node, count in line.nodes}
    for name in ("anon", "dirty", "swapcache", "writeback"):
        assert sum(run.nr_pages for run in area.runs if getattr(run, name)) == getattr(line, name) * size
    if not line.huge:
        active = sum(run.nr_pages for run in area.runs if run.active)
        assert active == (line.pages if line.active is None else line.active)
    if line.nodes:
        assert max(run.outside for run in area.runs) == line.mapmax - 1
    assert len(area.runs) <= len(line.nodes) + 7


def test_area_ends_behind_the_pages_counted() -> None:
    area = one("00010000 default heap anon=3 dirty=3 N0=3")
    assert (area.start, area.end, area.line) == (0x10, 0x13, 1)
    assert area.vm == VM.READ | VM.WRITE | VM.HEAP


def test_area_without_pages_has_one_page_and_no_run() -> None:
    area = one("7ffc4c799000 default")
    assert (area.end - area.start, area.runs, area.file, area.vm) == (1, (), None, VM.READ | VM.WRITE)


def test_area_ends_where_maps_says() -> None:
    maps = "00010000-00080000 r-xp 00003000 08:01 77 /bin/x\n"
    area = one("00010000 default file=/bin/x mapped=3 N0=3", maps)
    assert (area.start, area.end, area.offset, area.inode) == (0x10, 0x80, 3, 77)
    assert area.vm == VM.READ | VM.EXEC


def test_assumptions_name_what_maps_would_tell() -> None:
    text = "00010000 default file=/bin/x mapped=3 N0=3\n"
    without = plan(text).assumptions
    told = plan(text, "00010000-00080000 r-xp 00003000 08:01 77 /bin/x\n").assumptions
    assert set(told) < set(without)
    assert [line for line in without if "no maps: 1 area" in line]


def test_pages_lie_node_after_node() -> None:
    area = one("00010000 default anon=6 dirty=6 active=6 N1=2 N3=4")
    assert [(run.node, list(addresses(run))) for run in area.runs] == [(1, [16, 17]), (3, [18, 19, 20, 21])]


@pytest.mark.parametrize("start", [0x10, 0x11, 0x12, (1 << 32) + 1])
def test_interleaved_pages_follow_their_addresses(start: int) -> None:
    """Node = set[(page mod 2^32) mod n]; here 12 pages over nodes 0, 2 and 5."""
    area = one(f"{start * 4096:08x} interleave:0,2,5 anon=12 dirty=12 N0=4 N2=4 N5=4")
    placed = {page: run.node for run in area.runs for page in addresses(run)}
    assert placed == {page: (0, 2, 5)[(page % 2**32) % 3] for page in range(start, start + 12)}
    assert len(area.runs) == 3


def test_interleaved_file_follows_its_index() -> None:
    maps = "00011000-00080000 rw-s 00004000 00:01 9 /dev/shm/x\n"
    area = one("00011000 interleave:0-2 file=/dev/shm/x dirty=6 N0=2 N1=2 N2=2", maps)
    placed = {page: run.node for run in area.runs for page in addresses(run)}
    assert placed == {page: (page - 0x11 + 4) % 3 for page in range(0x11, 0x17)}


def test_interleaved_pages_that_miss_by_one_keep_their_nodes() -> None:
    """One page more on node 1, where the addresses would have it on node 0: the area ends a page later."""
    area = one("00010000 interleave:0-1 anon=5 dirty=5 N0=2 N1=3")
    assert {page: run.node for run in area.runs for page in addresses(run)} == {16: 0, 17: 1, 18: 0, 19: 1, 21: 1}
    assert area.end == 22


def test_interleaved_without_room_is_placed_node_after_node() -> None:
    first, _ = plan("00010000 interleave:0-1 anon=5 dirty=5 N0=2 N1=3\n00015000 default\n").areas
    assert [(run.node, run.step, run.nr_pages) for run in first.runs] == [(0, 1, 2), (1, 1, 3)]


@pytest.mark.parametrize("counts", ["N0=90 N1=10", "N4=100", "N0=50 N2=50"])
def test_interleaved_that_is_not_even_is_placed_node_after_node(counts: str) -> None:
    area = one(f"00010000 interleave:0-1 anon=100 dirty=100 {counts}")
    assert {run.step for run in area.runs} == {1}
    assert area.end - area.start == 100


def test_a_large_interleaved_area_has_a_run_a_node() -> None:
    area = one("2aaaab2db000 interleave=0-1 anon=33358486 dirty=33358486 N0=16679245 N1=16679241")
    assert [(run.node, run.step, run.nr_pages) for run in area.runs] == [(0, 2, 16679245), (1, 2, 16679241)]


def test_anonymous_pages_come_first_and_mapmax_is_of_the_file() -> None:
    first, second = one("00010000 default file=/x anon=2 dirty=2 mapped=5 mapmax=9 N0=5").runs
    assert (first.nr_pages, first.anon, first.dirty, first.outside) == (2, True, True, 0)
    assert (second.nr_pages, second.anon, second.dirty, second.outside) == (3, False, False, 8)


def test_mapmax_without_file_pages_is_of_all() -> None:
    (run,) = one("00010000 default anon=2 dirty=2 mapmax=3 N0=2").runs
    assert run.outside == 2


def test_all_pages_are_active_where_the_line_does_not_say() -> None:
    (run,) = one("00010000 default anon=2 dirty=2 N0=2").runs
    assert run.active
    (idle,) = one("00010000 default anon=2 dirty=2 active=0 N0=2").runs
    assert not idle.active


def test_writeback_takes_the_swap_cache_then_the_file() -> None:
    """An anonymous page outside the swap cache cannot be under writeback."""
    area = one("00010000 default file=/x anon=3 dirty=3 mapped=6 swapcache=1 writeback=2 N0=6")
    written = [page for run in area.runs if run.writeback for page in addresses(run)]
    assert written == [0x10, 0x13]


@pytest.mark.parametrize(
    ("text", "shared"),
    [
        ("anon=1 dirty=1 N0=1", False),
        ("file=/bin/x mapped=1 N0=1", False),
        ("file=/bin/x anon=1 dirty=1 N0=1", False),
        ("file=/data dirty=1 N0=1", True),
        ("file=/dev/zero\\040(deleted) dirty=2 N0=2", True),
        ("file=/dev/zero\\040(deleted)", True),
        ("file=/SYSV00000000\\040(deleted)", True),
        ("file=/memfd:x\\040(deleted) anon=1 dirty=5 N0=5", False),
        ("file=/anon_hugepage\\040(deleted) huge anon=1 dirty=1 N0=1 kernelpagesize_kB=2048", False),
    ],
)
def test_shared_or_private(text: str, shared: bool) -> None:
    area = one(f"40000000 default {text}")
    assert bool(area.vm & VM.SHARED) == shared


def test_file_begins_at_its_lowest_area() -> None:
    text = "00010000 default file=/a mapped=2 N0=2\n00015000 default file=/b\n00020000 default file=/a mapped=2 N0=2\n"
    assert [area.offset for area in plan(text).areas] == [0, 0, 16]


def test_huge_pages_count_in_base_pages() -> None:
    area = one("40000000 bind:0-1 file=/h huge dirty=3 N0=1 N1=2 kernelpagesize_kB=2048")
    assert (area.huge_order, area.end - area.start) == (9, 3 * 512)
    assert [(run.node, run.nr_pages) for run in area.runs] == [(0, 512), (1, 1024)]
    assert area.vm & VM.HUGETLB


@pytest.mark.parametrize(
    ("text", "orders"),
    [
        ("40000000 default file=/h huge dirty=2 N0=2", [9]),
        ("40080000 default file=/h huge dirty=2 N0=2", [7]),
        ("40000000 default file=/h huge dirty=2 N0=2\n40200000 default\n", [8, 0]),
        ("40000000 default file=/h huge\n40001000 default\n", [0, 0]),
    ],
)
def test_huge_pages_of_unknown_size(text: str, orders: list[int]) -> None:
    """2 MiB, less where the address or the next area forbid it."""
    task = plan(text)
    assert [area.huge_order for area in task.areas] == orders
    assert [line for line in task.assumptions if "huge pages of unknown size" in line]


def test_huge_pages_of_a_machine_with_larger_base_pages() -> None:
    assert one("40000000 default huge dirty=1 N0=1 kernelpagesize_kB=2048", page_size=16384).huge_order == 7


def test_line_that_repeats_another_is_taken_once() -> None:
    task = plan("00010000 default\n00020000 default anon=1 N0=1\n00010000 default\n")
    assert [area.line for area in task.areas] == [1, 2]
    assert [line for line in task.assumptions if "line 3 repeats" in line]
    with pytest.raises(InputFileError, match="nm: line 3: the address 00010000 stands there twice"):
        plan("00010000 default\n00020000 default anon=1 N0=1\n00010000 default\n", strict=True)


def test_lines_out_of_order_are_sorted() -> None:
    text = "00020000 default\n00010000 default\n"
    task = plan(text)
    assert [area.line for area in task.areas] == [2, 1]
    assert [line for line in task.assumptions if "line 2: addresses out of order" in line]
    with pytest.raises(InputFileError, match="nm: line 2: its address is below"):
        plan(text, strict=True)


def test_same_area_under_another_policy_is_left_out() -> None:
    text = "00400000 default mapped=6 N4=6\n00400000 interleave:0-7 mapped=6 N4=6\n"
    task = plan(text)
    assert [(area.line, area.policy.mode) for area in task.areas] == [(1, Mode.DEFAULT)]
    assert [line for line in task.assumptions if "line 2: the same address as line 1" in line]
    with pytest.raises(InputFileError, match="nm: line 2: the same address as line 1"):
        plan(text, strict=True)


def test_same_address_with_other_counts_is_refused() -> None:
    with pytest.raises(InputFileError, match="nm: line 2: the same address as line 1, but other contents"):
        plan("00400000 default mapped=6 N4=6\n00400000 default mapped=7 N4=7\n")


@pytest.mark.parametrize(
    ("text", "kept", "said"),
    [
        (
            "00010000 default anon=9 N0=9\n00012000 default anon=1 N0=1\n",
            [1],
            "line 2: it lies among the pages of line 1",
        ),
        ("00012000 default anon=1 N0=1\n00010000 default anon=9 N0=9\n", [1], "line 2: its pages reach into line 1"),
        ("00010000 default\n00030000 default\n00010000 default anon=99 N0=99\n", None, "line 3: the same address"),
        (
            "00010000 default anon=9 N0=9\n00012000 default\n00014000 default\n00019000 default\n",
            [1, 4],
            "line 3: it lies among the pages of line 1",
        ),
    ],
)
def test_pages_of_two_lines_at_one_place(text: str, kept: list[int] | None, said: str) -> None:
    """The earlier line stays; where the text is of one living process it is refused."""
    if kept is not None:
        task = plan(text)
        assert [area.line for area in task.areas] == kept
        assert [line for line in task.assumptions if said in line]
    with pytest.raises(InputFileError, match="nm: line"):
        plan(text, strict=True)


@pytest.mark.parametrize(
    ("text", "page_size", "said"),
    [
        ("00011000 default", 16384, "no multiple of the page size of 16384; .* --page-size"),
        ("00010000 default anon=1 N0=1 kernelpagesize_kB=64", 4096, "migratectl init --page-size 64K"),
        ("00010000 default anon=1 N0=1 kernelpagesize_kB=4", 16384, "migratectl init --page-size 4K"),
        ("00010000 default huge anon=1 N0=1 kernelpagesize_kB=2048", 4096, "no multiple of its page size of 2048"),
        ("fffffffffffff000 default anon=2 N0=2", 4096, "beyond the end of the address space"),
        ("00010000 default anon=999999999999999 N0=999999999999999", 65536, "beyond the end of the address space"),
    ],
)
def test_lines_that_do_not_fit_the_machine(text: str, page_size: int, said: str) -> None:
    with pytest.raises(InputFileError, match=f"nm: line 1: .*{said}"):
        plan(text, page_size=page_size)


def test_last_page_of_the_address_space() -> None:
    assert one("fffffffffffff000 default anon=1 N0=1").end == 1 << 52


def test_more_pages_than_the_area_of_maps() -> None:
    with pytest.raises(InputFileError, match="nm: line 1: its 3 pages and the area of line 1 of maps"):
        plan("00010000 default anon=3 N0=3", "00010000-00012000 rw-p 00000000 00:00 0\n")


def test_area_that_maps_does_not_know() -> None:
    task = plan("00010000 default\n00020000 default\n", "00010000-00012000 rw-p 00000000 00:00 0\n")
    assert [area.end - area.start for area in task.areas] == [2, 1]
    assert [line for line in task.assumptions if "not in maps: 1 area" in line]


def test_path_that_is_no_text_can_be_stored() -> None:
    area = one("00010000 default file=/\udcffé\x1b[2J\\012")
    assert area.file == "/\\377é\\033[2J\\012"


def test_no_lines_no_areas() -> None:
    assert plan("") == PlannedTask((), ())


@st.composite
def lines(draw: st.DrawFn) -> NumaMapsLine:
    nodes = draw(st.dictionaries(st.integers(0, 5), st.integers(1, 40), max_size=6))
    if draw(st.booleans()):  # an even share, give or take a page
        base = draw(st.integers(1, 30))
        nodes = {node: base + draw(st.integers(0, 1)) for node in draw(st.sets(st.integers(0, 5), min_size=1))}
    pages = sum(nodes.values())
    anon, dirty, cached = (draw(st.integers(0, pages)) for _ in range(3))
    return NumaMapsLine(
        "x",
        1,
        draw(st.integers(0, 1 << 40)) * 4096,
        Policy(Mode.INTERLEAVE, Nodemask(nodes or [0])),
        draw(st.sampled_from([None, "/f"])),
        anon=anon,
        dirty=dirty,
        mapmax=draw(st.integers(1, 3)) if pages else 1,
        swapcache=cached,
        active=draw(st.one_of(st.none(), st.integers(0, pages))),
        writeback=draw(st.integers(0, cached + pages - max(anon, cached))),
        nodes=tuple(sorted(nodes.items())),
    )


@given(lines())
def test_counts_come_back(line: NumaMapsLine) -> None:
    (area,) = plan_task([line], page_size=4096).areas
    assert_is_its_line(area, line)
    placed = [page for run in area.runs for page in addresses(run)]
    assert len(set(placed)) == len(placed) == line.pages


# ---- the real samples

LEFT_OUT = {"mongo-comment.numa_maps": 1, "mysql-2010-interleaved.numa_maps": 1, "redis-debian11.numa_maps": 2}
NOT_READ = {"mm-2005-07-08-getty.numa_maps", "dragonwell-fixture.numa_maps"}
"""The first has lines for areas with pages only, test_old_layout.py has it; the second is malformed."""


def samples() -> list[Path]:
    return sorted(path for path in DATA.glob("*.numa_maps") if path.name not in NOT_READ)


def cases() -> list[tuple[Path, Path | None]]:
    """Every sample without maps, and those that have the maps of the same process with them too."""
    return [
        (path, maps)
        for path in samples()
        for maps in (None, path.with_suffix(".maps"))
        if maps is None or maps.exists()
    ]


@needs_data
@pytest.mark.parametrize(("path", "maps"), cases(), ids=lambda path: path.name if path else "alone")
def test_real_sample_keeps_its_counts(path: Path, maps: Path | None) -> None:
    parsed = parse_numa_maps(path.read_text(), path.name)
    areas = parse_maps(maps.read_text(), maps.name) if maps else None
    page_size = 16384 if "2006-03-03" in path.name else 4096
    task = plan_task(parsed, page_size=page_size, maps=areas)
    assert len(task.areas) == len(parsed) - LEFT_OUT.get(path.name, 0)
    by_number = {line.number: line for line in parsed}
    for area in task.areas:
        assert_is_its_line(area, by_number[area.line])
    assert all(below.end <= above.start for below, above in pairwise(task.areas))
    said = [line for line in task.assumptions if "left out" in line or "taken once" in line]
    assert bool(said) == (path.name in LEFT_OUT)


@needs_data
def test_real_process_with_maps_ends_where_maps_says() -> None:
    parsed = parse_numa_maps((DATA / "live-policies-a.numa_maps").read_text(), "nm")
    maps = parse_maps((DATA / "live-policies-a.maps").read_text(), "maps")
    task = plan_task(parsed, page_size=4096, maps=maps, strict=True)
    told = [(area.start >> 12, area.end >> 12, area.vm & VM.SHARED) for area in maps if area.path != "[vsyscall]"]
    assert [(area.start, area.end, area.vm & VM.SHARED) for area in task.areas] == told
