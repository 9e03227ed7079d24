"""The schema's version of a state file: told, and brought up to date."""

from __future__ import annotations

from typing import Any

from migratectl.operations.hotplug import refresh
from migratectl.storage import schema
from migratectl.storage.connection import Connection


def current(conn: Connection) -> dict[str, Any]:
    """
    The document of ``db current``.

    Returns:
        ``revision`` of the file, the ``newest`` one known, whether they are equal, and whether the file's is ``known``:
        of one that is known and not current ``db upgrade`` makes the newest.
    """
    found = schema.revision(conn)
    return {
        "revision": found,
        "newest": schema.REVISION,
        "current": found == schema.REVISION,
        "known": found in schema.REVISIONS,
    }


def upgrade(conn: Connection) -> dict[str, Any]:
    """
    The document of ``db upgrade``: every row is kept, what is new is filled from what is there.

    Returns:
        The revision ``from`` which and ``to`` which the file was brought, and the ``revisions`` run on the way.

    Raises:
        StateFileError: The file is of an unknown revision, or damaged; nothing is changed.
    """
    before = schema.revision(conn)
    steps = schema.upgrade_file(conn)
    if steps:
        refresh(conn)  # the rule for the order of nodes may have changed with the version
    return {"from": before, "to": schema.REVISION, "revisions": steps}
