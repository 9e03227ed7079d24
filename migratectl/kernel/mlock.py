"""
What may be locked into memory without CAP_IPC_LOCK.

Models mm/mlock.c and the part of mm/mmap.c about MAP_LOCKED; semantics.md 6.6, rule 57 of what a 6.1 kernel does.
"""

from __future__ import annotations

from typing import Final, Literal

DEFAULT_MEMLOCK: Final = {True: 8 << 20, False: 0}
"""RLIMIT_MEMLOCK in bytes of a task that was not given one, by whether the profile is a 6.x kernel."""


def mlock_refusal(
    nr: int, locked: int, already: int, limit: int, *, mapping: bool, modern: bool
) -> Literal["EPERM", "ENOMEM", "EAGAIN"] | None:
    """
    Why a task without the capability may not lock pages.

    Args:
        nr: Pages that it asks for.
        locked: Pages of its address space that are in locked areas.
        already: Those of the range asked for among them.
        limit: RLIMIT_MEMLOCK in pages.
        mapping: It maps a locked area (mmap), instead of locking one that is there (mlock).
        modern: A 6.x kernel counts no page twice that is locked already.

    Returns:
        An errno name: EPERM where the limit is 0, ENOMEM of mlock and EAGAIN of mmap beyond it; None: it may.

    Source:
        can_do_mlock(), do_mlock(), mlock_future_check(); mlock(2).
    """
    if not limit:
        return "EPERM"
    if nr + locked - (already if modern else 0) <= limit:
        return None
    return "EAGAIN" if mapping else "ENOMEM"
