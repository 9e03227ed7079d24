"""Which lines of a numa_maps text are taken, where they are out of order or cannot be of one address space."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from operator import lt
from typing import Final

from migratectl.errors import InputFileError
from migratectl.linux.numa_maps import NumaMapsLine
from migratectl.linux.placement_area import Draft

MAX_NAMED: Final = 5
"""Most lines that are told by their numbers."""


def in_order(lines: Sequence[NumaMapsLine], strict: bool) -> tuple[Sequence[NumaMapsLine], list[str]]:
    """
    Sort lines.

    Args:
        lines: Those of one text.
        strict: Refuse what is out of order or stands there twice.

    Returns:
        The lines by address, those of the same address in the order of the text, without exact repetitions; and what
        is to be told of that.

    Raises:
        InputFileError: They are not sorted, and *strict*; names the line.
    """
    addresses = [line.address for line in lines]
    if all(map(lt, addresses, addresses[1:])):
        return lines, []
    kept, notes = _without_repeats(lines, strict)
    for above, line in pairwise(kept):
        if line.address < above.address:
            if strict:
                raise InputFileError(f"{line.where}: its address is below that of the line above it")
            notes.append(f"{line.where}: addresses out of order: sorted, as if all lines were of one process")
            break
    return sorted(kept, key=lambda line: line.address), notes


def _without_repeats(lines: Sequence[NumaMapsLine], strict: bool) -> tuple[list[NumaMapsLine], list[str]]:
    """The lines without exact repetitions, and which those were."""
    seen: set[NumaMapsLine] = set()
    kept, repeats = [], []
    for line in lines:
        content = line._replace(number=0)
        if content in seen:
            if strict:
                raise InputFileError(f"{line.where}: the address {line.address:08x} stands there twice")
            repeats.append(line)
        else:
            seen.add(content)
            kept.append(line)
    if not repeats:
        return kept, []
    return kept, [f"{repeats[0].source}: {line_numbers(repeats)} repeats an earlier line exactly: taken once"]


def disjoint(drafts: list[Draft], strict: bool) -> tuple[list[Draft], list[str]]:
    """
    Leave out what lies in the pages of others.

    Args:
        drafts: The lines with their places, by address.
        strict: Refuse such lines.

    Returns:
        The drafts that are disjoint, and what was left out: of two that are not, the one later in the text.

    Raises:
        InputFileError: Two are not, and *strict*, or differ in more than the policy at one address; names the line.
    """
    kept: list[Draft] = []
    notes: list[str] = []
    for draft in drafts:
        if not kept or kept[-1].start + kept[-1].least <= draft.start:  # as nearly all
            kept.append(draft)
            continue
        while kept and _collide(kept[-1], draft):
            early, late = sorted((kept[-1], draft), key=lambda one: one.line.number)
            notes.append(_left_out(early, late, strict))
            if late is draft:
                break
            kept.pop()
        else:
            kept.append(draft)
    return kept, notes


def _collide(below: Draft, above: Draft) -> bool:
    """Whether the pages that a line counts reach the start of the next; a guessed page size can still shrink."""
    least = (below.pages or 1) if below.guessed_size else below.least
    return below.start + least > above.start


def _left_out(early: Draft, late: Draft, strict: bool) -> str:
    """Why the later of two lines is left out; InputFileError where it is refused instead."""
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
            f"{late.line.where}: {what}, but other contents; give the lines of one process, or init and import"
            " the right --page-size"
        )
    return f"{late.line.where}: {what}: of another process or machine, left out"


def line_numbers(lines: Sequence[NumaMapsLine]) -> str:
    """Line numbers, the first few of many."""
    numbers = [str(line.number) for line in lines]
    more = f" and {len(numbers) - MAX_NAMED} more" if len(numbers) > MAX_NAMED else ""
    return f"line {', '.join(numbers[:MAX_NAMED])}{more}"
