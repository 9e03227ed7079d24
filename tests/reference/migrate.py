"""
The pipeline of a migration, page by page and pass by pass (semantics.md 2.2, 2.3, 2.7, 3.1, 3.2).

Two engines: `migrate_pages_to` is V9 with rounds of targets and eleven passes; `migrate_modern` is a 6.x kernel with
ten passes and a target on exactly the wanted node.
"""

from __future__ import annotations

import dataclasses

from .machine import NEVER, Machine, Mm, Page, Pin

V9_LAST_PASS = 10
MODERN_LAST_PASS = 9
BLOCKING_PASS = 3
ERRNO_OF = {"busy-locked": "EAGAIN", "pinned": "EAGAIN", "no-swap": "ENOMEM", "not-tried": "ENOMEM"}


@dataclasses.dataclass
class Failure:
    """Why a page stayed, as last seen; `last` is the pass of that look, None if it was never looked at."""

    reason: str
    last: int | None


class Command:
    """What one command did to pages, by the page's address: pages change objects while they move."""

    def __init__(self, machine: Machine, mm: Mm, cpu_node: int, chunk: int) -> None:
        self.machine, self.mm, self.cpu_node, self.chunk = machine, mm, cpu_node, chunk
        self.before = count_by_node(mm)
        self.cache_before = {vpn for vpn, page in mm.pages() if page.swapcache}
        self.hops: list[tuple[int, int, int]] = []  # address, node left, node reached
        self.failures: dict[int, Failure] = {}
        self.skips: dict[int, str] = {}
        self.passes = 0
        self.seen_reason: dict[int, Failure] = {}

    def look(self, vpn: int, reason: str, at: int) -> None:
        """Remember the last reason seen for a page."""
        self.seen_reason[vpn] = Failure(reason, at)

    def stays(self, vpns: list[int]) -> None:
        """The pages that a call left behind, with the last reason seen; never looked at: `not-tried`."""
        for vpn in vpns:
            self.failures[vpn] = self.seen_reason.get(vpn, Failure("not-tried", None))

    def collect(self, source: int) -> list[int]:
        """check_range() of one source node over the whole address space: addresses in ascending order (2.1)."""
        found = []
        for vpn, slot in sorted(self.mm.slots.items()):
            if slot.locked and not self.machine.modern:  # the area is not looked into; modern moves mlocked pages
                if slot.page is not None and slot.page.node == source:
                    self.skips[vpn] = "vma-locked"
            elif slot.zero:
                self.skips[vpn] = "reserved-page"
            elif slot.page is not None and slot.page.node == source:
                found.append(vpn)  # never shared: without fork every page has one pte
        return found

    def move(self, vpn: int, target: int) -> Page:
        """A new page on `target` takes over everything of the page at `vpn`; returns the old one (2.3)."""
        slot = self.mm.slots[vpn]
        old = slot.page
        assert old is not None
        new = Page(target, old.ptes, old.dirty, old.referenced, old.uptodate, old.active)
        new.lock, new.pins = old.lock, old.pins  # only holds that ended in this call are left; cleared at its end
        slot.page = new
        self.hops.append((vpn, old.node, target))
        self.failures.pop(vpn, None)
        self.seen_reason.pop(vpn, None)
        return old


class Scan:
    """The holds as one migrate_pages() call meets them (2.7)."""

    def __init__(self) -> None:
        self.looked: dict[int, int] = {}  # address: latest pass that looked at the page
        self.waited: set[int] = set()  # its lock was waited for, and had

    def lock_had(self, vpn: int, page: Page, at: int) -> bool:
        """Whether the page lock is had in this pass; from pass 3 on the call waits for any holder but `never`."""
        self.looked[vpn] = at
        if page.lock is None or page.lock.release <= at:
            return True
        if at >= BLOCKING_PASS and page.lock.release != NEVER:
            self.waited.add(vpn)
            return True
        return False

    @staticmethod
    def pinned(page: Page, at: int) -> bool:
        """Whether extra references break `mapcount + nr_refs == count` in this pass."""
        references = sum(1 for pin in page.pins if pin.release > at)
        nr_refs = 2  # swap cache (or the file tree) and isolation
        count = len(page.ptes) + nr_refs + references
        return len(page.ptes) + nr_refs != count

    def end_holds(self, command: Command) -> None:
        """
        Holds that the call outlasted are gone.

        Reading: a lock that was waited for is gone although no pass with its number looked at the page.
        """
        for vpn, latest in self.looked.items():
            page = command.mm.slots[vpn].page
            assert page is not None

            def over(hold: Pin, latest: int = latest) -> bool:
                return hold.release <= latest

            page.pins = [pin for pin in page.pins if not over(pin)]
            if page.lock is not None and (over(page.lock) or vpn in self.waited):
                page.lock = None


