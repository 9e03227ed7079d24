"""Node sets: what is read, what is printed, and the algebra of sets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migratectl.nodemask import NO_NODES, Nodemask

SETS = st.frozensets(st.integers(0, 130), max_size=20)

READ = {
    "": set(),
    "0": {0},
    "1023": {1023},
    "0-2": {0, 1, 2},
    "3-3": {3},
    "0-1,4": {0, 1, 4},
    "7,9,12-13": {7, 9, 12, 13},
    "5,0-2": {0, 1, 2, 5},
    "0-3,2-5": {0, 1, 2, 3, 4, 5},
    "1,1,1": {1},
}
PRINTED = {
    "": set(),
    "0": {0},
    "0-1": {0, 1},
    "0-2,5": {0, 1, 2, 5},
    "0,2,4": {0, 2, 4},
    "63-65,1023": {63, 64, 65, 1023},
}


@pytest.mark.parametrize(("text", "members"), READ.items())
def test_a_list_is_read(text: str, members: set[int]) -> None:
    assert set(Nodemask.parse(text)) == members


@pytest.mark.parametrize(("text", "members"), PRINTED.items())
def test_a_set_is_printed_as_the_kernel_does(text: str, members: set[int]) -> None:
    """Ranges for neighbours, also for two; ascending; nothing for nothing."""
    assert str(Nodemask(members)) == text


NO_LISTS = ["-", "1-", "-1", "a", "1,,2", ",1", "1,", "1 2", " 1", "0x1", "1-2-3", "\u00b2", "\u0661", "+1"]


@pytest.mark.parametrize("text", NO_LISTS)
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a list"):
        Nodemask.parse(text)


def test_a_backward_range_is_refused_with_a_remedy() -> None:
    with pytest.raises(ValueError, match="write it as 1-3"):
        Nodemask.parse("3-1")


def test_a_huge_range_is_refused_before_it_is_made() -> None:
    with pytest.raises(ValueError, match="far beyond"):
        Nodemask.parse("0-99999999999999")


@settings(max_examples=50)
@given(SETS)
def test_text_and_set_are_two_forms_of_one_thing(members: frozenset[int]) -> None:
    mask = Nodemask(members)
    assert Nodemask.parse(str(mask)) == mask
    assert list(mask) == sorted(members)
    assert len(mask) == len(members)
    assert bool(mask) == bool(members)
    assert Nodemask.of_bits(sum(1 << nid for nid in members)) == mask


@settings(max_examples=50)
@given(SETS, SETS)
def test_the_algebra_is_that_of_sets(a: frozenset[int], b: frozenset[int]) -> None:
    one, two = Nodemask(a), Nodemask(b)
    assert set(one & two) == a & b
    assert set(one | two) == a | b
    assert set(one - two) == a - b
    assert (one <= two) == (a <= b)
    assert (one == two) == (a == b)
    assert hash(one | two) == hash(two | one)
    assert all((nid in one) == (nid in a) for nid in range(135))


def test_the_empty_set_is_empty() -> None:
    assert not NO_NODES
    assert list(NO_NODES) == []
    assert 0 not in NO_NODES


def test_a_mask_is_no_other_type() -> None:
    assert Nodemask([1]) != {1}
    assert repr(Nodemask([0, 1, 4])) == "Nodemask.parse('0-1,4')"


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("00000000,00000003", [0, 1]),
        ("1,00000000", [32]),
        ("00000010", [4]),
        ("ffffffff,ffffffff", list(range(64))),
    ],
)
def test_a_mask_as_the_kernel_prints_it(text: str, members: list[int]) -> None:
    assert Nodemask.is_mask(text)
    assert list(Nodemask.parse_mask(text)) == members


@pytest.mark.parametrize(("text", "members"), [("", []), ("3", [0, 1]), ("1" + "0" * 16, [64])])
def test_a_mask_where_no_list_can_stand(text: str, members: list[int]) -> None:
    """A group that is alone may have any number of digits, four bits each."""
    assert list(Nodemask.parse_mask(text)) == members


@pytest.mark.parametrize("text", ["1,1", "0x3", "0000000g", "00000001,", "0-3", "000000001,00000001"])
def test_what_is_no_mask(text: str) -> None:
    with pytest.raises(ValueError, match="is no mask"):
        Nodemask.parse_mask(text)


@pytest.mark.parametrize("text", ["0", "0,3", "3", "0-3", "0000001,0", "000000001", ""])
def test_a_list_is_no_mask(text: str) -> None:
    assert not Nodemask.is_mask(text)


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        ("0,,0", "0"), (",0", "0"), ("0,", "0"), ("0 1", "0-1"), (" 0", "0"), ("00", "0"), ("", ""), (",", ""),
        ("0-1:1/2", "0"), ("0-1:1/1", "0-1"), ("0-7:2/4", "0-1,4-5"), ("0-8:2/4", "0-1,4-5,8"), ("3-3", "3"),
    ],
)  # fmt: skip
def test_a_list_as_files_take_it(text: str, listed: str) -> None:
    """Rule 56 of what a 6.1 kernel does; the first that are not of its scenarios follow bitmap_parselist()."""
    assert str(Nodemask.parse_file(text)) == listed


@pytest.mark.parametrize("text", ["all", "N", "0-N", "0:1/2", "3-1", "0-7:5/4", "0-7:1/0", "0x1", "-1", "0-", "1x"])
def test_what_is_no_list_in_a_file(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        Nodemask.parse_file(text)
