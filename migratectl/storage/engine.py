"""
Opening a state file and the one way to change it: ``transaction()``.

A command is one ``BEGIN IMMEDIATE`` … ``COMMIT`` in WAL mode with ``synchronous=FULL``; a killed process leaves the
state before or after it, never between. Every error of the database leaves here as StateFileError or StateBusy.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from migratectl.errors import StateBusy, StateFileError
from migratectl.storage import placing, schema
from migratectl.storage.connection import Connection, connect
from migratectl.storage.work import WORK_TABLES

APPLICATION_ID: Final = 0x4D494752
"""``PRAGMA application_id`` of a state file: the letters MIGR."""

_ID_AT: Final = 68
_HEADER: Final = 72
"""Where SQLite's file header keeps the application id."""

_SETTINGS: Final = ("PRAGMA synchronous=FULL", "PRAGMA temp_store=MEMORY", "PRAGMA cache_size=-65536")

_FOREIGN = ("not a database", "encrypted")
_CORRUPT = ("malformed", "disk i/o error")


class StateFile:
    """
    A state file on disk, opened at the first transaction and kept open until close().

    Args:
        path: The file; it is never created by opening it.
        timeout: Seconds to wait for another process's transaction.
        accept: Which schemas are opened; foreign keys are enforced in the newest alone, since an upgrade makes tables
            anew.
    """

    def __init__(self, path: Path, timeout: float = 30.0, accept: schema.Accept = "newest") -> None:
        self.path = path
        self.timeout = timeout
        self.accept: schema.Accept = accept
        self._connection: Connection | None = None
        self._inode: tuple[int, int] | None = None

    @contextmanager
    def transaction(self, *, write: bool, dry_run: bool = False) -> Iterator[Connection]:
        """
        One transaction: commits at the end, rolls back on an exception or, always, with *dry_run*.

        Raises:
            StateFileError: The file is missing, not ours, damaged, of another version, read-only or without room; or
                it was removed or replaced while it was open.
            StateBusy: Another process held it longer than the timeout.
        """
        with _translated(self.path, self.timeout):
            connection = self._connection or self._open()
            with connection.transaction(write=write, keep=not dry_run):
                self._check_there()
                yield connection
                self._check_there()  # a commit into a file that has no name any more would be lost without a word

    def close(self) -> None:
        """Close the file; a later transaction opens it again."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    def _open(self) -> Connection:
        if self.path.exists() and not self.path.is_file():
            raise StateFileError(f"{self.path}: not a file; give the path of a state file: -s FILE")
        if not self.path.is_file():
            raise StateFileError(f"{self.path}: no state file; make one with 'migratectl init', or give -s FILE")
        if self.path.stat().st_size == 0:
            raise StateFileError(f"{self.path}: an empty file, not a state file; see 'migratectl init'")
        self._inode = _inode(self.path)
        connection = _connect(self.path, self.timeout, foreign_keys=self.accept == "newest")
        try:
            _check_ours(connection, self.path)  # from here on it is held, and only the user can take its name away
            self._check_there()
            schema.check_revision(connection, self.path, self.accept)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _check_there(self) -> None:
        if _inode(self.path) != self._inode:
            raise StateFileError(f"{self.path}: was removed or replaced meanwhile; nothing was changed, run it again")

    @contextmanager
    def create(self, *, force: bool, dry_run: bool = False) -> Iterator[Connection]:
        """
        A new state file with the newest schema, written beside the old one and put in place at the end.

        Args:
            force: Replace a file that is there.
            dry_run: Build it and throw it away.

        Raises:
            StateFileError: A file is there and *force* is not given, or it cannot be written.
        """
        target = Path(os.path.realpath(self.path))  # behind a symbolic link, as every other command goes
        _check_replaceable(target)
        if self.path.exists() and not force:
            raise StateFileError(f"{self.path}: there already; give --force to replace it, or -s FILE for another")
        self.close()
        with _translated(self.path, self.timeout), placing.drafted(target, self.timeout) as draft:
            with _filled(draft, self.timeout) as connection:
                yield connection
            _seal(draft)
            if not dry_run:
                self._put_in_place(draft, target, force=force)

    def _put_in_place(self, draft: Path, target: Path, *, force: bool) -> None:
        try:
            placing.put_in_place(draft, target, force=force, timeout=self.timeout)
        except FileExistsError:
            raise StateFileError(f"{self.path}: another process has just made it; nothing was changed") from None
        except OSError as error:
            raise StateFileError(f"{self.path}: cannot be written: {error.strerror}") from None


@contextmanager
def _filled(draft: Path, timeout: float) -> Iterator[Connection]:
    """A database of the newest schema in the empty file *draft*; committed at the end."""
    plain = sqlite3.connect(draft, isolation_level=None)  # cannot be said inside a transaction
    plain.execute(f"PRAGMA application_id={APPLICATION_ID}")
    plain.close()
    connection = _connect(draft, timeout)
    try:
        with connection.transaction(write=True):
            schema.create(connection)
            yield connection
    finally:
        connection.close()


def _seal(draft: Path) -> None:
    """Turn the log on once all is in the file itself: a full disk is noticed before the file is put in place."""
    plain = sqlite3.connect(draft, isolation_level=None)
    try:
        plain.execute("PRAGMA synchronous=FULL")
        plain.execute("PRAGMA journal_mode=WAL")
        plain.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        plain.close()


def _check_replaceable(target: Path) -> None:
    """Refuse to put a new state file over anything but an old one, or an empty file."""
    if not target.parent.is_dir():
        raise StateFileError(f"{target.parent}: no such directory; make it first, or give -s FILE")
    if not target.exists():
        return
    if not target.is_file():
        raise StateFileError(f"{target}: not a file; give the path of a state file: -s FILE")
    try:
        with target.open("rb") as file:
            head = file.read(_HEADER)
    except OSError as error:
        raise StateFileError(f"{target}: cannot be read: {error.strerror}") from None
    if head and head[_ID_AT:_HEADER] != APPLICATION_ID.to_bytes(4, "big"):
        raise StateFileError(f"{target}: not a state file of migratectl, and so not replaced; name another: -s FILE")


def _connect(path: Path, timeout: float, *, foreign_keys: bool = True) -> Connection:
    """A connection with the settings of every transaction and the work tables of the set statements."""
    connection = connect(path, timeout)
    for statement in (f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}", *_SETTINGS, *WORK_TABLES):
        connection.raw.execute(statement)
    return connection


def _inode(path: Path) -> tuple[int, int] | None:
    """Which file has the name now, None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _check_ours(connection: Connection, path: Path) -> None:
    found = connection.execute("PRAGMA application_id").scalar()
    if found != APPLICATION_ID:
        raise StateFileError(f"{path}: a database, but not a state file of migratectl; name another: -s FILE")


@contextmanager
def _translated(path: Path, timeout: float) -> Iterator[None]:
    """Turn what the driver raises into one line with a remedy."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translation(path, timeout, str(error)) from error
    except UnicodeDecodeError as error:  # a text of the file is none
        raise StateFileError(f"{path}: damaged ({error.reason}); restore it from a copy") from error


def _translation(path: Path, timeout: float, text: str) -> StateBusy | StateFileError:
    lower = text.lower()
    if "locked" in lower or "busy" in lower:
        return placing.busy(path, timeout)
    if "readonly" in lower or "unable to open" in lower:
        return StateFileError(f"{path}: cannot be opened for writing; check the rights of the file and its directory")
    if "full" in lower:
        return StateFileError(f"{path}: no room left on the device; nothing was changed")
    if any(word in lower for word in _FOREIGN):
        return StateFileError(f"{path}: not a state file of migratectl ({text}); name another: -s FILE")
    if any(word in lower for word in _CORRUPT):
        return StateFileError(f"{path}: damaged ({text}); restore it from a copy")
    return StateFileError(f"{path}: {text}; see 'migratectl check'")