def count_by_node(mm: Mm) -> dict[int, int]:
    """Present pages of an address space by node."""
    counts: dict[int, int] = {}
    for _, page in mm.pages():
        counts[page.node] = counts.get(page.node, 0) + 1
    return counts


def migrate_pages(command: Command, from_: list[int], targets: list[int], moved: list[Page]) -> list[int]:
    """
    Up to eleven scans over `from_` (2.2). Takes moved and failed pages out of `from_`, used targets out of `targets`.

    Returns:
        The addresses on the `failed` list.
    """
    machine, failed, scan = command.machine, [], Scan()
    pass_ = 0
    while True:
        retry = 0
        command.passes = max(command.passes, pass_ + 1)
        for vpn in list(from_):
            if not targets:
                break  # leaves the scan; this page is not counted
            page = command.mm.slots[vpn].page
            assert page is not None
            if not scan.lock_had(vpn, page, pass_):
                command.look(vpn, "busy-locked", pass_)
                retry += 1
                continue
            if not page.swapcache:
                if machine.free_slots == 0:
                    command.look(vpn, "no-swap", pass_)
                    from_.remove(vpn)
                    failed.append(vpn)
                    continue
                machine.free_slots -= 1
                page.swapcache = page.dirty = page.uptodate = True
            if scan.pinned(page, pass_):
                command.look(vpn, "pinned", pass_)
                retry += 1
                continue
            for pte in page.ptes.values():  # unmapped and restored: old, clean, read-only
                pte.young = pte.dirty = pte.writable = False
            moved.append(command.move(vpn, targets.pop(0)))
            machine.free_slots += 1  # remove_from_swap()
            from_.remove(vpn)
        if retry == 0 or pass_ == V9_LAST_PASS:
            break
        pass_ += 1
    scan.end_holds(command)
    return failed


def migrate_pages_to(command: Command, pagelist: list[int], dest: int) -> str | None:
    """
    Rounds of at most `chunk` targets with fallback, old pages freed after each round (3.1).

    Returns:
        ENOMEM or None; what is left is in the command's failures.
    """
    machine, failed, err = command.machine, [], None
    targets: list[int] = []
    while pagelist:
        for _ in range(min(command.chunk, len(pagelist))):
            nid = machine.take(machine.lists[dest], command.cpu_node)
            if nid is None:
                err = "ENOMEM"
                break
            targets.append(nid)
        if err:
            break
        moved: list[Page] = []
        failed += migrate_pages(command, pagelist, targets, moved)
        for old in moved:
            machine.nodes[old.node].free += 1
        if targets:
            break
    for nid in targets:
        machine.nodes[nid].free += 1
    command.stays(sorted(pagelist + failed))
    return err


def migrate_modern(command: Command, pagelist: list[int], dest: int) -> str | None:
    """
    Ten passes; a page's target is on `dest` and nowhere else, allocated when the page is first looked at.

    Readings: the target of a page that must wait is kept until the page is done or the call ends, so it is counted
    once and takes room; the old page is freed at once.
    """
    machine, scan, err = command.machine, Scan(), None
    targets: dict[int, int] = {}
    left = list(pagelist)
    for pass_ in range(MODERN_LAST_PASS + 1):
        retry = 0
        for vpn in list(left):
            page = command.mm.slots[vpn].page
            assert page is not None
            if vpn not in targets:
                nid = machine.take([dest], command.cpu_node)
                if nid is None:
                    err = "ENOMEM"
                    break
                targets[vpn] = nid
            command.passes = max(command.passes, pass_ + 1)  # 0 where not even the first target was to be had
            if not scan.lock_had(vpn, page, pass_):
                command.look(vpn, "busy-locked", pass_)
                retry += 1
                continue
            if scan.pinned(page, pass_):
                command.look(vpn, "pinned", pass_)
                retry += 1
                continue
            old = command.move(vpn, targets.pop(vpn))
            machine.nodes[old.node].free += 1
            left.remove(vpn)
        if err or retry == 0:
            break
    for nid in targets.values():
        machine.nodes[nid].free += 1
    scan.end_holds(command)
    command.stays(left)
    return err


def migrate_list(command: Command, pagelist: list[int], dest: int) -> str | None:
    """Move the pages at these addresses to `dest`, by the rules of the machine's profile."""
    if not pagelist:
        return None
    return (migrate_modern if command.machine.modern else migrate_pages_to)(command, pagelist, dest)
