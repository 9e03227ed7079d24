"""
Putting a new state file in place of an old one, or where none is, so that it never meets the log of another life.

SQLite finds a file's log by name alone: a ``-wal`` or ``-journal`` that a killed process left is played into whatever
file has the name by then. So what lies beside the name goes first, on the disk too, and then the new file comes. Three
locks hold others off: that of the folder against another replacement, SQLite's own against who works on the old file,
and the lock that everyone with a log open holds on its ``-shm``, where the file itself is gone already.
"""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import stat
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from migratectl.errors import StateBusy, StateFileError

SIDES: Final = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a file, by its name."""

_DEAD_MAN_SWITCH: Final = 128
"""The byte of a ``-shm`` that every connection holds a shared lock on: UNIX_SHM_DMS of SQLite's os_unix.c."""

_PAUSE: Final = 0.02
"""Seconds between two tries for a lock."""


@contextmanager
def drafted(target: Path, timeout: float) -> Iterator[Path]:
    """
    An empty file beside *target*, readable by its owner alone, gone at the end whatever becomes of it.

    Its owner holds it locked; drafts that nobody holds are of killed processes and go now.

    Raises:
        StateFileError: The folder cannot be written.
        StateBusy: Another process held the folder longer than *timeout* seconds.
    """
    draft = target.with_name(f".{target.name}.{os.urandom(4).hex()}.new")  # pids repeat on shared file systems
    with _folder_held(target, timeout, time.monotonic() + timeout):
        _sweep(target)
        try:
            held = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateFileError(f"{draft.parent}: cannot be written: {error.strerror}") from None
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        yield draft
    finally:
        _remove(draft)
        os.close(held)


def put_in_place(draft: Path, target: Path, *, force: bool, timeout: float) -> None:
    """
    Give a finished draft the name of the state file, on the disk too.

    Args:
        draft: A whole state file without a log of its own.
        target: The name; no symbolic link.
        force: Replace a file that has it.
        timeout: Seconds to wait for whoever works on that file, or on what is left of it.

    Raises:
        FileExistsError: There is such a file, and *force* is not given.
        OSError: The folder cannot be written.
        StateBusy: Another process held the file, its log or the folder too long.
    """
    deadline = time.monotonic() + timeout
    _sync(draft)
    with _folder_held(target, timeout, deadline):
        if target.exists() and not force:
            raise FileExistsError(target)
        with _file_held(target, timeout, deadline), _log_held(target, timeout, deadline):
            for name in sides(target):
                name.unlink(missing_ok=True)
            _sync(target.parent)  # a crash must not bring the log back beside the new file
            if force:
                draft.replace(target)
            else:
                os.link(draft, target)  # unlike a rename it never replaces what another program made meanwhile
        _sync(target.parent)


def sides(path: Path) -> list[Path]:
    """The names of what SQLite keeps beside a file."""
    return [path.with_name(path.name + side) for side in SIDES]


def busy(path: Path, timeout: float) -> StateBusy:
    """What is said of a file that others held too long."""
    return StateBusy(f"{path}: busy for {timeout:g} s; try again, or wait longer with --timeout SECONDS")


def _sweep(target: Path) -> None:
    """Remove the drafts of processes that were killed: those that nobody holds."""
    drafts = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}\.new")
    for path in target.parent.iterdir():
        if drafts.fullmatch(path.name) and _abandoned(path):
            _remove(path)


def _abandoned(draft: Path) -> bool:
    try:
        found = os.open(draft, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # gone by now, or another user's
        return False
    try:
        return stat.S_ISREG(os.fstat(found).st_mode) and _try_lock(
            lambda: fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
        )
    finally:
        os.close(found)


def _remove(path: Path) -> None:
    for name in (path, *sides(path)):
        name.unlink(missing_ok=True)


@contextmanager
def _folder_held(target: Path, timeout: float, deadline: float) -> Iterator[None]:
    """One replacement in a folder at a time."""
    try:
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StateFileError(f"{target.parent}: cannot be read: {error.strerror}") from None
    try:
        _wait(lambda: fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB), target, timeout, deadline)
        yield
    finally:
        os.close(folder)


@contextmanager
def _file_held(path: Path, timeout: float, deadline: float) -> Iterator[None]:
    """
    Hold the file that is to be replaced, its log folded in, so that no other process has it open meanwhile.

    A file that is no database is replaced as it is. Raises sqlite3.OperationalError where others work on it.
    """
    if not path.exists():
        yield
        return
    location = f"file:{urllib.parse.quote(str(path))}?mode=rw"
    left = max(0.0, deadline - time.monotonic())
    with closing(sqlite3.connect(location, uri=True, timeout=left, isolation_level=None)) as old:
        try:
            old.execute("PRAGMA locking_mode=EXCLUSIVE")  # what the next statement gets is kept
            old.execute("BEGIN EXCLUSIVE")
            old.execute("COMMIT")
            old.execute("PRAGMA synchronous=FULL")
            if old.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                raise busy(path, timeout)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            pass
        yield


@contextmanager
def _log_held(path: Path, timeout: float, deadline: float) -> Iterator[None]:
    """
    Hold the log's index, if there is one, against processes that have it open.

    The name may be gone, or a file that is no database may have it, while they still write to what it was; then nothing
    but this lock tells of them.
    """
    index = path.with_name(f"{path.name}-shm")
    try:
        held = os.open(index, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    try:
        _wait(lambda: fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _DEAD_MAN_SWITCH), path, timeout, deadline)
        yield
    finally:
        os.close(held)


def _wait(lock: Callable[[], None], path: Path, timeout: float, deadline: float) -> None:
    while not _try_lock(lock):
        if time.monotonic() >= deadline:
            raise busy(path, timeout)
        time.sleep(_PAUSE)


def _try_lock(lock: Callable[[], None]) -> bool:
    try:
        lock()
    except (BlockingIOError, PermissionError):  # fcntl() may say EACCES where flock() says EAGAIN
        return False
    return True


def _sync(path: Path) -> None:
    """Let what is known of a file, or of the names in a folder, be on the disk."""
    found = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(found)
    finally:
        os.close(found)
