"""The nodes of a machine, from a tree of /sys and /proc; what a tree does not tell is assumed and said."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from migratectl.errors import InputFileError, InvalidArgument
from migratectl.linux.tree import Tree
from migratectl.nodemask import Nodemask
from migratectl.uapi import MAX_NUMNODES

NODE_FOLDER: Final = "sys/devices/system/node"
CPU_FOLDER: Final = "sys/devices/system/cpu"
LOCAL_DISTANCE: Final = 10
REMOTE_DISTANCE: Final = 20
MAX_DISTANCE: Final = 255
MAX_CPUS: Final = 1 << 16
MAX_KIB: Final = 1 << 50
PAGE_SIZE: Final = 4096
PAGE_SIZE_IA64: Final = 16384

_NODE_NAME: Final = re.compile(r"node(0|[1-9][0-9]{0,8})")
_CPU_NAME: Final = re.compile(r"cpu(0|[1-9][0-9]{0,8})")
_NODE_LINE: Final = re.compile(r"Node +([0-9]{1,9}) +(MemTotal|MemFree): +(\S+) kB")
_PROC_LINE: Final = re.compile(r"(MemTotal|MemFree|SwapTotal): +(\S+) kB")
_WANTED: Final = re.compile(r"\b(?:MemTotal|MemFree|SwapTotal)\b")
_COUNTER: Final = re.compile(r"([a-z_]+)[ \t]+([0-9]{1,18})")
_LIST: Final = re.compile(r"(?:[0-9]{1,5}(?:-[0-9]{1,5})?(?:,[0-9]{1,5}(?:-[0-9]{1,5})?)*)?")
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
    notes: list[str] = []
    memory = _proc_meminfo(tree)
    nids = _online_nodes(tree, notes)
    if nids:
        memories = dict(zip(nids, given_memory(given, len(nids)), strict=True))
        nodes = tuple(_read_node(tree, nid, memories[nid], notes) for nid in nids)
        where = tree.where(NODE_FOLDER)
        nodes = each_cpu_once(where, _online_cpus_only(tree, nodes, notes), notes, lambda: _all_cpus(tree))
        distances = _read_distances(tree, nids, notes)
    else:
        nodes = (_only_node(tree, memory, given_memory(given, 1)[0], notes),)
        distances = {(0, 0): LOCAL_DISTANCE}
    page_size = _page_size(tree, notes)
    return Topology(nodes, distances, tuple(notes), memory.get("SwapTotal"), page_size)


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


# ---- which nodes


def _online_nodes(tree: Tree, notes: list[str]) -> list[int]:
    """Ids of the nodes that are there and online, ascending; empty where the tree knows no nodes."""
    found = sorted(int(match[1]) for name in tree.names(NODE_FOLDER) if (match := _NODE_NAME.fullmatch(name)))
    if found and found[-1] >= MAX_NUMNODES:
        raise InputFileError(f"{tree.where(NODE_FOLDER)}: node{found[-1]}: node ids end at {MAX_NUMNODES - 1}")
    name = f"{NODE_FOLDER}/online"
    text = tree.read(name)
    if text is None or not found:
        return found
    online = parse_list(text, tree.where(name))
    missing = online - Nodemask(found)
    if missing:
        raise InputFileError(f"{tree.where(name)}: says {online}, but there is no folder for node {missing}")
    if not online:
        raise InputFileError(f"{tree.where(name)}: says that no node is online")
    offline = Nodemask(found) - online
    if offline:
        notes.append(f"{tree.where(name)}: node {offline} is offline and left out")
    return list(online)


def _read_node(tree: Tree, nid: int, given: int | None, notes: list[str]) -> NodeInfo:
    name = f"{NODE_FOLDER}/node{nid}/meminfo"
    where, text = tree.where(name), tree.read(name)
    memory = {} if text is None else _node_meminfo(text, where, nid)
    if "MemTotal" not in memory and given is not None:
        notes.append(f"{where}: tells no memory: node {nid} has the {given} KiB of --node-memory, all free")
        return NodeInfo(nid, _node_cpus(tree, nid, notes), given, given, _numastat(tree, nid))
    if text is None:
        raise InputFileError(
            f"{where}: missing; without it the memory of node {nid} is unknown; give it with --node-memory SIZE"
        )
    if "MemTotal" not in memory:
        raise InputFileError(f"{where}: no line 'Node {nid} MemTotal: ... kB'; give it with --node-memory SIZE")
    total = memory["MemTotal"]
    if "MemFree" not in memory:
        notes.append(f"{where}: no MemFree: all {total} KiB of node {nid} taken as free")
    free = memory.get("MemFree", total)
    if free > total:
        raise InputFileError(f"{where}: MemFree ({free} kB) is more than MemTotal ({total} kB)")
    return NodeInfo(nid, _node_cpus(tree, nid, notes), total, free, _numastat(tree, nid))


def _only_node(tree: Tree, memory: Mapping[str, int], given: int | None, notes: list[str]) -> NodeInfo:
    """Node 0 of a machine whose kernel knows no nodes."""
    where = tree.where(NODE_FOLDER)
    if "MemTotal" not in memory and given is not None:
        memory = {"MemTotal": given, "MemFree": given}
        notes.append(f"{tree.where('proc/meminfo')}: no MemTotal: the {given} KiB of --node-memory, all free")
    if "MemTotal" not in memory:
        raise InputFileError(
            f"{where}: no nodes, and no MemTotal in proc/meminfo; add one of both to the tree, or"
            " give --node-memory SIZE"
        )
    cpus, from_what = _all_cpus(tree)
    notes.append(f"{where}: no nodes: one node 0 with the memory of proc/meminfo and CPU {cpus} ({from_what})")
    total = memory["MemTotal"]
    if "MemFree" not in memory:
        notes.append(f"{tree.where('proc/meminfo')}: no MemFree: all {total} KiB taken as free")
    free = memory.get("MemFree", total)
    if free > total:
        raise InputFileError(f"{tree.where('proc/meminfo')}: MemFree is more than MemTotal")
    return NodeInfo(0, cpus, total, free)


# ---- memory


def _node_meminfo(text: str, where: str, nid: int) -> dict[str, int]:
    """MemTotal and MemFree of a node's meminfo, in KiB."""
    memory: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not _WANTED.search(line):
            continue
        match = _NODE_LINE.fullmatch(line.strip())
        if not match or int(match[1]) != nid:
            raise InputFileError(f"{where}: line {number}: {line[:60]!r} is not 'Node {nid} NAME: NUMBER kB'")
        memory[match[2]] = _parse_kib(match[3], f"{where}: line {number}")
    return memory


