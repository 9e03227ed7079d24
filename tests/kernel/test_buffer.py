"""Rings of buffers (semantics.md 1.4, 9a): how long one is, and which journal holds it."""

from __future__ import annotations

import pytest

from migratectl.kernel.buffer import buffers_per_page, journal_holds


@pytest.mark.parametrize(
    ("page_size", "block_size", "nr"),
    [
        (4096, None, 1),
        (16384, None, 4),
        (1024, None, 1),
        (4096, 4096, 1),
        (4096, 2048, 2),
        (4096, 1024, 4),
        (4096, 512, 8),
        (16384, 2048, 8),
        (16384, 1024, None),  # 16 buffers
        (4096, 256, None),  # a disk's block has 512 bytes
        (4096, 8192, None),
        (4096, 3000, None),
        (4096, 0, None),
    ],
)
def test_buffers_of_a_page(page_size: int, block_size: int | None, nr: int | None) -> None:
    """A ring covers the page exactly, with 1 to 8 buffers."""
    assert buffers_per_page(page_size, block_size) == nr


def test_a_journal_holds_the_data_that_it_knows() -> None:
    assert [journal_holds(mode) for mode in ("ordered", "journalled", "writeback", None)] == [True, True, False, False]
