"""The hash of a state."""

from __future__ import annotations

from typing import Any

from migratectl.storage import digest
from migratectl.storage.connection import Connection


def state_hash(conn: Connection) -> dict[str, Any]:
    """The document of ``state hash``: equal for equal states, however runs are cut and whenever they were made."""
    return {"hash": digest.state_hash(conn)}
