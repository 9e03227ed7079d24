"""One look at a page in a pass of migrate_pages(): what happens, and what it leaves behind (2.2, 2.3, 2.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .areas import Page, Pin
from .machine import NEVER, Unmodelled

if TYPE_CHECKING:
    from .migrate import Command

V9_LAST_PASS = 10
MODERN_LAST_PASS = 9
BLOCKING_PASS = 3
EVICTING_PASS = 5
V9_WRITEBACK_PASS = 1
ERRNO_OF = {
    "busy-locked": "EAGAIN", "busy-writeback": "EAGAIN", "pinned": "EAGAIN", "no-swap": "ENOMEM", "mlocked": "EPERM",
    "not-tried": "ENOMEM", "writeback-started": "EAGAIN", "fs-refuses": "EIO", "pageout-keep": "EAGAIN",
    "pageout-activate": "EAGAIN", "buffers-busy": "EAGAIN", "unmap-incomplete": "EAGAIN",
}  # fmt: skip
PERMANENT = ("no-swap", "mlocked", "fs-refuses")
UNTOUCHED = ("busy-locked", "busy-writeback", "mlocked", "no-swap")
LEAVES_ENTRY = ("pinned", "mlocked", "unmap-incomplete")


class Scan:
    """
    One migrate_pages() call: how it looks at a page, and the holds as it meets them (2.2, 2.7).

    `falls_back`: a page whose ring cannot be dropped is given to swap_page() from pass 5 on.
    """

    falls_back = True

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
        if v9 and not page.swapcache and self.machine.free_slots == 0 and not self.met_by_somebody(page, at):
            return "no-swap"
        return self.unmapping(page, at)

    def met_by_somebody(self, page: Page, at: int) -> bool:
        """Whether a race holds the page in this pass; it had its entry then, which the racer may have taken (9a)."""
        return page in self.command.met_by and self.pinned(page, at)

    def unmapping(self, page: Page, at: int) -> str | None:
        """Whether the ptes can go and nobody else has a reference; B8: locked areas are asked before any pte goes."""
        if self.pinned(page, at):
            return "pinned"
        locked = not self.machine.modern and self.command.in_locked_area(page)
        return "mlocked" if locked else None

    def file_refusal(self, page: Page, at: int) -> str | None:
        """
        The same for a page of a file, by its method (1.3, 2.2 h to n, 2.3).

        Reading: a buffer lock that ends at a pass is waited for in every pass.
        """
        file, v9 = page.file, not self.machine.modern
        assert file is not None
        method = "page" if page.slot is not None else file.method
        if method == "fail":
            return "fs-refuses"
        if method == "none":
            return self.without_method(page, at)
        if method == "buffer" and page.ring and page.ring.locked and page.ring.locked.release == NEVER:
            return "busy-locked"
        if v9 and method == "page" and page.ring is not None:
            return "pinned"  # today the ring is one of the references that are expected
        return self.unmapping(page, at)

    def without_method(self, page: Page, at: int) -> str | None:
        """B10: unmapped first, then written if dirty, then rid of its ring, then moved (2.2 j to m, 2.4)."""
        assert page.file is not None
        if not self.machine.modern and self.command.in_locked_area(page):
            return "mlocked"
        if page.dirty or any(pte.dirty for pte in page.ptes.values()):
            if self.machine.modern:
                raise Unmodelled("how today's fallback ends")
            if self.pinned(page, at):
                return "pageout-keep"
            slotless = page.slot is None and self.machine.free_slots == 0
            if page.file.fs == "ramfs" or (page.file.fs == "tmpfs" and slotless):
                return "pageout-activate"
            return "writeback-started"
        if page.ring is not None and page.ring.in_use(at):
            return self.asked_again(page, at)
        return "pinned" if self.pinned(page, at) else None

    def asks_again(self, at: int) -> bool:
        """Whether a ring that cannot be dropped is asked for a second time in this pass (2.2 n)."""
        return self.falls_back and not self.machine.modern and at >= EVICTING_PASS

    def asked_again(self, page: Page, at: int) -> str:
        """What swap_page() makes of a clean page whose ring is in use; without a second question it stays."""
        assert page.ring is not None
        if not self.asks_again(at) or page.ring.in_use(at, again=True):
            return "buffers-busy"
        return "pinned" if self.pinned(page, at) else "evicted"

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
        elif page.ring is not None and not page.dirty:
            again = page.ring.in_use(at) and self.asks_again(at)
            page.ring = page.ring if page.ring.in_use(at, again) else None

    def met(self, page: Page, reason: str | None, at: int) -> None:
        """What a look leaves behind: the swap entry of a page that backs out (B24), and what it saw."""
        self.note(page, reason, at)
        if page.file is not None:
            if page.file.method == "none" and page.slot is None and reason not in UNTOUCHED:
                self.leave(page, reason, at)
            elif reason is None and page.ring is not None:
                page.ring.locked = None  # waited for when the ring was handed over
            return
        entered = not page.swapcache and not self.met_by_somebody(page, at)
        if reason in LEAVES_ENTRY and not self.machine.modern and entered:
            self.machine.take_slot(page)

    def note(self, page: Page, reason: str | None, at: int) -> None:
        """The reason and the waiting."""
        self.looked[page] = at
        self.command.passes = max(self.command.passes, at + 1)
        if reason != "busy-locked" and page.lock is not None:
            self.waited.append(page.lock)
        if reason not in ("busy-locked", "busy-writeback") and page.writeback is not None:
            self.waited.append(page.writeback)
        if reason not in (None, "evicted"):
            self.command.look(page, str(reason), at)

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
