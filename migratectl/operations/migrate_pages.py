"""migrate_pages(2): move a task's pages from one set of nodes to another."""

from __future__ import annotations

from typing import Any

from migratectl.errors import InvalidArgument, PermissionDenied
from migratectl.kernel.mempolicy import migration_pairs
from migratectl.nodemask import NO_NODES, Nodemask
from migratectl.operations.caller import Caller, Identity, called_pid, identify
from migratectl.operations.machine import Machine, allowed_nodes, find_mm, find_task, load_machine, resolve_nodes
from migratectl.operations.migrate import Migration, migrate_to_node
from migratectl.operations.watch import NOT_WATCHED, Watch
from migratectl.spans import NodeList
from migratectl.storage import tasks
from migratectl.storage.connection import Connection
from migratectl.storage.tasks import Task
from migratectl.uapi import MF, SYS_NICE, SYS_PTRACE


def migrate_pages(
    conn: Connection, caller: Caller, pid: int, source: NodeList, dest: NodeList, watch: Watch = NOT_WATCHED
) -> dict[str, Any]:
    """
    Move the pages of *pid* from the nodes of *source* to those of *dest*, rank by rank.

    Args:
        conn: The connection of the transaction.
        caller: Who calls: decides the rights, what is taken (a privileged caller takes shared pages too) and where
            the counters of allocations go.
        pid: The task; 0 is the caller.
        source: Nodes to leave; any may be named.
        dest: Nodes to go to; those that are not online drop out before ranks are counted.
        watch: Who looks on: gets the courses of the pages, or meets them.

    Returns:
        The document of a migration; ``return`` is the number of pages that stayed, or minus ENOMEM.

    Raises:
        NoSuchProcess, InvalidArgument, PermissionDenied: In the order of semantics.md 3.4.

    Source:
        sys_migrate_pages() and do_migrate_pages(), Direct Migration V9, 4/5; B7, B17, B19 of semantics.md.
    """
    pid = called_pid(caller, pid)
    migration, pairs = begin(conn, caller, pid, source, dest, watch)
    for at, (nid, target) in enumerate(pairs):
        migration.pending = {later for later, _ in pairs[at + 1 :]}
        migrate_to_node(migration, nid, target)
        if migration.result.err:
            break
    return {"pid": pid, **migration.document()}


def begin(
    conn: Connection,
    caller: Caller,
    pid: int,
    source: NodeList,
    dest: NodeList,
    watch: Watch,
    *,
    evict: bool = False,
) -> tuple[Migration, list[tuple[int, int]]]:
    """The checks of migrate_pages(), in their order; then the call, and its node pairs in theirs. *evict*: as of()."""
    machine = load_machine(conn)
    who = identify(conn, machine, caller)
    subject = f"pid {pid}"
    found = tasks.find(conn, pid)
    mems = allowed_nodes(machine, found) if found is not None else NO_NODES
    from_nodes = resolve_nodes(machine, source, mems, subject)
    to_nodes = resolve_nodes(machine, dest, mems, subject)
    task = found or find_task(conn, pid)
    targets = _check(machine, who, task, to_nodes)
    _, mm = find_mm(conn, pid)
    flags = MF.MOVE_ALL if who.capable(SYS_NICE) and not machine.posted else MF.MOVE  # B7
    migration = Migration.of(conn, machine, pid, mm, flags, who, watch, evict=evict)
    migration.result.nids |= {nid for nid in from_nodes | targets if nid in machine.nodes}
    return migration, list(migration_pairs(from_nodes, targets, modern=machine.modern))


def _check(machine: Machine, who: Identity, task: Task, dest: Nodemask) -> Nodemask:
    """The rights of the caller, then the nodes of *dest* that are left to go to."""
    subject = f"pid {task.pid}"
    if task.mm is None and not machine.modern:
        raise InvalidArgument(subject, "a kernel thread has no pages to move; name an ordinary task")
    if not may_move(who, task, machine):
        raise PermissionDenied(subject, refusal(who, task))
    allowed = allowed_nodes(machine, task)
    if not dest <= allowed and not who.capable(machine.migrating_capability):
        raise PermissionDenied(
            subject, f"node {dest - allowed} is outside the task's cpuset '{task.cpuset.name}' ({allowed})"
        )
    targets = dest & machine.usable
    if machine.modern:
        targets = targets & who.mems
    if not targets:
        raise InvalidArgument(subject, f"no node of '{dest or 'none'}' can be used; see 'migratectl node list'")
    return targets


def refusal(who: Identity, task: Task) -> str:
    """Why may_move() says no, and what would help."""
    if who.uid != task.uid:
        return f"the caller (uid {who.uid}) is not the owner (uid {task.uid}) nor privileged; try --as 0"
    what = "has capabilities that the caller lacks" if task.dumpable else "is not dumpable"
    return f"the task {what}, and the caller (uid {who.uid}) is not privileged; try --as 0"


def may_move(who: Identity, task: Task, machine: Machine) -> bool:
    """
    Whether a caller may move the pages of a task.

    V9 asks for the same user or CAP_SYS_NICE, as posted for CAP_SYS_ADMIN. A 6.x kernel makes a ptrace read check: the
    same user, a dumpable target and no capability that the caller lacks, or CAP_SYS_PTRACE.

    Source:
        sys_migrate_pages(), Direct Migration V9, 4/5 (B7); today's ptrace_may_access().
    """
    if who.pid == task.pid:
        return True
    if not machine.modern:
        return who.uid == task.uid or who.capable(machine.migrating_capability)
    plain = who.uid == task.uid and task.dumpable and not task.caps & ~who.caps
    return plain or who.capable(SYS_PTRACE)
