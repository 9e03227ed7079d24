"""A memory policy as a value."""

from __future__ import annotations

from dataclasses import dataclass

from migratectl.nodemask import NO_NODES, Nodemask
from migratectl.uapi import Mode, ModeFlag


@dataclass(frozen=True, slots=True)
class Policy:
    """
    A memory policy.

    Attributes:
        mode: Its mode.
        nodes: The nodes that it uses; of ``preferred`` one node, or none for local.
        flags: Mode flags (``modern``).
        mems: The allowed nodes of its creator at creation, the old mask of later rebinds; where it is static or
            relative the nodes that the user named.
    """

    mode: Mode
    nodes: Nodemask
    flags: tuple[ModeFlag, ...] = ()
    mems: Nodemask = NO_NODES

    @property
    def fixed(self) -> bool:
        """Whether it keeps the nodes that the user named: static or relative."""
        return ModeFlag.STATIC in self.flags or ModeFlag.RELATIVE in self.flags
