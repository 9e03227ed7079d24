"""The cpusets of a tree, of version 1 or 2 of control groups, wherever they are mounted: their sets and switches."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from migratectl.errors import InputFileError
from migratectl.linux.files import storable
from migratectl.linux.id_lists import read_list
from migratectl.linux.tree import Tree
from migratectl.nodemask import Nodemask

FOLDERS: Final = ("dev/cpuset", "sys/fs/cgroup/cpuset", "cgroup/cpuset", "sys/fs/cgroup", "cgroup")
"""Where the file system of cpusets, or of control groups with them, is mounted where ``proc/mounts`` does not say."""

MAX_DEPTH: Final = 100
"""Most cpusets above one; control groups themselves may have 2^31, and nobody makes twenty."""

FILES: Final = (
    "cpu_exclusive",
    "mem_exclusive",
    "mem_hardwall",
    "memory_migrate",
    "memory_pressure_enabled",
    "memory_spread_page",
    "memory_spread_slab",
    "notify_on_release",
    "sched_load_balance",
    "sched_relax_domain_level",
    "cgroup.clone_children",
)
"""Files of version 1 that hold a number: 0 or 1, but for the level."""

_PREFIXES: Final = ("cpuset.", "")
_EFFECTIVE: Final = {"mems": "cpuset.mems.effective", "cpus": "cpuset.cpus.effective"}
_MARKS: Final = frozenset({"mems", "cpus", "cpuset.mems", "cpuset.cpus", *_EFFECTIVE.values()})
"""A folder with one of these files is a cpuset."""

_OCTAL: Final = re.compile(r"\\([0-7]{3})")


class CpusetInfo(NamedTuple):
    """
    What the files of a cpuset say.

    Args:
        mems: Its nodes, of version 2 the effective ones; None where no file tells.
        cpus: Its CPUs, likewise.
        files: What its other files hold, by their names without ``cpuset.``.
    """

    mems: Nodemask | None = None
    cpus: Nodemask | None = None
    files: Mapping[str, int] = MappingProxyType({})


class Hierarchy(NamedTuple):
    """
    The cpusets of a tree.

    Args:
        folder: Where they are mounted; empty where the tree has none.
        unified: They are of version 2, whose memory always follows.
        cpusets: What the files of each say, by its path, parents first; a folder without such files is left out.
    """

    folder: str
    unified: bool
    cpusets: dict[str, CpusetInfo]


def read_cpusets(tree: Tree) -> Hierarchy:
    """
    Read all cpusets of the first mount that has any.

    Raises:
        InputFileError: One of their files is malformed; names file and line.

    Source:
        cpuset_common_file_read(), kernel/cpuset.c; cgroup-v1/cpusets.rst and cgroup-v2.rst of the kernel; cpuset(7).
    """
    for folder in (*_mounted(tree), *FOLDERS):
        found = {path: names for path, names in _walk(tree, folder) if not _MARKS.isdisjoint(names)}
        if found:
            unified = any(not names.isdisjoint(_EFFECTIVE.values()) for names in found.values())
            infos = {storable(path): _read(tree, f"{folder}{path}".rstrip("/"), unified) for path in sorted(found)}
            return Hierarchy(folder, unified, infos)
    return Hierarchy("", False, {})


def _mounted(tree: Tree) -> list[str]:
    """Where ``proc/mounts`` says that cpusets, or control groups with them, are mounted; version 1 first."""
    old, unified = [], []
    for line in (tree.read("proc/mounts") or "").split("\n"):
        words = line.split(" ")
        if len(words) < 4:
            continue
        folder = _OCTAL.sub(lambda match: chr(int(match[1], 8)), words[1]).strip("/")
        if ".." in folder.split("/") or "\0" in folder:
            continue
        if words[2] == "cpuset" or (words[2] == "cgroup" and "cpuset" in words[3].split(",")):
            old.append(folder)
        elif words[2] == "cgroup2":
            unified.append(folder)
    return old + unified


def _walk(tree: Tree, top: str) -> Iterator[tuple[str, frozenset[str]]]:
    """Path below *top* and the names in it, of each folder; the path of *top* itself is a slash."""
    todo = [("/", 0)]
    while todo:
        path, depth = todo.pop()
        folder = f"{top}{path}".rstrip("/")
        yield path, frozenset(tree.names(folder))
        if depth < MAX_DEPTH:
            todo += [(f"{path.rstrip('/')}/{name}", depth + 1) for name in tree.folders(folder)]


def _read(tree: Tree, folder: str, unified: bool) -> CpusetInfo:
    if unified:
        sets = [read_list(tree, f"{folder}/{name}") for name in _EFFECTIVE.values()]
        return CpusetInfo(sets[0], sets[1])
    files = {name: value for name in FILES if (value := _number(tree, folder, name)) is not None}
    return CpusetInfo(_first(tree, folder, "mems"), _first(tree, folder, "cpus"), files)


def _first(tree: Tree, folder: str, name: str) -> Nodemask | None:
    return next((found for each in _named(name) if (found := read_list(tree, f"{folder}/{each}")) is not None), None)


def _number(tree: Tree, folder: str, name: str) -> int | None:
    for each in _named(name):
        text = tree.read(f"{folder}/{each}")
        if text is None:
            continue
        level = name == "sched_relax_domain_level"
        if not re.fullmatch("-?[0-9]{1,4}" if level else "[01]", text.strip()):
            what = "no level" if level else "neither 0 nor 1"
            raise InputFileError(f"{tree.where(f'{folder}/{each}')}: line 1: {text[:40]!r} is {what}")
        return int(text)
    return None


def _named(name: str) -> Sequence[str]:
    """The names that a file has in mounts of version 1: with a prefix, or as long ago and on request without."""
    return [prefix + name for prefix in _PREFIXES]
