"""
The pipeline of a migration, page by page and pass by pass (semantics.md 2.2, 2.3, 2.7, 3.1, 3.2).

Three engines: `migrate_pages_to` is V9 with rounds of targets and eleven passes; `migrate_modern` is a 6.x kernel with
ten passes and targets that are taken when a page is first looked at; `migrate_by_policy` is mbind's of both, where
each page gets its target by the policy for its own address, at the moment it moves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from .areas import Mm, Page, Pin
from .machine import NEVER, Machine, Unmodelled

V9_LAST_PASS = 10
MODERN_LAST_PASS = 9
BLOCKING_PASS = 3
V9_WRITEBACK_PASS = 1
ERRNO_OF = {
    "busy-locked": "EAGAIN", "busy-writeback": "EAGAIN", "pinned": "EAGAIN", "no-swap": "ENOMEM", "mlocked": "EPERM",
    "not-tried": "ENOMEM", "writeback-started": "EAGAIN", "fs-refuses": "EIO", "pageout-keep": "EAGAIN",
    "pageout-activate": "EAGAIN", "buffers-busy": "EAGAIN",
}  # fmt: skip
PERMANENT = ("no-swap", "mlocked", "fs-refuses")
UNTOUCHED = ("busy-locked", "busy-writeback", "mlocked", "no-swap")
LEAVES_ENTRY = ("pinned", "mlocked")
Place = tuple[int, int]  # pid, virtual page number


@dataclasses.dataclass
class Failure:
    """Why a page stayed, as last seen; `last` is the pass of that look, None if it was never looked at."""

    reason: str
    last: int | None


class Command:
    """
    What one command did to pages.

    Args:
        machine: The machine.
        tasks: pid and address space of each task concerned, an address space once.
        cpu_node: Node of the CPU that allocates.
        chunk: Targets a round.
    """

    def __init__(self, machine: Machine, tasks: Sequence[tuple[int, Mm]], cpu_node: int, chunk: int) -> None:
        self.machine, self.tasks, self.cpu_node, self.chunk = machine, list(tasks), cpu_node, chunk
        self.before = self.present()
        self.evicted: list[Page] = []
        self.in_flight: set[Page] = set()  # written, and not yet waited for
        self.written = 0  # pages that were written to swap or disk
        self.residue: dict[str, int] | None = None  # where it is counted before the end
        self.mapped_before = {page: set(page.ptes) for page in machine.all_pages()}
        self.cache_before = {page for page in machine.all_pages() if page.swapcache}
        self.place: dict[Page, Place] = {}
        self.met: set[Page] = set()
        self.stored: set[Page] = set()  # pages of tmpfs that went to the swap cache
        self.overtook = False  # one of them moved in a later round than that, before pages behind it
        for pid, mm in tasks:
            for vpn, page in mm.pages():
                self.place.setdefault(page, (pid, vpn))
        self.hops: list[tuple[Page, int, int]] = []  # node left, node reached
        self.failures: dict[Page, Failure] = {}
        self.skips: dict[Place, tuple[str, Page | None]] = {}
        self.passes = 0
        self.seen_reason: dict[Page, Failure] = {}

    def present(self) -> dict[int, int]:
        """Present pages of the address spaces by node; a page counts once in each."""
        counts: dict[int, int] = {}
        for _, mm in self.tasks:
            for _, page in mm.pages():
                counts[page.node] = counts.get(page.node, 0) + 1
        return counts

    def residue_now(self) -> dict[str, int]:
        """Failed pages that are in the swap cache and were not, and those that have lost a pte by now."""
        entries = sum(1 for page in self.failures if page.swapcache and page not in self.cache_before)
        lost = sum(1 for page in self.failures if self.mapped_before.get(page, set()) - set(page.ptes))
        return {"swapcache": entries, "unmapped": lost}

    def look(self, page: Page, reason: str, at: int) -> None:
        """Remember the last reason seen for a page."""
        self.seen_reason[page] = Failure(reason, at)

    def stays(self, pages: Sequence[Page]) -> None:
        """The pages that a call left behind, with the last reason seen; never looked at: `not-tried`."""
        for page in pages:
            self.failures[page] = self.seen_reason.get(page, Failure("not-tried", None))

    def collect(  # noqa: PLR0912 - one argument and one branch a condition of check_range()
        self,
        wanted: Callable[[int], bool],
        move_all: bool,
        span: range | None = None,
        strict: bool = False,
        mms: Sequence[tuple[int, Mm]] | None = None,
    ) -> list[Page]:
        """
        check_range(): the pages to move, in ascending order of addresses (2.1, B3, B5, B6, B20).

        Args:
            wanted: Whether a page on that node is misplaced.
            move_all: Take shared pages too.
            span: Only these addresses.
            strict: Under V9 pages of locked areas fail instead of being left out.
            mms: Only these address spaces.
        """
        found: list[Page] = []
        told = {*self.failures, *(page for _, page in self.skips.values())}  # each page once a command
        for pid, mm in self.tasks if mms is None else mms:
            for vpn, slot in sorted(mm.slots.items()):
                page, where = slot.page, (pid, vpn)
                misplaced = page is not None and wanted(page.node) and page not in told
                if span is not None and vpn not in span:
                    continue
                if page is not None and misplaced:
                    told.add(page)  # mapped twice: the second meeting is not mentioned (9a)
                    if page not in self.met:
                        self.place[page] = where
                        self.met.add(page)
                if slot.area.locked and not self.machine.modern:  # modern moves mlocked pages
                    if page is not None and misplaced and strict:
                        self.failures[page] = Failure("mlocked", 0)
                        self.passes = 1  # reading: seen in pass 0, though nothing was touched
                    elif slot.zero and strict:  # the area is looked into
                        self.skips[where] = ("reserved-page", None)
                    elif misplaced:
                        self.skips[where] = ("vma-locked", page)
                elif slot.zero:
                    self.skips[where] = ("reserved-page", None)
                elif page is not None and misplaced:
                    if len(page.ptes) > 1 and not move_all:
                        self.skips[where] = ("shared", page)
                    elif page.park is not None:
                        self.skips[where] = ("off-lru", page)
                    else:
                        found.append(page)
        return found

    def move(self, page: Page, target: int) -> int:
        """A frame on `target` takes over everything of the page; returns the node it left (2.3)."""
        left, page.node = page.node, target
        if page.file is not None:
            if not self.machine.modern:  # ptes of files do not come back
                self.machine.unmap(page)
                if page.dirty:
                    page.set_dirty()  # page_copy(): through the mapping
        elif not self.machine.modern:
            page.dirty = page.uptodate = True  # add_to_swap()
            self.machine.unmap(page)
            self.machine.restore(page)  # in every task, also where it had been swapped out before
            if page.swapcache:  # remove_from_swap()
                self.machine.give_slot(page)
        self.hops.append((page, left, target))
        self.failures.pop(page, None)
        self.seen_reason.pop(page, None)
        return left

    def in_locked_area(self, page: Page) -> bool:
        """Whether any task maps the page in an area that is locked."""
        numbers = {task.mm.number: task.mm for task in self.machine.tasks.values() if task.mm}
        return any(numbers[number].slots[vpn].area.locked for number, vpn in page.ptes)


class Scan:
    """One migrate_pages() call: how it looks at a page, and the holds as it meets them (2.2, 2.7)."""

    def __init__(self, command: Command) -> None:
        self.command, self.machine = command, command.machine
        self.last_pass = MODERN_LAST_PASS if self.machine.modern else V9_LAST_PASS
        self.writeback_pass = BLOCKING_PASS if self.machine.modern else V9_WRITEBACK_PASS
        self.looked: dict[Page, int] = {}  # latest pass that looked at the page
        self.waited: list[Pin] = []  # locks and writeback that were waited for, and over

    @staticmethod
    def over(hold: Pin | None, at: int, blocking: int) -> bool:
        """Whether a lock or writeback is over; from pass `blocking` on the call waits for any but one without end."""
        return hold is None or hold.release <= at or (at >= blocking and hold.release != NEVER)

    @staticmethod
    def pinned(page: Page, at: int) -> bool:
        """Whether extra references break `mapcount + nr_refs == count` in this pass."""
        references = sum(1 for pin in page.pins if pin.release > at)
        nr_refs = 2  # swap cache (or the file tree) and isolation
        count = len(page.ptes) + nr_refs + references
        return len(page.ptes) + nr_refs != count

    def waits_for(self, page: Page, at: int) -> str | None:
        """Steps 1 and 2: the page lock and writeback."""
        if not self.over(page.lock, at, BLOCKING_PASS):
            return "busy-locked"
        flying = at < self.writeback_pass and page in self.command.in_flight
        if flying or not self.over(page.writeback, at, self.writeback_pass):
            return "busy-writeback"
        return None

    def refusal(self, page: Page, at: int) -> str | None:
        """Why the page does not move in this pass, None if it does. Changes nothing."""
        v9 = not self.machine.modern
        waits = self.waits_for(page, at)
        if waits is not None:
            return waits
        if page.file is not None:
            return self.file_refusal(page, at)
        if v9 and not page.swapcache and self.machine.free_slots == 0:
            return "no-swap"
        if self.pinned(page, at):
            return "pinned"
        if v9 and self.command.in_locked_area(page):
            return "mlocked"  # B8: before any pte goes
        return None

    def file_refusal(self, page: Page, at: int) -> str | None:
        """
        The same for a page of a file, by its method (1.3, 2.2 h to n, 2.3).

        Readings: a buffer lock that ends at a pass is waited for in every pass; a page that is dirty and pinned is
        `pinned` as 9a has it.
        """
        file, v9 = page.file, not self.machine.modern
        assert file is not None
        method = "page" if page.slot is not None else file.method
        locked = v9 and self.command.in_locked_area(page)
        if method == "fail":
            return "fs-refuses"
        if method == "none":
            if locked:
                return "mlocked"
            return self.without_method(page, at)
        if method == "buffer" and page.ring and page.ring.locked and page.ring.locked.release == NEVER:
            return "busy-locked"
        if self.pinned(page, at) or (v9 and method == "page" and page.ring is not None):
            return "pinned"  # today the ring is one of the references that are expected
        return "mlocked" if locked else None

    def without_method(self, page: Page, at: int) -> str | None:
        """B10: unmapped first, then written if dirty, then rid of its ring, then moved (2.2 j to m, 2.4)."""
        assert page.file is not None
        if page.dirty or any(pte.dirty for pte in page.ptes.values()):
            if self.machine.modern:
                raise Unmodelled("how today's fallback ends")
            if self.pinned(page, at):
                return "pinned"
            slotless = page.slot is None and self.machine.free_slots == 0
            if page.file.fs == "ramfs" or (page.file.fs == "tmpfs" and slotless):
                return "pageout-activate"
            return "writeback-started"
        if page.ring is not None and page.ring.in_use(at):
            return "buffers-busy"
        return "pinned" if self.pinned(page, at) else None

    def leave(self, page: Page, reason: str | None, at: int) -> None:
        """What the path without a method leaves behind: no ptes, a written page, no ring."""
        assert page.file is not None
        if not self.machine.modern:
            self.machine.unmap(page)
        if reason == "writeback-started" and page.file.fs == "tmpfs" and page.slot is None:
            self.machine.take_slot(page)
            self.command.stored.add(page)
        elif reason == "writeback-started":
            self.command.written += 1
            self.command.in_flight.add(page)
            page.dirty = False
            if page.ring:
                page.ring.dirty = False
        elif page.ring is not None and not page.dirty and not page.ring.in_use(at):
            page.ring = None

    def met(self, page: Page, reason: str | None, at: int) -> None:
        """What a look leaves behind: the swap entry of a page that backs out (B24), and what it saw."""
        self.note(page, reason, at)
        if page.file is not None:
            if page.file.method == "none" and page.slot is None and reason not in UNTOUCHED:
                self.leave(page, reason, at)
            elif reason is None and page.ring is not None:
                page.ring.locked = None  # waited for when the ring was handed over
            return
        if reason in LEAVES_ENTRY and not self.machine.modern and not page.swapcache:
            self.machine.take_slot(page)

    def note(self, page: Page, reason: str | None, at: int) -> None:
        """The reason and the waiting."""
        self.looked[page] = at
        self.command.passes = max(self.command.passes, at + 1)
        if reason != "busy-locked" and page.lock is not None:
            self.waited.append(page.lock)
        if reason not in ("busy-locked", "busy-writeback") and page.writeback is not None:
            self.waited.append(page.writeback)
        if reason is not None:
            self.command.look(page, reason, at)

    def end_holds(self) -> None:
        """
        Holds that the call outlasted are gone.

        Reading: a lock that was waited for is gone although no pass with its number looked at the page.
        """
        for page, latest in self.looked.items():
            page.pins = [pin for pin in page.pins if pin.release > latest]
            for kind in ("busy", "locked") if page.ring else ():
                hold = getattr(page.ring, kind)
                if hold is not None and hold.release <= latest:
                    setattr(page.ring, kind, None)
            for kind in ("lock", "writeback"):
                hold = getattr(page, kind)
                if hold is not None and (hold.release <= latest or hold in self.waited):
                    setattr(page, kind, None)


def migrate_pages(command: Command, from_: list[Page], targets: list[int], left: list[int]) -> list[Page]:
    """
    Up to eleven scans over `from_` (2.2). Takes moved and failed pages out of `from_`, used targets out of `targets`.

    Args:
        left: Gets the nodes of the frames that are to be freed.

    Returns:
        The `failed` list.
    """
    failed, scan = [], Scan(command)
    for pass_ in range(scan.last_pass + 1):
        command.passes = max(command.passes, pass_ + 1)
        retry = 0
        for page in list(from_):
            if not targets:
                break  # leaves the scan; this page is not counted
            reason = scan.refusal(page, pass_)
            scan.met(page, reason, pass_)
            if reason is None:
                command.overtook |= pass_ == 0 and page in command.stored
                left.append(command.move(page, targets.pop(0)))
                from_.remove(page)
            elif reason in PERMANENT:
                from_.remove(page)
                failed.append(page)
            else:
                retry += 1
        if retry == 0:
            break
    scan.end_holds()
    return failed


def migrate_pages_to(command: Command, pagelist: list[Page], zonelist: Sequence[int]) -> str | None:
    """
    Rounds of at most `chunk` targets with fallback, old pages freed after each round (3.1).

    The tool gives memory out in (pass, address) order over all rounds together (docs/design.md); that is not so where
    a page of tmpfs is stored in one round and moves at the head of the next. It shows where memory or slots run out.

    Returns:
        ENOMEM or None; what is left is in the command's failures.
    """
    machine, failed, err = command.machine, [], None
    targets: list[int] = []
    givers: set[int] = set()
    while pagelist:
        for _ in range(min(command.chunk, len(pagelist))):
            nid = machine.take(zonelist, command.cpu_node)
            if nid is None:
                err = "ENOMEM"
                break
            targets.append(nid)
            givers.add(nid)
        if err:
            break
        left: list[int] = []
        failed += migrate_pages(command, pagelist, targets, left)
        for nid in left:
            machine.nodes[nid].free += 1
        if targets:
            break
    for nid in targets:
        machine.nodes[nid].free += 1
    command.stays(pagelist + failed)
    short = err or len(givers) > 1 or any(f.reason == "pageout-activate" for f in command.failures.values())
    if command.overtook and short:
        raise Unmodelled("which pages move before those of a later round")
    return err


def migrate_modern(command: Command, pagelist: list[Page], zonelist: Sequence[int]) -> str | None:
    """
    Ten passes; a page's target is allocated when the page is first looked at.

    Readings: the target of a page that must wait is kept until the page is done or the call ends, so it is counted
    once and takes room; the old page is free at once.
    """
    machine, scan, err = command.machine, Scan(command), None
    targets: dict[Page, int] = {}
    left, failed = list(pagelist), []
    for pass_ in range(scan.last_pass + 1):
        retry = 0
        for page in list(left):
            if page not in targets:
                nid = machine.take(zonelist, command.cpu_node)
                if nid is None:
                    err = "ENOMEM"
                    break
                targets[page] = nid
            reason = scan.refusal(page, pass_)
            scan.met(page, reason, pass_)
            if reason is None:
                machine.nodes[command.move(page, targets.pop(page))].free += 1
                left.remove(page)
            elif reason in PERMANENT:
                left.remove(page)
                failed.append(page)
            else:
                retry += 1
        if err or retry == 0:
            break
    for nid in targets.values():
        machine.nodes[nid].free += 1
    scan.end_holds()
    command.stays(left + failed)
    return err


def migrate_by_policy(command: Command, pagelist: list[Page], target: Callable[[Page], int | None]) -> str | None:
    """
    mbind's moves (B2): a page that moves gets its target then, its old frame is free at once; pages that stay get none.

    Readings: the page for which there is no target was not looked at in that pass, it and the later ones keep the
    reason of an earlier pass or are `not-tried`.
    """
    machine, scan = command.machine, Scan(command)
    failed: list[Page] = []
    left, err = list(pagelist), None
    for pass_ in range(scan.last_pass + 1):
        retry = 0
        for page in list(left):
            reason = scan.refusal(page, pass_)
            nid = None
            if reason is None:
                nid = target(page)
                if nid is None:
                    err = "ENOMEM"
                    command.passes = max(command.passes, pass_ + 1 if pass_ else 0)  # the scan had begun
                    break
            scan.met(page, reason, pass_)
            if nid is not None:
                machine.nodes[command.move(page, nid)].free += 1
                left.remove(page)
            elif reason in PERMANENT:
                left.remove(page)
                failed.append(page)
            else:
                retry += 1
        if err or retry == 0:
            break
    scan.end_holds()
    command.stays(left + failed)
    return err


def migrate_list(command: Command, pagelist: list[Page], dest: int) -> str | None:
    """Move these pages to `dest`, by the rules of the machine's profile: `modern` never falls back."""
    if not pagelist:
        return None
    if command.machine.modern:
        return migrate_modern(command, pagelist, [dest])
    return migrate_pages_to(command, pagelist, command.machine.lists[dest])
