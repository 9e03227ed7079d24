"""
Cpusets: what a change of their nodes has to satisfy, and what it does to policies.

Models kernel/cpuset.c and the rebinding of mm/mempolicy.c; semantics.md 3.6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from migratectl.kernel.mempolicy import node_remap, relative_nodes
from migratectl.nodemask import Nodemask
from migratectl.policy import Policy
from migratectl.uapi import Mode, ModeFlag


class Family(NamedTuple):
    """The nodes, or the CPUs, of the cpusets around one: of its parent, its children and its exclusive siblings."""

    parent: Nodemask
    children: Sequence[Nodemask]
    exclusive: Sequence[Nodemask]


def refuse_change(new: Nodemask, around: Family, *, tasks: int, modern: bool, emptied: bool = True) -> str | None:
    """
    Why a cpuset may not get other nodes or CPUs, or become exclusive with those that it has.

    Args:
        new: What it is to have.
        around: What the others have; the exclusive siblings, or all of them where it is exclusive itself.
        tasks: How many tasks are in it.
        modern: Only a cpuset with tasks must not be emptied, and that is asked last.
        emptied: Whether it is these that are written: a switch does not ask if there are any.

    Returns:
        An errno name in the order of the checks, or None.

    Source:
        update_nodemask() and validate_change() of kernel/cpuset.c; semantics.md 3.6, rule 41 of what a 6.1 kernel does.
    """
    if not new and emptied and not modern:
        return "ENOSPC"
    if not all(child <= new for child in around.children):
        return "EBUSY"
    if not new <= around.parent:
        return "EACCES"
    if any(new & sibling for sibling in around.exclusive):
        return "EINVAL"
    return "ENOSPC" if not new and emptied and tasks else None


_KEEP_THEIR_NODE: Final = (Mode.PREFERRED, Mode.PREFERRED_MANY)


def rebind(policy: Policy, mems: Nodemask, *, modern: bool) -> Policy:
    """
    A policy after its owner's allowed nodes became *mems*.

    Sets are mapped rank by rank from the nodes recorded in the policy, and can only shrink; a static set is cut to what
    the user named, or becomes all of *mems*; a relative one is folded into it. ``modern`` leaves a preferred node
    where it is.

    Source:
        mpol_rebind_policy() of mm/mempolicy.c; semantics.md 3.6, rules 38 and 39 of what a 6.1 kernel does.
    """
    if policy.mode in (Mode.DEFAULT, Mode.LOCAL):
        return policy
    if not policy.fixed and policy.mems == mems:
        return policy
    if modern and policy.mode in _KEEP_THEIR_NODE:
        return replace(policy, mems=mems)
    if ModeFlag.STATIC in policy.flags:
        return replace(policy, nodes=policy.mems & mems or mems)
    if ModeFlag.RELATIVE in policy.flags:
        return replace(policy, nodes=relative_nodes(policy.mems, mems))
    nodes = Nodemask(node_remap(nid, policy.mems, mems) for nid in policy.nodes)
    return replace(policy, nodes=nodes, mems=mems)


def rebind_next(il_next: int | None, old: Policy, new: Policy) -> int | None:
    """
    The next node of an interleaving task after rebind(): the rank that it had (B15).

    Source:
        mpol_rebind_policy(), as intended.
    """
    if il_next is None or not new.nodes:
        return il_next
    moved = node_remap(il_next, old.mems, new.mems)
    return moved if moved in new.nodes else next(iter(new.nodes))
