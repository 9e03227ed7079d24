"""What /proc/PID tells of a process beside its memory: name, user, capabilities, CPU, cpuset."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from migratectl.errors import InputFileError
from migratectl.linux.files import storable
from migratectl.linux.id_lists import MAX_CPUS
from migratectl.linux.tree import Tree
from migratectl.nodemask import Nodemask
from migratectl.uapi import MAX_NUMNODES

MAX_NUMBER: Final = 1 << 32
STAT_PROCESSOR: Final = 36
"""Place of the CPU among the words of stat behind the name: field 39 of proc(5)."""

_ESCAPED: Final = re.compile(r"\\([n\\])")
_PID: Final = re.compile("[0-9]{1,10}")
_STAT: Final = re.compile(r"([0-9]+) \((.*)\) ([A-Za-z])((?: -?[0-9]+)*)\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """
    A process; None where the tree does not tell.

    Args:
        name: Its name, as storable() of files.py writes it.
        uid: Its effective user id.
        caps: Its effective capabilities, a bit each.
        cpu: The CPU that it ran on last.
        cpus: The CPUs that it may run on.
        cpuset: Path of its cpuset, written likewise.
        group: Path of its control group of version 2, written likewise.
        mems: The nodes that it may allocate on.
        locked_kib: Locked memory.
        swap_kib: Memory that is swapped out.
        zombie: It has ended and waits for its parent.
    """

    name: str | None = None
    uid: int | None = None
    caps: int | None = None
    cpu: int | None = None
    cpus: Nodemask | None = None
    cpuset: str | None = None
    group: str | None = None
    mems: Nodemask | None = None
    locked_kib: int = 0
    swap_kib: int = 0
    zombie: bool = False


def read_process(tree: Tree, pid: int) -> ProcessInfo:
    """
    Read status, stat, cpuset and cgroup of a process, as far as they are there.

    Raises:
        InputFileError: One of them is malformed; names file and line.

    Source:
        fs/proc/array.c: proc_pid_status(), do_task_stat(); proc_cgroup_show(), kernel/cgroup/cgroup.c; proc(5).
    """
    folder = f"proc/{pid}"
    status = _fields(tree.read(f"{folder}/status") or "")
    where = tree.where(f"{folder}/status")
    name, state, cpu = _read_stat(tree, f"{folder}/stat")
    path = (tree.read(f"{folder}/cpuset") or "").rstrip("\n")
    if path and not path.startswith("/"):
        raise InputFileError(f"{tree.where(f'{folder}/cpuset')}: line 1: {path[:60]!r} is no path")
    groups = _groups(tree.read(f"{folder}/cgroup") or "")
    path = path or groups.get("cpuset", "")
    name = _unescaped(status["Name"][1]) if "Name" in status else name
    return ProcessInfo(
        name=None if name is None else storable(name),
        uid=_user(status, where),
        caps=_number(status, "CapEff", where, base=16),
        cpu=cpu,
        cpuset=storable(path) or None,
        group=storable(groups[""]) if "" in groups else None,
        cpus=_allowed(status, "Cpus_allowed", where, MAX_CPUS),
        mems=_allowed(status, "Mems_allowed", where, MAX_NUMNODES),
        locked_kib=_number(status, "VmLck", where) or 0,
        swap_kib=_number(status, "VmSwap", where) or 0,
        zombie=status.get("State", (0, state))[1][:1] in ("Z", "X"),
    )


def read_parent(tree: Tree, pid: int) -> int | None:
    """
    The parent of a process, by stat or else by status; None where neither tells it.

    Source:
        fs/proc/array.c: do_task_stat(), task_state(); proc(5).
    """
    match = _STAT.fullmatch(tree.read(f"proc/{pid}/stat") or "")
    words = match[4].split() if match else []
    if not words:
        words = _fields(tree.read(f"proc/{pid}/status") or "").get("PPid", (0, ""))[1].split()
    return int(words[0]) if words and _PID.fullmatch(words[0]) else None


def _groups(text: str) -> dict[str, str]:
    """Path of a process by controller, of version 2 by the empty name; from ``NUMBER:CONTROLLERS:PATH``."""
    found: dict[str, str] = {}
    for line in text.split("\n"):
        number, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if number.isdigit() and colon and path.startswith("/"):
            found |= dict.fromkeys(controllers.split(","), path)
    return found


def _fields(text: str) -> dict[str, tuple[int, str]]:
    """Line number and text of each field of status."""
    found: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key, (number, value.strip()))
    return found


def _number(status: dict[str, tuple[int, str]], key: str, where: str, base: int = 10) -> int | None:
    """The first number of a field."""
    if key not in status:
        return None
    number, text = status[key]
    word = text.split()[0] if text.split() else ""
    if not re.fullmatch("[0-9]{1,18}" if base == 10 else "[0-9a-f]{1,16}", word):
        raise InputFileError(f"{where}: line {number}: {key}: {text[:40]!r} is no number")
    return int(word, base)


def _user(status: dict[str, tuple[int, str]], where: str) -> int | None:
    """The effective user id, which stands behind the real one."""
    if "Uid" not in status:
        return None
    number, text = status["Uid"]
    words = text.split()
    if not 1 <= len(words) <= 4 or not all(re.fullmatch("[0-9]{1,10}", word) for word in words):
        raise InputFileError(f"{where}: line {number}: Uid: {text[:40]!r} is no list of user ids")
    return min(int(words[min(1, len(words) - 1)]), MAX_NUMBER - 2)


def _allowed(status: dict[str, tuple[int, str]], key: str, where: str, limit: int) -> Nodemask | None:
    """The set of a field: its list, which kernels print since 2.6.29, or else its mask."""
    name = f"{key}_list" if f"{key}_list" in status else key
    if name not in status:
        return None
    number, text = status[name]
    try:
        found = Nodemask.parse(text) if name != key else Nodemask.parse_mask(text)
        if found.bits >> limit:
            raise ValueError(f"ids end at {limit - 1}")
    except ValueError as error:
        raise InputFileError(f"{where}: line {number}: {name}: {error}") from None
    return found


def _read_stat(tree: Tree, name: str) -> tuple[str | None, str, int | None]:
    """Name, state and CPU."""
    text = tree.read(name)
    if text is None:
        return None, "", None
    match = _STAT.fullmatch(text)
    if not match:
        raise InputFileError(f"{tree.where(name)}: line 1: {text[:40]!r} is no line of /proc/PID/stat")
    numbers = match[4].split()
    cpu = int(numbers[STAT_PROCESSOR - 1]) if len(numbers) >= STAT_PROCESSOR else None
    return match[2], match[3], cpu if cpu is not None and cpu >= 0 else None


def _unescaped(name: str) -> str:
    """A name without the escapes of status: newline as ``\\n``, backslash doubled."""
    return _ESCAPED.sub(lambda match: "\n" if match[1] == "n" else "\\", name)
