"""Nodes going offline and coming back: memory hot-remove drains a node first."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from migratectl.errors import InvalidArgument
from migratectl.kernel.mempolicy import Choice
from migratectl.kernel.page_alloc import Zonelist
from migratectl.nodemask import Nodemask
from migratectl.operations.caller import Caller, identify
from migratectl.operations.init import zonelists
from migratectl.operations.machine import Machine, load_machine
from migratectl.operations.migrate import Migration, collect, migrate_along
from migratectl.operations.policy_targets import migrate_by_policy
from migratectl.operations.watch import NOT_WATCHED, Watch
from migratectl.storage import effects, gathering, nodes, pages, tasks
from migratectl.storage.connection import Connection
from migratectl.storage.gathering import Wanted
from migratectl.storage.pagelist import Alike
from migratectl.storage.pages import Orphan
from migratectl.uapi import MF, errno_number
from migratectl.wording import counted


def node_offline(conn: Connection, caller: Caller, nid: int, watch: Watch = NOT_WATCHED) -> dict[str, Any]:
    """
    Take a node offline once all its pages have moved along its fallback list.

    Args:
        conn: The connection of the transaction.
        caller: Who calls: its node counts the allocations.
        nid: The node.
        watch: Who looks on: gets the courses of the pages, or meets them.

    Returns:
        The document of a migration over all tasks that had pages there, shared ones taken too. EBUSY where pages
        stay: what moved stays moved, the node stays online, ``failures`` and ``skips`` say what stands in the way.

    Raises:
        InvalidArgument: No such node, it is offline already, or no other node that is online has memory.

    Source:
        offline_pages() and do_migrate_range(); semantics.md 9a.
    """
    machine = load_machine(conn)
    subject = f"node {nid}"
    if nid not in machine.nodes:
        raise InvalidArgument(subject, "no such node; see 'migratectl node list'")
    if not machine.nodes[nid].online:
        raise InvalidArgument(subject, "is offline already; see 'migratectl node list'")
    zonelist = tuple(other for other in machine.fallback[nid] if other != nid)
    if not any(machine.nodes[other].capacity for other in zonelist):
        raise InvalidArgument(subject, "is the last node with memory that is online; bring another online first")
    result = _drain(conn, machine, caller, nid, zonelist, watch)
    left = pages.total_on(conn, nid)
    if left:
        return result | _still_busy(nid, left, pages.orphans_on(conn, nid), full=result["errno"] == "ENOMEM")
    nodes.set_online(conn, nid, online=False)
    refresh(conn)
    _leave_cpusets(conn)
    if machine.nodes[nid].other:
        other = counted(machine.nodes[nid].other, "page in use", "pages in use")
        result["assumptions"] = [f"gone with the node: {other} by what this state does not model"]
    return result | {"return": 0, "errno": None}


def node_online(conn: Connection, nid: int) -> dict[str, Any]:
    """
    Bring a node back; no page moves.

    Raises:
        InvalidArgument: No such node, or it is online already.
    """
    machine = load_machine(conn)
    subject = f"node {nid}"
    if nid not in machine.nodes:
        raise InvalidArgument(subject, "no such node; see 'migratectl node list'")
    if machine.nodes[nid].online:
        raise InvalidArgument(subject, "is online already; see 'migratectl node list'")
    nodes.set_online(conn, nid, online=True)
    refresh(conn)
    return {"node": nid, "return": 0, "errno": None, "online": True}


def refresh(conn: Connection) -> None:
    """Fallback lists and the root cpuset name the nodes that are online now, under ``modern`` those with memory."""
    machine = load_machine(conn)
    members = [node for node in machine.nodes.values() if node.online]
    nodes.set_zonelists(conn, zonelists(members, nodes.distances(conn), modern=machine.modern))
    tasks.set_mems(conn, "/", machine.usable)


def _leave_cpusets(conn: Connection) -> None:
    """
    Take nodes that are gone out of all cpusets; tasks of one left without nodes go to the next one above that has some.

    Source:
        cpuset_hotplug_workfn() and remove_tasks_in_empty_cpuset() of kernel/cpuset.c; cpuset(7); INV-18.
    """
    named = {cpuset.name: cpuset for cpuset in tasks.cpusets(conn)}
    usable = named["/"].mems
    for cpuset in named.values():
        if cpuset.mems <= usable:
            continue
        above = cpuset
        while not above.mems & usable:
            above = named[above.parent]
        for task in tasks.members(conn, cpuset) if above is not cpuset else ():
            tasks.update(conn, task.pid, "cpuset", above.id)
        tasks.update_cpuset(conn, replace(cpuset, mems=cpuset.mems & usable))


def _drain(
    conn: Connection, machine: Machine, caller: Caller, nid: int, zonelist: Zonelist, watch: Watch
) -> dict[str, Any]:
    """Move what lies on the node: every address space by its lowest pid, then the cache pages that nobody maps."""
    who = identify(conn, machine, caller)
    migration = Migration(conn, machine, MF.MOVE_ALL, who, trace=watch.trace, races=watch.races)
    migration.result.nids |= {nid}
    effects.forget_met(conn)
    spaces = pages.address_spaces_on(conn, nid)
    migration.concern(mm for _, mm in spaces)
    for pid, mm in spaces:
        migration.turn_to(pid, mm)
        wanted = Wanted((nid,), zero=True, unmet=True)
        _migrate(migration, migration.gather(partial(collect, migration, wanted)), zonelist)
        effects.note_met(conn, nid)
    for mapping in pages.unmapped_mappings_on(conn, nid):
        migration.turn_to(None, None)
        rows = migration.gather(partial(gathering.gather_unmapped, conn, mapping, nid))
        _migrate(migration, rows, zonelist)
    return {"node": nid, **migration.document()}


def _migrate(migration: Migration, rows: list[Alike], zonelist: Zonelist) -> None:
    allowed = tuple(nid for nid in zonelist if nid in migration.machine.online)
    if migration.rules.today:
        migrate_by_policy(migration, rows, Choice((allowed,), (allowed[0],)))
    else:
        migrate_along(migration, rows, allowed, allowed[0])


def _still_busy(nid: int, left: int, orphans: list[Orphan], *, full: bool) -> dict[str, Any]:
    what = counted(left, "page stays", "pages stay")
    pinned = sum(orphan.pages for orphan in orphans)
    holders = Nodemask(orphan.pid for orphan in orphans)
    held = f", {pinned} of them mapped by nobody and pinned by pid {holders}" if pinned else ""
    remedy = "free memory on the other nodes" if full else "end what holds them"
    return {
        "return": -errno_number("EBUSY"),
        "errno": "EBUSY",
        "message": f"node {nid}: EBUSY: {what}{held}, the node stays online; {remedy} and try again",
    }
