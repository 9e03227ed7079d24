"""Nodes, who is next to whom, and which pairs a migration makes (semantics.md 1.1, 3.2, 6.2, 7.2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

COUNTERS = ("numa_hit", "numa_miss", "numa_foreign", "interleave_hit", "local_node", "other_node")


@dataclasses.dataclass
class Node:
    """One node with its memory in pages and its counters (semantics.md 1.1, 7.2)."""

    nid: int
    capacity: int
    cpus: list[int]
    distance: list[int]
    free: int = 0
    online: bool = True
    weight: int = 1
    stat: dict[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))


def fallback_lists(
    distance: Sequence[Sequence[int]], has_cpus: Sequence[bool], left_out: Iterable[int] = (), modern: bool = False
) -> list[list[int]]:
    """
    The zonelist of every node (6.2): distance, headless first among equals, then the load shared by all lists.

    Args:
        distance: The rows of the distance table.
        has_cpus: Whether a node has CPUs.
        left_out: Nodes that are never chosen (`modern`: those without memory). Reading: they bear no load either,
            their own lists are still made, and the counter starts at the number of all nodes.
        modern: The rule of 59: lower nodes count as one further, the scan starts at the lowest, a load is one.
    """
    count, absent = len(distance), set(left_out)
    load = [0] * count
    big = 1_000_000
    lists = []
    for local in range(count):
        chosen = [local]
        counter = count - 1  # starts at N and the choice of the node itself took one off
        before = local
        while len(absent | set(chosen)) < count:
            best, best_value = -1, 0
            for k in range(count):
                n = k if modern else (local + k) % count
                if n in chosen or n in absent:
                    continue
                below = 1 if modern and n < local else 0
                value = (distance[local][n] + (1 if has_cpus[n] else 0) + below) * big + load[n]
                if best < 0 or value < best_value:
                    best, best_value = n, value
            if distance[local][best] != distance[local][before]:
                load[best] += 1 if modern else counter
            counter -= 1
            chosen.append(best)
            before = best
        lists.append([n for n in chosen if n not in absent])
    return lists


def node_pairs(source: Iterable[int], dest: Iterable[int], skip_members: bool) -> list[tuple[int, int]]:
    """The pairs of do_migrate_pages() in their order (3.2); `skip_members`: the rule of `modern` for unequal sets."""
    froms, tos = sorted(set(source)), sorted(set(dest))
    skip = skip_members and len(froms) != len(tos)
    todo = list(froms)
    pairs = []
    while todo:
        pick = None
        for s in todo:
            if skip and s in tos:
                continue
            d = tos[froms.index(s) % len(tos)] if tos else s
            if d == s:
                continue
            pick = (s, d)
            if d not in todo:
                break
        if pick is None:
            break
        todo.remove(pick[0])
        pairs.append(pick)
    return pairs
