"""
Puts the planned tasks of an import into the state: rooms on nodes, swap slots, cpusets, areas and their pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from migratectl.errors import AlreadyExists, InputFileError, InvalidArgument
from migratectl.linux.placement import PlannedArea, PlannedRun, PlannedTask
from migratectl.linux.process import ProcessInfo
from migratectl.nodemask import NO_NODES, Nodemask
from migratectl.operations.machine import Machine
from migratectl.operations.tasks import task_row
from migratectl.policy import Policy
from migratectl.runs import Run, make_run
from migratectl.storage import holds, imports, nodes, tasks
from migratectl.storage.imports import Batch, Cache, NewPages, NewPte, Piece
from migratectl.storage.tasks import Cpuset, Task
from migratectl.uapi import ALL_CAPABILITIES, MAX_UID, PG, VM, Mode

WRITEBACK_PASSES: Final = 1
CLIP_HINT: Final = "give --clip to leave them out"

_SHARED_MEMORY: Final = ("/dev/zero (deleted)", "/SYSV", "/memfd:", "/dev/shm/", "/anon_hugepage")
_NAMELESS: Final = ("/dev/zero (deleted)", "/SYSV00000000", "/memfd:", "/anon_hugepage")
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
_ANON_FLAGS: Final = {
    (active, cached, dirty): (int(PG.ACTIVE) if active else 0)
    | (int(PG.UPTODATE | (PG.DIRTY if dirty else 0)) if cached else 0)
    for active in (False, True)
    for cached in (False, True)
    for dirty in (False, True)
}


# ---- what runs out


class _Room:
    """
    Free pages by node, and what a line wants of them.

    Args:
        left: Free pages of the nodes that can be used.
        clip: Give what there is instead of refusing.
    """

    def __init__(self, left: Mapping[int, int], clip: bool) -> None:
        self.had, self.left, self.clip = left, dict(left), clip
        self.missing: dict[int, int] = {}

    def take(self, space: _Space, area: PlannedArea, node: int, count: int) -> int:
        """
        Take pages of a node for an area.

        Returns:
            How many; fewer than *count*, in whole pages of the area, only where they are clipped.

        Raises:
            InputFileError: The node is not there, or has not got so many.
        """
        free = self.left.get(node)
        if free is not None and count <= free:
            self.left[node] = free - count
            return count
        if not self.clip:
            where = f"{space.source}: line {area.line}"
            raise InputFileError(f"{where}: {count} pages on node {node}, {_why(free)}; {CLIP_HINT}")
        granted = (free or 0) >> area.huge_order << area.huge_order
        self.missing[node] = self.missing.get(node, 0) + count - granted
        if granted:
            self.left[node] -= granted
        return granted

    def taken(self) -> dict[int, int]:
        """The pages that were taken, by node."""
        return {nid: free - self.left[nid] for nid, free in self.had.items() if self.left[nid] < free}


def _why(free: int | None) -> str:
    return "which is no node of this machine" if free is None else f"which has room for {free} more"


class _Slots:
    """Free swap slots, by area in the order in which they are used."""

    def __init__(self, conn: Connection) -> None:
        self.free = [[area.id, area.slots - area.used] for area in holds.swap_areas(conn)]
        self.used: dict[int, int] = {}

    def take(self, count: int) -> list[tuple[int | None, int]]:
        """(area, pages) for *count* pages; area None for those without a slot."""
        parts: list[tuple[int | None, int]] = []
        for entry in self.free:
            area, nr = entry[0], min(entry[1], count)
            if nr:
                parts.append((area, nr))
                self.used[area] = self.used.get(area, 0) + nr
                entry[1] -= nr
                count -= nr
        return [*parts, (None, count)] if count else parts


# ---- from the plan to rows


class _Identity(NamedTuple):
    """What makes two areas map the same object: its name, and where that does not tell, inode number or task."""

    kind: str
    name: str
    ino: int | None
    pid: int | None


def _identity(area: PlannedArea, pid: int) -> _Identity:
    name = area.file or ""
    kind = "shm" if name.startswith(_SHARED_MEMORY) else "file"
    if name.startswith(_NAMELESS) or name.endswith(" (deleted)"):
        own = not area.inode and name.startswith(_NAMELESS)
        return _Identity(kind, name, area.inode or None, pid if own else None)
    return _Identity(kind, name, None, None)


def _alike(runs: Iterable[PlannedRun]) -> list[list[PlannedRun]]:
    """Neighbouring runs of file pages that differ in node or age at most; where they are there, that is nobody's."""
    groups: list[list[PlannedRun]] = []
    for run in runs:
        last = groups[-1][-1] if groups else None
        if (
            last is not None
            and not (run.anon or last.anon or run.step > 1 or last.step > 1)
            and run.first == last.first + last.nr_pages
            and (run.dirty, run.writeback, run.outside) == (last.dirty, last.writeback, last.outside)
        ):
            groups[-1].append(run)
        else:
            groups.append([run])
    return groups


