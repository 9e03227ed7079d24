"""/proc/PID/smaps: which areas are locked in memory, and how much of them is shared, which maps does not tell."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from migratectl.errors import InputFileError

KIB: Final = 1024

_HEAD: Final = re.compile(r"([0-9a-f]{1,16})-([0-9a-f]{1,17}) [r-][w-][x-][sp] .*")
_FIELD: Final = re.compile(r"[A-Z]\w*:.*")
_AMOUNT: Final = re.compile(r"(Locked|Shared_\w+): +([0-9]{1,18}) kB *")


class SmapsArea(NamedTuple):
    """
    What smaps tells of one area.

    Args:
        size_kib: Its size.
        locked: It is locked: by its VmFlags, or where a kernel before 3.8 prints none, by its Locked pages.
        shared_kib: What of it other address spaces map too, huge pages included.
    """

    size_kib: int
    locked: bool
    shared_kib: int


def parse_smaps(text: str, source: str) -> dict[int, SmapsArea]:
    """
    Read which areas are locked, and how much of each is mapped elsewhere too.

    Args:
        text: The whole text of smaps.
        source: Name of the file, for messages.

    Returns:
        Each area by its address.

    Raises:
        InputFileError: A line is malformed; names the line.

    Source:
        show_smap(), smaps_account(), show_smap_vma_flags(), fs/proc/task_mmu.c.
    """
    sizes: dict[int, int] = {}
    held: set[int] = set()
    flagged: dict[int, bool] = {}
    shared: dict[int, int] = {}
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
        elif (amount := _AMOUNT.fullmatch(line)) and int(amount[2]):
            if amount[1] == "Locked":
                held.add(start)
            else:
                shared[start] = shared.get(start, 0) + int(amount[2])
    return {
        start: SmapsArea(size, flagged.get(start, start in held), shared.get(start, 0)) for start, size in sizes.items()
    }
