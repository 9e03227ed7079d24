"""A tree laid out like `/`: a directory, an archive of one, or the running machine; read-only and with limits."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import re
import stat
import tarfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Final, NamedTuple, cast

from migratectl.errors import InputFileError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

MAX_FILE_BYTES: Final = 64 << 20
"""Longest file that is read; a numa_maps text of 500,000 lines is shorter."""

MAX_TREE_BYTES: Final = 256 << 20
"""Most bytes that the files of one archive may have together."""

MAX_MEMBERS: Final = 500_000

MAX_HEADER_BYTES: Final = 1 << 20
"""Most bytes of what stands before one member's content; its names, of PATH_MAX bytes each, are shorter."""

MAX_STREAM_BYTES: Final = MAX_TREE_BYTES + MAX_MEMBERS * 2 * tarfile.BLOCKSIZE
"""Most bytes of an unpacked archive: its files, and for each a header and what fills up its last block."""

MAX_NAME: Final = 4096
"""Longest name in an archive: PATH_MAX."""

MAX_DEPTH: Final = 100
"""Most folders above a file of an archive; /sys has some twenty."""

MAX_LINKS: Final = 40
"""Most links on the way to one file, as in the kernel."""

XZ_MEMORY: Final = 128 << 20
"""Most memory for unpacking .xz; ``xz -9`` needs half of it."""

BLOCK: Final = 1 << 16
"""Bytes that are asked for at once; a buffer for the longest file costs more than most files have."""

_DAMAGE: Final = (
    tarfile.TarError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    ValueError,
    RecursionError,  # of tarfile: headers that announce headers
)
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESRCH})
_RECORD: Final = re.compile(rb"([1-9][0-9]{0,6}) ")
_MANY_DIGITS: Final = re.compile(rb"[0-9]{100}")
_PAX_TYPES: Final = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_TYPE: Final = slice(156, 157)
"""Place of a member's type in its header."""

_AS_ROOT: Final = "; read it as its owner or as root"
_REMEDIES: Final = {
    errno.EACCES: _AS_ROOT,
    errno.EPERM: _AS_ROOT,
    errno.ELOOP: "; put the file in the place of the link",
    errno.EIO: "; copy the tree again",
}


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
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise _unreadable(self.where(name), error) from error
        return self._real(name) if stat.S_ISLNK(mode) else path

    def _real(self, name: str) -> str | None:
        """A path without links; None where there is none."""
        try:
            path = os.path.realpath(os.path.join(self.root, name), strict=True)
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise _unreadable(self.where(name), error) from error
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
        links: What symbolic links lead to, by their names: files and folders of the tree, by names without links.
        left_out: As of Tree.
    """

    def __init__(self, source: str, label: str, files: dict[str, bytes], links: dict[str, str], left_out: int) -> None:
        super().__init__(source, label, left_out)
        self.files, self.links = files, links
        self.folders: dict[str, set[str]] = {}
        for name in (*files, *links):
            self._enter(name)

    def read(self, name: str) -> str | None:
        """As Tree.read()."""
        data = self.files.get(self._real(name))
        return None if data is None else _decode(data)

    def names(self, folder: str) -> list[str]:
        """As Tree.names()."""
        return sorted(self.folders.get(self._real(folder), ()))

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
    text = _read_regular(path, str(path), follow=True)
    if text is None:
        raise InputFileError(f"{path}: no such file")
    return text


def storable(text: str) -> str:
    """
    A name that a tree tells, harmless in a state file, on a terminal and in a line of a table.

    Args:
        text: The name, bytes that are no UTF-8 as surrogates.

    Returns:
        The name with each byte of what is no text or cannot be printed as a backslash and three octal digits, as
        the kernel writes blanks in paths. Backslashes stay as they are.

    Source:
        seq_path(), mangle_path(), fs/seq_file.c.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else _octal(c) for c in text)


def _octal(character: str) -> str:
    """The bytes of a character; a surrogate from U+DC80 stands for one byte, any other for the three of its own."""
    errors = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", errors))


def _inner(name: str) -> str:
    """A name in its shortest form, which does not lead out of the tree."""
    if name.startswith("/") or "\0" in name or (".." in name and ".." in name.split("/")):
        raise InputFileError(f"{name!r}: not a name inside a tree")
    return os.path.normpath(name)


def _decode(data: bytes) -> str:
    return data.rstrip(b"\0").decode("utf-8", "surrogateescape")


