"""What every call starts from: the facts, nodes and tasks of the state, and words resolved against them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from migratectl.errors import BadAddress, InvalidArgument, NoSuchProcess
from migratectl.kernel.page_alloc import Allocations, Zonelist
from migratectl.nodemask import Nodemask
from migratectl.spans import ADDRESS_END, Address, NodeList, Size, Span
from migratectl.storage import facts, nodes, tasks, vmas
from migratectl.storage.connection import Connection
from migratectl.storage.facts import Facts
from migratectl.storage.nodes import Node
from migratectl.storage.tasks import Task
from migratectl.uapi import BITS_PER_LONG, MAX_NUMNODES, SYS_ADMIN, SYS_NICE, SYS_RESOURCE
from migratectl.wording import counted, pages_text


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts and nodes of the state as a call finds them."""

    facts: Facts
    nodes: Mapping[int, Node]

    @property
    def modern(self) -> bool:
        """Whether the profile is a 6.x kernel."""
        return self.facts.profile.modern

    @property
    def posted(self) -> bool:
        """Whether the profile is the patches as posted, defects included."""
        return self.facts.profile.posted

    @property
    def migrating_capability(self) -> int:
        """What migrate_pages(2) asks for of a caller who does not own the task (B7)."""
        return SYS_ADMIN if self.posted else SYS_NICE

    @property
    def move_all_capability(self) -> int:
        """What MOVE_ALL asks for (B7)."""
        return SYS_RESOURCE if self.posted else SYS_NICE

    @property
    def move_all_name(self) -> str:
        """That capability's name."""
        return "CAP_SYS_RESOURCE" if self.posted else "CAP_SYS_NICE"

    @property
    def online(self) -> Nodemask:
        """The nodes that are online."""
        return Nodemask(nid for nid, node in self.nodes.items() if node.online)

    @property
    def told(self) -> Nodemask:
        """
        The nodes that get_mempolicy(2) can tell: its mask ends with the long that has the highest possible node.

        Source:
            copy_nodes_to_user() of mm/mempolicy.c; rule 55 of what a 6.1 kernel does.
        """
        highest = max(max(self.facts.possible, default=0), *self.nodes)
        return Nodemask(range(-(-(highest + 1) // BITS_PER_LONG) * BITS_PER_LONG))

    @property
    def usable(self) -> Nodemask:
        """The nodes that calls accept as targets: online ones, under ``modern`` only those with memory."""
        if not self.modern:
            return self.online
        return Nodemask(nid for nid, node in self.nodes.items() if node.online and node.capacity)

    @property
    def free(self) -> dict[int, int]:
        """Free pages by node."""
        return {nid: node.free for nid, node in self.nodes.items()}

    @property
    def fallback(self) -> dict[int, Zonelist]:
        """Fallback list of every online node."""
        return {nid: node.zonelist for nid, node in self.nodes.items() if node.online}

    @property
    def weights(self) -> dict[int, int]:
        """Weight of every node for weighted interleaving."""
        return {nid: node.weight for nid, node in self.nodes.items()}

    def node_of_cpu(self, cpu: int) -> int:
        """The node of a CPU. Raises InvalidArgument for a CPU that no node has."""
        for nid, node in self.nodes.items():
            if cpu in node.cpus:
                return nid
        raise InvalidArgument(f"cpu {cpu}", "no node has this CPU; see 'migratectl node list'")

    @property
    def first_cpu(self) -> int:
        """The lowest CPU of the lowest online node that has CPUs."""
        return next((next(iter(n.cpus)) for n in self.nodes.values() if n.online and n.cpus), 0)

    def home(self, cpu: int) -> int:
        """The node where an allocation by that CPU starts: its own, or the lowest node that is online."""
        nid = next((nid for nid, node in self.nodes.items() if cpu in node.cpus), None)
        return next(iter(self.online)) if nid is None or not self.nodes[nid].online else nid


def load_machine(conn: Connection) -> Machine:
    """The machine of the state."""
    return Machine(facts.load(conn), nodes.load(conn))


def find_task(conn: Connection, pid: int) -> Task:
    """The task *pid*. Raises NoSuchProcess."""
    task = tasks.find(conn, pid)
    if task is None:
        nr = tasks.count(conn)
        raise NoSuchProcess(
            f"pid {pid}", f"no such task in this state ({counted(nr, 'task')}; see 'migratectl task list')"
        )
    return task


def find_mm(conn: Connection, pid: int) -> tuple[Task, int]:
    """The task *pid* and its address space. Raises NoSuchProcess, and InvalidArgument for a kernel thread."""
    task = find_task(conn, pid)
    if task.mm is None:
        raise InvalidArgument(f"pid {pid}", "a kernel thread has no address space; name an ordinary task")
    return task, task.mm


def whole_pages(size: Size, page_size: int, subject: str) -> int:
    """A size in pages. Raises InvalidArgument where it is no whole number of them."""
    amount = size.to_bytes(page_size)
    if amount % page_size:
        raise InvalidArgument(subject, f"{amount} bytes are no whole number of pages of {page_size} bytes")
    return amount // page_size


def resolve_span(
    conn: Connection, mm: int, span: Span, page_size: int, subject: str, *, aligned: bool = False
) -> tuple[int, int]:
    """
    The pages [start, end) that a range touches.

    Args:
        conn: The connection of the transaction.
        mm: The address space.
        span: The range.
        page_size: Bytes a page.
        subject: What an error is about.
        aligned: The call demands that the start be aligned, as munmap(2) does.

    Raises:
        InvalidArgument: The start is not aligned though it must be, or the end lies beyond the address space.
        BadAddress: No area has that label, or it is shorter than the range.
    """
    if span.label is not None:
        return _within_label(conn, mm, span, page_size, subject)
    address = span.address or 0
    if aligned and address % page_size:
        raise InvalidArgument(subject, f"{address:#x} is not aligned to pages of {page_size} bytes")
    length = span.end - address if span.end is not None else (span.length or Size(1)).to_bytes(page_size)
    if address + length > ADDRESS_END:
        raise InvalidArgument(subject, f"{span} ends beyond the 64-bit address space")
    start = address // page_size
    return start, -(-(address + length) // page_size) if length else start


def resolve_address(conn: Connection, mm: int, address: Address, page_size: int, subject: str) -> int:
    """
    An address in bytes.

    Raises:
        BadAddress: No area has that label, or it ends before.
    """
    if isinstance(address, int):
        return address
    start, end = _labelled(conn, mm, address.label, subject)
    offset = address.offset.to_bytes(page_size) if address.offset else 0
    if offset >= (end - start) * page_size:
        raise BadAddress(subject, f"{address} lies beyond '{address.label}', which has {pages_text(end - start)}")
    return start * page_size + offset


def _labelled(conn: Connection, mm: int, label: str, subject: str) -> tuple[int, int]:
    found = vmas.find_label(conn, mm, label)
    if found is None:
        known = ", ".join(name for name, _, _ in vmas.labels(conn, mm)) or "none"
        raise BadAddress(subject, f"no area is labelled '{label}' (labels: {known})")
    return found


def _within_label(conn: Connection, mm: int, span: Span, page_size: int, subject: str) -> tuple[int, int]:
    found = _labelled(conn, mm, span.label or "", subject)
    offset = span.offset.to_bytes(page_size) if span.offset else 0
    if offset % page_size:
        raise InvalidArgument(subject, f"offset {offset} is not aligned to pages of {page_size} bytes")
    start = found[0] + offset // page_size
    length = None if span.length is None else span.length.to_bytes(page_size)
    end = found[1] if length is None else start - (-length // page_size)
    if end > found[1] or start > end:
        raise BadAddress(subject, f"{span} reaches beyond '{span.label}', which has {pages_text(found[1] - found[0])}")
    return start, end


def resolve_nodes(machine: Machine, listed: NodeList, mems: Nodemask, subject: str) -> Nodemask:
    """
    The nodes that a list names.

    Args:
        machine: The machine: ``all`` and ``!`` count its online nodes.
        listed: The list as written.
        mems: What ``+`` counts within: the allowed nodes of the task.
        subject: What an error is about.

    Raises:
        InvalidArgument: An id of 1024 or more, or a relative id beyond the cpuset.
    """
    if any(nid >= MAX_NUMNODES for nid in listed.mask):
        raise InvalidArgument(subject, f"node ids go from 0 to {MAX_NUMNODES - 1}")
    if listed.all:
        return machine.online
    if listed.inverted:
        return machine.online - listed.mask
    if listed.relative:
        members = list(mems)
        if any(nid >= len(members) for nid in listed.mask):
            raise InvalidArgument(
                subject, f"the cpuset has {counted(len(members), 'node')}, +{listed.mask} asks for more"
            )
        return Nodemask(members[nid] for nid in listed.mask)
    return listed.mask


def allowed_nodes(machine: Machine, task: Task) -> Nodemask:
    """The task's allowed nodes: its cpuset's that are online."""
    return task.cpuset.mems & machine.online


def count_allocations(conn: Connection, allocations: Allocations, local: int) -> None:
    """Advance the numastat counters for allocations by a CPU of node *local*."""
    nodes.count(conn, allocations.numastat(local))


def node_rows(conn: Connection, machine: Machine) -> dict[str, Any]:
    """The document of ``node list``: every node with its distances in the order of the list."""
    distance = nodes.distances(conn)
    ids = list(machine.nodes)
    return {
        "nodes": [
            {
                "node": nid,
                "online": node.online,
                "cpus": str(node.cpus),
                "pages": node.capacity,
                "free": node.free,
                "used": node.used,
                "other": node.other,
                "distance": [distance[nid, other] for other in ids],
                "numastat": dict(zip(nodes.COUNTERS, node.counters, strict=True)),
                **({"weight": node.weight} if machine.modern else {}),
            }
            for nid, node in machine.nodes.items()
        ]
    }


def give_back(conn: Connection, freed: Iterable[Mapping[int, int]]) -> None:
    """Take freed pages off the used counts of their nodes."""
    for changes in freed:
        nodes.add_used(conn, changes)
