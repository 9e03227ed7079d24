"""The files of a cpuset in a tree: its nodes, its CPUs, whether its tasks' memory follows."""

from __future__ import annotations

from typing import Final, NamedTuple

from migratectl.errors import InputFileError
from migratectl.linux.topology import read_list
from migratectl.linux.tree import Tree
from migratectl.nodemask import Nodemask

FOLDERS: Final = ("dev/cpuset", "sys/fs/cgroup/cpuset", "cgroup/cpuset", "sys/fs/cgroup", "cgroup")
"""Where the file system of cpusets, or of control groups with them, is mounted."""

_MEMS: Final = ("cpuset.mems.effective", "cpuset.mems", "mems")
_CPUS: Final = ("cpuset.cpus.effective", "cpuset.cpus", "cpus")
_MIGRATE: Final = ("cpuset.memory_migrate", "memory_migrate")


class CpusetInfo(NamedTuple):
    """
    What the files of a cpuset say; a set is None where it has none.

    Args:
        mems: Its nodes.
        cpus: Its CPUs.
        memory_migrate: Pages follow its tasks and its nodes.
    """

    mems: Nodemask | None = None
    cpus: Nodemask | None = None
    memory_migrate: bool = False


def read_cpuset(tree: Tree, path: str) -> CpusetInfo:
    """
    Read the files of the cpuset *path*, as /proc/PID/cpuset names it.

    Raises:
        InputFileError: One of them is malformed; names file and line.

    Source:
        cpuset_common_file_read(), kernel/cpuset.c; cpuset(7).
    """
    parts = [part for part in path.split("/") if part]
    if ".." in parts:  # outside of the namespace of whoever copied the tree
        return CpusetInfo()
    for folder in FOLDERS:
        own = "/".join((folder, *parts))
        mems, cpus = _set(tree, own, _MEMS), _set(tree, own, _CPUS)
        if mems or cpus:
            return CpusetInfo(mems or None, cpus or None, _flag(tree, own))
    return CpusetInfo()


def _set(tree: Tree, folder: str, names: tuple[str, ...]) -> Nodemask | None:
    """The first set that is not empty; control groups leave a set empty that is inherited."""
    return next((found for name in names if (found := read_list(tree, f"{folder}/{name}"))), None)


def _flag(tree: Tree, folder: str) -> bool:
    for name in _MIGRATE:
        text = tree.read(f"{folder}/{name}")
        if text is None:
            continue
        if text.strip() not in ("0", "1"):
            raise InputFileError(f"{tree.where(f'{folder}/{name}')}: line 1: {text[:40]!r} is neither 0 nor 1")
        return text.strip() == "1"
    return False
