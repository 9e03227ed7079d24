"""Tasks, their address spaces, cpusets and policies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from migratectl.nodemask import Nodemask
from migratectl.policy import Policy
from migratectl.storage import resident
from migratectl.storage.connection import Connection
from migratectl.storage.work import write, write_many
from migratectl.uapi import Mode, ModeFlag

KEPT_DEFAULTS: Final = {"sched_load_balance": 1, "sched_relax_domain_level": -1}
"""What a new cpuset has in files that mean nothing to the model, where that is not 0."""


@dataclass(frozen=True, slots=True)
class Cpuset:
    """
    A cpuset: ``mems`` and ``cpus`` as written, then its switches.

    ``kept`` has those of its other files that are not as in a new one, ``name`` where it is on, else ``name=value``;
    they mean nothing to the model.
    """

    id: int
    name: str
    cpus: Nodemask
    mems: Nodemask
    memory_migrate: bool = False
    cpu_exclusive: bool = False
    mem_exclusive: bool = False
    kept: frozenset[str] = frozenset()

    @property
    def parent(self) -> str:
        """The name of the cpuset above it; of the root its own."""
        return self.name.rpartition("/")[0] or "/"

    def kept_value(self, word: str) -> int:
        """What is in one of the files that mean nothing to the model."""
        told = next((each for each in self.kept if each.partition("=")[0] == word), None)
        if told is None:
            return KEPT_DEFAULTS.get(word, 0)
        return int(told.partition("=")[2] or 1)

    def keeping(self, word: str, value: int) -> Cpuset:
        """This cpuset with another value in such a file."""
        others = frozenset(each for each in self.kept if each.partition("=")[0] != word)
        if value == KEPT_DEFAULTS.get(word, 0):
            return replace(self, kept=others)
        return replace(self, kept=others | {word if value == 1 else f"{word}={value}"})


def first_pid(mm: str) -> str:
    """The SQL expression of the lowest pid of an address space; NULL where it has no task."""
    return f"(SELECT min(k.pid) FROM tasks k WHERE k.mm = {mm})"


@dataclass(frozen=True, slots=True)
class Task:
    """
    A task; ``mm`` is None for a kernel thread, ``caps`` a bit a capability.

    ``tgid`` is the pid of its thread group's leader, ``affinity`` the CPUs that it may run on (None: all of its
    cpuset), ``memlock`` its limit of locked memory in bytes (None: that of the profile).
    """

    pid: int
    name: str
    uid: int
    cpu: int
    cpuset: Cpuset
    mm: int | None
    caps: int
    dumpable: bool
    policy: Policy | None
    il_next: int | None
    il_weight: int = 0
    tgid: int = 0
    affinity: Nodemask | None = None
    memlock: int | None = None

    def __post_init__(self) -> None:
        """A task leads its own group unless another does."""
        if not self.tgid:
            object.__setattr__(self, "tgid", self.pid)

    @property
    def leads(self) -> bool:
        """Whether it is the leader of its thread group."""
        return self.tgid == self.pid


_CPUSETS: Final = "SELECT id, name, cpus, mems, memory_migrate, cpu_exclusive, mem_exclusive, kept FROM cpusets"
_SELECT: Final = (
    "SELECT t.pid, t.name, t.uid, t.cpu, c.id, c.name, c.cpus, c.mems, c.memory_migrate, t.mm, t.caps, t.dumpable,"
    " t.policy, p.mode, p.nodes, p.flags, p.mems, t.il_next, t.il_weight, t.tgid, t.affinity, t.memlock"
    " FROM tasks t JOIN cpusets c ON c.id = t.cpuset"
    " LEFT JOIN policies p ON p.id = t.policy"
)


def _task(row: Any) -> Task:
    cpuset = Cpuset(row[4], row[5], Nodemask.parse(row[6]), Nodemask.parse(row[7]), bool(row[8]))
    policy = None if row[12] is None else make_policy(*row[13:17])
    affinity = Nodemask.parse(row[20]) if row[20] else None
    pid, name, uid, cpu = row[:4]
    il_next, il_weight, tgid = row[17:20]
    return Task(
        pid, name, uid, cpu, cpuset, row[9], row[10], bool(row[11]), policy, il_next, il_weight, tgid, affinity, row[21]
    )


def make_policy(mode: str, nodes: str, flags: str, mems: str) -> Policy:
    """A policy from the texts of its row."""
    words = tuple(ModeFlag(word) for word in flags.split()) if flags else ()
    return Policy(Mode(mode), Nodemask.parse(nodes), words, Nodemask.parse(mems))


def find(conn: Connection, pid: int) -> Task | None:
    """The task with that pid."""
    row = conn.execute(f"{_SELECT} WHERE t.pid = ?", (pid,)).one_or_none()
    return None if row is None else _task(row)


def load(conn: Connection) -> list[Task]:
    """All tasks, by pid."""
    return [_task(row) for row in conn.execute(f"{_SELECT} ORDER BY t.pid")]


def count(conn: Connection) -> int:
    """Number of tasks."""
    return int(conn.execute("SELECT count(*) FROM tasks").scalar_one())


def pids_of(conn: Connection, mm: int) -> list[int]:
    """The tasks that share an address space, by pid."""
    return [pid for (pid,) in conn.execute("SELECT pid FROM tasks WHERE mm = ? ORDER BY pid", (mm,))]


def insert(conn: Connection, task: Task) -> None:
    """Add a task without policy."""
    insert_many(conn, [task])


def insert_many(conn: Connection, tasks: Sequence[Task]) -> None:
    """Add tasks without policy."""
    write_many(
        conn,
        "INSERT INTO tasks(pid, name, uid, cpu, cpuset, mm, caps, dumpable, tgid, affinity, memlock)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (t.pid, t.name, t.uid, t.cpu, t.cpuset.id, t.mm, t.caps, int(t.dumpable), t.tgid, _cpus(t), t.memlock)
            for t in tasks
        ],
    )


def _cpus(task: Task) -> str:
    """The column of a task's affinity."""
    return "" if task.affinity is None else str(task.affinity)


