"""
From the lines of numa_maps to areas with placed pages: what the text tells, and a rule for what it does not.

Everything here is in base pages: addresses, offsets, counts. The rules, so that a state printed as numa_maps again
gives the same counts:

* An area ends where ``maps`` says. Without maps it ends behind the pages that its line counts, at least one page
  (one huge page in a huge area) behind its start.
* Pages lie together from the start of the area, node after node in ascending order. Under an interleave policy whose
  nodes hold nearly equal shares (within one page, or one in a hundred) they are strided instead: page p lies on
  node set[(position mod 2^32) mod n], each node having its pages at the lowest such addresses. The position is p, in
  an area of a file the index in the file. Huge areas are never strided.
* Counts are handed out in the order of the runs: the first ``anon`` pages are anonymous, the others of the file; the
  first ``dirty`` pages are dirty, the first ``active`` active (all, where the line does not say), the first
  ``swapcache`` in the swap cache. Writeback goes to pages in the swap cache first, then to pages of the file.
* ``mapmax - 1`` further mappers are given to the pages of the file, in an area without such to all its pages.
* Without maps a file begins at its lowest area, and each area of it maps the part at the same distance.
* Without maps an area is shared when nothing in it is anonymous and its file is shared memory or has dirty pages.
* A huge area whose line has no page size has pages of 2 MiB, less where the address or the next area forbid it.
* Lines that repeat an earlier one exactly are taken once; lines out of order are sorted. A line that cannot be of
  the same address space as an earlier one (it lies in the pages that the earlier one counts, or shows the same
  area under another policy) is left out. Each such step is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from operator import lt
from typing import Final, NamedTuple

from migratectl.errors import InputFileError
from migratectl.linux.maps import MapsLine
from migratectl.linux.numa_maps import NumaMapsLine
from migratectl.linux.tree import storable
from migratectl.nodemask import Nodemask
from migratectl.policy import Policy
from migratectl.spans import ADDRESS_END
from migratectl.uapi import VM, Mode

HUGE_PAGE: Final = 2 << 20
"""Bytes of a huge page where nothing tells its size."""

KIB: Final = 1024
POSITION_BITS: Final = 32
READ_WRITE: Final = VM.READ | VM.WRITE
MAX_NAMED: Final = 5

_SHARED_MEMORY: Final = ("/dev/zero (deleted)", "/SYSV", "/memfd:", "/dev/shm/")


class PlannedRun(NamedTuple):
    """
    Present pages of one area that are alike.

    Args:
        first: Address of the first page, in pages.
        step: Distance of two neighbours; 1 when they lie together.
        nr_pages: How many.
        node: Where they are.
        anon: They are anonymous, else of the file.
        dirty: They are dirty.
        active: They are active.
        swapcache: They are in the swap cache.
        writeback: They are under writeback.
        outside: Ptes of tasks other than this one that map each of them.
    """

    first: int
    step: int
    nr_pages: int
    node: int
    anon: bool
    dirty: bool
    active: bool
    swapcache: bool
    writeback: bool
    outside: int


class PlannedArea(NamedTuple):
    """
    One area to make.

    Args:
        start: First page.
        end: Page behind the last one.
        policy: Effective policy: mode, nodes, flags.
        file: Path of the mapped file, as storable() of tree.py writes it.
        offset: Page of the file that *start* maps; 0 without a file.
        huge_order: Base pages of a page as a power of two; 0 for base pages.
        vm: Flags of the area, with SHARED where writes go to the object, HEAP and STACK.
        runs: Its present pages, disjoint.
        line: Line of the text.
        inode: Inode number of the file where maps tells it, else 0; shared memory may have one path for two objects.
    """

    start: int
    end: int
    policy: Policy
    file: str | None
    offset: int
    huge_order: int
    vm: VM
    runs: tuple[PlannedRun, ...]
    line: int
    inode: int = 0


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """
    The areas of one task.

    Args:
        areas: Ascending and disjoint.
        assumptions: One line for each thing that the text does not tell.
    """

    areas: tuple[PlannedArea, ...]
    assumptions: tuple[str, ...]


class _Draft(NamedTuple):
    """A line with its place; *unit* is the size of its *pages*, *least* what it needs."""

    line: NumaMapsLine
    start: int
    pages: int
    unit: int
    least: int
    area: MapsLine | None
    guessed_size: bool


def plan_task(
    lines: Sequence[NumaMapsLine], *, page_size: int, maps: Sequence[MapsLine] | None = None, strict: bool = False
) -> PlannedTask:
    """
    Decide where the areas of a task end and where its pages lie, by the rules of this module.

    Args:
        lines: Lines of one numa_maps text, in the order of the text.
        page_size: Base page size of the machine in bytes.
        maps: The maps text of the same process, where there is one.
        strict: The text is of one living process: lines that contradict each other are refused, not left out.

    Returns:
        Areas in pages. The sums over the runs of an area are the counts of its line.

    Raises:
        InputFileError: The lines do not fit the page size, the maps or each other; names text and line.
    """
    if not lines:
        return PlannedTask((), ())
    notes: list[str] = []
    kept = _in_order(lines, notes, strict)
    ends = {area.start: area for area in maps or ()}
    drafts = _fitting([_draft(line, page_size, ends) for line in kept], notes, strict)
    nexts = [draft.start for draft in drafts[1:]]
    nexts.append(ADDRESS_END // page_size)
    drafts = [
        _fit_unit(draft, above, page_size) if draft.guessed_size else draft
        for draft, above in zip(drafts, nexts, strict=True)
    ]
    origins: dict[str, int] = {}
    areas = [_plan_area(draft, above, page_size, origins) for draft, above in zip(drafts, nexts, strict=True)]
    return PlannedTask(tuple(areas), (*notes, *_assumed(drafts, areas, maps is not None)))


# ---- which lines


def _in_order(lines: Sequence[NumaMapsLine], notes: list[str], strict: bool) -> Sequence[NumaMapsLine]:
    """The lines by address, those of the same address in the order of the text, without exact repetitions."""
    addresses = [line.address for line in lines]
    if all(map(lt, addresses, addresses[1:])):
        return lines
    kept = _without_repeats(lines, notes)
    for above, line in pairwise(kept):
        if line.address < above.address:
            if strict:
                raise InputFileError(f"{line.where}: its address is below that of the line above it")
            notes.append(f"{line.where}: addresses out of order: sorted, as if all lines were of one process")
            break
    return sorted(kept, key=lambda line: line.address)


def _without_repeats(lines: Sequence[NumaMapsLine], notes: list[str]) -> list[NumaMapsLine]:
    """The lines without exact repetitions."""
    seen: set[NumaMapsLine] = set()
    kept, repeats = [], []
    for line in lines:
        content = line._replace(number=0)
        if content in seen:
            repeats.append(line)
        else:
            seen.add(content)
            kept.append(line)
    if repeats:
        notes.append(f"{repeats[0].source}: {_numbers(repeats)} repeats an earlier line exactly: taken once")
    return kept


def _draft(line: NumaMapsLine, page_size: int, ends: dict[int, MapsLine]) -> _Draft:
    """A line in pages of *page_size*, if they can be its pages."""
    if line.address % page_size:
        raise InputFileError(
            f"{line.where}: the address {line.address:08x} is no multiple of the page size of {page_size}; "
            "give the machine's with --page-size"
        )
    plain = not line.huge and line.kernel_page_kib is None
    unit = 1 if plain else _unit(line, page_size)
    if unit > 1 and line.address % (unit * page_size):
        raise InputFileError(f"{line.where}: the address is no multiple of its page size of {line.kernel_page_kib} KiB")
    start, pages = line.address // page_size, line.pages
    least = unit * (pages or 1)
    if start + least > ADDRESS_END // page_size:
        raise InputFileError(f"{line.where}: its {pages} pages go beyond the end of the address space")
    guessed = line.huge and line.kernel_page_kib is None
    return _Draft(line, start, pages, unit, least, ends.get(line.address), guessed)


def _unit(line: NumaMapsLine, page_size: int) -> int:
    """Base pages of a page of a line that is huge or has a page size: 1 unless it is huge."""
    if line.kernel_page_kib is None:
        fits = line.address & -line.address or HUGE_PAGE
        return max(1, min(HUGE_PAGE, fits) // page_size)
    unit = line.kernel_page_kib * KIB // page_size
    if unit < 1 or (unit > 1 and not line.huge):
        raise InputFileError(
            f"{line.where}: its pages have {line.kernel_page_kib} KiB, those of the machine {page_size // KIB}; "
            f"give --page-size {line.kernel_page_kib}K"
        )
    return unit


def _fitting(drafts: list[_Draft], notes: list[str], strict: bool) -> list[_Draft]:
    """The drafts that are disjoint: of two that are not, the one that comes later in the text is left out."""
    kept: list[_Draft] = []
    for draft in drafts:
        if not kept or kept[-1].start + kept[-1].least <= draft.start:  # as nearly all
            kept.append(draft)
            continue
        while kept and _collide(kept[-1], draft):
            early, late = sorted((kept[-1], draft), key=lambda one: one.line.number)
            _refuse_or_say(early, late, notes, strict)
            if late is draft:
                break
            kept.pop()
        else:
            kept.append(draft)
    return kept


def _collide(below: _Draft, above: _Draft) -> bool:
    """Whether the pages that a line counts reach the start of the next; a guessed page size can still shrink."""
    least = (below.pages or 1) if below.guessed_size else below.least
    return below.start + least > above.start


def _refuse_or_say(early: _Draft, late: _Draft, notes: list[str], strict: bool) -> None:
    if early.start == late.start:
        what = f"the same address as line {early.line.number}"
        other = late.line._replace(number=early.line.number, policy=early.line.policy) != early.line
        strict = strict or other
    else:
        among = late.start > early.start
        what = (
            f"it lies among the pages of line {early.line.number}"
            if among
            else f"its pages reach into line {early.line.number}"
        )
    if strict:
        raise InputFileError(
            f"{late.line.where}: {what}, but other contents; give the lines of one process, or the right --page-size"
        )
    notes.append(f"{late.line.where}: {what}: of another process or machine, left out")


def _fit_unit(draft: _Draft, above: int, page_size: int) -> _Draft:
    """A draft of huge pages of a guessed size with that size halved until they fit."""
    room = (draft.area.end // page_size if draft.area else above) - draft.start
    pages, unit = max(1, draft.pages), draft.unit
    while unit > 1 and (unit * pages > room or (draft.area is not None and room % unit)):
        unit //= 2
    return draft._replace(unit=unit, least=unit * pages)


# ---- one area


def _plan_area(draft: _Draft, above: int, page_size: int, origins: dict[str, int]) -> PlannedArea:
    line, area = draft.line, draft.area
    file = storable(line.file) if line.file is not None else None
    offset = 0
    if file is not None:
        offset = area.offset // page_size if area else draft.start - origins.setdefault(file, draft.start)
    room = _room(draft, above, page_size)
    spans = _spans(draft, room, offset - draft.start if file is not None else 0)
    end = draft.start + (room if area else draft.least)
    if area is None and line.policy.mode is Mode.INTERLEAVE:
        end = max(end, *(span.end for span in spans), 0)
    shared = area.shared if area else _is_shared(line)
    return PlannedArea(
        draft.start,
        end,
        line.policy,
        file,
        offset,
        draft.unit.bit_length() - 1,
        _vm_flags(line, area, shared),
        _mark(spans, draft),
        line.number,
        area.inode if area else 0,
    )


def _room(draft: _Draft, above: int, page_size: int) -> int:
    """Most pages that the area can have; with maps exactly its pages."""
    if draft.area is None:
        return above - draft.start
    end = draft.area.end // page_size
    room, misfit = end - draft.start, draft.area.end % page_size or (end - draft.start) % draft.unit
    if misfit or draft.pages * draft.unit > room or end > above:
        raise InputFileError(
            f"{draft.line.where}: its {draft.pages} pages and the area of line {draft.area.number} of maps "
            "do not fit; give maps and numa_maps of the same moment, or the right --page-size"
        )
    return room


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


def _spans(draft: _Draft, room: int, delta: int) -> list[_Span]:
    """Where the pages of each node lie; *delta* leads from an address to the position that interleaving counts."""
    if draft.line.policy.mode is Mode.INTERLEAVE and draft.unit == 1 and _is_even(draft):
        spans = _strided(draft, delta)
        if all(span.end <= draft.start + room for span in spans):
            return spans
    spans, at, unit = [], draft.start, draft.unit
    for node, count in draft.line.nodes:
        spans.append(_Span(at, 1, count * unit, node))
        at += count * unit
    return spans


def _is_even(draft: _Draft) -> bool:
    """Whether the counts of an interleaved line show it."""
    policy, pages = draft.line.policy, draft.pages
    members, counts = _members(policy.nodes), dict(draft.line.nodes)
    size = len(members)
    if size < 2 or not counts.keys() <= set(members):
        return False
    slack = max(size, pages // 100)
    shares = counts.values() if len(counts) == size else (*counts.values(), 0)
    return max(shares) * size - pages <= slack and pages - min(shares) * size <= slack


@lru_cache
def _members(nodes: Nodemask) -> tuple[int, ...]:
    return tuple(nodes)


def _strided(draft: _Draft, delta: int) -> list[_Span]:
    members = _members(draft.line.policy.nodes)
    size = len(members)
    phase = ((draft.start + delta) % (1 << POSITION_BITS)) % size
    return [
        _Span(draft.start + (members.index(node) - phase) % size, size if count > 1 else 1, count, node)
        for node, count in draft.line.nodes
    ]


def _mark(spans: list[_Span], draft: _Draft) -> tuple[PlannedRun, ...]:
    """The spans cut where a property begins or ends, counted in the order of the spans."""
    if not spans:
        return ()
    alike = _alike(draft)
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


def _alike(draft: _Draft) -> tuple[bool, bool, bool, bool, bool, int] | None:
    """The properties of all pages of an area whose line, as most do, counts all of them or none; else None."""
    line, pages = draft.line, draft.pages
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
    def of(cls, draft: _Draft) -> _Kinds:
        """The properties that a line counts."""
        line, unit, pages = draft.line, draft.unit, draft.pages
        active = pages if line.active is None and not line.huge else line.active or 0
        cached, behind = min(line.writeback, line.swapcache), max(line.anon, line.swapcache)
        ends = [line.anon, line.dirty, active, line.swapcache, cached, behind, behind + line.writeback - cached]
        anon, dirty, active, swapcache, cached, behind, written = [end * unit for end in ends]
        borders = tuple(sorted({anon, dirty, active, swapcache, cached, behind, written}))
        outside = (behind, written), line.mapmax - 1, line.anon < pages
        return cls(anon, dirty, active, swapcache, cached, *outside, borders)

    def at(self, ordinal: int) -> tuple[bool, bool, bool, bool, bool, int]:
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


def _is_shared(line: NumaMapsLine) -> bool:
    return line.file is not None and not line.anon and (line.dirty > 0 or line.file.startswith(_SHARED_MEMORY))


def _vm_flags(line: NumaMapsLine, area: MapsLine | None, shared: bool) -> VM:
    """Flags of the area; without maps what its pages show: a file that nobody wrote to is read-only."""
    read_only = line.file is not None and bool(line.nodes) and not line.anon and not line.dirty
    known = area.vm if area else VM.READ if read_only else READ_WRITE
    return _with_flags(int(known), shared, line.heap, line.stack, line.huge)


@lru_cache
def _with_flags(known: int, shared: bool, heap: bool, stack: bool, huge: bool) -> VM:
    flags = VM(known)
    for flag, present in ((VM.SHARED, shared), (VM.HEAP, heap), (VM.STACK, stack), (VM.HUGETLB, huge)):
        if present:
            flags |= flag
    return flags


# ---- what to say


def _assumed(drafts: list[_Draft], areas: list[PlannedArea], with_maps: bool) -> list[str]:
    source = drafts[0].line.source
    notes = []
    unknown = [draft.line for draft in drafts if draft.area is None]
    if unknown:
        why = "not in maps" if with_maps else "no maps"
        notes.append(f"{source}: {why}: {_areas(unknown)} taken to end behind the pages counted")
    offsets = [draft.line for draft in drafts if draft.area is None and draft.line.file is not None]
    if offsets:
        notes.append(f"{source}: offsets in files unknown: each file taken to begin at its lowest area")
    if any(area.runs for area in areas):
        notes.append(f"{source}: which page lies where is not told: node after node, interleaved areas strided")
    for unit in sorted({draft.unit for draft in drafts if draft.guessed_size}):
        lines = [draft.line for draft in drafts if draft.guessed_size and draft.unit == unit]
        notes.append(f"{source}: {_numbers(lines)}: huge pages of unknown size taken as {unit} base pages")
    return notes


def _areas(lines: list[NumaMapsLine]) -> str:
    return "1 area" if len(lines) == 1 else f"{len(lines)} areas"


def _numbers(lines: list[NumaMapsLine]) -> str:
    """Line numbers, the first few of many."""
    numbers = [str(line.number) for line in lines]
    more = f" and {len(numbers) - MAX_NAMED} more" if len(numbers) > MAX_NAMED else ""
    return f"line {', '.join(numbers[:MAX_NAMED])}{more}"
