"""The history: one row for each command that changed something."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from migratectl.storage import facts
from migratectl.storage.connection import Connection

SUMMARY_KEYS: Final = (
    "committed", "moved", "moved_twice", "swapped", "failed", "skipped", "passes", "residue", "faults", "at", "signal",
)  # fmt: skip
MIGRATION_KEYS: Final = ("nodes", "moves")
"""Kept of a migration too: its pages by node."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A row of the history; ``returned`` is what the call returned, ``time`` in seconds since 1970."""

    number: int
    argv: tuple[str, ...]
    profile: str
    returned: int | None
    errno: str | None
    summary: Mapping[str, Any]
    time: int


def record(conn: Connection, argv: Sequence[str], document: Mapping[str, Any]) -> None:
    """
    Add a row for a command, when its transaction changed the state.

    Args:
        conn: The connection, before the commit.
        argv: The command's words without global options.
        document: Its result; counts by node and by reason of what stayed are kept, lists of pages are not.
    """
    if not conn.changed:
        return
    keys = (*SUMMARY_KEYS, *(MIGRATION_KEYS if "moved" in document else ()))
    summary = {key: document[key] for key in keys if key in document}
    for key in ("failures", "skips"):
        if document.get(key):
            summary[key] = _by_reason(document[key])
    conn.execute(
        'INSERT INTO journal(argv, profile, "return", errno, summary, time) VALUES (?, ?, ?, ?, ?, ?)',
        (
            json.dumps(list(argv)),
            facts.profile(conn),
            document.get("return"),
            document.get("errno"),
            json.dumps(summary),
            int(time.time()),
        ),
    )


def _by_reason(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Pages by (pid, node, reason), in the order in which they were met."""
    totals: dict[tuple[Any, ...], int] = {}
    for entry in entries:
        key = (entry["pid"], entry["node"], entry["reason"], entry.get("errno"), entry.get("pass"))
        totals[key] = totals.get(key, 0) + entry["pages"]
    names = ("pid", "node", "reason", "errno", "pass")
    return [{**dict(zip(names, key, strict=True)), "pages": pages} for key, pages in totals.items()]


_SELECT: Final = 'SELECT id, argv, profile, "return", errno, summary, time FROM journal'


def _entry(row: Any) -> JournalEntry:
    return JournalEntry(row[0], tuple(json.loads(row[1])), row[2], row[3], row[4], json.loads(row[5]), row[6])


def load(conn: Connection, last: int | None = None) -> list[JournalEntry]:
    """The history, oldest first; with *last* its newest so many entries."""
    rows = conn.execute(f"{_SELECT} ORDER BY id DESC LIMIT ?", (-1 if last is None else last,)).all()
    return [_entry(row) for row in reversed(rows)]


def find(conn: Connection, number: int) -> JournalEntry | None:
    """The entry of that number."""
    row = conn.execute(f"{_SELECT} WHERE id = ?", (number,)).one_or_none()
    return None if row is None else _entry(row)


def extent(conn: Connection) -> tuple[int, int, int]:
    """How many entries there are, and the lowest and the highest number; zeros where there is none."""
    query = "SELECT count(*), coalesce(min(id), 0), coalesce(max(id), 0) FROM journal"
    count, lowest, highest = conn.execute(query).one()
    return count, lowest, highest
