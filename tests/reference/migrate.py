"""
The pipeline of a migration, page by page and pass by pass (semantics.md 2.2, 2.3, 2.7, 3.1, 3.2).

Three engines: `migrate_pages_to` is V9 with rounds of targets and eleven passes; `migrate_modern` is a 6.x kernel with
ten passes and targets that are taken when a page is first looked at; `migrate_by_policy` is mbind's of both, where
each page gets its target by the policy for its own address, at the moment it moves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from .areas import Mm, Page
from .machine import Machine, Unmodelled
from .posted import PostedScan
from .scan import PERMANENT, Scan

OUT_OF_ORDER = ("pageout-activate", *PERMANENT)  # how many of these are left decides how many targets a round takes
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
        allowed: The nodes that whoever allocates may use; None: all.
    """

    def __init__(
        self,
        machine: Machine,
        tasks: Sequence[tuple[int, Mm]],
        cpu_node: int,
        chunk: int,
        allowed: set[int] | None = None,
    ) -> None:
        self.allowed = allowed
        self.machine, self.tasks, self.cpu_node, self.chunk = machine, list(tasks), cpu_node, chunk
        self.before = self.present()
        self.evicted: list[Page] = []
        self.in_flight: set[Page] = set()  # written, and not yet waited for
        self.written = 0  # pages that were written to swap or disk
        self.residue: dict[str, int] | None = None  # where it is counted before the end
        self.mapped_before = {page: set(page.ptes) for page in machine.all_pages()}
        self.cache_before = {page for page in machine.all_pages() if page.swapcache}
        self.place: dict[Page, Place] = {}
        self.stored: set[Page] = set()  # pages of tmpfs that went to the swap cache
        self.overtook = False  # one of them moved in a later round than that, before pages behind it
        for pid, mm in tasks:
            for vpn, page in mm.pages():
                self.place.setdefault(page, (pid, vpn))
        self.met_by: set[Page] = set()  # pages that a race met: it holds them in pass 0
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

    def leaves_memory(self, page: Page) -> None:
        """A page that is evicted where it was to move: no target is used (2.2 n)."""
        self.machine.evict(page)
        self.evicted.append(page)
        self.seen_reason.pop(page, None)

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
                    self.place[page] = where  # a page that has moved may fail in the walk of the next address space
                if slot.area.locked and not self.machine.modern:  # modern moves mlocked pages
                    if page is not None and misplaced and strict:
                        self.failures[page] = Failure("mlocked", 0)  # `passes` 0: nothing was looked at (9a)
                    elif slot.zero and strict:  # the area is looked into
                        self.skips[where] = ("reserved-page", None)
                    elif misplaced:
                        self.skips[where] = ("vma-locked", page)
                elif slot.zero:
                    self.skips[where] = ("reserved-page", None)
                elif page is not None and misplaced:
                    if not move_all and self.shared(page, mm):
                        self.skips[where] = ("shared", page)
                    elif page.park is not None:
                        self.skips[where] = ("off-lru", page)
                    else:
                        found.append(page)
        return found[::-1] if self.machine.posted else found  # B3: each page is pushed to the head

    def shared(self, page: Page, mm: Mm) -> bool:
        """Whether MOVE leaves the page alone; as posted that of a file that others map and nobody writes (B5)."""
        if not self.machine.posted:
            return len(page.ptes) > 1
        mms = {task.mm.number: task.mm for task in self.machine.tasks.values() if task.mm}
        areas = [(each, slot.area) for each in mms.values() for slot in each.slots.values()]
        mapping = [(each, area) for each, area in areas if page.file is not None and area.file is page.file]
        written = any(area.shared and area.prot == "rw" for _, area in mapping)
        return not written and any(each is not mm for each, _ in mapping)

    def move(self, page: Page, target: int) -> int:
        """A frame on `target` takes over everything of the page; returns the node it left (2.3)."""
        left, page.node = page.node, target
        if page.file is not None:
            if not self.machine.modern:  # ptes of files do not come back
                self.machine.unmap(page)
                if page.dirty:
                    page.set_dirty()  # page_copy(): through the mapping
        elif not self.machine.modern:
            if not page.swapcache:
                page.dirty = page.uptodate = True  # add_to_swap(); what was there stays clean (9a)
            self.machine.unmap(page)
            if not self.machine.posted:  # B4: nothing brings the ptes back
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


