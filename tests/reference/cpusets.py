"""Cpusets: create, set, move, list, remove (semantics.md 3.6; modern-kernel.md 36 to 42; cpuset(7))."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .areas import Mm
from .base import MAX_NUMNODES, Document
from .machine import Cpuset, Machine, Refused, Task, Unmodelled
from .migrate import Command, migrate_list
from .nodes import node_pairs
from .rebinding import rebound
from .results import result
from .swapping import Swapping
from .words import parse_nodes, written

SWITCHES = ("memory_migrate", "cpu_exclusive", "mem_exclusive")


class Cpusets(Swapping):
    """The `cpuset` commands."""

    def cpuset(self, name: str) -> Cpuset:
        """The cpuset of that name."""
        found = self.hw.cpusets.get(name)
        if found is None:
            raise Refused("ENOENT")
        return found

    def do_cpuset_list(self) -> Document:
        """All of them by name; the mems of the root are what can be used."""
        rows = []
        for name, one in sorted(self.hw.cpusets.items()):
            tasks = [pid for pid, task in sorted(self.hw.tasks.items()) if task.cpuset == name]
            rows.append({
                "name": name, "mems": written(self.hw.mems(name)), "cpus": written(one.cpus), "tasks": tasks,
                **{switch: getattr(one, switch) for switch in SWITCHES},
            })  # fmt: skip
        return {"_cpusets": rows}

    def node_set(self, text: str) -> set[int]:
        """Nodes for `mems`: v9 drops those that are offline, `modern` wants all of them to have memory (41)."""
        asked = parse_nodes(text, len(self.hw.nodes))
        if any(nid >= MAX_NUMNODES for nid in asked):
            raise Refused("EINVAL")
        if self.hw.modern and not asked <= self.hw.usable():
            raise Refused("EINVAL")
        return asked & self.hw.usable()

    def do_cpuset_create(self, name: str, **options: Any) -> Document:
        """A new one below one that is there; empty sets are asked nothing."""
        parent = self.hw.cpusets.get(name.rpartition("/")[0] or "/")
        if name == "/":
            raise Unmodelled("no name, or one that is taken")
        if name in self.hw.cpusets:
            raise Refused("EEXIST")
        if parent is None:
            raise Refused("ENOENT")
        mems = self.node_set(options["mems"])
        cpus = parse_nodes(options["cpus"], 0) if "cpus" in options else set(parent.cpus)
        made = Cpuset(name, mems, cpus, "memory_migrate" in options)
        if mems:
            self.check(made, "mems", mems)
        if cpus:
            self.check(made, "cpus", cpus)
        self.hw.cpusets[name] = made
        return {}

    def has(self, one: Cpuset, what: str) -> set[int]:
        """The nodes or the CPUs of a cpuset."""
        found: set[int] = self.hw.mems(one.name) if what == "mems" else one.cpus
        return found

    def check(self, one: Cpuset, what: str, new: set[int]) -> None:
        """The rows 4 to 6 of a change of `mems`; CPUs are asked the same."""
        switch = f"{what[:3]}_exclusive"
        others = [other for other in self.hw.cpusets.values() if other.name not in ("/", one.name)]
        if any(not self.has(child, what) <= new for child in others if child.parent == one.name):
            raise Refused("EBUSY")
        if not new <= self.has(self.hw.cpusets[one.parent], what):
            raise Refused("EACCES")
        siblings = [other for other in others if other.parent == one.parent]
        if any(new & self.has(it, what) for it in siblings if getattr(it, switch) or getattr(one, switch)):
            raise Refused("EINVAL")

    def inside(self, name: str) -> list[Task]:
        """The tasks of a cpuset, by pid."""
        return [task for _, task in sorted(self.hw.tasks.items()) if task.cpuset == name]

    def do_cpuset_set(self, name: str, **options: Any) -> Document:
        """Another set of nodes or CPUs, or a switch. Reading: what several at once give is left open."""
        one = self.cpuset(name)
        if len(options) != 1:
            raise Unmodelled("several changes")
        (option,) = options
        if option in ("mems", "cpus") and name == "/":
            raise Refused("EACCES")
        if option == "mems":
            return self.set_mems(one, self.node_set(options["mems"]))
        if option == "cpus":
            self.set_cpus(one, parse_nodes(options["cpus"], 0))
        else:
            self.set_switch(one, option.removeprefix("no_"), not option.startswith("no_"))
        return self.nothing_moved()

    def nothing_moved(self) -> Document:
        """The document of a change that concerns no page."""
        return result(self.hw, Command(self.hw, [], self.hw.lowest_cpu_node(), self.chunk), None, 0)

    def emptied(self, one: Cpuset, new: set[int]) -> None:
        """Row 3: never in v9; today not while tasks are in it, which is asked last (41)."""
        if not new and (not self.hw.modern or self.inside(one.name)):
            raise Refused("ENOSPC")

    def change(self, one: Cpuset, what: str, new: set[int]) -> None:
        """The checks in their order."""
        if not self.hw.modern:
            self.emptied(one, new)
        self.check(one, what, new)
        self.emptied(one, new)
        setattr(one, what, new)

    def set_cpus(self, one: Cpuset, new: set[int]) -> None:
        """A task whose CPU is no longer among them goes to the lowest of them."""
        if new == one.cpus:
            return
        self.change(one, "cpus", new)
        for task in self.inside(one.name):
            self.keep_on_cpus(task, one)

    @staticmethod
    def keep_on_cpus(task: Task, one: Cpuset) -> None:
        """The scheduler takes it elsewhere where its CPU is not one of the cpuset's."""
        if one.cpus and task.cpu not in one.cpus:
            task.cpu = min(one.cpus)

    def set_switch(self, one: Cpuset, switch: str, on: bool) -> None:
        """Exclusive only below one that is, and as long as one below is; neighbours must not overlap then."""
        if switch == "memory_migrate" or getattr(one, switch) == on:
            setattr(one, switch, on)
            return
        below = [it for it in self.hw.cpusets.values() if it.name != "/" and it.parent == one.name]
        if not on and any(getattr(it, switch) for it in below):
            raise Refused("EBUSY")
        if one.name == "/":
            raise Unmodelled("a root that is not exclusive")
        if on and not getattr(self.hw.cpusets[one.parent], switch):
            raise Refused("EACCES")
        setattr(one, switch, on)
        what = "mems" if switch == "mem_exclusive" else "cpus"
        try:
            self.check(one, what, self.has(one, what))
        except Refused:
            setattr(one, switch, not on)
            raise

    def set_mems(self, one: Cpuset, new: set[int]) -> Document:
        """Policies of areas are rebound at once, pages follow where the cpuset says so; no error reaches the writer."""
        old = set(one.mems)
        if new == old:
            return self.nothing_moved()
        self.change(one, "mems", new)
        return self.follow(self.inside(one.name), old, one)

    def do_cpuset_move(self, pid: str, name: str, **options: Any) -> Document:
        """Attach, in the order of the checks of 3.6; the cpuset that is joined decides (modern-kernel.md 36)."""
        one, caller = self.cpuset(name), self.caller(options)
        if not one.cpus or not self.hw.mems(name):
            raise Refused("ENOSPC")
        task = self.task(pid)
        if caller.uid not in (0, task.uid):
            raise Refused("EACCES")
        old = set(self.hw.online()) if task.cpuset == "/" else set(self.hw.mems(task.cpuset))  # 58: also the empty ones
        task.cpuset = name
        self.keep_on_cpus(task, one)
        return self.follow([task], old, one, alone=self.hw.modern and not task.leader)

    def follow(self, tasks: Iterable[Task], old: set[int], one: Cpuset, alone: bool = False) -> Document:
        """
        Rebind and migrate: each address space once (B14), targets within the new nodes (B12), MOVE_ALL.

        `alone`: only the task's own policy follows (61).
        """
        machine, mems = self.hw, set(self.hw.mems(one.name)) & set(self.hw.online())
        spaces: list[tuple[int, Mm]] = []
        for task in tasks:
            if machine.modern:
                machine.rebind(task)
            if not alone and task.mm is not None and all(mm is not task.mm for _, mm in spaces):
                spaces.append((task.pid, task.mm))
        command = Command(machine, spaces, machine.lowest_cpu_node(), self.chunk, mems)
        for _, mm in spaces:
            rebind_areas(machine, mm, mems)
        for space in spaces if one.memory_migrate else ():
            for source, dest in node_pairs(old, mems, machine.modern):
                pagelist = command.collect(source.__eq__, True, mms=[space])
                if migrate_list(command, pagelist, dest):
                    break
        return result(machine, command, None, 0)

    def do_node_weight(self, node: str, weight: str) -> Document:
        """The weight of a node for weighted interleaving (6.9); 0 is the default."""
        if not self.hw.modern or int(node) >= len(self.hw.nodes):
            raise Refused("EINVAL")
        self.hw.nodes[int(node)].weight = int(weight) or 1
        return {}

    def do_cpuset_remove(self, name: str) -> Document:
        """One without tasks and without cpusets below; never the root."""
        self.cpuset(name)
        below = any(it.name != "/" and it.parent == name for it in self.hw.cpusets.values())
        if name == "/" or below or self.inside(name):
            raise Refused("EBUSY")
        del self.hw.cpusets[name]
        return {}


def rebind_areas(machine: Machine, mm: Mm, mems: set[int]) -> None:
    """
    The policies of all areas, under V9 with those of the objects of tmpfs that were bound through them (9a).

    An area without a policy of its own is not touched. Today's kernel never rewrites that of an object
    (modern-kernel.md 49).
    """
    for part, area in mm.areas():
        if area.policy is None:
            continue
        area.policy = rebound(area.policy, mems, machine.modern)
        if area.file is None or area.file.fs != "tmpfs" or machine.modern:
            continue
        for vpn in part:
            index = vpn + area.delta
            if area.file.bound.get(index) == (mm.number, vpn):
                area.file.policies[index] = rebound(area.file.policies[index], mems, machine.modern)