def _join(piece: Piece, mapmax: int) -> None:
    """Make room for another mapper of pages: one of those that were outside so far, where there are such."""
    piece.outside = max(piece.nr_ptes + piece.outside, mapmax) - piece.nr_ptes - 1
    piece.outside = max(piece.outside, 0)


def _elsewhere(group: Iterable[PlannedRun], pieces: Iterable[Piece]) -> int:
    """How many pages the lines count on other nodes than those where they lie."""
    short: dict[int, int] = {}
    for run in group:
        short[run.node] = short.get(run.node, 0) + run.nr_pages
    for piece in pieces:
        node = piece.node or 0
        short[node] = short.get(node, 0) - piece.run.nr_pages
    return sum(nr for nr in short.values() if nr > 0)


@dataclass(slots=True)
class _Space:
    """The address space of one task while it is built: where its rows belong, and what its document tells."""

    pid: int
    mm: int
    anon: int
    mems: Nodemask
    source: str
    nr_areas: int
    named: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    nodes: dict[int, int] = field(default_factory=dict)
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


def _root(conn: Connection) -> Cpuset:
    root = tasks.find_cpuset(conn, "/")
    if root is None:
        raise InvalidArgument("cpuset /", "the state has no root cpuset; see 'migratectl check'")
    return root


