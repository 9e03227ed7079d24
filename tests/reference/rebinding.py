"""What becomes of a policy when its owner may use other nodes (semantics.md 3.6; modern-kernel.md 38, 39)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from .areas import Policy


def mapped(nid: int, old: Iterable[int], new: Iterable[int]) -> int:
    """The node that stands in `new` where `nid` stands in `old`, which wraps; others stay (3.2)."""
    froms, tos = sorted(old), sorted(new)
    return tos[froms.index(nid) % len(tos)] if nid in froms and tos else nid


def folded(asked: Iterable[int], allowed: Iterable[int]) -> set[int]:
    """A relative set within the allowed nodes: the n-th is the (n mod their number)-th."""
    members = sorted(allowed)
    return {members[nid % len(members)] for nid in asked} if members else set()


def rebound(policy: Policy, mems: set[int], modern: bool) -> Policy:
    """The policy once its owner's nodes are `mems`; a set can only shrink."""
    if not policy.nodes or (policy.recorded == mems and not policy.fixed):
        return policy
    if modern and policy.mode in ("preferred", "preferred-many"):
        return dataclasses.replace(policy, recorded=frozenset(mems))
    if "static" in policy.flags:
        return dataclasses.replace(policy, nodes=tuple(sorted(policy.recorded & mems or mems)))
    if "relative" in policy.flags:
        return dataclasses.replace(policy, nodes=tuple(sorted(folded(policy.recorded, mems))))
    nodes = {mapped(nid, policy.recorded, mems) for nid in policy.nodes}
    return dataclasses.replace(policy, nodes=tuple(sorted(nodes)), recorded=frozenset(mems))


def rebind_next(turn: int, old: Policy, new: Policy) -> int:
    """
    The next node of an interleaving task (B15).

    Reading: one that is not in the new set gives way to the lowest of it.
    """
    if turn < 0 or old == new:
        return turn
    there = mapped(turn, old.recorded, new.recorded)
    return there if there in new.nodes else min(new.nodes)
