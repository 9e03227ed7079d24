"""The one row of facts about a state: page size and profile."""

from __future__ import annotations

from typing import NamedTuple

from migratectl.nodemask import NO_NODES, Nodemask
from migratectl.storage.connection import Connection
from migratectl.storage.work import write
from migratectl.uapi import Profile


class Facts(NamedTuple):
    """Page size in bytes, the kernel that the state models, and the nodes that can exist (none: those of the state)."""

    page_size: int
    profile: Profile
    possible: Nodemask = NO_NODES


def load(conn: Connection) -> Facts:
    """The facts of the state, read once a transaction."""
    known: Facts | None = conn.known.get("facts")
    if known is None:
        page_size, name, possible = conn.execute("SELECT page_size, profile, possible FROM facts").one()
        known = conn.known["facts"] = Facts(page_size, Profile(name), Nodemask.parse(possible))
    return known


def store(conn: Connection, facts: Facts) -> None:
    """Write the facts of a new state."""
    write(
        conn,
        "INSERT INTO facts(id, format, page_size, profile, possible) VALUES (1, 'migratectl/1', ?, ?, ?)",
        (facts.page_size, facts.profile.value, str(facts.possible)),
    )


def page_size(conn: Connection) -> int:
    """Bytes a page."""
    return load(conn).page_size


def profile(conn: Connection) -> str:
    """The profile's name; also of a file of an older schema, which has not all the other facts."""
    return str(conn.execute("SELECT profile FROM facts").scalar_one())
