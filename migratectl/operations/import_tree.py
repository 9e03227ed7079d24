"""A machine with its tasks from the text files of Linux: ``import``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from migratectl.errors import InputFileError, InvalidArgument
from migratectl.importing.importer import Importer, without_collector
from migratectl.importing.process import import_process
from migratectl.linux.files import STDIN
from migratectl.linux.hardware import hardware_text, parse_hardware
from migratectl.linux.id_lists import read_list
from migratectl.linux.pasted import AROUND, clean
from migratectl.linux.process import read_parent
from migratectl.linux.topology import NODE_FOLDER, PAGE_SIZE, Topology, read_release, read_topology
from migratectl.linux.tree import TextTree, Tree, open_tree
from migratectl.nodemask import Nodemask
from migratectl.operations.init import NodeShape, add_swap, check_page_size, set_up
from migratectl.operations.machine import load_machine, node_rows
from migratectl.spans import Size
from migratectl.storage import imports, nodes
from migratectl.storage.connection import Connection
from migratectl.storage.facts import Facts
from migratectl.uapi import MAX_PID, Profile

KIB: Final = 1024

LAST_OF_V9: Final = (2, 6, 32)
"""The last kernel that the profile V9 is taken for."""

FIRST_OF_NEXT: Final = (6, 8, 0)
"""The first kernel that migrates pages otherwise than ``modern`` in places."""


@dataclass(frozen=True, slots=True)
class ImportTree:
    """
    The words of ``import``.

    Attributes:
        tree: A directory or archive laid out like ``/``, or a text of ``numactl --hardware``.
        text: That text where it was read already, of standard input.
        pids: Import these tasks only; empty: all.
        page_size: Bytes a page; None: what the tree tells.
        swap: Size of the area ``swap0``; None: no area; ``default``: SwapTotal.
        empty: Free the memory that the machine used for what is not imported.
        profile: The kernel to model, in a new state; None: by the version that the tree tells.
        clip: Leave out pages on unknown or full nodes instead of refusing them.
        tasks_only: Add the tasks to the state at hand.
        node_memory: Memory of every node, or of each, where nothing tells it.
    """

    tree: Path
    text: str | None
    pids: tuple[int, ...]
    page_size: Size | None
    swap: Size | Literal["default"] | None
    empty: bool
    profile: Profile | None
    clip: bool
    tasks_only: bool
    node_memory: tuple[Size, ...] = ()


@without_collector()
def import_tree(conn: Connection, call: ImportTree) -> dict[str, Any]:
    """
    Read a machine and its tasks from a tree.

    Args:
        conn: The connection of the transaction; of a new, empty state unless ``tasks_only``.
        call: The words.

    Returns:
        The document of ``import``: as of ``init``, with ``tasks`` and ``assumptions``.

    Raises:
        InputFileError: The tree, or a file of it, is missing, malformed, or names nodes that the machine has not got
            or that are too small; names file and line.
        InvalidArgument: Options that contradict each other or the state.
        AlreadyExists: A pid is taken.
    """
    tree, notes = _opened(call)
    in_use, assumed = _known_machine(conn, call) if call.tasks_only else _new_machine(conn, tree, call)
    machine = load_machine(conn)
    pids = _pids(tree, call.pids)
    importer = Importer(conn, machine, call.clip, tree, {pid: read_parent(tree, pid) for pid in pids})
    if not call.tasks_only:
        importer.add_cpusets()
    found = [import_process(importer, tree, pid, wanted=bool(call.pids)) for pid in pids]
    importer.finish()
    notes += assumed + importer.notes
    if tree.left_out:
        notes.append(f"{tree.source}: {tree.left_out} links of the archive lead to nothing in it: left out")
    notes += importer.common_notes() + _leave_to_others(conn, tree, in_use, importer.room.taken())
    return {
        **node_rows(conn, load_machine(conn)),
        "tasks": [row for row in found if row is not None],
        "assumptions": notes,
    }


# ---- the machine


def _opened(call: ImportTree) -> tuple[Tree, list[str]]:
    """What the user named: a tree, or a text of numactl --hardware; and what is to be told of that."""
    source, text = str(call.tree), call.text
    if text is None and not call.tree.is_dir():
        text = hardware_text(call.tree)
    if text is None:
        return open_tree(call.tree), []
    source = source if call.text is None else STDIN
    if call.tasks_only:
        raise InputFileError(f"{source}: a text of numactl --hardware has no tasks; leave out --tasks-only")
    own, notes = clean(text, source, additions=AROUND)
    return TextTree(source, own), notes


def _topology(tree: Tree, call: ImportTree) -> Topology:
    """The machine of a tree or text; memory that is given in pages is in those of the option, else of 4 KiB."""
    unit = check_page_size(call.page_size or Size(PAGE_SIZE, "B"))
    given = [size.to_bytes(unit) // KIB for size in call.node_memory]
    return parse_hardware(tree.text, tree.source, given) if isinstance(tree, TextTree) else read_topology(tree, given)


def _known_machine(conn: Connection, call: ImportTree) -> tuple[dict[int, int], list[str]]:
    """As _new_machine() for the machine of a state at hand: refuse what that has decided already."""
    own = Size(load_machine(conn).facts.page_size, "B")
    if call.page_size is not None and call.page_size.to_bytes(0) != own.amount:
        raise InvalidArgument("--page-size", f"with --tasks-only the state's own counts, {own} bytes; leave it out")
    return {}, []


def _new_machine(conn: Connection, tree: Tree, call: ImportTree) -> tuple[dict[int, int], list[str]]:
    """
    Write the machine of the tree.

    Returns:
        The pages that it had in use, by node, which are left to others: none with ``--empty``. What was assumed.
    """
    topology = _topology(tree, call)
    notes = [*topology.assumptions]
    page_size = check_page_size(call.page_size or Size(topology.page_size_hint, "B"))
    if call.page_size is None and topology.page_size_hint == PAGE_SIZE:
        notes.append(f"{tree.source}: page size not told: {page_size // KIB} KiB")
    possible = read_list(tree, f"{NODE_FOLDER}/possible") or Nodemask()
    profile, chosen = (call.profile, []) if call.profile else _profile(tree)
    known = Facts(page_size, profile, possible)
    capacity = {node.nid: node.total_kib * KIB // page_size for node in topology.nodes}
    machine = [NodeShape(node.nid, node.cpus, capacity[node.nid], 0) for node in topology.nodes]
    set_up(conn, machine, topology.distances, known)
    nodes.count(conn, {node.nid: node.counters for node in topology.nodes if node.counters})
    notes += chosen + _add_swap(conn, tree, call, topology, known)
    in_use = {node.nid: capacity[node.nid] - node.free_kib * KIB // page_size for node in topology.nodes}
    return {} if call.empty else in_use, notes


def _profile(tree: Tree) -> tuple[Profile, list[str]]:
    """The profile of the tree's kernel: V9 up to the release that the patches went into and its successors of then."""
    told = read_release(tree)
    if told is None:
        return Profile.V9, [f"{tree.source}: kernel not told: profile {Profile.V9}"]
    where, release, numbers = told
    chosen = Profile.V9 if numbers <= LAST_OF_V9 else Profile.MODERN
    newer = ", the newest that is modelled" if numbers >= FIRST_OF_NEXT else ""
    return chosen, [f"{where}: kernel {release}: profile {chosen}{newer}"]


