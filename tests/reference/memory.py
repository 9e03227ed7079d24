"""Tasks and their address spaces: fork, exit, mmap, mprotect, madvise, mlock and faults (semantics.md 6.3 to 6.6)."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

from .areas import NOWHERE, Area, Mm, Page, Pte, Slot
from .base import Document
from .filemap import Filemap
from .machine import ALL_CAPS, LABEL_BASE, LABEL_STEP, PAGE, Machine, Refused, Task, Unmodelled
from .words import Words, parse_pages

SPECIAL = ("io", "pfnmap", "hugetlb")
FAULT_KINDS = ("anonymous", "zero", "cow", "reuse", "file", "swapin", "present")
HOLDS = ("lock", "pin", "writeback", "park")


class Memory(Filemap):
    """The commands that make, change and end tasks and areas, and touch pages."""

    # ---- tasks -----------------------------------------------------------------------------------------------

    def cpu_for(self, options: Words, cpuset: str = "/") -> int:
        """The CPU that `--node` or `--cpu` names; of a node the lowest that the cpuset has."""
        if "node" in options:
            nid = int(options["node"])
            if nid >= len(self.hw.nodes) or not self.hw.nodes[nid].cpus:
                raise Unmodelled("node without CPUs")
            inside = [cpu for cpu in self.hw.nodes[nid].cpus if cpu in self.hw.cpusets[cpuset].cpus]
            return min(inside or self.hw.nodes[nid].cpus)
        cpu = int(options.get("cpu", 0))
        if not any(cpu in n.cpus for n in self.hw.nodes):
            raise Unmodelled("no such CPU")
        return cpu

    def new_mm(self) -> int:
        """The number of a new address space."""
        self.hw.next_mm += 1
        return self.hw.next_mm

    def row(self, task: Task) -> Document:
        """The document of a new task."""
        node = self.hw.node_of_cpu(task.cpu)
        return {"pid": task.pid, "uid": task.uid, "cpu": task.cpu, "node": node, "cpuset": task.cpuset}

    def do_task_create(self, pid: str, **options: Any) -> Document:
        """A new task, or a thread of another one. Reading: a thread starts without a policy of its own."""
        machine, number = self.hw, int(pid)
        cpu = self.cpu_for(options)
        mm: Mm | None = None
        if "thread_of" in options:
            if number in machine.tasks or int(options["thread_of"]) not in machine.tasks:
                raise Unmodelled("thread of nobody")
            mm = self.user_task(options["thread_of"])[1]
        if number in machine.tasks:
            raise Refused("EEXIST")
        if mm is None and "kernel_thread" not in options:
            mm = Mm(self.new_mm(), self.hw.modern)
        uid = int(options.get("uid", 0))
        caps = (frozenset() if uid else ALL_CAPS) | set(options.get("cap", ()))
        caps -= set(options.get("drop_cap", ()))
        made = Task(number, options.get("name"), uid, cpu, caps, "no_dumpable" not in options, mm)
        made.leader = "thread_of" not in options
        machine.tasks[number] = made
        return self.row(made)

    def do_fork(self, parent: str, pid: str) -> Document:
        """A child with everything of its parent but LOCKED and holds (6.6)."""
        machine, number = self.hw, int(pid)
        if number in machine.tasks and int(parent) not in machine.tasks:
            raise Unmodelled("two errors")
        if number in machine.tasks:
            raise Refused("EEXIST")
        old = self.task(parent)
        mm = old.mm.forked(self.new_mm()) if old.mm else None
        child = dataclasses.replace(old, pid=number, mm=mm, leader=True)
        machine.tasks[number] = child
        return self.row(child)

    def do_task_run_on(self, pid: str, **options: Any) -> Document:
        """The scheduler moves the task."""
        if int(pid) not in self.hw.tasks:
            raise Refused("ESRCH")
        cpu = self.cpu_for(options, self.task(pid).cpuset)
        if cpu not in self.hw.cpusets[self.task(pid).cpuset].cpus:
            raise Refused("EINVAL")
        self.task(pid).cpu = cpu
        return {}

    def do_task_exit(self, pid: str) -> Document:
        """Holds of the task end; the address space goes with its last task, pages with their last pte."""
        machine, task = self.hw, self.task(pid)
        machine.end_holds(machine.all_pages(), task.pid, HOLDS)
        del machine.tasks[task.pid]
        if task.mm is not None and not any(other.mm is task.mm for other in machine.tasks.values()):
            for vpn in sorted(task.mm.slots):
                machine.drop_pte(task.mm, vpn)
            self.release_objects()
        return {}

    # ---- address space ---------------------------------------------------------------------------------------

    def do_mmap(self, pid: str, size: str, **options: Any) -> Document:
        """An area, private and anonymous or of a file; it becomes one with equal neighbours."""
        task, mm = self.user_task(pid)
        pages, label = parse_pages(size), options.get("label")
        if pages == 0:
            raise Unmodelled("empty area")
        if "addr" in options:
            if int(options["addr"], 16) % PAGE:
                raise Refused("EINVAL")
            first = int(options["addr"], 16) // PAGE
        else:
            first = LABEL_BASE  # sizes below 2 MiB: a gap stays behind each area
            while any(vpn in mm.slots for vpn in range(first - 1, first + pages + 1)):
                first += LABEL_STEP
        taken_label = label is not None and any(slot.label == label for slot in mm.slots.values())
        if taken_label or any(vpn in mm.slots for vpn in range(first, first + pages)):
            raise Refused("EEXIST")
        prot = options.get("prot", "rw")
        locked = "locked" in options
        if locked and "ipc_lock" not in task.caps:
            self.within_limit(mm, range(first, first + pages), "EAGAIN")
        room = sum(self.hw.nodes[nid].free for nid in self.hw.allowed(task))
        few = room < pages or (task.policy is not None and task.policy.mode == "bind")
        if locked and (prot != "rw" or few):
            raise Unmodelled("MAP_LOCKED without memory")
        area = self.new_area(range(first, first + pages), prot, locked, options)
        for vpn in range(first, first + pages):
            mm.slots[vpn] = Slot(area, label)
        mm.settle(range(first, first + pages))
        for vpn in range(first, first + pages) if locked else ():
            self.touch(task, mm, vpn, write=True)
        return {"pid": int(pid), "addr": hex(first * PAGE), "end": hex((first + pages) * PAGE), "pages": pages,
                "label": label}  # fmt: skip

    def new_area(self, span: range, prot: str, locked: bool, options: Words) -> Area:
        """An area of some pages: private and anonymous, of a file, or of an object of shared memory."""
        area, first = Area(prot, locked), span.start
        if "file" in options:
            area.file, area.shared = self.file(options["file"]), "shared" in options
            area.delta = (parse_pages(options["offset"]) if "offset" in options else 0) - first
        elif special := [word for word in SPECIAL if word in options]:
            (area.special,) = special
        elif "shared" in options or "shm" in options:
            area.file, area.shared, area.delta = self.segment(len(span), options.get("shm")), True, -first
        if locked and area.file is not None:
            raise Unmodelled("MAP_LOCKED of a file")
        return area

    def do_munmap(self, pid: str, text: str) -> Document:
        """Holes in the range are no error; what is left of a cut area is an area of its own."""
        _, mm = self.user_task(pid)
        span = self.span(mm, text)
        mm.split(span.start)
        mm.split(span.stop)
        for vpn in span:
            if vpn in mm.slots:
                self.hw.drop_pte(mm, vpn)
                del mm.slots[vpn]
        self.release_objects()
        return {}

    def do_mprotect(self, pid: str, text: str, prot: str) -> Document:
        """Where flags change the ptes become read-only: private memory is written to by way of a fault."""
        _, mm = self.user_task(pid)
        span = self.call_span(mm, text)
        if mm.hole(span):
            raise Refused("ENOMEM")
        for part in mm.change(span, lambda area: area.prot != prot, lambda area: setattr(area, "prot", prot)):
            for vpn in part:
                page = mm.slots[vpn].page
                if page is not None:
                    page.ptes[mm.number, vpn].writable = False
        return {}

    def do_madvise(self, pid: str, text: str, advice: str) -> Document:
        """MADV_DONTNEED, MADV_PAGEOUT: area after area until a locked one; holes are told at the end."""
        _, mm = self.user_task(pid)
        if advice == "random":
            return self.advise_random(mm, self.call_span(mm, text))
        if advice not in ("dontneed", "pageout"):
            raise Unmodelled(advice)
        if advice == "pageout" and not self.hw.modern:
            raise Refused("EINVAL")
        span = self.call_span(mm, text)
        done = {"swapped": 0, "dropped": 0, "unmapped": 0}
        document: Document = {"errno": "ENOMEM"} if mm.hole(span) else {}
        for part, area in mm.areas(span):
            if area.locked or area.special in ("pfnmap", "hugetlb"):
                document["errno"] = "EINVAL"
                break
            for vpn in part:
                if advice == "pageout":
                    what = self.page_out(mm.slots[vpn].page)
                    done |= {what: done[what] + 1} if what else {}
                else:
                    self.hw.drop_pte(mm, vpn)
        if advice == "pageout" and (any(done.values()) or "errno" not in document):
            document["_back"] = done
        return document

    def advise_random(self, mm: Mm, span: range) -> Document:
        """A flag of the areas. Reading: holes are told at the end, as with all advice."""
        hole = mm.hole(span)
        mm.change(span, lambda area: not area.random, lambda area: setattr(area, "random", True))
        return {"errno": "ENOMEM"} if hole else {}

    def page_out(self, page: Page | None) -> str | None:
        """
        MADV_PAGEOUT of one page: out at once, without a trace in the swap cache (modern-kernel.md 26, 27, 54).

        Readings: what is shared, held in any way, or finds no slot stays as it is; so do pages of ramfs. A dirty page
        of a disk's file is unmapped and active, and nothing writes it.

        Returns:
            What became of it, None where it stays.
        """
        if page is None or len(page.ptes) > 1 or page.lock or page.writeback or page.park or page.pins:
            return None
        ring = page.ring
        if ring is not None and (ring.busy or ring.locked or ring.journal):
            return None
        if page.file is not None and page.file.fs != "tmpfs":
            if not page.file.disk:
                raise Unmodelled("MADV_PAGEOUT of other files")
            stays = page.dirty or any(pte.dirty for pte in page.ptes.values()) or (ring is not None and ring.dirty)
            self.hw.unmap(page)
            if stays:
                page.active = True
                return "unmapped"
            self.hw.evict(page)
            return "dropped"
        if page.file is not None:
            raise Unmodelled("MADV_PAGEOUT of tmpfs")
        if not page.swapcache and not self.hw.take_slot(page):
            return None
        self.hw.unmap(page)
        self.hw.evict(page)
        return "swapped"

    def lockable(self, mm: Mm, text: str) -> range:
        """The range of mlock and munlock. Reading: a hole is ENOMEM and nothing changes."""
        span = self.span(mm, text)
        if mm.hole(span):
            raise Refused("ENOMEM")
        return span

    def within_limit(self, mm: Mm, span: range, beyond: str) -> None:
        """RLIMIT_MEMLOCK of a task that was told none: 8 MiB under `modern`, nothing in v9."""
        if not self.hw.modern:
            raise Refused("EPERM")
        locked = {vpn for vpn, slot in mm.slots.items() if slot.area.locked}
        if len(locked | set(span)) > 2048:
            raise Refused(beyond)

    def do_mlock(self, pid: str, text: str) -> Document:
        """
        Lock, then populate by write where writable; ENOMEM leaves the area locked and what came before.

        The limit is asked before the areas are looked at (6.6, 57).
        """
        task, mm = self.user_task(pid)
        if "ipc_lock" not in task.caps:
            self.within_limit(mm, self.span(mm, text), "ENOMEM")
        span = self.lockable(mm, text)
        if any(mm.slots[vpn].area.prot == "none" for vpn in span):
            raise Unmodelled("populating what may not be read")
        before = self.before_waiting(mm, span)
        mm.change(span, lambda area: not area.locked, lambda area: setattr(area, "locked", True))
        for vpn in span:
            try:
                area = mm.slots[vpn].area  # reading: today's kernel reads shared memory here
                write = area.prot == "rw" and not (area.shared and self.hw.modern)
                if no_memory(self.touch(task, mm, vpn, write)):
                    return {"errno": "ENOMEM"}
            except Refused:
                self.machine = before
                raise
        return {}

    def do_munlock(self, pid: str, text: str) -> Document:
        """The area may migrate again."""
        _, mm = self.user_task(pid)
        mm.change(self.lockable(mm, text), lambda area: area.locked, lambda area: setattr(area, "locked", False))
        return {}

    # ---- faults ----------------------------------------------------------------------------------------------

    def touch(self, task: Task, mm: Mm, vpn: int, write: bool) -> str | None:
        """
        One access (6.3, 6.4).

        Returns:
            The kind of fault as the tool counts it, joined by `+` where there are two, none of them in a special
            area, None when there is no memory;
            `swapin+enomem` when there is none for the copy of what was read in.
        """
        slot = mm.slots[vpn]
        if slot.area.special:
            return ""
        if slot.swapped is not None:
            return self.swap_in(task, mm, vpn, write)
        page = slot.page
        if slot.area.file is not None and (page is None or page.file is not None):
            return self.touch_mapped(task, mm, vpn, write)
        if page is None and not write:
            kind = "present" if slot.zero else "zero"
            slot.zero = Pte(True, False, False)
            return kind
        if page is None:
            return "anonymous" if self.new_page(task, mm, vpn) else None
        pte = page.ptes[mm.number, vpn]
        if not write or pte.writable:
            pte.young, pte.dirty = True, pte.dirty or write
            return "present"
        if len(page.ptes) + len(page.swaps) == 1 and page.lock is None:
            pte.young = pte.dirty = pte.writable = True
            return "reuse"
        return "cow" if self.new_page(task, mm, vpn) else None

    def touch_mapped(self, task: Task, mm: Mm, vpn: int, write: bool) -> str | None:
        """An access to an area of a file: no page, or a page of the file, is mapped there (6.3)."""
        slot = mm.slots[vpn]
        if slot.page is None:
            kind = self.touch_file(task, slot, (mm.number, vpn), write)
            if kind in ("file", "swapin") and not write:
                self.around(mm, vpn)
            return kind if kind != "cow" or self.new_page(task, mm, vpn) else None
        pte = slot.page.ptes[mm.number, vpn]
        if write and not slot.area.shared:
            return "cow" if self.new_page(task, mm, vpn) else None
        kind = "reuse" if write and not pte.writable else "present"
        pte.young, pte.dirty, pte.writable = True, pte.dirty or write, pte.writable or write
        return kind

    def swap_in(self, task: Task, mm: Mm, vpn: int, write: bool) -> str | None:
        """
        A fault on a swap pte (6.5): found in the swap cache, or read to where the policy of the moment says.

        Readings: a page read in is clean; one whose entry goes has its content nowhere else, so it is dirty; under
        `modern` a write takes the entry away too, however many slots are free.
        """
        slot, machine = mm.slots[vpn], self.hw
        page = slot.swapped
        assert page is not None
        if page.lock is not None:
            raise Refused("EBUSY")
        if page.node == NOWHERE:
            nid = machine.take_for_fault(task, mm, vpn)
            if nid is None:
                return None
            page.read_from_swap(nid)
            page.swapcache = True
        slot.swapped, slot.page = None, page
        page.swaps.discard((mm.number, vpn))
        alone = not page.ptes and not page.swaps
        page.ptes[mm.number, vpn] = Pte(True, write and alone, write and alone)
        unused = alone and not page.pins and page.park is None and page.writeback is None
        if unused and (machine.half_full() or (machine.modern and write)):
            machine.give_slot(page)
            page.dirty = True
        if write and not alone:
            return "swapin+cow" if self.new_page(task, mm, vpn) else "swapin+enomem"
        return "swapin"

    def new_page(self, task: Task, mm: Mm, vpn: int) -> bool:
        """
        A page of its own for a write: active, pte young, dirty and writable, the page neither dirty nor uptodate.

        A page that is copied loses its pte only when the copy has its frame.
        """
        nid = self.hw.take_for_fault(task, mm, vpn)
        if nid is None:
            return False
        self.hw.drop_pte(mm, vpn)
        slot = mm.slots[vpn]
        slot.page = Page(nid, {(mm.number, vpn): Pte(True, True, True)})
        mm.prepare(vpn)
        return True

    def before_waiting(self, mm: Mm, span: range) -> Machine | None:
        """The machine as it is, if an access to the range might have to wait for a lock: then nothing is changed."""
        swapped = [page for vpn in span if vpn in mm.slots and (page := mm.slots[vpn].swapped)]
        return copy.deepcopy(self.machine) if any(page.lock for page in swapped) else self.machine

    def do_fault(self, pid: str, text: str, **options: Any) -> Document:
        """Touch page after page; the first that cannot be had ends it, what came before stays."""
        task, mm = self.user_task(pid)
        write = "write" in options
        span = self.span(mm, text)
        faults = dict.fromkeys(FAULT_KINDS, 0)
        document: Document = {}
        before = self.before_waiting(mm, span)
        for vpn in span:
            slot = mm.slots.get(vpn)
            if slot is None or slot.area.prot == "none" or (write and slot.area.prot != "rw"):
                document = {"errno": "EFAULT", "signal": "SIGSEGV", "at": hex(vpn * PAGE)}
                break
            try:
                kind = self.touch(task, mm, vpn, write)
            except Refused:
                self.machine = before
                raise
            if kind == "bus":
                document = {"errno": "EFAULT", "signal": "SIGBUS", "at": hex(vpn * PAGE)}
                break
            for one in kind.split("+") if kind else ():
                faults[one] = faults.get(one, 0) + 1
            if no_memory(kind):
                document = {"errno": "ENOMEM", "at": hex(vpn * PAGE)}
                break
        present: dict[int, int] = {}
        for vpn in span:
            slot = mm.slots.get(vpn)
            if slot is not None and slot.page is not None:
                present[slot.page.node] = present.get(slot.page.node, 0) + 1
        faults.pop("enomem", None)
        document |= {"faults": faults, "_present": present}
        return document


def no_memory(kind: str | None) -> bool:
    """Whether an access ended for lack of memory."""
    if kind == "bus":
        raise Unmodelled("what is beyond the end of the file")
    return kind is None or kind.endswith("enomem")
