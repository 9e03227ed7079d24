"""What an import is to make: areas with placed pages, in base pages, as placement.py plans them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from migratectl.policy import Policy
from migratectl.uapi import VM


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
        file: Path of the mapped file, as storable() of files.py writes it; empty where it has one that nothing names.
        offset: Page of the file that *start* maps; 0 without a file.
        huge_order: Base pages of a page as a power of two; 0 for base pages.
        vm: Flags of the area, with SHARED where writes go to the object, HEAP and STACK.
        runs: Its present pages, disjoint.
        line: Line of the text.
        inode: Inode number of the file where maps tells it, else 0; shared memory may have one path for two objects.
        shared: Its present pages that other address spaces map too, where smaps tells.
        words: The words of its line that are not known.
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
    shared: int | None = None
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """
    The areas of one task.

    Args:
        areas: Ascending and disjoint.
        assumptions: One line for each thing that the text does not tell.
        policy: The task's own policy, which the areas without one show; None: the default one.
    """

    areas: tuple[PlannedArea, ...]
    assumptions: tuple[str, ...]
    policy: Policy | None = None
