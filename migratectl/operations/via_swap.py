"""Migration as it was before there was direct migration: out to swap, and back where the task touches its pages."""

from __future__ import annotations

from typing import Any

from migratectl.operations.caller import Caller, called_pid
from migratectl.operations.fault import come_back
from migratectl.operations.machine import load_machine
from migratectl.operations.migrate import collect, evict_list
from migratectl.operations.migrate_pages import begin
from migratectl.operations.watch import NOT_WATCHED, Watch
from migratectl.spans import NodeList
from migratectl.storage import holds
from migratectl.storage.connection import Connection
from migratectl.storage.gathering import Wanted


def migrate_via_swap(
    conn: Connection, caller: Caller, pid: int, source: NodeList, dest: NodeList, watch: Watch = NOT_WATCHED
) -> dict[str, Any]:
    """
    Throw the pages that migrate_pages() would move out of memory, and let the task read them back.

    Where they land is for the policies and the CPU of the task to say, as of then: *dest* decides only which nodes are
    left. Pages of files that were thrown out come back when they are touched.

    Args:
        conn: The connection of the transaction.
        caller: Who calls, as for migrate_pages().
        pid: The task; 0 is the caller.
        source: Nodes to leave.
        dest: Nodes to go to.
        watch: Who looks on.

    Returns:
        The document of a migration with ``faults``, ``io`` (pages written and read) and ``slots`` (most in use at a
        time). ENOMEM where pages cannot be read back: they stay in swap.

    Raises:
        NoSuchProcess, InvalidArgument, PermissionDenied: As migrate_pages().

    Source:
        The swap migration that the overview of Direct Migration V9 compares with; semantics.md 9a.
    """
    pid = called_pid(caller, pid)
    migration, pairs = begin(conn, caller, pid, source, dest, watch, evict=True)
    wanted = Wanted(tuple(sorted(nid for nid, _ in pairs)), zero=True)
    evict_list(migration, migration.gather(lambda: collect(migration, wanted)))
    migration.settle()
    slots = sum(area.used for area in holds.swap_areas(conn))
    faults = come_back(conn, load_machine(conn), pid)
    document = {"pid": pid, **migration.document()}
    document |= {"faults": faults.counts(), "io": {"written": migration.result.written, "read": faults.major}}
    document["slots"] = slots
    if faults.errno:
        document |= faults.failure(f"pid {pid}", migration.machine.facts.page_size)
    return document
