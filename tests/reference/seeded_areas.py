"""Bugs in what happens to areas, ptes and policies, for test_power."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.reference import areas, machine, memory, policies
from tests.reference.areas import Area, Mm, Page, Policy
from tests.reference.base import Document
from tests.reference.machine import Machine, Refused, Task


def pins_go_with_the_pte(patch: pytest.MonkeyPatch) -> None:
    """A pinned page that loses its pte is freed."""
    right = Machine.drop_pte

    def wrong(self: Machine, mm: Mm, vpn: int) -> None:
        page = mm.slots[vpn].page
        if page is not None:
            page.pins = []
        right(self, mm, vpn)

    patch.setattr(Machine, "drop_pte", wrong)


def exit_frees_shared_pages(patch: pytest.MonkeyPatch) -> None:
    """A frame is free with the first pte that goes."""
    right = Machine.drop_pte

    def wrong(self: Machine, mm: Mm, vpn: int) -> None:
        page = mm.slots[vpn].page
        right(self, mm, vpn)
        if page is not None and page.ptes:
            self.nodes[page.node].free += 1

    patch.setattr(Machine, "drop_pte", wrong)


def dropping_keeps_the_slot(patch: pytest.MonkeyPatch) -> None:
    """The swap entry of a page that is gone stays taken."""
    right = Machine.drop_page

    def wrong(self: Machine, page: Page) -> None:
        if page.slot is not None:
            page.slot.used += 1
        right(self, page)

    patch.setattr(Machine, "drop_page", wrong)


def holds_of_a_family_stay(patch: pytest.MonkeyPatch) -> None:
    """Exit ends the holds on pages that the task maps, not those on pages that only its family maps."""
    right = Machine.end_holds

    def wrong(self: Machine, pages: list[Page], pid: int, kinds: Any) -> None:
        mm = self.tasks[pid].mm if pid in self.tasks else None
        mapped = [page for _, page in mm.pages()] if mm else []
        right(self, [page for page in pages if page in mapped or not page.ptes], pid, kinds)

    patch.setattr(Machine, "end_holds", wrong)


def after_fork(patch: pytest.MonkeyPatch, spoil: Callable[[Mm, Mm], None]) -> None:
    """Spoil what fork did to parent and child."""
    right = Mm.forked

    def wrong(self: Mm, number: int) -> Mm:
        child = right(self, number)
        spoil(self, child)
        return child

    patch.setattr(Mm, "forked", wrong)


def fork_copies_areas_without_anon_vma(patch: pytest.MonkeyPatch) -> None:
    """Zero pages of an area that never had an anonymous fault are copied."""

    def spoil(parent: Mm, child: Mm) -> None:
        for vpn, slot in parent.slots.items():
            if slot.zero:
                child.slots[vpn].zero = areas.Pte(False, False, False)

    after_fork(patch, spoil)


def fork_leaves_the_parent_writable(patch: pytest.MonkeyPatch) -> None:
    """Only the child's ptes are read-only."""

    def spoil(parent: Mm, _child: Mm) -> None:
        for vpn, page in parent.pages():
            page.ptes[parent.number, vpn].writable = parent.slots[vpn].area.prot == "rw"

    after_fork(patch, spoil)


def child_keeps_locked(patch: pytest.MonkeyPatch) -> None:
    """LOCKED is inherited."""

    def spoil(parent: Mm, child: Mm) -> None:
        for vpn, slot in parent.slots.items():
            child.slots[vpn].area.locked = slot.area.locked

    after_fork(patch, spoil)


def child_is_young(patch: pytest.MonkeyPatch) -> None:
    """The child's ptes are as young as the parent's."""

    def spoil(parent: Mm, child: Mm) -> None:
        for vpn, page in child.pages():
            page.ptes[child.number, vpn].young = page.ptes[parent.number, vpn].young

    after_fork(patch, spoil)


def child_has_no_policies(patch: pytest.MonkeyPatch) -> None:
    """The policies of areas are not copied."""

    def spoil(_parent: Mm, child: Mm) -> None:
        for slot in child.slots.values():
            slot.area.policy = None

    after_fork(patch, spoil)


