"""Commands that build and run the modelled machine: nodes, tasks, address spaces, holds, swap areas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import click

from migratectl.cli import deferred as operations
from migratectl.cli.group import Command, command
from migratectl.cli.params import ADDR, CAPABILITY, CPU, CPU_LIST, INO, LABEL, NODE, PID, RANGE, SIZE, UID, WEIGHT
from migratectl.cli.session import Session
from migratectl.cli.touching import anything, of_swap_area, of_task
from migratectl.cli.watch import RaceWords, Traced, watch, watched
from migratectl.nodemask import Nodemask
from migratectl.spans import Size, Span
from migratectl.touches import Manner, Touches
from migratectl.uapi import NEVER

F = TypeVar("F", bound=Callable[..., Any])

MOST: Final = (1 << 31) - 1
"""Largest number of passes or references."""

_pid = click.argument("pid", type=PID)
_span = click.argument("span", type=RANGE, metavar="RANGE")
_some_span = click.argument("span", type=RANGE, metavar="[RANGE]", required=False)


def _place(function: F) -> F:
    """The options that say where a task runs."""
    node = click.option("--node", type=NODE, help="The lowest CPU of this node.")
    cpu = click.option("--cpu", type=CPU, help="This CPU.")
    return node(cpu(function))


def _capabilities(function: F) -> F:
    """The options that give and take capabilities."""
    cap = click.option("--cap", "caps", type=CAPABILITY, multiple=True, help="Give it this capability (repeatable).")
    drop_cap = click.option(
        "--drop-cap", "drop_caps", type=CAPABILITY, multiple=True, help="Take it this capability (repeatable)."
    )
    return cap(drop_cap(function))


_cpus = click.option("--cpus", type=CPU_LIST, help="The CPUs that it may run on (default: all of its cpuset).")
_memlock = click.option("--memlock", type=SIZE, help="So much may it lock without CAP_IPC_LOCK (default: by profile).")


def _hold(function: F) -> F:
    """The options of what stands in a migration's way."""
    passes = click.option(
        "--passes",
        type=click.IntRange(0, MOST),
        metavar="N",
        help="Free from pass N of a migration on (default: never).",
    )
    count = click.option(
        "--count", type=click.IntRange(1, MOST), default=1, metavar="N", help="So many of them (default 1)."
    )
    return passes(count(function))


@command("node list", "node list --json", touches=anything())
def node_list_command(session: Session) -> int:
    """List the nodes and their memory."""
    return session.look(operations.show.show_nodes)


@command("node offline 3", "node offline 3 --dry-run", touches=anything(Manner.ISOLATES))
@click.argument("node", type=NODE)
@watched
def node_offline_command(session: Session, node: int, trace: Traced | None, race: Sequence[RaceWords]) -> int:
    """
    Move everything off a node, then take it offline.

    Pages go to the nearest nodes; where some stay, the node stays online and the reasons are told.
    """
    return session.perform(operations.hotplug.node_offline, session.caller, node, watch(session, trace, race))


@command("node online 3", touches=anything())
@click.argument("node", type=NODE)
def node_online_command(session: Session, node: int) -> int:
    """Bring a node back online."""
    return session.perform(operations.hotplug.node_online, node)


@command("node weight 1 3", "node weight 1 0", touches=anything())
@click.argument("node", type=NODE)
@click.argument("weight", type=WEIGHT)
def node_weight_command(session: Session, node: int, weight: int) -> int:
    """
    Say how much weighted interleaving gives a node.

    WEIGHT is how many pages in a row: 1 to 255, or 0 for the default, which is 1.
    """
    return session.perform(operations.weights.node_weight, node, weight)


def _of_parent(thread_of: int | None, **_: Any) -> Touches:
    """A thread is made by the task whose address space it shares; a task with one of its own is nobody's."""
    return Touches(pid=thread_of)


@command(
    "task create --pid 100 --name db --node 0", "task create --pid 101 --thread-of 100 --cpu 4", touches=_of_parent
)
@click.option("--pid", type=PID, required=True, help="The new task.")
@click.option("--name", metavar="S", help="Its name.")
@click.option("--uid", type=UID, default=0, metavar="U", help="Its user (default 0).")
@_place
@_cpus
@click.option("--cpuset", default="/", metavar="C", help="Its cpuset (default /).")
@_capabilities
@click.option("--no-dumpable", is_flag=True, help="Others of its user may not look into it.")
@click.option("--kernel-thread", is_flag=True, help="It has no address space.")
@click.option("--thread-of", type=PID, help="It shares the address space of this task.")
@_memlock
def task_create_command(session: Session, no_dumpable: bool, **words: Any) -> int:
    """Create a task or a thread."""
    _one_of(words, "node", "cpu")
    task = operations.tasks.TaskCreate(dumpable=not no_dumpable, **words)
    return session.perform(operations.tasks.task_create, task)


