"""set_mempolicy(2) and get_mempolicy(2)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from migratectl.errors import BadAddress, InvalidArgument, NotModelled
from migratectl.kernel.mempolicy import relative_nodes
from migratectl.nodemask import Nodemask
from migratectl.operations.fault import populate
from migratectl.operations.machine import Machine, allowed_nodes, find_mm, find_task, load_machine, resolve_nodes
from migratectl.operations.rebinding import up_to_date
from migratectl.policy import Policy
from migratectl.spans import NodeList
from migratectl.storage import pages, tasks, vmas
from migratectl.storage.files import object_policy
from migratectl.storage.vmas import Vma
from migratectl.uapi import VM, Mode, ModeFlag


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
    il_next = next(iter(policy.nodes)) if policy is not None and policy.mode is Mode.INTERLEAVE else None
    tasks.set_policy(conn, pid, policy, il_next)
    return {
        "pid": pid,
        "return": 0,
        "errno": None,
        "mode": str(policy.mode) if policy else "default",
        "nodes": str(policy.nodes) if policy else "",
    }


def check_mode(machine: Machine, mode: Mode, flags: tuple[ModeFlag, ...], subject: str) -> None:
    """
    Refuse what the profile does not have and flags that exclude one another (InvalidArgument), and what the model does
    not have (NotModelled).

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
    if mode is Mode.WEIGHTED_INTERLEAVE:
        raise NotModelled(subject, f"'{mode}' is not modelled: nodes have no weights here; take interleave")


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
    if mode in (Mode.BIND, Mode.INTERLEAVE, Mode.PREFERRED_MANY) and not asked:
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
    return Policy(mode, usable, flags, asked if flags else mems)


def get_mempolicy(conn: Connection, pid: int, addr: int | None, *, node: bool, mems_allowed: bool) -> dict[str, Any]:
    """
    Tell a policy, or where it puts the next page or has put one, as if the task called get_mempolicy(2) itself.

    Args:
        conn: The connection of the transaction.
        pid: The task.
        addr: An address in bytes: the policy of its area; None: that of the task.
        node: Not the policy but a node: of the page at *addr*, which is read in where it is absent, or the next one of
            an interleaving task.
        mems_allowed: The nodes that the task may use, instead (``modern``).

    Returns:
        ``mode``, ``nodes``, ``flags``, ``scope``, or ``node``.

    Raises:
        NoSuchProcess: No such task.
        InvalidArgument: Flags that exclude one another, or a next node without interleaving.
        BadAddress: No area at *addr*, or no page can be had there.

    Source:
        sys_get_mempolicy(), do_get_mempolicy() and lookup_node(); get_mempolicy(2); semantics.md 3.5.
    """
    machine = load_machine(conn)
    task = up_to_date(conn, machine, find_task(conn, pid))
    subject = f"pid {pid}"
    done: dict[str, Any] = {"pid": pid, "return": 0, "errno": None}
    if mems_allowed:
        if node or addr is not None or not machine.modern:
            why = "goes alone" if machine.modern else "exists under the profile modern only"
            raise InvalidArgument(subject, f"--mems-allowed {why}; leave it out, or see 'migratectl show cpusets'")
        return done | {"mode": None, "nodes": str(allowed_nodes(machine, task)), "flags": [], "scope": "task"}
    if addr is None:
        if not node:
            return done | _told(machine, task.policy, "task")
        if task.il_next is None:
            raise InvalidArgument(
                subject, "only an interleaving task has a next node; name an ADDR or leave out --node"
            )
        return done | {"node": task.il_next}
    page = addr // machine.facts.page_size
    vma = _area_at(conn, pid, page)
    if node:
        return done | {"node": _node_at(conn, machine, pid, vma, page)}
    own = object_policy(conn, vma, page) if vma.kind == "shm" else vma.policy
    return done | _told(machine, None if own is None else tasks.find_policy(conn, own), "vma")


def _told(machine: Machine, policy: Policy | None, scope: str) -> dict[str, Any]:
    """A policy as the call tells it: V9 names all online nodes for a local one."""
    if policy is None:
        return {"mode": "default", "nodes": "", "flags": [], "scope": scope}
    local = policy.mode is Mode.PREFERRED and not policy.nodes
    named = policy.mems if policy.flags else policy.nodes
    nodes = machine.online if local else named
    return {"mode": str(policy.mode), "nodes": str(nodes), "flags": [str(f) for f in policy.flags], "scope": scope}


def _area_at(conn: Connection, pid: int, page: int) -> Vma:
    _, mm = find_mm(conn, pid)
    found = vmas.overlapping(conn, mm, page, page + 1)
    if not found:
        raise BadAddress(f"pid {pid}", f"no area at that address; see 'migratectl show vmas {pid}'")
    return found[0]


def _node_at(conn: Connection, machine: Machine, pid: int, vma: Vma, page: int) -> int:
    """The node of the page at an address, read in where it is absent; zero pages lie on the lowest node with memory."""
    faults = populate(conn, machine, pid, page, page + 1, access=VM.READ)
    rows = pages.mapped(conn, vma.mm, (vma.start, vma.end), page, page + 1)
    here = [row for row in rows if row.run.between(page, page + 1)]
    if faults.errno or not here:
        raise BadAddress(f"pid {pid}", "no page can be had at that address: its area forbids reading or has none")
    if here[0].node is not None:
        return here[0].node
    return next(nid for nid, node in machine.nodes.items() if node.online and node.capacity)
