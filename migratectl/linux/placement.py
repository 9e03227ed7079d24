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
* A policy that all lines agree on, or the stack's where no line has the default one, is the task's: numa_maps shows
  it for every area without a policy of its own. Under V9 shared memory may say otherwise, which it asks itself.
* Static and relative policies were made with the nodes that they use, as far as the text tells.
* What the layout before 2.6.16 leaves out is made up for by old_layout.py.
* Lines that repeat an earlier one exactly are taken once; lines out of order are sorted. A line that cannot be of
  the same address space as an earlier one (it lies in the pages that the earlier one counts, or shows the same
  area under another policy) is left out. Each such step is said; a text of one living process has no such lines,
  and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from migratectl.errors import InputFileError
from migratectl.linux.maps import MapsLine
from migratectl.linux.mpol import format_policy
from migratectl.linux.numa_maps import NumaMapsLine
from migratectl.linux.old_layout import complete
from migratectl.linux.placement_area import Draft, is_shared_memory, plan_area
from migratectl.linux.placement_lines import disjoint, in_order, line_numbers
from migratectl.linux.plan import PlannedArea, PlannedTask
from migratectl.policy import Policy
from migratectl.spans import ADDRESS_END
from migratectl.uapi import Mode

HUGE_PAGE: Final = 2 << 20
"""Bytes of a huge page where nothing tells its size."""

KIB: Final = 1024
MAX_WORD: Final = 40
_NAME: Final = re.compile("[:=]")