def _proc_meminfo(tree: Tree) -> dict[str, int]:
    """MemTotal, MemFree and SwapTotal of proc/meminfo, in KiB; empty where there is no such file."""
    where, memory = tree.where("proc/meminfo"), dict[str, int]()
    for number, line in enumerate((tree.read("proc/meminfo") or "").split("\n"), 1):
        if not _WANTED.search(line):
            continue
        match = _PROC_LINE.fullmatch(line.strip())
        if not match:
            raise InputFileError(f"{where}: line {number}: {line[:60]!r} is not 'NAME: NUMBER kB'")
        memory[match[1]] = _parse_kib(match[2], f"{where}: line {number}")
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


def _node_cpus(tree: Tree, nid: int, notes: list[str]) -> Nodemask:
    """CPUs of one node, by cpulist or else by cpumap."""
    listed = read_list(tree, f"{NODE_FOLDER}/node{nid}/cpulist")
    masked = _read_mask(tree, f"{NODE_FOLDER}/node{nid}/cpumap")
    if listed is None and masked is None:
        notes.append(f"{tree.where(f'{NODE_FOLDER}/node{nid}')}: neither cpulist nor cpumap: node {nid} has no CPU")
        return Nodemask()
    if listed is None:
        return masked or Nodemask()
    if masked is not None and masked != listed:
        where = tree.where(f"{NODE_FOLDER}/node{nid}/cpulist")
        notes.append(f"{where}: CPU {listed or 'none'}, but cpumap says {masked or 'none'}: the list is taken")
    return listed


def _online_cpus_only(tree: Tree, nodes: Iterable[NodeInfo], notes: list[str]) -> tuple[NodeInfo, ...]:
    """The nodes without CPUs that are offline."""
    name = f"{CPU_FOLDER}/online"
    online = read_list(tree, name)
    if not online:
        return tuple(nodes)
    kept = []
    for node in nodes:
        offline = node.cpus - online
        if offline:
            notes.append(f"{tree.where(name)}: CPU {offline} of node {node.nid} is offline and left out")
        kept.append(replace(node, cpus=node.cpus & online))
    return tuple(kept)


def each_cpu_once(
    where: str, nodes: Iterable[NodeInfo], notes: list[str], others: Callable[[], tuple[Nodemask, str]]
) -> tuple[NodeInfo, ...]:
    """
    The nodes with each CPU on the lowest node that claims it.

    Args:
        where: What tells of them, for messages.
        nodes: The nodes.
        notes: Where assumptions go.
        others: The CPUs of the first node where none has any, and who says so.
    """
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
    return tuple(kept)


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


def read_list(tree: Tree, name: str) -> Nodemask | None:
    """
    The set of a file such as ``0-2,5``; None where the file is missing.

    Raises:
        InputFileError: It is no such list; names file and line.
    """
    text = tree.read(name)
    return None if text is None else parse_list(text, tree.where(name))


