"""Commands of the main job: where a task's memory goes, and moving what is there."""

from __future__ import annotations

import click

from migratectl.cli import deferred as operations
from migratectl.cli.group import command
from migratectl.cli.params import MOVE, NO_NODES, NODES, PID, QUERY
from migratectl.cli.session import Session
from migratectl.spans import NodeList
from migratectl.uapi import Mode, ModeFlag


@command("set-mempolicy 100 interleave 0-3", "set-mempolicy 100 default")
@click.argument("pid", type=PID)
@click.argument("mode", type=click.Choice([each.value for each in Mode]), metavar="MODE")
@click.argument("nodes", type=NODES, default=NO_NODES, metavar="[NODES]")
@click.option("--static-nodes", is_flag=True, help="The nodes stay when the cpuset changes (modern).")
@click.option("--relative-nodes", is_flag=True, help="The nodes count within the cpuset (modern).")
@click.option("--numa-balancing", is_flag=True, help="The kernel may move pages (modern).")
def set_mempolicy_command(
    session: Session,
    pid: int,
    mode: str,
    nodes: NodeList,
    static_nodes: bool,
    relative_nodes: bool,
    numa_balancing: bool,
) -> int:
    """
    Set a task's memory policy, set_mempolicy(2).

    MODE is default, preferred, bind or interleave; under the profile modern also local, preferred-many and
    weighted-interleave.
    """
    given = {
        ModeFlag.STATIC: static_nodes,
        ModeFlag.RELATIVE: relative_nodes,
        ModeFlag.BALANCING: numa_balancing,
    }
    flags = tuple(flag for flag, wanted in given.items() if wanted)
    return session.perform(operations.mempolicy.set_mempolicy, pid, Mode(mode), nodes, flags)


@command("migrate-pages 100 0 1", "migrate-pages 100 0-3 60-63 --dry-run --json")
@click.argument("pid", type=PID)
@click.argument("source", type=NODES, metavar="FROM")
@click.argument("dest", type=NODES, metavar="TO")
def migrate_pages_command(session: Session, pid: int, source: NodeList, dest: NodeList) -> int:
    """
    Move a task's pages between nodes, migrate_pages(2).

    FROM and TO are node lists: 0-3,8 or all, none, !0-1, +0-1. The exit code is 3 where pages stayed behind.
    """
    return session.perform(operations.migrate_pages.migrate_pages, session.caller, pid, source, dest)


@command("move-pages 100 0x10000000=1 0x10001000=0", "move-pages 100 --query 0x10000000 heap+4p")
@click.argument("pid", type=PID)
@click.argument("words", nargs=-1, metavar="ADDR=NODE... | ADDR|RANGE...")
@click.option("--move-all", is_flag=True, help="Move pages too that other tasks map.")
@click.option("--query", is_flag=True, help="Move nothing, tell where the pages are.")
@click.pass_context
def move_pages_command(
    context: click.Context, session: Session, pid: int, words: tuple[str, ...], move_all: bool, query: bool
) -> int:
    """
    Move or query single pages, move_pages(2).

    ADDR=NODE moves the page at ADDR to NODE. With --query, ADDR or RANGE names pages to look for.
    """
    parameter = next(param for param in context.command.params if param.name == "words")
    if query and move_all:
        raise click.UsageError("--query moves nothing; leave out --move-all")
    if query:
        spans = tuple(QUERY.convert(word, parameter, context) for word in words)
        return session.look(operations.move_pages.query_pages, session.caller, pid, spans)
    moves = tuple(MOVE.convert(word, parameter, context) for word in words)
    return session.perform(operations.move_pages.move_pages, session.caller, pid, moves, move_all)
