"""A tree laid out like `/`: a directory, an archive of one, or the running machine; read-only and with limits."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from contextlib import nullcontext
from pathlib import Path, PurePosixPath

from migratectl.errors import InputFileError
from migratectl.linux.archive import Archive, read_archive
from migratectl.linux.files import GONE, decode, read_regular, unreadable


class Tree(ABC):
    """
    Files below one root, read by their name without a leading slash, such as ``proc/meminfo``.

    Args:
        source: The path the user gave; every message begins with it.
        label: What the tree is called: the name of the directory, or of the archive and its top folder.
        left_out: Links of an archive that lead to no file or folder of it, and so are not in the tree.
    """

    def __init__(self, source: str, label: str, left_out: int = 0) -> None:
        self.source, self.label, self.left_out = source, label, left_out

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

    @abstractmethod
    def folders(self, folder: str) -> list[str]:
        """Names of the folders in a folder, sorted, without links; empty where it is missing."""

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
        self.real_folders: dict[str, str | None] = {}
        super().__init__(str(root), os.path.basename(self.root))

    def read(self, name: str) -> str | None:
        """As Tree.read()."""
        path = self._inside(name)
        return None if path is None else read_regular(path, self.where(name))

    def names(self, folder: str) -> list[str]:
        """As Tree.names()."""
        path = self._inside(folder)
        try:
            return [] if path is None else sorted(os.listdir(path))
        except OSError as error:
            if error.errno in GONE:
                return []
            raise unreadable(self.where(folder), error) from error

    def folders(self, folder: str) -> list[str]:
        """As Tree.folders()."""
        path = self._inside(folder)
        try:
            with os.scandir(path) if path is not None else nullcontext(()) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except OSError as error:
            if error.errno in GONE:
                return []
            raise unreadable(self.where(folder), error) from error

    def _inside(self, name: str) -> str | None:
        """The real path of a name; None where there is none. Its folder is made out once for all files in it."""
        folder, _, last = _inner(name).rpartition("/")
        if folder not in self.real_folders:
            self.real_folders[folder] = self._inside(folder) if folder else self.root
        above = self.real_folders[folder]
        if above is None:
            return None
        path = os.path.join(above, last)
        try:
            mode = os.lstat(path).st_mode
        except OSError as error:
            if error.errno in GONE:
                return None
            raise unreadable(self.where(name), error) from error
        return self._real(name) if stat.S_ISLNK(mode) else path

    def _real(self, name: str) -> str | None:
        """A path without links; None where there is none."""
        try:
            path = os.path.realpath(os.path.join(self.root, name), strict=True)
        except OSError as error:
            if error.errno in GONE:
                return None
            raise unreadable(self.where(name), error) from error
        if os.path.commonpath((self.root, path)) != self.root:
            raise InputFileError(f"{self.where(name)}: a link out of the tree; copy the tree with its links resolved")
        return path


class ArchiveTree(Tree):
    """
    A tree that was read from an archive into memory.

    Args:
        source: The archive's path.
        name: The archive's own name.
        archive: What it holds.
    """

    def __init__(self, source: str, name: str, archive: Archive) -> None:
        super().__init__(source, f"{name} {archive.top}".rstrip(), archive.left_out)
        self.files, self.links = archive.files, archive.links
        self.entries: dict[str, set[str]] = {}
        for each in (*archive.files, *archive.links):
            self._enter(each)

    def read(self, name: str) -> str | None:
        """As Tree.read()."""
        data = self.files.get(self._real(name))
        return None if data is None else decode(data)

    def names(self, folder: str) -> list[str]:
        """As Tree.names()."""
        return sorted(self.entries.get(self._real(folder), ()))

    def folders(self, folder: str) -> list[str]:
        """As Tree.folders()."""
        real = self._real(folder)
        below = (name if real in ("", ".") else f"{real}/{name}" for name in sorted(self.entries.get(real, ())))
        return [path.rpartition("/")[2] for path in below if path in self.entries and path not in self.links]

    def _real(self, name: str) -> str:
        """A name without links."""
        real = ""
        for part in _inner(name).split("/"):
            real = f"{real}/{part}" if real else part
            real = self.links.get(real, real)
        return real

    def _enter(self, name: str) -> None:
        path = PurePosixPath(name)
        for child, parent in zip((path, *path.parents), path.parents, strict=False):
            self.entries.setdefault(str(parent), set()).add(child.name)


class TextTree(Tree):
    """
    A text that tells of a machine instead of its files; it has none.

    Args:
        source: Its name.
        text: The text.
    """

    def __init__(self, source: str, text: str) -> None:
        super().__init__(source, "")
        self.text = text

    def read(self, name: str) -> str | None:
        """As Tree.read()."""
        return None

    def names(self, folder: str) -> list[str]:
        """As Tree.names()."""
        return []

    def folders(self, folder: str) -> list[str]:
        """As Tree.folders()."""
        return []


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
        raise unreadable(str(path), error) from error
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise InputFileError(f"{path}: neither a directory nor an archive")
    tree = DirectoryTree(path) if stat.S_ISDIR(mode) else ArchiveTree(str(path), path.name, read_archive(path))
    if not {"sys", "proc"} & set(tree.names(".")):
        raise InputFileError(f"{path}: not a tree laid out like /: there is neither 'sys' nor 'proc' in it")
    return tree


def _inner(name: str) -> str:
    """A name in its shortest form, which does not lead out of the tree."""
    if name.startswith("/") or "\0" in name or (".." in name and ".." in name.split("/")):
        raise InputFileError(f"{name!r}: not a name inside a tree")
    return os.path.normpath(name)