def parse_list(text: str, where: str) -> Nodemask:
    """The set of a text such as ``0-2,5``. Raises InputFileError, which *where* and its first line begin."""
    text = text.rstrip("\n\0 ")
    if not _LIST.fullmatch(text):
        raise InputFileError(f"{where}: line 1: {text[:60]!r} is no list such as 0-2,5")
    try:
        cpus = Nodemask.parse(text)
    except ValueError as error:
        raise InputFileError(f"{where}: line 1: {error}") from None
    return _limited(cpus, where)


def _read_mask(tree: Tree, name: str) -> Nodemask | None:
    """The set of a file that holds a mask."""
    text = tree.read(name)
    if text is None:
        return None
    try:
        cpus = Nodemask.parse_mask(text.rstrip("\n\0 "))
    except ValueError as error:
        raise InputFileError(f"{tree.where(name)}: line 1: {error}") from None
    return _limited(cpus, tree.where(name))


def _limited(cpus: Nodemask, where: str) -> Nodemask:
    if cpus.bits >> MAX_CPUS:
        raise InputFileError(f"{where}: line 1: ids go beyond {MAX_CPUS - 1}")
    return cpus


# ---- distances


def _read_distances(tree: Tree, nids: list[int], notes: list[str]) -> dict[tuple[int, int], int]:
    rows: dict[int, tuple[str, list[int]]] = {}
    for nid in nids:
        name = f"{NODE_FOLDER}/node{nid}/distance"
        text = tree.read(name)
        if text is not None:
            rows[nid] = tree.where(name), parse_row(text, f"{tree.where(name)}: line 1")
    missing = next((f"{NODE_FOLDER}/node{nid}/distance" for nid in nids if nid not in rows), "")
    return distance_table(nids, rows, f"{tree.where(missing)}: missing" if missing else "", notes)


def distance_table(
    nids: Sequence[int], rows: Mapping[int, tuple[str, list[int]]], trouble: str, notes: list[str]
) -> dict[tuple[int, int], int]:
    """
    A table of distances, or, as the kernel does with one that makes no sense, 10 and 20.

    Args:
        nids: The nodes, ascending.
        rows: The row of each node, as far as there are any, and what tells it, for messages.
        trouble: What is wrong already; empty if nothing is.
        notes: Where assumptions go.
    """
    for nid, (where, row) in rows.items():
        trouble = trouble or _nonsense(row, nids.index(nid), len(nids), where)
    if trouble:
        used = f"{LOCAL_DISTANCE} local and {REMOTE_DISTANCE} remote are used instead, for all nodes"
        notes.append(f"{trouble}: {used}")
        return {(a, b): LOCAL_DISTANCE if a == b else REMOTE_DISTANCE for a in nids for b in nids}
    return {(a, b): distance for a in nids for b, distance in zip(nids, rows[a][1], strict=True)}


def parse_row(text: str, where: str) -> list[int]:
    """Distances with blanks between. Raises InputFileError, which *where* begins."""
    words = text.rstrip("\n\0 ").split()
    for word in words:
        if not (word.isascii() and word.isdigit() and len(word) <= len(str(MAX_KIB))):
            raise InputFileError(f"{where}: {word[:40]!r} is no distance")
    return [int(word) for word in words]


def _nonsense(row: list[int], own: int, columns: int, where: str) -> str:
    """What is wrong with a row of distances; empty if nothing is."""
    if len(row) != columns:
        return f"{where}: {len(row)} distances for {columns} online nodes"
    if row[own] != LOCAL_DISTANCE:
        return f"{where}: the node's distance to itself is {row[own]}, not {LOCAL_DISTANCE}"
    remote = [distance for k, distance in enumerate(row) if k != own]
    if any(distance <= LOCAL_DISTANCE for distance in remote):
        return f"{where}: another node at distance {min(remote)}, not above {LOCAL_DISTANCE}"
    if any(distance > MAX_DISTANCE for distance in remote):
        return f"{where}: a distance of {max(remote)}, above {MAX_DISTANCE}"
    return ""


# ---- page size


def _page_size(tree: Tree, notes: list[str]) -> int:
    """16 KiB where the tree's name or its processor texts say ia64."""
    texts = {"its name": tree.label}
    texts |= {name: (tree.read(name) or "")[:PAGE_SIZE] for name in ("proc/cpuinfo", "proc/version")}
    for what, text in texts.items():
        if _IA64.search(text):
            notes.append(f"{tree.source}: {what} says ia64: pages of {PAGE_SIZE_IA64 >> 10} KiB")
            return PAGE_SIZE_IA64
    return PAGE_SIZE