def child_areas_merge(patch: pytest.MonkeyPatch) -> None:
    """Fork joins what LOCKED told apart."""

    def spoil(_parent: Mm, child: Mm) -> None:
        for part, _ in child.areas():
            child.join(child.part_around(part.start))

    after_fork(patch, spoil)


def copy_leaves_the_old_page_mapped(patch: pytest.MonkeyPatch) -> None:
    """Mapcount is not looked at: a shared page is taken over in place."""
    right = memory.Memory.touch

    def wrong(self: memory.Memory, task: Task, mm: Mm, vpn: int, write: bool) -> str | None:
        page = mm.slots[vpn].page
        if write and page is not None and page.lock is None and len(page.ptes) > 1:
            page.ptes[mm.number, vpn].writable = True
            return "reuse"
        return right(self, task, mm, vpn, write)

    patch.setattr(memory.Memory, "touch", wrong)


def locked_pages_are_reused(patch: pytest.MonkeyPatch) -> None:
    """The page lock does not matter to a write."""
    right = memory.Memory.touch

    def wrong(self: memory.Memory, task: Task, mm: Mm, vpn: int, write: bool) -> str | None:
        page = mm.slots[vpn].page
        hold = page.lock if page is not None else None
        if page is not None:
            page.lock = None
        kind = right(self, task, mm, vpn, write)
        if page is not None and page.ptes:
            page.lock = hold
        return kind

    patch.setattr(memory.Memory, "touch", wrong)


def mlock_reads(patch: pytest.MonkeyPatch) -> None:
    """mlock populates by reading, so it breaks no sharing."""
    right = memory.Memory.do_mlock

    def wrong(self: memory.Memory, pid: str, text: str) -> Document:
        touch = memory.Memory.touch
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(memory.Memory, "touch", lambda self, task, mm, vpn, write: touch(self, task, mm, vpn, False))
            return right(self, pid, text)

    patch.setattr(memory.Memory, "do_mlock", wrong)


def mprotect_leaves_ptes_writable(patch: pytest.MonkeyPatch) -> None:
    """Write permission comes and goes with the area."""
    right = Mm.change

    def wrong(self: Mm, span: range, wanted: Any, change: Any) -> list[range]:
        right(self, span, wanted, change)
        return []

    patch.setattr(Mm, "change", wrong)


def mprotect_of_the_same_clears_write(patch: pytest.MonkeyPatch) -> None:
    """Ptes become read-only though nothing changed."""
    right = Mm.change

    def wrong(self: Mm, span: range, wanted: Any, change: Any) -> list[range]:
        right(self, span, wanted, change)
        return [part for part, _ in self.areas(span)]

    patch.setattr(Mm, "change", wrong)


def split_forgets_the_anon_vma(patch: pytest.MonkeyPatch) -> None:
    """The upper part of a split area starts anew."""
    right = Mm.split

    def wrong(self: Mm, vpn: int) -> None:
        below = self.slots[vpn - 1].area if vpn - 1 in self.slots else None
        joined = vpn in self.slots and self.slots[vpn].area is below
        right(self, vpn)
        if joined:
            self.slots[vpn].area.anon_vma = None

    patch.setattr(Mm, "split", wrong)


def merge_forgets_the_anon_vma(patch: pytest.MonkeyPatch) -> None:
    """A merged area has an anon_vma only if its lower part had."""
    right = Mm.become_one

    def wrong(self: Mm, part: range, lower: Any, upper: Any) -> range:
        kept = (lower or self.slots[part.start].area).anon_vma
        whole = right(self, part, lower, upper)
        self.slots[whole.start].area.anon_vma = kept
        return whole

    patch.setattr(Mm, "become_one", wrong)


def dontneed_takes_the_anon_vma(patch: pytest.MonkeyPatch) -> None:
    """An area that is empty again is as new."""
    right = memory.Memory.do_madvise

    def wrong(self: memory.Memory, pid: str, text: str, advice: str) -> Document:
        document = right(self, pid, text, advice)
        _, mm = self.user_task(pid)
        for _, area in mm.areas(self.call_span(mm, text)):
            area.anon_vma = None
        return document

    patch.setattr(memory.Memory, "do_madvise", wrong)


