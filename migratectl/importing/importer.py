"""
Puts the planned tasks of an import into the state: areas, anonymous pages, and the objects that areas map.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from migratectl.errors import AlreadyExists, InputFileError
from migratectl.importing.cpusets import NO_HIERARCHY, Cpusets
from migratectl.importing.family import ForkFamilies, ForkFamily, Joined, limit_of, outside_of, own_runs, sharable
from migratectl.importing.objects import ObjectIdentity, elsewhere, grouped, identity_of, is_swappable, join
from migratectl.importing.room import CLIP_HINT, Room, Slots
from migratectl.kernel.mempolicy import relative_ranks
from migratectl.linux.cpusets import read_cpusets
from migratectl.linux.numa_maps import is_thread_stack
from migratectl.linux.plan import PlannedArea, PlannedRun, PlannedTask
from migratectl.linux.process import ProcessInfo
from migratectl.linux.tree import Tree
from migratectl.nodemask import NO_NODES, Nodemask
from migratectl.operations.machine import Machine
from migratectl.operations.mempolicy import first_turn
from migratectl.operations.tasks import task_row
from migratectl.policy import Policy
from migratectl.runs import Run, make_run
from migratectl.storage import files, imports, nodes, resident, tasks, vmas
from migratectl.storage.connection import Connection
from migratectl.storage.imports import NewRows
from migratectl.storage.page_pool import PagePool, Piece, load_pool, write_pools
from migratectl.storage.tasks import Cpuset, Task
from migratectl.uapi import ALL_CAPABILITIES, MAX_UID, PG, VM, Mode, ModeFlag
from migratectl.wording import and_more

WRITEBACK_PASSES: Final = 1

_WRITE: Final = int(VM.WRITE)
_SHARED_WRITE: Final = int(VM.SHARED | VM.WRITE)
_PFN_OR_IO: Final = int(VM.PFNMAP | VM.IO)
_RESERVED: Final = int(VM.RESERVED)
_HEAP: Final = int(VM.HEAP)
_NAMED: Final = int(VM.HEAP | VM.STACK)
_CACHE_FLAGS: Final = {
    (active, dirty): int(PG.UPTODATE | (PG.ACTIVE if active else 0) | (PG.DIRTY if dirty else 0))
    for active in (False, True)
    for dirty in (False, True)
}
_ACTIVE: Final = int(PG.ACTIVE)


@dataclass(slots=True)
class Space:
    """The address space of one task while it is built: where its rows belong, and what its document tells."""

    pid: int
    mm: int
    anon: int
    mems: Nodemask
    source: str
    nr_areas: int
    family: ForkFamily
    joined: Mapping[int, Joined]
    named: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    nodes: dict[int, int] = field(default_factory=dict)
    policy: int | None = None
    anon_vmas: int = 0
    elsewhere: int = 0
    dropped: dict[str, int] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """What documents tell of it."""
        held = {str(nid): nr for nid, nr in sorted(self.nodes.items())}
        return {"vmas": self.nr_areas, "pages": sum(self.nodes.values()), "nodes": held}

    def count(self, node: int, nr: int) -> None:
        """Count present pages."""
        self.nodes[node] = self.nodes.get(node, 0) + nr

    def drop(self, what: str, nr: int) -> None:
        """Remember a property that pages could not have."""
        self.dropped[what] = self.dropped.get(what, 0) + nr


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
        self.old_mappings = self.rows.last_mapping
        self.objects: dict[ObjectIdentity, PagePool] = {}
        self.named: dict[str, PagePool] = {}
        self.pools: dict[int, PagePool] = {}
        self.policies: dict[tuple[Policy, Nodemask], int | None] = {}
        self.families = ForkFamilies(conn, parents)
        self.task_policies: dict[int, int] = {}
        self.seen: dict[tuple[int, int], tuple[int | None, Policy]] = {}
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
        write_pools(self.conn, [*self.pools.values(), *self.families.pools()])
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
            self.notes.append(f"{space.source}: {nr} pages on node {nid} left out, {self.room.why(nid)}")
        self.room.missing.clear()
        if space.elsewhere:
            self.notes.append(
                f"{space.source}: {space.elsewhere} pages of files that were there before stay on the node they are on"
            )
        for what, nr in sorted(space.dropped.items()):
            self.notes.append(f"{space.source}: {nr} pages {what}")

    # ---- areas

    def _area(self, space: Space, area: PlannedArea) -> None:
        start, end, policy, file, offset, order, vm, runs, *_ = area
        flags = int(vm)
        if runs:
            flags &= ~_PFN_OR_IO  # what maps pages is neither
        anon = [run.anon for run in runs]
        pool = None
        if file is not None or False in anon:
            pool = self.named.get(file or "") or self._object(space, area)
            if file is None and True not in anon:
                flags |= _RESERVED
        row = None if policy.mode is Mode.DEFAULT else self._policy(space, area)
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
            self._private(space, area, delta, writable=writable)
        if pool is not None and False in anon:
            shared_write = flags & _SHARED_WRITE == _SHARED_WRITE
            for group in grouped([run for run in runs if not run.anon]):
                self._of_file(space, area, group, pool, delta, writable=shared_write)

    def _private(self, space: Space, area: PlannedArea, delta: int, *, writable: bool) -> None:
        """The anonymous pages of an area: those that it shares with a relative, those that it offers, and the rest."""
        runs = [run for run in area.runs if run.anon]
        joined = space.joined.get(area.start)
        if joined is not None:
            self._share(space, area, joined, delta)
            runs = own_runs(area, joined)
        offered = [run for run in runs if sharable(run) and (joined is None or run.outside)]
        if not offered or not self.families.some or not limit_of(area):
            offered = []
        self._anonymous(space, area, [run for run in runs if run not in offered], delta, writable=writable)
        if offered:
            pieces = self._offered(space, area, offered, delta)
            self.families.offer(space.pid, space.family, area, pieces, writable=writable)

    def _offered(self, space: Space, area: PlannedArea, runs: Iterable[PlannedRun], delta: int) -> Iterable[Piece]:
        """Pages of a task that relatives may share, write-protected."""
        outside = outside_of(area)
        for run in runs:
            granted = self.room.take(space.source, area, run.node, run.nr_pages)
            if granted:
                space.count(run.node, granted)
                flags, step = _ACTIVE if run.active else 0, run.step if granted > 1 else 1
                piece = Piece(Run(run.first + delta, step, granted), run.node, flags, outside, nr_ptes=1)
                piece.ptes.append((space.mm, delta, int(run.dirty), 0))
                yield piece

    def _share(self, space: Space, area: PlannedArea, joined: Joined, delta: int) -> None:
        """Another pte, write-protected, on each page that an area shares."""
        mapmax = outside_of(area) + 1
        dirty = any(run.dirty for run in area.runs if run.anon)
        for run in joined.runs:
            for piece in joined.member.pool.claim(run)[0]:
                space.count(piece.node or 0, piece.run.nr_pages)
                join(piece, mapmax)
                piece.nr_ptes += 1
                piece.ptes.append((space.mm, delta, int(dirty), 0))

    def _policy_of_task(self, space: Space, plan: PlannedTask) -> None:
        """Let the task have the policy that its lines show to be its own."""
        if plan.policy is None:
            return
        space.policy = self._policy(space, next(area for area in plan.areas if area.policy == plan.policy))
        if space.policy is not None:
            self.task_policies[space.pid] = space.policy

    def _policy(self, space: Space, area: PlannedArea) -> int | None:
        """The row of the area's policy; by identity first, as hashing the value costs more than all else here."""
        seen = id(area.policy), space.mems.bits
        if seen not in self.seen:
            key = area.policy, space.mems
            if key not in self.policies:
                self.policies[key] = self._new_policy(space, area)
            self.seen[seen] = self.policies[key], area.policy
        return self.seen[seen][0]

    def _new_policy(self, space: Space, area: PlannedArea) -> int | None:
        """The row of a policy; None where nothing of it is left after clipping."""
        policy = area.policy
        inside = policy.nodes & Nodemask(self.machine.nodes)
        if inside != policy.nodes:
            unknown = policy.nodes - inside
            if not self.room.clip:
                raise InputFileError(
                    f"{space.source}: line {area.line}: a policy with node {unknown}, which is no node of this machine;"
                    f" {CLIP_HINT}"
                )
            self.notes.append(f"{space.source}: line {area.line}: node {unknown} left out of its policy")
            if not inside:
                return None
        named = space.mems
        if policy.fixed:
            relative = ModeFlag.RELATIVE in policy.flags
            named = (relative_ranks(inside, space.mems) if relative else inside) or inside
        return tasks.intern_policy(self.conn, Policy(policy.mode, inside, policy.flags, named))

    def _object(self, space: Space, area: PlannedArea) -> PagePool:
        """What an area maps, with the pages that it has in the state."""
        identity = identity_of(area, space.pid)
        if identity not in self.objects:
            kind, name, ino, pid, method, _ = identity
            found = self.rows.find_object(kind, name, ino) if pid is None else None
            if found is None:
                method = "page" if kind == "shm" and self.machine.modern else method
                found = self.rows.new_object(kind, name, method, ino)
            self.objects[identity] = self._pages_of(found)
        pool = self.objects[identity]
        if identity.name and identity.by_name:
            self.named[identity.name] = pool
        return pool

    def _pages_of(self, mapping: int) -> PagePool:
        """The pages of an object, which may be known by its name with and without inode number."""
        if mapping not in self.pools:
            old = mapping <= self.old_mappings
            self.pools[mapping] = load_pool(self.conn, mapping) if old else PagePool(self.conn, mapping)
        return self.pools[mapping]

    # ---- pages

    def _anonymous(
        self, space: Space, area: PlannedArea, runs: Iterable[PlannedRun], delta: int, *, writable: bool
    ) -> None:
        """Pages of the task's anonymous family; shared ones and those in the swap cache are write-protected."""
        take, nodes, mm, anon = self.room.take, space.nodes, space.mm, space.anon
        pages, ptes = self.rows.pages, self.rows.ptes
        for run in runs:
            at, step, nr_pages, node, _, dirty, active, swapcache, writeback, outside = run
            granted = take(space.source, area, node, nr_pages)
            if not granted:
                continue
            nodes[node] = nodes.get(node, 0) + granted
            if swapcache or writeback:
                self._in_swap_cache(space, run, granted, delta, writable=writable)
                continue
            own = step if granted > 1 else 1
            pages.append((anon, at + delta, granted, own, node, None, _ACTIVE if active else 0, None, outside))
            ptes.append((mm, at, 1 if dirty else 0, 1 if writable and not outside else 0))

    def _in_swap_cache(self, space: Space, run: PlannedRun, count: int, delta: int, *, writable: bool) -> None:
        """The first *count* anonymous pages of a run with the slots that there are."""
        at = run.first
        for slot, nr in self._slots(space, run, count, swappable=True):
            written = WRITEBACK_PASSES if run.writeback and slot else None
            if run.writeback and not slot:
                space.drop("outside of the swap cache cannot be under writeback: they are not", nr)
            flags = (_ACTIVE if run.active else 0) if slot is None else _CACHE_FLAGS[run.active, run.dirty]
            step = run.step if nr > 1 else 1
            self.rows.wait(space.pid, written)
            self.rows.pages.append((space.anon, at + delta, nr, step, run.node, slot, flags, written, run.outside))
            able = writable and not slot and not run.outside
            self.rows.ptes.append((space.mm, at, int(run.dirty and not slot), int(able)))
            at += nr * run.step

    def _slots(self, space: Space, run: PlannedRun, count: int, *, swappable: bool) -> Iterable[tuple[int | None, int]]:
        """(swap area, pages) of a run; area None outside of the swap cache."""
        if not run.swapcache:
            return ((None, count),)
        parts = self.slots.take(count) if swappable else [(None, count)]
        without = sum(nr for area, nr in parts if area is None)
        if without:
            why = "no free swap slot" if swappable else "pages of a file have no swap slot"
            space.drop(f"of the swap cache are outside of it: {why}", without)
        return parts

    def _of_file(
        self, space: Space, area: PlannedArea, group: list[PlannedRun], pool: PagePool, delta: int, *, writable: bool
    ) -> None:
        """Pages of an object: what the object has already gets another pte, the rest is new."""
        head = group[0]
        nr_pages = head.nr_pages if len(group) == 1 else sum(run.nr_pages for run in group)
        found, fresh = pool.claim(Run(head.first + delta, head.step, nr_pages))
        had = [piece for piece in found if piece.node is not None]
        if len(had) < len(found):
            out = sum(piece.run.nr_pages for piece in found if piece.node is None)
            space.drop("of files are swapped out in this state: left out", out)
        for piece in had:
            join(piece, head.outside + 1)
        new: list[Piece] = []
        for run in group if fresh else ():
            for part in fresh:
                inside = part if len(group) == 1 else part.between(run.first + delta, run.first + delta + run.nr_pages)
                if inside is not None:
                    new += self._new_pieces(space, area, run, pool, inside)
        pieces = had + new
        simple = len(group) == len(pieces) == 1 and pieces[0].node == head.node
        if had and not self.room.missing and not simple:
            space.elsewhere += elsewhere(group, pieces)
        pte = space.mm, delta, int(head.dirty), int(writable)
        for piece in pieces:
            space.count(piece.node or 0, piece.run.nr_pages)
            piece.nr_ptes += 1
            piece.ptes.append(pte)
            if head.writeback and piece.writeback is None:
                piece.writeback, piece.holder = WRITEBACK_PASSES, space.pid

    def _new_pieces(
        self, space: Space, area: PlannedArea, run: PlannedRun, pool: PagePool, part: Run
    ) -> Iterable[Piece]:
        granted = self.room.take(space.source, area, run.node, part.nr_pages)
        if not granted:
            return
        at = part.start
        for slot, nr in self._slots(space, run, granted, swappable=is_swappable(area)):
            flags = _CACHE_FLAGS[run.active, slot is not None and run.dirty]
            piece = Piece(make_run(at, part.step, nr), run.node, flags, run.outside, area=slot)
            pool.add(piece)
            yield piece
            at += nr * part.step


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
