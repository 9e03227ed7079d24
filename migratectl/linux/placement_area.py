"""One area of an import: from its line, with its place, to pages on nodes; the rules are told in placement.py."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from migratectl.errors import InputFileError
from migratectl.linux.files import storable
from migratectl.linux.maps import MapsLine
from migratectl.linux.numa_maps import NumaMapsLine
from migratectl.linux.plan import PlannedArea, PlannedRun
from migratectl.nodemask import Nodemask
from migratectl.uapi import VM, Mode

POSITION_BITS: Final = 32
READ_WRITE: Final = VM.READ | VM.WRITE
_INTERLEAVE: Final = Mode.INTERLEAVE

_SHARED_MEMORY: Final = ("/dev/zero (deleted)", "/SYSV", "/memfd:", "/dev/shm/")


class Draft(NamedTuple):
    """A line with its place; *unit* is the size of its *pages*, *least* what it needs."""

    line: NumaMapsLine
    start: int
    pages: int
    unit: int
    least: int
    area: MapsLine | None
    guessed_size: bool


def plan_area(draft: Draft, above: int, page_size: int, origins: dict[str, int]) -> PlannedArea:
    """
    Decide where an area ends and where its pages lie.

    Args:
        draft: Its line, with its place.
        above: First page of the area above it.
        page_size: Base page size in bytes.
        origins: First page of the lowest area of each file without maps, by path; entered here.

    Raises:
        InputFileError: The pages do not fit into the area that maps tells.
    """
    line, start, pages, unit, least, area, _ = draft
    file = line.file
    offset = shift = 0
    if file is not None:
        file = storable(file)
        offset = _offset(draft, file, page_size, origins)
        shift = offset - start
    room = _room(draft, above, page_size)
    alike = _alike(line, pages)
    spans = _strided(draft, room, shift) if line.policy.mode is _INTERLEAVE and unit == 1 and _is_even(draft) else None
    if spans is None and alike is not None:
        runs = _dense(start, line.nodes, unit, alike)
    else:
        runs = _mark(spans or _one_after_another(draft), draft, alike)
    end = start + (least if area is None else room)
    if area is None and line.policy.mode is _INTERLEAVE:
        end = max(end, *(run.first + (run.nr_pages - 1) * run.step + 1 for run in runs), 0)
    vm = area.vm if area and not (line.heap or line.stack or line.huge) else _vm_flags(line, area)
    inode = area.inode if area else 0
    order = unit.bit_length() - 1
    return PlannedArea(start, end, line.policy, file, offset, order, vm, runs, line.number, inode, words=line.words)


def _offset(draft: Draft, file: str, page_size: int, origins: dict[str, int]) -> int:
    """The page of the file that the area begins with; the pages of files without a name are told by their address."""
    if not file:
        return draft.start
    if draft.area:
        return draft.area.offset // page_size
    return draft.start - origins.setdefault(file, draft.start)


def _room(draft: Draft, above: int, page_size: int) -> int:
    """Most pages that the area can have; with maps exactly its pages."""
    _, start, pages, unit, _, area, _ = draft
    if area is None:
        return above - start
    end = area.end // page_size
    room = end - start
    if end * page_size != area.end or room % unit or pages * unit > room or end > above:
        raise InputFileError(
            f"{draft.line.where}: its {pages} pages and the area of line {area.number} of maps "
            "do not fit; give maps and numa_maps of the same moment, or init and import the right --page-size"
        )
    return room


_Kind = tuple[bool, bool, bool, bool, bool, int]
"""The fields of a run behind its node."""


def _dense(start: int, nodes: Iterable[tuple[int, int]], unit: int, alike: _Kind) -> tuple[PlannedRun, ...]:
    """The runs of pages that are all alike, node after node."""
    runs = []
    for node, count in nodes:
        runs.append(PlannedRun(start, 1, count * unit, node, *alike))
        start += count * unit
    return tuple(runs)


class _Span(NamedTuple):
    """Pages on one node: address of the first, distance, number."""

    first: int
    step: int
    pages: int
    node: int

    @property
    def end(self) -> int:
        """Address behind the last page."""
        return self.first + (self.pages - 1) * self.step + 1


def _one_after_another(draft: Draft) -> list[_Span]:
    """The pages of node after node."""
    spans, at, unit = [], draft.start, draft.unit
    for node, count in draft.line.nodes:
        spans.append(_Span(at, 1, count * unit, node))
        at += count * unit
    return spans


def _is_even(draft: Draft) -> bool:
    """Whether the counts of an interleaved line show it."""
    nodes, pages = draft.line.nodes, draft.pages
    members = _members(draft.line.policy.nodes)
    size = len(members)
    if size < 2 or (len(nodes) < size and pages > size):  # then a node has nothing, and that is no even share
        return False
    counts = dict(nodes)
    if not counts.keys() <= set(members):
        return False
    slack = max(size, pages // 100)
    shares = counts.values() if len(counts) == size else (*counts.values(), 0)
    return max(shares) * size - pages <= slack and pages - min(shares) * size <= slack


@lru_cache
def _members(nodes: Nodemask) -> tuple[int, ...]:
    return tuple(nodes)


def _strided(draft: Draft, room: int, delta: int) -> list[_Span] | None:
    """
    The pages of each node at the addresses that interleaving gives it; None where the area has no room for that.

    Args:
        draft: The line.
        room: Most pages that the area can have.
        delta: What leads from an address to the position that interleaving counts.
    """
    start, members = draft.start, _members(draft.line.policy.nodes)
    size = len(members)
    phase = ((start + delta) % (1 << POSITION_BITS)) % size
    spans = [
        _Span(start + (members.index(node) - phase) % size, size if count > 1 else 1, count, node)
        for node, count in draft.line.nodes
    ]
    return spans if all(span.end <= start + room for span in spans) else None


def _mark(spans: list[_Span], draft: Draft, alike: _Kind | None) -> tuple[PlannedRun, ...]:
    """The spans cut where a property begins or ends, counted in the order of the spans."""
    if not spans:
        return ()
    if alike is not None:
        return tuple([PlannedRun(first, step, count, node, *alike) for first, step, count, node in spans])
    kinds = _Kinds.of(draft)
    runs: list[PlannedRun] = []
    at = 0
    for first, step, count, node in spans:
        low, high = at, at + count
        for border in (*kinds.borders, high):
            if low < border <= high:
                own = step if border - low > 1 else 1
                runs.append(PlannedRun(first + (low - at) * step, own, border - low, node, *kinds.at(low)))
                low = border
        at = high
    return tuple(runs)


def _alike(line: NumaMapsLine, pages: int) -> _Kind | None:
    """The properties of all pages of an area whose line, as most do, counts all of them or none; else None."""
    active = pages if line.active is None and not line.huge else line.active or 0
    counts = line.anon, line.dirty, active, line.swapcache, line.writeback
    if counts.count(0) + counts.count(pages) < len(counts):
        return None
    anon, dirty, active, swapcache, writeback = counts
    return anon > 0, dirty > 0, active > 0, swapcache > 0, writeback > 0, line.mapmax - 1


class _Kinds(NamedTuple):
    """Which base pages of an area, counted in the order of its spans, have which property."""

    anon: int
    dirty: int
    active: int
    swapcache: int
    cached_writeback: int
    writeback: tuple[int, int]
    outside: int
    only_files_outside: bool
    borders: tuple[int, ...]

    @classmethod
    def of(cls, draft: Draft) -> _Kinds:
        """The properties that a line counts."""
        line, unit, pages = draft.line, draft.unit, draft.pages
        active = pages if line.active is None and not line.huge else line.active or 0
        cached, behind = min(line.writeback, line.swapcache), max(line.anon, line.swapcache)
        ends = [line.anon, line.dirty, active, line.swapcache, cached, behind, behind + line.writeback - cached]
        anon, dirty, active, swapcache, cached, behind, written = [end * unit for end in ends]
        borders = tuple(sorted({anon, dirty, active, swapcache, cached, behind, written}))
        outside = (behind, written), line.mapmax - 1, line.anon < pages
        return cls(anon, dirty, active, swapcache, cached, *outside, borders)

    def at(self, ordinal: int) -> _Kind:
        """The last fields of the run that begins with this page."""
        anon = ordinal < self.anon
        return (
            anon,
            ordinal < self.dirty,
            ordinal < self.active,
            ordinal < self.swapcache,
            ordinal < self.cached_writeback or self.writeback[0] <= ordinal < self.writeback[1],
            0 if anon and self.only_files_outside else self.outside,
        )


def is_shared_memory(file: str | None) -> bool:
    """Whether a path is that of shared memory."""
    return file is not None and file.startswith(_SHARED_MEMORY)


def _is_shared(line: NumaMapsLine) -> bool:
    return line.file is not None and not line.anon and (line.dirty > 0 or is_shared_memory(line.file))


def _vm_flags(line: NumaMapsLine, area: MapsLine | None) -> VM:
    """Flags of the area; without maps what its pages show: a file that nobody wrote to is read-only."""
    read_only = line.file is not None and bool(line.nodes) and not line.anon and not line.dirty
    known = area.vm if area else VM.READ if read_only else READ_WRITE
    shared = area.shared if area else _is_shared(line)
    return _with_flags(int(known), shared, line.heap, line.stack, line.huge)


@lru_cache
def _with_flags(known: int, shared: bool, heap: bool, stack: bool, huge: bool) -> VM:
    flags = VM(known)
    for flag, present in ((VM.SHARED, shared), (VM.HEAP, heap), (VM.STACK, stack), (VM.HUGETLB, huge)):
        if present:
            flags |= flag
    return flags
