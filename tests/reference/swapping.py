"""Swap areas, and the migration of V8 by way of them (cli.md, `swap`; semantics.md 6.5, 9a)."""

from __future__ import annotations

from typing import Any

from .areas import NOWHERE, Mm, Page, SwapArea
from .base import Document
from .evict import swap_out
from .machine import INTERLEAVING, Caller, Refused, Task, Unmodelled
from .migrate import Command
from .moves import Moves
from .results import result
from .words import parse_pages


class Swapping(Moves):
    """The commands."""

    def do_swap_on(self, name: str, size: str) -> Document:
        """Another area, filled after those that are there."""
        if any(area.name == name for area in self.hw.swap_areas):
            raise Unmodelled("a second area of that name")
        self.hw.swap_areas.append(SwapArea(name, parse_pages(size)))
        return {}

    def do_swap_out(self, pid: str, text: str) -> Document:
        """V8's way: everything of the range that MOVE_ALL would take goes to swap."""
        machine = self.hw
        task, mm = self.user_task(pid)
        span = self.span(mm, text)
        if machine.modern and any(area.locked for _, area in mm.areas(span)):
            raise Unmodelled("what swaps locked areas under `modern`")
        if mm.hole(span):
            raise Unmodelled("hole")
        command = Command(machine, [(task.pid, mm)], machine.lowest_cpu_node(), self.chunk)
        pagelist = command.collect(lambda _: True, True, span)
        if machine.modern and any(page.file for page in pagelist):
            raise Unmodelled("how today's reclaim takes files")
        swap_out(command, pagelist)
        return result(machine, command, None, len(command.failures))

    def via_swap(self, command: Command, task: Task, mm: Mm, froms: set[int], move_all: bool) -> Document:
        """
        `migrate-pages --via-swap`: out of the nodes that pages would leave, and back by reading all that is in swap.

        Readings: all these nodes are emptied in one list; the task touches its swap ptes in address order; what it
        cannot read back is left open.
        """
        if self.hw.modern and any(area.locked for _, area in mm.areas()):
            raise Unmodelled("what swaps locked areas under `modern`")
        pagelist = command.collect(froms.__contains__, move_all)
        if any(page.file for page in pagelist):
            raise Unmodelled("files by way of swap")
        swap_out(command, pagelist)
        command.residue = command.residue_now()  # reading: what is read back had lost its pte all the same
        back = read = 0
        for vpn, slot in sorted(mm.slots.items()):
            page = slot.swapped
            if page is None:
                continue
            if slot.area.prot == "none" or page.lock is not None:
                raise Unmodelled("what cannot be read back")
            absent = page.node == NOWHERE
            if self.touch(task, mm, vpn, write=False) is None:
                raise Unmodelled("no memory to come back to")
            back, read = back + 1, read + absent
        document = result(self.hw, command, None, len(command.failures))
        document["io"] = {"written": command.written, "read": read}
        document["_back"] = {}
        document["_back"]["faults"] = {"anonymous": 0, "zero": 0, "cow": 0, "reuse": 0, "file": 0, "swapin": back,
                                       "present": 0}  # fmt: skip
        return document

    def do_swap_off(self, name: str, **options: Any) -> Document:
        """
        try_to_unuse(): every page of the area comes back by the policy of the caller, to every task that has it.

        Readings: a lock or writeback on one of them is EBUSY and nothing changes; which pages are read first is left
        open.
        """
        machine, caller = self.hw, self.caller(options)
        area = next((area for area in machine.swap_areas if area.name == name), None)
        if area is None:
            raise Refused("ENOENT")
        pages = self.pages_in(area)
        if any(page.lock or page.writeback for page in pages):
            raise Refused("EBUSY")
        absent = [page for page in pages if page.node == NOWHERE]
        policy = caller.task.policy if caller.task is not None else None
        if policy is not None and len(absent) > 1:
            raise Unmodelled("which of them goes where")
        order = [nid for nid in machine.lists[caller.node] if nid in machine.allowed(caller.task)]
        room = next((n.free for nid in order if (n := machine.nodes[nid]).free), 0)
        if room < len(absent) or not all(n.free for n in machine.nodes if n.capacity):
            raise Unmodelled("which pages come back first")
        for page in pages:
            if page.node == NOWHERE:
                page.read_from_swap(self.taken(caller))
            machine.restore(page)
            machine.give_slot(page)
            page.dirty = True
        machine.swap_areas.remove(area)
        return {"read": len(absent)}

    def taken(self, caller: Caller) -> int:
        """A page that is known to be there: by the caller's policy, which knows no area (6.5)."""
        machine, task = self.hw, caller.task
        if task is None:
            found = machine.take(machine.lists[caller.node], caller.node, allowed=machine.allowed(None))
        else:
            machine.bring_up_to_date(task)
            turns = task.policy is not None and task.policy.mode in INTERLEAVING
            found = machine.take_in_turn(task, task.policy) if turns and task.policy else machine.take_by_policy(
                task.policy, task, 0)  # fmt: skip
        assert found is not None
        return found

    def pages_in(self, area: SwapArea) -> list[Page]:
        """All pages that have a slot there."""
        mms = {task.mm.number: task.mm for task in self.hw.tasks.values() if task.mm}
        found: dict[Page, None] = {}
        for mm in mms.values():
            for slot in mm.slots.values():
                page = slot.page or slot.swapped
                if page is not None and page.slot is area:
                    found[page] = None
        for file in self.hw.files.values():
            found |= dict.fromkeys(page for page in file.pages.values() if page.slot is area)
        return list(found)