def dontneed_stops_at_a_hole(patch: pytest.MonkeyPatch) -> None:
    """ENOMEM comes first, nothing is done."""
    right = memory.Memory.do_madvise

    def wrong(self: memory.Memory, pid: str, text: str, advice: str) -> Document:
        _, mm = self.user_task(pid)
        if mm.hole(self.call_span(mm, text)):
            return {"errno": "ENOMEM"}
        return right(self, pid, text, advice)

    patch.setattr(memory.Memory, "do_madvise", wrong)


def mbind_as(patch: pytest.MonkeyPatch, modern: bool) -> None:
    """The areas of mbind are split and merged as by the one kernel or the other."""
    right = policies.set_policy

    def wrong(mm: Mm, span: range, policy: areas.Policy | None) -> None:
        kept, mm.modern = mm.modern, modern
        right(mm, span, policy)
        mm.modern = kept

    patch.setattr(policies, "set_policy", wrong)


def mbind_merges_under_v9(patch: pytest.MonkeyPatch) -> None:
    """Neighbours that become equal are one area."""
    mbind_as(patch, True)


def mbind_never_merges(patch: pytest.MonkeyPatch) -> None:
    """`modern` leaves areas apart too."""
    mbind_as(patch, False)


def child_shares_anon_vmas(patch: pytest.MonkeyPatch) -> None:
    """A child's areas merge as its parent's do."""

    def spoil(parent: Mm, child: Mm) -> None:
        for vpn, slot in parent.slots.items():
            child.slots[vpn].area.anon_vma = slot.area.anon_vma

    after_fork(patch, spoil)


def written_areas_merge(patch: pytest.MonkeyPatch) -> None:
    """Who has an anon_vma does not matter."""
    patch.setattr(Mm, "may_join", lambda self, changed, neighbour: True)


def faults_ignore_the_area(patch: pytest.MonkeyPatch) -> None:
    """Only the policy of the task counts."""

    def wrong(self: Machine, task: Task, _mm: Mm, vpn: int) -> int | None:
        return self.take_by_policy(task.policy, task, vpn)

    patch.setattr(machine.Machine, "take_for_fault", wrong)


def after_mbind(patch: pytest.MonkeyPatch, spoil: Callable[[Mm, range, list[Policy | None], Document], None]) -> None:
    """Spoil what mbind did; the policies of the range before it are told to `spoil`, page by page."""
    right = policies.Policies.do_mbind

    def wrong(self: policies.Policies, pid: str, text: str, *words: str, **options: Any) -> Document:
        task = self.hw.tasks.get(int(pid))
        mm = task.mm if task else None
        span = range(0)
        if mm is not None:
            try:
                span = self.call_span(mm, text)
            except Refused:
                mm = None
        before = [mm.slots[vpn].area.policy if vpn in mm.slots else None for vpn in span] if mm else []
        try:
            document = right(self, pid, text, *words, **options)
        except Refused as refusal:
            if mm is not None and refusal.errno == "EIO":
                mode, nodes = words[0], words[1] if len(words) > 1 else "none"
                usable = self.hw.usable()
                policy = self.new_policy(mode, self.asked_nodes(mode, nodes), usable, usable)
                spoil(mm, span, [policy] * len(span), {"errno": "EIO"})
            raise
        if mm is not None:
            spoil(mm, span, before, document)
        return document

    patch.setattr(policies.Policies, "do_mbind", wrong)


def set_page_by_page(mm: Mm, span: range, wanted: list[Policy | None]) -> None:
    """Policies of single pages."""
    for vpn, policy in zip(span, wanted, strict=True):
        mm.split(vpn)
        mm.split(vpn + 1)
        mm.slots[vpn].area.policy = policy


def eio_of_strict_applies_the_policy(patch: pytest.MonkeyPatch) -> None:
    """STRICT alone with a misplaced page sets it all the same."""

    def spoil(mm: Mm, span: range, wanted: list[Policy | None], document: Document) -> None:
        if document["errno"] == "EIO" and "moved" not in document:
            set_page_by_page(mm, span, wanted)

    after_mbind(patch, spoil)


