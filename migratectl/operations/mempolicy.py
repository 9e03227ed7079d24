"""set_mempolicy(2)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from migratectl.errors import InvalidArgument, NotModelled
from migratectl.nodemask import Nodemask
from migratectl.operations.machine import Machine, allowed_nodes, find_task, load_machine, resolve_nodes
from migratectl.policy import Policy
from migratectl.spans import NodeList
from migratectl.storage import tasks
from migratectl.uapi import Mode, ModeFlag


def set_mempolicy(
    conn: Connection, pid: int, mode: Mode, listed: NodeList, flags: tuple[ModeFlag, ...]
) -> dict[str, Any]:
    """
    Set the policy of a task, as if it called set_mempolicy(2) itself.

    Args:
        conn: The connection of the transaction.
        pid: The task.
        mode: ``default`` clears the policy.
        listed: Its nodes.
        flags: Mode flags; not modelled.

    Returns:
        ``return`` 0, and the policy as it is now.

    Raises:
        InvalidArgument: Nodes outside the task's allowed ones or not online; default with nodes; bind or
            interleave without.
        NoSuchProcess: No such task.

    Source:
        sys_set_mempolicy() and contextualize_policy(); semantics.md 3.5.
    """
    machine = load_machine(conn)
    task = find_task(conn, pid)
    subject = f"pid {pid}"
    later = mode in (Mode.LOCAL, Mode.PREFERRED_MANY, Mode.WEIGHTED_INTERLEAVE)
    if (flags or later) and not machine.modern:
        what = "mode flags exist" if flags else f"the mode '{mode}' exists"
        instead = "say 'preferred none'" if mode is Mode.LOCAL else "take default, preferred, bind or interleave"
        raise InvalidArgument(subject, f"{what} under the profile modern only; {instead}")
    if flags or mode in (Mode.PREFERRED_MANY, Mode.WEIGHTED_INTERLEAVE):
        raise NotModelled(subject, f"mode flags and '{Mode.PREFERRED_MANY}', '{Mode.WEIGHTED_INTERLEAVE}' are to come")
    allowed = allowed_nodes(machine, task)
    asked = resolve_nodes(machine, listed, allowed, subject)
    policy = new_policy(machine, mode, asked, allowed, subject)
    il_next = next(iter(policy.nodes)) if policy is not None and policy.mode is Mode.INTERLEAVE else None
    tasks.set_policy(conn, pid, policy, il_next)
    return {
        "pid": pid,
        "return": 0,
        "errno": None,
        "mode": str(policy.mode) if policy else "default",
        "nodes": str(policy.nodes) if policy else "",
    }


def new_policy(machine: Machine, mode: Mode, asked: Nodemask, allowed: Nodemask, subject: str) -> Policy | None:
    """
    A policy as set_mempolicy(2) accepts it; None for the default one.

    ``modern`` cuts the nodes to usable ones and refuses only an empty rest; V9 refuses any node outside. Preferred
    keeps its lowest node, without nodes it means local.

    Raises:
        InvalidArgument: See set_mempolicy().

    Source:
        mpol_new() and contextualize_policy() of mm/mempolicy.c; semantics.md 3.3 row 7, 3.5.
    """
    if mode in (Mode.DEFAULT, Mode.LOCAL) and asked:
        raise InvalidArgument(subject, f"the mode {mode} takes no nodes")
    if mode in (Mode.BIND, Mode.INTERLEAVE) and not asked:
        raise InvalidArgument(subject, f"the mode {mode} needs nodes, such as 0-1")
    if mode is Mode.DEFAULT:
        return None
    usable = asked & allowed & machine.usable
    if asked and (not usable if machine.modern else usable != asked):
        outside = asked - (allowed & machine.usable)
        raise InvalidArgument(subject, f"node {outside} is not online or outside the task's cpuset ({allowed})")
    if mode is Mode.PREFERRED:
        if not usable and machine.modern:
            return Policy(Mode.LOCAL, Nodemask(), (), allowed)
        usable = Nodemask(list(usable)[:1])
    return Policy(mode, usable, (), allowed)
