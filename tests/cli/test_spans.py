"""Sizes, addresses, ranges and node lists of the command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migratectl.nodemask import Nodemask
from migratectl.spans import (
    LARGEST_ID,
    NodeList,
    Place,
    Size,
    Span,
    parse_address,
    parse_label,
    parse_nodes,
    parse_size,
    parse_span,
)


@pytest.mark.parametrize(
    ("text", "size", "in_bytes"),
    [
        ("64p", Size(64, "p"), 64 * 4096),
        ("0", Size(0), 0),
        ("0p", Size(0, "p"), 0),
        ("4096", Size(4096), 4096),
        ("256K", Size(256 * 1024), 262144),
        ("3M", Size(3 * 1024**2), 3145728),
        ("4G", Size(4 * 1024**3), 4294967296),
        ("1T", Size(1024**4), 1099511627776),
        ("64k", Size(65536), 65536),
        ("64m", Size(64 << 20), 67108864),
        ("64MiB", Size(64 << 20), 67108864),
        ("64kB", Size(65536), 65536),
        ("1.5G", Size(3 << 29), 1610612736),
        ("0.5k", Size(512), 512),
        ("0.125K", Size(128), 128),
        ("2.0g", Size(2 << 30), 2147483648),
        ("1tib", Size(1 << 40), 1 << 40),
        ("64Mi", Size(64 << 20), 67108864),
    ],
)
def test_sizes(text: str, size: Size, in_bytes: int) -> None:
    assert parse_size(text) == size
    assert parse_size(text).to_bytes(4096) == in_bytes


def test_pages_follow_the_page_size() -> None:
    assert Size(3, "p").to_bytes(16384) == 49152
    assert Size(3).to_bytes(16384) == 3


NO_SIZES = (
    "", "p", "-1", "64 p", "1Q", "1pp", "٣p", "1e3", "0x10", "9" * 5000, "17179869185G", "1.5", "1.5p", "1.G", ".5G",
    "1.3G", "1.0001K", "64B", "64P", "1,5G", "1.5.5G",
)  # fmt: skip


@pytest.mark.parametrize("text", NO_SIZES)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a size|64-bit|no whole number"):
        parse_size(text)


def test_addresses_have_64_bits() -> None:
    assert parse_address("0xffffffffffffffff") == 2**64 - 1
    assert parse_address("0X1F") == 31
    with pytest.raises(ValueError, match="beyond the 64-bit"):
        parse_address("0x10000000000000000")


def test_an_address_may_be_a_label() -> None:
    assert parse_address("heap") == Place("heap")
    assert parse_address("my-heap@2p") == Place("my-heap", Size(2, "p"))
    assert parse_address("[stack]@1.5k") == Place("[stack]", Size(1536))
    assert [str(parse_address(text)) for text in ("heap", "heap@2p")] == ["heap", "heap@2p"]


@pytest.mark.parametrize("text", ["10", "0x", "0xg", "-0x10", "", "0x1_0", "0x10 ", "a b", "heap@", "@2p"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"write it in hex|not a size"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("0x10000000+64p", Span(address=0x10000000, length=Size(64, "p"))),
        ("0x10000001+256K", Span(address=0x10000001, length=Size(262144))),
        ("0x10000000-0x10040000", Span(address=0x10000000, end=0x10040000)),
        ("0x1000-0x1000", Span(address=0x1000, end=0x1000)),
        ("0x1000-0x10000000000000000", Span(address=0x1000, end=2**64)),
        ("0x1000+0", Span(address=0x1000, length=Size(0))),
        ("heap", Span(label="heap")),
        ("my-heap", Span(label="my-heap")),
        ("heap+16p", Span(label="heap", length=Size(16, "p"))),
        ("heap+16p@8p", Span(label="heap", length=Size(16, "p"), offset=Size(8, "p"))),
    ],
)
def test_ranges(text: str, span: Span) -> None:
    assert parse_span(text) == span


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0x2000-0x1000", "backwards"),
        ("0x1000", "no length"),
        ("4096+1p", "in hex"),
        ("0x1000+", "not a size"),
        ("0x1000-", "in hex"),
        ("heap@8p", "LABEL"),
        ("heap+", "not a size"),
        ("heap+1p@", "not a size"),
        ("", "not a range"),
        ("+1p", "not a range"),
        ("he ap", "not a range"),
        ("0x10000000000000000+1p", "beyond the 64-bit"),
        ("0x0-0x10000000000000001", "beyond the 64-bit"),
    ],
)
def test_what_is_no_range(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_span(text)


@pytest.mark.parametrize("text", ["0x10", "1st", "a+b", "a@b", "a b", "", "a=b"])
def test_labels_that_a_range_could_not_name(text: str) -> None:
    with pytest.raises(ValueError, match="cannot name an area"):
        parse_label(text)


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("0-3,8", NodeList(Nodemask((0, 1, 2, 3, 8)))),
        ("8,0,0-1", NodeList(Nodemask((0, 1, 8)))),
        ("all", NodeList(all=True)),
        ("none", NodeList()),
        ("All", NodeList(all=True)),
        ("NONE", NodeList()),
        ("!0-1", NodeList(Nodemask((0, 1)), inverted=True)),
        ("+0-1", NodeList(Nodemask((0, 1)), relative=True)),
        ("007", NodeList(Nodemask((7,)))),
        ("1024", NodeList(Nodemask((1024,)))),
        ("9" * 5000, NodeList(Nodemask((LARGEST_ID,)))),
    ],
)
def test_node_lists(text: str, nodes: NodeList) -> None:
    assert parse_nodes(text) == nodes


@pytest.mark.parametrize(
    "text", ["5-2", "0,,1", "1x", "", "!", "+", "!!1", "1-", "-1", "all,1", "1 2", "9" * 30 + "-1", "٣"]
)
def test_what_is_no_node_list(text: str) -> None:
    with pytest.raises(ValueError, match=r"backwards|not a node list"):
        parse_nodes(text)


@given(st.sets(st.integers(0, 1500), min_size=1))
def test_a_printed_set_reads_back(ids: set[int]) -> None:
    nodes = NodeList(Nodemask(ids))
    assert parse_nodes(str(nodes)) == nodes
    assert parse_nodes(f"!{nodes}") == NodeList(Nodemask(ids), inverted=True)


@given(
    st.builds(
        Span, address=st.integers(0, 2**64 - 1), length=st.builds(Size, st.integers(0, 2**52), st.sampled_from("pB"))
    )
    | st.builds(
        Span,
        label=st.sampled_from(["heap", "a-b", "[stack]"]),
        length=st.builds(Size, st.integers(0, 99), st.just("p")),
    )
)
def test_a_printed_range_reads_back(span: Span) -> None:
    assert parse_span(str(span)) == span
