"""set_mempolicy(2), and what policies it and mbind(2) accept."""

from __future__ import annotations

from typing import Any

from migratectl.errors import InvalidArgument
from migratectl.kernel.mempolicy import INTERLEAVING, relative_nodes
from migratectl.nodemask import Nodemask
from migratectl.operations.machine import Machine, allowed_nodes, find_task, load_machine, resolve_nodes
from migratectl.policy import Policy
from migratectl.spans import NodeList
from migratectl.storage import tasks
from migratectl.storage.connection import Connection
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
        flags: Mode flags (``modern``).

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
    check_mode(machine, mode, flags, subject)
    allowed = allowed_nodes(machine, task)
    asked = resolve_nodes(machine, listed, allowed, subject)
    policy = new_policy(machine, mode, asked, allowed, allowed, subject, flags)
    tasks.set_policy(conn, pid, policy, first_turn(policy))
    return {
        "pid": pid,
        "return": 0,
        "errno": None,
        "mode": str(policy.mode) if policy else "default",
        "nodes": str(policy.nodes) if policy else "",
    }


def first_turn(policy: Policy | None) -> int | None:
    """The node that serves the first page of a task that interleaves by its own policy; None where it does not."""
    return next(iter(policy.nodes)) if policy is not None and policy.mode in INTERLEAVING else None


def check_mode(machine: Machine, mode: Mode, flags: tuple[ModeFlag, ...], subject: str) -> None:
    """
    Refuse what the profile does not have and flags that exclude one another: InvalidArgument.

    Source:
        sanitize_mpol_flags() of a 6.x kernel; set_mempolicy(2).
    """
    later = mode in (Mode.LOCAL, Mode.PREFERRED_MANY, Mode.WEIGHTED_INTERLEAVE)
    if (flags or later) and not machine.modern:
        what = "mode flags exist" if flags else f"the mode '{mode}' exists"
        instead = "say 'preferred none'" if mode is Mode.LOCAL else "take default, preferred, bind or interleave"
        raise InvalidArgument(subject, f"{what} under the profile modern only; {instead}")
    if ModeFlag.STATIC in flags and ModeFlag.RELATIVE in flags:
        raise InvalidArgument(subject, "--static-nodes and --relative-nodes exclude each other; give one of them")
    if ModeFlag.BALANCING in flags and mode is not Mode.BIND:
        raise InvalidArgument(subject, "--numa-balancing goes with bind; leave it out")


def new_policy(
    machine: Machine,
    mode: Mode,
    asked: Nodemask,
    limit: Nodemask,
    mems: Nodemask,
    subject: str,
    flags: tuple[ModeFlag, ...] = (),
) -> Policy | None:
    """
    A policy as set_mempolicy(2) and mbind(2) accept it; None for the default one.

    ``modern`` cuts the nodes to usable ones and refuses only an empty rest; V9 refuses any node outside. Preferred
    keeps its lowest node, without nodes it means local.

    Args:
        machine: The machine.
        mode: The mode.
        asked: The nodes as named.
        limit: Nodes that may be named: the cpuset's, for V9's mbind all that are online.
        mems: The allowed nodes of the creator, kept for later rebinds.
        subject: What an error is about.
        flags: Mode flags: a relative set counts within *limit*; with any, the nodes as named are kept.

    Raises:
        InvalidArgument: See set_mempolicy().

    Source:
        mpol_new() and contextualize_policy() of mm/mempolicy.c; semantics.md 3.3 row 7, 3.5.
    """
    if mode in (Mode.DEFAULT, Mode.LOCAL) and asked:
        raise InvalidArgument(subject, f"the mode {mode} takes no nodes")
    if mode in (Mode.BIND, *INTERLEAVING, Mode.PREFERRED_MANY) and not asked:
        raise InvalidArgument(subject, f"the mode {mode} needs nodes, such as 0-1")
    if mode is Mode.DEFAULT:
        return None
    fixed = ModeFlag.STATIC in flags or ModeFlag.RELATIVE in flags
    if fixed and (mode is Mode.LOCAL or not asked):
        raise InvalidArgument(subject, "a local policy has no nodes that could be static or relative; omit the flag")
    usable = limit & machine.usable
    usable = relative_nodes(asked, usable) if ModeFlag.RELATIVE in flags else asked & usable
    if asked and (not usable if machine.modern else usable != asked):
        outside = asked - (limit & machine.usable)
        raise InvalidArgument(subject, f"node {outside} is not online or outside the task's cpuset ({mems})")
    if mode is Mode.PREFERRED:
        if not usable and machine.modern:
            return Policy(Mode.LOCAL, Nodemask(), (), mems)
        usable = Nodemask(list(usable)[:1])
    return Policy(mode, usable, flags, asked if fixed else mems)
