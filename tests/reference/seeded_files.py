"""Bugs in files, page cache and buffers, for test_power."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.reference import areas, filemap, machine, memory, migrate, policies, scan
from tests.reference.areas import File, Mm, Page, Policy, Pte, Ring
from tests.reference.machine import Machine, Task
from tests.reference.words import parse_pages


def file_ptes_come_back(patch: pytest.MonkeyPatch) -> None:
    """A moved page of a file is mapped as it was."""
    right = migrate.Command.move

    def wrong(self: migrate.Command, page: Page, target: int) -> int:
        mms = {task.mm.number: task.mm for task in self.machine.tasks.values() if task.mm}
        ptes = dict(page.ptes) if page.file is not None else {}
        left = right(self, page, target)
        for (number, vpn), pte in ptes.items():
            mms[number].slots[vpn].page = page
            page.ptes[number, vpn] = pte
        return left

    patch.setattr(migrate.Command, "move", wrong)


def cache_interleaves_by_index(patch: pytest.MonkeyPatch) -> None:
    """The page cache takes no turns."""
    right = filemap.Filemap.place

    def wrong(self: filemap.Filemap, task: Task | None, file: File, index: int) -> int | None:
        if task is not None and task.policy is not None and task.policy.mode == "interleave":
            task.turn = task.policy.nodes[index % len(task.policy.nodes)]
        return right(self, task, file, index)

    patch.setattr(filemap.Filemap, "place", wrong)


def tmpfs_takes_turns(patch: pytest.MonkeyPatch) -> None:
    """Interleaved tmpfs starts on the first node whatever the index."""
    patch.setattr(File, "turn", lambda self, index, modern: len(self.pages))


def dirt_goes_with_the_pte(patch: pytest.MonkeyPatch) -> None:
    """The page does not get to know that it was written through a mapping."""

    def wrong(page: Page, number: int, vpn: int) -> None:
        page.ptes.pop((number, vpn))

    patch.setattr(Machine, "drop_file_pte", staticmethod(wrong))


def buffers_stay_clean(patch: pytest.MonkeyPatch) -> None:
    """A page that gets dirty does not tell its ring."""
    patch.setattr(Page, "set_dirty", lambda self: setattr(self, "dirty", True))


def rings_in_use_are_dropped(patch: pytest.MonkeyPatch) -> None:
    """Busy buffers do not hold the ring."""
    patch.setattr(Ring, "in_use", lambda self, at, again=False: False)


def the_journal_lets_go(patch: pytest.MonkeyPatch) -> None:
    """A buffer that the journal has can be dropped once it is clean."""
    patch.setattr(areas.Ring, "in_use", lambda self, at, again=False: self.dirty or any(
        hold is not None and hold.release > at for hold in (self.busy, self.locked)))  # fmt: skip


def refusing_is_for_now(patch: pytest.MonkeyPatch) -> None:
    """EIO of fail_migrate_page is tried again."""
    patch.setattr(migrate, "PERMANENT", ("no-swap", "mlocked"))


def written_before_it_is_unmapped(patch: pytest.MonkeyPatch) -> None:
    """B10: a mapped dirty page without a method stays as it is."""
    right = scan.Scan.without_method

    def wrong(self: scan.Scan, page: Page, at: int) -> str | None:
        reason = right(self, page, at)
        return "pageout-keep" if reason == "writeback-started" and page.ptes else reason

    patch.setattr(scan.Scan, "without_method", wrong)


def dirty_in_the_pte_alone_moves(patch: pytest.MonkeyPatch) -> None:
    """B10: what is dirty only in a pte is not written."""
    right = scan.Scan.without_method

    def wrong(self: scan.Scan, page: Page, at: int) -> str | None:
        if not page.dirty:
            for pte in page.ptes.values():
                pte.dirty = False
        return right(self, page, at)

    patch.setattr(scan.Scan, "without_method", wrong)


def locked_buffers_move(patch: pytest.MonkeyPatch) -> None:
    """A buffer that is locked for ever is no obstacle."""
    right = scan.Scan.file_refusal

    def wrong(self: scan.Scan, page: Page, at: int) -> str | None:
        kept = page.ring.locked if page.ring else None
        if page.ring:
            page.ring.locked = None
        reason = right(self, page, at)
        if page.ring:
            page.ring.locked = kept
        return reason

    patch.setattr(scan.Scan, "file_refusal", wrong)


def policies_of_tmpfs_stay_in_the_area(patch: pytest.MonkeyPatch) -> None:
    """The object does not know them."""
    right = policies.set_policy

    def wrong(mm: Mm, span: range, policy: Policy | None) -> None:
        files = {area.file for _, area in mm.areas(span) if area.file is not None}
        kept = {file: dict(file.policies) for file in files}
        right(mm, span, policy)
        for file, known in kept.items():
            file.policies = known

    patch.setattr(policies, "set_policy", wrong)


def copies_are_no_anonymous_fault(patch: pytest.MonkeyPatch) -> None:
    """An area of a file never has an anon_vma."""
    right = memory.Memory.new_page

    def wrong(self: memory.Memory, task: Task, mm: Mm, vpn: int) -> bool:
        area = mm.slots[vpn].area
        before = area.anon_vma
        done = right(self, task, mm, vpn)
        if area.file is not None:
            area.anon_vma = before
        return done

    patch.setattr(memory.Memory, "new_page", wrong)


def fork_copies_shared_areas(patch: pytest.MonkeyPatch) -> None:
    """The child maps what its parent maps of a file."""
    right = Mm.forked

    def wrong(self: Mm, number: int) -> Mm:
        child = right(self, number)
        for vpn, slot in self.slots.items():
            if slot.page is not None and slot.area.shared:
                child.slots[vpn].page = slot.page
                slot.page.ptes[number, vpn] = Pte(False, False, False)
        return child

    patch.setattr(Mm, "forked", wrong)


def cut_pages_go_whoever_has_them(patch: pytest.MonkeyPatch) -> None:
    """A pinned page is free when its file is cut."""
    right = filemap.Filemap.do_file_truncate

    def wrong(self: filemap.Filemap, path: str, size: str) -> Any:
        for page in self.file(path).pages.values():
            if page.index >= parse_pages(size):
                page.pins = []
        return right(self, path, size)

    patch.setattr(filemap.Filemap, "do_file_truncate", wrong)


def tmpfs_keeps_its_slot(patch: pytest.MonkeyPatch) -> None:
    """A fault finds the page in the swap cache and leaves it there."""
    right = filemap.Filemap.cached

    def wrong(self: filemap.Filemap, task: Task | None, file: File, index: int) -> tuple[Page, bool] | None:
        page = file.pages.get(index)
        if page is not None and page.swapcache and not page.lock and not page.writeback:
            return page, False
        return right(self, task, file, index)

    patch.setattr(filemap.Filemap, "cached", wrong)


def targets_know_the_policy_of_the_task(patch: pytest.MonkeyPatch) -> None:
    """mbind's targets of tmpfs without a policy of the object go where a fault would go (6.1)."""
    right = machine.Machine.take_for_move

    def wrong(self: Machine, task: Task, mm: Mm, vpn: int) -> int | None:
        area = mm.slots[vpn].area
        if area.file is not None and area.file.fs == "tmpfs" and not self.modern:
            index = vpn + area.delta
            return self.take_by_policy(area.file.policies.get(index) or task.policy, task, index)
        return right(self, task, mm, vpn)

    patch.setattr(machine.Machine, "take_for_move", wrong)


BUGS: list[Callable[[pytest.MonkeyPatch], object]] = [
    file_ptes_come_back, cache_interleaves_by_index, tmpfs_takes_turns, dirt_goes_with_the_pte, buffers_stay_clean,
    rings_in_use_are_dropped, the_journal_lets_go, refusing_is_for_now, written_before_it_is_unmapped,
    dirty_in_the_pte_alone_moves, locked_buffers_move, policies_of_tmpfs_stay_in_the_area,
    copies_are_no_anonymous_fault, fork_copies_shared_areas, cut_pages_go_whoever_has_them, tmpfs_keeps_its_slot,
    targets_know_the_policy_of_the_task,
]  # fmt: skip
