"""Policies of tasks and areas: set_mempolicy(2), get_mempolicy(2), mbind(2) (semantics.md 3.3, 3.5, 6.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .areas import Mm, Page, Policy, equal_policies
from .base import MAX_NUMNODES, Document
from .holds import Holds
from .machine import INTERLEAVING, PAGE, Refused, Task, Unmodelled
from .memory import no_memory
from .migrate import Command, migrate_by_policy, migrate_pages_to
from .rebinding import folded
from .results import result
from .words import parse_nodes, written

MODES = ("default", "preferred", "bind", "interleave")
YOUNG_MODES = ("local", "preferred-many", "weighted-interleave")
FLAGS = {"static_nodes": "static", "relative_nodes": "relative", "numa_balancing": "balancing"}


class Policies(Holds):
    """The policy commands; `local` and `preferred` without a node are one policy."""

    def asked_nodes(self, mode: str, text: str) -> set[int]:
        """The mask of a policy call: bits beyond the supported maximum and unknown modes are EINVAL."""
        asked = parse_nodes(text, len(self.hw.nodes))
        known = (*MODES, *YOUNG_MODES) if self.hw.modern else MODES
        if any(nid >= MAX_NUMNODES for nid in asked) or mode not in known:
            raise Refused("EINVAL")
        return asked

    def mode_flags(self, mode: str, options: dict[str, Any]) -> frozenset[str]:
        """The mode flags; they came after V9 (8). Balancing goes with bind only, static and relative not together."""
        flags = frozenset(word for name, word in FLAGS.items() if name in options)
        wrong = {"static", "relative"} <= flags or ("balancing" in flags and mode != "bind")
        if flags and (not self.hw.modern or wrong):
            raise Refused("EINVAL")
        return flags

    def new_policy(
        self, mode: str, asked: set[int], limit: set[int], mems: set[int], flags: frozenset[str] = frozenset()
    ) -> Policy | None:
        """
        A policy object, or EINVAL (3.3 row 7, 3.5, modern-kernel.md 17, 25, 38, 40).

        v9 wants all nodes within `limit`; `modern` drops the others and wants one left. Preferred keeps the lowest.
        """
        if mode in ("default", "local") and asked:
            raise Refused("EINVAL")
        if mode in ("bind", "interleave", "weighted-interleave", "preferred-many") and not asked:
            raise Refused("EINVAL")
        if flags & {"static", "relative"} and mode in ("local", "preferred") and not asked:
            raise Refused("EINVAL")  # a local policy has no nodes that could be kept
        usable = limit & self.hw.usable()
        nodes = sorted(folded(asked, usable) if "relative" in flags else asked & usable)
        if asked and (not nodes or (len(nodes) != len(asked) and not self.hw.modern)):
            raise Refused("EINVAL")
        if mode == "default":
            return None
        recorded = frozenset(asked if flags & {"static", "relative"} else mems)
        if mode in ("preferred", "local"):
            return Policy("preferred", tuple(nodes[:1]), recorded, flags)
        return Policy(mode, tuple(nodes), recorded, flags)

    def do_set_mempolicy(self, pid: str, mode: str, text: str = "none", **options: Any) -> Document:
        """set_mempolicy(2) of that task, within its cpuset."""
        task, _ = self.user_task(pid)
        asked, allowed = self.asked_nodes(mode, text), self.hw.allowed(task)
        flags = self.mode_flags(mode, options)
        task.policy = self.new_policy(mode, asked, allowed, allowed, flags)
        interleaves = task.policy is not None and task.policy.mode in INTERLEAVING
        task.turn, task.served = min(task.policy.nodes) if task.policy and interleaves else -1, 0
        return {}

    # ---- get_mempolicy ---------------------------------------------------------------------------------------

    def told(self, policy: Policy | None, scope: str) -> Document:
        """A policy as get-mempolicy prints it: the nodes that were named where they are kept (modern-kernel.md 39)."""
        if policy is None:
            return {"_policy": {"mode": "default", "nodes": "", "flags": [], "scope": scope}}
        flags = [name.replace("_", "-") for name, word in FLAGS.items() if word in policy.flags]
        longs = (len(self.hw.nodes) + 63) // 64 * 64  # 55: the mask ends with the long of the highest node
        named = tuple(nid for nid in policy.recorded if nid < longs)
        mode, nodes = policy.mode, named if policy.fixed else policy.nodes
        if not policy.nodes:
            mode, nodes = ("local", ()) if self.hw.modern else ("preferred", tuple(self.hw.online()))
        return {"_policy": {"mode": mode, "nodes": written(nodes), "flags": flags, "scope": scope}}

    def do_get_mempolicy(self, pid: str, address: str | None = None, **options: Any) -> Document:
        """
        get_mempolicy(2): ADDR never shows the policy of the task; nothing but page cache moves il_next on.

        Reading: a refused call has not rebound the task's policy.
        """
        task, mm = self.user_task(pid)
        before = task.policy, task.turn, task.served
        self.hw.bring_up_to_date(task)
        try:
            return self.policy_told(task, mm, address, options)
        except Refused:
            task.policy, task.turn, task.served = before
            raise

    def policy_told(self, task: Task, mm: Mm, address: str | None, options: dict[str, Any]) -> Document:
        """What it says."""
        if "mems_allowed" in options:
            if not self.hw.modern or address is not None or "node" in options:
                raise Refused("EINVAL")
            return {"_policy": {"mode": None, "nodes": written(self.hw.allowed(task))}}
        if address is None:
            if "node" not in options:
                return self.told(task.policy, "task")
            if task.policy is None or task.policy.mode not in INTERLEAVING:
                raise Refused("EINVAL")
            return {"_policy": {"node": task.turn if task.turn in task.policy.nodes else min(task.policy.nodes)}}
        vpn = int(address, 16) // PAGE
        if vpn not in mm.slots:
            raise Refused("EFAULT")
        if "node" not in options:
            return self.told(policy_at(mm, vpn), "vma")
        return {"_policy": {"node": self.node_at(task, mm, vpn)}}

    def node_at(self, task: Task, mm: Mm, vpn: int) -> int:
        """Where the page at an address is, read in if need be; nothing is in a raw area (9a)."""
        slot = mm.slots[vpn]
        if slot.area.prot == "none" or slot.area.special:  # reading: what may not be read is EFAULT too
            raise Refused("EFAULT")
        if no_memory(self.touch(task, mm, vpn, write=False)):
            raise Unmodelled("no memory to look")
        if slot.page is None:
            return next(n.nid for n in self.hw.nodes if n.online and n.capacity)
        return slot.page.node

    # ---- mbind -----------------------------------------------------------------------------------------------

    def do_mbind(self, pid: str, text: str, mode: str, nodes: str = "none", **options: Any) -> Document:
        """mbind(2) as that task calls it, checks in the order of 3.3."""
        machine = self.hw
        task, mm = self.user_task(pid)
        asked, flags = self.asked_nodes(mode, nodes), self.mode_flags(mode, options)
        move_all, strict = "move_all" in options, "strict" in options and mode != "default"
        if move_all and self.move_all_cap() not in task.caps:
            raise Refused("EPERM")
        span = self.call_span(mm, text)
        command = Command(machine, [(task.pid, mm)], machine.node_of_cpu(task.cpu), self.chunk)
        if not span:
            return result(machine, command, None, 0)
        allowed = machine.allowed(task)
        policy = self.new_policy(mode, asked, allowed if machine.modern else machine.usable(), allowed, flags)

        def misplaced(nid: int) -> bool:
            return nid not in asked  # the whole mask, also for preferred; an empty one leaves nobody in place

        moving = move_all or "move" in options
        if not mm.areas(span) or (mode != "default" and mm.hole(span)):
            seen = self.before_the_hole(mm, span) if machine.modern and strict and not moving else []
            raise Refused("EIO" if any(misplaced(page.node) for page in seen) else "EFAULT")  # B16, 53
        if strict and not moving and any(misplaced(page.node) for vpn, page in mm.pages() if vpn in span):
            raise Refused("EIO")
        set_policy(mm, span, policy)
        if moving:
            pagelist = command.collect(misplaced, move_all, span, strict)
            if machine.posted:  # B2: all targets are allocated for the start of the first area
                start = mm.areas(span)[0][0].start
                migrate_pages_to(command, pagelist, lambda: machine.take_for_move(task, mm, start))
            else:
                self.mbind_move(command, task, mm, pagelist)
        off_lru = machine.modern and any(reason == "off-lru" for reason, _ in command.skips.values())
        stayed = bool(command.failures) or off_lru
        return result(machine, command, "EIO" if strict and stayed else None, 0)

    def before_the_hole(self, mm: Mm, span: range) -> list[Page]:
        """The pages that STRICT alone looks at before it meets a hole: not those of the area that ends at it (53)."""
        hole = next(vpn for vpn in span if vpn not in mm.slots)
        whole = [(part, area) for part, area in mm.areas(range(span.start, hole))]
        looked = [vpn for part, _ in whole[:-1] for vpn in part]
        return [page for vpn in looked if (page := mm.slots[vpn].page) is not None]

    def move_all_cap(self) -> str:
        """What MOVE_ALL asks of the caller (B7)."""
        return "sys_resource" if self.hw.posted else "sys_nice"

    def mbind_move(self, command: Command, task: Task, mm: Mm, pagelist: list[Page]) -> None:
        """Move each page to where a fault at its own address would put it now."""
        vpns = {page: vpn for vpn, page in mm.pages()}
        migrate_by_policy(command, pagelist, lambda page: self.hw.take_for_move(task, mm, vpns[page]))


def policy_at(mm: Mm, vpn: int) -> Policy | None:
    """The policy of an area at an address; of tmpfs that of the object (3.3, 3.5)."""
    area = mm.slots[vpn].area
    if area.file is not None and area.file.fs == "tmpfs":
        return area.file.policies.get(vpn + area.delta)
    return area.policy


def set_policy(mm: Mm, span: range, policy: Policy | None) -> None:
    """
    Give the areas of a range this policy, and the objects of tmpfs below.

    v9 splits and never merges here. `modern` leaves an area alone that has an equal one, whatever the object has, and
    sets it on all that becomes one by it (50).
    """
    if not mm.modern:
        mm.split(span.start)
        mm.split(span.stop)
        for part, area in mm.areas(span):
            area.policy = policy
            set_object_policy(mm, part, policy)
        return
    for part, area in mm.areas(span):
        if not equal_policies(area.policy, policy):
            mm.split(part.start)
            mm.split(part.stop)
            mm.slots[part.start].area.policy = policy
            whole = mm.join(part)
            mm.slots[part.start].area.policy = policy
            set_object_policy(mm, whole, policy)


def set_object_policy(mm: Mm, part: Iterable[int], policy: Policy | None) -> None:
    """The policy of an object of tmpfs, page by page."""
    for vpn in part:
        area = mm.slots[vpn].area
        if area.file is not None and area.file.fs == "tmpfs":
            area.file.policies.pop(vpn + area.delta, None)
            area.file.bound.pop(vpn + area.delta, None)
            if policy is not None:
                area.file.policies[vpn + area.delta] = policy
                area.file.bound[vpn + area.delta] = mm.number, vpn
