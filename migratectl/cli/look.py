"""Commands that show the state and change nothing."""

from __future__ import annotations

import click

from migratectl.cli import deferred as operations
from migratectl.cli.group import command
from migratectl.cli.params import PID, RANGE
from migratectl.cli.session import Session
from migratectl.spans import Span


@command("show nodes", "show nodes --json")
def show_nodes_command(session: Session) -> int:
    """Show the nodes and their memory."""
    return session.look(operations.show.show_nodes)


@command("show tasks", "show tasks 100 --json")
@click.argument("pid", type=PID, required=False, metavar="[PID]")
def show_tasks_command(session: Session, pid: int | None) -> int:
    """Show the tasks."""
    return session.look(operations.show.show_tasks, pid)


@command("show vmas", "show vmas 100", "show vmas 100 heap")
@click.argument("pid", type=PID, required=False, metavar="[PID]")
@click.argument("span", type=RANGE, required=False, metavar="[RANGE]")
def show_vmas_command(session: Session, pid: int | None, span: Span | None) -> int:
    """Show the areas of one task or of all."""
    return session.look(operations.show.show_vmas, pid, span)


@command("show pages 100", "show pages 100 heap+16p --runs")
@click.argument("pid", type=PID)
@click.argument("span", type=RANGE, required=False, metavar="[RANGE]")
@click.option("--runs", is_flag=True, help="Join pages at equal distances, as interleaving leaves them.")
def show_pages_command(session: Session, pid: int, span: Span | None, runs: bool) -> int:
    """Show where the pages of a task are."""
    return session.look(operations.show.show_pages, pid, span, runs)


@command("numa-maps 100", "numa-maps 100 --json")
@click.argument("pid", type=PID)
def numa_maps_command(session: Session, pid: int) -> int:
    """Print a task's numa_maps in the kernel's layout."""
    return session.look(operations.numa_maps.numa_maps, pid)
