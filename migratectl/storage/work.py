"""
The temporary tables of the set statements, made once a connection, and the one way to write.

``part``: pieces to cut off page runs (see pages.py); ``rest``: what stays of those runs; ``iso``: the page list of
one migrate_to_node(); ``aside``: a list that is gone through part by part; ``met``: what a command over several tasks
has looked at; ``picked``: the page rows that a statement is about; ``isolated``: the list as it was taken off the LRU
before another command ran beside it; ``travelled``: what a command has moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from migratectl.storage.connection import Connection

WORK_TABLES: Final = (
    "CREATE TEMP TABLE part (seq INTEGER PRIMARY KEY, page INTEGER, k INTEGER, stride INTEGER, count INTEGER)",
    "CREATE TEMP TABLE rest (page INTEGER PRIMARY KEY, stride INTEGER, count INTEGER)",
    "CREATE TEMP TABLE iso (page INTEGER PRIMARY KEY, addr INTEGER, step INTEGER, count INTEGER, state INTEGER,"
    " class INTEGER NOT NULL DEFAULT 0)",
    "CREATE TEMP TABLE aside (page INTEGER PRIMARY KEY, addr INTEGER, step INTEGER, count INTEGER, state INTEGER,"
    " class INTEGER)",
    "CREATE TEMP TABLE picked (page INTEGER PRIMARY KEY)",
    "CREATE TEMP TABLE met (page INTEGER PRIMARY KEY)",
    "CREATE TEMP TABLE back (page INTEGER PRIMARY KEY)",
    "CREATE TEMP TABLE isolated (number INTEGER PRIMARY KEY, shift INTEGER, state INTEGER)",
    "CREATE TEMP TABLE travelled (page INTEGER PRIMARY KEY, again INTEGER DEFAULT 0)",
)

Parameters = Mapping[str, Any] | Sequence[Any]


def begin_info(conn: Connection, *, write: bool) -> None:
    """What is remembered of a transaction: whether it may write, whether it did, facts read."""
    conn.info["write"] = write
    conn.info["changed"] = 0
    conn.info.pop("facts", None)


def write(conn: Connection, statement: str, parameters: Parameters = ()) -> int:
    """
    Execute a statement that changes the state and remember that it did.

    Args:
        conn: The connection of the transaction.
        statement: SQL with bound parameters.
        parameters: Their values.

    Returns:
        Rows changed.
    """
    rows = conn.exec_driver_sql(statement, parameters).rowcount
    conn.info["changed"] += max(rows, 0)
    return rows


def write_many(conn: Connection, statement: str, rows: Iterable[Sequence[Any]]) -> None:
    """Execute a statement that changes the state once for each of *rows*."""
    values = [tuple(row) for row in rows]
    if values:
        conn.exec_driver_sql(statement, values)
        conn.info["changed"] += len(values)


def changed(conn: Connection) -> bool:
    """Whether this transaction changed the state so far."""
    return bool(conn.info["changed"])


def nr_changes(conn: Connection) -> int:
    """How many rows this transaction changed so far."""
    return int(conn.info["changed"])


def add_changes(conn: Connection, nr: int) -> None:
    """Count rows that were changed before a forget_changes() again."""
    conn.info["changed"] += nr


def forget_changes(conn: Connection) -> None:
    """Start anew with what changed(): the next command of a transaction with several begins."""
    conn.info["changed"] = 0


def pick(conn: Connection, pages: Iterable[int]) -> None:
    """Fill ``picked`` with page row ids."""
    conn.exec_driver_sql("DELETE FROM picked")
    rows = [(page,) for page in set(pages)]
    if rows:
        conn.exec_driver_sql("INSERT INTO picked(page) VALUES (?)", rows)
