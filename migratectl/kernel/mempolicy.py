"""
The policy layer's rules: node maps, the order of node pairs, which nodes a policy lets a fault use.

Models mm/mempolicy.c and bitmap_remap() of lib/bitmap.c.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from migratectl.kernel.page_alloc import Zonelist
from migratectl.nodemask import Nodemask
from migratectl.policy import Policy
from migratectl.uapi import Mode

INTERLEAVING: Final = (Mode.INTERLEAVE, Mode.WEIGHTED_INTERLEAVE)


def node_remap(nid: int, old: Nodemask, new: Nodemask) -> int:
    """
    The node that the rank of *nid* in *old* means in *new*, modulo the size of *new*; nodes outside stay.

    Source:
        node_remap(); bitmap_bitremap() of lib/bitmap.c; semantics.md 3.2.
    """
    if nid not in old or not new:
        return nid
    rank = (old.bits & ((1 << nid) - 1)).bit_count()
    members = list(new)
    return members[rank % len(members)]


def relative_nodes(asked: Nodemask, allowed: Nodemask) -> Nodemask:
    """
    The nodes that a relative set means within the allowed ones: the n-th is the (n mod their number)-th allowed node.

    Source:
        mpol_relative_nodemask() of a 6.x kernel; rule 38 of what it does.
    """
    members = list(allowed)
    return Nodemask(members[nid % len(members)] for nid in asked) if members else Nodemask()


def relative_ranks(nodes: Nodemask, allowed: Nodemask) -> Nodemask:
    """
    A relative set that means *nodes* within the allowed ones: their ranks there, as far as they are allowed.

    Source:
        The inverse of relative_nodes(); of the sets that mean these nodes the one with the lowest numbers.
    """
    return Nodemask(rank for rank, nid in enumerate(allowed) if nid in nodes)


def migration_pairs(source: Nodemask, dest: Nodemask, *, modern: bool = False) -> Iterator[tuple[int, int]]:
    """
    The (source node, destination node) pairs of a set-to-set migration, in the order in which they are moved.

    Args:
        source: Nodes to leave.
        dest: Nodes to go to.
        modern: Leave a source node alone that is also a destination where the sets differ in size.

    Yields:
        Pairs; best are those whose destination is no pending source, else the last mover is taken.

    Source:
        do_migrate_pages(), Direct Migration V9, 4/5; the skip is today's kernel's (semantics.md 3.2, B17).
    """
    todo = list(source)
    skip = modern and len(source) != len(dest)
    while todo:
        picked: tuple[int, int] | None = None
        for nid in todo:
            if skip and nid in dest:
                continue
            target = node_remap(nid, source, dest)
            if target == nid:
                continue
            picked = nid, target
            if target not in todo:
                break
        if picked is None:
            return
        todo.remove(picked[0])
        yield picked


@dataclass(frozen=True, slots=True)
class Choice:
    """
    The nodes that may give pages to a fault.

    Attributes:
        zonelists: One list, or one for each position of an interleave set.
        firsts: For each list the node that hits and misses are counted against.
        interleave: Pages are dealt out by their index modulo the number of lists.
    """

    zonelists: tuple[Zonelist, ...]
    firsts: tuple[int, ...]
    interleave: bool = False


def policy_zonelists(
    policy: Policy | None,
    local: int,
    fallback: Mapping[int, Zonelist],
    allowed: Nodemask,
    *,
    modern: bool,
    weights: Mapping[int, int] | None = None,
) -> Choice:
    """
    What a policy lets the faults of a task use.

    Args:
        policy: The policy that decides, None for the default one.
        local: Node of the faulting CPU.
        fallback: Fallback list of every node.
        allowed: The task's allowed nodes; a list is cut to them.
        modern: Bind prefers the nearest node of its set instead of the lowest id; preferred-many (only here) too, and
            goes on outside of it.
        weights: How many lists in a row weighted interleaving has for a node; 1 where it is not named.

    Returns:
        The lists in order.

    Source:
        alloc_page_vma(), zonelist_policy() and bind_zonelist() of mm/mempolicy.c; semantics.md 6.1, 6.2, 7.2;
        weighted_interleave_nid() of a 6.9 kernel.
    """

    def cut(order: Zonelist) -> tuple[Zonelist, int]:
        inside = tuple(nid for nid in order if nid in allowed)
        return inside, (inside[0] if modern and inside else order[0])

    nodes = policy.nodes if policy else Nodemask()
    if policy and policy.mode is Mode.BIND and nodes & allowed:
        order = tuple(nid for nid in fallback[local] if nid in nodes) if modern else tuple(nodes)
        zonelist, first = cut(order)
        return Choice((zonelist,), (first,))
    if policy and policy.mode is Mode.PREFERRED_MANY and nodes & allowed:
        near = fallback[local]
        zonelist, first = cut((*(nid for nid in near if nid in nodes), *(nid for nid in near if nid not in nodes)))
        return Choice((zonelist,), (first,))
    lists = [cut(fallback[nid]) for nid in turns(policy, fallback, weights or {})]
    if lists:
        return Choice(tuple(z for z, _ in lists), tuple(f for _, f in lists), interleave=True)
    start = next(iter(nodes)) if policy and policy.mode is Mode.PREFERRED and nodes else local
    zonelist, first = cut(fallback.get(start, fallback[local]))
    return Choice((zonelist,), (first,))


def turns(policy: Policy | None, usable: Container[int], weights: Mapping[int, int]) -> list[int]:
    """
    The nodes that interleaving serves one after another, each as often as it weighs; none for other policies.

    Source:
        interleave_nodes() and weighted_interleave_nodes() of mm/mempolicy.c; semantics.md 6.1.
    """
    if policy is None or policy.mode not in INTERLEAVING:
        return []
    weighted = policy.mode is Mode.WEIGHTED_INTERLEAVE
    return [nid for nid in policy.nodes if nid in usable for _ in range(weights.get(nid, 1) if weighted else 1)]