@command(
    "task set 100 --uid 1000",
    "task set 100 --name db",
    "task set 100 --cap sys_nice --drop-cap ipc_lock",
    touches=of_task(),
)
@_pid
@click.option("--uid", type=UID, metavar="U", help="Its user from now on.")
@click.option("--name", metavar="S", help="Its name from now on.")
@_capabilities
@_cpus
@_memlock
def task_set_command(session: Session, pid: int, **words: Any) -> int:
    """
    Change a task's user, name, capabilities, CPUs or limits.

    A change of the user gives root all capabilities and takes them from others; --cap and --drop-cap come after that.
    """
    change = operations.tasks.TaskSet(**words)
    if change == operations.tasks.TaskSet():
        raise click.UsageError("say what is to change, such as --uid 1000 or --name db")
    return session.perform(operations.tasks.task_set, pid, change)


@command("task list", "task list --json", touches=anything())
def task_list_command(session: Session) -> int:
    """List the tasks."""
    return session.look(operations.tasks.task_list)


@command("task run-on 100 --node 1", "task run-on 100 --cpu 4", "task run-on 100 --cpus 4-7", touches=of_task())
@_pid
@_place
@click.option("--cpus", type=CPU_LIST, help="Any of these CPUs, from now on; the lowest, unless it runs on one.")
def task_run_on_command(session: Session, pid: int, node: int | None, cpu: int | None, cpus: Nodemask | None) -> int:
    """Let a task run on another CPU."""
    words = {"node": node, "cpu": cpu, "cpus": cpus}
    _one_of(words, *words)
    if all(value is None for value in words.values()):
        raise click.UsageError("give --node, --cpu or --cpus")
    return session.perform(operations.tasks.task_run_on, pid, node, cpu, cpus)


@command("task exit 100", touches=of_task(Manner.EXITS))
@_pid
def task_exit_command(session: Session, pid: int) -> int:
    """End a task and free what it had."""
    return session.perform(operations.tasks.task_exit, pid)


@command("fork 100 --pid 101", touches=of_task(Manner.FORKS | Manner.WRITES))
@_pid
@click.option("--pid", "child", type=PID, required=True, help="The child.")
def fork_command(session: Session, pid: int, child: int) -> int:
    """Copy a task; private pages are shared until written."""
    return session.perform(operations.fork.fork, pid, child)


@command("mmap 100 64M --label heap", "mmap 100 16p --addr 0x20000000 --prot r", touches=of_task(Manner.WRITES))
@_pid
@click.argument("size", type=SIZE)
@click.option("--addr", type=ADDR, help="Start there (default: the lowest free place).")
@click.option("--label", type=LABEL, help="A name for the range, unique in the address space.")
@click.option("--shared", is_flag=True, help="Shared between tasks.")
@click.option("--ino", type=INO, metavar="N", help="Inode number of shared memory.")
@click.option("--file", metavar="PATH", help="Map this file.")
@click.option("--offset", type=SIZE, help="From here in the file (default 0).")
@click.option("--shm", metavar="NAME", help="Map this segment of shared memory.")
@click.option("--hugetlb", is_flag=True, help="Huge pages.")
@click.option("--io", is_flag=True, help="Memory of a device.")
@click.option("--pfnmap", is_flag=True, help="Raw page frames.")
@click.option("--locked", is_flag=True, help="Locked into memory.")
@click.option("--prot", type=click.Choice(["rw", "r", "none"]), default="rw", help="Protection (default rw).")
def mmap_command(session: Session, offset: Size | None, **words: Any) -> int:
    """Map an area into a task's address space."""
    _one_of(words, "file", "shm", "hugetlb", "io", "pfnmap")
    if offset is not None and words["file"] is None:
        raise click.UsageError("--offset is a place in a file; give --file too")
    return session.perform(operations.mm.mmap, operations.mm.Mmap(offset=offset or Size(0), **words))


@command("munmap 100 heap", "munmap 100 0x10000000+16p", touches=of_task(Manner.WRITES))
@_pid
@_span
def munmap_command(session: Session, pid: int, span: Span) -> int:
    """Unmap a range."""
    return session.perform(operations.mm.munmap, pid, span)


@command("mlock 100 heap+16p", "mlock 100 0x10000000-0x10010000", touches=of_task(Manner.TOUCHES | Manner.WRITES))
@_pid
@_span
def mlock_command(session: Session, pid: int, span: Span) -> int:
    """Lock a range into memory."""
    return session.perform(operations.mm.mlock, pid, span)


