"""What stands in a migration's way: page lock, pins, writeback and the LRU batch (cli.md, `page`; semantics.md 2.7)."""

from __future__ import annotations

import copy

from .areas import Mm, Page, Pin, Ring
from .base import Document
from .machine import NEVER, Refused, Task, Unmodelled
from .memory import Memory, no_memory


class Holds(Memory):
    """The `page` commands. A hold belongs to a task and a page, whoever else maps the page."""

    def present(self, mm: Mm, text: str) -> list[Page]:
        """The pages of a range that must all be there. Reading: what a hold of the zero page is, is left open."""
        pages = []
        for vpn in self.span(mm, text):
            slot = mm.slots.get(vpn)
            if slot is not None and slot.zero:
                raise Unmodelled("hold of the zero page")
            if slot is None or slot.page is None:
                raise Refused("EFAULT")
            pages.append(slot.page)
        return pages

    def hold(self, kind: str, pid: str, text: str, passes: str | None) -> Document:
        """All pages of the range or none; the first error in address order counts."""
        task, mm = self.user_task(pid)
        if any(vpn in mm.slots and mm.slots[vpn].zero for vpn in self.span(mm, text)):
            raise Unmodelled("hold of the zero page")
        for vpn in self.span(mm, text):
            page = mm.slots[vpn].page if vpn in mm.slots else None
            if page is None:
                raise Refused("EFAULT")
            if kind == "writeback" and not page.swapcache and page.file is None:
                raise Refused("EINVAL")  # INV-15
            if getattr(page, kind) is not None:
                raise Refused("EBUSY")
        for page in self.present(mm, text):
            setattr(page, kind, Pin(task.pid, NEVER if passes is None else int(passes)))
        return {}

    def release(self, kind: str, pid: str, text: str | None) -> Document:
        """Holds of that task only; without a range all it has, also on pages that it does not map any more."""
        task, mm = self.user_task(pid)
        pages = self.hw.all_pages()
        if text is not None:
            slots = [mm.slots[vpn] for vpn in self.span(mm, text) if vpn in mm.slots]
            pages = [page for slot in slots if (page := slot.page or slot.swapped) is not None]
        self.hw.end_holds(pages, task.pid, [kind])
        return {}

    def do_page_lock(self, pid: str, text: str, passes: str | None = None) -> Document:
        """Somebody holds the page lock."""
        return self.hold("lock", pid, text, passes)

    def do_page_writeback(self, pid: str, text: str, passes: str | None = None) -> Document:
        """The page is being written to its swap slot."""
        return self.hold("writeback", pid, text, passes)

    def do_page_park(self, pid: str, text: str, passes: str | None = None) -> Document:
        """The page is in a batch on its way to the LRU. Reading: no pass looks at it, so `--passes` says nothing."""
        if passes is not None:
            raise Unmodelled("park --passes")
        return self.hold("park", pid, text, passes)

    def do_page_unlock(self, pid: str, text: str | None = None) -> Document:
        """The page lock of that task ends."""
        return self.release("lock", pid, text)

    def do_page_unwriteback(self, pid: str, text: str | None = None) -> Document:
        """The writing that this task waits for is over."""
        return self.release("writeback", pid, text)

    def do_page_unpark(self, pid: str, text: str | None = None) -> Document:
        """The batch is drained."""
        return self.release("park", pid, text)

    def do_page_unpin(self, pid: str, text: str | None = None) -> Document:
        """Pins of that task end."""
        return self.release("pin", pid, text)

    def do_page_buffers(
        self, pid: str, text: str, state: str, passes: str | None = None, late: bool = False
    ) -> Document:
        """Attach rings to cache pages, and set what all their buffers are; `idle` ends every state."""
        task, mm = self.user_task(pid)
        pages = []
        for vpn in self.span(mm, text):
            slot = mm.slots.get(vpn)
            if slot is not None and slot.zero:
                raise Unmodelled("buffers of the zero page")
            if slot is None or slot.page is None:
                raise Refused("EFAULT")
            page = slot.page
            if page.file is None or not page.file.disk:
                raise Refused("EINVAL")
            if state in ("busy", "locked") and page.ring and (getattr(page.ring, state) or page.ring.journal):
                if page.ring.journal:
                    raise Unmodelled("the journal has it")
                raise Refused("EBUSY")
            pages.append(page)
        for page in pages:
            page.ring = page.ring or Ring()
            hold = Pin(task.pid, NEVER if passes is None else int(passes))
            if state == "idle":
                page.ring = Ring()
            elif state == "dirty":
                page.set_dirty()
            else:
                setattr(page.ring, state, hold)
                page.ring.late = late or (page.ring.late and state != "busy")
        return {}

    def pinnable(self, mm: Mm, span: range) -> None:
        """What get_user_pages() gives where nothing may be written or read is left open but for present pages."""
        for vpn in span:
            slot = mm.slots.get(vpn)
            if slot is not None and (slot.area.prot == "none" or (slot.area.prot == "r" and slot.page is None)):
                raise Unmodelled("pin of a page that may not be written")

    def pin_one(self, task: Task, mm: Mm, vpn: int, read: bool) -> None:
        """Touch a page as get_user_pages() does: by writing where the area is writable, unless it only reads."""
        slot = mm.slots.get(vpn)
        if slot is None or slot.area.special:  # nothing is there to be had
            raise Refused("EFAULT")
        if no_memory(self.touch(task, mm, vpn, write=slot.area.prot == "rw" and not read)):
            raise Refused("ENOMEM")
        if slot.zero:
            raise Unmodelled("a pin of the zero page")

    def do_page_pin(
        self, pid: str, text: str, passes: str | None = None, count: str = "1", read: bool = False
    ) -> Document:
        """
        Every page is first touched, by writing where that is allowed: shared pages are copied, but for `--read`.

        Reading: an error, also ENOMEM, leaves nothing done at all.
        """
        task, mm = self.user_task(pid)
        span = self.span(mm, text)
        self.pinnable(mm, span)
        if int(count) == 0:
            raise Unmodelled("no reference")
        before = copy.deepcopy(self.machine)
        try:
            for vpn in span:
                self.pin_one(task, mm, vpn, read)
        except Refused:
            self.machine = before
            raise
        for page in self.present(mm, text):
            page.pins += [Pin(task.pid, NEVER if passes is None else int(passes)) for _ in range(int(count))]
        return {}
