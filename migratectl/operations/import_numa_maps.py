"""Tasks from numa_maps texts alone: ``import-numa-maps``. Decisions are those of importing and of placement.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from migratectl.errors import InputFileError, InvalidArgument
from migratectl.importing.importer import Importer, cpu_by_pages, without_collector
from migratectl.importing.process import cut_off
from migratectl.linux.files import read_text
from migratectl.linux.maps import MapsLine, parse_maps
from migratectl.linux.numa_maps_reader import parse_numa_maps
from migratectl.linux.pasted import clean
from migratectl.linux.placement import plan_task
from migratectl.linux.plan import PlannedTask
from migratectl.operations.machine import Machine, load_machine
from migratectl.operations.tasks import TaskCreate, task_create, task_row
from migratectl.storage import tasks
from migratectl.storage.connection import Connection
from migratectl.storage.tasks import Task


class Text(NamedTuple):
    """
    A text to read.

    Args:
        name: The file, or what standard input is called.
        content: What was read already, of standard input; None: the file is to be read.
    """

    name: str
    content: str | None = None

    def read(self, *, strict: bool) -> tuple[str, list[str]]:
        """The text without what others added to its lines, and what is to say of that. Raises InputFileError."""
        content = read_text(Path(self.name), pipes=True) if self.content is None else self.content
        text, notes = clean(content, self.name, strict=strict)
        return text, [*notes, *cut_off(text, self.name)]


@dataclass(frozen=True, slots=True)
class NumaMapsFile:
    """
    One task to import.

    Attributes:
        pid: The new task.
        numa_maps: Its numa_maps.
        maps: Its maps, where there is one.
    """

    pid: int
    numa_maps: Text
    maps: Text | None = None


@dataclass(frozen=True, slots=True)
class ImportNumaMaps:
    """
    The words of ``import-numa-maps``.

    Attributes:
        files: What to import.
        name: Name of the task; None: its pid.
        node: Where the tasks run; None: each on the node that has most of its pages.
        cpuset: Their cpuset; None: the root.
        clip: Leave out pages on unknown or full nodes instead of refusing them.
        strict: Refuse unknown words, what was added to lines, and lines that contradict each other.
    """

    files: tuple[NumaMapsFile, ...]
    name: str | None
    node: int | None
    cpuset: str | None
    clip: bool
    strict: bool


@without_collector()
def import_numa_maps(conn: Connection, call: ImportNumaMaps) -> dict[str, Any]:
    """
    Add a task from each of some numa_maps texts.

    Returns:
        ``tasks``: a row of each task with ``vmas``, ``pages`` and ``nodes``; of one task that row itself too; and
        ``assumptions``.

    Raises:
        InputFileError: A text is missing, malformed, or has pages on unknown or too small nodes.
        KernelError: As task_create().
    """
    machine = load_machine(conn)
    plans = [_plan(machine, file, strict=call.strict) for file in call.files]
    made = [_made(conn, file.pid, call) for file in call.files]
    importer = Importer(conn, machine, call.clip, parents={file.pid: None for file in call.files})
    rows = [
        _built(importer, file, plan, task, call.node) for file, plan, task in zip(call.files, plans, made, strict=True)
    ]
    importer.finish()
    notes = [*(note for plan in plans for note in plan.assumptions), *importer.notes, *importer.common_notes()]
    told = {"tasks": rows} if len(rows) > 1 else {**rows[0], "tasks": rows}
    return {**told, "assumptions": notes}


def _plan(machine: Machine, file: NumaMapsFile, *, strict: bool) -> PlannedTask:
    """What a text tells."""
    text, said = file.numa_maps.read(strict=strict)
    lines = parse_numa_maps(text, file.numa_maps.name, strict=strict)
    if not lines:
        raise InputFileError(f"{file.numa_maps.name}: no line; a task without address space has no numa_maps to import")
    maps: Sequence[MapsLine] | None = None
    if file.maps is not None:
        beside, more = file.maps.read(strict=strict)
        maps = parse_maps(beside, file.maps.name)
        said += more
    plan = plan_task(
        lines, page_size=machine.facts.page_size, maps=maps, strict=strict, shared_apart=not machine.modern
    )
    return replace(plan, assumptions=(*plan.assumptions, *said))


def _made(conn: Connection, pid: int, call: ImportNumaMaps) -> Task:
    """The task, with an empty address space."""
    task_create(conn, TaskCreate(pid, name=call.name, node=call.node, cpuset=call.cpuset or "/"))
    task = tasks.find(conn, pid)
    if task is None:
        raise InvalidArgument(f"pid {pid}", "no such task")
    return task


def _built(importer: Importer, file: NumaMapsFile, plan: PlannedTask, task: Task, node: int | None) -> dict[str, Any]:
    """The row of a task whose address space was worked out."""
    conn, machine = importer.conn, importer.machine
    if task.mm is None:
        raise InvalidArgument(f"pid {task.pid}", "no address space")
    own = task.mm, tasks.anon_mapping(conn, task.mm)
    space = importer.build(task.pid, task.cpuset, plan, file.numa_maps.name, own=own)
    if node is None:
        tasks.update(conn, task.pid, "cpu", cpu_by_pages(machine, task.cpuset.cpus, space.nodes))
    return {**task_row(machine, tasks.find(conn, task.pid) or task), **space.row()}
