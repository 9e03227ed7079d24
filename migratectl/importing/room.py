"""What an import can run out of: memory of nodes and swap slots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from migratectl.errors import InputFileError
from migratectl.linux.plan import PlannedArea
from migratectl.storage import holds
from migratectl.storage.connection import Connection

CLIP_HINT: Final = "give --clip to leave them out"


class Room:
    """
    Free pages by node, and what a line wants of them.

    Args:
        left: Free pages of the nodes that can be used.
        clip: Give what there is instead of refusing.
    """

    def __init__(self, left: Mapping[int, int], clip: bool) -> None:
        self.had, self.left, self.clip = left, dict(left), clip
        self.missing: dict[int, int] = {}

    def take(self, source: str, area: PlannedArea, node: int, count: int) -> int:
        """
        Take pages of a node for an area of the text *source*.

        Returns:
            How many; fewer than *count*, in whole pages of the area, only where they are clipped.

        Raises:
            InputFileError: The node is not there, or has not got so many.
        """
        free = self.left.get(node)
        if free is not None and count <= free:
            self.left[node] = free - count
            return count
        if not self.clip:
            raise InputFileError(
                f"{source}: line {area.line}: {count} pages on node {node}, {self.why(node)}; {CLIP_HINT}"
            )
        granted = (free or 0) >> area.huge_order << area.huge_order
        self.missing[node] = self.missing.get(node, 0) + count - granted
        if granted:
            self.left[node] -= granted
        return granted

    def why(self, node: int) -> str:
        """Why a node did not give what was wanted."""
        free = self.left.get(node)
        return "which is no node of this machine" if free is None else f"which has room for {free} more"

    def taken(self) -> dict[int, int]:
        """The pages that were taken, by node."""
        return {nid: free - self.left[nid] for nid, free in self.had.items() if self.left[nid] < free}


class Slots:
    """Free swap slots, by area in the order in which they are used."""

    def __init__(self, conn: Connection) -> None:
        self.free = [[area.id, area.slots - area.used] for area in holds.swap_areas(conn)]
        self.used: dict[int, int] = {}

    def take(self, count: int) -> list[tuple[int | None, int]]:
        """(area, pages) for *count* pages; area None for those without a slot."""
        parts: list[tuple[int | None, int]] = []
        for entry in self.free:
            area, nr = entry[0], min(entry[1], count)
            if nr:
                parts.append((area, nr))
                self.used[area] = self.used.get(area, 0) + nr
                entry[1] -= nr
                count -= nr
        return [*parts, (None, count)] if count else parts
