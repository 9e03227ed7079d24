"""
What numa_maps leaves out before 2.6.16: areas without pages, files, heap, stack, dirty pages; maps tells some of it.

Decisions, each said as an assumption: anonymous pages are dirty (somebody wrote them), pages of files are clean, all
are active. A file that maps does not name is one of the task's own without a name. Areas of maps without a line have
no pages and the default policy; the gates to the kernel ([vdso], [vsyscall]) are no areas of the process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from migratectl.linux.maps import MapsLine
from migratectl.linux.numa_maps import NumaMapsLine
from migratectl.nodemask import NO_NODES
from migratectl.policy import Policy
from migratectl.uapi import VM, Mode

_GATES: Final = frozenset({"[vdso]", "[vsyscall]"})
_DEFAULT: Final = Policy(Mode.DEFAULT, NO_NODES)


def complete(
    lines: Sequence[NumaMapsLine], maps: Sequence[MapsLine] | None
) -> tuple[Sequence[NumaMapsLine], list[str]]:
    """
    Lines of the layout before 2.6.16 as a kernel from 2.6.16 on might print them; others as they are.

    Args:
        lines: Lines of one numa_maps text.
        maps: The maps text of the same process, where there is one.

    Returns:
        The same lines with files, heap, stack and dirty pages, and among them, by address, a line for each area of
        *maps* that has none; and what was assumed.

    Source:
        show_numa_map(), mm/mempolicy.c before and after 397874dfe98; semantics.md 7.1 a and b.
    """
    if not lines or not lines[0].old:
        return lines, []
    source = lines[0].source
    areas = {area.start: area for area in maps or ()}
    full = [_with_file(line, areas) for line in lines]
    notes = [f"{source}: dirty pages not told: anonymous pages taken as dirty, pages of files as clean"]
    nameless = sum(line.file == "" for line in full)
    if nameless:
        notes.append(f"{source}: files not told: {_areas(nameless)} taken to map a file without a name")
    own = {line.address for line in lines}
    missing = [area for area in maps or () if area.start not in own and area.path not in _GATES]
    if not missing:
        return full, notes
    notes.append(f"{source}: {_areas(len(missing))} of maps without a line: without pages, with the default policy")
    full += [_without_pages(area, source) for area in missing]
    return sorted(full, key=lambda line: line.address), notes


def _areas(nr: int) -> str:
    return f"{nr} area" if nr == 1 else f"{nr} areas"


def _path(area: MapsLine | None) -> str | None:
    return area.path if area and area.path and not area.path.startswith("[") else None


def _with_file(line: NumaMapsLine, areas: Mapping[int, MapsLine]) -> NumaMapsLine:
    area = areas.get(line.address)
    file = _path(area)
    if file is None and line.anon < line.pages:
        file = ""
    heap, stack = _names(area)
    return line._replace(file=file, heap=heap, stack=stack, dirty=line.anon)


def _without_pages(area: MapsLine, source: str) -> NumaMapsLine:
    heap, stack = _names(area)
    where = f"{source}: the area of maps"
    return NumaMapsLine(where, area.number, area.start, _DEFAULT, file=_path(area), heap=heap, stack=stack, old=True)


def _names(area: MapsLine | None) -> tuple[bool, bool]:
    """Whether the area is the heap, and whether it is the stack."""
    vm = int(area.vm) if area else 0
    return bool(vm & VM.HEAP), bool(vm & VM.STACK)
