"""A tree laid out like `/`: a directory, an archive of one, or the running machine; read-only and with limits."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import stat
import tarfile
import zlib
from abc import ABC, abstractmethod
from pathlib import Path, PurePosixPath
from typing import IO, Final, cast

from migratectl.errors import InputFileError

MAX_FILE_BYTES: Final = 64 << 20
"""Longest file that is read; a numa_maps text of 500,000 lines is shorter."""

MAX_TREE_BYTES: Final = 256 << 20
"""Most bytes that the files of one archive may have together."""

MAX_MEMBERS: Final = 500_000

BLOCK: Final = 1 << 16
"""Bytes that are asked for at once; a buffer for the longest file costs more than most files have."""

_DAMAGE: Final = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, ValueError)
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESRCH})


class Tree(ABC):
    """
    Files below one root, read by their name without a leading slash, such as ``proc/meminfo``.

    Args:
        source: The path the user gave; every message begins with it.
        label: What the tree is called: the name of the directory, or of the archive and its top folder.
    """

    def __init__(self, source: str, label: str) -> None:
        self.source, self.label = source, label

    @abstractmethod
    def read(self, name: str) -> str | None:
        """
        Text of a file without trailing NUL bytes, bytes that are no UTF-8 as surrogates; None where it is missing.

        Raises:
            InputFileError: The file is there but cannot be read, is too long, or leads out of the tree.
        """

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted; empty where the folder is missing."""

    def where(self, name: str) -> str:
        """A file of the tree as messages name it."""
        return f"{self.source.rstrip('/')}/{name}"


class DirectoryTree(Tree):
    """
    A tree in the file system; links are followed as long as they stay below the root.

    Args:
        root: The directory; ``/`` is the running machine.
    """

    def __init__(self, root: Path) -> None:
        self.root = os.path.realpath(root)
        self.folders: dict[str, str | None] = {}
        super().__init__(str(root), os.path.basename(self.root))

    def read(self, name: str) -> str | None:
        """As Tree.read()."""
        path = self._inside(name)
        return None if path is None else _read_regular(path, self.where(name))

    def names(self, folder: str) -> list[str]:
        """As Tree.names()."""
        path = self._inside(folder)
        try:
            return [] if path is None else sorted(os.listdir(path))
        except OSError as error:
            if error.errno in _GONE:
                return []
            raise _unreadable(self.where(folder), error) from error

    def _inside(self, name: str) -> str | None:
        """The real path of a name; None where there is none. Its folder is made out once for all files in it."""
        folder, _, last = _inner(name).rpartition("/")
        if folder not in self.folders:
            self.folders[folder] = self._real(folder)
        above = self.folders[folder]
        if above is None:
            return None
        path = os.path.join(above, last)
        try:
            mode = os.lstat(path).st_mode
        except OSError:
            return None
        return self._real(name) if stat.S_ISLNK(mode) else path

    def _real(self, name: str) -> str | None:
        """A path without links; None where there is none."""
        try:
            path = os.path.realpath(os.path.join(self.root, name), strict=True)
        except OSError:
            return None
        if os.path.commonpath((self.root, path)) != self.root:
            raise InputFileError(f"{self.where(name)}: a link out of the tree; copy the tree with its links resolved")
        return path


class ArchiveTree(Tree):
    """
    A tree that was read from an archive into memory.

    Args:
        source: The archive's path.
        label: Its name and the name of its top folder.
        files: Content by name.
    """

    def __init__(self, source: str, label: str, files: dict[str, bytes]) -> None:
        super().__init__(source, label)
        self.files = files
        self.folders: dict[str, set[str]] = {}
        for name in files:
            self._enter(name)

    def read(self, name: str) -> str | None:
        """As Tree.read()."""
        data = self.files.get(_inner(name))
        return None if data is None else _decode(data)

    def names(self, folder: str) -> list[str]:
        """As Tree.names()."""
        return sorted(self.folders.get(_inner(folder), ()))

    def _enter(self, name: str) -> None:
        path = PurePosixPath(name)
        for child, parent in zip((path, *path.parents), path.parents, strict=False):
            self.folders.setdefault(str(parent), set()).add(child.name)


