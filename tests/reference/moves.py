"""Migrations that name nodes: migrate_pages(2), move_pages(2), a node that goes offline (semantics.md 3.2, 3.4)."""

from __future__ import annotations

from functools import partial
from typing import Any

from .areas import Mm, Page, Slot
from .base import MAX_NUMNODES, Document
from .machine import PAGE, Caller, Refused, Task, Unmodelled
from .migrate import Command, migrate_by_policy, migrate_list, migrate_pages_to
from .nodes import node_pairs
from .policies import Policies
from .races import Beside
from .results import result
from .words import parse_nodes


class Moves(Policies):
    """The commands."""

    def allowed(self, caller: Caller, task: Task) -> bool:
        """Whether the caller may migrate the task's pages (3.4 row 4; modern-kernel.md 33)."""
        if not self.hw.modern:
            return caller.uid == task.uid or self.migrating_cap() in caller.caps
        if caller.pid == task.pid:
            return True  # also one that is not dumpable, as a kernel showed (errors.permission, task nd)
        same = caller.uid == task.uid and task.dumpable and task.caps <= caller.caps
        if not same and caller.mm is task.mm and "sys_ptrace" not in caller.caps:
            raise Unmodelled("one thread and another that it could not trace were they processes")
        return same or "sys_ptrace" in caller.caps

    def migrating_cap(self) -> str:
        """What migrate_pages(2) asks of others (B7)."""
        return "sys_admin" if self.hw.posted else "sys_nice"

    def via_swap(self, command: Command, task: Task, mm: Mm, froms: set[int], move_all: bool) -> Document:
        """See Swapping."""
        raise NotImplementedError

    def do_migrate_pages(self, pid: str, source: str, dest: str, **options: Any) -> Document:
        """migrate_pages(2): checks in the order of 3.4, then the node pairs of 3.2; privilege is MOVE_ALL (B7)."""
        machine, caller = self.hw, self.caller(options)
        froms, asked = parse_nodes(source, len(machine.nodes)), parse_nodes(dest, len(machine.nodes))
        if any(n >= MAX_NUMNODES for n in froms | asked):
            raise Refused("EINVAL")
        task = self.task(pid)
        move_all = "sys_nice" in caller.caps and not machine.posted  # B7
        if task.mm is None and not machine.modern:
            raise Refused("EINVAL")
        if not self.allowed(caller, task):
            raise Refused("EPERM")
        if self.migrating_cap() not in caller.caps and not asked <= machine.allowed(task):
            raise Refused("EPERM")
        tos = asked & machine.usable()
        if machine.modern:
            tos &= machine.allowed(caller.task)  # modern-kernel.md 34
        if not tos or task.mm is None:  # today's kernel looks for the address space last
            raise Refused("EINVAL")
        command = Command(machine, [(task.pid, task.mm)], caller.node, self.chunk, machine.allowed(caller.task))
        if "via_swap" in options:
            sources = {s for s, _ in node_pairs(froms, tos, machine.modern)}
            return self.via_swap(command, task, task.mm, sources, move_all)
        err = None
        race = Beside(machine, self.run, command, options["race"]) if "race" in options else None
        for s, d in node_pairs(froms, tos, machine.modern):
            pagelist = command.collect(s.__eq__, move_all)
            if race is not None:
                race.meet(pagelist, task)
            err = migrate_list(command, pagelist, d)
            if err:
                break
        document = result(machine, command, err, len(command.failures))
        return document if race is None else document | {"_races": [race.finish()]}

    # ---- move_pages ------------------------------------------------------------------------------------------

    def do_move_pages(self, pid: str, *words: str, **options: Any) -> Document:
        """
        move_pages(2): entries are queued; a change of node, or an entry that is not queued, moves the queue.

        Readings, where modern-kernel.md 28-32 tells less: a queue that leaves pages behind ends the call with the
        number of those pages and of the entries not reached; its entries have no status. `v9` works alike, with its
        own way of moving, ENOENT for absent pages and memory-less nodes as targets. A queue moves in address order.
        """
        machine, caller = self.hw, self.caller(options)
        if "move_all" in options and self.move_all_cap() not in caller.caps:
            raise Refused("EPERM")
        task = self.task(pid)
        if not self.allowed(caller, task):
            raise Refused("EPERM")
        mm = task.mm
        if mm is None:
            raise Unmodelled("kernel thread")
        if "query" in options:
            return self.query(mm, words)
        entries = [(int(word.split("=")[0], 16) // PAGE, int(word.split("=")[1])) for word in words]
        if not machine.modern and any(vpn in mm.slots and mm.slots[vpn].area.locked for vpn, _ in entries):
            raise Unmodelled("v9: no word for an mlocked page here")
        command = Command(machine, [(task.pid, mm)], caller.node, self.chunk, machine.allowed(caller.task))
        call = MovePages(self, mm, command, entries, "move_all" in options)
        call.allowed = machine.allowed(task)
        call.run()
        document = result(machine, command, call.err, call.left)
        document["status"] = call.status_rows()
        # reading: every entry with one of these words counts, also a second entry of one page
        document["skipped"] = sum(1 for s in call.status if s in ("EACCES", "EFAULT", "ENOENT", "EBUSY"))
        return document

    def query(self, mm: Mm, words: tuple[str, ...]) -> Document:
        """Where pages are; a RANGE stands for all its pages."""
        rows: list[tuple[int, int | None, str | None]] = []
        for word in words:
            vpns = self.span(mm, word) if "+" in word or not word.startswith("0x") else [int(word, 16) // PAGE]
            for vpn in vpns:
                slot = mm.slots.get(vpn)
                absent = self.absence(slot)
                node = slot.page.node if slot is not None and slot.page is not None and absent is None else None
                rows.append((vpn, node, absent))
        return {"return": 0, "status": [{"addr": hex(v * PAGE), "node": n, "errno": e} for v, n, e in rows]}

    def absence(self, slot: Slot | None) -> str | None:
        """
        The status of an address without a page that could be moved, None if there is one (modern-kernel.md 28).

        No area and the zero page are EFAULT everywhere. Under `modern` a page behind PROT_NONE is ENOENT.
        """
        if slot is not None and slot.page is None and (slot.swapped or slot.area.file is not None):
            return "ENOENT"
        if slot is None or (slot.page is None and (slot.zero or self.hw.modern)):
            if slot is not None and slot.zero and slot.area.prot == "none" and self.hw.modern:
                raise Unmodelled("the zero page behind PROT_NONE")
            return "EFAULT"
        return "ENOENT" if slot.page is None or (self.hw.modern and slot.area.prot == "none") else None

    # ---- nodes -----------------------------------------------------------------------------------------------

    def do_node_offline(self, node: str) -> Document:
        """
        The pages of every address space leave along the node's fallback list; EBUSY if one stays.

        Readings: the tasks concerned are those whose address space has a page there; `modern` takes a target when a
        page moves.
        """
        machine, nid = self.hw, int(node)
        with_memory = [n.nid for n in machine.nodes if n.online and n.capacity]
        if nid not in machine.online() or with_memory == [nid]:
            raise Refused("EINVAL")
        if not any(n.cpus for n in machine.nodes if n.online and n.nid != nid):
            raise Unmodelled("the last node with CPUs")
        tasks: list[tuple[int, Mm]] = []
        for pid, task in sorted(machine.tasks.items()):
            there = task.mm is not None and any(page.node == nid for _, page in task.mm.pages())
            if task.mm is not None and there and all(mm is not task.mm for _, mm in tasks):
                tasks.append((pid, task.mm))
        command = Command(machine, tasks, machine.lowest_cpu_node(), self.chunk)
        zonelist = [n for n in machine.lists[nid] if n != nid]
        for one in tasks:
            self.drain(command, command.collect(nid.__eq__, True, mms=[one]), zonelist)
        self.drain_cache(command, nid, zonelist)
        if any(page.node == nid for page in machine.all_pages()):
            return result(machine, command, "EBUSY", 0)
        machine.nodes[nid].online = False
        machine.remake_lists()
        self.leave_cpusets(nid)
        return result(machine, command, None, 0)

    def leave_cpusets(self, nid: int) -> None:
        """
        No cpuset has the node any more; tasks of one that is left empty go up to the next that is not (cpuset(7)).

        Reading: neither their policies nor their pages follow.
        """
        machine = self.hw
        emptied = {name for name, one in machine.cpusets.items() if name != "/" and one.mems == {nid}}
        for task in machine.tasks.values():
            if task.cpuset in emptied:
                above = machine.cpusets[task.cpuset]
                while above.name != "/" and not above.mems - {nid}:
                    above = machine.cpusets[above.parent]
                task.cpuset = above.name
        for one in machine.cpusets.values():
            one.mems.discard(nid)

    @staticmethod
    def drain(command: Command, pagelist: list[Page], zonelist: list[int]) -> None:
        """Move a list along the fallback list of the node that goes."""
        machine = command.machine
        if pagelist and machine.modern:
            migrate_by_policy(command, pagelist, lambda _: machine.take(zonelist, command.cpu_node))
        elif pagelist:
            migrate_pages_to(command, pagelist, partial(machine.take, zonelist, command.cpu_node))

    def drain_cache(self, command: Command, nid: int, zonelist: list[int]) -> None:
        """
        Cache pages that nobody maps leave too, file by file in the order in which they were made.

        Reading: how those are told that stay, or that were tried while they were mapped, is left open.
        """
        for file in self.hw.files.values():
            there = [page for _, page in sorted(file.pages.items()) if page.node == nid and not page.ptes]
            if any(page in command.failures or page.park is not None for page in there):
                raise Unmodelled("cache pages that are told twice, or not at all")
            for page in there:
                command.place[page] = (0, page.index)
            self.drain(command, there[::-1] if self.hw.posted else list(there), zonelist)  # B3
            if any(page in command.failures for page in there):
                raise Unmodelled("cache pages that stay")

    def do_node_online(self, node: str) -> Document:
        """The node is back."""
        machine, nid = self.hw, int(node)
        if nid >= len(machine.nodes) or machine.nodes[nid].online:
            raise Refused("EINVAL")
        machine.nodes[nid].online = True
        machine.remake_lists()
        return {}


class MovePages:
    """One call of move_pages(2) with targets: the queue and the statuses."""

    def __init__(self, model: Moves, mm: Mm, command: Command, entries: list[tuple[int, int]], move_all: bool) -> None:
        self.model, self.mm, self.command, self.entries, self.move_all = model, mm, command, entries, move_all
        self.status: list[int | str | None] = [None] * len(entries)
        self.queue: list[int] = []  # positions in entries
        self.err: str | None = None
        self.left = 0
        self.allowed = command.machine.usable()  # by the cpuset of the task

    def status_rows(self) -> list[Document]:
        """Statuses in the order of the arguments."""
        rows = []
        for (vpn, _), s in zip(self.entries, self.status, strict=True):
            node, errno = (s, None) if isinstance(s, int) else (None, s)
            rows.append({"addr": hex(vpn * PAGE), "node": node, "errno": errno})
        return rows

    def page(self, i: int) -> Page:
        """The page of a queued entry."""
        page = self.mm.slots[self.entries[i][0]].page
        assert page is not None
        return page

    def flush(self, unreached: int) -> bool:
        """Move the queue; False ends the call."""
        if not self.queue:
            return True
        node = self.entries[self.queue[0]][1]
        queued = {i: self.page(i) for i in sorted(self.queue, key=self.entries.__getitem__)}
        pages = list(queued.values())[:: -1 if self.command.machine.posted else 1]  # B3
        err = migrate_list(self.command, list(pages), node)
        failed = sum(1 for page in pages if page in self.command.failures)
        if err:
            self.err = err
            return False
        if failed:
            self.left = failed + unreached
            return False
        for i in self.queue:  # where the page landed: under `v9` an allocation falls back (B18)
            self.status[i] = queued[i].node
        self.queue = []
        return True

    def run(self) -> None:
        """Entry by entry."""
        total = len(self.entries)
        for i, (vpn, node) in enumerate(self.entries):
            if node not in self.model.hw.usable():
                self.flush(0)
                self.err, self.left = "ENODEV", 0  # wins over what the last queue says
                return
            if node not in self.allowed:
                self.flush(0)
                self.err, self.left = "EACCES", 0  # modern-kernel.md 32
                return
            if self.queue and self.entries[self.queue[0]][1] != node and not self.flush(total - i):
                return
            verdict = self.verdict(vpn, node)
            if verdict is None:
                self.queue.append(i)
                continue
            self.status[i] = verdict
            if not self.flush(total - i - 1):
                return
        self.flush(0)

    def skip(self, vpn: int, reason: str, page: Page | None) -> None:
        """A page that is left out for one of the reasons of a skip is listed once."""
        self.command.skips.setdefault((self.command.tasks[0][0], vpn), (reason, page))

    def verdict(self, vpn: int, node: int) -> int | str | None:
        """Status of an entry that is not queued, None for one that is."""
        slot = self.mm.slots.get(vpn)
        absent = self.model.absence(slot)
        if slot is None or absent is not None or slot.page is None:
            if slot is not None and slot.zero:
                self.skip(vpn, "reserved-page", None)
            return absent
        if slot.page.node == node:
            return node
        if not self.move_all and self.command.shared(slot.page, self.mm):
            self.skip(vpn, "shared", slot.page)
            return "EACCES"
        if slot.page.park is not None:
            self.skip(vpn, "off-lru", slot.page)
            return "EBUSY"
        if any(self.entries[i][0] == vpn for i in self.queue):
            return "EBUSY"  # already taken off the LRU
        return None
