"""Locking without CAP_IPC_LOCK: mlock(2), rule 57 of what a 6.1 kernel does."""

from __future__ import annotations

import pytest

from migratectl.kernel.mlock import mlock_refusal

CASES = [
    # pages asked for, locked so far, of the range, limit, mapping, V9, today
    (1, 0, 0, 0, False, "EPERM", "EPERM"),
    (4, 0, 0, 4, False, None, None),
    (5, 0, 0, 4, False, "ENOMEM", "ENOMEM"),
    (4, 4, 4, 4, False, "ENOMEM", None),  # 2.6.16 counts what is locked already once more
    (2, 3, 1, 4, False, "ENOMEM", None),
    (2, 3, 0, 4, True, "EAGAIN", "EAGAIN"),
]


@pytest.mark.parametrize(("nr", "locked", "already", "limit", "mapping", "v9", "modern"), CASES)
def test_within_a_limit(
    nr: int, locked: int, already: int, limit: int, mapping: bool, v9: str | None, modern: str | None
) -> None:
    assert mlock_refusal(nr, locked, already, limit, mapping=mapping, modern=False) == v9
    assert mlock_refusal(nr, locked, already, limit, mapping=mapping, modern=True) == modern