def open_tree(path: Path) -> Tree:
    """
    Open what a user named as a tree.

    Args:
        path: A directory, used as it is, or a .tar, .tar.gz, .tar.bz2 or .tar.xz archive, whose one top folder is
            left out of the names.

    Raises:
        InputFileError: Missing, unreadable, damaged, too large, or no tree with ``sys`` or ``proc`` in it.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise _unreadable(str(path), error) from error
    tree = DirectoryTree(path) if stat.S_ISDIR(mode) else _read_archive(path, mode)
    if not {"sys", "proc"} & set(tree.names(".")):
        raise InputFileError(f"{path}: not a tree laid out like /: there is neither 'sys' nor 'proc' in it")
    return tree


def read_text(path: Path) -> str:
    """
    Read one file that a user named, with the limits of a tree's files.

    Raises:
        InputFileError: Missing, no regular file, unreadable or too long.
    """
    text = _read_regular(path, str(path))
    if text is None:
        raise InputFileError(f"{path}: no such file")
    return text


def _inner(name: str) -> str:
    """A name in its shortest form, which does not lead out of the tree."""
    if name.startswith("/") or "\0" in name or (".." in name and ".." in name.split("/")):
        raise InputFileError(f"{name!r}: not a name inside a tree")
    return os.path.normpath(name)


def _decode(data: bytes) -> str:
    return data.rstrip(b"\0").decode("utf-8", "surrogateescape")


def _read_regular(path: str | Path, where: str) -> str | None:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InputFileError(f"{where}: not a regular file")
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = _read_bytes(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise _unreadable(where, error) from error
    if len(data) > MAX_FILE_BYTES:
        raise InputFileError(f"{where}: longer than {MAX_FILE_BYTES >> 20} MiB, which no such file is")
    return _decode(data)


def _read_bytes(handle: int) -> bytes:
    """All bytes of a file, which may tell no size, or the first of them beyond MAX_FILE_BYTES."""
    parts: list[bytes] = []
    total = 0
    while total <= MAX_FILE_BYTES and (block := os.read(handle, BLOCK)):
        parts.append(block)
        total += len(block)
    return b"".join(parts)


def _unreadable(where: str, error: OSError) -> InputFileError:
    remedy = "; read it as its owner or as root" if error.errno in {errno.EACCES, errno.EPERM} else ""
    return InputFileError(f"{where}: cannot be read: {error.strerror or error}{remedy}")


def _read_archive(path: Path, mode: int) -> Tree:
    if not stat.S_ISREG(mode):
        raise InputFileError(f"{path}: neither a directory nor an archive")
    try:
        with path.open("rb") as raw:
            files = _members(_unpacked(raw), path)
    except _DAMAGE as error:
        raise InputFileError(f"{path}: a damaged archive, or none: {_one_line(error)}; give a .tar, .tar.gz") from error
    except OSError as error:
        raise _unreadable(str(path), error) from error
    top, files = _without_top(files)
    return ArchiveTree(str(path), f"{path.name} {top}".rstrip(), files)


def _unpacked(raw: IO[bytes]) -> IO[bytes]:
    """The stream behind the compression that the first bytes show."""
    magic = raw.read(2)
    raw.seek(0)
    if magic == b"\x1f\x8b":
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    if magic == b"BZ":
        return cast(IO[bytes], bz2.BZ2File(raw))
    return cast(IO[bytes], lzma.LZMAFile(raw)) if magic == b"\xfd7" else raw


def _members(stream: IO[bytes], path: Path) -> dict[str, bytes]:
    """The regular files of an archive; links are left out, but for hard links to a file that came before."""
    files: dict[str, bytes] = {}
    left, seen = MAX_TREE_BYTES, 0
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        for member in archive:
            seen, left = seen + 1, left - member.size
            if member.size > MAX_FILE_BYTES or left < 0 or seen > MAX_MEMBERS:
                raise InputFileError(f"{path}: member {member.name!r} makes it too large for a tree of /proc and /sys")
            name = _member_name(member.name, path)
            if member.isreg():
                content = archive.extractfile(member)
                files[name] = content.read() if content else b""
            elif member.islnk() and _member_name(member.linkname, path) in files:
                files[name] = files[_member_name(member.linkname, path)]
            archive.members = []  # type: ignore[attr-defined]  # or else each header stays in memory
        _check_end(stream, archive.offset)
    return files


def _member_name(name: str, path: Path) -> str:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts:
        raise InputFileError(f"{path}: member {name!r} leads out of the tree; make the archive with relative names")
    return str(pure)


def _check_end(stream: IO[bytes], offset: int) -> None:
    """Behind the last member are zeros only; tarfile takes a damaged header for the end. Reading on checks sums."""
    stream.seek(offset)
    total = 0
    while block := stream.read(io.DEFAULT_BUFFER_SIZE):
        total += len(block)
        if any(block) or total > MAX_FILE_BYTES:
            raise tarfile.ReadError("there is no member header where one should be")


def _without_top(files: dict[str, bytes]) -> tuple[str, dict[str, bytes]]:
    """The one folder that all names begin with, and the files without it."""
    tops = {name.partition("/")[0] for name in files}
    if len(tops) != 1 or tops & {"sys", "proc"}:
        return "", files
    top = tops.pop()
    return top, {name[len(top) + 1 :]: data for name, data in files.items() if "/" in name}


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