def scan_of(command: Command) -> Scan:
    """The scan of the machine's profile."""
    return PostedScan(command) if command.machine.posted else Scan(command)


def migrate_pages(command: Command, from_: list[Page], targets: list[int], left: list[int]) -> list[Page]:
    """
    Up to eleven scans over `from_` (2.2). Takes moved and failed pages out of `from_`, used targets out of `targets`.

    Args:
        left: Gets the nodes of the frames that are to be freed.

    Returns:
        The `failed` list.
    """
    failed, scan = [], scan_of(command)
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
            elif reason == "evicted":
                from_.remove(page)
                command.leaves_memory(page)
            elif reason in PERMANENT:
                from_.remove(page)
                failed.append(page)
            else:
                retry += 1
        if retry == 0:
            break
    scan.end_holds()
    return failed


def migrate_pages_to(command: Command, pagelist: list[Page], take: Callable[[], int | None]) -> str | None:
    """
    Rounds of at most `chunk` targets, as posted of one (B1), old pages freed after each round (3.1).

    The tool gives memory out in (pass, address) order over all rounds together (docs/design.md); that is not so where
    a page of tmpfs is stored in one round and moves at the head of the next. It shows where memory or slots run out.

    Returns:
        ENOMEM or None; what is left is in the command's failures.
    """
    machine, failed, err = command.machine, [], None
    targets: list[int] = []
    givers: set[int] = set()
    while pagelist:
        for _ in range(min(1 if machine.posted else command.chunk, len(pagelist))):
            nid = take()
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
    short = (
        err or command.evicted or len(givers) > 1 or any(f.reason in OUT_OF_ORDER for f in command.failures.values())
    )
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

    Under V9 a page that gets no target is not touched at all (9a); it ends the moving. Reading: that is asked when a
    page is first looked at, and again when it moves. It and the later ones keep the reason of an earlier pass or are
    `not-tried`.
    """
    machine, scan = command.machine, Scan(command)
    failed: list[Page] = []
    left, err = list(pagelist), None
    for pass_ in range(scan.last_pass + 1):
        retry = 0
        for page in list(left):
            reason = scan.refusal(page, pass_)
            looks = not machine.modern and pass_ == 0
            nid = None
            if reason is None or (looks and not has_room(machine, target, page)):
                nid = target(page)
                if nid is None:
                    err = "ENOMEM"
                    command.passes = max(command.passes, pass_ + 1 if pass_ else 0)  # the scan had begun
                    break
            scan.met(page, reason, pass_)
            if nid is not None:
                machine.nodes[command.move(page, nid)].free += 1
                left.remove(page)
            elif reason == "evicted":
                left.remove(page)
                command.leaves_memory(page)
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


def has_room(machine: Machine, target: Callable[[Page], int | None], page: Page) -> bool:
    """Whether there is a target for the page now; nothing is taken."""
    nodes = [(node.free, dict(node.stat)) for node in machine.nodes]
    tasks = [(task, task.policy, task.turn, task.served) for task in machine.tasks.values()]
    found = target(page) is not None
    for node, (free, stat) in zip(machine.nodes, nodes, strict=True):
        node.free, node.stat = free, stat
    for task, policy, turn, served in tasks:
        task.policy, task.turn, task.served = policy, turn, served
    return found


def migrate_list(command: Command, pagelist: list[Page], dest: int) -> str | None:
    """Move these pages to `dest`, by the rules of the machine's profile: `modern` never falls back."""
    if not pagelist:
        return None
    if command.machine.modern:
        return migrate_modern(command, pagelist, [dest])

    def target() -> int | None:
        return command.machine.take(command.machine.lists[dest], command.cpu_node, allowed=command.allowed)

    return migrate_pages_to(command, pagelist, target)
