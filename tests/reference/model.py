"""
The command line of the naive model: the same words as the tool takes, a dict of what must be in its JSON document.

`Model.run` returns what cli.md promises for the command; keys that start with `_` are notes for the comparison.
Commands whose outcome the documents leave open raise Unmodelled and change nothing.
"""

from __future__ import annotations

import copy
import pathlib
from collections.abc import Callable
from typing import Any

from .machine import (
    ALL_CAPS,
    LABEL_BASE,
    LABEL_STEP,
    NEVER,
    PAGE,
    Caller,
    Machine,
    Mm,
    Node,
    Page,
    Pin,
    Pte,
    Refused,
    Slot,
    Task,
    Unmodelled,
    node_pairs,
)
from .migrate import ERRNO_OF, Command, count_by_node, migrate_list

ERRNO = {
    "EPERM": 1, "ENOENT": 2, "ESRCH": 3, "EIO": 5, "EAGAIN": 11, "ENOMEM": 12, "EACCES": 13, "EFAULT": 14,
    "EBUSY": 16, "EEXIST": 17, "ENODEV": 19, "EINVAL": 22, "ENOSPC": 28,
}  # fmt: skip
MAX_NUMNODES = 1024
DEFAULT_SWAP = 1 << 18
VALUE_OPTIONS = {
    "nodes", "memory", "cpus", "distance", "swap", "profile", "pid", "uid", "node", "cpu", "cap", "drop-cap",
    "thread-of", "name", "addr", "label", "prot", "passes", "count", "as", "by",
}  # fmt: skip
FAULT_KINDS = ("anonymous", "zero", "cow", "reuse", "file", "swapin", "present")

Document = dict[str, Any]
Words = dict[str, Any]


def parse_words(argv: list[str]) -> tuple[list[str], Words]:
    """Positional words and options of a command; every option of VALUE_OPTIONS takes the next word."""
    words: list[str] = []
    options: Words = {}
    rest = iter(argv)
    for word in rest:
        if word == "-n":
            options["dry-run"] = True
        elif word.startswith("--"):
            name = word[2:]
            if name not in VALUE_OPTIONS:
                options[name] = True
            elif name in ("cap", "drop-cap"):
                options.setdefault(name, []).append(next(rest))
            else:
                options[name] = next(rest)
        else:
            words.append(word)
    return words, options


def parse_nodes(text: str, known: int) -> set[int]:
    """A NODES argument: `all`, `none`, `!set` or ids and ranges."""
    if text == "none":
        return set()
    if text == "all":
        return set(range(known))
    if text.startswith("!"):
        return set(range(known)) - parse_nodes(text[1:], known)
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def parse_pages(text: str) -> int:
    """A size in whole pages, `12p`."""
    if not text.endswith("p"):
        raise Unmodelled(text)
    return int(text[:-1])


