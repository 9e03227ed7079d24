"""The cpusets that imported tasks are in: found by their path, or made as the tree and its tasks tell."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from migratectl.errors import InvalidArgument
from migratectl.linux.cpusets import CpusetInfo, read_cpuset
from migratectl.linux.process import ProcessInfo
from migratectl.linux.tree import Tree
from migratectl.nodemask import NO_NODES, Nodemask
from migratectl.storage import imports, tasks
from migratectl.storage.tasks import Cpuset


class _Made:
    """A cpuset that the import makes: the text that named it first, what its files tell, and what it is to have."""

    def __init__(self, source: str, told: CpusetInfo) -> None:
        self.source, self.told = source, told
        self.mems: Nodemask = told.mems or NO_NODES
        self.cpus: Nodemask = told.cpus or NO_NODES


class Cpusets:
    """
    The cpusets of the state by path.

    Args:
        conn: The connection of the transaction.
        notes: Where assumptions go.
        tree: Where the files of cpusets are, if they are.
    """

    def __init__(self, conn: Connection, notes: list[str], tree: Tree | None = None) -> None:
        self.conn, self.notes, self.tree = conn, notes, tree
        root = tasks.find_cpuset(conn, "/")
        if root is None:
            raise InvalidArgument("cpuset /", "the state has no root cpuset; see 'migratectl check'")
        self.root = root
        self.known: dict[str, Cpuset] = {}
        self.made: dict[str, _Made] = {}

    def of_task(self, info: ProcessInfo, cpu: int | None, source: str) -> Cpuset:
        """
        The cpuset of a task; made where it is missing, and with it those above.

        Args:
            info: What is told of the task: path, nodes and CPUs that it may use.
            cpu: Where it runs.
            source: Name of its text, for messages.

        Returns:
            The cpuset, of a made one with the nodes that it will have; its CPUs are known when settle() is done.
        """
        path = "/" + (info.cpuset or "").strip("/")
        if path not in self.known:
            found = None if path in self.made else tasks.find_cpuset(self.conn, path)
            self.known[path] = found or self._make(path, info.mems, source)
        if path in self.made and self.made[path].told.cpus is None:
            cpus = (info.cpus or self.root.cpus) & self.root.cpus or self.root.cpus
            self.made[path].cpus |= cpus if cpu is None else cpus | Nodemask([cpu])
        return self.known[path]

    def _make(self, path: str, allowed: Nodemask | None, source: str) -> Cpuset:
        """A cpuset with the mems of its files, or of its task; settle() widens those above it to what is below them."""
        parts = path.strip("/").split("/")
        for depth in range(1, len(parts) + 1):
            each = "/" + "/".join(parts[:depth])
            if each not in self.made and tasks.find_cpuset(self.conn, each) is None:
                tasks.insert_cpuset(self.conn, Cpuset(0, each, self.root.cpus, self.root.mems))
                self.made[each] = _Made(source, CpusetInfo() if self.tree is None else read_cpuset(self.tree, each))
        wanted = self.made[path].told.mems or allowed or self.root.mems
        self.made[path].mems = mems = wanted & self.root.mems or self.root.mems
        return replace(tasks.find_cpuset(self.conn, path) or self.root, mems=mems)

    def settle(self) -> None:
        """Give the made cpusets what is told of them and all that is below them, within those above."""
        upwards = sorted(self.made, key=lambda path: (-path.count("/"), path))
        for path in upwards:
            own, wider = self.made[path], self.made.get(_parent(path))
            if wider is not None:
                wider.cpus, wider.mems = wider.cpus | own.cpus, wider.mems | own.mems
        for path in reversed(upwards):
            own, above = self.made[path], self.made.get(_parent(path)) or self._found(_parent(path))
            own.cpus = own.cpus & above.cpus or above.cpus
            own.mems = own.mems & above.mems or above.mems
            imports.set_cpuset(self.conn, path, own.cpus, own.mems, own.told.memory_migrate)
        self.notes += [f"{self.made[path].source}: cpuset {path} made with {self._what(path)}" for path in upwards]

    def _found(self, path: str) -> Cpuset:
        return tasks.find_cpuset(self.conn, path) or self.root

    def _what(self, path: str) -> str:
        """What a made cpuset has."""
        own = self.made[path]
        cpus = "all CPUs" if own.cpus == self.root.cpus else f"CPU {own.cpus}"
        return f"{cpus} and node {own.mems}" + (", memory_migrate" if own.told.memory_migrate else "")


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"
