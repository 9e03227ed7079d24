"""
The temporary tables of the set statements, made once a connection, and the one way to write.

``part``: pieces to cut off page runs (see pages.py); ``rest``: what stays of those runs; ``iso``: the page list of
one migrate_to_node() (pagelist.py); ``aside``: a list that is gone through part by part; ``met``: what a command over
several tasks has looked at, but for what in ``back`` moves to where it is; ``picked``: the page rows that a statement
is about; ``isolated``: the list as it was taken off the LRU before another command ran beside it; ``travelled``: what a
command has moved.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from migratectl.storage.connection import Connection, Parameters

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
    rows = conn.execute(statement, parameters).rowcount
    conn.changed += max(rows, 0)
    return rows


def write_many(conn: Connection, statement: str, rows: Iterable[Parameters]) -> None:
    """Execute a statement that changes the state once for each of *rows*."""
    values = [tuple(row) for row in rows]
    if values:
        conn.execute_many(statement, values)
        conn.changed += len(values)


def pick(conn: Connection, pages: Iterable[int]) -> None:
    """Fill ``picked`` with page row ids."""
    conn.execute("DELETE FROM picked")
    rows = [(page,) for page in set(pages)]
    if rows:
        conn.execute_many("INSERT INTO picked(page) VALUES (?)", rows)
