"""
How a command of the naive model runs: words in, a dict of what must be in the tool's JSON document out.

Keys that start with `_` are notes for the comparison. Commands whose outcome the documents leave open raise
Unmodelled.
"""

from __future__ import annotations

import copy
import pathlib
from collections.abc import Callable
from typing import Any

from .areas import Mm
from .machine import ALL_CAPS, PAGE, Caller, Machine, Refused, Task, Unmodelled
from .nodes import Node
from .words import Words, parse_pages, parse_range, parse_words

ERRNO = {
    "EPERM": 1, "ENOENT": 2, "ESRCH": 3, "EIO": 5, "EAGAIN": 11, "ENOMEM": 12, "EACCES": 13, "EFAULT": 14,
    "EBUSY": 16, "EEXIST": 17, "ENODEV": 19, "EINVAL": 22, "ENOSPC": 28,
}  # fmt: skip
MAX_NUMNODES = 1024
DEFAULT_SWAP = 1 << 18
GROUPS = ("file", "task", "page", "swap", "show", "node", "state", "cpuset")
LOOKING = ("show", "numa-maps", "check", "state")

Document = dict[str, Any]


class Base:
    """The machine, the words and the commands that make a machine."""

    def __init__(self, chunk: int = 256) -> None:
        self.chunk = chunk
        self.machine: Machine | None = None
        self.version = 0  # of the state: the same number, the same `state hash`

    def run(self, argv: list[str]) -> Document:
        """
        Run one command. One that raises Unmodelled may have begun: who goes on keeps a copy of the machine.

        Returns:
            `exit`, `errno`, and whatever of the tool's document the model predicts.
        """
        words, options = parse_words(argv)
        length = 2 if words[0] in GROUPS else 1
        name = "_".join(words[:length]).replace("-", "_")
        command: Callable[..., Document] = getattr(self, "do_" + name)
        dry = options.pop("dry-run", False)
        kept = copy.deepcopy(self.machine) if dry else None
        try:
            document = command(*words[length:], **{key.replace("-", "_"): val for key, val in options.items()})
            self.version += not dry and words[0] not in LOOKING
        except Refused as refusal:
            document = {"errno": refusal.errno, "exit": 1, "_refused": True}
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
        """A RANGE of whole pages, at least one, as virtual page numbers."""
        low, high = parse_range(mm, text)
        if low % PAGE or high % PAGE or low >= high:
            raise Unmodelled(text)
        return range(low // PAGE, high // PAGE)

    def call_span(self, mm: Mm, text: str) -> range:
        """
        The RANGE of a system call that rounds the length up and refuses a start within a page.

        Reading: what an unaligned start with length 0 gives is left open.
        """
        low, high = parse_range(mm, text)
        if low > high or (low % PAGE and low == high):
            raise Unmodelled(text)
        if low % PAGE:
            raise Refused("EINVAL")
        return range(low // PAGE, -(-high // PAGE))

    def caller(self, options: Words) -> Caller:
        """The caller that `--as` or `--by` names; by default uid 0."""
        if "by" in options:
            task = self.hw.tasks.get(int(options["by"]))
            if task is None or task.mm is None:
                raise Unmodelled("caller")
            return Caller(task.uid, task.caps, self.hw.node_of_cpu(task.cpu), task.mm, task.pid, task)
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

    def do_show_nodes(self) -> Document:
        """Free pages and counters."""
        rows = []
        for n in self.hw.nodes:
            free = n.free if n.online else 0
            rows.append({"node": n.nid, "online": n.online, "pages": n.capacity, "free": free, "distance": n.distance,
                         "numastat": dict(n.stat)})  # fmt: skip
        return {"_nodes": rows}

    def do_show_swap(self) -> Document:
        """The areas in the order in which they are filled."""
        return {"_swap": [(area.name, area.size, area.used) for area in self.hw.swap_areas]}

    def do_check(self) -> Document:
        """Nothing is ever broken."""
        return {"_ok": True}

    def do_state_hash(self) -> Document:
        """The same number each time the state is the same."""
        return {"_version": self.version}
