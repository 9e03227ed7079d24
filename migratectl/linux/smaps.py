"""/proc/PID/smaps: which areas are locked in memory, which maps does not tell."""

from __future__ import annotations

import re
from typing import Final

from migratectl.errors import InputFileError

KIB: Final = 1024

_HEAD: Final = re.compile(r"([0-9a-f]{1,16})-([0-9a-f]{1,17}) [r-][w-][x-][sp] .*")
_FIELD: Final = re.compile(r"[A-Z]\w*:.*")
_LOCKED: Final = re.compile(r"Locked: +([0-9]{1,18}) kB *")


def locked_areas(text: str, source: str) -> dict[int, int]:
    """
    Read which areas are locked: by their VmFlags, or where a kernel before 3.8 prints none, by their Locked pages.

    Args:
        text: The whole text of smaps.
        source: Name of the file, for messages.

    Returns:
        Size in KiB of each locked area by its address.

    Raises:
        InputFileError: A line is malformed; names the line.

    Source:
        show_smap(), show_smap_vma_flags(), fs/proc/task_mmu.c.
    """
    sizes: dict[int, int] = {}
    held: set[int] = set()
    flagged: dict[int, bool] = {}
    start: int | None = None
    for number, line in enumerate(text.split("\n"), 1):
        if head := _HEAD.fullmatch(line):
            start = int(head[1], 16)
            sizes[start] = (int(head[2], 16) - start) // KIB
        elif not line:
            continue
        elif start is None or not _FIELD.fullmatch(line):
            raise InputFileError(f"{source}: line {number}: {line[:60]!r} is no line of /proc/PID/smaps")
        elif line.startswith("VmFlags:"):
            flagged[start] = "lo" in line.split()
        elif (locked := _LOCKED.fullmatch(line)) and int(locked[1]):
            held.add(start)
    return {start: size for start, size in sizes.items() if flagged.get(start, start in held)}
