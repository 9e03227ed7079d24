"""The address space of one task while it is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from migratectl.importing.family import ForkFamily, Joined
from migratectl.nodemask import Nodemask


@dataclass(slots=True)
class Space:
    """
    The address space of one task while it is built: where its rows belong, and what its document tells.

    Args:
        pid: The task.
        mm: Row id of the address space.
        anon: Row id of the mapping of its anonymous pages.
        mems: The nodes that the task may use.
        source: Name of the text that tells of it, for messages.
        nr_areas: How many areas it has.
        family: The tasks with which it can share pages since a fork.
        joined: What it shares with one of them, by the first page of each area.
        named: Where its areas of each name are.
        nodes: Its present pages by node.
        policy: Row id of the task's own policy.
        anon_vmas: How many of its areas so far have anonymous pages.
        elsewhere: Pages of files that lie on other nodes than its text says.
        dropped: Pages that could not have a property, by what is said of it.
        notes: What was assumed.
    """

    pid: int
    mm: int
    anon: int
    mems: Nodemask
    source: str
    nr_areas: int
    family: ForkFamily
    joined: Mapping[int, Joined]
    named: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    nodes: dict[int, int] = field(default_factory=dict)
    policy: int | None = None
    anon_vmas: int = 0
    elsewhere: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """What documents tell of it."""
        held = {str(nid): nr for nid, nr in sorted(self.nodes.items())}
        return {"vmas": self.nr_areas, "pages": sum(self.nodes.values()), "nodes": held}

    def count(self, node: int, nr: int) -> None:
        """Count present pages."""
        self.nodes[node] = self.nodes.get(node, 0) + nr

    def drop(self, what: str, nr: int) -> None:
        """Remember a property that pages could not have."""
        self.dropped[what] = self.dropped.get(what, 0) + nr
