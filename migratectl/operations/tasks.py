"""Tasks: made, changed, moved between CPUs, ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from migratectl.errors import AlreadyExists, InvalidArgument, NoSuchFile
from migratectl.nodemask import Nodemask
from migratectl.operations.machine import Machine, find_mm, find_task, give_back, load_machine
from migratectl.operations.mm import freed_rows, zap_page_range
from migratectl.operations.mmap_file import release_objects
from migratectl.spans import ADDRESS_END, Size
from migratectl.storage import coalesce, files, holds, resident, tasks, vmas
from migratectl.storage.connection import Connection
from migratectl.storage.tasks import Cpuset, Task
from migratectl.uapi import ALL_CAPABILITIES, MAX_PID, MAX_UID, capability


@dataclass(frozen=True, slots=True)
class TaskCreate:
    """
    The words of ``task create``.

    ``caps`` and ``drop_caps`` are capability names; ``cpus`` the CPUs that it may run on, ``memlock`` its limit of
    locked memory; None: all of its cpuset, and the profile's.
    """

    pid: int
    name: str | None = None
    uid: int = 0
    node: int | None = None
    cpu: int | None = None
    cpuset: str = "/"
    caps: tuple[str, ...] = ()
    drop_caps: tuple[str, ...] = ()
    dumpable: bool = True
    kernel_thread: bool = False
    thread_of: int | None = None
    cpus: Nodemask | None = None
    memlock: Size | None = None


def task_create(conn: Connection, call: TaskCreate) -> dict[str, Any]:
    """
    Make a task with an empty address space; a thread shares its leader's, a kernel thread has none.

    Raises:
        AlreadyExists: The pid is taken.
        InvalidArgument: A bad pid, user id, CPU, node or capability, or a thread that is a kernel thread too.
        NoSuchFile: No such cpuset.
        NoSuchProcess: No such leader.
    """
    machine = load_machine(conn)
    subject = f"pid {call.pid}"
    check_pid(conn, call.pid)
    _check_words(call, subject)
    cpuset = _cpuset(conn, call.cpuset, subject)
    _check_name(call.name or "", subject)
    mm = _address_space(conn, call)
    affinity = None if call.cpus is None else _affinity(machine, cpuset, call.cpus, subject)
    open_cpus = affinity or cpuset.cpus
    task = Task(
        call.pid,
        call.name if call.name is not None else str(call.pid),
        call.uid,
        _cpu(machine, open_cpus, call.node, call.cpu, subject, default=_first_of(open_cpus)),
        cpuset,
        mm,
        _changed(0 if call.uid else ALL_CAPABILITIES, call, subject),
        call.dumpable,
        None,
        None,
        tgid=_leader(conn, call),
        affinity=affinity,
        memlock=None if call.memlock is None else call.memlock.to_bytes(machine.facts.page_size),
    )
    tasks.insert(conn, task)
    return task_row(machine, task)


def check_pid(conn: Connection, pid: int) -> None:
    """Refuse the pid of a new task: InvalidArgument out of range, AlreadyExists where it is taken."""
    if not 1 <= pid <= MAX_PID:
        raise InvalidArgument(f"pid {pid}", f"pids go from 1 to {MAX_PID}")
    if tasks.find(conn, pid) is not None:
        raise AlreadyExists(f"pid {pid}", "there is such a task already; take another pid")


def _check_words(call: TaskCreate, subject: str) -> None:
    if not 0 <= call.uid <= MAX_UID:
        raise InvalidArgument(subject, f"user ids go from 0 to {MAX_UID}")
    if call.kernel_thread and call.thread_of is not None:
        raise InvalidArgument(subject, "a kernel thread has no address space to share; leave out one of the options")


def _check_name(name: str, subject: str) -> None:
    if not name.isprintable():
        raise InvalidArgument(subject, "the name has characters that cannot be printed")


def _address_space(conn: Connection, call: TaskCreate) -> int | None:
    if call.kernel_thread:
        return None
    if call.thread_of is not None:
        return find_mm(conn, call.thread_of)[1]
    return tasks.new_mm(conn, call.pid)


def _leader(conn: Connection, call: TaskCreate) -> int:
    """The leader of the new task's thread group: a thread joins the group of the one that it names."""
    return call.pid if call.thread_of is None else find_task(conn, call.thread_of).tgid