@command("munlock 100 heap", "munlock 100 0x10000000-0x10010000", touches=of_task(Manner.WRITES))
@_pid
@_span
def munlock_command(session: Session, pid: int, span: Span) -> int:
    """Undo mlock for a range."""
    return session.perform(operations.mm.munlock, pid, span)


@command("mprotect 100 heap+16p r", "mprotect 100 0x10000000-0x10010000 none", touches=of_task(Manner.WRITES))
@_pid
@_span
@click.argument("prot", type=click.Choice(["rw", "r", "none"]), metavar="r|rw|none")
def mprotect_command(session: Session, pid: int, span: Span, prot: str) -> int:
    """Change the protection of a range."""
    return session.perform(operations.mm.mprotect, pid, span, prot)


@command("madvise 100 heap+16p dontneed", "madvise 100 0x10000000+64p random", touches=of_task(Manner.ISOLATES))
@_pid
@_span
@click.argument("advice", type=click.Choice(["dontneed", "pageout", "random"]), metavar="ADVICE")
def madvise_command(session: Session, pid: int, span: Span, advice: str) -> int:
    """
    Tell how a range will be used.

    ADVICE is dontneed (the pages go, the areas stay and fault in anew), random (nothing is read ahead) or, under the
    profile modern, pageout (swap out what only this task maps).
    """
    return session.perform(operations.madvise.madvise, pid, span, advice)


@command("fault 100 heap --write", "fault 100 0x10000000+16p", touches=of_task(Manner.TOUCHES))
@_pid
@_span
@click.option("--write", is_flag=True, help="Write to the pages (default: read them).")
def fault_command(session: Session, pid: int, span: Span, write: bool) -> int:
    """Touch every page of a range in address order."""
    return session.perform(operations.fault.fault, pid, span, write)


def _holding(kind: str, text: str, manner: Manner = Manner.PLAIN) -> Command:
    """The command that makes a hold of *kind*, in that manner."""

    @command(f"page {kind} 100 heap+4p", f"page {kind} 100 0x10000000+1p --passes 5", touches=of_task(manner))
    @_pid
    @_span
    @_hold
    def hold_command(
        session: Session, pid: int, span: Span, passes: int | None, count: int, reading: bool = False
    ) -> int:
        last = None if passes is None or passes >= NEVER else passes
        return session.perform(operations.holds.hold, kind, pid, span, last, count, reading)

    hold_command.help = text
    if kind == "pin":
        hold_command.params.insert(
            2,
            click.Option(
                ["--read", "reading"], is_flag=True, help="Fault absent pages in by reading: what is shared stays so."
            ),
        )
    return hold_command


def _releasing(kind: str, text: str) -> Command:
    """The command that ends holds of *kind*."""

    @command(f"page un{kind} 100", f"page un{kind} 100 heap+4p", touches=of_task())
    @_pid
    @_some_span
    def release_command(session: Session, pid: int, span: Span | None) -> int:
        return session.perform(operations.holds.release, kind, pid, span)

    release_command.help = text
    return release_command


page_lock_command = _holding("lock", "Hold the page locks of a range.")
page_unlock_command = _releasing("lock", "Let page locks of the task go.")
page_pin_command = _holding("pin", "Hold references on the pages of a range.", Manner.PINS)
page_unpin_command = _releasing("pin", "Let references of the task go.")
page_writeback_command = _holding("writeback", "Let the pages of a range be under writeback.")
page_unwriteback_command = _releasing("writeback", "Let writeback that the task began be over.")
page_park_command = _holding("park", "Park the pages of a range off the LRU, in a per-CPU batch.")
page_unpark_command = _releasing("park", "Put pages that the task parked back on the LRU.")


@command("swap on swap1 1G", "swap on swap1 4096p", touches=anything())
@click.argument("name")
@click.argument("size", type=SIZE)
def swap_on_command(session: Session, name: str, size: Size) -> int:
    """Add a swap area."""
    return session.perform(operations.swap.swap_on, name, size)


@command("swap out 100 heap", "swap out 100 0x10000000+64p --dry-run", touches=of_task(Manner.ISOLATES))
@_pid
@_span
@watched
def swap_out_command(session: Session, pid: int, span: Span, trace: Traced | None, race: Sequence[RaceWords]) -> int:
    """
    Swap the pages of a range out.

    That is how pages were migrated before direct migration: out to swap, and back where they are touched next.
    """
    return session.perform(operations.swap.swap_out, session.caller, pid, span, watch(session, trace, race))


@command("swap off swap0", touches=of_swap_area)
@click.argument("name")
def swap_off_command(session: Session, name: str) -> int:
    """Read everything back from a swap area and remove it."""
    return session.perform(operations.swap.swap_off, session.caller, name)


def _one_of(words: dict[str, Any], *names: str) -> None:
    given = [f"--{name}" for name in names if words[name] is not None and words[name] is not False]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)}: give only one of them")
