"""The history: one row for each command that changed something."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection

from migratectl.storage import facts, work

SUMMARY_KEYS: Final = (
    "committed", "moved", "moved_twice", "swapped", "failed", "skipped", "passes", "residue", "faults",
)  # fmt: skip


def record(conn: Connection, argv: Sequence[str], document: Mapping[str, Any]) -> None:
    """
    Add a row for a command, when its transaction changed the state.

    Args:
        conn: The connection, before the commit.
        argv: The command's words without global options.
        document: Its result; counts and the reasons of what stayed are kept, lists of pages are not.
    """
    if not work.changed(conn):
        return
    summary = {key: document[key] for key in SUMMARY_KEYS if key in document}
    for key in ("failures", "skips"):
        if document.get(key):
            summary[key] = _by_reason(document[key])
    conn.exec_driver_sql(
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
