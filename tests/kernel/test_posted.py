"""The defects as posted, over all passes: semantics.md 4, B8, B10 and B28."""

from __future__ import annotations

import pytest

from migratectl.kernel.rules import Rules
from migratectl.page_state import PageState, Ring
from migratectl.uapi import NEVER, Profile

POSTED = Rules(Profile.V9_POSTED)


def reasons(state: PageState) -> list[str]:
    """Why each pass leaves the page; empty where it does not."""
    return [attempt.reason for attempt in POSTED.course(state).attempts]


def test_what_the_list_is_moved_by() -> None:
    """B1: a target for each round, where V9 allocates 256; B4: nobody makes the swap ptes ptes again."""
    corrected = Rules(Profile.V9)
    assert (corrected.targets_at_once, POSTED.targets_at_once) == (256, 1)
    assert (corrected.restores_ptes, POSTED.restores_ptes) == (True, False)


@pytest.mark.parametrize(("young", "passes"), [(0, 1), (10, 2), (20, 3), (110, 11)])
def test_ten_ptes_grow_old_in_a_pass(young: int, passes: int) -> None:
    """B28: ten calls, each of which stops at a young pte; at 110 the eleven passes are over."""
    found = reasons(PageState(mapcount=young + 1, young=young))
    assert len(found) == passes
    assert found.count("unmap-incomplete") == min(young // 10, 11)


def test_a_pte_hides_what_is_dirty_until_swap_page_unmaps() -> None:
    """
    B10, 2.2 l: busy buffers send the page to swap_page() from pass 5 on, which unmaps it.

    Only then does the dirty bit of its pte reach the page, and the next pass writes it.
    """
    state = PageState(kind="file", method="none", ring=Ring(locked=NEVER), dropped_dirty=True)
    found = POSTED.course(state)
    assert [attempt.reason for attempt in found.attempts][4:7] == ["buffers-busy", "buffers-busy", "writeback-started"]
    assert [attempt.left.unmapped for attempt in found.attempts][4:6] == [False, True]


def test_a_mapped_page_that_is_dirty_itself_is_kept_for_ever() -> None:
    """B10: dirty is asked while the ptes are there."""
    assert set(reasons(PageState(kind="file", method="none", dirty=True))) == {"pageout-keep"}


def test_what_goes_before_a_locked_mapping_takes_its_dirty_bit_along() -> None:
    """B8 then B10: the first pass drops a dirty pte, so the page is dirty and still mapped in all others."""
    state = PageState(kind="file", method="none", mapcount=2, mlocked=True, dropped_dirty=True)
    assert reasons(state) == ["unmap-incomplete"] + ["pageout-keep"] * 10
