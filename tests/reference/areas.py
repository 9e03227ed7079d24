"""An address space: areas with what the kernel keeps for them, one slot a page below (semantics.md 1.5, 3.3, 6.6)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

NOWHERE = -1


@dataclasses.dataclass(frozen=True)
class Policy:
    """
    A policy of a task or an area; `preferred` without node is local. No policy at all is None, not `default`.

    `recorded`: the allowed nodes that a rebind maps from (3.6); with the flags `static` and `relative` the nodes that
    the user named (modern-kernel.md 38, 39).
    """

    mode: str
    nodes: tuple[int, ...]
    recorded: frozenset[int] = frozenset()
    flags: frozenset[str] = frozenset()

    @property
    def fixed(self) -> bool:
        """Whether the user's own nodes are kept."""
        return bool(self.flags & {"static", "relative"})


@dataclasses.dataclass(eq=False)
class Pin:
    """A hold of a task, active in the passes before `release`."""

    pid: int
    release: int


@dataclasses.dataclass(eq=False)
class Pte:
    """One present page table entry of a page."""

    young: bool
    dirty: bool
    writable: bool


@dataclasses.dataclass(eq=False)
class SwapArea:
    """A swap area; which of its slots a page has makes no difference to anybody."""

    name: str
    size: int
    used: int = 0


@dataclasses.dataclass(eq=False)
class Ring:
    """
    The buffers of a page, all in one state; `journal`: the journal uses them (1.4).

    `late`: in the pass that ends `busy` they are free at the second question only (9a, 2.2 n).
    """

    dirty: bool = False
    busy: Pin | None = None
    locked: Pin | None = None
    journal: bool = False
    late: bool = False

    def in_use(self, at: int, again: bool = False) -> bool:
        """Whether the ring cannot be dropped in this pass: a buffer is dirty, busy or locked."""
        if self.late and not again and self.busy is not None and self.busy.release == at:
            return True
        held = any(hold is not None and hold.release > at for hold in (self.busy, self.locked))
        return self.dirty or self.journal or held

    def words(self) -> list[str]:
        """As `show buffers` tells them."""
        busy = self.busy is not None or self.journal
        return sorted(word for word, on in (("busy", busy), ("dirty", self.dirty), ("locked", self.locked)) if on)


@dataclasses.dataclass(eq=False)
class File:
    """
    A file or a segment: its cache, by index, and for tmpfs the policies of the object (1.3, 6.1).

    `nameless`: shared anonymous memory, an object of tmpfs that goes with its last area.
    """

    path: str
    fs: str
    journal: str | None
    method: str
    ino: int
    size: int
    pages: dict[int, Page] = dataclasses.field(default_factory=dict)
    policies: dict[int, Policy] = dataclasses.field(default_factory=dict)
    bound: dict[int, tuple[int, int]] = dataclasses.field(default_factory=dict)  # address space and page bound through
    nameless: bool = False

    @property
    def disk(self) -> bool:
        """Whether its pages may have buffers."""
        return self.fs in ("ext2", "ext3", "xfs")

    @property
    def ahead(self) -> bool:
        """Whether a 6.x kernel reads ahead in it (modern-kernel.md 23)."""
        return self.fs not in ("tmpfs", "ramfs")

    def turn(self, index: int, modern: bool) -> int:
        """What interleaving of tmpfs counts by; `modern` adds the inode number (modern-kernel.md 20)."""
        return index + self.ino if modern else index


@dataclasses.dataclass(eq=False)
class Page:
    """
    A page: content, wherever it lies. A migration changes the node and frees a frame of the old one.

    In memory only it has no slot, in swap only no node (`NOWHERE`), in the swap cache it has both.
    """

    node: int
    ptes: dict[tuple[int, int], Pte] = dataclasses.field(default_factory=dict)
    dirty: bool = False
    uptodate: bool = False
    active: bool = True
    file: File | None = None
    index: int = 0
    ring: Ring | None = None
    swapcache: bool = False
    slot: SwapArea | None = None
    swaps: set[tuple[int, int]] = dataclasses.field(default_factory=set)  # swap ptes of its entry
    lock: Pin | None = None
    writeback: Pin | None = None
    park: Pin | None = None
    pins: list[Pin] = dataclasses.field(default_factory=list)

    def read_from_swap(self, nid: int) -> None:
        """A frame holds it again, on the active list (6.5)."""
        self.node, self.active = nid, True

    def set_dirty(self) -> None:
        """Through the mapping: the buffers of a block backed file get dirty too (1.8)."""
        self.dirty = True
        if self.ring is not None:
            self.ring.dirty = True


