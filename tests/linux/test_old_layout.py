"""The layout before 2.6.16 made up for: what maps tells beside it, and what is assumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from migratectl.linux.maps import parse_maps
from migratectl.linux.numa_maps_reader import parse_numa_maps
from migratectl.linux.placement import plan_task
from migratectl.linux.plan import PlannedTask
from migratectl.uapi import VM

DATA = Path(__file__).parents[3] / "shared/data/numa_maps"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real samples: {DATA} is missing")

NUMA_MAPS = """\
00400000 default maxref=43 pages=3 mapped=3 N0=1 N1=2
00600000 default maxref=1 pages=2 mapped=2 anon=2 N0=2
00a00000 default maxref=1 pages=1 mapped=1 anon=1 N1=1
"""
MAPS = """\
00400000-00405000 r-xp 00002000 08:01 77 /bin/x
00600000-00602000 rw-p 00008000 08:01 77 /bin/x
00700000-00704000 ---p 00000000 08:01 77 /bin/x
00a00000-00a80000 rw-p 00a00000 00:00 0 [heap]
7ffff000-80000000 rw-p 7ffff000 00:00 0 [stack]
ffffe000-fffff000 ---p 00000000 00:00 0 [vdso]
"""


def plan(text: str, maps: str | None = None) -> PlannedTask:
    areas = None if maps is None else parse_maps(maps, "maps")
    return plan_task(parse_numa_maps(text, "nm"), page_size=4096, maps=areas, strict=True)


def test_areas_without_a_line_come_from_maps() -> None:
    """The area without access and the stack have no page; the gate to the kernel is no area of the process."""
    task = plan(NUMA_MAPS, MAPS)
    told = [line.split()[0].split("-") for line in MAPS.splitlines()[:-1]]
    assert [(area.start, area.end) for area in task.areas] == [(int(a, 16) >> 12, int(b, 16) >> 12) for a, b in told]
    assert [area.file for area in task.areas] == ["/bin/x", "/bin/x", "/bin/x", None, None]
    assert [area.offset for area in task.areas[:3]] == [2, 8, 0]
    assert [bool(area.runs) for area in task.areas] == [True, True, False, True, False]
    assert [area.vm & (VM.HEAP | VM.STACK) for area in task.areas] == [0, 0, 0, VM.HEAP, VM.STACK]
    assert [line for line in task.assumptions if "2 areas of maps without a line" in line]


def test_anonymous_pages_are_dirty_pages_of_files_clean() -> None:
    text, data, *_ = plan(NUMA_MAPS, MAPS).areas
    assert [(run.anon, run.dirty, run.outside) for run in text.runs] == [(False, False, 42)] * 2
    assert [(run.anon, run.dirty, run.outside) for run in data.runs] == [(True, True, 0)]


def test_without_maps_files_have_no_name() -> None:
    """Each page lies at its address in the file without a name, so that two areas cannot share one."""
    task = plan(NUMA_MAPS)
    assert [area.file for area in task.areas] == ["", None, None]
    assert task.areas[0].offset == 0x400
    assert [line for line in task.assumptions if "files not told: 1 area taken" in line]
    assert not [line for line in task.assumptions if "of maps" in line]


def test_later_layouts_are_left_as_they_are() -> None:
    """From 2.6.16 on every area has a line: an area of maps without one is of another moment."""
    task = plan("00400000 default file=/bin/x mapped=3 N0=3\n", MAPS)
    assert [area.start for area in task.areas] == [0x400]
    assert not [line for line in task.assumptions if "not told: anonymous" in line]


def test_area_of_maps_that_lies_among_pages_is_refused() -> None:
    with pytest.raises(Exception, match="nm: line 1: its 9 pages and the area of line 1 of maps do not fit"):
        plan("00400000 default maxref=1 pages=9 mapped=9 N0=9\n", MAPS)


@needs_data
def test_first_sample_with_its_maps() -> None:
    """
    14 of its 17 areas have a line. Of the other three, the page at 0 and the area of libc without access are made;
    the gate at a000000000000000 is not.
    """
    lines = parse_numa_maps((DATA / "mm-2005-07-08-getty.numa_maps").read_text(), "nm")
    maps = parse_maps((DATA / "mm-2005-07-08-getty.maps").read_text(), "maps")
    task = plan_task(lines, page_size=16384, maps=maps, strict=True)
    assert [(area.start << 14, area.end << 14) for area in task.areas] == [(area.start, area.end) for area in maps[:-1]]
    pages = {area.start << 14: sum(run.nr_pages for run in area.runs) for area in task.areas}
    assert pages == {area.start: 0 for area in maps[:-1]} | {line.address: line.pages for line in lines}
    assert sum(pages.values()) == 92
    paths = {area.start << 14: area.file for area in task.areas}
    assert paths[0x2000000000058000] == "/lib/tls/libc.so.6.1"
    assert paths[0x2000000000318000] is None
