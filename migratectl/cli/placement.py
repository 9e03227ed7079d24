"""Commands of the main job: where a task's memory goes, and moving what is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from migratectl.cli import deferred as operations
from migratectl.cli.group import command
from migratectl.cli.params import ADDR, MOVE, NO_NODES, NODES, PID, QUERY, RANGE
from migratectl.cli.session import Session
from migratectl.cli.touching import of_task
from migratectl.cli.watch import RaceWords, Traced, watch, watched
from migratectl.spans import Address, NodeList, Span
from migratectl.touches import Manner, Touches
from migratectl.uapi import MF, Mode, ModeFlag

F = TypeVar("F", bound=Callable[..., Any])


_mode = click.argument("mode", type=click.Choice([each.value for each in Mode]), metavar="MODE")


def _policy(function: F) -> F:
    """The words that name a policy: mode, nodes, mode flags."""
    decorators = (
        click.argument("nodes", type=NODES, default=NO_NODES, metavar="[NODES]"),
        click.option("--static-nodes", is_flag=True, help="The nodes stay when the cpuset changes (modern)."),
        click.option("--relative-nodes", is_flag=True, help="The nodes count within the cpuset (modern)."),
        click.option("--numa-balancing", is_flag=True, help="The kernel may move pages (modern)."),
    )
    for decorator in reversed(decorators):
        function = decorator(function)
    return _mode(function)


def _mode_flags(words: dict[str, Any]) -> tuple[ModeFlag, ...]:
    """The mode flags among the words of a command."""
    names = {
        "static_nodes": ModeFlag.STATIC,
        "relative_nodes": ModeFlag.RELATIVE,
        "numa_balancing": ModeFlag.BALANCING,
    }
    return tuple(flag for name, flag in names.items() if words[name])


def _called_by_the_task(session: Session, pid: int) -> None:
    """Refuse --as and --by where the task itself calls."""
    options = session.options
    if options.uid is None and options.by is None:
        return
    uid = "U" if options.uid is None else options.uid
    remedy = f"'migratectl task set {pid} --uid {uid}" + (" --cap C'" if options.uid is None else "'")
    raise click.UsageError(f"the task itself calls, so --as and --by do not go with it; {remedy} makes it another's")


@command("set-mempolicy 100 interleave 0-3", "set-mempolicy 100 default", touches=of_task())
@click.argument("pid", type=PID)
@_policy
def set_mempolicy_command(session: Session, pid: int, mode: str, nodes: NodeList, **words: Any) -> int:
    """
    Set a task's memory policy, set_mempolicy(2).

    MODE is default, preferred, bind or interleave; under the profile modern also local, preferred-many and
    weighted-interleave.
    """
    _called_by_the_task(session, pid)
    return session.perform(operations.mempolicy.set_mempolicy, pid, Mode(mode), nodes, _mode_flags(words))


def _page_asked_for(pid: int, addr: Address | None, node: bool, **_: Any) -> Touches:
    """The page at ADDR, which is faulted in where its node is asked for."""
    return Touches(
        pid, () if addr is None else (addr,), manner=Manner.TOUCHES if node and addr is not None else Manner.PLAIN
    )


@command(
    "get-mempolicy 100", "get-mempolicy 100 0x10000000 --node", "get-mempolicy 100 heap@2p", touches=_page_asked_for
)
@click.argument("pid", type=PID)
@click.argument("addr", type=ADDR, required=False, metavar="[ADDR]")
@click.option("--node", is_flag=True, help="The node of the page at ADDR, or the next one of interleaving.")
@click.option("--mems-allowed", is_flag=True, help="The nodes that the task may use (modern).")
def get_mempolicy_command(session: Session, pid: int, addr: Address | None, node: bool, mems_allowed: bool) -> int:
    """
    Tell a task's memory policy, get_mempolicy(2).

    With ADDR that of the area there, which may be default although the task has one. An absent page is read in to
    tell its node.
    """
    operation = operations.get_mempolicy.get_mempolicy
    return session.perform(operation, pid, addr, node=node, mems_allowed=mems_allowed)


@command(
    "mbind 100 heap interleave 0-3 --move",
    "mbind 100 0x10000000+64p bind 1 --move-all --strict",
    touches=of_task(Manner.ISOLATES | Manner.WRITES),
)
@click.argument("pid", type=PID)
@click.argument("span", type=RANGE, metavar="RANGE")
@_policy
@click.option("--strict", is_flag=True, help="EIO where pages lie, or stay, on other nodes.")
@click.option("--move", is_flag=True, help="Move pages that lie elsewhere and only this task maps.")
@click.option("--move-all", is_flag=True, help="Move pages too that other tasks map (CAP_SYS_NICE).")
@watched
def mbind_command(
    session: Session,
    pid: int,
    span: Span,
    mode: str,
    nodes: NodeList,
    trace: Traced | None,
    race: Sequence[RaceWords],
    **words: Any,
) -> int:
    """
    Set the policy of a range and move what lies elsewhere, mbind(2).

    The task PID itself calls. MODE is default, preferred, bind or interleave, under the profile modern also local.
    The exit code is 3 where pages stayed behind; with --strict that is EIO, yet the others have moved.
    """
    _called_by_the_task(session, pid)
    flags = MF(0)
    for name in ("strict", "move", "move_all"):
        flags |= MF[name.upper()] if words[name] else MF(0)
    call = operations.mbind.Mbind(pid, span, Mode(mode), nodes, flags, _mode_flags(words))
    return session.perform(operations.mbind.mbind, call, watch(session, trace, race))


@command(
    "migrate-pages 100 0 1",
    "migrate-pages 100 0-3 60-63 --dry-run --json",
    "migrate-pages 100 0 1 --via-swap",
    touches=of_task(Manner.ISOLATES),
)
@click.argument("pid", type=PID)
@click.argument("source", type=NODES, metavar="FROM")
@click.argument("dest", type=NODES, metavar="TO")
@click.option("--via-swap", is_flag=True, help="Out to swap, and back to wherever the task's policies put it.")
@watched
def migrate_pages_command(
    session: Session,
    pid: int,
    source: NodeList,
    dest: NodeList,
    via_swap: bool,
    trace: Traced | None,
    race: Sequence[RaceWords],
) -> int:
    """
    Move a task's pages between nodes, migrate_pages(2).

    FROM and TO are node lists: 0-3,8 or all, none, !0-1, +0-1. The exit code is 3 where pages stayed behind.
    """
    operation = operations.via_swap.migrate_via_swap if via_swap else operations.migrate_pages.migrate_pages
    return session.perform(operation, session.caller, pid, source, dest, watch(session, trace, race))


def _pages_asked_for(pid: int, words: tuple[str, ...], query: bool, **_: Any) -> Touches:
    """With --query the ranges that are named; a call that moves pages is met at any page of its task."""
    spans = tuple(QUERY.convert(word, None, None) for word in words) if query else ()
    return Touches(pid, spans, manner=Manner.ISOLATES)


@command("move-pages 100 0x10000000=1 heap@2p=0", "move-pages 100 --query 0x10000000 heap+4p", touches=_pages_asked_for)
@click.argument("pid", type=PID)
@click.argument("words", nargs=-1, metavar="ADDR=NODE... | ADDR|RANGE...")
@click.option("--move-all", is_flag=True, help="Move pages too that other tasks map.")
@click.option("--query", is_flag=True, help="Move nothing, tell where the pages are.")
@watched
@click.pass_context
def move_pages_command(
    context: click.Context,
    session: Session,
    pid: int,
    words: tuple[str, ...],
    move_all: bool,
    query: bool,
    trace: Traced | None,
    race: Sequence[RaceWords],
) -> int:
    """
    Move or query single pages, move_pages(2).

    ADDR=NODE moves the page at ADDR to NODE. With --query, ADDR or RANGE names pages to look for.
    """
    parameter = next(param for param in context.command.params if param.name == "words")
    if query and (move_all or trace is not None or race):
        raise click.UsageError("--query moves nothing; leave out --move-all, --trace and --race")
    if query:
        spans = tuple(QUERY.convert(word, parameter, context) for word in words)
        return session.look(operations.move_pages.query_pages, session.caller, pid, spans)
    moves = tuple(MOVE.convert(word, parameter, context) for word in words)
    looking = watch(session, trace, race)
    return session.perform(operations.move_pages.move_pages, session.caller, pid, moves, move_all, looking)
