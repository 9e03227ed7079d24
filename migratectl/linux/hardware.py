"""The text of ``numactl --hardware``: written as it does, and read for a machine, as it is what people paste."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from migratectl.errors import InputFileError
from migratectl.linux.distances import distance_table, parse_row
from migratectl.linux.files import decode, read_text
from migratectl.linux.id_lists import MAX_CPUS
from migratectl.linux.topology import MAX_KIB, PAGE_SIZE, NodeInfo, Topology, each_cpu_once, given_memory
from migratectl.nodemask import Nodemask
from migratectl.uapi import MAX_NUMNODES

KIB_A_MB: Final = 1024

BEGINNING: Final = 1 << 14
"""Bytes in which the first line of a text must begin."""

_AVAILABLE: Final = re.compile(r"available: ([0-9]{1,4}) nodes?(?: \(([0-9,-]+)\))?")
_OF_NODE: Final = re.compile(r"node ([0-9]{1,4}) (cpus|size|free):(.*)")
_AMOUNT: Final = re.compile(r"([0-9]{1,15}) MB")
_CPUS: Final = re.compile(r"[0-9]{1,5}(?:-[0-9]{1,5})?(?:[ ,]+[0-9]{1,5}(?:-[0-9]{1,5})?)*")
_HEADING: Final = re.compile(r"node((?: +[0-9]+)+)")
_ROW: Final = re.compile(r"([0-9]{1,4}):((?: +[0-9]+)+)")
_SILENT: Final = ("node distances:", "No distance information available.")
_NOT_THERE: Final = "<not available>"


class NodeHardware(NamedTuple):
    """A node: its CPUs, and its memory and the free part of it in units of 2^20 bytes."""

    cpus: Nodemask
    size_mb: int
    free_mb: int


def format_hardware(nodes: Mapping[int, NodeHardware], distances: Mapping[int, Sequence[int]]) -> str:
    """
    Nodes with CPUs, memory and distances.

    Args:
        nodes: The nodes that are online, ascending.
        distances: For each of them the distance to each, in the same order.

    Returns:
        The text; each line of the table of distances ends with a blank.

    Source:
        numactl(8) of the series 2.0 with --hardware; semantics.md 7.3.
    """
    lines = [f"available: {len(nodes)} nodes ({Nodemask(nodes)})"]
    for nid, node in nodes.items():
        lines.append(f"node {nid} cpus:" + "".join(f" {cpu}" for cpu in node.cpus))
        lines.append(f"node {nid} size: {node.size_mb} MB")
        lines.append(f"node {nid} free: {node.free_mb} MB")
    lines.append("node distances:")
    lines.append("node " + "".join(f"{nid:3} " for nid in nodes))
    lines += [f"{nid:3}: " + "".join(f"{distance:3} " for distance in distances[nid]) for nid in nodes]
    return "".join(f"{line}\n" for line in lines)


def is_hardware(text: str) -> bool:
    """Whether a text, or the beginning of one, has the first line of ``numactl --hardware``."""
    return any(_AVAILABLE.fullmatch(line.strip(" >\t\r")) for line in text.split("\n", 20))


def hardware_text(path: Path) -> str | None:
    """
    A file's text where it is one of ``numactl --hardware``; None for every other file. A pipe is read to its end.

    Raises:
        InputFileError: It is too long.
    """
    if path.is_fifo():
        return read_text(path, pipes=True)
    if not path.is_file():
        return None
    try:
        with path.open("rb") as stream:
            beginning = stream.read(BEGINNING)
    except OSError:
        return None  # opening it as a tree tells what is wrong
    return read_text(path) if is_hardware(decode(beginning)) else None


@dataclass(slots=True)
class _Lines:
    """What the lines of a text tell, by node; memory in MB, rows of distances with the number of their line."""

    listed: Nodemask | None = None
    cpus: dict[int, Nodemask] = field(default_factory=dict)
    size: dict[int, int] = field(default_factory=dict)
    free: dict[int, int] = field(default_factory=dict)
    rows: dict[int, tuple[str, list[int]]] = field(default_factory=dict)
    open: int | None = None
    """The node whose CPUs the line above tells, as a mail may have wrapped them."""

    notes: list[str] = field(default_factory=list)
    """What was left out or assumed."""


def parse_hardware(text: str, source: str, given: Sequence[int] = ()) -> Topology:
    """
    Read a machine.

    Args:
        text: The whole text; what stands before its first line, such as a prompt, is left out.
        source: Its name, for messages.
        given: Memory in KiB where a node has no size: of every node, or of each, ascending.

    Returns:
        The machine. Sizes are whole MB of 2^20 bytes; swap and counters are not told.

    Raises:
        InputFileError: A line is malformed, or one is missing without which the machine is unknown; names the line.
        InvalidArgument: Neither one *given* value nor one a node.

    Source:
        hardware() and print_distances() of numactl(8), series 1.0 and 2.0; semantics.md 7.3.
    """
    told = _Lines()
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not _read_line(told, line.strip(), f"{source}: line {number}") and told.listed is not None:
            what = f"{line.strip()[:40]!r} is no line of numactl --hardware: left out"
            told.notes.append(f"{source}: line {number}: {what}")
    if told.listed is None:
        raise InputFileError(f"{source}: no line such as 'available: 2 nodes (0-1)'")
    nids = list(told.listed)
    memory = given_memory(given, len(nids))
    nodes = [_node(told, nid, kib, source) for nid, kib in zip(nids, memory, strict=True)]
    nodes_once, shared_out = each_cpu_once(source, nodes, lambda: (Nodemask([0]), "assumed, the text names no CPU"))
    missing = next((f"{source}: no distances of node {nid}" for nid in nids if nid not in told.rows), "")
    distances, replaced = distance_table(nids, told.rows, missing)
    notes = *told.notes, *shared_out, *replaced, f"{source}: sizes are told in whole MB"
    return Topology(nodes_once, distances, notes, None, PAGE_SIZE)


def _read_line(told: _Lines, line: str, where: str) -> bool:
    """Enter what a line tells; whether it is one of this text."""
    wrapped, told.open = told.open, None
    if match := _AVAILABLE.fullmatch(line):
        told.listed = _listed(match, where)
    elif told.listed is None:
        return False
    elif match := _OF_NODE.fullmatch(line):
        _enter(told, _known(told, int(match[1]), where), match[2], match[3].strip(), where)
    elif wrapped is not None and _CPUS.fullmatch(line):
        told.cpus[wrapped] |= _cpus(line, where)
        told.open = wrapped
    elif match := _ROW.fullmatch(line):
        told.rows[_known(told, int(match[1]), where)] = where, parse_row(match[2], where)
    elif match := _HEADING.fullmatch(line):
        if Nodemask(map(int, match[1].split())) != told.listed:
            raise InputFileError(f"{where}: the columns are not the nodes {told.listed}, which are available")
    else:
        return line in _SILENT
    return True


def _listed(match: re.Match[str], where: str) -> Nodemask:
    """The nodes that are available; the oldest texts tell their number only."""
    try:
        nodes = Nodemask.parse(match[2]) if match[2] else Nodemask(range(int(match[1])))
    except ValueError as error:
        raise InputFileError(f"{where}: {error}") from None
    if len(nodes) != int(match[1]) or not nodes or nodes.bits >> MAX_NUMNODES:
        raise InputFileError(f"{where}: {match[0]!r} does not tell which nodes there are, of ids to {MAX_NUMNODES - 1}")
    return nodes


def _known(told: _Lines, nid: int, where: str) -> int:
    if told.listed is None or nid not in told.listed:
        raise InputFileError(f"{where}: node {nid} is none of those that are available, {told.listed}")
    return nid


def _enter(told: _Lines, nid: int, what: str, text: str, where: str) -> None:
    """What a line tells of a node."""
    if what == "cpus":
        told.cpus[nid], told.open = _cpus(text, where), nid
        return
    match = _AMOUNT.fullmatch(text)
    if text == _NOT_THERE:
        return
    if not match or int(match[1]) * KIB_A_MB > MAX_KIB:
        raise InputFileError(f"{where}: {text[:40]!r} is no size such as 4096 MB")
    (told.size if what == "size" else told.free)[nid] = int(match[1])


def _cpus(text: str, where: str) -> Nodemask:
    if not text:
        return Nodemask()
    try:
        cpus = Nodemask.parse(",".join(re.split("[ ,]+", text))) if _CPUS.fullmatch(text) else None
    except ValueError as error:
        raise InputFileError(f"{where}: {error}") from None
    if cpus is None or cpus.bits >> MAX_CPUS:
        raise InputFileError(f"{where}: {text[:40]!r} are no CPUs such as 0 1 2, up to {MAX_CPUS - 1}")
    return cpus


def _node(told: _Lines, nid: int, given: int | None, source: str) -> NodeInfo:
    total = told.size[nid] * KIB_A_MB if nid in told.size else given
    if total is None:
        raise InputFileError(f"{source}: no line 'node {nid} size: ... MB'; give it with --node-memory SIZE")
    if nid not in told.size:
        told.notes.append(f"{source}: tells no memory: node {nid} has the {given} KiB of --node-memory, all free")
    elif nid not in told.free:
        told.notes.append(f"{source}: no line 'node {nid} free: ... MB': all of its memory taken as free")
    free = told.free[nid] * KIB_A_MB if nid in told.free and nid in told.size else total
    if free > total:
        raise InputFileError(f"{source}: node {nid} has {told.free[nid]} MB free of {told.size[nid]} MB")
    if nid not in told.cpus:
        told.notes.append(f"{source}: no line 'node {nid} cpus: ...': node {nid} has no CPU")
    return NodeInfo(nid, told.cpus.get(nid, Nodemask()), total, free)