def update(conn: Connection, pid: int, column: str, value: int | str) -> None:
    """Set one of ``name``, ``uid``, ``cpu``, ``caps``, ``cpuset``, ``affinity``, ``memlock``, where it differs."""
    if column not in ("name", "uid", "cpu", "caps", "cpuset", "affinity", "memlock"):
        raise ValueError(column)
    write(conn, f"UPDATE tasks SET {column} = ? WHERE pid = ? AND {column} IS NOT ?", (value, pid, value))


def set_policy(conn: Connection, pid: int, policy: Policy | None, il_next: int | None, il_weight: int = 0) -> None:
    """Set or clear the policy of a task, and where its interleaving goes on."""
    turn = (None if policy is None else intern_policy(conn, policy), il_next, il_weight)
    write(
        conn,
        "UPDATE tasks SET policy = ?, il_next = ?, il_weight = ?"
        " WHERE pid = ? AND (policy IS NOT ? OR il_next IS NOT ? OR il_weight <> ?)",
        (*turn, pid, *turn),
    )


def intern_policy(conn: Connection, policy: Policy) -> int:
    """The row id of a policy; equal policies share a row."""
    values = (policy.mode.value, str(policy.nodes), " ".join(policy.flags), str(policy.mems))
    query = "SELECT id FROM policies WHERE mode = ? AND nodes = ? AND flags = ? AND mems = ?"
    found = conn.execute(query, values).scalar()
    if found is None:
        write(conn, "INSERT INTO policies(mode, nodes, flags, mems) VALUES (?, ?, ?, ?)", values)
        found = conn.execute(query, values).scalar_one()
    return int(found)


def find_policy(conn: Connection, policy: int) -> Policy:
    """The policy of a row id."""
    row = conn.execute("SELECT mode, nodes, flags, mems FROM policies WHERE id = ?", (policy,)).one()
    return make_policy(*row)


def policies(conn: Connection) -> dict[int, Policy]:
    """All policies by row id."""
    return {
        row[0]: make_policy(*row[1:])
        for row in conn.execute("SELECT id, mode, nodes, flags, mems FROM policies ORDER BY id")
    }


def delete(conn: Connection, pid: int) -> None:
    """Remove a task; its holds must be gone."""
    write(conn, "DELETE FROM tasks WHERE pid = ?", (pid,))


def new_mm(conn: Connection, pid: int) -> int:
    """A new, empty address space with an anonymous family of its own, named after *pid*."""
    write(conn, "INSERT INTO mappings(kind, name, method) VALUES ('anon', ?, 'page')", (f"anon:{pid}",))
    write(conn, "INSERT INTO mms(anon) SELECT max(id) FROM mappings")
    return int(conn.execute("SELECT max(id) FROM mms").scalar_one())


def fork_mm(conn: Connection, mm: int) -> int:
    """A new, empty address space of the anonymous family of *mm*."""
    write(conn, "INSERT INTO mms(anon) SELECT anon FROM mms WHERE id = ?", (mm,))
    return int(conn.execute("SELECT max(id) FROM mms").scalar_one())


def join_family(conn: Connection, mm: int, anon: int) -> None:
    """Let an empty address space be of another anonymous family than its own, which goes."""
    own = anon_mapping(conn, mm)
    write(conn, "UPDATE mms SET anon = ? WHERE id = ?", (anon, mm))
    write(conn, "DELETE FROM mappings WHERE id = ?", (own,))


