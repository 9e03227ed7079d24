"""get_mempolicy(2)."""

from __future__ import annotations

from typing import Any

from migratectl.errors import BadAddress, InvalidArgument
from migratectl.operations.fault import populate
from migratectl.operations.machine import Machine, allowed_nodes, find_mm, find_task, load_machine, resolve_address
from migratectl.operations.rebinding import keep_policy, up_to_date
from migratectl.policy import Policy
from migratectl.spans import Address
from migratectl.storage import pages, tasks, vmas
from migratectl.storage.connection import Connection
from migratectl.storage.files import object_policy
from migratectl.storage.vmas import Vma
from migratectl.uapi import VM, Mode


def get_mempolicy(
    conn: Connection, pid: int, addr: Address | None, *, node: bool, mems_allowed: bool
) -> dict[str, Any]:
    """
    Tell a policy, or where it puts the next page or has put one, as if the task called get_mempolicy(2) itself.

    Args:
        conn: The connection of the transaction.
        pid: The task.
        addr: An address: the policy of its area; None: that of the task.
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
    task = up_to_date(machine, find_task(conn, pid))
    keep_policy(conn, task)
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
    mm = find_mm(conn, pid)[1]
    page = resolve_address(conn, mm, addr, machine.facts.page_size, subject) // machine.facts.page_size
    vma = _area_at(conn, pid, mm, page)
    if node:
        return done | {"node": _node_at(conn, machine, pid, vma, page)}
    own = object_policy(conn, vma, page) if vma.kind == "shm" else vma.policy
    return done | _told(machine, None if own is None else tasks.find_policy(conn, own), "vma")


def _told(machine: Machine, policy: Policy | None, scope: str) -> dict[str, Any]:
    """A policy as the call tells it: V9 names all online nodes for a local one."""
    if policy is None:
        return {"mode": "default", "nodes": "", "flags": [], "scope": scope}
    local = policy.mode is Mode.PREFERRED and not policy.nodes
    named = policy.mems & machine.told if policy.fixed else policy.nodes
    nodes = machine.online if local else named
    return {"mode": str(policy.mode), "nodes": str(nodes), "flags": [str(f) for f in policy.flags], "scope": scope}


def _area_at(conn: Connection, pid: int, mm: int, page: int) -> Vma:
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
