"""Somebody who takes pages: a task that faults or reads, or a caller outside the state."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import repeat

from migratectl.kernel.memory import Demand, demand_by_index, demand_in_turn
from migratectl.kernel.mempolicy import Choice, policy_zonelists, turns
from migratectl.kernel.page_alloc import Allocations, Stage, place_faults
from migratectl.nodemask import Nodemask
from migratectl.operations.machine import Machine, allowed_nodes, count_allocations, find_task, give_back
from migratectl.operations.rebinding import up_to_date
from migratectl.policy import Policy
from migratectl.runs import Run, RunIndex, pages_in_order
from migratectl.storage import nodes, tasks
from migratectl.storage.connection import Connection
from migratectl.storage.files import File, policies
from migratectl.storage.pages import Freed

Leaving = Sequence[tuple[Run, int]]
"""Pages that become free right after their place has been served, with their node."""


@dataclass(slots=True)
class Allocator:
    """
    Takes memory by policy and keeps the accounts of it until settle().

    Attributes:
        conn: The connection of the transaction.
        machine: The machine.
        pid: The task; None for a caller outside the state, who has no policy.
        policy: The task's policy.
        allowed: The nodes that it may use.
        local: The node of its CPU.
        asked: Whether it has asked for memory: only then is the task's policy rebound under V9.
        il_next: The node that serves its next page of the page cache, while it interleaves.
        il_weight: How many pages in a row it still serves where it weighs more than 1; 0: it has not begun.
    """

    conn: Connection
    machine: Machine
    pid: int | None
    policy: Policy | None
    allowed: Nodemask
    local: int
    asked: bool = False
    il_next: int | None = None
    il_weight: int = 0
    free: dict[int, int] = field(default_factory=dict)
    used: dict[int, int] = field(default_factory=dict)
    freed: list[Freed] = field(default_factory=list)
    allocations: Allocations = field(default_factory=Allocations)

    @classmethod
    def of(cls, conn: Connection, machine: Machine, pid: int | None) -> Allocator:
        """The allocator of a task; None: of CPU 0's node, without policy, in the root cpuset."""
        if pid is None:
            return cls(conn, machine, None, None, machine.online, machine.home(0), free=machine.free)
        task = up_to_date(machine, find_task(conn, pid))
        allowed = allowed_nodes(machine, task)
        found = cls(conn, machine, pid, task.policy, allowed, machine.home(task.cpu), free=machine.free)
        found.il_next, found.il_weight = task.il_next, task.il_weight
        return found

    def choice(self, own: Policy | None = None) -> Choice:
        """The nodes that a policy, or else the task's, lets it use."""
        policy = self.policy if own is None else own
        machine = self.machine
        return policy_zonelists(
            policy, self.local, machine.fallback, self.allowed, modern=machine.modern, weights=machine.weights
        )

    def for_file(self, file: File, runs: Sequence[Run]) -> list[Demand]:
        """
        What pages of a file's cache ask for, by index.

        An object of tmpfs has policies of its own, else the task's counts, and both interleave by index (``modern``:
        plus inode number). Any other file goes by the task's policy, which interleaves in turn.

        Source:
            page_cache_alloc() and shmem_alloc_page(); semantics.md 6.1, rules 20 to 22 of what a 6.1 kernel does.
        """
        if not file.shared_memory:
            return self.without_area(runs)
        shift = (file.ino or 0) if self.machine.modern else 0
        low, high = min(run.start for run in runs), max(run.last for run in runs) + 1
        demands: list[Demand] = []
        at = low
        for own in policies(self.conn, file.id, low, high):
            demands += demand_by_index(_within(runs, at, own.start), shift, self.choice())
            theirs = self.choice(tasks.find_policy(self.conn, own.policy))
            demands += demand_by_index(_within(runs, own.start, own.end), shift, theirs)
            at = own.end
        return demands + demand_by_index(_within(runs, at, high), shift, self.choice())

    def without_area(self, runs: Sequence[Run]) -> list[Demand]:
        """What pages ask for whose place in an area is not known: by the task's policy, which interleaves in turn."""
        choice = self.choice()
        if not choice.interleave:
            return demand_by_index(runs, 0, choice)
        return demand_in_turn(runs, self._position(self._turns()), choice)

    def _turns(self) -> list[int]:
        """The nodes that serve the task's page cache one after another."""
        return turns(self.policy, self.machine.fallback, self.machine.weights)

    def _position(self, members: Sequence[int]) -> int:
        """Where the task is among them."""
        begun = members.count(self.il_next or 0) - self.il_weight if self.il_weight else 0
        return (sum(nid < (self.il_next or 0) for nid in members) + max(begun, 0)) % len(members)

    def took_turns(self, nr: int) -> None:
        """Let the interleaving of page cache go on behind *nr* pages that were asked for."""
        members = self._turns()
        if nr and members:
            at = (self._position(members) + nr) % len(members)
            self.il_next = members[at]
            last = len(members) - members[::-1].index(self.il_next)
            self.il_weight = last - at if at and members[at - 1] == self.il_next else 0

    def place(self, demands: Sequence[Demand], leaving: Leaving = ()) -> tuple[list[Stage], int | None]:
        """
        Give memory in ascending order and count it.

        Args:
            demands: What is asked for; no two of them at one place.
            leaving: Pages that become free on the way. That matters only where something falls back; then memory is
                given piece by piece, cut behind each such page.

        Returns:
            The stages, and the first place without memory, or None.
        """
        self.asked = self.asked or any(demand.runs for demand in demands)
        indexes = [RunIndex(demand.runs) for demand in demands]
        stages, stop = place_faults(indexes, [demand.zonelist for demand in demands], self.free)
        firsts = [demand.zonelist[0] if demand.zonelist else None for demand in demands]
        plenty = all(nid in (None, first) for stage in stages for nid, first in zip(stage.nodes, firsts, strict=True))
        if leaving and (stop is not None or not plenty):
            return self._place_piecewise(demands, leaving)
        self._take(demands, indexes, stages)
        for run, nid in leaving:
            self.free[nid] += run.nr_pages
        return stages, stop

    def _place_piecewise(self, demands: Sequence[Demand], leaving: Leaving) -> tuple[list[Stage], int | None]:
        left = heapq.merge(*(zip(pages_in_order([run]), repeat(nid)) for run, nid in leaving))
        runs = [run for demand in demands for run in demand.runs]
        at, end = min(run.start for run in runs), max(run.last for run in runs) + 1
        found: list[Stage] = []
        for page, nid in [*left, (end - 1, None)]:
            pieces = [RunIndex(_within(demand.runs, at, page + 1)) for demand in demands]
            stages, stop = place_faults(pieces, [demand.zonelist for demand in demands], self.free)
            self._take(demands, pieces, stages)
            found += stages
            if stop is not None:
                return found, stop
            if nid is not None:
                self.free[nid] += 1
            at = page + 1
        return found, None

    def _take(self, demands: Sequence[Demand], indexes: Sequence[RunIndex], stages: Iterable[Stage]) -> None:
        for stage in stages:
            for demand, index, nid in zip(demands, indexes, stage.nodes, strict=True):
                if nid is not None:
                    nr = index.below(stage.end) - index.below(stage.start)
                    self.allocations.add(demand.first, nid, nr, interleave=demand.interleave)
                    self.free[nid] -= nr
                    self.used[nid] = self.used.get(nid, 0) + nr

    def settle(self) -> None:
        """Write the accounts: used memory, numastat, and where the task's interleaving goes on."""
        give_back(self.conn, (freed.nodes for freed in self.freed))
        nodes.add_used(self.conn, self.used)
        count_allocations(self.conn, self.allocations, self.local)
        if self.pid is not None and self.policy is not None and self.asked:
            tasks.set_policy(self.conn, self.pid, self.policy, self.il_next, self.il_weight)


def _within(runs: Iterable[Run], low: int, high: int) -> list[Run]:
    parts = (run.between(low, high) for run in runs)
    return [part for part in parts if part is not None]
