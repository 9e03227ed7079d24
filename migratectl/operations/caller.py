"""Who makes a call: a user id, or a task of the state."""

from __future__ import annotations

from dataclasses import dataclass

from migratectl.nodemask import Nodemask
from migratectl.operations.machine import Machine, allowed_nodes, find_task
from migratectl.storage.connection import Connection
from migratectl.uapi import ALL_CAPABILITIES


@dataclass(frozen=True, slots=True)
class Caller:
    """``--as`` and ``--by`` as given; a pid goes before the user id."""

    uid: int = 0
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """
    A caller looked up.

    Attributes:
        uid: User id.
        caps: A bit a capability.
        mems: Nodes that its cpuset allows.
        local: Node of its CPU.
        pid: Its pid, None for a caller outside the state.
    """

    uid: int
    caps: int
    mems: Nodemask
    local: int
    pid: int | None

    def capable(self, capability: int) -> bool:
        """Whether it has a capability."""
        return bool(self.caps & capability)


def called_pid(caller: Caller, pid: int) -> int:
    """The task that a pid argument means: 0 is the caller itself, where it is a task."""
    return caller.pid if pid == 0 and caller.pid is not None else pid


def identify(conn: Connection, machine: Machine, caller: Caller) -> Identity:
    """
    Look the caller up.

    A caller outside the state has the root cpuset, runs on the lowest CPU of the lowest online node that has CPUs,
    and has all capabilities if its user id is 0. Raises NoSuchProcess for a pid that is no task.
    """
    if caller.pid is None:
        caps = 0 if caller.uid else ALL_CAPABILITIES
        return Identity(caller.uid, caps, machine.online, machine.home(machine.first_cpu), None)
    task = find_task(conn, caller.pid)
    return Identity(task.uid, task.caps, allowed_nodes(machine, task), machine.home(task.cpu), task.pid)
