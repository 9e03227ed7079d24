"""Nodes, their distances and counters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from migratectl.nodemask import Nodemask
from migratectl.storage.connection import Connection
from migratectl.storage.work import write, write_many

COUNTERS: Final = ("numa_hit", "numa_miss", "numa_foreign", "interleave_hit", "local_node", "other_node")
"""The counters of numastat(8), in its order."""


@dataclass(frozen=True, slots=True)
class Node:
    """
    A node; capacity, other and used in pages.

    ``zonelist`` is its fallback list, ``weight`` how many pages in a row weighted interleaving gives it.
    """

    nid: int
    online: bool
    cpus: Nodemask
    zonelist: tuple[int, ...]
    capacity: int
    other: int
    used: int
    counters: tuple[int, ...]
    weight: int = 1

    @property
    def free(self) -> int:
        """Pages that nobody uses; none on an offline node."""
        return self.capacity - self.other - self.used if self.online else 0


_NAMES = ", ".join(COUNTERS)
_SELECT = f"SELECT id, online, cpus, zonelist, capacity, other, used, weight, {_NAMES} FROM nodes ORDER BY id"
_COUNT = "UPDATE nodes SET {} WHERE id = ?".format(", ".join(f"{name} = {name} + ?" for name in COUNTERS))


def load(conn: Connection) -> dict[int, Node]:
    """All nodes by id, ascending."""
    return {row[0]: _node(*row) for row in conn.execute(_SELECT)}


def _node(
    nid: int, online: int, cpus: str, zonelist: str, capacity: int, other: int, used: int, weight: int, *counters: int
) -> Node:
    return Node(nid, bool(online), Nodemask.parse(cpus), _ids(zonelist), capacity, other, used, counters, weight)


def _ids(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",")) if text else ()


def insert(conn: Connection, nodes: Iterable[Node], distances: Mapping[tuple[int, int], int]) -> None:
    """Add the nodes of a new state and the distance of every ordered pair."""
    rows = [
        (n.nid, int(n.online), str(n.cpus), ",".join(map(str, n.zonelist)), n.capacity, n.other, n.used) for n in nodes
    ]
    write_many(
        conn,
        "INSERT INTO nodes(id, online, cpus, zonelist, capacity, other, used) VALUES (?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    write_many(
        conn,
        "INSERT INTO distances(source, dest, distance) VALUES (?, ?, ?)",
        [(source, dest, value) for (source, dest), value in sorted(distances.items())],
    )


def set_online(conn: Connection, nid: int, *, online: bool) -> None:
    """Bring a node online or take it offline; its pages must be gone by then."""
    write(conn, "UPDATE nodes SET online = ? WHERE id = ?", (int(online), nid))


def set_weight(conn: Connection, nid: int, weight: int) -> None:
    """Give a node another weight."""
    write(conn, "UPDATE nodes SET weight = ? WHERE id = ?", (weight, nid))


def set_zonelists(conn: Connection, lists: Mapping[int, tuple[int, ...]]) -> None:
    """Give nodes other fallback lists."""
    rows = [(",".join(map(str, zonelist)), nid) for nid, zonelist in lists.items()]
    write_many(conn, "UPDATE nodes SET zonelist = ? WHERE id = ?", rows)


def distances(conn: Connection) -> dict[tuple[int, int], int]:
    """Distance for each (from, to)."""
    rows = conn.execute("SELECT source, dest, distance FROM distances ORDER BY source, dest")
    return {(source, dest): value for source, dest, value in rows}


def add_used(conn: Connection, changes: Mapping[int, int]) -> None:
    """Add to the used pages of nodes; zero changes are left out."""
    rows = [(nr, nid) for nid, nr in changes.items() if nr]
    write_many(conn, "UPDATE nodes SET used = used + ? WHERE id = ?", rows)


def count(conn: Connection, changes: Mapping[int, Mapping[str, int]]) -> None:
    """Advance the numastat counters of nodes."""
    for nid, row in changes.items():
        write(conn, _COUNT, (*(row.get(name, 0) for name in COUNTERS), nid))