def plan_task(
    lines: Sequence[NumaMapsLine],
    *,
    page_size: int,
    maps: Sequence[MapsLine] | None = None,
    strict: bool = False,
    shared_apart: bool = False,
    shared_kib: Mapping[int, int] | None = None,
) -> PlannedTask:
    """
    Decide where the areas of a task end and where its pages lie, by the rules of this module.

    Args:
        lines: Lines of one numa_maps text, in the order of the text.
        page_size: Base page size of the machine in bytes.
        maps: The maps text of the same process, where there is one.
        strict: The text is of one living process: lines that contradict each other are refused, not left out.
        shared_apart: Shared memory shows its own policy, not the task's, as under V9.
        shared_kib: What smaps tells: KiB of each area, by its address, that other address spaces map too.

    Returns:
        Areas in pages. The sums over the runs of an area are the counts of its line.

    Raises:
        InputFileError: The lines do not fit the page size, the maps or each other; names text and line.
    """
    if not lines:
        return PlannedTask((), ())
    completed, made_up = complete(lines, maps)
    kept, sorted_out = in_order(completed, strict)
    ends = {area.start: area for area in maps or ()}
    drafts, left_out = disjoint([_draft(line, page_size, ends) for line in kept], strict)
    nexts = [*(draft.start for draft in drafts[1:]), ADDRESS_END // page_size]
    drafts = [
        _fit_unit(draft, above, page_size) if draft.guessed_size else draft
        for draft, above in zip(drafts, nexts, strict=True)
    ]
    origins: dict[str, int] = {}
    areas = [plan_area(draft, above, page_size, origins) for draft, above in zip(drafts, nexts, strict=True)]
    if shared_kib:
        areas = [_with_shared(area, shared_kib, page_size) for area in areas]
    policy = _task_policy([draft.line for draft in drafts], shared_apart)
    source = lines[0].source
    notes = made_up + sorted_out + left_out + _assumed(source, drafts, areas, maps is not None)
    return PlannedTask(tuple(areas), (*notes, *_assumed_policies(source, drafts, policy)), policy)


def _with_shared(area: PlannedArea, shared_kib: Mapping[int, int], page_size: int) -> PlannedArea:
    kib = shared_kib.get(area.start * page_size)
    return area if kib is None else area._replace(shared=kib * KIB // page_size)


# ---- drafts


def _draft(line: NumaMapsLine, page_size: int, ends: dict[int, MapsLine]) -> Draft:
    """A line in pages of *page_size*, if they can be its pages."""
    if line.address % page_size:
        raise InputFileError(
            f"{line.where}: the address {line.address:08x} is no multiple of the page size of {page_size}; "
            "init and import take the machine's with --page-size"
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
    return Draft(line, start, pages, unit, least, ends.get(line.address), guessed)


def _unit(line: NumaMapsLine, page_size: int) -> int:
    """Base pages of a page of a line that is huge or has a page size: 1 unless it is huge."""
    if line.kernel_page_kib is None:
        fits = line.address & -line.address or HUGE_PAGE
        return max(1, min(HUGE_PAGE, fits) // page_size)
    unit = line.kernel_page_kib * KIB // page_size
    if unit < 1 or (unit > 1 and not line.huge):
        raise InputFileError(
            f"{line.where}: its pages have {line.kernel_page_kib} KiB, those of the machine {page_size // KIB}; "
            f"'migratectl init --page-size {line.kernel_page_kib}K' makes such a machine, import takes that too"
        )
    return unit


def _fit_unit(draft: Draft, above: int, page_size: int) -> Draft:
    """A draft of huge pages of a guessed size with that size halved until they fit."""
    room = (draft.area.end // page_size if draft.area else above) - draft.start
    pages, unit = max(1, draft.pages), draft.unit
    while unit > 1 and (unit * pages > room or (draft.area is not None and room % unit)):
        unit //= 2
    return draft._replace(unit=unit, least=unit * pages)


# ---- the task's policy


def _task_policy(lines: Sequence[NumaMapsLine], shared_apart: bool) -> Policy | None:
    """The policy that the lines of a task show to be its own; None where it is the default one, or not to be told."""
    told = [line for line in lines if not (shared_apart and is_shared_memory(line.file))]
    policies = {line.policy for line in told}
    if not policies or any(policy.mode is Mode.DEFAULT for policy in policies):
        return None
    stacks = {line.policy for line in told if line.stack}
    found = policies if len(policies) == 1 else stacks
    return next(iter(found)) if len(found) == 1 else None


# ---- what to say


def _assumed_policies(source: str, drafts: Sequence[Draft], policy: Policy | None) -> list[str]:
    notes = []
    if policy is not None:
        agreed = all(draft.line.policy == policy for draft in drafts)
        why = "all lines agree" if agreed else "no line is default, and that of the stack is"
        notes.append(f"{source}: {why}: the policy {format_policy(policy, 'modern')} taken as the task's")
    if any(draft.line.policy.fixed for draft in drafts):
        notes.append(f"{source}: static and relative policies taken as made with the nodes that they use")
    return notes


def _assumed(source: str, drafts: list[Draft], areas: list[PlannedArea], with_maps: bool) -> list[str]:
    notes = []
    unknown = [draft.line for draft in drafts if draft.area is None]
    if unknown:
        why = "not in maps" if with_maps else "no maps"
        notes.append(f"{source}: {why}: {_areas(unknown)} taken to end behind the pages counted")
    offsets = [draft.line for draft in drafts if draft.area is None and draft.line.file]
    if offsets:
        notes.append(f"{source}: offsets in files unknown: each file taken to begin at its lowest area")
    untold = [draft.line for draft in drafts if draft.line.untold]
    if untold:
        why = "the counts by node add up to more than anon and dirty, and no mapped= says so, as the kernel does"
        notes.append(f"{source}: {line_numbers(untold)}: {why}: the rest taken as pages of the file, or of none")
    notes += [f"{source}: {told}: no known word of numa_maps, kept" for told in _unknown_words(drafts)]
    if any(area.runs for area in areas):
        notes.append(f"{source}: which page lies where is not told: node after node, interleaved areas strided")
    for unit in sorted({draft.unit for draft in drafts if draft.guessed_size}):
        lines = [draft.line for draft in drafts if draft.guessed_size and draft.unit == unit]
        notes.append(f"{source}: {line_numbers(lines)}: huge pages of unknown size taken as {unit} base pages")
    return notes


def _unknown_words(drafts: Sequence[Draft]) -> list[str]:
    """The words that are not known, those that begin alike as one."""
    alike: dict[str, list[str]] = {}
    for draft in drafts:
        for word in draft.line.words:
            alike.setdefault(_NAME.split(word)[0], []).append(f"line {draft.line.number}: {word[:MAX_WORD]!r}")
    return [first[0] + (f" and {len(first) - 1} more like it" if len(first) > 1 else "") for first in alike.values()]


def _areas(lines: list[NumaMapsLine]) -> str:
    return "1 area" if len(lines) == 1 else f"{len(lines)} areas"