@dataclasses.dataclass(eq=False)
class AnonVma:
    """What areas share that were one when they had their first anonymous page; `forked`: made for a child (48)."""

    forked: bool = False


@dataclasses.dataclass(eq=False)
class Area:
    """
    What the pages of an area share.

    `anon_vma`: there since its first anonymous fault, or the parent's. `special`: `io`, `pfnmap` or `hugetlb`; a
    fault there succeeds with nothing present (9a), and it never becomes one with another.
    """

    prot: str
    locked: bool
    policy: Policy | None = None
    anon_vma: AnonVma | None = None
    file: File | None = None
    delta: int = 0  # page index in the file less virtual page number
    shared: bool = False
    random: bool = False
    special: str | None = None

    def same(self, other: Area, prot: bool = True) -> bool:
        """Whether nothing but an anon_vma, and unless asked the protection, tells the two apart."""
        flags = (self.locked, self.shared, self.random, self.special) == (
            other.locked, other.shared, other.random, other.special)  # fmt: skip
        alike = not prot or self.prot == other.prot
        places = (self.file, self.delta) == (other.file, other.delta)
        ordinary = self.special is None and flags
        return ordinary and alike and places and equal_policies(self.policy, other.policy)


def equal_policies(one: Policy | None, other: Policy | None) -> bool:
    """Mode, flags and nodes; the nodes that were recorded only where they are the user's own."""
    if one is None or other is None:
        return one is other
    named = one.recorded == other.recorded or not one.fixed
    return named and (one.mode, one.flags, one.nodes) == (other.mode, other.flags, other.nodes)


@dataclasses.dataclass(eq=False)
class Slot:
    """One page of address space: its area, its label, and what is mapped there: a page, a swap pte, the zero page."""

    area: Area
    label: str | None
    page: Page | None = None
    zero: Pte | None = None
    swapped: Page | None = None


