"""A new machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from migratectl.errors import InvalidArgument
from migratectl.kernel.page_alloc import build_zonelists
from migratectl.nodemask import Nodemask
from migratectl.operations.machine import load_machine, node_rows, whole_pages
from migratectl.spans import Size
from migratectl.storage import facts, holds, nodes, tasks
from migratectl.storage.connection import Connection
from migratectl.storage.facts import Facts
from migratectl.storage.nodes import Node
from migratectl.storage.tasks import Cpuset
from migratectl.uapi import MAX_NUMNODES, Profile
from migratectl.wording import counted

T = TypeVar("T")
_DEFAULT_SWAP: Final = Size(1 << 30, "B")
_SMALLEST_PAGE: Final = 512
_LARGEST_PAGE: Final = 1 << 30
LOCAL_DISTANCE: Final = 10


@dataclass(frozen=True, slots=True)
class Init:
    """
    The words of ``init``.

    Attributes:
        nodes: How many nodes, ids from 0.
        memory: Memory of each node; one value stands for all.
        cpus: CPUs of each node; one value stands for all.
        distance: (local, remote), or a full matrix of rows.
        page_size: Bytes a page.
        swap: Size of the area ``swap0``; None: no area; ``default``: 1 GiB under v9, none under modern.
        profile: The kernel to model.
        possible: How many nodes can exist, ids from 0; None: those that there are.
    """

    nodes: int
    memory: tuple[Size, ...]
    cpus: tuple[int, ...]
    distance: tuple[int, int] | tuple[tuple[int, ...], ...]
    page_size: Size
    swap: Size | Literal["default"] | None
    profile: Profile
    possible: int | None = None


def init(conn: Connection, call: Init) -> dict[str, Any]:
    """
    Fill a new state with a machine.

    Returns:
        The document of ``init``.

    Raises:
        InvalidArgument: A list that does not fit the number of nodes, a bad distance or page size.
    """
    page_size = check_page_size(call.page_size)
    if not 1 <= call.nodes <= MAX_NUMNODES:
        raise InvalidArgument("--nodes", f"{counted(call.nodes, 'node')}; a machine has 1 to {MAX_NUMNODES}")
    memory = _one_each(call.memory, call.nodes, "--memory")
    cpus = _one_each(call.cpus, call.nodes, "--cpus")
    distance = _matrix(call.distance, call.nodes)
    capacities = [whole_pages(size, page_size, "--memory") for size in memory]
    firsts = [sum(cpus[:nid]) for nid in range(call.nodes)]
    machine = [
        NodeShape(nid, Nodemask(range(first, first + nr)), capacity, 0)
        for nid, (first, nr, capacity) in enumerate(zip(firsts, cpus, capacities, strict=True))
    ]
    if call.possible is not None and not call.nodes <= call.possible <= MAX_NUMNODES:
        raise InvalidArgument(
            "--possible", f"{call.possible}; the machine has {call.nodes}, at most {MAX_NUMNODES} can be"
        )
    possible = Nodemask(range(call.possible or 0))
    set_up(conn, machine, distance, Facts(page_size, call.profile, possible))
    add_swap(conn, call.swap, Facts(page_size, call.profile))
    return node_rows(conn, load_machine(conn))


@dataclass(frozen=True, slots=True)
class NodeShape:
    """What a node is made of; capacity and other in pages."""

    nid: int
    cpus: Nodemask
    capacity: int
    other: int


def set_up(
    conn: Connection, machine: Sequence[NodeShape], distance: Mapping[tuple[int, int], int], known: Facts
) -> None:
    """Write facts, nodes with their fallback lists, distances and the root cpuset of a new state."""
    if not any(node.capacity for node in machine):
        raise InvalidArgument("--memory", "no node has memory; give one at least a page")
    facts.store(conn, known)
    lists = zonelists(machine, distance, modern=known.profile.modern)
    counters = (0,) * len(nodes.COUNTERS)
    nodes.insert(
        conn,
        [Node(node.nid, True, node.cpus, lists[node.nid], node.capacity, node.other, 0, counters) for node in machine],
        distance,
    )
    everything = Nodemask(node.nid for node in machine)
    cpus = Nodemask(cpu for node in machine for cpu in node.cpus)
    mems = Nodemask(node.nid for node in machine if node.capacity) if known.profile.modern else everything
    tasks.insert_cpuset(conn, Cpuset(0, "/", cpus, mems, cpu_exclusive=True, mem_exclusive=True))


def zonelists(
    machine: Iterable[NodeShape | Node], distance: Mapping[tuple[int, int], int], *, modern: bool
) -> dict[int, tuple[int, ...]]:
    """
    The fallback list of every node; ``modern`` leaves memory-less nodes out of the lists, though such a node has one.

    Source:
        semantics.md 6.2.
    """
    members = list(machine)
    with_cpus = Nodemask(node.nid for node in members if node.cpus)
    givers = Nodemask(node.nid for node in members if node.capacity) if modern else None
    return build_zonelists([node.nid for node in members], distance, with_cpus, givers, modern=modern)


def add_swap(conn: Connection, swap: Size | Literal["default"] | None, known: Facts) -> None:
    """The area ``swap0`` of a new state, where it has one."""
    if swap == "default":
        swap = None if known.profile.modern else _DEFAULT_SWAP
    if swap is not None and swap.amount:
        holds.add_swap_area(conn, "swap0", slots_of(swap, known.page_size))


def slots_of(size: Size, page_size: int) -> int:
    """Slots of a swap area of that size: whole pages."""
    return size.to_bytes(page_size) // page_size


def check_page_size(size: Size) -> int:
    """A page size in bytes. Raises InvalidArgument unless it is a power of two from 512 bytes to 1 GiB."""
    value = size.to_bytes(0)
    if size.unit == "p" or value < _SMALLEST_PAGE or value > _LARGEST_PAGE or value & (value - 1):
        raise InvalidArgument("--page-size", f"{size} is no power of two from 512 bytes to 1G")
    return value


def _one_each(values: tuple[T, ...], nr: int, option: str) -> tuple[T, ...]:
    if len(values) == 1:
        return values * nr
    if len(values) != nr:
        given, machine = counted(len(values), "value"), counted(nr, "node")
        raise InvalidArgument(option, f"{given} for {machine}; give one, or one a node")
    return values


def _matrix(given: tuple[int, int] | tuple[tuple[int, ...], ...], nr: int) -> dict[tuple[int, int], int]:
    pair = [value for value in given if isinstance(value, int)]
    rows = [value for value in given if isinstance(value, tuple)]
    if pair:
        local, remote = pair
        rows = [tuple(local if i == j else remote for j in range(nr)) for i in range(nr)]
    if len(rows) != nr or any(len(row) != nr for row in rows):
        wanted, each = counted(nr, "row"), counted(nr, "number")
        raise InvalidArgument("--distance", f"the matrix is not {wanted} of {each}")
    if any(value < 1 for row in rows for value in row):
        raise InvalidArgument("--distance", "a distance is 1 or more")
    return {(i, j): value for i, row in enumerate(rows) for j, value in enumerate(row)}
