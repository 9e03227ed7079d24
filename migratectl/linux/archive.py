"""
An archive of a tree, read into memory.

tarfile's own filters are for members that are written to a disk: they take the slash off a name that begins with one,
refuse what is no file or folder, and look at folders of this machine to follow links. Here a name that leads out is
refused, what is no file left out, and a link followed inside the archive, or counted where it leads nowhere in it.
"""

from __future__ import annotations

import gzip
import lzma
import tarfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import IO, Final, NamedTuple, cast

from migratectl.errors import InputFileError
from migratectl.linux.files import BLOCK, MAX_FILE_BYTES, unreadable
from migratectl.linux.unpacking import MAX_HEADER_BYTES, LimitedStream, unpacked

MAX_TREE_BYTES: Final = 256 << 20
"""Most bytes that the files of one archive may have together."""

MAX_MEMBERS: Final = 500_000

MAX_STREAM_BYTES: Final = MAX_TREE_BYTES + MAX_MEMBERS * 2 * tarfile.BLOCKSIZE
"""Most bytes of an unpacked archive: its files, and for each a header and what fills up its last block."""

MAX_NAME: Final = 4096
"""Longest name in an archive: PATH_MAX."""

MAX_DEPTH: Final = 100
"""Most folders above a file of an archive; /sys has some twenty."""

MAX_LINKS: Final = 40
"""Most links on the way to one file, as in the kernel."""

_DAMAGE: Final = (
    tarfile.TarError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    ValueError,
    RecursionError,  # of tarfile: headers that announce headers
)


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
            found = _members(raw, path)
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


def _members(raw: IO[bytes], path: Path) -> _Members:
    """The regular files of an archive, with hard links to files that came before, and its symbolic links."""
    files: dict[str, bytes] = {}
    links: dict[str, str] = {}
    left, seen, left_out = MAX_TREE_BYTES, 0, 0
    stream = LimitedStream(unpacked(raw), path, MAX_STREAM_BYTES)
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
        stream.check_end(archive.offset)
    return _Members(files, links, left_out)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, stream: LimitedStream) -> bytes:
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