@dataclasses.dataclass(eq=False)
class Mm:
    """An address space: virtual page number to slot. Neighbours with the same Area object are in one area."""

    number: int
    modern: bool = False
    slots: dict[int, Slot] = dataclasses.field(default_factory=dict)

    def pages(self) -> list[tuple[int, Page]]:
        """Present pages in address order."""
        return [(vpn, slot.page) for vpn, slot in sorted(self.slots.items()) if slot.page is not None]

    def areas(self, span: Iterable[int] | None = None) -> list[tuple[range, Area]]:
        """The areas in address order, each with its pages; of a span only the part of each that lies in it."""
        found: list[tuple[range, Area]] = []
        for vpn in sorted(self.slots) if span is None else span:
            slot = self.slots.get(vpn)
            if slot is None:
                continue
            if found and found[-1][0].stop == vpn and found[-1][1] is slot.area:
                found[-1] = (range(found[-1][0].start, vpn + 1), slot.area)
            else:
                found.append((range(vpn, vpn + 1), slot.area))
        return found

    def hole(self, span: Iterable[int]) -> bool:
        """Whether a page of the span is in no area."""
        return any(vpn not in self.slots for vpn in span)

    def split(self, vpn: int) -> None:
        """An area begins at this page, if any page is there."""
        if vpn not in self.slots or vpn - 1 not in self.slots or self.slots[vpn - 1].area is not self.slots[vpn].area:
            return
        upper, lower = dataclasses.replace(self.slots[vpn].area), self.slots[vpn].area
        while vpn in self.slots and self.slots[vpn].area is lower:
            self.slots[vpn].area = upper
            vpn += 1

    def part_around(self, vpn: int) -> range:
        """The pages of the area that this page is in."""
        area, first, last = self.slots[vpn].area, vpn, vpn
        while first - 1 in self.slots and self.slots[first - 1].area is area:
            first -= 1
        while last + 1 in self.slots and self.slots[last + 1].area is area:
            last += 1
        return range(first, last + 1)

    def beside(self, part: range, prot: bool = True) -> tuple[Area | None, Area | None]:
        """The areas before and behind a whole area that could be one with it."""
        area = self.slots[part.start].area
        lower, upper = self.slots.get(part.start - 1), self.slots.get(part.stop)
        return (
            lower.area if lower is not None and lower.area.same(area, prot) else None,
            upper.area if upper is not None and area.same(upper.area, prot) else None,
        )

    def may_join(self, changed: AnonVma | None, neighbour: AnonVma | None) -> bool:
        """
        6.6 of 9a for v9: unless both have an anon_vma and these differ. Rule 48 for `modern`: a written area does not
        join an unwritten one, an unwritten one joins a written one unless a fork has made that one's.
        """
        if changed is neighbour:
            return True
        if self.modern:
            return changed is None and neighbour is not None and not neighbour.forked
        return changed is None or neighbour is None

    def join(self, part: range) -> range:
        """An area that was changed becomes one with its equal neighbours; where they do not go together, the lower."""
        area = self.slots[part.start].area
        lower, upper = self.beside(part)
        if lower is not None and not self.may_join(area.anon_vma, lower.anon_vma):
            lower = None
        if upper is not None and not self.may_join(area.anon_vma, upper.anon_vma):
            upper = None
        if lower is not None and upper is not None:
            apart = lower.anon_vma and upper.anon_vma and lower.anon_vma is not upper.anon_vma
            upper = None if apart else upper
        return self.become_one(part, lower, upper)

    def settle(self, part: range) -> range:
        """A new area: `modern` asks the one behind it first, and then that one with the one before (mmap_region)."""
        if not self.modern:
            return self.join(part)
        lower, upper = self.beside(part)
        if upper is not None and not self.may_join(None, upper.anon_vma):
            upper = None
        if lower is not None and not self.may_join(upper.anon_vma if upper else None, lower.anon_vma):
            lower = None
        return self.become_one(part, lower, upper)

    def become_one(self, part: range, lower: Area | None, upper: Area | None) -> range:
        """The pages of the area and of these neighbours get one area."""
        own = self.slots[part.start].area
        whole = lower or own
        whole.anon_vma = next((one.anon_vma for one in (lower, own, upper) if one and one.anon_vma), None)
        for vpn in self.part_around(part.stop) if upper is not None else ():
            self.slots[vpn].area = whole
        for vpn in part:
            self.slots[vpn].area = whole
        return self.part_around(part.start)

    def prepare(self, vpn: int) -> None:
        """Before its first anonymous page: the anon_vma of a neighbour that may once be one with it, or a new one."""
        area = self.slots[vpn].area
        if area.anon_vma is not None:
            return
        lower, upper = self.beside(self.part_around(vpn), prot=False)
        near = [one.anon_vma for one in (upper, lower) if one is not None and one.anon_vma is not None]
        shared = [one for one in near if not (self.modern and one.forked)]
        area.anon_vma = shared[0] if shared else AnonVma()

    def change(self, span: range, wanted: Callable[[Area], bool], change: Callable[[Area], None]) -> list[range]:
        """
        Change the areas of a span, or parts of them, that `wanted` picks; each becomes one with its equal neighbours.

        Neighbours that nothing is done to stay as they are, also equal ones.

        Returns:
            The parts that were changed.
        """
        parts = [part for part, area in self.areas(span) if wanted(area)]
        for part in parts:
            self.split(part.start)
            self.split(part.stop)
            change(self.slots[part.start].area)
            self.join(part)
        return parts

    def forked(self, number: int) -> Mm:
        """
        The child's address space (6.6): areas, labels and policies, without LOCKED; ptes of areas with an anon_vma.

        The parent's ptes become read-only; the child's are read-only and old. Swap ptes are shared.
        """
        child = Mm(number, self.modern)
        for part, area in self.areas():
            copied = dataclasses.replace(area, locked=False)
            if self.modern and copied.anon_vma:
                copied.anon_vma = AnonVma(forked=True)
            for vpn in part:
                old = self.slots[vpn]
                new = child.slots[vpn] = Slot(copied, old.label)
                if not area.anon_vma:
                    continue
                new.page, new.zero = old.page, old.zero and Pte(False, False, False)
                if old.page is not None:
                    pte = old.page.ptes[self.number, vpn]
                    pte.writable = False
                    old.page.ptes[number, vpn] = Pte(False, pte.dirty, False)
                if old.swapped is not None:
                    new.swapped = old.swapped
                    old.swapped.swaps.add((number, vpn))
        return child
