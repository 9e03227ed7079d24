"""Cpusets: made, changed, joined and removed; with the migration and the rebinding that belong to it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from migratectl.errors import (
    AccessDenied,
    AlreadyExists,
    Busy,
    InvalidArgument,
    KernelError,
    NoSpace,
    NoSuchFile,
)
from migratectl.kernel.cpuset import Family, rebind, refuse_change
from migratectl.kernel.mempolicy import migration_pairs
from migratectl.nodemask import Nodemask
from migratectl.operations.caller import Caller, Identity, identify
from migratectl.operations.inventory import cpuset_row
from migratectl.operations.machine import Machine, find_task, load_machine, resolve_nodes
from migratectl.operations.migrate import Migration, migrate_to_node
from migratectl.operations.rebinding import keep_policy, rebound
from migratectl.operations.watch import NOT_WATCHED, Watch
from migratectl.spans import NodeList
from migratectl.storage import effects, files, resident, tasks, vmas
from migratectl.storage.connection import Connection
from migratectl.storage.tasks import Cpuset, Task
from migratectl.uapi import MF
from migratectl.wording import counted

_REFUSALS: dict[str, tuple[type[KernelError], str]] = {
    "ENOSPC": (NoSpace, "it may not be left without {what}; move its tasks elsewhere or name some"),
    "EBUSY": (Busy, "a cpuset below it has {what} that it would lose; change that one first"),
    "EACCES": (AccessDenied, "the cpuset above it has only {what} {parent}; name some of these"),
    "EINVAL": (InvalidArgument, "a neighbour has some of these {what}, and one of the two is exclusive"),
}


@dataclass(frozen=True, slots=True)
class Change:
    """What ``cpuset create`` and ``cpuset set`` ask for; None: as it is, or for a new one as its parent."""

    mems: NodeList | None = None
    cpus: Nodemask | None = None
    memory_migrate: bool | None = None
    cpu_exclusive: bool | None = None
    mem_exclusive: bool | None = None


def cpuset_create(conn: Connection, name: str, change: Change) -> dict[str, Any]:
    """
    Make a cpuset below one that is there; without nodes it takes no task yet.

    Raises:
        AlreadyExists, NoSuchFile, InvalidArgument: The name is taken, its parent is missing, or it is no name.
        AccessDenied, InvalidArgument: Nodes or CPUs that the parent has not, or an exclusive neighbour has.

    Source:
        cpuset_create() and update_nodemask() of kernel/cpuset.c; cpuset(7).
    """
    machine = load_machine(conn)
    path = _path(name)
    subject = f"cpuset {path}"
    if tasks.find_cpuset(conn, path) is not None:
        raise AlreadyExists(subject, "there is such a cpuset already; see 'migratectl cpuset list'")
    parent = tasks.find_cpuset(conn, path.rpartition("/")[0] or "/")
    if parent is None:
        raise NoSuchFile(subject, "there is no cpuset above it; make that one first")
    mems = _mems(machine, change.mems, parent.mems, subject) if change.mems is not None else Nodemask()
    cpus = parent.cpus if change.cpus is None else change.cpus
    inherited = _inherited(conn, parent) if machine.modern else Cpuset(0, path, Nodemask(), Nodemask())
    wanted = replace(
        inherited, name=path, cpus=cpus, mems=mems or inherited.mems, memory_migrate=bool(change.memory_migrate)
    )
    for what, new in (("mems", wanted.mems), ("cpus", wanted.cpus)):
        if new:
            _refuse(conn, machine, wanted, what, new, 0)
    tasks.insert_cpuset(conn, wanted)
    return _row(conn, path)


def cpuset_set(
    conn: Connection, caller: Caller, name: str, change: Change, watch: Watch = NOT_WATCHED
) -> dict[str, Any]:
    """
    Change a cpuset: a change of its nodes rebinds the policies of its tasks, and moves their pages where it says so.

    Args:
        conn: The connection of the transaction.
        caller: Who writes: its node counts the allocations.
        name: The cpuset.
        change: What is to be different.
        watch: Who looks on.

    Returns:
        The document of a migration over all its tasks, each address space once (B14); pages that stay are no error of
        the writer.

    Raises:
        NoSuchFile: No such cpuset.
        NoSpace, Busy, AccessDenied, InvalidArgument: In the order of semantics.md 3.6; nothing was done.

    Source:
        update_nodemask(), update_cpumask() and update_flag() of kernel/cpuset.c; semantics.md 3.6.
    """
    machine = load_machine(conn)
    cpuset = find_named(conn, name)
    subject = f"cpuset {cpuset.name}"
    if cpuset.name == "/" and (change.mems is not None or change.cpus is not None):
        raise AccessDenied(subject, "the root has what is online; see 'migratectl node online'")
    inside = tasks.members(conn, cpuset)
    wanted = replace(
        cpuset,
        mems=cpuset.mems if change.mems is None else _mems(machine, change.mems, cpuset.mems, subject),
        cpus=cpuset.cpus if change.cpus is None else change.cpus,
        **{flag: value for flag in _SWITCHES if (value := getattr(change, flag)) is not None},
    )
    for what, old, new, switched in (
        ("mems", cpuset.mems, wanted.mems, wanted.mem_exclusive != cpuset.mem_exclusive),
        ("cpus", cpuset.cpus, wanted.cpus, wanted.cpu_exclusive != cpuset.cpu_exclusive),
    ):
        if switched:
            _refuse_switch(conn, wanted, f"{what[:3]}_exclusive")
        if old != new or switched:
            _refuse(conn, machine, wanted, what, new, len(inside), emptied=old != new)
    tasks.update_cpuset(conn, wanted)
    for task in inside if cpuset.cpus != wanted.cpus else ():
        _keep_on_cpus(conn, task, wanted.cpus)
    migration = Migration(conn, machine, MF.MOVE_ALL, _worker(conn, machine, caller, wanted), **watch._asdict())
    notes = []
    if cpuset.mems != wanted.mems:
        notes = _follow(migration, inside, cpuset.mems, wanted)
    return {"cpuset": cpuset.name, **migration.document(), "return": 0, "errno": None, "notes": notes}


def cpuset_move(conn: Connection, caller: Caller, pid: int, name: str, watch: Watch = NOT_WATCHED) -> dict[str, Any]:
    """
    Let a task join a cpuset: its policies are rebound to the new nodes, and where the cpuset says so its pages follow.

    Returns:
        The document of a migration; pages that stay are no error of the writer.

    Raises:
        NoSuchFile: No such cpuset.
        NoSpace, NoSuchProcess, AccessDenied: In the order of semantics.md 3.6; nothing was done.

    Source:
        attach_task() of kernel/cpuset.c; semantics.md 3.6 (B12, B13).
    """
    machine = load_machine(conn)
    cpuset = find_named(conn, name)
    if not cpuset.cpus or not cpuset.mems:
        missing = "CPUs" if not cpuset.cpus else "nodes"
        raise NoSpace(f"cpuset {cpuset.name}", f"it has no {missing}; give it some with 'migratectl cpuset set'")
    who = identify(conn, machine, caller)
    task = find_task(conn, pid)
    if who.uid not in (0, task.uid):
        raise AccessDenied(f"pid {pid}", f"the caller (uid {who.uid}) is not its owner (uid {task.uid}); try --as 0")
    tasks.update(conn, pid, "cpuset", cpuset.id)
    _keep_on_cpus(conn, task, cpuset.cpus)
    worker = _worker(conn, machine, caller, cpuset)
    migration = Migration(conn, machine, MF.MOVE_ALL, worker, **watch._asdict())
    notes = _follow(migration, [task], _left(machine, task.cpuset), cpuset, attached=True)
    return {"pid": pid, "cpuset": cpuset.name, **migration.document(), "return": 0, "errno": None, "notes": notes}


def cpuset_remove(conn: Connection, name: str) -> dict[str, Any]:
    """
    Remove a cpuset.

    Raises:
        NoSuchFile: No such cpuset.
        Busy: Tasks are in it, or cpusets below it; the root.

    Source:
        cpuset_rmdir() of kernel/cpuset.c.
    """
    cpuset = find_named(conn, name)
    below = [each.name for each in tasks.cpusets_below(conn, cpuset.name)]
    inside = [task.pid for task in tasks.members(conn, cpuset)]
    if cpuset.name == "/":
        raise Busy("cpuset /", "the root cpuset stays; name one below it")
    if below or inside:
        why = f"pid {inside[0]} is in it" if inside else f"{below[0]} is below it"
        raise Busy(f"cpuset {cpuset.name}", f"{why}; empty it first")
    tasks.delete_cpuset(conn, cpuset)
    return {"cpuset": cpuset.name, "return": 0, "errno": None}


def _inherited(conn: Connection, parent: Cpuset) -> Cpuset:
    """
    What a new cpuset has from the one above it: where its memory is spread, and with clone_children its nodes.

    Source:
        cpuset_css_online() of kernel/cgroup/cpuset.c: no nodes where a neighbour is exclusive; rule 60 of what a 6.1
        kernel does.
    """
    child = Cpuset(0, "", Nodemask(), Nodemask())
    for word in _INHERITED:
        child = child.keeping(word, parent.kept_value(word))
    sealed = tasks.cpusets_below(conn, parent.name, exclusive=True)
    return replace(child, mems=parent.mems) if child.kept_value(CLONE_CHILDREN) and not sealed else child


CLONE_CHILDREN: Final = "cgroup.clone_children"
_INHERITED: Final = ("memory_spread_page", "memory_spread_slab", CLONE_CHILDREN)
_SWITCHES = ("memory_migrate", "cpu_exclusive", "mem_exclusive")


def _path(name: str) -> str:
    path = "/" + name.strip("/")
    if not name.isprintable() or "//" in path or path == "/" or any(p in (".", "..") for p in path.split("/")):
        raise InvalidArgument(f"cpuset '{name}'", "is no name of a new cpuset; write /name or /parent/name")
    return path


def find_named(conn: Connection, name: str) -> Cpuset:
    """The cpuset of that name. Raises NoSuchFile."""
    found = tasks.find_cpuset(conn, name.rstrip("/") or "/")
    if found is None:
        raise NoSuchFile(f"cpuset '{name}'", "no such cpuset in this state; see 'migratectl cpuset list'")
    return found


def _mems(machine: Machine, listed: NodeList, mems: Nodemask, subject: str) -> Nodemask:
    """The nodes of a write: V9 drops those that are not online, ``modern`` refuses nodes without memory."""
    asked = resolve_nodes(machine, listed, mems, subject)
    if machine.modern and not asked <= machine.usable:
        missing = asked - machine.usable
        raise InvalidArgument(subject, f"node {missing} is not online or has no memory; see 'migratectl node list'")
    return asked & machine.usable


def _refuse(
    conn: Connection, machine: Machine, cpuset: Cpuset, what: str, new: Nodemask, nr: int, *, emptied: bool = True
) -> None:
    """Refuse nodes or CPUs that do not fit the cpusets around."""
    sealed = "mem_exclusive" if what == "mems" else "cpu_exclusive"
    alone = getattr(cpuset, sealed)
    root = cpuset.name == "/"
    parent = None if root else tasks.find_cpuset(conn, cpuset.parent)
    siblings = [] if root else tasks.cpusets_below(conn, cpuset.parent, exclusive=not alone)
    family = Family(
        parent=new if parent is None else getattr(parent, what),
        children=[getattr(each, what) for each in tasks.cpusets_below(conn, cpuset.name)],
        exclusive=[
            getattr(each, what) for each in siblings if each.name != cpuset.name and (alone or getattr(each, sealed))
        ],
    )
    errno = refuse_change(new, family, tasks=nr, modern=machine.modern, emptied=emptied)
    if errno is not None:
        error, sentence = _REFUSALS[errno]
        word = "nodes" if what == "mems" else "CPUs"
        raise error(f"cpuset {cpuset.name}", sentence.format(what=word, parent=family.parent or "none"))


def _refuse_switch(conn: Connection, cpuset: Cpuset, switch: str) -> None:
    """A cpuset is exclusive only below one that is, and is so for as long as one below it is."""
    if not getattr(cpuset, switch):
        below = [each.name for each in tasks.cpusets_below(conn, cpuset.name, exclusive=True) if getattr(each, switch)]
        if below:
            raise Busy(f"cpuset {cpuset.name}", f"{below[0]} below it is {switch}; end that first")
        return
    above = tasks.find_cpuset(conn, cpuset.parent)
    if cpuset.name != "/" and above is not None and not getattr(above, switch):
        raise AccessDenied(f"cpuset {cpuset.name}", f"{above.name} above it is not {switch}; make that so first")


def _keep_on_cpus(conn: Connection, task: Task, cpus: Nodemask) -> None:
    """
    A task may run on all CPUs of its cpuset, whatever it was told before; else it goes to the lowest one.

    Source:
        cpuset_attach() and update_tasks_cpumask(); rule 42 of what a 6.1 kernel does.
    """
    tasks.update(conn, task.pid, "affinity", "")
    if cpus and task.cpu not in cpus:
        tasks.update(conn, task.pid, "cpu", next(iter(cpus)))


def _worker(conn: Connection, machine: Machine, caller: Caller, cpuset: Cpuset) -> Identity:
    """Who migrates: the writer, but within the nodes of the cpuset (B12)."""
    return replace(identify(conn, machine, caller), mems=cpuset.mems & machine.online)


def _left(machine: Machine, cpuset: Cpuset) -> Nodemask:
    """
    The nodes among which ranks are counted when a task leaves a cpuset: of the root also those without memory.

    Source:
        Rule 58 of what a 6.1 kernel does.
    """
    return cpuset.mems | machine.online if cpuset.name == "/" else cpuset.mems


def _follow(
    migration: Migration, moved: list[Task], old: Nodemask, cpuset: Cpuset, *, attached: bool = False
) -> list[str]:
    """
    Rebind what the tasks have to the cpuset's nodes, and move their pages where it says so; what stays is told.

    A thread that is attached and does not lead its group leaves the address space alone under ``modern`` (rule 61 of
    what a 6.1 kernel does).
    """
    conn, modern = migration.conn, migration.machine.modern
    mems = cpuset.mems & migration.machine.online
    spaces: dict[int, int] = {}
    for task in moved:
        if modern:
            keep_policy(conn, rebound(task, mems, modern=True))
        if task.mm is not None and (task.leads or not (attached and modern)):
            spaces.setdefault(task.mm, task.pid)
    migration.concern(spaces)
    for mm in spaces:
        _rebind_areas(conn, mm, mems, modern=modern)
    if not cpuset.memory_migrate:
        return _left_behind(conn, spaces, old - mems, cpuset)
    pairs = list(migration_pairs(old, mems, modern=modern))
    migration.result.nids |= {nid for nid in old | mems if nid in migration.machine.nodes}
    effects.forget_met(conn)
    last = next(reversed(spaces), None)
    for mm, pid in spaces.items():
        migration.turn_to(pid, mm)
        for at, (source, dest) in enumerate(pairs):
            migration.pending = {later for later, _ in (pairs[at + 1 :] if mm == last else pairs)}
            migrate_to_node(migration, source, dest, unmet=True)
            effects.note_met(conn, source)
            if migration.result.err:
                break
        migration.result.err = None  # nobody tells the writer, and the next address space is tried all the same
    return []


def _left_behind(conn: Connection, spaces: Iterable[int], left: Nodemask, cpuset: Cpuset) -> list[str]:
    """A sentence about the pages on nodes that the tasks may not use any more, where there are some."""
    nr = sum(nr for mm in spaces for nid, nr in resident.by_node(conn, mm).items() if nid in left)
    if not nr:
        return []
    what = f"{counted(nr, 'page lies', 'pages lie')} outside the new nodes and {'stays' if nr == 1 else 'stay'} there"
    remedy = f"'migratectl cpuset set {shlex.quote(cpuset.name)} --memory-migrate' lets pages follow from then on"
    return [f"{what}, as memory_migrate of cpuset {cpuset.name} is off; {remedy}"]


def _rebind_areas(conn: Connection, mm: int, mems: Nodemask, *, modern: bool) -> None:
    """
    The policies of areas after the allowed nodes became *mems*.

    Under V9 the policy of a shared memory object is that of the area through which it was bound, and follows it; a 6.x
    kernel leaves it alone.

    Source:
        mpol_rebind_mm() of mm/mempolicy.c; semantics.md 3.6, 9a; rule 49 of what a 6.1 kernel does.
    """

    def rebound(policy: int) -> int:
        return tasks.intern_policy(conn, rebind(tasks.find_policy(conn, policy), mems, modern=modern))

    for vma in () if modern else vmas.with_policy_of_object(conn, [mm]):
        low, high = vma.start + vma.delta, vma.end + vma.delta
        for own in files.policies(conn, vma.mapping, low, high):
            if own.bound_through(vma):
                where = max(own.start, low), min(own.end, high)
                files.set_policy(conn, vma.mapping, where, rebound(own.policy), vma)
    vmas.replace_policies(conn, mm, {policy: rebound(policy) for policy in vmas.policies_of(conn, mm)})


def _row(conn: Connection, path: str) -> dict[str, Any]:
    cpuset = find_named(conn, path)
    return cpuset_row(cpuset, tasks.pids_by_cpuset(conn, cpuset.id).get(cpuset.id, []))