def eio_after_a_move_takes_the_policy_back(patch: pytest.MonkeyPatch) -> None:
    """Pages moved, policy as before."""

    def spoil(mm: Mm, span: range, before: list[Policy | None], document: Document) -> None:
        if document["errno"] == "EIO" and "moved" in document:
            set_page_by_page(mm, span, before)

    after_mbind(patch, spoil)


def default_does_not_reallocate(patch: pytest.MonkeyPatch) -> None:
    """MPOL_DEFAULT with MOVE moves nothing."""
    right = policies.Policies.mbind_move

    def wrong(self: policies.Policies, command: Any, task: Task, mm: Mm, pagelist: list[Page]) -> None:
        vpns = {page: vpn for vpn, page in mm.pages()}
        right(self, command, task, mm, [page for page in pagelist if mm.slots[vpns[page]].area.policy])

    patch.setattr(policies.Policies, "mbind_move", wrong)


def preferred_looks_at_its_first_node_only(patch: pytest.MonkeyPatch) -> None:
    """Pages on the other nodes of the mask are misplaced."""
    right = policies.Policies.asked_nodes

    def wrong(self: policies.Policies, mode: str, text: str) -> set[int]:
        asked = right(self, mode, text)
        inside = asked & self.hw.usable()
        return {min(inside)} if mode == "preferred" and inside == asked and asked else asked

    patch.setattr(policies.Policies, "asked_nodes", wrong)


def an_address_tells_the_policy_of_the_task(patch: pytest.MonkeyPatch) -> None:
    """get-mempolicy ADDR falls back on the task."""
    right = policies.Policies.do_get_mempolicy

    def wrong(self: policies.Policies, pid: str, address: str | None = None, **options: Any) -> Document:
        document = right(self, pid, address, **options)
        if document["_policy"].get("mode") == "default":
            return self.told(self.task(pid).policy, document["_policy"]["scope"])
        return document

    patch.setattr(policies.Policies, "do_get_mempolicy", wrong)


def areas_merge_whatever_their_policy(patch: pytest.MonkeyPatch) -> None:
    """Protection and LOCKED alone tell areas apart."""

    def wrong(self: Area, other: Area, prot: bool = True) -> bool:
        return (self.prot, self.locked) == (other.prot, other.locked)

    patch.setattr(Area, "same", wrong)


def raw_areas_have_pages(patch: pytest.MonkeyPatch) -> None:
    """A fault in an IO, PFNMAP or huge area finds memory."""
    right = memory.Memory.touch

    def wrong(self: memory.Memory, task: Task, mm: Mm, vpn: int, write: bool) -> str | None:
        mm.slots[vpn].area.special = None
        return right(self, task, mm, vpn, write)

    patch.setattr(memory.Memory, "touch", wrong)


BUGS: list[Callable[[pytest.MonkeyPatch], object]] = [
    pins_go_with_the_pte, exit_frees_shared_pages, dropping_keeps_the_slot, holds_of_a_family_stay,
    fork_copies_areas_without_anon_vma, fork_leaves_the_parent_writable, child_keeps_locked, child_is_young,
    child_has_no_policies, child_areas_merge, copy_leaves_the_old_page_mapped, locked_pages_are_reused, mlock_reads,
    mprotect_leaves_ptes_writable, mprotect_of_the_same_clears_write, split_forgets_the_anon_vma,
    merge_forgets_the_anon_vma, dontneed_takes_the_anon_vma, dontneed_stops_at_a_hole, child_shares_anon_vmas,
    written_areas_merge, mbind_never_merges, faults_ignore_the_area, eio_of_strict_applies_the_policy,
    eio_after_a_move_takes_the_policy_back, default_does_not_reallocate, preferred_looks_at_its_first_node_only,
    an_address_tells_the_policy_of_the_task, areas_merge_whatever_their_policy, raw_areas_have_pages,
]  # fmt: skip