def _cpuset(conn: Connection, name: str, subject: str) -> Cpuset:
    found = tasks.find_cpuset(conn, name)
    if found is None:
        raise NoSuchFile(subject, f"no cpuset '{name}' in this state")
    return found


def _changed(caps: int, call: TaskCreate | TaskSet, subject: str) -> int:
    """Capabilities after those that the words give and take."""
    try:
        given = sum({capability(name) for name in call.caps})
        dropped = sum({capability(name) for name in call.drop_caps})
    except ValueError:
        raise InvalidArgument(subject, "no such capability; write names of capabilities(7) such as sys_nice") from None
    return (caps | given) & ~dropped


def _first_of(cpus: Nodemask) -> int:
    """CPU 0, or where it is not among them, the lowest."""
    return 0 if 0 in cpus or not cpus else next(iter(cpus))


def _affinity(machine: Machine, cpuset: Cpuset, asked: Nodemask, subject: str) -> Nodemask:
    """
    The CPUs that a task may run on, of those asked for: the cpuset cuts them.

    Source:
        sched_setaffinity(2).
    """
    there = Nodemask(cpu for node in machine.nodes.values() if node.online for cpu in node.cpus)
    inside = asked & there & cpuset.cpus if cpuset.cpus else asked & there
    if not inside:
        known = cpuset.cpus & there if cpuset.cpus else there
        raise InvalidArgument(subject, f"none of the CPUs {asked} is online and in cpuset '{cpuset.name}' ({known})")
    return inside


def _cpu(machine: Machine, cpus: Nodemask, node: int | None, cpu: int | None, subject: str, *, default: int) -> int:
    """The CPU that options name: itself, or the lowest one of a node among those that the task may run on."""
    if node is not None and cpu is not None:
        raise InvalidArgument(subject, "give a node or a CPU, not both")
    if cpu is not None:
        machine.node_of_cpu(cpu)
        if cpus and cpu not in cpus:
            raise InvalidArgument(subject, f"may run on the CPUs {cpus} only, not on {cpu}; see 'migratectl task list'")
        return cpu
    if node is None:
        return default
    if node not in machine.nodes or not machine.nodes[node].online:
        raise InvalidArgument(subject, f"no node {node} is online; see 'migratectl node list'")
    inside = machine.nodes[node].cpus & cpus if cpus else machine.nodes[node].cpus
    if not inside:
        raise InvalidArgument(
            subject, f"node {node} has no CPU that it may run on ({cpus}); name another node or a CPU"
        )
    return next(iter(inside))


def task_row(machine: Machine, task: Task) -> dict[str, Any]:
    """A task as every document shows it."""
    return {
        "pid": task.pid,
        "name": task.name,
        "uid": task.uid,
        "cpu": task.cpu,
        "node": machine.home(task.cpu),
        "cpuset": task.cpuset.name,
        "cpus": None if task.affinity is None else str(task.affinity),
    }


@dataclass(frozen=True, slots=True)
class TaskSet:
    """The words of ``task set``; None: as it is."""

    uid: int | None = None
    name: str | None = None
    caps: tuple[str, ...] = ()
    drop_caps: tuple[str, ...] = ()
    cpus: Nodemask | None = None
    memlock: Size | None = None


