"""When areas become one again: rule 48 of what a 6.1 kernel does, and what 2.6.16 did."""

from __future__ import annotations

import pytest

from migratectl.kernel.mmap import (
    NO_ANON_VMA,
    AnonVma,
    anon_vma_prepare,
    expand_neighbour,
    is_mergeable_anon_vma,
    vma_merge,
)

A, B, FORKED = AnonVma(1), AnonVma(2), AnonVma(3, forked=True)
NONE = NO_ANON_VMA

PAIRS = [
    # changed, neighbour, V9, today
    (NONE, NONE, True, True),
    (A, A, True, True),
    (A, B, False, False),
    (NONE, A, True, True),  # minimal anonvma-mprotect
    (A, NONE, True, False),  # minimal anonvma-unfaulted-*
    (NONE, FORKED, True, False),
    (FORKED, FORKED, True, True),
]


@pytest.mark.parametrize(("changed", "neighbour", "v9", "modern"), PAIRS)
def test_two_areas_that_are_equal_otherwise(changed: AnonVma, neighbour: AnonVma, v9: bool, modern: bool) -> None:
    assert is_mergeable_anon_vma(changed, neighbour, modern=False) is v9
    assert is_mergeable_anon_vma(changed, neighbour, modern=True) is modern


@pytest.mark.parametrize("modern", [False, True])
def test_an_area_between_two_that_do_not_go_together_joins_the_one_before(modern: bool) -> None:
    assert vma_merge(NONE, A, B, modern=modern) == (True, False)
    assert vma_merge(NONE, None, B, modern=modern) == (False, True)
    assert vma_merge(NONE, A, A, modern=modern) == (True, True)


def test_a_new_mapping_asks_the_one_behind_first_today() -> None:
    assert expand_neighbour(A, B, modern=False) == (True, False)
    assert expand_neighbour(A, B, modern=True) == (False, True)
    assert expand_neighbour(A, NONE, modern=True) == (True, True)
    assert expand_neighbour(A, None, modern=True) == (True, False)


@pytest.mark.parametrize(
    ("behind", "before", "v9", "modern"),
    [
        (None, None, AnonVma(8), AnonVma(8)),
        (A, B, A, A),
        (None, B, B, B),
        (NONE, B, B, B),
        (FORKED, None, FORKED, AnonVma(8)),
    ],
)
def test_a_first_anonymous_page_shares_what_a_neighbour_has(
    behind: AnonVma | None, before: AnonVma | None, v9: AnonVma, modern: AnonVma
) -> None:
    assert anon_vma_prepare(behind, before, 7, modern=False) == v9
    assert anon_vma_prepare(behind, before, 7, modern=True) == modern
