"""/proc/PID/maps: where areas end, which numa_maps does not tell."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from migratectl.errors import InputFileError
from migratectl.spans import ADDRESS_END
from migratectl.uapi import VM

KNOWN: Final = 1 << 13
"""Texts behind a range that are remembered: the libraries of one process are those of the next."""

_RANGE: Final = re.compile(r"([0-9a-f]{1,16})-([0-9a-f]{1,17})")
_REST: Final = re.compile(
    r"([r-][w-][x-])([sp]) ([0-9a-f]{1,16}) [0-9a-f]{1,8}:[0-9a-f]{1,8} ([0-9]{1,20})(?: +(.*))? *"
)
_SHARED: Final = int(VM.SHARED)
_PROTECTION: Final = {"r": VM.READ, "w": VM.WRITE, "x": VM.EXEC}


class MapsLine(NamedTuple):
    """
    One area of an address space.

    Args:
        number: Line of the text, from 1.
        start: First byte.
        end: Byte behind the last one.
        vm: Its protection, SHARED, and HEAP or STACK by its name.
        offset: Byte of the file that *start* maps.
        inode: Inode number of the file, 0 without one.
        path: Path, or a name in brackets, or empty; a newline is unescaped.
    """

    number: int
    start: int
    end: int
    vm: VM
    offset: int
    inode: int
    path: str

    @property
    def shared(self) -> bool:
        """Whether writes go to the object rather than to a private copy."""
        return bool(int(self.vm) & _SHARED)


def parse_maps(text: str, source: str) -> tuple[MapsLine, ...]:
    """
    Read the text of /proc/PID/maps.

    Args:
        text: The whole text.
        source: Name of the file, for messages.

    Returns:
        Its areas, ascending and disjoint.

    Raises:
        InputFileError: A line is malformed, or an area begins before the one above ends; names the line.

    Source:
        show_map_vma(), fs/proc/task_mmu.c.
    """
    lines: list[MapsLine] = []
    make = MapsLine._make
    above = 0
    for number, line in enumerate(text.split("\n"), 1):
        span, _, rest = line.partition(" ")
        match, known = _RANGE.fullmatch(span), _read_rest(rest)
        if not match or known is None:
            if not line.strip():
                continue
            raise InputFileError(f"{source}: line {number}: {line[:60]!r} is no line of /proc/PID/maps")
        low, high = match.groups()
        start, end = int(low, 16), int(high, 16)
        if not above <= start < end <= ADDRESS_END:
            raise InputFileError(f"{source}: line {number}: {_misplaced(span, start, end)}")
        above = end
        lines.append(make((number, start, end, *known)))
    return tuple(lines)


def _misplaced(span: str, start: int, end: int) -> str:
    if not start < end <= ADDRESS_END:
        return f"the area {span} has no end above its start"
    return "the area begins before the one above it ends"


@lru_cache(maxsize=KNOWN)
def _read_rest(text: str) -> tuple[VM, int, int, str] | None:
    """What stands behind the range: flags, offset, inode, path; None where it is malformed."""
    match = _REST.fullmatch(text)
    if not match or "\0" in text:
        return None
    protection, sharing, offset, inode, path = match.groups("")
    if path:
        path = path.rstrip(" ").replace("\\012", "\n")
    flags = _known_flags(protection, sharing, path if path.startswith("[") else "")
    return flags, int(offset, 16), int(inode), path


@lru_cache
def _known_flags(protection: str, sharing: str, path: str) -> VM:
    flags = VM(0)
    for letter in protection.replace("-", ""):
        flags |= _PROTECTION[letter]
    if sharing == "s":
        flags |= VM.SHARED
    if path == "[heap]":
        flags |= VM.HEAP
    if path.startswith("[stack"):
        flags |= VM.STACK
    if path.startswith("[vvar"):
        flags |= VM.PFNMAP
    return flags