def task_set(conn: Connection, pid: int, change: TaskSet) -> dict[str, Any]:
    """
    Change name, user id, capabilities, CPUs or limit of locked memory of a task.

    A change of the user id gives root all capabilities and takes them from others; those that are named come after it.

    Raises:
        NoSuchProcess, InvalidArgument: No such task, user id or capability.
    """
    task = find_task(conn, pid)
    subject = f"pid {pid}"
    caps = task.caps
    if change.uid is not None:
        if not 0 <= change.uid <= MAX_UID:
            raise InvalidArgument(subject, f"user ids go from 0 to {MAX_UID}")
        if change.uid != task.uid:
            caps = 0 if change.uid else ALL_CAPABILITIES
        tasks.update(conn, pid, "uid", change.uid)
    if change.name is not None:
        _check_name(change.name, subject)
        tasks.update(conn, pid, "name", change.name)
    caps = _changed(caps, change, subject)
    if caps != task.caps:
        tasks.update(conn, pid, "caps", caps)
    machine = load_machine(conn)
    if change.cpus is not None:
        set_affinity(conn, machine, task, change.cpus)
    if change.memlock is not None:
        tasks.update(conn, pid, "memlock", change.memlock.to_bytes(machine.facts.page_size))
    return task_row(machine, find_task(conn, pid))


def task_list(conn: Connection) -> dict[str, Any]:
    """All tasks by pid, each with its present pages by node."""
    machine = load_machine(conn)
    rows = []
    for task in tasks.load(conn):
        held = {} if task.mm is None else resident.by_node(conn, task.mm)
        rows.append({**task_row(machine, task), "nodes": {str(nid): nr for nid, nr in held.items()}})
    return {"tasks": rows}


def task_run_on(
    conn: Connection, pid: int, node: int | None, cpu: int | None, cpus: Nodemask | None = None
) -> dict[str, Any]:
    """
    Let the scheduler move a task to a CPU, or to the lowest CPU of a node; or say on which CPUs it may run from now on.

    A task that runs on none of *cpus* goes to the lowest of them. No page moves.
    """
    machine = load_machine(conn)
    task = find_task(conn, pid)
    subject = f"pid {pid}"
    if cpus is not None:
        set_affinity(conn, machine, task, cpus)
    elif node is None and cpu is None:
        raise InvalidArgument(subject, "give --node N, --cpu C or --cpus LIST")
    else:
        chosen = _cpu(machine, task.affinity or task.cpuset.cpus, node, cpu, subject, default=task.cpu)
        tasks.update(conn, pid, "cpu", chosen)
    return task_row(machine, find_task(conn, pid))


def set_affinity(conn: Connection, machine: Machine, task: Task, cpus: Nodemask) -> None:
    """Give a task the CPUs that it may run on; one that runs on none of them goes to the lowest."""
    inside = _affinity(machine, task.cpuset, cpus, f"pid {task.pid}")
    tasks.update(conn, task.pid, "affinity", str(inside))
    if task.cpu not in inside:
        tasks.update(conn, task.pid, "cpu", next(iter(inside)))


def task_exit(conn: Connection, pid: int) -> dict[str, Any]:
    """
    End a task: its holds end, and with the last task of an address space that space and its pages go.

    Returns:
        The task's row, with the pages that were freed by node.
    """
    machine = load_machine(conn)
    task = find_task(conn, pid)
    freed = []
    touched: set[int] = set()
    for kind in holds.kinds_of(conn, pid):
        rows = holds.held_by(conn, pid, kind)
        freed.append(holds.end(conn, rows, pid, kind))
        touched.update(rows)
    files.drop_empty_orphanages(conn)
    give_back(conn, (f.nodes for f in freed))
    if task.mm is not None and tasks.pids_of(conn, task.mm) == [pid]:
        freed.append(zap_page_range(conn, task.mm, 0, ADDRESS_END // machine.facts.page_size))
        areas = vmas.load(conn, task.mm)
        for vma in areas:
            vmas.delete(conn, vma)
        freed += release_objects(conn, areas)
        tasks.delete(conn, pid)
        anon = tasks.anon_mapping(conn, task.mm)
        tasks.delete_mm(conn, task.mm)
        vmas.delete_mappings(conn, task.mm, anon)
    else:
        tasks.delete(conn, pid)
    coalesce.coalesce(conn, touched)
    return {**task_row(machine, task), "freed": freed_rows(freed)}
