"""Policies of tasks and areas: set_mempolicy(2), get_mempolicy(2), mbind(2) (semantics.md 3.3, 3.5, 6.1)."""

from __future__ import annotations

from typing import Any

from .areas import Mm, Page, Policy
from .base import MAX_NUMNODES, Document
from .holds import Holds
from .machine import PAGE, Refused, Task, Unmodelled
from .memory import no_memory
from .migrate import Command, migrate_by_policy, migrate_pages_to
from .results import result
from .words import parse_nodes, written

MODES = ("default", "preferred", "bind", "interleave")


class Policies(Holds):
    """The policy commands; `local` and `preferred` without a node are one policy."""

    def asked_nodes(self, mode: str, text: str) -> set[int]:
        """The mask of a policy call: bits beyond the supported maximum and unknown modes are EINVAL."""
        asked = parse_nodes(text, len(self.hw.nodes))
        known = (*MODES, "local") if self.hw.modern else MODES
        if any(nid >= MAX_NUMNODES for nid in asked) or mode not in known:
            raise Refused("EINVAL")
        return asked

    def new_policy(self, mode: str, asked: set[int]) -> Policy | None:
        """
        A policy object, or EINVAL (3.3 row 7, modern-kernel.md 17, 25).

        v9 wants all nodes online; `modern` drops the unusable ones and wants one left. Preferred keeps the lowest.
        """
        if mode in ("default", "local") and asked:
            raise Refused("EINVAL")
        if mode in ("bind", "interleave") and not asked:
            raise Refused("EINVAL")
        nodes = sorted(asked & self.hw.usable())
        if asked and (not nodes or (len(nodes) != len(asked) and not self.hw.modern)):
            raise Refused("EINVAL")
        if mode == "default":
            return None
        return Policy("preferred", tuple(nodes[:1])) if mode in ("preferred", "local") else Policy(mode, tuple(nodes))

    def do_set_mempolicy(self, pid: str, mode: str, text: str = "none") -> Document:
        """set_mempolicy(2) of that task."""
        task, _ = self.user_task(pid)
        task.policy = self.new_policy(mode, self.asked_nodes(mode, text))
        task.turn = min(task.policy.nodes) if task.policy is not None and task.policy.mode == "interleave" else -1
        return {}

    # ---- get_mempolicy ---------------------------------------------------------------------------------------

    def told(self, policy: Policy | None, scope: str) -> Document:
        """A policy as get-mempolicy prints it."""
        mode, nodes = ("default", ()) if policy is None else (policy.mode, policy.nodes)
        if policy is not None and not nodes:
            mode, nodes = ("local", ()) if self.hw.modern else ("preferred", tuple(self.hw.online()))
        return {"_policy": {"mode": mode, "nodes": written(nodes), "flags": [], "scope": scope}}

    def do_get_mempolicy(self, pid: str, address: str | None = None, **options: Any) -> Document:
        """get_mempolicy(2): ADDR never shows the policy of the task; nothing but page cache moves il_next on."""
        task, mm = self.user_task(pid)
        if "mems_allowed" in options:
            if not self.hw.modern or address is not None or "node" in options:
                raise Refused("EINVAL")
            return {"_policy": {"mode": None, "nodes": written(self.hw.usable())}}
        if address is None:
            if "node" not in options:
                return self.told(task.policy, "task")
            if task.policy is None or task.policy.mode != "interleave":
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
        asked = self.asked_nodes(mode, nodes)
        move_all, strict = "move_all" in options, "strict" in options and mode != "default"
        if move_all and self.move_all_cap() not in task.caps:
            raise Refused("EPERM")
        span = self.call_span(mm, text)
        command = Command(machine, [(task.pid, mm)], machine.node_of_cpu(task.cpu), self.chunk)
        if not span:
            return result(machine, command, None, 0)
        policy = self.new_policy(mode, asked)
        if not mm.areas(span) or (mode != "default" and mm.hole(span)):
            raise Refused("EFAULT")  # B16

        def misplaced(nid: int) -> bool:
            return nid not in asked  # the whole mask, also for preferred; an empty one leaves nobody in place

        moving = move_all or "move" in options
        if strict and not moving and any(misplaced(page.node) for vpn, page in mm.pages() if vpn in span):
            raise Refused("EIO")
        set_policy(mm, span, policy, merge=machine.modern)
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


def set_policy(mm: Mm, span: range, policy: Policy | None, merge: bool) -> None:
    """Give the areas of a range this policy. v9 splits and never merges here; `modern` merges what became equal."""
    mm.split(span.start)
    mm.split(span.stop)
    for part, area in mm.areas(span):
        area.policy = policy
        file = area.file
        if file is None or file.fs != "tmpfs":
            continue
        for vpn in part:
            file.policies.pop(vpn + area.delta, None)
            if policy is not None:
                file.policies[vpn + area.delta] = policy
    if merge:
        mm.merge_in(span)
