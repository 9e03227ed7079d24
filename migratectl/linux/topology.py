"""The nodes of a machine, from a tree of /sys and /proc; what a tree does not tell is assumed and said."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from migratectl.errors import InputFileError, InvalidArgument
from migratectl.linux.distances import LOCAL_DISTANCE, distance_table, parse_row
from migratectl.linux.id_lists import MAX_CPUS, parse_list, read_list, read_mask
from migratectl.linux.tree import Tree
from migratectl.nodemask import Nodemask
from migratectl.uapi import MAX_NUMNODES

NODE_FOLDER: Final = "sys/devices/system/node"
CPU_FOLDER: Final = "sys/devices/system/cpu"
MAX_KIB: Final = 1 << 50
PAGE_SIZE: Final = 4096
PAGE_SIZE_IA64: Final = 16384

_NODE_NAME: Final = re.compile(r"node(0|[1-9][0-9]{0,8})")
_CPU_NAME: Final = re.compile(r"cpu(0|[1-9][0-9]{0,8})")
_MEMORY: Final = re.compile(r"(?:Node +([0-9]{1,9}) +)?(MemTotal|MemFree|SwapTotal): +(\S+) kB")
_WANTED: Final = re.compile(r"\b(?:MemTotal|MemFree|SwapTotal)\b")
_COUNTER: Final = re.compile(r"([a-z_]+)[ \t]+([0-9]{1,18})")
_RELEASE: Final = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})(?:\.([0-9]{1,3}))?")
_IA64: Final = re.compile(r"(?<![a-z])ia-?64(?![0-9])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """
    One node.

    Args:
        nid: Its id.
        cpus: Its online CPUs; may be empty.
        total_kib: Memory in KiB; 0 for a node without memory.
        free_kib: Free part of it in KiB.
        counters: Its numastat by name; empty where the tree does not tell.
    """

    nid: int
    cpus: Nodemask
    total_kib: int
    free_kib: int
    counters: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Topology:
    """
    A machine.

    Args:
        nodes: The online nodes, ascending.
        distances: Distance for each ordered pair of them.
        assumptions: One line for each thing that the tree does not tell or tells wrongly.
        swap_kib: Size of all swap areas in KiB; None where the tree does not tell.
        page_size_hint: Page size in bytes: 16384 where the tree says ia64, else 4096.
    """

    nodes: tuple[NodeInfo, ...]
    distances: dict[tuple[int, int], int]
    assumptions: tuple[str, ...]
    swap_kib: int | None
    page_size_hint: int


def read_topology(tree: Tree, given: Sequence[int] = ()) -> Topology:
    """
    Read nodes, CPUs, memory, distances and swap.

    Args:
        tree: A tree laid out like ``/``.
        given: Memory in KiB where the tree tells none: of every node, or of each, ascending.

    Returns:
        The machine; at least one node.

    Raises:
        InputFileError: A file is malformed or missing without which the machine is unknown; names file and line.

    Source:
        drivers/base/node.c: node_read_cpumap(), node_read_meminfo(), node_read_distance().
    """
    reader = _Reader(tree)
    memory = _meminfo(tree.read("proc/meminfo") or "", tree.where("proc/meminfo"))
    nids = reader.online()
    if nids:
        memories = dict(zip(nids, given_memory(given, len(nids)), strict=True))
        nodes = reader.online_cpus_only([reader.node(nid, memories[nid]) for nid in nids])
        nodes, shared_out = each_cpu_once(tree.where(NODE_FOLDER), nodes, lambda: _all_cpus(tree))
        distances, replaced = reader.distances(nids)
        reader.notes += shared_out + replaced
    else:
        nodes = (reader.only_node(memory, given_memory(given, 1)[0]),)
        distances = {(0, 0): LOCAL_DISTANCE}
    page_size = reader.page_size()
    return Topology(nodes, distances, tuple(reader.notes), memory.get("SwapTotal"), page_size)


def given_memory(given: Sequence[int], nodes: int) -> list[int | None]:
    """
    The memory in KiB that a user gives each of some nodes, None for each where nothing is given.

    Raises:
        InvalidArgument: Neither one value nor one a node.
    """
    if len(given) not in (0, 1, nodes):
        raise InvalidArgument("--node-memory", f"{len(given)} values for {nodes} nodes; give one, or one a node")
    return [*given] if len(given) == nodes else [given[0] if given else None] * nodes


def read_release(tree: Tree) -> tuple[str, str, tuple[int, int, int]] | None:
    """
    The kernel's release: the file that tells it, for messages, its text, and its numbers; None where none does.

    Source:
        fs/proc/version.c; /proc/sys/kernel/osrelease of proc(5).
    """
    for name, before in (("proc/sys/kernel/osrelease", ""), ("proc/version", "Linux version ")):
        match = _RELEASE.match((tree.read(name) or "").removeprefix(before))
        if match:
            major, minor, patch = (int(number or 0) for number in match.groups())
            return tree.where(name), match[0], (major, minor, patch)
    return None


# ---- the parts of a machine


class _Reader:
    """
    Reads the machine of a tree; what the tree leaves open goes to ``notes``.

    Args:
        tree: The tree.
    """

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.notes: list[str] = []

    def online(self) -> list[int]:
        """Ids of the nodes that are there and online, ascending; empty where the tree knows no nodes."""
        found = sorted(int(match[1]) for name in self.tree.names(NODE_FOLDER) if (match := _NODE_NAME.fullmatch(name)))
        if found and found[-1] >= MAX_NUMNODES:
            raise InputFileError(f"{self.tree.where(NODE_FOLDER)}: node{found[-1]}: node ids end at {MAX_NUMNODES - 1}")
        name = f"{NODE_FOLDER}/online"
        text = self.tree.read(name)
        if text is None or not found:
            return found
        online = parse_list(text, self.tree.where(name))
        missing = online - Nodemask(found)
        if missing:
            raise InputFileError(f"{self.tree.where(name)}: says {online}, but there is no folder for node {missing}")
        if not online:
            raise InputFileError(f"{self.tree.where(name)}: says that no node is online")
        offline = Nodemask(found) - online
        if offline:
            self.notes.append(f"{self.tree.where(name)}: node {offline} is offline and left out")
        return list(online)

    def node(self, nid: int, given: int | None) -> NodeInfo:
        """One node, with the memory *given* in KiB where the tree tells none."""
        name = f"{NODE_FOLDER}/node{nid}/meminfo"
        where, text = self.tree.where(name), self.tree.read(name)
        memory = {} if text is None else _meminfo(text, where, nid)
        if "MemTotal" not in memory and given is not None:
            self.notes.append(f"{where}: tells no memory: node {nid} has the {given} KiB of --node-memory, all free")
            return NodeInfo(nid, self._cpus(nid), given, given, _numastat(self.tree, nid))
        if text is None:
            raise InputFileError(
                f"{where}: missing; without it the memory of node {nid} is unknown; give it with --node-memory SIZE"
            )
        if "MemTotal" not in memory:
            raise InputFileError(f"{where}: no line 'Node {nid} MemTotal: ... kB'; give it with --node-memory SIZE")
        total = memory["MemTotal"]
        if "MemFree" not in memory:
            self.notes.append(f"{where}: no MemFree: all {total} KiB of node {nid} taken as free")
        free = memory.get("MemFree", total)
        if free > total:
            raise InputFileError(f"{where}: MemFree ({free} kB) is more than MemTotal ({total} kB)")
        return NodeInfo(nid, self._cpus(nid), total, free, _numastat(self.tree, nid))

    def only_node(self, memory: Mapping[str, int], given: int | None) -> NodeInfo:
        """Node 0 of a machine whose kernel knows no nodes."""
        where = self.tree.where(NODE_FOLDER)
        if "MemTotal" not in memory and given is not None:
            memory = {"MemTotal": given, "MemFree": given}
            self.notes.append(
                f"{self.tree.where('proc/meminfo')}: no MemTotal: the {given} KiB of --node-memory, all free"
            )
        if "MemTotal" not in memory:
            raise InputFileError(
                f"{where}: no nodes, and no MemTotal in proc/meminfo; add one of both to the tree, or"
                " give --node-memory SIZE"
            )
        cpus, from_what = _all_cpus(self.tree)
        self.notes.append(f"{where}: no nodes: one node 0 with the memory of proc/meminfo and CPU {cpus} ({from_what})")
        total = memory["MemTotal"]
        if "MemFree" not in memory:
            self.notes.append(f"{self.tree.where('proc/meminfo')}: no MemFree: all {total} KiB taken as free")
        free = memory.get("MemFree", total)
        if free > total:
            raise InputFileError(f"{self.tree.where('proc/meminfo')}: MemFree is more than MemTotal")
        return NodeInfo(0, cpus, total, free)

    def _cpus(self, nid: int) -> Nodemask:
        """CPUs of one node, by cpulist or else by cpumap."""
        listed = read_list(self.tree, f"{NODE_FOLDER}/node{nid}/cpulist")
        masked = read_mask(self.tree, f"{NODE_FOLDER}/node{nid}/cpumap")
        if listed is None and masked is None:
            self.notes.append(
                f"{self.tree.where(f'{NODE_FOLDER}/node{nid}')}: neither cpulist nor cpumap: node {nid} has no CPU"
            )
            return Nodemask()
        if listed is None:
            return masked or Nodemask()
        if masked is not None and masked != listed:
            where = self.tree.where(f"{NODE_FOLDER}/node{nid}/cpulist")
            self.notes.append(f"{where}: CPU {listed or 'none'}, but cpumap says {masked or 'none'}: the list is taken")
        return listed

    def online_cpus_only(self, nodes: Iterable[NodeInfo]) -> tuple[NodeInfo, ...]:
        """The nodes without CPUs that are offline."""
        name = f"{CPU_FOLDER}/online"
        online = read_list(self.tree, name)
        if not online:
            return tuple(nodes)
        kept = []
        for node in nodes:
            offline = node.cpus - online
            if offline:
                self.notes.append(f"{self.tree.where(name)}: CPU {offline} of node {node.nid} is offline and left out")
            kept.append(replace(node, cpus=node.cpus & online))
        return tuple(kept)

    def distances(self, nids: list[int]) -> tuple[dict[tuple[int, int], int], list[str]]:
        """The distances of those nodes, and what was assumed of them."""
        rows: dict[int, tuple[str, list[int]]] = {}
        for nid in nids:
            name = f"{NODE_FOLDER}/node{nid}/distance"
            text = self.tree.read(name)
            if text is not None:
                rows[nid] = self.tree.where(name), parse_row(text, f"{self.tree.where(name)}: line 1")
        missing = next((f"{NODE_FOLDER}/node{nid}/distance" for nid in nids if nid not in rows), "")
        return distance_table(nids, rows, f"{self.tree.where(missing)}: missing" if missing else "")

    def page_size(self) -> int:
        """16 KiB where the tree's name or its processor texts say ia64."""
        texts = {"its name": self.tree.label}
        texts |= {name: (self.tree.read(name) or "")[:PAGE_SIZE] for name in ("proc/cpuinfo", "proc/version")}
        for what, text in texts.items():
            if _IA64.search(text):
                self.notes.append(f"{self.tree.source}: {what} says ia64: pages of {PAGE_SIZE_IA64 >> 10} KiB")
                return PAGE_SIZE_IA64
        return PAGE_SIZE


