"""Commands about cpusets."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from migratectl.cli import deferred as operations
from migratectl.cli.group import command
from migratectl.cli.params import CPU_LIST, NODES, PID
from migratectl.cli.session import Session
from migratectl.cli.touching import anything, of_task
from migratectl.cli.watch import RaceWords, Traced, watch, watched
from migratectl.nodemask import Nodemask
from migratectl.spans import NodeList
from migratectl.touches import Manner, Touches

F = TypeVar("F", bound=Callable[..., Any])

_PID = re.compile(r"\+?([1-9][0-9]{0,9})")
"""A pid as ``tasks`` takes it under every profile."""


@command(
    "cpuset create /batch --mems 0-1",
    "cpuset create /batch/night --mems 1 --cpus 4-7 --memory-migrate",
    touches=anything(),
)
@click.argument("name")
@click.option("--mems", type=NODES, required=True, metavar="NODES", help="Its nodes; none is allowed.")
@click.option("--cpus", type=CPU_LIST, help="Its CPUs (default: those of the cpuset above).")
@click.option("--memory-migrate", is_flag=True, help="Pages follow tasks that join, and changes of its nodes.")
def cpuset_create_command(
    session: Session, name: str, mems: NodeList, cpus: Nodemask | None, memory_migrate: bool
) -> int:
    """Make a cpuset."""
    change = operations.cpuset.Change(mems, cpus, memory_migrate)
    return session.perform(operations.cpuset.cpuset_create, name, change)


@command(
    "cpuset set /batch --mems 2-3",
    "cpuset set /batch --memory-migrate --no-mem-exclusive",
    touches=anything(Manner.ISOLATES),
)
@click.argument("name")
@click.option("--mems", type=NODES, metavar="NODES", help="Its nodes from now on.")
@click.option("--cpus", type=CPU_LIST, help="Its CPUs from now on.")
@click.option("--memory-migrate/--no-memory-migrate", default=None, help="Whether pages follow.")
@click.option("--cpu-exclusive/--no-cpu-exclusive", default=None, help="Whether no neighbour may have its CPUs.")
@click.option("--mem-exclusive/--no-mem-exclusive", default=None, help="Whether no neighbour may have its nodes.")
@watched
def cpuset_set_command(
    session: Session, name: str, trace: Traced | None, race: Sequence[RaceWords], **words: Any
) -> int:
    """Change a cpuset; its tasks' pages follow where it says so."""
    if all(value is None for value in words.values()):
        raise click.UsageError("say what is to change, such as --mems 0-1")
    change = operations.cpuset.Change(**words)
    return session.perform(operations.cpuset.cpuset_set, session.caller, name, change, watch(session, trace, race))


@command("cpuset move 100 /batch", "cpuset move 100 /batch --dry-run", touches=of_task(Manner.ISOLATES))
@click.argument("pid", type=PID)
@click.argument("name")
@watched
def cpuset_move_command(session: Session, pid: int, name: str, trace: Traced | None, race: Sequence[RaceWords]) -> int:
    """Let a task join a cpuset; its pages follow where that says so."""
    return session.perform(operations.cpuset.cpuset_move, session.caller, pid, name, watch(session, trace, race))


@command("cpuset read /batch mems", "cpuset read /batch tasks --json", touches=anything())
@click.argument("name")
@click.argument("file")
def cpuset_read_command(session: Session, name: str, file: str) -> int:
    """Read a file of a cpuset."""
    return session.look(operations.cpuset_files.cpuset_read, name, file)


def _who_joins(file: str, text: str, **_: Any) -> Touches:
    """The task whose pid is written to ``tasks``; another file is about whoever is in the cpuset."""
    joins = _PID.fullmatch(text.strip()) if file.removeprefix("cpuset.") == "tasks" else None
    return Touches(pid=int(joins[1]) if joins else None, manner=Manner.ISOLATES)


@command(
    "cpuset write /batch mems 2-3",
    "cpuset write /batch memory_migrate 1",
    "cpuset write /batch tasks 100",
    touches=_who_joins,
)
@click.argument("name")
@click.argument("file")
@click.argument("text")
@watched
def cpuset_write_command(
    session: Session, name: str, file: str, text: str, trace: Traced | None, race: Sequence[RaceWords]
) -> int:
    """
    Write a file of a cpuset.

    FILE is mems, cpus, tasks, or a switch such as memory_migrate; a negative number goes behind a --.
    """
    found = watch(session, trace, race)
    return session.perform(operations.cpuset_files.cpuset_write, session.caller, name, file, text, found)


@command("cpuset list", "cpuset list --json", touches=anything())
def cpuset_list_command(session: Session) -> int:
    """List the cpusets and the tasks in them."""
    return session.look(operations.inventory.show_cpusets, None)


@command("cpuset remove /batch", touches=anything())
@click.argument("name")
def cpuset_remove_command(session: Session, name: str) -> int:
    """Remove a cpuset without tasks."""
    return session.perform(operations.cpuset.cpuset_remove, name)