def _read_regular(path: str | Path, where: str, *, follow: bool = False) -> str | None:
    """Text of a file, None where it is missing; a pipe is not waited for, nor a last link followed unless told."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    try:
        handle = os.open(path, flags)
        try:
            regular = stat.S_ISREG(os.fstat(handle).st_mode)
            data = _read_bytes(handle) if regular else b""
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno in _GONE:
            return None
        if error.errno != errno.ENXIO:  # that is a socket
            raise _unreadable(where, error) from error
        regular, data = False, b""
    if not regular:
        raise InputFileError(f"{where}: not a regular file")
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
    remedy = _REMEDIES.get(error.errno or 0, "")
    return InputFileError(f"{where}: cannot be read: {error.strerror or error}{remedy}")


# ---- archives


class _Members(NamedTuple):
    """
    What is in an archive.

    Args:
        files: Content by name.
        links: Target of each symbolic link by its name, as it stands in the archive.
        left_out: Hard links to no file that came before.
    """

    files: dict[str, bytes]
    links: dict[str, str]
    left_out: int


def _read_archive(path: Path, mode: int) -> Tree:
    if not stat.S_ISREG(mode):
        raise InputFileError(f"{path}: neither a directory nor an archive")
    try:
        with path.open("rb") as raw:
            found = _members(_unpacked(raw), path)
    except _DAMAGE as error:
        raise InputFileError(f"{path}: a damaged archive, or none: {_one_line(error)}; give a .tar, .tar.gz") from error
    except OSError as error:
        raise _unreadable(str(path), error) from error
    links = _resolved(found)
    top = _top(found.files)
    files = {name[len(top) :]: data for name, data in found.files.items() if name.startswith(top)}
    inner = {
        name[len(top) :]: target[len(top) :]
        for name, target in links.items()
        if name.startswith(top) and target.startswith(top)
    }
    left_out = found.left_out + len(found.links) - len(inner)
    return ArchiveTree(str(path), f"{path.name} {top[:-1]}".rstrip(), files, inner, left_out)


def _unpacked(raw: IO[bytes]) -> IO[bytes]:
    """The stream behind the compression that the first bytes show."""
    magic = raw.read(2)
    raw.seek(0)
    if magic == b"\x1f\x8b":
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    if magic == b"BZ":
        return cast(IO[bytes], bz2.BZ2File(raw))
    return io.BufferedReader(_Xz(raw)) if magic == b"\xfd7" else raw


class _Xz(io.RawIOBase):
    """Unpacked bytes of .xz; LZMAFile has no limit of its memory."""

    def __init__(self, raw: IO[bytes]) -> None:
        super().__init__()
        self.raw, self.engine = raw, _xz_engine()

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """The next bytes, at least one but at the end."""
        view = memoryview(buffer)
        data = b""
        while not data:
            packed = self.engine.unused_data if self.engine.eof else b""
            if not packed and (self.engine.eof or self.engine.needs_input):
                packed = self.raw.read(BLOCK)
                if not packed and not self.engine.eof:
                    raise EOFError("the compressed data ends too soon")
            if self.engine.eof:
                packed = packed.lstrip(b"\0")  # between two streams
                if not packed:
                    return 0
                self.engine = _xz_engine()
            data = self.engine.decompress(packed, len(view))
        view[: len(data)] = data
        return len(data)


def _xz_engine() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)


class _Stream:
    """
    Unpacked bytes of an archive, forward only, for tarfile, which believes every size that a header tells.

    Args:
        unpacked: The bytes.
        path: The archive, for messages.
    """

    def __init__(self, unpacked: IO[bytes], path: Path) -> None:
        self.unpacked, self.path = unpacked, path
        self.position, self.last = 0, b""
        self.allowed = MAX_HEADER_BYTES

    def tell(self) -> int:
        """Bytes so far."""
        return self.position

    def seek(self, position: int) -> int:
        """Skip bytes."""
        if position < self.position:
            raise tarfile.ReadError("a header leads back to what stands before it")
        while self.position < position:
            if not self._take(min(BLOCK, position - self.position)):
                raise tarfile.ReadError("unexpected end of data")
        return position

    def read(self, size: int = -1) -> bytes:
        """The next bytes; *allowed* counts what is asked for, so that asking at the end comes to an end too."""
        if not 0 <= size <= self.allowed:
            raise InputFileError(
                f"{self.path}: more than {MAX_HEADER_BYTES >> 20} MiB of headers before one member: too large;"
                " make the archive with plain names and without extended attributes"
            )
        self.allowed -= size
        above, self.last = self.last, self._take(size)
        if size > tarfile.BLOCKSIZE and above[_TYPE] in _PAX_TYPES:
            _check_records(self.last)
        return self.last

    def _take(self, size: int) -> bytes:
        if self.position + size > MAX_STREAM_BYTES:
            raise InputFileError(f"{self.path}: unpacks to more than {MAX_STREAM_BYTES >> 20} MiB: too large")
        data = self.unpacked.read(size)
        self.position += len(data)
        return data


def _check_records(data: bytes) -> None:
    """Refuse extended headers that cost tarfile of Python 3.11 the square of their length in time or memory."""
    at = 0
    while at < len(data) and data[at]:
        match = _RECORD.match(data, at)
        record = data[at : at + int(match[1])] if match else b""
        if not match or len(record) < int(match[1]) or record[-1:] != b"\n" or b"=" not in record:
            raise tarfile.ReadError("a malformed extended header")
        at += len(record)
    if _MANY_DIGITS.search(data):
        raise tarfile.ReadError("an extended header with a number of 100 digits")


def _members(unpacked: IO[bytes], path: Path) -> _Members:
    """The regular files of an archive, with hard links to files that came before, and its symbolic links."""
    files: dict[str, bytes] = {}
    links: dict[str, str] = {}
    left, seen, left_out = MAX_TREE_BYTES, 0, 0
    stream = _Stream(unpacked, path)
    with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:") as archive:
        for member in archive:
            seen, left = seen + 1, left - member.size
            if not 0 <= member.size <= MAX_FILE_BYTES or left < 0 or seen > MAX_MEMBERS:
                raise InputFileError(f"{path}: member {member.name!r} makes it too large for a tree of /proc and /sys")
            name = _member_name(member.name, path)
            if member.isreg():
                files[name] = _content(archive, member, stream)
                links.pop(name, None)
            elif member.issym():
                links[name] = member.linkname
                files.pop(name, None)
            elif member.islnk():
                target = files.get(_member_name(member.linkname, path))
                left_out += target is None
                if target is not None:
                    files[name] = target
            stream.allowed = MAX_HEADER_BYTES
            archive.members = []  # type: ignore[attr-defined]  # or else each header stays in memory
        _check_end(stream, archive.offset)
    return _Members(files, links, left_out)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, stream: _Stream) -> bytes:
    content = archive.extractfile(member)
    if content is None:
        return b""
    stream.allowed = member.size
    return b"".join(iter(lambda: content.read(BLOCK), b""))


def _member_name(name: str, path: Path) -> str:
    pure = PurePosixPath(name)
    if len(name) > MAX_NAME or len(pure.parts) > MAX_DEPTH:
        raise InputFileError(f"{path}: member {name[:60]!r}... has too long a name for a tree of /proc and /sys")
    if pure.is_absolute() or ".." in pure.parts:
        raise InputFileError(f"{path}: member {name!r} leads out of the tree; make the archive with relative names")
    return str(pure)


def _check_end(stream: _Stream, offset: int) -> None:
    """Behind the last member are zeros only; tarfile takes a damaged header for the end. Reading on checks sums."""
    stream.seek(offset + len(stream.last))  # the last that tarfile read is no header
    block, total = stream.last, 0
    while block:
        total += len(block)
        if any(block) or total > MAX_FILE_BYTES:
            raise tarfile.ReadError("there is no member header where one should be")
        block = stream.unpacked.read(io.DEFAULT_BUFFER_SIZE)


def _resolved(found: _Members) -> dict[str, str]:
    """The symbolic links that lead to a file or folder of the archive, with its name without links."""
    there = set(found.files)
    for name in found.files:
        while (name := name.rpartition("/")[0]) and name not in there:
            there.add(name)
    ways = {name: _follow(name, found.links) for name in found.links}
    return {name: target for name, target in ways.items() if target in there}


def _follow(name: str, links: dict[str, str]) -> str | None:
    """A name with each link on its way replaced by its target; None where that leads out or in a circle."""
    done: list[str] = []
    ahead, followed = name.split("/")[::-1], 0
    while ahead:
        part = ahead.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if not done:
                return None
            done.pop()
            continue
        target = links.get("/".join((*done, part)))
        if target is None:
            done.append(part)
            continue
        followed += 1
        if (
            not target
            or target.startswith("/")
            or len(target) > MAX_NAME
            or followed > MAX_LINKS
            or len(done) > MAX_DEPTH
        ):
            return None
        ahead += target.split("/")[::-1]
    return "/".join(done)


def _top(names: Collection[str]) -> str:
    """The one folder that all names begin with, with its slash; empty where there is none but ``sys`` or ``proc``."""
    tops = {name.partition("/")[0] for name in names}
    return "" if len(tops) != 1 or tops & {"sys", "proc"} else f"{tops.pop()}/"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
