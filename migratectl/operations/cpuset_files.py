"""The files of a cpuset, read and written as scripts do with echo and cat; cpuset(7)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection

from migratectl.errors import AccessDenied, InvalidArgument, NoSuchFile
from migratectl.nodemask import Nodemask
from migratectl.operations.caller import Caller
from migratectl.operations.cpuset import Change, cpuset_move, cpuset_set, find_named
from migratectl.operations.machine import load_machine
from migratectl.operations.watch import NOT_WATCHED, Watch
from migratectl.spans import NodeList, parse_nodes
from migratectl.storage import tasks
from migratectl.storage.tasks import Cpuset

SWITCHES: Final = ("cpu_exclusive", "mem_exclusive", "memory_migrate")
YOUNG: Final = ("mem_hardwall", "memory_spread_page", "memory_spread_slab")
"""Kept without effect; they came after V9."""

OF_THE_ROOT: Final = "memory_pressure_enabled"
PRESSURE: Final = "memory_pressure"
"""Nothing is ever reclaimed here, so it is 0; nobody can write it."""


def cpuset_read(conn: Connection, name: str, file: str) -> dict[str, Any]:
    """
    What is in a file of a cpuset.

    Args:
        conn: The connection of the transaction.
        name: The cpuset.
        file: ``mems``, ``cpus``, ``tasks`` or a switch, with or without ``cpuset.`` before it.

    Returns:
        ``value``: a list such as 0-3, 0 or 1, or the pids in ascending order.

    Raises:
        NoSuchFile: No such cpuset, or no such file under this profile.

    Source:
        cpuset(7); kernel/cpuset.c and kernel/cgroup/cpuset.c.
    """
    cpuset = find_named(conn, name)
    word = _word(cpuset, file, modern=load_machine(conn).modern)
    return {"cpuset": cpuset.name, "file": word, "value": _value(conn, cpuset, word)}


def cpuset_write(
    conn: Connection, caller: Caller, name: str, file: str, text: str, watch: Watch = NOT_WATCHED
) -> dict[str, Any]:
    """
    Write a file of a cpuset: its nodes or CPUs, a switch, or a pid that joins it.

    Args:
        conn: The connection of the transaction.
        caller: Who writes.
        name: The cpuset.
        file: As for cpuset_read().
        text: What is written; any number but 0 turns a switch on, an empty text empties a list.
        watch: Who looks on.

    Returns:
        The document of cpuset_set() or cpuset_move(), with the ``file`` and its ``value`` now.

    Raises:
        NoSuchFile: As cpuset_read().
        InvalidArgument: A text that is no number, or no list.
        AccessDenied: A file that cannot be written.
        KernelError: Those of cpuset_set() and cpuset_move().
    """
    cpuset = find_named(conn, name)
    word = _word(cpuset, file, modern=load_machine(conn).modern)
    subject = f"cpuset {cpuset.name}"
    if word == PRESSURE:
        raise AccessDenied(subject, f"{word} cannot be written; it says how much memory is reclaimed, here none")
    done: dict[str, Any] = {"cpuset": cpuset.name, "return": 0, "errno": None}
    if word == "tasks":
        done = cpuset_move(conn, caller, _number(subject, text), cpuset.name, watch)
    elif word in ("mems", "cpus"):
        listed = _list(subject, text)
        change = Change(mems=listed) if word == "mems" else Change(cpus=listed.mask)
        done = cpuset_set(conn, caller, cpuset.name, change, watch)
    elif word in SWITCHES:
        switched: dict[str, Any] = {word: bool(_number(subject, text))}
        done = cpuset_set(conn, caller, cpuset.name, Change(**switched), watch)
    else:
        on = bool(_number(subject, text))
        tasks.update_cpuset(conn, replace(cpuset, kept=cpuset.kept | {word} if on else cpuset.kept - {word}))
    return done | {"file": word, "value": _value(conn, find_named(conn, name), word)}


def _word(cpuset: Cpuset, file: str, *, modern: bool) -> str:
    word = file.removeprefix("cpuset.")
    known = ["mems", "cpus", "tasks", *SWITCHES, PRESSURE]
    known += YOUNG if modern else ()
    known += [OF_THE_ROOT] if cpuset.name == "/" else []
    if word not in known:
        raise NoSuchFile(f"cpuset {cpuset.name}", f"there is no file '{file}'; there are {', '.join(known)}")
    return word


def _value(conn: Connection, cpuset: Cpuset, word: str) -> str:
    if word == PRESSURE:
        return "0"
    if word == "tasks":
        return " ".join(str(task.pid) for task in tasks.members(conn, cpuset))
    if word in ("mems", "cpus"):
        return str(getattr(cpuset, word))
    return str(int(getattr(cpuset, word) if word in SWITCHES else word in cpuset.kept))


def _number(subject: str, text: str) -> int:
    word = text.strip().removeprefix("+")
    if not (word.isascii() and word.isdigit()):
        raise InvalidArgument(subject, f"'{text}' is no number; write 0 or 1, or a pid to tasks")
    return int(word)


def _list(subject: str, text: str) -> NodeList:
    word = text.strip()
    try:
        Nodemask.parse(word)
        return parse_nodes(word) if word else NodeList()
    except ValueError as error:
        raise InvalidArgument(subject, f"{error}; write it as 0-2,5") from None