class Model:
    """State and commands of the naive model."""

    def __init__(self, chunk: int = 256) -> None:
        self.chunk = chunk
        self.machine: Machine | None = None

    def run(self, argv: list[str]) -> Document:
        """
        Run one command.

        Returns:
            `exit`, `errno`, and whatever of the tool's document the model predicts.
        """
        words, options = parse_words(argv)
        length = 2 if words[0] in ("task", "page", "swap", "show") else 1
        name = "_".join(words[:length]).replace("-", "_")
        command: Callable[..., Document] = getattr(self, "do_" + name)
        kept = copy.deepcopy(self.machine) if options.pop("dry-run", False) else None
        try:
            document = command(*words[length:], **{key.replace("-", "_"): val for key, val in options.items()})
        except Refused as refusal:
            document = {"errno": refusal.errno, "exit": 1}
        if kept is not None:
            self.machine = kept
        document.setdefault("errno", None)
        document.setdefault("exit", 0 if document["errno"] is None else 1)
        return document

    # ---- words to objects ------------------------------------------------------------------------------------

    @property
    def hw(self) -> Machine:
        """The machine, which `init` made."""
        if self.machine is None:
            raise Unmodelled("no init")
        return self.machine

    def task(self, pid: str) -> Task:
        """The task of that pid."""
        task = self.hw.tasks.get(int(pid))
        if task is None:
            raise Refused("ESRCH")
        return task

    def user_task(self, pid: str) -> tuple[Task, Mm]:
        """A task with an address space; what the machine commands say to a kernel thread is not written down."""
        task = self.task(pid)
        if task.mm is None:
            raise Unmodelled("kernel thread")
        return task, task.mm

    def span(self, mm: Mm, text: str) -> range:
        """A RANGE as virtual page numbers: `ADDR+Np`, `label` or `label+Np@Mp`; ADDR in whole pages."""
        if text.startswith("0x"):
            address, _, length = text.partition("+")
            if int(address, 16) % PAGE or parse_pages(length) == 0:
                raise Unmodelled(text)
            first = int(address, 16) // PAGE
            return range(first, first + parse_pages(length))
        label, plus, within = text.partition("+")
        owned = [vpn for vpn, slot in mm.slots.items() if slot.label == label]
        if not owned:
            raise Unmodelled(text)
        low, high = min(owned), max(owned) + 1
        if not plus:
            return range(low, high)
        length, _, offset = within.partition("@")
        first, end = low + parse_pages(offset), low + parse_pages(offset) + parse_pages(length)
        if end > high or first >= end:
            raise Unmodelled(text)
        return range(first, end)

    def caller(self, options: Words) -> Caller:
        """The caller that `--as` or `--by` names; by default uid 0."""
        if "by" in options:
            task = self.hw.tasks.get(int(options["by"]))
            if task is None or task.mm is None:
                raise Unmodelled("caller")
            return Caller(task.uid, task.caps, self.hw.node_of_cpu(task.cpu), task.mm, task.pid)
        uid = int(options.get("as", 0))
        return Caller(uid, frozenset() if uid else ALL_CAPS, self.hw.lowest_cpu_node())

    # ---- the machine -----------------------------------------------------------------------------------------

    def do_init(self, nodes: str = "1", **options: Any) -> Document:
        """A new machine."""
        count = int(nodes)

        def spread(text: str) -> list[str]:
            parts = text.split(",")
            return parts if len(parts) > 1 else parts * count

        memory = [0 if one == "0" else parse_pages(one) for one in spread(options["memory"])]
        numbers = [int(one) for one in spread(options.get("cpus", "4"))]
        if len(memory) != count or len(numbers) != count or not any(numbers) or not any(memory):
            raise Unmodelled("init")
        table = options.get("distance", "10,20")
        if "/" in table:
            rows = [[int(cell) for cell in line.split()] for line in pathlib.Path(table).read_text().splitlines()]
        else:
            local, remote = (int(cell) for cell in table.split(","))
            rows = [[local if i == j else remote for j in range(count)] for i in range(count)]
        profile = options.get("profile", "v9")
        swap = options.get("swap")
        if swap is None:
            slots = 0 if profile == "modern" else DEFAULT_SWAP
        else:
            slots = 0 if swap == "none" else parse_pages(swap)
        made, cpu = [], 0
        for nid in range(count):
            made.append(Node(nid, memory[nid], list(range(cpu, cpu + numbers[nid])), rows[nid]))
            cpu += numbers[nid]
        self.machine = Machine(profile, made, slots)
        return {}

    def do_swap_on(self, _name: str, size: str) -> Document:
        """Another area: only the number of free slots matters."""
        self.hw.free_slots += parse_pages(size)
        return {}

    def do_show_nodes(self) -> Document:
        """Free pages and counters."""
        return {
            "_nodes": [
                {"node": n.nid, "online": True, "pages": n.capacity, "free": n.free, "distance": n.distance,
                 "numastat": dict(n.stat)}
                for n in self.hw.nodes
            ]
        }  # fmt: skip

    def do_check(self) -> Document:
        """Nothing is ever broken."""
        return {"_ok": True}

    # ---- tasks -----------------------------------------------------------------------------------------------

    def cpu_for(self, options: Words) -> int:
        """The CPU that `--node` or `--cpu` names; of a node the lowest."""
        if "node" in options:
            nid = int(options["node"])
            if nid >= len(self.hw.nodes) or not self.hw.nodes[nid].cpus:
                raise Unmodelled("node without CPUs")
            return self.hw.nodes[nid].cpus[0]
        cpu = int(options.get("cpu", 0))
        if not any(cpu in n.cpus for n in self.hw.nodes):
            raise Unmodelled("no such CPU")
        return cpu

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
            mm = Mm(machine.next_mm)
            machine.next_mm += 1
        uid = int(options.get("uid", 0))
        caps = (frozenset() if uid else ALL_CAPS) | set(options.get("cap", ()))
        caps -= set(options.get("drop_cap", ()))
        name = options.get("name")
        machine.tasks[number] = Task(number, name, uid, cpu, caps, "no_dumpable" not in options, mm)
        return {"pid": number, "uid": uid, "cpu": cpu, "node": machine.node_of_cpu(cpu), "cpuset": "/"}

    def do_task_run_on(self, pid: str, **options: Any) -> Document:
        """The scheduler moves the task."""
        if int(pid) not in self.hw.tasks:
            raise Refused("ESRCH")
        cpu = self.cpu_for(options)
        self.task(pid).cpu = cpu
        return {}

    def do_task_exit(self, pid: str) -> Document:
        """Holds of the task end; the address space goes with its last task."""
        machine, task = self.hw, self.task(pid)
        del machine.tasks[task.pid]
        if task.mm is not None:
            others = any(other.mm is task.mm for other in machine.tasks.values())
            for _, page in task.mm.pages():
                self.end_holds(page, task.pid)
            if not others:
                for vpn in sorted(task.mm.slots):
                    machine.drop_pte(task.mm, vpn)
        for page in list(machine.held):
            machine.drop_pins(page, task.pid)
        return {}

    def end_holds(self, page: Page, pid: int) -> None:
        """Lock and pins that one task has on a page."""
        self.hw.drop_pins(page, pid)
        if page.lock is not None and page.lock.pid == pid:
            page.lock = None

    # ---- address space ---------------------------------------------------------------------------------------

    def do_mmap(self, pid: str, size: str, **options: Any) -> Document:
        """A private anonymous area."""
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
            raise Refused("EPERM")
        if locked and (prot != "rw" or sum(n.free for n in self.hw.nodes) < pages or task.mode == "bind"):
            raise Unmodelled("MAP_LOCKED without memory")
        for vpn in range(first, first + pages):
            mm.slots[vpn] = Slot(prot, locked, label)
        for vpn in range(first, first + pages) if locked else ():
            self.touch(task, mm, vpn, write=True)
        return {"pid": int(pid), "addr": hex(first * PAGE), "end": hex((first + pages) * PAGE), "pages": pages,
                "label": label}  # fmt: skip

    def do_munmap(self, pid: str, text: str) -> Document:
        """Holes in the range are no error."""
        _, mm = self.user_task(pid)
        for vpn in self.span(mm, text):
            if vpn in mm.slots:
                self.hw.drop_pte(mm, vpn)
                del mm.slots[vpn]
        return {}

    def lockable(self, mm: Mm, text: str) -> range:
        """The range of mlock and munlock. Reading: a hole is ENOMEM and nothing changes."""
        span = self.span(mm, text)
        if any(vpn not in mm.slots for vpn in span):
            raise Refused("ENOMEM")
        return span

    def do_mlock(self, pid: str, text: str) -> Document:
        """
        Lock, then populate by write where writable; ENOMEM leaves the area locked and what came before.

        Reading of 6.6: RLIMIT_MEMLOCK is not modelled, so it takes CAP_IPC_LOCK; that is asked first.
        """
        task, mm = self.user_task(pid)
        if "ipc_lock" not in task.caps:
            raise Refused("EPERM")
        span = self.lockable(mm, text)
        for vpn in span:
            mm.slots[vpn].locked = True
        for vpn in span:
            if mm.slots[vpn].prot == "none":
                raise Unmodelled("populating what may not be read")
            if self.touch(task, mm, vpn, write=mm.slots[vpn].prot == "rw") is None:
                return {"errno": "ENOMEM"}
        return {}

    def do_munlock(self, pid: str, text: str) -> Document:
        """The area may migrate again."""
        _, mm = self.user_task(pid)
        for vpn in self.lockable(mm, text):
            mm.slots[vpn].locked = False
        return {}

    # ---- faults ----------------------------------------------------------------------------------------------

    def touch(self, task: Task, mm: Mm, vpn: int, write: bool) -> str | None:
        """
        One access (6.3, 6.4).

        Returns:
            The kind of fault as the tool counts it, None when there is no memory.
        """
        slot, machine = mm.slots[vpn], self.hw
        page = slot.page
        if page is None and not write:
            kind = "present" if slot.zero else "zero"
            slot.zero = True
            return kind
        if page is None:
            return "anonymous" if self.new_page(task, mm, vpn) else None
        pte = page.ptes[mm.number, vpn]
        if not write or pte.writable:
            pte.young, pte.dirty = True, pte.dirty or write
            return "present"
        if len(page.ptes) == 1 and page.lock is None:
            pte.young = pte.dirty = pte.writable = True
            return "reuse"
        nid = machine.take_for_task(task, vpn)  # the copy is allocated before the old page loses its pte
        if nid is None:
            return None
        machine.drop_pte(mm, vpn)
        slot.page = Page(nid, {(mm.number, vpn): Pte(True, True, True)})
        return "cow"

    def new_page(self, task: Task, mm: Mm, vpn: int) -> bool:
        """A first write: active, pte young, dirty and writable, the page itself neither dirty nor uptodate."""
        nid = self.hw.take_for_task(task, vpn)
        if nid is None:
            return False
        mm.slots[vpn].zero = False
        mm.slots[vpn].page = Page(nid, {(mm.number, vpn): Pte(True, True, True)})
        return True

    def do_fault(self, pid: str, text: str, **options: Any) -> Document:
        """Touch page after page; the first that cannot be had ends it, what came before stays."""
        task, mm = self.user_task(pid)
        write = "write" in options
        span = self.span(mm, text)
        faults = dict.fromkeys(FAULT_KINDS, 0)
        document: Document = {}
        for vpn in span:
            slot = mm.slots.get(vpn)
            if slot is None or slot.prot == "none" or (write and slot.prot != "rw"):
                document = {"errno": "EFAULT", "signal": "SIGSEGV", "at": hex(vpn * PAGE)}
                break
            kind = self.touch(task, mm, vpn, write)
            if kind is None:
                document = {"errno": "ENOMEM", "at": hex(vpn * PAGE)}
                break
            faults[kind] += 1
        present: dict[int, int] = {}
        for vpn in span:
            slot = mm.slots.get(vpn)
            if slot is not None and slot.page is not None:
                present[slot.page.node] = present.get(slot.page.node, 0) + 1
        document |= {"faults": faults, "_present": present}
        return document

    # ---- holds -----------------------------------------------------------------------------------------------

    def do_page_lock(self, pid: str, text: str, passes: str | None = None) -> Document:
        """All pages of the range or none; the first error in address order counts."""
        task, mm = self.user_task(pid)
        span = self.span(mm, text)
        for vpn in span:
            slot = mm.slots.get(vpn)
            if slot is not None and slot.zero:
                raise Unmodelled("lock of the zero page")
            if slot is None or slot.page is None:
                raise Refused("EFAULT")
            if slot.page.lock is not None:
                raise Refused("EBUSY")
        for vpn in span:
            page = mm.slots[vpn].page
            assert page is not None
            page.lock = Pin(task.pid, NEVER if passes is None else int(passes))
        return {}

    def do_page_unlock(self, pid: str, text: str | None = None) -> Document:
        """Locks of that task only."""
        task, mm = self.user_task(pid)
        for vpn in mm.slots if text is None else self.span(mm, text):
            page = mm.slots[vpn].page if vpn in mm.slots else None
            if page is not None and page.lock is not None and page.lock.pid == task.pid:
                page.lock = None
        return {}

    def do_page_pin(self, pid: str, text: str, passes: str | None = None, count: str = "1") -> Document:
        """
        Every page is first touched by writing, as get_user_pages() does: present read-only ptes become writable too.

        Reading: an error, also ENOMEM, leaves nothing done at all.
        """
        task, mm = self.user_task(pid)
        span = self.span(mm, text)
        if any(vpn in mm.slots and mm.slots[vpn].prot != "rw" for vpn in span):
            raise Unmodelled("pin of a page that may not be written")
        if int(count) == 0:
            raise Unmodelled("no reference")
        before = copy.deepcopy(self.machine)
        for vpn in span:
            slot = mm.slots.get(vpn)
            if slot is None:
                self.machine = before
                raise Refused("EFAULT")
            if self.touch(task, mm, vpn, write=True) is None:
                self.machine = before
                raise Refused("ENOMEM")
        for vpn in span:
            page = mm.slots[vpn].page
            assert page is not None
            page.pins += [Pin(task.pid, NEVER if passes is None else int(passes)) for _ in range(int(count))]
        return {}

    def do_page_unpin(self, pid: str, text: str | None = None) -> Document:
        """Pins of that task only; without a range also those of pages that lost their pte."""
        task, mm = self.user_task(pid)
        for vpn in mm.slots if text is None else self.span(mm, text):
            page = mm.slots[vpn].page if vpn in mm.slots else None
            if page is not None:
                self.hw.drop_pins(page, task.pid)
        for page in list(self.hw.held) if text is None else ():
            self.hw.drop_pins(page, task.pid)
        return {}

    # ---- policy ----------------------------------------------------------------------------------------------

    def do_set_mempolicy(self, pid: str, mode: str, text: str = "none") -> Document:
        """set_mempolicy(2) of that task (3.5, modern-kernel.md 17 and 25)."""
        task, _ = self.user_task(pid)
        asked = parse_nodes(text, len(self.hw.nodes))
        if mode not in ("default", "preferred", "bind", "interleave"):
            raise Unmodelled(mode)
        if any(n >= MAX_NUMNODES for n in asked) or (mode == "default" and asked):
            raise Refused("EINVAL")
        if mode in ("bind", "interleave") and not asked:
            raise Refused("EINVAL")
        nodes = asked & self.hw.usable()
        if asked and (not nodes or (nodes != asked and not self.hw.modern)):
            raise Refused("EINVAL")
        task.mode, task.nodes = mode, sorted(nodes)
        return {}

    # ---- migration -------------------------------------------------------------------------------------------

    def allowed(self, caller: Caller, task: Task) -> bool:
        """Whether the caller may migrate the task's pages (3.4 row 4; modern-kernel.md 33)."""
        if not self.hw.modern:
            return caller.uid == task.uid or "sys_nice" in caller.caps
        if caller.pid == task.pid:
            return True  # also one that is not dumpable, as a kernel showed (errors.permission, task nd)
        same = caller.uid == task.uid and task.dumpable and task.caps <= caller.caps
        if not same and caller.mm is task.mm and "sys_ptrace" not in caller.caps:
            raise Unmodelled("one thread and another that it could not trace were they processes")
        return same or "sys_ptrace" in caller.caps

    def do_migrate_pages(self, pid: str, source: str, dest: str, **options: Any) -> Document:
        """migrate_pages(2): checks in the order of 3.4, then the node pairs of 3.2."""
        machine, caller = self.hw, self.caller(options)
        froms, asked = parse_nodes(source, len(machine.nodes)), parse_nodes(dest, len(machine.nodes))
        if any(n >= MAX_NUMNODES for n in froms | asked):
            raise Refused("EINVAL")
        task = self.task(pid)
        privileged = "sys_nice" in caller.caps
        if task.mm is None and not machine.modern:
            raise Refused("EINVAL")
        if not self.allowed(caller, task):
            raise Refused("EPERM")
        if not privileged and not asked <= machine.usable():  # the root cpuset has all usable nodes
            raise Refused("EPERM")
        tos = asked & machine.usable()
        if not tos or task.mm is None:  # today's kernel looks for the address space last
            raise Refused("EINVAL")
        command = Command(machine, task.mm, caller.node, self.chunk)
        err = None
        for s, d in node_pairs(froms, tos, machine.modern):
            err = migrate_list(command, command.collect(s), d)
            if err:
                break
        return self.result(task, command, err, len(command.failures))

    def do_move_pages(self, pid: str, *words: str, **options: Any) -> Document:
        """
        move_pages(2): entries are queued; a change of node, or an entry that is not queued, moves the queue.

        Readings, where modern-kernel.md 28-32 tells less: a queue that leaves pages behind ends the call with the
        number of those pages and of the entries not reached; its entries have no status. `v9` works alike, with its
        own way of moving, ENOENT for absent pages and memory-less nodes as targets. A queue moves in address order.
        """
        machine, caller = self.hw, self.caller(options)
        if "move_all" in options and "sys_nice" not in caller.caps:
            raise Refused("EPERM")
        task = self.task(pid)
        if not self.allowed(caller, task):
            raise Refused("EPERM")
        mm = task.mm
        if mm is None:
            raise Unmodelled("kernel thread")
        if "query" in options:
            return self.query(task, mm, words)
        entries = [(int(word.split("=")[0], 16) // PAGE, int(word.split("=")[1])) for word in words]
        if not machine.modern and any(vpn in mm.slots and mm.slots[vpn].locked for vpn, _ in entries):
            raise Unmodelled("v9: no word for an mlocked page here")
        call = MovePages(self, task, Command(machine, mm, caller.node, self.chunk), entries)
        call.run()
        document = self.result(task, call.command, call.err, call.left)
        document["status"] = call.status_rows()
        # reading: every entry with one of these words counts, also a second entry of one page
        document["skipped"] = sum(1 for s in call.status if s in ("EACCES", "EFAULT", "ENOENT", "EBUSY"))
        del document["_skips"]
        return document

    def query(self, task: Task, mm: Mm, words: tuple[str, ...]) -> Document:
        """Where pages are; a RANGE stands for all its pages."""
        rows: list[tuple[int, int | None, str | None]] = []
        for word in words:
            vpns = self.span(mm, word) if "+" in word or not word.startswith("0x") else [int(word, 16) // PAGE]
            for vpn in vpns:
                slot = mm.slots.get(vpn)
                if slot is not None and slot.page is not None:
                    rows.append((vpn, slot.page.node, None))
                else:
                    rows.append((vpn, None, self.absence(slot)))
        return {"return": 0, "status": [{"addr": hex(v * PAGE), "node": n, "errno": e} for v, n, e in rows]}

    def absence(self, slot: Slot | None) -> str:
        """The status of an address without a page: no area and the zero page are EFAULT everywhere."""
        if slot is None or slot.zero or self.hw.modern:
            return "EFAULT"
        return "ENOENT"

    def result(self, task: Task, command: Command, err: str | None, left: int) -> Document:
        """The document of a migration (cli.md, JSON)."""
        mm, document = command.mm, Document()
        after = count_by_node(mm)
        moves: dict[tuple[int, int], int] = {}
        hops: dict[int, int] = {}
        for vpn, old, new in command.hops:
            moves[old, new] = moves.get((old, new), 0) + 1
            hops[vpn] = hops.get(vpn, 0) + 1
        rows = []
        node_of = {vpn: page.node for vpn, page in mm.pages()}
        for n in self.hw.nodes:
            rows.append({
                "node": n.nid, "before": command.before.get(n.nid, 0), "after": after.get(n.nid, 0),
                "in": sum(k for (_, new), k in moves.items() if new == n.nid),
                "out": sum(k for (old, _), k in moves.items() if old == n.nid),
                "failed": sum(1 for vpn in command.failures if node_of[vpn] == n.nid),
            })  # fmt: skip
        document["return"] = -ERRNO[err] if err else left
        document["errno"] = err
        document["committed"] = True
        document |= {"moved": len(command.hops), "failed": len(command.failures), "swapped": 0}
        document |= {"skipped": len(command.skips), "passes": command.passes, "moved_twice": 0}
        document["moved_twice"] = sum(1 for k in hops.values() if k > 1)
        document["_rows"] = rows
        document["moves"] = [{"from": s, "to": d, "pages": k} for (s, d), k in sorted(moves.items())]
        document["_failures"] = [
            {"pid": task.pid, "node": node_of[vpn], "reason": f.reason, "errno": ERRNO_OF[f.reason], "pass": f.last,
             "vpn": vpn}
            for vpn, f in sorted(command.failures.items())
        ]  # fmt: skip
        document["_skips"] = [
            {"pid": task.pid, "node": node_of.get(vpn), "reason": reason, "vpn": vpn}
            for vpn, reason in sorted(command.skips.items())
        ]
        in_cache = {vpn for vpn, page in mm.pages() if page.swapcache}
        residue = len((in_cache - command.cache_before) & set(command.failures))
        document["residue"] = {"swapcache": residue, "unmapped": 0}
        document["exit"] = 1 if err else 3 if command.failures else 0
        return document

    # ---- looking ---------------------------------------------------------------------------------------------

    def do_show_pages(self, pid: str) -> Document:
        """Every page of every area: state, node, flags, mapcount, by address."""
        _, mm = self.user_task(pid)
        seen: dict[int, tuple[str, int | None, list[str], int | None]] = {}
        for vpn, slot in mm.slots.items():
            if slot.page is not None:
                flags = page_flags(slot.page, slot.page.ptes[mm.number, vpn])
                seen[vpn] = ("present", slot.page.node, flags, len(slot.page.ptes))
            else:
                seen[vpn] = ("zero", None, ["referenced"], None) if slot.zero else ("absent", None, [], None)
        return {"_pages": seen}


class MovePages:
    """One call of move_pages(2) with targets: the queue and the statuses."""

    def __init__(self, model: Model, task: Task, command: Command, entries: list[tuple[int, int]]) -> None:
        self.model, self.task, self.command, self.entries = model, task, command, entries
        self.status: list[int | str | None] = [None] * len(entries)
        self.queue: list[int] = []  # positions in entries
        self.err: str | None = None
        self.left = 0

    def status_rows(self) -> list[Document]:
        """Statuses in the order of the arguments."""
        rows = []
        for (vpn, _), s in zip(self.entries, self.status, strict=True):
            node, errno = (s, None) if isinstance(s, int) else (None, s)
            rows.append({"addr": hex(vpn * PAGE), "node": node, "errno": errno})
        return rows

    def flush(self, unreached: int) -> bool:
        """Move the queue; False ends the call."""
        if not self.queue:
            return True
        node = self.entries[self.queue[0]][1]
        vpns = [self.entries[i][0] for i in self.queue]
        err = migrate_list(self.command, sorted(vpns), node)
        failed = sum(1 for vpn in vpns if vpn in self.command.failures)
        if err:
            self.err = err
            return False
        if failed:
            self.left = failed + unreached
            return False
        for i in self.queue:  # where the page landed: under `v9` an allocation falls back (B18)
            slot = self.command.mm.slots[self.entries[i][0]]
            self.status[i] = slot.page.node if slot.page is not None else node
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

    def verdict(self, vpn: int, node: int) -> int | str | None:
        """Status of an entry that is not queued, None for one that is."""
        slot = self.command.mm.slots.get(vpn)
        if slot is None or slot.page is None:
            return self.model.absence(slot)
        if slot.page.node == node:
            return node
        if any(self.entries[i][0] == vpn for i in self.queue):
            return "EBUSY"  # already taken off the LRU
        return None


def page_flags(page: Page, pte: Pte) -> list[str]:
    """The words of `show pages`, sorted."""
    words = {
        "active": page.active,
        "dirty": page.dirty or pte.dirty,
        "locked": page.lock is not None,
        "pinned": bool(page.pins),
        "referenced": page.referenced or pte.young,
        "swapcache": page.swapcache,
        "uptodate": page.uptodate,
        "writable": pte.writable,
    }
    return sorted(word for word, is_set in words.items() if is_set)
