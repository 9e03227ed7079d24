"""The policies of an import."""

from __future__ import annotations

from migratectl.errors import InputFileError
from migratectl.importing.room import CLIP_HINT
from migratectl.importing.space import Space
from migratectl.kernel.mempolicy import relative_ranks
from migratectl.linux.plan import PlannedArea
from migratectl.nodemask import Nodemask
from migratectl.policy import Policy
from migratectl.storage import tasks
from migratectl.storage.connection import Connection
from migratectl.uapi import ModeFlag


class Policies:
    """
    The rows of policies, each worked out once.

    Args:
        conn: The connection of the transaction.
        nodes: The nodes of the machine.
        clip: Leave out nodes that it does not have.
    """

    def __init__(self, conn: Connection, nodes: Nodemask, clip: bool) -> None:
        self.conn, self.nodes, self.clip = conn, nodes, clip
        self.rows: dict[tuple[Policy, Nodemask], int | None] = {}

    def row_of(self, space: Space, area: PlannedArea) -> int | None:
        """
        The row of an area's policy; None where nothing of it is left after clipping.

        Raises:
            InputFileError: It has a node that the machine does not have, and nothing is clipped.
        """
        key = area.policy, space.mems
        if key not in self.rows:
            self.rows[key] = self._new_policy(space, area)
        return self.rows[key]

    def _new_policy(self, space: Space, area: PlannedArea) -> int | None:
        """The row of a policy; None where nothing of it is left after clipping."""
        policy = area.policy
        inside = policy.nodes & self.nodes
        if inside != policy.nodes:
            unknown = policy.nodes - inside
            if not self.clip:
                raise InputFileError(
                    f"{space.source}: line {area.line}: a policy with node {unknown}, which is no node of this machine;"
                    f" {CLIP_HINT}"
                )
            space.notes.append(f"{space.source}: line {area.line}: node {unknown} left out of its policy")
            if not inside:
                return None
        named = space.mems
        if policy.fixed:
            relative = ModeFlag.RELATIVE in policy.flags
            named = (relative_ranks(inside, space.mems) if relative else inside) or inside
        return tasks.intern_policy(self.conn, Policy(policy.mode, inside, policy.flags, named))
