"""
The connection that everything below the command line works on: the standard library's ``sqlite3``, and no more.

A command has some twenty statements, all of them texts; what it pays for the way to SQLite it pays twenty times. Who
needs SQLAlchemy's view of the same connection, to run the migrations, gets it from schema.py.
"""

from __future__ import annotations

import sqlite3
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

Value = str | int | float | bytes | None
Parameters = Sequence[Value]

_STATEMENTS: Final = 512
"""How many prepared statements a connection keeps; more than all commands together have."""


class Rows(sqlite3.Cursor):
    """What a statement gives: iterate over it, or ask for all rows, one, or one value. Rows are tuples."""

    def all(self) -> list[Any]:
        """All rows that are left."""
        return self.fetchall()

    def first(self) -> Any:
        """The first row, None where there is none; the others are not read."""
        row = self.fetchone()
        self.close()
        return row

    def one_or_none(self) -> Any:
        """
        The only row, None where there is none.

        Raises:
            ValueError: There is a second one.
        """
        rows = self.fetchmany(2)
        self.close()
        if len(rows) > 1:
            raise ValueError("more than one row")
        return rows[0] if rows else None

    def one(self) -> Any:
        """
        The only row.

        Raises:
            ValueError: There is none, or a second one.
        """
        row = self.one_or_none()
        if row is None:
            raise ValueError("no row")
        return row

    def scalar(self) -> Any:
        """The first value of the first row, None where there is no row."""
        row = self.first()
        return None if row is None else row[0]

    def scalar_one(self) -> Any:
        """
        The first value of the only row.

        Raises:
            ValueError: There is no row, or a second one.
        """
        return self.one()[0]

    def scalars(self) -> list[Any]:
        """The first value of each row that is left."""
        return [row[0] for row in self]


class Connection:
    """
    A database that is open, at most one transaction at a time.

    Args:
        raw: A connection in autocommit mode (``isolation_level=None``): it begins nothing by itself.

    Attributes:
        raw: That one.
        changed: Rows that write() has changed since the transaction, or the innermost savepoint, began.
        known: What has been read of the state in this transaction and does not change in it.
    """

    __slots__ = ("changed", "known", "raw")

    def __init__(self, raw: sqlite3.Connection) -> None:
        self.raw = raw
        self.changed = 0
        self.known: dict[str, Any] = {}

    def execute(self, statement: str, parameters: Parameters = ()) -> Rows:
        """Execute one statement with its values by position."""
        rows = self.raw.cursor(Rows)
        rows.execute(statement, parameters)
        return rows

    def execute_many(self, statement: str, rows: Iterable[Parameters]) -> None:
        """Execute one statement once for each of *rows*."""
        self.raw.executemany(statement, rows)

    @contextmanager
    def transaction(self, *, write: bool, keep: bool = True) -> Iterator[None]:
        """
        One transaction: committed at the end, rolled back on an exception or where it is not to be kept.

        Args:
            write: Take the right to write at once, so that two who read first never wait for each other.
            keep: Else it is rolled back, whatever happens.
        """
        self.changed = 0
        self.known.clear()
        self.raw.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        try:
            yield
            self.raw.execute("COMMIT" if keep else "ROLLBACK")
        except BaseException:
            if self.raw.in_transaction:
                self.raw.execute("ROLLBACK")
            raise

    @contextmanager
    def savepoint(self, *, keep: bool = True) -> Iterator[None]:
        """A part of the transaction that is undone alone, on an exception or where it is not to be kept."""
        before, self.changed = self.changed, 0
        self.raw.execute("SAVEPOINT line")
        kept = False
        try:
            yield
            kept = keep
        finally:
            if self.raw.in_transaction:  # else SQLite itself has rolled everything back
                if not kept:
                    self.known.clear()
                    self.raw.execute("ROLLBACK TO line")
                self.raw.execute("RELEASE line")
            self.changed += before

    def close(self) -> None:
        """Close the database; a transaction that is open is rolled back."""
        self.raw.close()


def connect(path: Path, timeout: float = 5.0, mode: str = "rw") -> Connection:
    """
    Open a database file.

    Args:
        path: The file.
        timeout: Seconds to wait for another connection's transaction.
        mode: ``rw``, or ``rwc`` to make the file where there is none.

    Raises:
        sqlite3.OperationalError: There is no such file, or it cannot be opened.
    """
    location = f"file:{urllib.parse.quote(str(path))}?mode={mode}"
    return Connection(
        sqlite3.connect(
            location,
            uri=True,
            timeout=timeout,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_STATEMENTS,
        )
    )
