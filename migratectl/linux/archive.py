"""An archive of a tree, read into memory: what tarfile believes is checked, what it costs is limited."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import tarfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Final, NamedTuple, cast

from migratectl.errors import InputFileError
from migratectl.linux.files import BLOCK, MAX_FILE_BYTES, unreadable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

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

_DAMAGE: Final = (
    tarfile.TarError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    ValueError,
    RecursionError,  # of tarfile: headers that announce headers
)
_RECORD: Final = re.compile(rb"([1-9][0-9]{0,6}) ")
_MANY_DIGITS: Final = re.compile(rb"[0-9]{100}")
_PAX_TYPES: Final = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_TYPE: Final = slice(156, 157)
"""Place of a member's type in its header."""


class Archive(NamedTuple):
    """
    What an archive holds.

    Args:
        top: The one top folder, which is left out of the names; empty without one.
        files: Content by name.
        links: What symbolic links lead to, by their names: files and folders of the archive, by names without links.
        left_out: Links that lead to no file or folder of it.
    """

    top: str
    files: dict[str, bytes]
    links: dict[str, str]
    left_out: int


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


def read_archive(path: Path) -> Archive:
    """
    Read an archive into memory.

    Args:
        path: A .tar, .tar.gz, .tar.bz2 or .tar.xz file.

    Raises:
        InputFileError: Unreadable, damaged, too large, or with names that lead out of it.
    """
    try:
        with path.open("rb") as raw:
            found = _members(_unpacked(raw), path)
    except _DAMAGE as error:
        raise InputFileError(f"{path}: a damaged archive, or none: {_one_line(error)}; give a .tar, .tar.gz") from error
    except OSError as error:
        raise unreadable(str(path), error) from error
    links = _resolved(found)
    top = _top(found.files)
    files = {name[len(top) :]: data for name, data in found.files.items() if name.startswith(top)}
    inner = {
        name[len(top) :]: target[len(top) :]
        for name, target in links.items()
        if name.startswith(top) and target.startswith(top)
    }
    return Archive(top[:-1], files, inner, found.left_out + len(found.links) - len(inner))


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


class _LimitedStream:
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
    stream = _LimitedStream(unpacked, path)
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


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, stream: _LimitedStream) -> bytes:
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


def _check_end(stream: _LimitedStream, offset: int) -> None:
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