# ---- memory


def _meminfo(text: str, where: str, nid: int | None = None) -> dict[str, int]:
    """MemTotal, MemFree and SwapTotal in KiB, as far as a meminfo has them: of the machine, or of a node."""
    memory: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not _WANTED.search(line):
            continue
        match = _MEMORY.fullmatch(line.strip())
        if not match or nid != (None if match[1] is None else int(match[1])):
            shape = "NAME: NUMBER kB" if nid is None else f"Node {nid} NAME: NUMBER kB"
            raise InputFileError(f"{where}: line {number}: {line[:60]!r} is not '{shape}'")
        memory[match[2]] = _parse_kib(match[3], f"{where}: line {number}")
    return memory


def _parse_kib(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise InputFileError(f"{where}: {text[:40]!r} is no number of kB")
    if len(text) > len(str(MAX_KIB)) or int(text) > MAX_KIB:
        raise InputFileError(f"{where}: {text[:40]} kB is more than any machine has")
    return int(text)


def _numastat(tree: Tree, nid: int) -> dict[str, int]:
    """The counters of a node's numastat."""
    name = f"{NODE_FOLDER}/node{nid}/numastat"
    counters: dict[str, int] = {}
    for number, line in enumerate((tree.read(name) or "").split("\n"), 1):
        if not line.strip():
            continue
        match = _COUNTER.fullmatch(line.strip())
        if not match:
            raise InputFileError(f"{tree.where(name)}: line {number}: {line[:60]!r} is not 'NAME NUMBER'")
        counters[match[1]] = int(match[2])
    return counters


# ---- CPUs


def each_cpu_once(
    where: str, nodes: Iterable[NodeInfo], others: Callable[[], tuple[Nodemask, str]]
) -> tuple[tuple[NodeInfo, ...], list[str]]:
    """
    The nodes with each CPU on the lowest node that claims it.

    Args:
        where: What tells of them, for messages.
        nodes: The nodes.
        others: The CPUs of the first node where none has any, and who says so.

    Returns:
        The nodes, and what was assumed.
    """
    notes = []
    taken, twice = Nodemask(), Nodemask()
    kept = []
    for node in nodes:
        twice |= taken & node.cpus
        kept.append(replace(node, cpus=node.cpus - taken))
        taken |= node.cpus
    if twice:
        notes.append(f"{where}: several nodes claim CPU {twice}: each is given to its lowest node")
    if not taken:
        cpus, from_what = others()
        first = kept[0]
        notes.append(f"{where}: no node has a CPU: node {first.nid} gets {cpus} ({from_what})")
        kept[0] = replace(first, cpus=cpus)
    return tuple(kept), notes


def _all_cpus(tree: Tree) -> tuple[Nodemask, str]:
    """Every CPU that the tree knows and the file that says so; CPU 0 where none does."""
    for name in (f"{CPU_FOLDER}/online", f"{CPU_FOLDER}/present"):
        listed = read_list(tree, name)
        if listed:
            return listed, f"by {name}"
    folders = Nodemask(int(match[1]) for name in tree.names(CPU_FOLDER) if (match := _CPU_NAME.fullmatch(name)))
    if folders and not folders.bits >> MAX_CPUS:
        return folders, f"by the folders in {CPU_FOLDER}"
    found = re.findall(r"^processor[ \t]*: ([0-9]{1,4})$", tree.read("proc/cpuinfo") or "", re.MULTILINE)
    if found:
        return Nodemask(int(cpu) for cpu in found), "by proc/cpuinfo"
    return Nodemask([0]), "assumed, the tree names no CPU"
