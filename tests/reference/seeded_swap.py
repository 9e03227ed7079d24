"""Bugs in swap, for test_power."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.reference import evict, memory, migrate, swapping
from tests.reference.areas import NOWHERE, Mm, Page
from tests.reference.machine import Machine, Task


def what_is_in_the_cache_is_read_again(patch: pytest.MonkeyPatch) -> None:
    """A fault on a swap pte always allocates: the page goes where the policy of the moment says."""
    right = memory.Memory.swap_in

    def wrong(self: memory.Memory, task: Task, mm: Mm, vpn: int, write: bool) -> str | None:
        page = mm.slots[vpn].swapped
        if page is not None and page.node != NOWHERE and page.lock is None:
            self.hw.nodes[page.node].free += 1
            page.node = NOWHERE
        return right(self, task, mm, vpn, write)

    patch.setattr(memory.Memory, "swap_in", wrong)


def a_lock_does_not_matter(patch: pytest.MonkeyPatch) -> None:
    """A fault takes a locked page out of the swap cache."""
    right = memory.Memory.swap_in

    def wrong(self: memory.Memory, task: Task, mm: Mm, vpn: int, write: bool) -> str | None:
        page = mm.slots[vpn].swapped
        hold = page.lock if page is not None else None
        if page is not None:
            page.lock = None
        kind = right(self, task, mm, vpn, write)
        if page is not None:
            page.lock = hold
        return kind

    patch.setattr(memory.Memory, "swap_in", wrong)


def entries_always_stay(patch: pytest.MonkeyPatch) -> None:
    """However full swap is."""
    patch.setattr(Machine, "half_full", lambda self: False)


def entries_never_stay(patch: pytest.MonkeyPatch) -> None:
    """A page that nobody else has in swap leaves the cache with its fault."""
    patch.setattr(Machine, "half_full", lambda self: True)


def half_is_full(patch: pytest.MonkeyPatch) -> None:
    """Half of the slots free is more than half full."""
    patch.setattr(Machine, "half_full", lambda self: self.free_slots * 2 <= sum(area.size for area in self.swap_areas))


def swap_ptes_are_no_sharers(patch: pytest.MonkeyPatch) -> None:
    """A write takes a page over though somebody else has it in swap."""
    right = memory.Memory.touch

    def wrong(self: memory.Memory, task: Task, mm: Mm, vpn: int, write: bool) -> str | None:
        page = mm.slots[vpn].page
        if page is None or not write or not page.swaps:
            return right(self, task, mm, vpn, write)
        kept, page.swaps = page.swaps, set()
        kind = right(self, task, mm, vpn, write)
        page.swaps = kept
        return kind

    patch.setattr(memory.Memory, "touch", wrong)


def only_ptes_of_this_move_come_back(patch: pytest.MonkeyPatch) -> None:
    """Tasks that had been swapped out before stay so: the entry stays too."""
    right = migrate.Command.move

    def wrong(self: migrate.Command, page: Page, target: int) -> int:
        others = set(page.swaps)
        page.swaps = set()
        left = right(self, page, target)
        if others:
            page.swaps = others
            self.machine.take_slot(page)
        return left

    patch.setattr(migrate.Command, "move", wrong)


def fork_leaves_swap_behind(patch: pytest.MonkeyPatch) -> None:
    """Swap ptes are not copied."""
    right = Mm.forked

    def wrong(self: Mm, number: int) -> Mm:
        child = right(self, number)
        for vpn, slot in child.slots.items():
            if slot.swapped is not None:
                slot.swapped.swaps.discard((number, vpn))
                slot.swapped = None
        return child

    patch.setattr(Mm, "forked", wrong)


def swap_ptes_hide_the_sharers(patch: pytest.MonkeyPatch) -> None:
    """MOVE counts swap ptes: a page mapped once is shared if another task has it in swap."""
    right = migrate.Command.collect

    def wrong(self: migrate.Command, wanted: Any, move_all: bool, *rest: Any, **more: Any) -> list[Page]:
        found = right(self, wanted, move_all, *rest, **more)
        return found if move_all else [page for page in found if not page.swaps]

    patch.setattr(migrate.Command, "collect", wrong)


def young_pages_are_not_unmapped(patch: pytest.MonkeyPatch) -> None:
    """Each look takes one young bit and fails (B23)."""
    right = evict.SwapScan.refusal

    def wrong(self: evict.SwapScan, page: Page, at: int) -> str:
        reason = right(self, page, at)
        if reason in ("writeback-started", "evicted"):
            for pte in page.ptes.values():
                if pte.young:
                    pte.young = False
                    return "pinned"
        return reason

    patch.setattr(evict.SwapScan, "refusal", wrong)


def clean_pages_are_written_again(patch: pytest.MonkeyPatch) -> None:
    """A page that was read back goes in the pass after."""
    touch = memory.Memory.swap_in

    def wrong(self: memory.Memory, task: Task, mm: Mm, vpn: int, write: bool) -> str | None:
        kind = touch(self, task, mm, vpn, write)
        page = mm.slots[vpn].page
        if page is not None:
            page.dirty = True
        return kind

    patch.setattr(memory.Memory, "swap_in", wrong)


def shared_pages_stay(patch: pytest.MonkeyPatch) -> None:
    """`swap out` takes what MOVE would."""
    right = evict.swap_out

    def wrong(command: migrate.Command, pagelist: list[Page]) -> list[Page]:
        return right(command, [page for page in pagelist if len(page.ptes) == 1])

    patch.setattr(swapping, "swap_out", wrong)


def swapoff_leaves_pages_clean(patch: pytest.MonkeyPatch) -> None:
    """What was read back is as it was in its slot."""
    right = swapping.Swapping.do_swap_off

    def wrong(self: swapping.Swapping, name: str, **options: Any) -> Any:
        pages = [page for area in self.hw.swap_areas if area.name == name for page in self.pages_in(area)]
        clean = [page for page in pages if not page.dirty]
        document = right(self, name, **options)
        for page in clean:
            page.dirty = False
        return document

    patch.setattr(swapping.Swapping, "do_swap_off", wrong)


BUGS: list[Callable[[pytest.MonkeyPatch], object]] = [
    what_is_in_the_cache_is_read_again, a_lock_does_not_matter, entries_always_stay, entries_never_stay, half_is_full,
    swap_ptes_are_no_sharers, only_ptes_of_this_move_come_back, fork_leaves_swap_behind, swap_ptes_hide_the_sharers,
    young_pages_are_not_unmapped, clean_pages_are_written_again, shared_pages_stay, swapoff_leaves_pages_clean,
]  # fmt: skip