class Importer:
    """
    Puts planned tasks into the state.

    Args:
        conn: The connection of the transaction.
        machine: The machine.
        clip: Leave out what does not fit.
        notes: Where assumptions go.
    """

    def __init__(self, conn: Connection, machine: Machine, clip: bool, notes: list[str]) -> None:
        self.conn, self.machine, self.notes = conn, machine, notes
        self.room = _Room({nid: node.free for nid, node in machine.nodes.items() if node.online}, clip)
        self.slots = _Slots(conn)
        self.batch = Batch(conn)
        self.old_mappings = self.batch.last_mapping
        self.objects: dict[_Identity, Cache] = {}
        self.caches: dict[int, Cache] = {}
        self.policies: dict[tuple[Policy, Nodemask], int | None] = {}
        self.cpusets: dict[str, Cpuset] = {}
        self.root = _root(conn)
        self.made: dict[str, Nodemask] = {}
        self.made_for: dict[str, str] = {}
        self.common: dict[str, list[str]] = {}

    # ---- tasks

    def add_task(self, pid: int, info: ProcessInfo, plan: PlannedTask, source: str) -> dict[str, Any]:
        """A task of a tree with its address space; without areas it is a kernel thread. Its row."""
        if pid in self.batch.pids:
            raise AlreadyExists(f"pid {pid}", "there is such a task already; name others with --pid")
        cpuset = self._cpuset(info, source)
        own = self.batch.new_space(pid) if plan.areas else None
        space = None if own is None else self.build(pid, own, cpuset, plan, source)
        cpu = info.cpu if info.cpu is not None and self._has_cpu(info.cpu, source) else None
        uid = min(info.uid or 0, MAX_UID)
        task = Task(
            pid,
            info.name or str(pid),
            uid,
            cpu_by_pages(self.machine, cpuset, space.nodes if space else {}) if cpu is None else cpu,
            cpuset,
            None if own is None else own[0],
            (0 if uid else ALL_CAPABILITIES) if info.caps is None else info.caps & ALL_CAPABILITIES,
            True,
            None,
            None,
        )
        self.batch.add_task(task)
        if self.batch.full:
            self.batch.flush()
        return {**task_row(self.machine, task), **(space.row() if space else {"vmas": 0, "pages": 0, "nodes": {}})}

    def _has_cpu(self, cpu: int, source: str) -> bool:
        known = any(cpu in node.cpus for node in self.machine.nodes.values() if node.online)
        if not known:
            self.notes.append(f"{source}: its task ran on CPU {cpu}, which no node has: placed by its pages")
        return known

    def _cpuset(self, info: ProcessInfo, source: str) -> Cpuset:
        """The cpuset of that path; made where it is missing, and with it those above."""
        path = "/" + (info.cpuset or "").strip("/")
        if path in self.cpusets:
            return self.cpusets[path]
        known = None if path in self.made else tasks.find_cpuset(self.conn, path)
        if known is not None:
            self.cpusets[path] = known
            return known
        return self._make_cpuset(path, (info.mems or self.root.mems) & self.root.mems or self.root.mems, source)

    def _make_cpuset(self, path: str, mems: Nodemask, source: str) -> Cpuset:
        """A cpuset with those mems; finish() widens the made ones above it to what is below them."""
        parts = path.strip("/").split("/")
        for depth in range(1, len(parts) + 1):
            each = "/" + "/".join(parts[:depth])
            if each not in self.made and tasks.find_cpuset(self.conn, each) is None:
                tasks.insert_cpuset(self.conn, each, self.root.cpus, self.root.mems)
                self.made[each] = NO_NODES
                self.made_for[each] = source
        self.made[path] = mems
        found = tasks.find_cpuset(self.conn, path) or self.root
        self.cpusets[path] = replace(found, mems=mems)
        return self.cpusets[path]

    def _settle_cpusets(self) -> None:
        """Give the made cpusets their mems: what their tasks may use, and all that is below them."""
        for path in sorted(self.made, key=lambda path: (-path.count("/"), path)):
            parent = path.rpartition("/")[0] or "/"
            mems = self.made[path]
            above = None if parent in self.made else tasks.find_cpuset(self.conn, parent)
            if above is not None:
                mems = mems & above.mems or above.mems
            else:
                self.made[parent] = self.made[parent] | mems
            tasks.set_mems(self.conn, path, mems)
            self.notes.append(f"{self.made_for[path]}: cpuset {path} made with all CPUs and node {mems}")

    # ---- address spaces

    def build(self, pid: int, own: tuple[int, int], cpuset: Cpuset, plan: PlannedTask, source: str) -> _Space:
        """
        Work out the rows of an address space. Pages of files are claimed now and written by finish().

        Args:
            pid: Its task.
            own: Row ids of the address space and of its anonymous family.
            cpuset: The task's cpuset.
            plan: What to build.
            source: Name of the text, for messages.
        """
        space = _Space(pid, *own, cpuset.mems & self.machine.online, source, len(plan.areas))
        for area in plan.areas:
            self._area(space, area)
        for name, found in space.named.items():
            if len(found) == 1:
                self.batch.labels.append((space.mm, name, *found[0]))
        self._tell(space)
        return space

    def finish(self) -> None:
        """Write what waits, the pages of files, the cpusets' mems, and the counters of nodes and swap areas."""
        self._settle_cpusets()
        self.batch.flush()
        imports.write_caches(self.conn, self.caches.values())
        nodes.add_used(self.conn, self.room.taken())
        imports.use_slots(self.conn, self.slots.used)

    def _tell(self, space: _Space) -> None:
        for nid, nr in sorted(self.room.missing.items()):
            self.notes.append(f"{space.source}: {nr} pages on node {nid} left out, {_why(self.room.left.get(nid))}")
        self.room.missing.clear()
        if space.elsewhere:
            self.notes.append(
                f"{space.source}: {space.elsewhere} pages of files that were there before stay on the node they are on"
            )
        for what, nr in sorted(space.dropped.items()):
            self.notes.append(f"{space.source}: {nr} pages {what}")

    # ---- areas

    def _area(self, space: _Space, area: PlannedArea) -> None:
        flags, cache = self._kind(space, area)
        policy = None if area.policy.mode is Mode.DEFAULT else self._policy(space, area)
        mapping, delta = (space.anon, 0) if cache is None else (cache.mapping, area.offset - area.start)
        self.batch.areas.append((space.mm, area.start, area.end, mapping, delta, flags, policy, area.huge_order))
        if flags & _NAMED:
            space.named.setdefault("heap" if flags & _HEAP else "stack", []).append((area.start, area.end))
        if cache is None:
            for run in area.runs:
                self._anonymous(space, area, run, 0, writable=bool(flags & _WRITE))
            return
        for group in _alike(area.runs):
            if group[0].anon:
                self._anonymous(space, area, group[0], delta, writable=bool(flags & _WRITE))
            else:
                self._of_file(space, area, group, cache, delta, writable=flags & _SHARED_WRITE == _SHARED_WRITE)

    def _kind(self, space: _Space, area: PlannedArea) -> tuple[int, Cache | None]:
        """The flags of an area, and the pages of what it maps; None where that is anonymous memory."""
        flags, runs = int(area.vm), area.runs
        if runs:
            flags &= ~_PFN_OR_IO  # what maps pages is neither
        if area.file is None:
            anon = [run.anon for run in runs]
            if all(anon):
                return flags, None
            if not any(anon):
                flags |= _RESERVED
        return flags, self._cache(_identity(area, space.pid))

    def _policy(self, space: _Space, area: PlannedArea) -> int | None:
        key = area.policy, space.mems
        if key not in self.policies:
            self.policies[key] = self._new_policy(space, area)
        return self.policies[key]

    def _new_policy(self, space: _Space, area: PlannedArea) -> int | None:
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
        return tasks.intern_policy(self.conn, Policy(policy.mode, inside, policy.flags, space.mems))

    def _cache(self, identity: _Identity) -> Cache:
        """The object of that identity, with the pages that it has in the state."""
        if identity not in self.objects:
            kind, name, ino, pid = identity
            found = self.batch.find_object(kind, name, ino) if pid is None else None
            if found is None:
                method = "buffer" if kind == "file" and name else "none"
                found = self.batch.new_object(kind, name, method, ino)
            self.objects[identity] = self._pages_of(found)
        return self.objects[identity]

    def _pages_of(self, mapping: int) -> Cache:
        """The pages of an object, which may be known by its name with and without inode number."""
        if mapping not in self.caches:
            old = mapping <= self.old_mappings
            self.caches[mapping] = imports.load_cache(self.conn, mapping) if old else Cache(self.conn, mapping)
        return self.caches[mapping]

    # ---- pages

    def _anonymous(self, space: _Space, area: PlannedArea, run: PlannedRun, delta: int, *, writable: bool) -> None:
        """Pages of the task's anonymous family; shared ones and those in the swap cache are write-protected."""
        at, step, nr_pages, node, _, dirty, active, _, writeback, outside = run
        granted = self.room.take(space, area, node, nr_pages)
        if not granted:
            return
        space.count(node, granted)
        for slot, nr in self._slots(space, run, granted, swappable=True):
            flags = _ANON_FLAGS[active, slot is not None, dirty]
            written = WRITEBACK_PASSES if writeback and slot else None
            if writeback and not slot:
                space.drop("outside of the swap cache cannot be under writeback: they are not", nr)
            own = step if nr > 1 else 1
            self.batch.add_pages(
                space.pid,
                NewPages(space.anon, at + delta, nr, own, node, slot, flags, written, outside),
                NewPte(space.mm, at, int(dirty and not slot), int(writable and not slot and not outside)),
            )
            at += nr * step

    def _slots(
        self, space: _Space, run: PlannedRun, count: int, *, swappable: bool
    ) -> Iterable[tuple[int | None, int]]:
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
        self, space: _Space, area: PlannedArea, group: list[PlannedRun], cache: Cache, delta: int, *, writable: bool
    ) -> None:
        """Cache pages: what the object has already gets another pte, the rest is new."""
        head = group[0]
        nr_pages = head.nr_pages if len(group) == 1 else sum(run.nr_pages for run in group)
        found, fresh = cache.claim(Run(head.first + delta, head.step, nr_pages))
        had = [piece for piece in found if piece.node is not None]
        if len(had) < len(found):
            out = sum(piece.run.nr_pages for piece in found if piece.node is None)
            space.drop("of files are swapped out in this state: left out", out)
        for piece in had:
            _join(piece, head.outside + 1)
        new: list[Piece] = []
        for run in group if fresh else ():
            for part in fresh:
                inside = part if len(group) == 1 else part.between(run.first + delta, run.first + delta + run.nr_pages)
                if inside is not None:
                    new += self._new_pieces(space, area, run, cache, inside)
        pieces = had + new
        if had and not self.room.missing:
            space.elsewhere += _elsewhere(group, pieces)
        pte = space.mm, delta, int(head.dirty), int(writable)
        for piece in pieces:
            space.count(piece.node or 0, piece.run.nr_pages)
            piece.nr_ptes += 1
            piece.ptes.append(pte)
            if head.writeback and piece.writeback is None:
                piece.writeback, piece.holder = WRITEBACK_PASSES, space.pid

    def _new_pieces(
        self, space: _Space, area: PlannedArea, run: PlannedRun, cache: Cache, part: Run
    ) -> Iterable[Piece]:
        granted = self.room.take(space, area, run.node, part.nr_pages)
        if not granted:
            return
        at = part.start
        swappable = bool(area.file and area.file.startswith(_SHARED_MEMORY))
        for slot, nr in self._slots(space, run, granted, swappable=swappable):
            flags = _CACHE_FLAGS[run.active, slot is not None and run.dirty]
            piece = Piece(make_run(at, part.step, nr), run.node, flags, run.outside, area=slot)
            cache.add(piece)
            yield piece
            at += nr * part.step


def cpu_by_pages(machine: Machine, cpuset: Cpuset, held: Mapping[int, int]) -> int:
    """The lowest CPU of the node that has most of the pages, among the nodes with a CPU in the cpuset."""
    cpus = {
        nid: node.cpus & cpuset.cpus if cpuset.cpus else node.cpus for nid, node in machine.nodes.items() if node.online
    }
    best = max((nid for nid in cpus if cpus[nid]), key=lambda nid: (held.get(nid, 0), -nid), default=None)
    return machine.first_cpu if best is None else next(iter(cpus[best]))
