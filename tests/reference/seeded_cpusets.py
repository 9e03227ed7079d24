"""Bugs in cpusets and in what they do to policies, for test_power."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from tests.reference import cpusets, machine, moves, policies, rebinding
from tests.reference.areas import Mm, Policy
from tests.reference.base import Document
from tests.reference.cpusets import Cpusets
from tests.reference.machine import Cpuset, Machine, Task


def v9_rebinds_at_once(patch: pytest.MonkeyPatch) -> None:
    """A task's policy follows its cpuset whether it runs or not."""
    right = Cpusets.follow

    def wrong(self: Cpusets, tasks: Iterable[Task], old: set[int], one: Cpuset, alone: bool = False) -> Document:
        moved = list(tasks)
        for task in moved:
            self.hw.rebind(task)
        return right(self, moved, old, one, alone)

    patch.setattr(Cpusets, "follow", wrong)


def v9_never_rebinds_tasks(patch: pytest.MonkeyPatch) -> None:
    """Only areas follow."""
    patch.setattr(Machine, "bring_up_to_date", lambda self, task: None)


def areas_keep_their_nodes(patch: pytest.MonkeyPatch) -> None:
    """Only tasks follow."""
    patch.setattr(cpusets, "rebind_areas", lambda machine, mm, mems: None)


def faults_leave_the_cpuset(patch: pytest.MonkeyPatch) -> None:
    """Memory is taken wherever the policy says."""
    right = Machine.take

    def wrong(
        self: Machine, order: list[int], cpu_node: int, interleaved: bool = False, allowed: set[int] | None = None
    ) -> int | None:
        return right(self, order, cpu_node, interleaved)

    patch.setattr(Machine, "take", wrong)


def the_cpuset_that_is_left_decides(patch: pytest.MonkeyPatch) -> None:
    """Pages follow where the old cpuset says so."""
    right = Cpusets.do_cpuset_move

    def wrong(self: Cpusets, pid: str, name: str, **options: str) -> Document:
        task, one = self.hw.tasks.get(int(pid)), self.hw.cpusets.get(name)
        if task is None or one is None:
            return right(self, pid, name, **options)
        kept, one.memory_migrate = one.memory_migrate, self.hw.cpusets[task.cpuset].memory_migrate
        try:
            return right(self, pid, name, **options)
        finally:
            one.memory_migrate = kept

    patch.setattr(Cpusets, "do_cpuset_move", wrong)


def no_cpuset_is_asked_for_targets(patch: pytest.MonkeyPatch) -> None:
    """migrate_pages(2) and move_pages(2) take any node."""
    patch.setattr(machine.Machine, "mems", lambda self, name: self.usable())


def children_may_be_left_behind(patch: pytest.MonkeyPatch) -> None:
    """A parent loses nodes that a child has."""
    right = Cpusets.check

    def wrong(self: Cpusets, one: Cpuset, what: str, new: set[int]) -> None:
        right(self, one, what, new | {n for it in self.hw.cpusets.values() if it.parent == one.name for n in self.has(
            it, what)} & self.has(self.hw.cpusets[one.parent], what))  # fmt: skip

    patch.setattr(Cpusets, "check", wrong)


def preferred_follows_today(patch: pytest.MonkeyPatch) -> None:
    """The node of preferred is mapped under `modern` too."""
    patch.setattr(machine, "rebound", lambda policy, mems, modern: rebinding.rebound(policy, mems, False))
    patch.setattr(cpusets, "rebound", lambda policy, mems, modern: rebinding.rebound(policy, mems, False))


def static_sets_are_mapped(patch: pytest.MonkeyPatch) -> None:
    """The flag counts for nothing."""
    right = policies.Policies.mode_flags
    patch.setattr(policies.Policies, "mode_flags", lambda self, mode, options: right(self, mode, options) - {"static"})


def weights_count_for_nothing(patch: pytest.MonkeyPatch) -> None:
    """Weighted interleaving is interleaving."""
    patch.setattr(Machine, "turns", lambda self, policy: sorted(policy.nodes))


def preferred_many_stays_inside(patch: pytest.MonkeyPatch) -> None:
    """It is a bind."""
    right = Machine.take_by_policy

    def wrong(self: Machine, policy: Policy | None, task: Task | None, index: int) -> int | None:
        if policy is not None and policy.mode == "preferred-many":
            policy = Policy("bind", policy.nodes)
        return right(self, policy, task, index)

    patch.setattr(Machine, "take_by_policy", wrong)


def recorded_nodes_are_told(patch: pytest.MonkeyPatch) -> None:
    """get_mempolicy() tells the nodes that are used, not those that were named."""
    patch.setattr(Policy, "fixed", False)


def a_mm_moves_with_every_thread(patch: pytest.MonkeyPatch) -> None:
    """B14: a change of mems migrates an address space once for each of its threads."""
    right = cpusets.Cpusets.follow

    def wrong(self: Cpusets, tasks: Iterable[Task], old: set[int], one: Cpuset, alone: bool = False) -> Document:
        moved = list(tasks)
        document = right(self, moved, old, one, alone)
        twice: list[Mm] = [task.mm for task in moved if task.mm is not None]
        if len(twice) > len({id(mm) for mm in twice}) and one.memory_migrate:
            document = right(self, moved, old, one, alone)
        return document

    patch.setattr(cpusets.Cpusets, "follow", wrong)


def objects_follow_every_area(patch: pytest.MonkeyPatch) -> None:
    """The policy of an object is rebound with each area that has one, not only with that through which it was bound."""
    right = cpusets.rebind_areas

    def wrong(machine: Machine, mm: Mm, mems: set[int]) -> None:
        for part, area in mm.areas():
            for vpn in part if area.file is not None else ():
                if area.file is not None and vpn + area.delta in area.file.bound:
                    area.file.bound[vpn + area.delta] = mm.number, vpn
        right(machine, mm, mems)

    patch.setattr(cpusets, "rebind_areas", wrong)


def cpusets_keep_a_node_that_went(patch: pytest.MonkeyPatch) -> None:
    """They name it when it comes back."""
    patch.setattr(moves.Moves, "leave_cpusets", lambda self, nid: None)


def the_page_cache_is_not_drained(patch: pytest.MonkeyPatch) -> None:
    """Only what tasks map leaves a node; the rest keeps it online."""
    patch.setattr(moves.Moves, "drain_cache", lambda self, command, nid, zonelist: None)


def move_pages_ignores_the_cpuset(patch: pytest.MonkeyPatch) -> None:
    """A node outside of the target's cpuset is no EACCES."""
    right = moves.MovePages.run

    def wrong(self: moves.MovePages) -> None:
        self.allowed = self.command.machine.usable()
        right(self)

    patch.setattr(moves.MovePages, "run", wrong)


BUGS: list[Callable[[pytest.MonkeyPatch], object]] = [
    v9_rebinds_at_once, v9_never_rebinds_tasks, areas_keep_their_nodes, faults_leave_the_cpuset,
    the_cpuset_that_is_left_decides, no_cpuset_is_asked_for_targets, children_may_be_left_behind,
    preferred_follows_today, static_sets_are_mapped, weights_count_for_nothing, preferred_many_stays_inside,
    cpusets_keep_a_node_that_went, the_page_cache_is_not_drained, recorded_nodes_are_told,
    a_mm_moves_with_every_thread, objects_follow_every_area, move_pages_ignores_the_cpuset,
]  # fmt: skip
