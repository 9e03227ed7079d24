"""Commands on files and on the buffers of cache pages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from migratectl.cli import deferred as operations
from migratectl.cli.group import command
from migratectl.cli.params import INO, PID, RANGE, SIZE, Parsed
from migratectl.cli.session import Session
from migratectl.cli.touching import anything, of_file, of_task
from migratectl.spans import Size, Span, parse_size
from migratectl.touches import Touches
from migratectl.uapi import NEVER

if TYPE_CHECKING:
    from migratectl.operations.file import FileRange

JOURNALS = ("ordered", "writeback", "journalled")
METHODS = ("page", "buffer", "fail", "none")
STATES = ("idle", "dirty", "busy", "locked")
MOST = (1 << 31) - 1
"""Largest number of passes."""

_FILESYSTEM = re.compile(r"[a-z0-9][a-z0-9._-]*")

Part = tuple[Size, Size]
"""Length and offset of a part of a file."""


def _parse_part(text: str) -> Part:
    length, at, offset = text.partition("@")
    try:
        return parse_size(length), parse_size(offset) if at else Size(0)
    except ValueError as error:
        raise ValueError(f"{error}; a part of a file is LENGTH or LENGTH@OFFSET, such as 16p@8p") from None


def _parse_fs(text: str) -> str:
    if not _FILESYSTEM.fullmatch(text):
        raise ValueError(f"'{text}' is not a file system; write ext2, ext3, xfs, tmpfs, ramfs, bdev or another name")
    return text


PART: Parsed[Part] = Parsed("RANGE", _parse_part)
FS = Parsed("FS", _parse_fs)

_path = click.argument("path", metavar="PATH")
_part = click.argument("part", type=PART, metavar="[RANGE]", required=False)


def _range(part: Part | None) -> FileRange:
    words: FileRange = operations.file.FileRange() if part is None else operations.file.FileRange(*part)
    return words


@command(
    "file create /data/f 64p --fs ext3 --journal ordered",
    "file create /dev/shm/s 1G --fs tmpfs --ino 7",
    touches=anything(),
)
@_path
@click.argument("size", type=SIZE)
@click.option("--fs", type=FS, required=True, help="Its file system: ext2, ext3, xfs, xfs-buf, tmpfs, ramfs, bdev, ….")
@click.option("--journal", type=click.Choice(JOURNALS), help="The mode of ext3's journal (default ordered).")
@click.option("--ino", type=INO, metavar="N", help="Its inode number.")
@click.option("--method", type=click.Choice(METHODS), help="How its pages migrate (default: as its file system does).")
@click.option("--block-size", type=SIZE, help="Bytes a buffer (default: 4K, or a page).")
def file_create_command(session: Session, **words: Any) -> int:
    """Make a file; none of its pages is cached."""
    return session.perform(operations.file.file_create, operations.file.FileCreate(**words))


@command("file list", "file list --json", touches=anything())
def file_list_command(session: Session) -> int:
    """List the files and segments, with their pages in memory."""
    return session.look(operations.file.file_list)


@command("file read /data/f", "file read /data/f 16p@8p --by 100", touches=of_file)
@_path
@_part
def file_read_command(session: Session, path: str, part: Part | None) -> int:
    """
    Read a file into the page cache.

    With --by a task reads, by its policy and in its cpuset; else it is read on CPU 0's node.
    """
    return session.perform(operations.file.file_read, session.caller, path, _range(part))


@command("file write /data/f", "file write /data/f 16p@8p --by 100", touches=of_file)
@_path
@_part
def file_write_command(session: Session, path: str, part: Part | None) -> int:
    """
    Write to a file, into the page cache.

    With --by a task writes, by its policy and in its cpuset; else its pages come from CPU 0's node.
    """
    return session.perform(operations.file.file_write, session.caller, path, _range(part))


def _behind_the_end(path: str, size: Size) -> Touches:
    """What a file loses with a new size."""
    return Touches(file=path, part=(None, size))


@command("file truncate /data/f 8p", "file truncate /data/f 0", touches=_behind_the_end)
@_path
@click.argument("size", type=SIZE)
def file_truncate_command(session: Session, path: str, size: Size) -> int:
    """Cut a file, or make it longer."""
    return session.perform(operations.file.file_truncate, path, size)


@command("file sync /data/f", touches=of_file)
@_path
def file_sync_command(session: Session, path: str) -> int:
    """Write the dirty pages of a file to its disk."""
    return session.perform(operations.file.file_sync, path)


@command(
    "page buffers 100 map+4p --state dirty",
    "page buffers 100 0x10000000+1p --state busy --passes 5 --late",
    touches=of_task(),
)
@click.argument("pid", type=PID)
@click.argument("span", type=RANGE, metavar="RANGE")
@click.option("--state", type=click.Choice(STATES), required=True, help="What all buffers of the pages are.")
@click.option(
    "--passes",
    type=click.IntRange(0, MOST),
    metavar="N",
    help="Busy or locked until pass N of a migration (default: for ever); idle and dirty ones are so at once.",
)
@click.option("--late", is_flag=True, help="In pass N busy ones are free only when they are asked for a second time.")
def page_buffers_command(session: Session, pid: int, span: Span, state: str, passes: int | None, late: bool) -> int:
    """Attach buffers to the cache pages of a range, and set their state."""
    last = None if passes is None or passes >= NEVER else passes
    if late and (state != "busy" or last is None):
        raise click.UsageError("--late goes with --state busy and --passes N: in pass N they are free at a second look")
    return session.perform(operations.holds.set_buffers, pid, span, state, last, late)
