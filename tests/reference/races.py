"""
`--race` beside migrate_pages(2) under v9 (semantics.md 5, 9a): one fault on one page, or a call that waits.

Left open: a page that does not move in pass 0 without the racer, mappings without a method, racers that fail.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable

from .areas import Page, Pin
from .base import Document
from .machine import NEVER, PAGE, Machine, Task, Unmodelled
from .migrate import Command
from .scan import Scan

WRITERS = ("mmap", "munmap", "mprotect", "mlock", "munlock", "mbind", "fork")
RACER = -1  # the pid of holds that are the racer's, or the migration's own


class Beside:
    """One race of one call."""

    def __init__(self, machine: Machine, run: Callable[[list[str]], Document], command: Command, text: str) -> None:
        step, _, words = text.partition(":")
        self.step, self.argv = int(step), shlex.split(words)
        self.machine, self.run, self.command = machine, run, command
        self.row: Document = {"step": self.step, "argv": self.argv, "met": False}
        self.late = False
        self.page: Page | None = None
        if machine.profile != "v9":
            raise Unmodelled("races of other profiles")

    def meet(self, pagelist: list[Page], task: Task) -> None:
        """Let the racer meet a page of a list, before any of it moves; those that vanish leave the list."""
        if self.row["met"] or not pagelist:
            return
        racer = self.machine.tasks.get(int(self.argv[1]))
        if racer is None or racer.mm is None:
            raise Unmodelled("a racer that fails")
        if self.argv[0] in WRITERS:
            if racer.mm is not task.mm or self.command.skips:
                raise Unmodelled("a writer that may run at once, or meets a page that is no candidate")
            self.moves_at_once(pagelist[0])
            self.page = pagelist[0]
            self.row |= {"met": True, "blocked_on": None, "backed_out": False, "retries": 0, "waited_for_call": True}
            self.late = True
            return
        self.fault(pagelist, racer)

    def moves_at_once(self, page: Page) -> None:
        """The page gets to step 20 in pass 0."""
        if Scan(self.command).refusal(page, 0) is not None:
            raise Unmodelled("a page that does not move at once")

    def fault(self, pagelist: list[Page], racer: Task) -> None:
        """One fault: who has a pte needs no lookup before step 5, everybody else finds the page and waits."""
        assert racer.mm is not None
        vpn = int(self.argv[2].partition("+")[0], 16) // PAGE
        slot = racer.mm.slots.get(vpn)
        if slot is None or slot.area.special or slot.area.prot != "rw":
            raise Unmodelled("a racer that fails")
        page = slot.page or slot.swapped
        if page is None and slot.area.file is not None:
            page = slot.area.file.pages.get(vpn + slot.area.delta)
        if page is None or page not in pagelist:
            return
        if page.lock or page.writeback or page.pins or (page.file and page.file.method == "none" and not page.slot):
            raise Unmodelled("holds, or no method")
        self.moves_at_once(page)
        self.page = page
        looks_up = self.step >= 5 or slot.page is not page
        entry = page.file is None or page.slot is not None
        blocked = None if not looks_up or self.step == 20 else "tree-lock" if 6 <= self.step <= 12 else "page-lock"
        early = self.step <= 5
        retries = int(looks_up and entry and 6 <= self.step <= 19)
        self.row |= {"met": True, "blocked_on": blocked, "backed_out": early and looks_up, "retries": retries}
        self.late = not early
        if early:
            self.half_migrated(pagelist, page, looks_up)

    def half_migrated(self, pagelist: list[Page], page: Page, looks_up: bool) -> None:
        """The steps before, then the fault while the page is off the LRU and, unless it waits for that, locked."""
        machine = self.machine
        if self.step >= 3 and page.file is None and not page.swapcache:
            machine.take_slot(page)
        if self.step == 5:
            machine.unmap(page)
        page.park = Pin(RACER, NEVER)
        page.lock = None if looks_up else Pin(RACER, NEVER)
        self.row["result"] = self.result()
        page.lock = page.park = None
        if not page.ptes and not page.swaps and page.file is None:
            pagelist.remove(page)  # freed under the migration (2.2 a)
            machine.free_if_unused(page)
        elif looks_up:
            page.pins.append(Pin(RACER, 1))  # the count test of pass 0 fails
            self.command.met_by.add(page)

    def result(self) -> Document:
        """What the racer says."""
        found = self.run(self.argv)
        if found["errno"]:
            raise Unmodelled("a racer that fails")
        return found

    def finish(self) -> Document:
        """After the call."""
        if self.page in self.command.failures:
            raise Unmodelled("a page that was met and stays, or gets no target")
        for page in self.command.met_by:
            page.pins = [pin for pin in page.pins if pin.pid != RACER]
        if self.late:
            self.row["result"] = self.result()
        return self.row
