"""The history of a state: the commands that changed it, and what became of each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from migratectl.errors import NoSuchFile
from migratectl.storage import journal
from migratectl.storage.connection import Connection
from migratectl.storage.journal import JournalEntry


def log(conn: Connection, last: int | None, times: bool) -> dict[str, Any]:
    """
    The document of ``log``.

    Args:
        conn: The connection of the transaction.
        last: The newest so many entries only.
        times: Tell when each command ran.

    Returns:
        ``entries``, oldest first: number, words, profile, what the call returned or its errno; pages moved, failed and
        skipped of a migration, else null. Commands that changed nothing are no history.
    """
    return {"entries": [_row(entry, times) for entry in journal.load(conn, last)]}


def log_show(conn: Connection, number: int, times: bool) -> dict[str, Any]:
    """
    The document of ``log show``.

    Returns:
        ``entry`` and ``argv``; ``result`` has what the command's own document told, without its lists of pages:
        profile, return, errno, counts, pages by node, and what stayed by reason, node, errno and pass; and its words
        again, since ``argv`` of a line of a batch is the line's.

    Raises:
        NoSuchFile: The history has no entry of that number.
    """
    entry = journal.find(conn, number)
    if entry is None:
        raise NoSuchFile(f"entry {number}", _known(*journal.extent(conn)))
    called = {"entry": entry.number, "argv": list(entry.argv), **_when(entry, times)}
    return called | {"result": {"argv": list(entry.argv), **_outcome(entry), **entry.summary}}


def _known(count: int, lowest: int, highest: int) -> str:
    if not count:
        return "the history is empty: no command has changed this state"
    numbers = f"entry {lowest}" if count == 1 else f"{count} entries, {lowest} to {highest}"
    return f"no such entry; the history has {numbers} (see 'migratectl log')"


def _row(entry: JournalEntry, times: bool) -> dict[str, Any]:
    called = {"entry": entry.number, "argv": list(entry.argv), **_when(entry, times)}
    return called | _outcome(entry) | {key: entry.summary.get(key) for key in ("moved", "failed", "skipped")}


def _outcome(entry: JournalEntry) -> dict[str, Any]:
    return {"profile": entry.profile, "return": entry.returned, "errno": entry.errno}


def _when(entry: JournalEntry, times: bool) -> dict[str, str]:
    return {"time": datetime.fromtimestamp(entry.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")} if times else {}
