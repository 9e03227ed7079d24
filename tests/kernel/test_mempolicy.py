"""Node maps and pairs (semantics.md 3.2); the lists that a policy lets a fault use (6.1, 6.2, modern-kernel.md 38)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migratectl.kernel.mempolicy import (
    Choice,
    migration_pairs,
    node_remap,
    policy_zonelists,
)
from migratectl.nodemask import Nodemask
from migratectl.policy import Policy
from migratectl.uapi import Mode

# (row, from, to, map of the nodes that move or stay, V9's order, final place where it is not the map)
PAIRS = [
    (1, "0", "1", "0:1", "0>1", None),
    (2, "0-1", "2-3", "0:2 1:3", "0>2 1>3", None),
    (3, "0-1", "1-2", "0:1 1:2", "1>2 0>1", None),
    (4, "0-2", "1-3", "0:1 1:2 2:3", "2>3 1>2 0>1", None),
    (5, "1-3", "0-2", "1:0 2:1 3:2", "1>0 2>1 3>2", None),
    (6, "0-1", "0-1", "0:0 1:1", "", None),
    (7, "2-5", "7,9,12-13", "2:7 3:9 4:12 5:13", "2>7 3>9 4>12 5>13", None),
    (8, "0-3", "4-5", "0:4 1:5 2:4 3:5", "0>4 1>5 2>4 3>5", None),
    (9, "0-1", "4-7", "0:4 1:5", "0>4 1>5", None),
    (10, "0-3", "0-1", "0:0 1:1 2:0 3:1", "3>1 2>0", None),
    (11, "0-3", "2-3", "0:2 1:3 2:2 3:3", "1>3 0>2", None),
    (12, "0,2,4", "1-3", "0:1 2:2 4:3", "0>1 4>3", None),
    (13, "0-2", "1-2", "0:1 1:2 2:1", "2>1 1>2 0>1", "0:1 1:2 2:2"),
    (14, "1-3", "2-3", "1:2 2:3 3:2", "3>2 2>3 1>2", "1:2 2:3 3:3"),
    (15, "0-2", "0,2", "0:0 1:2 2:0", "2>0 1>2", None),
    (16, "0-3", "1,3", "0:1 1:3 2:1 3:3", "2>1 1>3 0>1", "0:1 1:3 2:3 3:3"),
    (17, "0-7", "3-5", "0:3 1:4 2:5 3:3 4:4 5:5 6:3 7:4", "7>4 6>3 2>5 1>4 0>3", None),
    (18, "0-1", "", "0:0 1:1", "", None),
]
ROWS = [pytest.param(*row, id=f"row {row[0]}: {row[1]} to {row[2] or 'nothing'}") for row in PAIRS]


def arrows(text: str, sign: str) -> list[tuple[int, int]]:
    """``0>1 2>3`` as pairs."""
    return [(int(left), int(right)) for left, right in (word.split(sign) for word in text.split())]


def final_place(nid: int, pairs: list[tuple[int, int]]) -> int:
    """Where the pages that start on a node are after all pairs, done one after the other."""
    for source, dest in pairs:
        if nid == source:
            nid = dest
    return nid


@pytest.mark.parametrize(("row", "source", "dest", "mapped", "order", "final"), ROWS)
def test_node_pairs_of_v9(row: int, source: str, dest: str, mapped: str, order: str, final: str | None) -> None:
    """The map, the order in which pairs are moved, and where the pages of each node end."""
    old, new = Nodemask.parse(source), Nodemask.parse(dest)
    assert [(nid, node_remap(nid, old, new)) for nid in old] == arrows(mapped, ":"), row
    pairs = list(migration_pairs(old, new))
    assert pairs == arrows(order, ">")
    assert [(nid, final_place(nid, pairs)) for nid in old] == arrows(final or mapped, ":")


SKIP = {
    (13, "0-2", "1-2"): "0>1",
    (14, "1-3", "2-3"): "1>2",
    (15, "0-2", "0,2"): "1>2",
    (16, "0-3", "1,3"): "2>1 0>1",
}


@pytest.mark.parametrize(("row", "order"), SKIP.items(), ids=lambda item: f"row {item[0]}" if item[0] else None)
def test_the_modern_kernel_leaves_nodes_of_both_sets_alone(row: tuple[int, str, str], order: str) -> None:
    """Where the sets differ in size; rows 13 to 16, after which nothing moves twice."""
    old, new = Nodemask.parse(row[1]), Nodemask.parse(row[2])
    pairs = list(migration_pairs(old, new, modern=True))
    assert pairs == arrows(order, ">")
    assert not {dest for _, dest in pairs} & {source for source, _ in pairs}


@pytest.mark.parametrize("row", [row for row in PAIRS if row[0] not in {r for r, *_ in SKIP}], ids=lambda row: row[0])
def test_the_modern_skip_changes_no_other_row(row: tuple[int, str, str, str, str, str | None]) -> None:
    """Equal sizes have no skip; in the others a node of both sets maps to itself already (rows 10 to 12, 17)."""
    old, new = Nodemask.parse(row[1]), Nodemask.parse(row[2])
    assert list(migration_pairs(old, new, modern=True)) == arrows(row[4], ">")


def test_one_node_to_many_that_hold_it_moves_nothing_under_modern() -> None:
    """modern-kernel.md 2: [3] to [0,1,2,3]: 2006 moves 3 to 0, 6.1 moves nothing."""
    assert list(migration_pairs(Nodemask([3]), Nodemask(range(4)))) == [(3, 0)]
    assert list(migration_pairs(Nodemask([3]), Nodemask(range(4)), modern=True)) == []


MASKS = st.frozensets(st.integers(0, 9)).map(Nodemask)


@settings(max_examples=50)
@given(MASKS, MASKS, st.booleans())
def test_every_source_moves_at_most_once_and_as_mapped(old: Nodemask, new: Nodemask, modern: bool) -> None:
    pairs = list(migration_pairs(old, new, modern=modern))
    sources = [source for source, _ in pairs]
    assert len(set(sources)) == len(sources)
    assert all(node_remap(source, old, new) == dest != source for source, dest in pairs)
    expected = {nid for nid in old if node_remap(nid, old, new) != nid}
    assert set(sources) == {nid for nid in expected if not (modern and len(old) != len(new) and nid in new)}


@settings(max_examples=50)
@given(st.integers(1, 8), st.permutations(range(10)), st.permutations(range(10)))
def test_equal_sizes_never_move_a_page_twice(size: int, some: list[int], others: list[int]) -> None:
    """The map is monotone then, so there are no cycles."""
    old, new = Nodemask(some[:size]), Nodemask(others[:size])
    pairs = list(migration_pairs(old, new))
    assert [final_place(nid, pairs) for nid in old] == list(new)


@pytest.mark.parametrize(
    ("nid", "old", "new", "wanted"),
    [
        (5, "0-1", "2-3", 5),  # not in the set: stays
        (1, "0-1", "", 1),  # nothing to go to: stays
        (1, "0-3", "4-7", 5),
        (3, "0-3", "4-5", 5),  # rank 3 modulo 2
        (9, "1,5,9", "0,2", 0),  # rank 2 modulo 2
    ],
)
def test_node_remap(nid: int, old: str, new: str, wanted: int) -> None:
    assert node_remap(nid, Nodemask.parse(old), Nodemask.parse(new)) == wanted


# ---- what a policy lets a fault use --------------------------------------------------------------------------------

FALLBACK = {0: (0, 1, 2, 3), 1: (1, 0, 3, 2), 2: (2, 3, 0, 1), 3: (3, 2, 1, 0)}
"""Two pairs: 20 inside {0,1} and {2,3}, else 40 (semantics.md 6.2)."""


def policy(mode: Mode, nodes: str) -> Policy:
    """A policy over those nodes."""
    return Policy(mode, Nodemask.parse(nodes))


def single(*zonelist: int, first: int | None = None) -> Choice:
    """One list; hits and misses count against its head unless said otherwise."""
    return Choice((zonelist,), (zonelist[0] if first is None else first,))


def interleaved(*lists: tuple[int, ...], firsts: tuple[int, ...] | None = None) -> Choice:
    """A list a position."""
    return Choice(lists, firsts or tuple(zonelist[0] for zonelist in lists), interleave=True)


BOTH = {
    "default: the node of the cpu and its fallback list": (None, 2, "0-3", single(2, 3, 0, 1)),
    "preferred local": (policy(Mode.PREFERRED, ""), 1, "0-3", single(1, 0, 3, 2)),
    "local": (policy(Mode.LOCAL, ""), 3, "0-3", single(3, 2, 1, 0)),
    "preferred n: n and its fallback list": (policy(Mode.PREFERRED, "3"), 0, "0-3", single(3, 2, 1, 0)),
    "preferred keeps the lowest of its set": (policy(Mode.PREFERRED, "1,3"), 2, "0-3", single(1, 0, 3, 2)),
    "default cut to the cpuset": (None, 0, "0,2", single(0, 2)),
    "bind with no node allowed: default": (policy(Mode.BIND, "2-3"), 0, "0-1", single(0, 1)),
    "interleave: a list a position": (
        policy(Mode.INTERLEAVE, "1,2"),
        0,
        "0-3",
        interleaved((1, 0, 3, 2), (2, 3, 0, 1)),
    ),
    "interleave ignores the node of the cpu": (
        policy(Mode.INTERLEAVE, "0"),
        3,
        "0-3",
        interleaved((0, 1, 2, 3)),
    ),
}


@pytest.mark.parametrize("modern", [False, True], ids=["v9", "modern"])
@pytest.mark.parametrize(("chosen", "local", "allowed", "wanted"), BOTH.values(), ids=BOTH)
def test_lists_of_both_profiles(chosen: Policy | None, local: int, allowed: str, wanted: Choice, modern: bool) -> None:
    assert policy_zonelists(chosen, local, FALLBACK, Nodemask.parse(allowed), modern=modern) == wanted


@pytest.mark.parametrize(
    ("nodes", "local", "v9", "modern"),
    [
        ("1,3", 2, (1, 3), (3, 1)),
        ("0-3", 2, (0, 1, 2, 3), (2, 3, 0, 1)),
        ("0,3", 1, (0, 3), (0, 3)),
        ("2-3", 0, (2, 3), (2, 3)),
    ],
)
def test_bind_goes_by_id_in_2006_and_by_distance_today(
    nodes: str, local: int, v9: tuple[int, ...], modern: tuple[int, ...]
) -> None:
    """Never outside of the set, whatever the profile."""
    everything = Nodemask(range(4))
    bind = policy(Mode.BIND, nodes)
    assert policy_zonelists(bind, local, FALLBACK, everything, modern=False) == single(*v9)
    assert policy_zonelists(bind, local, FALLBACK, everything, modern=True) == single(*modern)


def test_bind_is_cut_to_the_cpuset() -> None:
    """V9 counts against the head of the list as bind made it, today's kernel against the first node it may use."""
    bind = policy(Mode.BIND, "0-2")
    assert policy_zonelists(bind, 0, FALLBACK, Nodemask([1, 2]), modern=False) == single(1, 2, first=0)
    assert policy_zonelists(bind, 0, FALLBACK, Nodemask([1, 2]), modern=True) == single(1, 2)


def test_preferred_outside_the_cpuset_falls_to_the_nearest_inside() -> None:
    """modern-kernel.md 38: the first allowed node on the PREFERRED node's list, not on the CPU's."""
    preferred = policy(Mode.PREFERRED, "3")
    assert policy_zonelists(preferred, 0, FALLBACK, Nodemask([0, 1]), modern=True) == single(1, 0)
    assert policy_zonelists(preferred, 0, FALLBACK, Nodemask([0, 1]), modern=False) == single(1, 0, first=3)


def test_a_node_without_a_list_is_as_if_it_were_not_there() -> None:
    """An offline node has no fallback list: interleaving goes over the rest, preferring it means local."""
    assert policy_zonelists(policy(Mode.INTERLEAVE, "1,7"), 0, FALLBACK, Nodemask(range(4)), modern=False) == (
        interleaved((1, 0, 3, 2))
    )
    assert policy_zonelists(policy(Mode.PREFERRED, "7"), 2, FALLBACK, Nodemask(range(4)), modern=False) == (
        single(2, 3, 0, 1)
    )
