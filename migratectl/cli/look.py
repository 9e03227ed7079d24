"""Commands that show the state and change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from migratectl.cli import deferred as operations
from migratectl.cli.group import command
from migratectl.cli.params import NODES, PID, RANGE
from migratectl.cli.session import Session
from migratectl.cli.touching import anything, of_task
from migratectl.spans import NodeList, Span

if TYPE_CHECKING:
    from migratectl.linux.mpol import Era

ERAS: Final = ("2006-01", "2.6.16", "modern")
"""The layouts of numa_maps."""

_pid = click.argument("pid", type=PID)
_some_pid = click.argument("pid", type=PID, required=False, metavar="[PID]")
_some_span = click.argument("span", type=RANGE, required=False, metavar="[RANGE]")


@command("show nodes", "show nodes --json", touches=anything())
def show_nodes_command(session: Session) -> int:
    """Show the nodes and their memory."""
    return session.look(operations.show.show_nodes)


@command("show tasks", "show tasks 100 --json", touches=of_task())
@_some_pid
def show_tasks_command(session: Session, pid: int | None) -> int:
    """Show the tasks."""
    return session.look(operations.show.show_tasks, pid)


@command("show vmas", "show vmas 100", "show vmas 100 heap", touches=of_task())
@_some_pid
@_some_span
def show_vmas_command(session: Session, pid: int | None, span: Span | None) -> int:
    """Show the areas of one task or of all."""
    return session.look(operations.show.show_vmas, pid, span)


@command("show pages 100", "show pages 100 heap+16p --runs", touches=of_task())
@_pid
@_some_span
@click.option("--runs", is_flag=True, help="Join pages at equal distances, as interleaving leaves them.")
def show_pages_command(session: Session, pid: int, span: Span | None, runs: bool) -> int:
    """Show where the pages of a task are."""
    return session.look(operations.show.show_pages, pid, span, runs)


@command("show mappings", "show mappings 100", "show mappings 100 heap", touches=of_task())
@_some_pid
@_some_span
def show_mappings_command(session: Session, pid: int | None, span: Span | None) -> int:
    """Show anonymous families, files and segments with their pages."""
    return session.look(operations.inventory.show_mappings, pid, span)


@command("show buffers", "show buffers 100", "show buffers 100 0x10000000+16p", touches=of_task())
@_some_pid
@_some_span
def show_buffers_command(session: Session, pid: int | None, span: Span | None) -> int:
    """Show the pages that have a ring of buffers."""
    return session.look(operations.inventory.show_buffers, pid, span)


@command("show policies", "show policies 100", "show policies 100 heap --json", touches=of_task())
@_some_pid
@_some_span
def show_policies_command(session: Session, pid: int | None, span: Span | None) -> int:
    """Show the policies of tasks, areas and shared objects."""
    return session.look(operations.inventory.show_policies, pid, span)


@command("show cpusets", "show cpusets 100", touches=of_task())
@_some_pid
def show_cpusets_command(session: Session, pid: int | None) -> int:
    """Show the cpusets and the tasks in them."""
    return session.look(operations.inventory.show_cpusets, pid)


@command("show swap", "show swap 100", "show swap 100 heap", touches=of_task())
@_some_pid
@_some_span
def show_swap_command(session: Session, pid: int | None, span: Span | None) -> int:
    """Show the swap areas, and which pages of a task have a slot."""
    return session.look(operations.inventory.show_swap, pid, span)


@command("numa-maps 100", "numa-maps 100 --json", "numa-maps 100 --era 2006-01", touches=of_task())
@_pid
@click.option("--era", type=click.Choice(ERAS), help="The kernel's layout (default: by profile).")
def numa_maps_command(session: Session, pid: int, era: Era | None) -> int:
    """Print a task's numa_maps in the kernel's layout."""
    return session.look(operations.numa_maps.numa_maps, pid, era)


@command("numastat", "numastat -p 100", "numastat -p 100 --json", touches=of_task())
@click.option("-p", "--pid", type=PID, help="The memory of this task instead.")
def numastat_command(session: Session, pid: int | None) -> int:
    """Print the counters of the nodes, or a task's memory by node."""
    if pid is None:
        return session.look(operations.numastat.numastat)
    return session.look(operations.numastat.numastat_of, pid)


@command("hardware", "hardware --json", touches=anything())
def hardware_command(session: Session) -> int:
    """Print nodes, memory and distances as numactl does."""
    return session.look(operations.hardware.hardware)


@command("locality", "locality 100", "locality --json", touches=of_task())
@_some_pid
def locality_command(session: Session, pid: int | None) -> int:
    """Show pages by distance from where their task runs."""
    return session.look(operations.locality.locality, pid)


@command("explain 100 heap", "explain 100 0x10000000+64p --from 0 --move", "explain 100", touches=of_task())
@_pid
@_some_span
@click.option("--from", "source", type=NODES, metavar="NODES", help="Ask about leaving these nodes (default: all).")
@click.option("--move", is_flag=True, help="Ask for pages that only this task maps, whoever calls.")
def explain_command(session: Session, pid: int, span: Span | None, source: NodeList | None, move: bool) -> int:
    """
    Tell for each page whether it could move, and why not.

    Without RANGE all areas are told, grouped by reason. Nothing moves. The caller (--as, --by) decides whether shared
    pages are taken. Whether a node has room for the pages is told by a dry run of the migration.
    """
    call = operations.explain.Explain(pid, span, source, move)
    return session.look(operations.explain.explain, session.caller, call)
