"""Nodes, tasks, pages and who gets which free page, as plain objects (semantics.md 1, 6.1, 6.2, 6.3, 7.2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

PAGE = 4096
LABEL_BASE = 0x10000000 // PAGE
LABEL_STEP = 0x200000 // PAGE
ALL_CAPS = frozenset({"sys_nice", "sys_ptrace", "ipc_lock", "everything-else"})
NEVER = 255
COUNTERS = ("numa_hit", "numa_miss", "numa_foreign", "interleave_hit", "local_node", "other_node")


class Refused(Exception):
    """A call that returns an errno and changed nothing."""

    def __init__(self, errno: str) -> None:
        super().__init__(errno)
        self.errno = errno


class Unmodelled(Exception):
    """The documents leave open what the command does here; the random test drops such a command."""


@dataclasses.dataclass
class Node:
    """One node with its memory in pages and its counters (semantics.md 1.1, 7.2)."""

    nid: int
    capacity: int
    cpus: list[int]
    distance: list[int]
    free: int = 0
    stat: dict[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))


@dataclasses.dataclass(eq=False)
class Pte:
    """One present page table entry of a page."""

    young: bool
    dirty: bool
    writable: bool


@dataclasses.dataclass
class Pin:
    """One extra reference of a task, active in the passes before `release`."""

    pid: int
    release: int


@dataclasses.dataclass(eq=False)
class Page:
    """An anonymous page in a frame of `node`; a migration makes a new object and frees the old one."""

    node: int
    ptes: dict[tuple[int, int], Pte] = dataclasses.field(default_factory=dict)
    dirty: bool = False
    referenced: bool = False
    uptodate: bool = False
    active: bool = True
    swapcache: bool = False
    lock: Pin | None = None
    pins: list[Pin] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Slot:
    """One page of address space: protection, lock and label of the area, and what is mapped there."""

    prot: str
    locked: bool
    label: str | None
    page: Page | None = None
    zero: bool = False


@dataclasses.dataclass(eq=False)
class Mm:
    """An address space: virtual page number to slot."""

    number: int
    slots: dict[int, Slot] = dataclasses.field(default_factory=dict)

    def pages(self) -> list[tuple[int, Page]]:
        """Present pages in address order."""
        return [(vpn, slot.page) for vpn, slot in sorted(self.slots.items()) if slot.page is not None]


@dataclasses.dataclass
class Task:
    """A task with its credentials, its CPU and its policy."""

    pid: int
    name: str | None
    uid: int
    cpu: int
    caps: frozenset[str]
    dumpable: bool
    mm: Mm | None
    mode: str = "default"
    nodes: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Caller:
    """Who calls: user id, capabilities and the node of its CPU; `pid` and `mm` only for a caller that is a task."""

    uid: int
    caps: frozenset[str]
    node: int
    mm: Mm | None = None
    pid: int | None = None


def fallback_lists(
    distance: Sequence[Sequence[int]], has_cpus: Sequence[bool], left_out: Iterable[int] = ()
) -> list[list[int]]:
    """
    The zonelist of every node (6.2): distance, headless first among equals, then the load shared by all lists.

    Args:
        distance: The rows of the distance table.
        has_cpus: Whether a node has CPUs.
        left_out: Nodes that are never chosen (`modern`: those without memory). Reading: they bear no load either,
            their own lists are still made, and the counter starts at the number of all nodes.
    """
    count, absent = len(distance), set(left_out)
    load = [0] * count
    big = 1_000_000
    lists = []
    for local in range(count):
        chosen = [local]
        counter = count - 1  # starts at N and the choice of the node itself took one off
        before = local
        while len(absent | set(chosen)) < count:
            best, best_value = -1, 0
            for k in range(count):
                n = (local + k) % count
                if n in chosen or n in absent:
                    continue
                value = (distance[local][n] + (1 if has_cpus[n] else 0)) * big + load[n]
                if best < 0 or value < best_value:
                    best, best_value = n, value
            if distance[local][best] != distance[local][before]:
                load[best] += counter
            counter -= 1
            chosen.append(best)
            before = best
        lists.append([n for n in chosen if n not in absent])
    return lists


def node_pairs(source: Iterable[int], dest: Iterable[int], skip_members: bool) -> list[tuple[int, int]]:
    """The pairs of do_migrate_pages() in their order (3.2); `skip_members`: the rule of `modern` for unequal sets."""
    froms, tos = sorted(set(source)), sorted(set(dest))
    skip = skip_members and len(froms) != len(tos)
    todo = list(froms)
    pairs = []
    while todo:
        pick = None
        for s in todo:
            if skip and s in tos:
                continue
            d = tos[froms.index(s) % len(tos)] if tos else s
            if d == s:
                continue
            pick = (s, d)
            if d not in todo:
                break
        if pick is None:
            break
        todo.remove(pick[0])
        pairs.append(pick)
    return pairs


class Machine:
    """The whole modelled machine; its methods are what the hardware and the page allocator do."""

    def __init__(self, profile: str, nodes: list[Node], slots: int) -> None:
        self.profile = profile
        self.nodes = nodes
        self.free_slots = slots
        self.tasks: dict[int, Task] = {}
        self.held: list[Page] = []  # pinned pages that lost their last pte
        self.next_mm = 1
        for node in nodes:
            node.free = node.capacity
        empty = [n.nid for n in nodes if self.modern and not n.capacity]
        self.lists = fallback_lists([n.distance for n in nodes], [bool(n.cpus) for n in nodes], empty)

    @property
    def modern(self) -> bool:
        """Whether the profile is `modern`."""
        return self.profile == "modern"

    def usable(self) -> set[int]:
        """Nodes that a set may name: those online, under `modern` those with memory."""
        return {n.nid for n in self.nodes if n.capacity or not self.modern}

    def node_of_cpu(self, cpu: int) -> int:
        """The node a CPU belongs to."""
        return next(n.nid for n in self.nodes if cpu in n.cpus)

    def lowest_cpu_node(self) -> int:
        """Where a caller that is no task runs: lowest CPU of the lowest node that has CPUs."""
        return next(n.nid for n in self.nodes if n.cpus)

    def take(self, zonelist: Sequence[int], cpu_node: int, interleaved: bool = False) -> int | None:
        """One free page of the first node in `zonelist` that has one, counted as in 7.2; None: out of memory."""
        for nid in zonelist:
            node = self.nodes[nid]
            if node.free == 0:
                continue
            node.free -= 1
            if nid == zonelist[0]:
                node.stat["numa_hit"] += 1
                if interleaved:
                    node.stat["interleave_hit"] += 1
            else:
                node.stat["numa_miss"] += 1
                self.nodes[zonelist[0]].stat["numa_foreign"] += 1
            node.stat["local_node" if nid == cpu_node else "other_node"] += 1
            return nid
        return None

    def take_for_task(self, task: Task, vpn: int) -> int | None:
        """A free page by the policy of the faulting task (6.1); areas have no policy of their own here."""
        here = self.node_of_cpu(task.cpu)
        if task.mode == "preferred" and task.nodes:
            return self.take(self.lists[task.nodes[0]], here)
        if task.mode == "bind":
            # v9: by id, never outside; modern: the order of the CPU's own list, within the set
            order = [n for n in self.lists[here] if n in task.nodes] if self.modern else sorted(task.nodes)
            return self.take(order, here)
        if task.mode == "interleave":
            nodes = sorted(task.nodes)
            return self.take(self.lists[nodes[vpn % 2**32 % len(nodes)]], here, interleaved=True)
        return self.take(self.lists[here], here)

    def drop_pte(self, mm: Mm, vpn: int) -> None:
        """Take away what is mapped at `vpn`; the last pte gone frees the page unless it is pinned."""
        slot = mm.slots[vpn]
        slot.zero = False
        page, slot.page = slot.page, None
        if page is None:
            return
        del page.ptes[mm.number, vpn]
        if page.ptes:
            return
        page.lock = None  # a lock goes with its page
        if page.swapcache:  # only the cache share remains: the entry goes too (6.6)
            page.swapcache = False
            self.free_slots += 1
        if page.pins:
            self.held.append(page)
        else:
            self.nodes[page.node].free += 1

    def drop_pins(self, page: Page, pid: int) -> None:
        """End the pins of one task on a page; a page without ptes and pins is freed."""
        page.pins = [pin for pin in page.pins if pin.pid != pid]
        if not page.pins and page in self.held:
            self.held.remove(page)
            self.nodes[page.node].free += 1

    def all_pages(self) -> list[Page]:
        """Every allocated page of every address space, each once."""
        found: dict[int, Page] = {}
        for task in self.tasks.values():
            for _, page in task.mm.pages() if task.mm else ():
                found[id(page)] = page
        for page in self.held:
            found[id(page)] = page
        return list(found.values())
