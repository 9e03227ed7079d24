"""The cpusets of a tree, and those that imported tasks are in: as their files say, or as their tasks tell."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from migratectl.errors import InvalidArgument
from migratectl.linux.cpusets import CpusetInfo, Hierarchy
from migratectl.linux.process import ProcessInfo
from migratectl.nodemask import NO_NODES, Nodemask
from migratectl.operations.cpuset_files import OF_THE_ROOT, YOUNG
from migratectl.storage import tasks
from migratectl.storage.connection import Connection
from migratectl.storage.tasks import KEPT_DEFAULTS, Cpuset
from migratectl.wording import and_more

NO_HIERARCHY: Final = Hierarchy("", False, {})
"""What a text without a tree tells of cpusets."""

_COLUMNS: Final = frozenset({"memory_migrate", "cpu_exclusive", "mem_exclusive"})
_EXCLUSIVE: Final = (("cpu_exclusive", "cpus", "CPU"), ("mem_exclusive", "mems", "node"))


class _Made:
    """A cpuset that the import makes: the text that named it first, what its files tell, and what it is to have."""

    def __init__(self, source: str, told: CpusetInfo) -> None:
        self.source, self.told, self.used = source, told, False
        self.mems: Nodemask = told.mems or NO_NODES
        self.cpus: Nodemask = told.cpus or NO_NODES


class Cpusets:
    """
    The cpusets of the state by path.

    Args:
        conn: The connection of the transaction.
        modern: The profile's kernel has the switches that came after V9.
        found: What the files of a tree say.
        where: Where these are, as messages name it.
    """

    def __init__(self, conn: Connection, *, modern: bool, found: Hierarchy = NO_HIERARCHY, where: str = "") -> None:
        self.conn, self.modern = conn, modern
        self.found, self.where = found, where
        root = tasks.find_cpuset(conn, "/")
        if root is None:
            raise InvalidArgument("cpuset /", "the state has no root cpuset; see 'migratectl check'")
        self.root = root
        self.known: dict[str, Cpuset] = {}
        self.made: dict[str, _Made] = {}
        self.said: dict[str, list[str]] = {}

    def make_all(self) -> list[str]:
        """
        Make every cpuset that the files tell of, with tasks or without; the root gets its switches.

        Returns:
            What was assumed.
        """
        for path, told in self.found.cpusets.items():
            if path != "/":
                self._enter(path, self.where)
                continue
            self.root = self._switched(self.root, told)
            tasks.update_cpuset(self.conn, self.root)
        if not (self.found.unified and self.found.cpusets.keys() - {"/"}):
            return []
        return [
            f"{self.where}: control groups of version 2: cpusets taken with their effective nodes and CPUs, and"
            " with memory_migrate, as their memory always follows"
        ]

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
        path = "/" + (info.cpuset if info.cpuset is not None else self._nearest(info.group)).strip("/")
        if path not in self.known:
            found = None if path in self.made else tasks.find_cpuset(self.conn, path)
            self.known[path] = found or self._make(path, info.mems, source)
        if path in self.made and self.made[path].told.cpus is None:
            cpus = (info.cpus or self.root.cpus) & self.root.cpus or self.root.cpus
            self.made[path].cpus |= cpus if cpu is None else cpus | Nodemask([cpu])
        return self.known[path]

    def told_cpus(self, cpuset: Cpuset) -> Nodemask | None:
        """The CPUs of a cpuset; None of one that has what its tasks have."""
        made = self.made.get(cpuset.name)
        if made is None:
            return cpuset.cpus
        return None if made.told.cpus is None else made.told.cpus & self.root.cpus

    def _nearest(self, group: str | None) -> str:
        """The cpuset of a control group of version 2: that of the lowest group above it that is one, or its own."""
        path = "/" + (group or "").strip("/")
        while path != "/" and path not in self.found.cpusets:
            path = parent_of(path)
        return path

    def _enter(self, path: str, source: str) -> None:
        """Add a cpuset, and those above that are missing, with what the root has until settle() is done."""
        parts = path.strip("/").split("/")
        for depth in range(1, len(parts) + 1):
            each = "/" + "/".join(parts[:depth])
            if each not in self.made and tasks.find_cpuset(self.conn, each) is None:
                tasks.insert_cpuset(self.conn, Cpuset(0, each, self.root.cpus, self.root.mems))
                self.made[each] = _Made(source, self.found.cpusets.get(each, CpusetInfo()))

    def _make(self, path: str, allowed: Nodemask | None, source: str) -> Cpuset:
        """A cpuset with the mems of its files, or of its task; settle() widens those above it to what is below them."""
        self._enter(path, source)
        made = self.made[path]
        wanted = made.told.mems or allowed or self.root.mems
        made.mems, made.used = wanted & self.root.mems or self.root.mems, True
        return replace(tasks.find_cpuset(self.conn, path) or self.root, mems=made.mems)

    def settle(self) -> list[str]:
        """
        Give the made cpusets what is told of them, or what is below them, within those above.

        Returns:
            What was assumed.
        """
        upwards = sorted(self.made, key=lambda path: (-path.count("/"), path))
        for path in upwards:
            own, wider = self.made[path], self.made.get(parent_of(path))
            if wider is not None and wider.told.cpus is None:
                wider.cpus |= own.cpus
            if wider is not None and wider.told.mems is None:
                wider.mems |= own.mems
        downwards = sorted(self.made, key=lambda path: (path.count("/"), path))
        for path in downwards:
            self._settle_one(path)
        for path in downwards:
            self._settle_switches(path)
        untold = [path for path in upwards if None in self.made[path].told[:2]]
        return [
            *(f"{self.made[path].source}: cpuset {path} made with {self._what(path)}" for path in untold),
            *(f"{self.where}: {sentence.format(and_more(paths))}" for sentence, paths in self.said.items()),
        ]

    def _settle_one(self, path: str) -> None:
        """Cut a cpuset to what is above it; one without nodes or CPUs that has tasks gets all of these."""
        own, above = self.made[path], self._above(path)
        told = own.told
        cpus, mems = own.cpus & above.cpus, own.mems & above.mems
        for what, wanted, inside in (("CPU", told.cpus, cpus), ("node", told.mems, mems)):
            if wanted is not None and wanted != inside:
                self._say(f"{what} {wanted - inside} of cpuset {{}} is not in what is above it: left out", path)
        own.cpus = cpus if cpus or (told.cpus is not None and not own.used) else above.cpus
        own.mems = mems if mems or (told.mems is not None and not own.used) else above.mems
        found = tasks.find_cpuset(self.conn, path) or self.root
        tasks.update_cpuset(self.conn, replace(self._switched(found, told), cpus=own.cpus, mems=own.mems))

    def _above(self, path: str) -> Cpuset:
        return tasks.find_cpuset(self.conn, parent_of(path)) or self.root

    def _switched(self, cpuset: Cpuset, told: CpusetInfo) -> Cpuset:
        """A cpuset with the switches of its files; of version 2 all but the root migrate. Says which mean nothing."""
        if self.found.unified:
            return replace(cpuset, memory_migrate=cpuset.name != "/")
        keeps = {*(YOUNG if self.modern else ()), *((OF_THE_ROOT,) if cpuset.name == "/" else ())}
        for name, value in told.files.items():
            if name in keeps:
                cpuset = cpuset.keeping(name, value)
            elif name not in _COLUMNS and value != KEPT_DEFAULTS.get(name, 0):
                self._say(f"{name} {value} of cpuset {{}} means nothing here: left out", cpuset.name)
        own = cpuset.name == "/"  # it is exclusive unless a file says otherwise
        return replace(
            cpuset,
            memory_migrate=bool(told.files.get("memory_migrate")),
            cpu_exclusive=bool(told.files.get("cpu_exclusive", own)),
            mem_exclusive=bool(told.files.get("mem_exclusive", own)),
        )

    def _settle_switches(self, path: str) -> None:
        """Let a cpuset be exclusive only below one that is, and beside others that have nothing of it."""
        found = tasks.find_cpuset(self.conn, path) or self.root
        beside = [
            each for each in tasks.cpusets(self.conn) if each.name not in (path, "/") and each.parent == found.parent
        ]
        above = self._above(path)
        for switch, what, word in _EXCLUSIVE:
            if not getattr(found, switch):
                continue
            if not getattr(above, switch):
                self._say(f"{switch} of cpuset {{}} left out: the one above it is not {switch}", path)
            elif any(getattr(found, what) & getattr(each, what) for each in beside):
                self._say(f"{switch} of cpuset {{}} left out: one beside it has the same {word}", path)
            else:
                continue
            found = _shared(found, switch)
        tasks.update_cpuset(self.conn, found)

    def _say(self, sentence: str, path: str) -> None:
        self.said.setdefault(sentence, []).append(path)

    def _what(self, path: str) -> str:
        """What a made cpuset has."""
        found = tasks.find_cpuset(self.conn, path) or self.root
        cpus = "all CPUs" if found.cpus == self.root.cpus else f"CPU {found.cpus}"
        return f"{cpus} and node {found.mems}" + (", memory_migrate" if found.memory_migrate else "")


def parent_of(path: str) -> str:
    """The path of the cpuset above one."""
    return path.rpartition("/")[0] or "/"


def _shared(cpuset: Cpuset, switch: str) -> Cpuset:
    """A cpuset that is not exclusive by that switch."""
    cpus = switch == "cpu_exclusive"
    return replace(cpuset, cpu_exclusive=False) if cpus else replace(cpuset, mem_exclusive=False)