def _add_swap(conn: Connection, tree: Tree, call: ImportTree, topology: Topology, known: Facts) -> list[str]:
    """Give the machine its swap area. What was assumed."""
    if call.swap != "default":
        add_swap(conn, call.swap, known)
    elif topology.swap_kib is not None:
        add_swap(conn, Size(topology.swap_kib * KIB // known.page_size, "p"), known)
    else:
        size = "none" if known.profile.modern else "1 GiB"
        where = tree.source if isinstance(tree, TextTree) else tree.where("proc/meminfo")
        add_swap(conn, "default", known)
        return [f"{where}: no SwapTotal: swap as 'init' makes it: {size}"]
    return []


def _leave_to_others(conn: Connection, tree: Tree, in_use: Mapping[int, int], taken: Mapping[int, int]) -> list[str]:
    """Let what was in use and is not the tasks' stay in use by others. What was assumed."""
    imports.set_other(conn, {nid: max(total - taken.get(nid, 0), 0) for nid, total in in_use.items()})
    return [
        f"{tree.where(NODE_FOLDER)}/node{nid}/meminfo: {total} pages in use, but the tasks hold {taken[nid]}:"
        " the rest is taken from its free pages, none is left in use by others"
        for nid, total in in_use.items()
        if taken.get(nid, 0) > total
    ]


# ---- the tasks of a tree


def _pids(tree: Tree, wanted: tuple[int, ...]) -> list[int]:
    """The tasks to import, ascending."""
    there = {int(name) for name in tree.names("proc") if name.isascii() and name.isdigit() and name[0] != "0"}
    for pid in wanted:
        if pid not in there or tree.read(f"proc/{pid}/numa_maps") is None:
            raise InputFileError(f"{tree.where(f'proc/{pid}/numa_maps')}: missing; --pid names tasks of the tree")
        if pid > MAX_PID:
            raise InvalidArgument(f"pid {pid}", f"pids go from 1 to {MAX_PID}")
    return sorted(set(wanted) or {pid for pid in there if pid <= MAX_PID})
