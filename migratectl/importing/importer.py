"""Puts the planned tasks of an import into the state, area by area."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final

from migratectl.errors import AlreadyExists
from migratectl.importing.cpusets import NO_HIERARCHY, Cpusets
from migratectl.importing.family import ForkFamilies
from migratectl.importing.objects import Objects, is_swappable
from migratectl.importing.pages import PagePlacer
from migratectl.importing.policies import Policies
from migratectl.importing.room import Room, Slots
from migratectl.importing.space import Space
from migratectl.linux.cpusets import read_cpusets
from migratectl.linux.numa_maps import is_thread_stack
from migratectl.linux.plan import PlannedArea, PlannedTask
from migratectl.linux.process import ProcessInfo
from migratectl.linux.tree import Tree
from migratectl.nodemask import NO_NODES, Nodemask
from migratectl.operations.machine import Machine
from migratectl.operations.mempolicy import first_turn
from migratectl.operations.tasks import task_row
from migratectl.storage import files, imports, nodes, resident, tasks, vmas
from migratectl.storage.connection import Connection
from migratectl.storage.imports import NewRows
from migratectl.storage.page_pool import write_pools
from migratectl.storage.tasks import Cpuset, Task
from migratectl.uapi import ALL_CAPABILITIES, MAX_UID, VM, Mode
from migratectl.wording import and_more

_WRITE: Final = int(VM.WRITE)
_SHARED_WRITE: Final = int(VM.SHARED | VM.WRITE)
_PFN_OR_IO: Final = int(VM.PFNMAP | VM.IO)
_RESERVED: Final = int(VM.RESERVED)
_HEAP: Final = int(VM.HEAP)
_NAMED: Final = int(VM.HEAP | VM.STACK)


class Importer:
    """
    Puts planned tasks into the state; ``notes`` and common_notes() are what was assumed.

    Args:
        conn: The connection of the transaction.
        machine: The machine.
        clip: Leave out what does not fit.
        tree: Where the files of cpusets are, if they are.
        parents: The tasks that are imported together, each with its parent, None where that is not told.
    """

    def __init__(
        self,
        conn: Connection,
        machine: Machine,
        clip: bool,
        tree: Tree | None = None,
        parents: Mapping[int, int | None] = MappingProxyType({}),
    ) -> None:
        found = NO_HIERARCHY if tree is None else read_cpusets(tree)
        where = "" if tree is None else tree.where(found.folder)
        self.conn, self.machine = conn, machine
        self.notes: list[str] = []
        self.room = Room({nid: node.free for nid, node in machine.nodes.items() if node.online}, clip)
        self.slots = Slots(conn)
        self.rows = NewRows(conn)
        self.mms: list[int] = []
        self.cpusets = Cpusets(conn, modern=machine.modern, found=found, where=where)
        self.known_cpus = Nodemask(cpu for node in machine.nodes.values() if node.online for cpu in node.cpus)
        self.objects = Objects(conn, self.rows, machine.modern)
        self.policies = Policies(conn, Nodemask(machine.nodes), clip)
        self.families = ForkFamilies(conn, parents)
        self.pages = PagePlacer(self.room, self.slots, self.rows, self.families)
        self.task_policies: dict[int, int] = {}
        self.common: dict[str, list[str]] = {}

    # ---- tasks

    def add_cpusets(self) -> None:
        """Make every cpuset that the tree tells of, with tasks or without."""
        self.notes += self.cpusets.make_all()

    def add_task(self, pid: int, info: ProcessInfo, plan: PlannedTask, source: str) -> dict[str, Any]:
        """A task of a tree with its address space; without areas it is a kernel thread. Its row."""
        if pid in self.rows.pids:
            raise AlreadyExists(f"pid {pid}", "there is such a task already; name others with --pid")
        cpu = info.cpu if info.cpu is not None and self._has_cpu(info.cpu, source) else None
        cpuset = self.cpusets.of_task(info, cpu, source)
        space = self.build(pid, cpuset, plan, source, cpu) if plan.areas else None
        uid = min(info.uid or 0, MAX_UID)
        if cpu is None:
            cpu = cpu_by_pages(self.machine, info.cpus or cpuset.cpus, space.nodes if space else {})
        task = Task(
            pid,
            info.name or str(pid),
            uid,
            cpu,
            cpuset,
            None if space is None else space.mm,
            (0 if uid else ALL_CAPABILITIES) if info.caps is None else info.caps & ALL_CAPABILITIES,
            True,
            None,
            None,
            affinity=self._affinity(info, cpuset, cpu),
        )
        self.rows.add_task(task)
        if self.rows.full:
            self.rows.flush()
        return {**task_row(self.machine, task), **(space.row() if space else {"vmas": 0, "pages": 0, "nodes": {}})}

    def _affinity(self, info: ProcessInfo, cpuset: Cpuset, cpu: int) -> Nodemask | None:
        """The CPUs of a task where it may not run on all that its cpuset has."""
        inside = self.cpusets.told_cpus(cpuset)
        own = (info.cpus or NO_NODES) & (inside or NO_NODES)
        return own if cpu in own and own != inside else None

    def _has_cpu(self, cpu: int, source: str) -> bool:
        if cpu not in self.known_cpus:
            self.notes.append(f"{source}: its task ran on CPU {cpu}, which no node has: placed by its pages")
        return cpu in self.known_cpus

    # ---- address spaces

    @property
    def has_relatives(self) -> bool:
        """Whether tasks are imported that may share pages since a fork."""
        return self.families.some

    def build(
        self,
        pid: int,
        cpuset: Cpuset,
        plan: PlannedTask,
        source: str,
        cpu: int | None = None,
        own: tuple[int, int] | None = None,
    ) -> Space:
        """
        Work out the rows of an address space. Pages that others may map too are claimed now and written by finish().

        Args:
            pid: Its task.
            cpuset: The task's cpuset.
            plan: What to build.
            source: Name of the text, for messages.
            cpu: Where the task runs, where that is told.
            own: Row ids of its address space and of that's anonymous family, where the task has one.
        """
        match = self.families.match(pid, plan, None if cpu is None else self.machine.home(cpu))
        if own is None:
            own = self.rows.new_space(pid, None if match is None else match.family.anon)
        elif match is not None:
            tasks.join_family(self.conn, own[0], match.family.anon)
            own = own[0], match.family.anon
        family = self.families.new(own[1]) if match is None else match.family
        self.mms.append(own[0])
        mems = cpuset.mems & self.machine.online
        space = Space(pid, *own, mems, source, len(plan.areas), family, {} if match is None else match.areas)
        for host in sorted({joined.member.pid for joined in space.joined.values()}):
            why = "areas of both begin at one address and are mapped more than once"
            sentence = f"pages taken as shared with pid {host} since a fork: {why}"
            self.common.setdefault(sentence, []).append(source)
        self._policy_of_task(space, plan)
        for area in plan.areas:
            self._area(space, area)
        for name, found in space.named.items():
            if len(found) == 1:
                self.rows.labels.append((space.mm, name, *found[0]))
        self._tell(space)
        return space

    def finish(self) -> None:
        """Write what waits, the pages of files, the cpusets, and the counters of nodes and swap areas."""
        self.notes += self.cpusets.settle()
        self.rows.flush()
        for pid, row in self.task_policies.items():
            policy = tasks.find_policy(self.conn, row)
            tasks.set_policy(self.conn, pid, policy, first_turn(policy))
        write_pools(self.conn, [*self.objects.pools.values(), *self.families.pools()])
        for vma in vmas.with_policy_of_object(self.conn, self.mms):
            files.set_object_policy(self.conn, vma, vma.policy)
        resident.count_anew(self.conn, self.mms)
        nodes.add_used(self.conn, self.room.taken())
        imports.use_slots(self.conn, self.slots.used)

    def common_notes(self) -> list[str]:
        """The assumptions that were made for several texts, a line each."""
        return [f"{and_more(sources)}: {sentence}" for sentence, sources in self.common.items()]

    def _tell(self, space: Space) -> None:
        for nid, nr in sorted(self.room.missing.items()):
            space.notes.append(f"{space.source}: {nr} pages on node {nid} left out, {self.room.why(nid)}")
        self.room.missing.clear()
        if space.elsewhere:
            space.notes.append(
                f"{space.source}: {space.elsewhere} pages of files that were there before stay on the node they are on"
            )
        for what, nr in sorted(space.dropped.items()):
            space.notes.append(f"{space.source}: {nr} pages {what}")
        self.notes += space.notes

    # ---- areas

    def _area(self, space: Space, area: PlannedArea) -> None:
        start, end, policy, file, offset, order, vm, runs, *_ = area
        flags = int(vm)
        if runs:
            flags &= ~_PFN_OR_IO  # what maps pages is neither
        anon = [run.anon for run in runs]
        pool = None
        if file is not None or False in anon:
            pool = self.objects.pool_of(space.pid, area)
            if file is None and True not in anon:
                flags |= _RESERVED
        row = None if policy.mode is Mode.DEFAULT else self.policies.row_of(space, area)
        if row == space.policy and (self.machine.modern or not is_swappable(area)):
            row = None  # V9 asks shared memory itself, which shows the default where it has none
        mapping, delta = (space.anon, 0) if pool is None else (pool.mapping, offset - start)
        space.anon_vmas += True in anon  # neighbours that a kernel left two may not merge
        own = space.anon_vmas if True in anon else 0
        self.rows.areas.append((space.mm, start, end, mapping, delta, flags, row, order, own))
        if area.words:
            self.rows.words.append((space.mm, start, " ".join(area.words)))
        if flags & _NAMED and not any(map(is_thread_stack, area.words)):
            space.named.setdefault("heap" if flags & _HEAP else "stack", []).append((start, end))
        writable = flags & _WRITE != 0
        if True in anon:
            self.pages.private(space, area, delta, writable=writable)
        if pool is not None and False in anon:
            shared_write = flags & _SHARED_WRITE == _SHARED_WRITE
            self.pages.of_object(space, area, pool, delta, writable=shared_write)

    def _policy_of_task(self, space: Space, plan: PlannedTask) -> None:
        """Let the task have the policy that its lines show to be its own."""
        if plan.policy is None:
            return
        space.policy = self.policies.row_of(space, next(area for area in plan.areas if area.policy == plan.policy))
        if space.policy is not None:
            self.task_policies[space.pid] = space.policy


@contextmanager
def without_collector() -> Iterator[None]:
    """Without the search for cycles, which would walk again and again through rows that have none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def cpu_by_pages(machine: Machine, allowed: Nodemask, held: Mapping[int, int]) -> int:
    """The lowest CPU of the node that has most of the pages, among the nodes with a CPU of *allowed* (empty: all)."""
    cpus = {nid: node.cpus & allowed if allowed else node.cpus for nid, node in machine.nodes.items() if node.online}
    best = max((nid for nid in cpus if cpus[nid]), key=lambda nid: (held.get(nid, 0), -nid), default=None)
    return machine.first_cpu if best is None else next(iter(cpus[best]))
