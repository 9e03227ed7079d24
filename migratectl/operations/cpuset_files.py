"""The files of a cpuset, read and written as scripts do with echo and cat; cpuset(7)."""

from __future__ import annotations

import re
from typing import Any, Final

from migratectl.errors import AccessDenied, InputOutputError, InvalidArgument, NoSuchFile
from migratectl.nodemask import Nodemask
from migratectl.operations.caller import Caller
from migratectl.operations.cpuset import CLONE_CHILDREN, Change, cpuset_move, cpuset_set, find_named
from migratectl.operations.machine import load_machine
from migratectl.operations.watch import NOT_WATCHED, Watch
from migratectl.spans import NodeList, parse_nodes
from migratectl.storage import tasks
from migratectl.storage.connection import Connection
from migratectl.storage.tasks import Cpuset

SWITCHES: Final = ("cpu_exclusive", "mem_exclusive", "memory_migrate")
YOUNG: Final = (
    "mem_hardwall",
    "memory_spread_page",
    "memory_spread_slab",
    "sched_load_balance",
    "sched_relax_domain_level",
    CLONE_CHILDREN,
)
"""Kept without effect on memory that is there; they came after V9."""

RELAX_LEVELS: Final = range(-1, 6)
"""What sched_relax_domain_level takes; cpuset(7)."""

_C_INTEGER: Final = re.compile(r"\+?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)\n?")
_DECIMAL: Final = re.compile(r"\+?[0-9]+")

OF_THE_ROOT: Final = "memory_pressure_enabled"
PRESSURE: Final = "memory_pressure"
"""Nothing is ever reclaimed here, so it is 0; nobody can write it."""

EFFECTIVE: Final = ("effective_cpus", "effective_mems")
"""In the old hierarchy they are as configured."""


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
    modern = load_machine(conn).modern
    word = _word(cpuset, file, modern=modern)
    subject = f"cpuset {cpuset.name}"
    if word == PRESSURE or word in EFFECTIVE:
        raise AccessDenied(subject, f"{word} can only be read; write another file, such as mems")
    done: dict[str, Any] = {"cpuset": cpuset.name, "return": 0, "errno": None}
    if word == "tasks":
        done = cpuset_move(conn, caller, _pid(subject, text, modern=modern), cpuset.name, watch)
    elif word in ("mems", "cpus"):
        listed = _list(subject, text, modern=modern)
        change = Change(mems=listed) if word == "mems" else Change(cpus=listed.mask)
        done = cpuset_set(conn, caller, cpuset.name, change, watch)
    elif word in SWITCHES:
        switched: dict[str, Any] = {word: bool(_number(subject, text, modern=modern))}
        done = cpuset_set(conn, caller, cpuset.name, Change(**switched), watch)
    else:
        tasks.update_cpuset(conn, cpuset.keeping(word, _kept(subject, word, text, modern=modern)))
    return done | {"file": word, "value": _value(conn, find_named(conn, name), word)}


def _word(cpuset: Cpuset, file: str, *, modern: bool) -> str:
    word = file if file == CLONE_CHILDREN else file.removeprefix("cpuset.")
    known = ["mems", "cpus", "tasks", *SWITCHES, PRESSURE]
    known += [*YOUNG, *EFFECTIVE] if modern else ()
    known += [OF_THE_ROOT] if cpuset.name == "/" else []
    if word not in known:
        raise NoSuchFile(f"cpuset {cpuset.name}", f"there is no file '{file}'; there are {', '.join(known)}")
    return word


def _value(conn: Connection, cpuset: Cpuset, word: str) -> str:
    if word == PRESSURE:
        return "0"
    if word == "tasks":
        return " ".join(str(task.pid) for task in tasks.members(conn, cpuset))
    if word in ("mems", "cpus", *EFFECTIVE):
        return str(getattr(cpuset, word.removeprefix("effective_")))
    return str(int(getattr(cpuset, word)) if word in SWITCHES else cpuset.kept_value(word))


def _kept(subject: str, word: str, text: str, *, modern: bool) -> int:
    """The value for a file that means nothing to the model: 0, 1, or a level of the scheduler."""
    if word != "sched_relax_domain_level":
        return int(bool(_number(subject, text, modern=modern)))
    level = _number(subject, text.removeprefix("-"), modern=modern) * (-1 if text.startswith("-") else 1)
    if level not in RELAX_LEVELS:
        raise InvalidArgument(subject, f"'{text}' is no level; write {RELAX_LEVELS[0]} to {RELAX_LEVELS[-1]}")
    return level


def _number(subject: str, text: str, *, modern: bool) -> int:
    """
    The number in a text: decimal, under ``modern`` any that C writes, but with no blank in front.

    Source:
        kstrtoull() for a file of a cgroup; rule 56 of what a 6.1 kernel does.
    """
    found = _C_INTEGER.fullmatch(text) if modern else _DECIMAL.fullmatch(text.strip())
    if found is None:
        raise InvalidArgument(subject, f"'{text}' is no number; write 0 or 1")
    digits = text.strip().removeprefix("+")
    return int(digits, 0 if digits[:2] in ("0x", "0X") else 8 if modern and digits.startswith("0") else 10)


def _pid(subject: str, text: str, *, modern: bool) -> int:
    """
    The pid written to ``tasks``.

    Source:
        attach_task() of 2.6.16 answers EIO where there is none, a cgroup EINVAL; semantics.md 3.6.
    """
    try:
        return _number(subject, text.strip() if modern else text, modern=modern)
    except InvalidArgument:
        error = InvalidArgument if modern else InputOutputError
        raise error(subject, f"'{text}' is no pid; write one, such as 100") from None


def _list(subject: str, text: str, *, modern: bool) -> NodeList:
    word = text.strip()
    try:
        if modern:
            return NodeList(Nodemask.parse_file(word))
        Nodemask.parse(word)
        return parse_nodes(word) if word else NodeList()
    except ValueError as error:
        raise InvalidArgument(subject, f"{error}; write it as 0-2,5") from None
