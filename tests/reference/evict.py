"""The swap-only caller (semantics.md 2.2 g, 2.4, 9a): pages go to swap instead of to a target."""

from __future__ import annotations

from .areas import Page
from .migrate import Command
from .scan import PERMANENT, V9_LAST_PASS, V9_WRITEBACK_PASS, Scan


class SwapScan(Scan):
    """
    How swap_page() ends for a page in a pass: `writeback-started`, `evicted`, or why it stays.

    Reading: its own question is the first one of a pass.
    """

    falls_back = False

    def __init__(self, command: Command) -> None:
        super().__init__(command)
        self.last_pass = V9_LAST_PASS
        self.writeback_pass = V9_WRITEBACK_PASS

    def refusal(self, page: Page, at: int) -> str:
        """
        What becomes of the page in this pass. Changes nothing.

        Readings: it is V8's way, so passes and waiting are V9's under every profile. No test of references comes before
        the ptes go, so a page that is mlocked elsewhere and pinned is `mlocked`; one that cannot be written because of
        a reference is `pageout-keep`, one that cannot be dropped `pinned`, as 9a says of a mapping without a method.
        """
        waits = self.waits_for(page, at)
        if waits is not None:
            return waits
        if page.file is not None:
            if page.ptes and self.command.in_locked_area(page):
                return "mlocked"
            reason = self.without_method(page, at)
            return "evicted" if reason is None else reason
        if not page.swapcache and self.machine.free_slots == 0:
            return "no-swap"
        if page.ptes and self.command.in_locked_area(page):
            return "mlocked"
        dirty = page.dirty or not page.swapcache or any(pte.dirty for pte in page.ptes.values())
        if self.pinned(page, at):
            return "pageout-keep" if dirty else "pinned"
        return "writeback-started" if dirty else "evicted"

    def met(self, page: Page, reason: str | None, at: int) -> None:
        """The slot, the ptes and the page, as far as it got."""
        self.note(page, reason, at)
        if reason in ("busy-locked", "busy-writeback", "no-swap"):
            return
        if page.file is not None:
            if reason != "mlocked":
                self.leave(page, reason, at)
            if reason == "evicted":
                self.machine.evict(page)
            return
        if not page.swapcache:
            self.machine.take_slot(page)
        if reason == "mlocked":
            return
        self.machine.unmap(page)
        if reason == "writeback-started":
            self.command.written += 1
            page.dirty = False
        if reason == "evicted":
            self.machine.evict(page)


def swap_out(command: Command, pagelist: list[Page]) -> list[Page]:
    """Send the pages of a list to swap; returns those that went. The others are in the command's failures."""
    scan = SwapScan(command)
    left, failed, gone = list(pagelist), [], []
    for pass_ in range(scan.last_pass + 1) if left else ():
        retry = 0
        for page in list(left):
            reason = scan.refusal(page, pass_)
            scan.met(page, reason, pass_)
            if reason == "evicted":
                left.remove(page)
                gone.append(page)
            elif reason in PERMANENT:
                left.remove(page)
                failed.append(page)
            else:
                retry += 1
        if retry == 0:
            break
    scan.end_holds()
    command.stays(left + failed)
    command.evicted += gone
    return gone
