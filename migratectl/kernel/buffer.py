"""
Buffers of cache pages: how many a page has, and who uses them.

Models fs/buffer.c and fs/jbd; semantics.md 1.4.
"""

from __future__ import annotations

from typing import Final

SMALLEST_BLOCK: Final = 512
"""A block of a disk, in bytes."""

LARGEST_BLOCK: Final = 4096
"""The block size of a file system that was told none; a smaller page makes it smaller."""

MOST_BUFFERS: Final = 8
"""Buffers in the ring of a page."""

_JOURNALS_DATA: Final = ("ordered", "journalled")
"""Journals that know the data of a file; with ``writeback`` they know its metadata alone."""


def buffers_per_page(page_size: int, block_size: int | None) -> int | None:
    """
    The length of a page's ring.

    Args:
        page_size: Bytes a page.
        block_size: Bytes a block; None: that of a file system made with its defaults.

    Returns:
        Buffers, 1 to 8; None where there is no such block size on pages of that size.

    Source:
        alloc_page_buffers() of fs/buffer.c.
    """
    block = min(page_size, LARGEST_BLOCK) if block_size is None else block_size
    if block & (block - 1) or not max(SMALLEST_BLOCK, page_size // MOST_BUFFERS) <= block <= page_size:
        return None
    return page_size // block


def journal_holds(journal: str | None) -> bool:
    """
    Whether a journal uses the buffers of a page that was written, until it is synced.

    Source:
        journal_dirty_data() and journal_dirty_metadata() of fs/jbd; semantics.md 9a (1.4).
    """
    return journal in _JOURNALS_DATA
