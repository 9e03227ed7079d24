"""The patches literally as mailed, where their passes differ from what was meant: B8, B10, B28 (semantics.md 4)."""

from __future__ import annotations

from .areas import Page
from .machine import Unmodelled
from .scan import EVICTING_PASS, Scan

UNMAP_CALLS = 10


class PostedScan(Scan):
    """How the posted code looks at a page."""

    def unmapping(self, page: Page, at: int) -> str | None:
        """B8: a locked mapping is met on the way, again in each pass; B28: each call stops at a young pte."""
        if self.pinned(page, at):
            return "pinned"
        young = sum(pte.young for pte in page.ptes.values())
        return "unmap-incomplete" if self.command.in_locked_area(page) or young >= UNMAP_CALLS else None

    def without_method(self, page: Page, at: int) -> str | None:
        """B10: dirty is asked while ptes are there, so it is the page's own flag, and a mapped one is kept."""
        if page.dirty:
            return "pageout-keep" if page.ptes else super().without_method(page, at)
        if page.ring is not None and page.ring.in_use(at):
            if self.command.in_locked_area(page):
                return "buffers-busy"
            if any(pte.dirty for pte in page.ptes.values()) and not page.ring.in_use(at, again=True):
                raise Unmodelled("dirty once it is unmapped")
            return self.asked_again(page, at)
        return self.unmapping(page, at)

    def leave(self, page: Page, reason: str | None, at: int) -> None:
        """Ptes go only where they must: from pass 5 on for a page whose buffers are in use (swap_page() is tried)."""
        if reason in ("writeback-started", "pageout-activate"):
            super().leave(page, reason, at)
        elif reason == "buffers-busy" and at >= EVICTING_PASS and all(pin.release <= at for pin in page.pins):
            if self.command.in_locked_area(page):
                self.stopped(page)
            else:
                self.machine.unmap(page)
        elif reason in (None, "pinned", "unmap-incomplete"):
            page.ring = None

    def met(self, page: Page, reason: str | None, at: int) -> None:
        """What unmapping has done before it stopped; a page that moves keeps its swap entry (B4)."""
        super().met(page, reason, at)
        if reason == "unmap-incomplete":
            self.stopped(page)
        elif reason is None and page.file is None and not page.swapcache:
            self.machine.take_slot(page)

    def stopped(self, page: Page) -> None:
        """
        In the order of pid and address: the ptes before the first locked one are gone, or those before the tenth young
        one, which is young no more (B28: nine calls take one away that the call before has made old).
        """
        first_pid = {t.mm.number: pid for pid, t in sorted(self.machine.tasks.items(), reverse=True) if t.mm}
        mms = {t.mm.number: t.mm for t in self.machine.tasks.values() if t.mm}
        order = sorted(page.ptes, key=lambda key: (first_pid[key[0]], key[1]))
        locked = [key for key in order if mms[key[0]].slots[key[1]].area.locked]
        if locked:
            self.machine.unmap(page, order[: order.index(locked[0])])
        else:
            tenth = [key for key in order if page.ptes[key].young][UNMAP_CALLS - 1]
            page.ptes[tenth].young = False
            self.machine.unmap(page, order[: order.index(tenth)])
