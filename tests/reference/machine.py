"""The machine: tasks, who gets which free page, what becomes of a page that loses a pte (semantics.md 1, 6.1, 6.2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from .areas import NOWHERE, File, Mm, Page, Policy, Pte, SwapArea
from .nodes import Node, fallback_lists
from .rebinding import rebind_next, rebound

PAGE = 4096
LABEL_BASE = 0x10000000 // PAGE
LABEL_STEP = 0x200000 // PAGE
ALL_CAPS = frozenset({"sys_nice", "sys_ptrace", "sys_admin", "sys_resource", "ipc_lock", "everything-else"})
NEVER = 255
INTERLEAVING = ("interleave", "weighted-interleave")


class Refused(Exception):
    """A call that returns an errno and changed nothing."""

    def __init__(self, errno: str) -> None:
        super().__init__(errno)
        self.errno = errno


class Unmodelled(Exception):
    """The documents leave open what the command does here; the random test drops such a command."""


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
    policy: Policy | None = None
    turn: int = -1  # il_next
    served: int = 0  # pages that it has served in a row, where weights count
    cpuset: str = "/"
    leader: bool = True  # of its thread group


@dataclasses.dataclass
class Caller:
    """Who calls: user id, capabilities and the node of its CPU; `pid` and `mm` only for a caller that is a task."""

    uid: int
    caps: frozenset[str]
    node: int
    mm: Mm | None = None
    pid: int | None = None
    task: Task | None = None


@dataclasses.dataclass
class Cpuset:
    """What a cpuset lets its tasks use; the root has whatever is online."""

    name: str
    mems: set[int]
    cpus: set[int]
    memory_migrate: bool = False
    cpu_exclusive: bool = False
    mem_exclusive: bool = False

    @property
    def parent(self) -> str:
        """The name of the cpuset above."""
        return self.name.rpartition("/")[0] or "/"


class Machine:
    """The whole modelled machine; its methods are what the hardware and the page allocator do."""

    def __init__(self, profile: str, nodes: list[Node], slots: int) -> None:
        self.profile = profile
        self.nodes = nodes
        self.swap_areas = [SwapArea("swap0", slots)] if slots else []
        self.tasks: dict[int, Task] = {}
        self.held: list[Page] = []  # pages without ptes that somebody still has a reference to
        self.files: dict[str, File] = {}
        self.next_mm = 1
        cpus = {cpu for node in nodes for cpu in node.cpus}
        self.cpusets = {"/": Cpuset("/", set(), cpus, cpu_exclusive=True, mem_exclusive=True)}
        for node in nodes:
            node.free = node.capacity
        self.lists: dict[int, list[int]] = {}
        self.remake_lists()

    @property
    def free_slots(self) -> int:
        """Free slots of all areas."""
        return sum(area.size - area.used for area in self.swap_areas)

    @property
    def modern(self) -> bool:
        """Whether the profile is `modern`."""
        return self.profile == "modern"

    @property
    def posted(self) -> bool:
        """Whether the profile is the patches as mailed."""
        return self.profile == "v9-posted"

    def remake_lists(self) -> None:
        """The fallback lists of the nodes that are online now."""
        online = [n for n in self.nodes if n.online]
        ids = [n.nid for n in online]
        empty = [k for k, n in enumerate(online) if self.modern and not n.capacity]
        table = [[n.distance[nid] for nid in ids] for n in online]
        made = fallback_lists(table, [bool(n.cpus) for n in online], empty, self.modern)
        self.lists = {nid: [ids[k] for k in one] for nid, one in zip(ids, made, strict=True)}

    def usable(self) -> set[int]:
        """Nodes that a set may name: those online, under `modern` those with memory."""
        return {n.nid for n in self.nodes if n.online and (n.capacity or not self.modern)}

    def online(self) -> list[int]:
        """Nodes that are online."""
        return [n.nid for n in self.nodes if n.online]

    def mems(self, name: str) -> set[int]:
        """The nodes of a cpuset; those of the root are the usable ones."""
        return self.usable() if name == "/" else self.cpusets[name].mems

    def allowed(self, task: Task | None) -> set[int]:
        """The nodes that a task may use, a caller that is no task those of the root (6.2)."""
        return self.mems(task.cpuset if task else "/") & set(self.online())

    def node_of_cpu(self, cpu: int) -> int:
        """The node a CPU belongs to."""
        return next(n.nid for n in self.nodes if cpu in n.cpus)

    def lowest_cpu_node(self) -> int:
        """Where a caller that is no task runs: lowest CPU of the lowest node that has CPUs."""
        return next(n.nid for n in self.nodes if n.cpus and n.online)

    # ---- memory ----------------------------------------------------------------------------------------------

    def take(
        self, order: Sequence[int], cpu_node: int, interleaved: bool = False, allowed: set[int] | None = None
    ) -> int | None:
        """
        One free page of the first node in `order` that has one and is allowed, counted as in 7.2; None: none.

        Reading: V9 counts against the head of the list, allowed or not; `modern` against the first that is allowed.
        """
        zonelist = [nid for nid in order if allowed is None or nid in allowed]
        first = zonelist[0] if self.modern and zonelist else order[0]
        for nid in zonelist:
            node = self.nodes[nid]
            if node.free == 0:
                continue
            node.free -= 1
            if nid == first:
                node.stat["numa_hit"] += 1
                if interleaved:
                    node.stat["interleave_hit"] += 1
            else:
                node.stat["numa_miss"] += 1
                self.nodes[first].stat["numa_foreign"] += 1
            node.stat["local_node" if nid == cpu_node else "other_node"] += 1
            return nid
        return None

    def take_by_policy(self, policy: Policy | None, task: Task | None, index: int) -> int | None:
        """A free page for an interleave index by a policy, as a fault of that task takes it (6.1); None: CPU 0's."""
        here = self.node_of_cpu(task.cpu if task else 0)
        allowed, near = self.allowed(task), self.lists[here]
        nodes = sorted(policy.nodes) if policy is not None else []
        if not set(nodes) <= set(self.online()):
            raise Unmodelled("a policy with a node that went offline")
        if policy is None or not nodes or (policy.mode in ("bind", "preferred-many") and not set(nodes) & allowed):
            return self.take(near, here, allowed=allowed)
        if policy.mode == "preferred":
            return self.take(self.lists[nodes[0]], here, allowed=allowed)
        inside = [n for n in near if n in nodes]
        if policy.mode == "bind":
            # v9: by id, never outside; modern: the order of the CPU's own list, within the set
            return self.take(inside if self.modern else nodes, here, allowed=allowed)
        if policy.mode == "preferred-many":
            return self.take([*inside, *(n for n in near if n not in nodes)], here, allowed=allowed)
        turns = self.turns(policy)
        return self.take(self.lists[turns[index % 2**32 % len(turns)]], here, True, allowed)

    def take_in_turn(self, task: Task, policy: Policy) -> int | None:
        """A free page for the page cache of a task that interleaves: the next node's, until its weight is served."""
        nodes = sorted(policy.nodes)
        if not set(nodes) <= set(self.online()):
            raise Unmodelled("a policy with a node that went offline")
        if task.turn not in nodes:
            task.turn, task.served = nodes[0], 0
        nid = task.turn
        task.served += 1
        if task.served >= self.turns(policy).count(nid):
            task.turn, task.served = next((n for n in nodes if n > nid), nodes[0]), 0
        return self.take(self.lists[nid], self.node_of_cpu(task.cpu), True, self.allowed(task))

    def turns(self, policy: Policy) -> list[int]:
        """The nodes of an interleaving policy in turn, as often as they weigh where weights count."""
        weighted = policy.mode == "weighted-interleave"
        return [n for n in sorted(policy.nodes) for _ in range(self.nodes[n].weight if weighted else 1)]

    def take_for_fault(self, task: Task, mm: Mm, vpn: int) -> int | None:
        """A free page for a fault: the policy of the area (52: of tmpfs below it), else that of the task."""
        area = mm.slots[vpn].area
        own = area.policy
        if self.modern and area.file is not None and area.file.fs == "tmpfs":
            own = area.file.policies.get(vpn + area.delta)
        self.bring_up_to_date(task)
        return self.take_by_policy(own or task.policy, task, vpn + area.delta)

    def take_for_move(self, task: Task, mm: Mm, vpn: int) -> int | None:
        """A target of mbind: as a fault, but tmpfs knows the policy of its object only (6.1)."""
        area = mm.slots[vpn].area
        if area.file is None or area.file.fs != "tmpfs":
            return self.take_for_fault(task, mm, vpn)
        if not area.shared:
            raise Unmodelled("copies and pages of tmpfs in one area")
        index = vpn + area.delta
        self.bring_up_to_date(task)
        policy = area.file.policies.get(index) or (task.policy if self.modern else None)  # reading for `modern`
        return self.take_by_policy(policy, task, index)  # 51: by page offset alone

    def bring_up_to_date(self, task: Task) -> None:
        """V9 rebinds a task's policy at its next allocation or policy call, and not before (3.6)."""
        if not self.modern:
            self.rebind(task)

    def rebind(self, task: Task) -> None:
        """The task's policy follows the nodes that it may use now."""
        if task.policy is None:
            return
        old, task.policy = task.policy, rebound(task.policy, self.allowed(task), self.modern)
        task.turn = rebind_next(task.turn, old, task.policy)

    def drop_pte(self, mm: Mm, vpn: int) -> None:
        """
        Take away what is mapped at `vpn`; the last pte gone frees the page unless somebody has a reference.

        Reading of cli.md ("a lock or writeback goes with its page, a pin keeps it") and 1.6: a parked page is one
        that somebody has a reference to.
        """
        slot = mm.slots[vpn]
        slot.zero = None
        page, slot.page = slot.page or slot.swapped, None
        slot.swapped = None
        if page is None:
            return
        if page.file is not None:
            self.drop_file_pte(page, mm.number, vpn)
            return
        page.ptes.pop((mm.number, vpn), None)
        page.swaps.discard((mm.number, vpn))
        if not page.ptes and not page.swaps:
            self.drop_page(page)

    @staticmethod
    def drop_file_pte(page: Page, number: int, vpn: int) -> None:
        """The page stays in the cache; what is dirty in the pte is dirty in the page now."""
        if page.ptes.pop((number, vpn)).dirty:
            page.set_dirty()

    def drop_page(self, page: Page) -> None:
        """
        Nobody maps the page and no swap pte leads to it: its slot is free, its frame once nobody has a reference.

        Reading of 6.6: a swap pte that goes takes the entry along where nobody maps the page either.
        """
        page.lock = page.writeback = None
        if page.slot is not None:  # only the cache share remains: the entry goes too (6.6)
            self.give_slot(page)
        if page.node != NOWHERE:
            self.held.append(page)
            self.free_if_unused(page)

    def free_if_unused(self, page: Page) -> None:
        """A page without ptes and references is free."""
        if page in self.held and not page.pins and page.park is None:
            self.held.remove(page)
            self.nodes[page.node].free += 1

    def end_holds(self, pages: Iterable[Page], pid: int, kinds: Iterable[str]) -> None:
        """End the holds of these kinds (`lock`, `pin`, `writeback`, `park`) that a task has on these pages."""
        for page in pages:
            for kind in kinds:
                if kind == "pin":
                    page.pins = [pin for pin in page.pins if pin.pid != pid]
                elif (hold := getattr(page, kind)) is not None and hold.pid == pid:
                    setattr(page, kind, None)
            self.free_if_unused(page)

    def all_pages(self) -> list[Page]:
        """Every allocated page of every address space, each once."""
        found = dict.fromkeys(self.held)
        for task in self.tasks.values():
            for slot in task.mm.slots.values() if task.mm else ():
                page = slot.page or slot.swapped
                if page is not None and page.node != NOWHERE:
                    found[page] = None
        for file in self.files.values():
            found |= dict.fromkeys(page for page in file.pages.values() if page.node != NOWHERE)
        return list(found)

    # ---- swap ------------------------------------------------------------------------------------------------

    def take_slot(self, page: Page) -> bool:
        """
        add_to_swap(): the page enters the swap cache; from now on it is dirty, so it is never just dropped (1.8).

        Reading: an area is filled before the one that was switched on after it.
        """
        for area in self.swap_areas:
            if area.used < area.size:
                area.used += 1
                page.slot = area
                page.swapcache = page.dirty = page.uptodate = True
                return True
        return False

    def give_slot(self, page: Page) -> None:
        """The page leaves the swap cache, or what was only in swap is gone."""
        assert page.slot is not None
        page.slot.used -= 1
        page.slot, page.swapcache = None, False

    def restore(self, page: Page) -> None:
        """Every swap pte of the family becomes a pte: old, clean, read-only (2.3)."""
        mms = {task.mm.number: task.mm for task in self.tasks.values() if task.mm}
        for number, vpn in sorted(page.swaps):
            mms[number].slots[vpn].swapped = None
            mms[number].slots[vpn].page = page
            page.ptes[number, vpn] = Pte(False, False, False)
        page.swaps.clear()

    def unmap(self, page: Page, some: Sequence[tuple[int, int]] | None = None) -> None:
        """try_to_unmap(): swap ptes for an anonymous page; a dirty pte makes the page dirty (1.8, B23)."""
        mms = {task.mm.number: task.mm for task in self.tasks.values() if task.mm}
        for number, vpn in list(page.ptes) if some is None else some:
            if page.ptes.pop((number, vpn)).dirty:
                page.set_dirty()
            mms[number].slots[vpn].page = None
            if page.file is None:
                mms[number].slots[vpn].swapped = page
                page.swaps.add((number, vpn))

    def evict(self, page: Page) -> None:
        """What is in the slot is all there is: the frame is free."""
        self.nodes[page.node].free += 1
        if page.file is not None and page.slot is None:
            del page.file.pages[page.index]
        page.node, page.swapcache, page.dirty = NOWHERE, False, False
        page.lock = page.writeback = None
        page.pins = []

    def half_full(self) -> bool:
        """Whether swap is more than half full (9a)."""
        return self.free_slots * 2 < sum(area.size for area in self.swap_areas)