def delete_mm(conn: Connection, mm: int) -> None:
    """Remove an address space; its areas and ptes must be gone."""
    write(conn, "DELETE FROM labels WHERE mm = ?", (mm,))
    write(conn, "DELETE FROM words WHERE mm = ?", (mm,))
    resident.forget(conn, mm)
    write(conn, "DELETE FROM mms WHERE id = ?", (mm,))


def anon_mapping(conn: Connection, mm: int) -> int:
    """The mapping of an address space's anonymous family."""
    return int(conn.execute("SELECT anon FROM mms WHERE id = ?", (mm,)).scalar_one())


def family_size(conn: Connection, mm: int) -> int:
    """How many address spaces share the anonymous family of *mm*, itself included."""
    query = "SELECT count(*) FROM mms a JOIN mms b ON b.anon = a.anon WHERE a.id = ?"
    return int(conn.execute(query, (mm,)).scalar_one())


def find_cpuset(conn: Connection, name: str) -> Cpuset | None:
    """The cpuset of that name; ``lo`` and ``/lo`` are the same."""
    wanted = name if name.startswith("/") else f"/{name}"
    row = conn.execute(f"{_CPUSETS} WHERE name = ?", (wanted,)).one_or_none()
    return None if row is None else _cpuset(row)


def cpusets(conn: Connection) -> list[Cpuset]:
    """All cpusets, by name."""
    return [_cpuset(row) for row in conn.execute(f"{_CPUSETS} ORDER BY name")]


def cpusets_below(conn: Connection, name: str, *, exclusive: bool = False) -> list[Cpuset]:
    """The cpusets directly below one, by name; with *exclusive* those that have CPUs or nodes for themselves."""
    start = name.rstrip("/") + "/"
    inside = "name > ?1 AND name < ?2 AND instr(substr(name, length(?1) + 1), '/') = 0"
    only = " AND (cpu_exclusive OR mem_exclusive)" if exclusive else ""
    rows = conn.execute(f"{_CPUSETS} WHERE {inside}{only} ORDER BY name", (start, start[:-1] + "0"))  # 0 follows /
    return [_cpuset(row) for row in rows]


def pids_by_cpuset(conn: Connection, cpuset: int | None = None) -> dict[int, list[int]]:
    """The pids in each cpuset that has tasks, ascending, by its row id; of one cpuset only."""
    found: dict[int, list[int]] = {}
    where, values = ("", ()) if cpuset is None else ("WHERE cpuset = ?", (cpuset,))
    for row, pid in conn.execute(f"SELECT cpuset, pid FROM tasks {where} ORDER BY pid", values):
        found.setdefault(row, []).append(pid)
    return found


def _cpuset(row: Any) -> Cpuset:
    mems, cpus = Nodemask.parse(row[3]), Nodemask.parse(row[2])
    return Cpuset(row[0], row[1], cpus, mems, bool(row[4]), bool(row[5]), bool(row[6]), frozenset(row[7].split()))


def update_cpuset(conn: Connection, cpuset: Cpuset) -> None:
    """Write a cpuset's CPUs, nodes and switches, where they differ."""
    values = _columns(cpuset)
    columns = "(cpus, mems, memory_migrate, cpu_exclusive, mem_exclusive, kept)"
    places = "(?, ?, ?, ?, ?, ?)"
    update = f"UPDATE cpusets SET {columns} = {places} WHERE id = ? AND {columns} <> {places}"
    write(conn, update, (*values, cpuset.id, *values))


def delete_cpuset(conn: Connection, cpuset: Cpuset) -> None:
    """Remove a cpuset, which has no tasks."""
    write(conn, "DELETE FROM cpusets WHERE id = ?", (cpuset.id,))


def members(conn: Connection, cpuset: Cpuset) -> list[Task]:
    """The tasks in a cpuset, by pid."""
    return [_task(row) for row in conn.execute(f"{_SELECT} WHERE t.cpuset = ? ORDER BY t.pid", (cpuset.id,))]


def set_mems(conn: Connection, name: str, mems: Nodemask) -> None:
    """Set the mems of a cpuset, where they differ."""
    write(conn, "UPDATE cpusets SET mems = ? WHERE name = ? AND mems <> ?", (str(mems), name, str(mems)))


def insert_cpuset(conn: Connection, cpuset: Cpuset) -> None:
    """Add a cpuset, under an id of its own."""
    write(
        conn,
        "INSERT INTO cpusets(name, cpus, mems, memory_migrate, cpu_exclusive, mem_exclusive, kept)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (cpuset.name, *_columns(cpuset)),
    )


def _columns(cpuset: Cpuset) -> tuple[Any, ...]:
    """What can be changed of a cpuset, in the order of the columns."""
    switches = cpuset.memory_migrate, cpuset.cpu_exclusive, cpuset.mem_exclusive
    return (str(cpuset.cpus), str(cpuset.mems), *switches, " ".join(sorted(cpuset.kept)))
