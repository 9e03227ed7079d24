"""
When neighbouring areas become one, and which anon_vma an area gets at its first anonymous page.

Models the part of mm/mmap.c and mm/rmap.c that looks at anon_vmas; semantics.md 9a (6.6), rule 48 of what a 6.1 kernel
does. That policy, flags, protection and file go on over the border is the caller's to know.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class AnonVma(NamedTuple):
    """
    The anon_vma of an area: a number that areas of one address space share, 0 where it never had an anonymous page.

    ``forked``: it was made by a fork, so that the area's chain has those of its forebears too.
    """

    number: int
    forked: bool = False

    @property
    def alone(self) -> bool:
        """Whether the area's chain has this one and no other."""
        return bool(self.number) and not self.forked


NO_ANON_VMA: Final = AnonVma(0)


def is_mergeable_anon_vma(changed: AnonVma, neighbour: AnonVma, *, modern: bool) -> bool:
    """
    Whether an area that is mapped or changed may join a neighbour.

    Args:
        changed: Of the area that is changed.
        neighbour: Of the one beside it.
        modern: The profile is a 6.x kernel: it spares a neighbour whose chain is not a single one, and a changed area
            with an anon_vma does not join one that has none.

    Source:
        is_mergeable_anon_vma() of mm/mmap.c.
    """
    if modern:
        return changed.number == neighbour.number or (not changed.number and neighbour.alone)
    return not changed.number or not neighbour.number or changed.number == neighbour.number


def vma_merge(changed: AnonVma, before: AnonVma | None, behind: AnonVma | None, *, modern: bool) -> tuple[bool, bool]:
    """
    With which neighbours an area becomes one after a change of its policy, protection or flags.

    Args:
        changed: Of the area that was changed.
        before: Of the area that ends where it starts and equals it; None: there is none.
        behind: Of the area that starts where it ends and equals it.
        modern: As is_mergeable_anon_vma().

    Returns:
        Whether it joins the one before, and the one behind; where the two do not go together, the one before.

    Source:
        vma_merge() of mm/mmap.c.
    """
    first = before is not None and is_mergeable_anon_vma(changed, before, modern=modern)
    second = behind is not None and is_mergeable_anon_vma(changed, behind, modern=modern)
    if first and second and before is not None and behind is not None:
        second = not before.number or not behind.number or before.number == behind.number
    return first, second


def expand_neighbour(before: AnonVma | None, behind: AnonVma | None, *, modern: bool) -> tuple[bool, bool]:
    """
    Which neighbours without a policy a new mapping becomes part of: a 6.x kernel asks the one behind first.

    Args and result: as vma_merge().

    Source:
        mmap_region() of mm/mmap.c, do_mmap_pgoff() under V9.
    """
    if not modern:
        return vma_merge(NO_ANON_VMA, before, behind, modern=False)
    second = behind is not None and is_mergeable_anon_vma(NO_ANON_VMA, behind, modern=True)
    asking = behind if second and behind is not None else NO_ANON_VMA
    return before is not None and is_mergeable_anon_vma(asking, before, modern=True), second


def anon_vma_prepare(behind: AnonVma | None, before: AnonVma | None, last: int, *, modern: bool) -> AnonVma:
    """
    The anon_vma of an area that is about to get its first anonymous page.

    Args:
        behind: Of the next area, where the two could be one but for their protection.
        before: Of the previous one, likewise.
        last: The highest number in the address space.
        modern: A 6.x kernel does not share one that a fork has made.

    Source:
        find_mergeable_anon_vma() of mm/mmap.c, anon_vma_prepare() of mm/rmap.c.
    """
    for near in (behind, before):
        if near is not None and near.number and (near.alone or not modern):
            return near
    return AnonVma(last + 1)
