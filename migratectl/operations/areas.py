"""What every call that changes a range of areas does to their borders."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

from migratectl.kernel.mmap import NO_ANON_VMA, AnonVma, anon_vma_prepare, expand_neighbour, vma_merge
from migratectl.storage import coalesce, pages, vmas
from migratectl.storage.connection import Connection
from migratectl.storage.vmas import Vma
from migratectl.uapi import VM

ACCESS = VM.READ | VM.WRITE | VM.EXEC


class Altered(NamedTuple):
    """The part of an area that a call changed, and the area that it is part of when the call is through with it."""

    piece: Vma
    whole: Vma


def carve(conn: Connection, mm: int, start: int, end: int) -> list[Vma]:
    """Cut areas and page runs at both ends of a range; the areas inside it, ascending."""
    for at in (start, end):
        pages.cut_address(conn, mm, at)
        for vma in vmas.overlapping(conn, mm, at, at + 1):
            if vma.start < at:
                vmas.split(conn, vma, at)
    return vmas.overlapping(conn, mm, start, end)


def alter(
    conn: Connection, mm: int, start: int, end: int, change: Callable[[Vma], Vma], *, modern: bool
) -> list[Altered]:
    """
    Change the flags or the policy of a range, area by area; what is as wanted already is not touched.

    Each changed piece joins the neighbours that it equals now, as far as their anon_vmas allow. The page runs are cut
    at both ends and stay so, for rejoin().

    Args:
        conn: The connection of the transaction.
        mm: The address space.
        start: First page of the range.
        end: One past its last page.
        change: The piece with other flags or another policy; one that equals it is left alone.
        modern: The profile is a 6.x kernel.

    Returns:
        What was changed, ascending.

    Source:
        mprotect_fixup(), mlock_fixup(), mbind_range() with vma_merge().
    """
    if start == end:
        return []
    pages.cut_range(conn, mm, start, end)
    altered = []
    for vma in vmas.overlapping(conn, mm, start, end):
        piece = replace(vma, start=max(vma.start, start), end=min(vma.end, end))
        new = change(piece)
        if new == piece:
            continue
        if vma.start < piece.start:
            vmas.split(conn, vma, piece.start)
        if piece.end < vma.end:
            vmas.split(conn, replace(vma, start=piece.start), piece.end)
        vmas.put(conn, new)
        altered.append(Altered(new, _join(conn, new, modern=modern)))
    return altered


def settle(conn: Connection, vma: Vma, *, modern: bool) -> Vma:
    """
    Join a new area with the neighbours that go on with it and have no policy.

    Source:
        expand_neighbour().
    """
    before, behind = _going_on(conn, vma)
    return _joined(conn, (before, vma, behind), expand_neighbour(_known(before), _known(behind), modern=modern))


def _join(conn: Connection, vma: Vma, *, modern: bool) -> Vma:
    """Join an area that was changed with the neighbours that go on with it."""
    before, behind = _going_on(conn, vma)
    merged = vma_merge(_anon_vma(vma), _known(before), _known(behind), modern=modern)
    return _joined(conn, (before, vma, behind), merged)


def prepare_anon_vma(conn: Connection, vma: Vma, *, modern: bool) -> None:
    """
    Give an area an anon_vma before its first anonymous page: that of a neighbour which it may merge with one day.

    Source:
        anon_vma_prepare(); kernel.mmap.
    """
    if vma.anon_vma:
        return
    before, behind = _going_on(conn, vma, whatever=ACCESS)
    last = vmas.last_anon_vma(conn, vma.mm)
    number, forked = anon_vma_prepare(_known(behind), _known(before), last, modern=modern)
    vmas.set_anon_vma(conn, vma, number, forked=forked)


def _going_on(conn: Connection, vma: Vma, whatever: VM = vmas.NOTHING) -> tuple[Vma | None, Vma | None]:
    """The neighbours that are the same area but for the border."""
    before, behind = vmas.neighbours(conn, vma)
    return (
        before if before is not None and before.continues(vma, whatever=whatever) else None,
        behind if behind is not None and vma.continues(behind, whatever=whatever) else None,
    )


def _anon_vma(vma: Vma) -> AnonVma:
    return AnonVma(vma.anon_vma, vma.forked) if vma.anon_vma else NO_ANON_VMA


def _known(vma: Vma | None) -> AnonVma | None:
    return None if vma is None else _anon_vma(vma)


def _joined(conn: Connection, three: tuple[Vma | None, Vma, Vma | None], merged: tuple[bool, bool]) -> Vma:
    """An area with those of its neighbours, before and behind, that it merges with."""
    parts = [part for part, goes in zip(three, (merged[0], True, merged[1]), strict=True) if part is not None and goes]
    return parts[0] if len(parts) == 1 else vmas.join(conn, parts)


def borders(start: int, end: int, altered: Iterable[Altered]) -> set[int]:
    """Where runs may go on again after alter(): the ends of its range, and of every piece."""
    return {start, end}.union(*({piece.start, piece.end} for piece, _ in altered))


def rejoin(conn: Connection, mm: int, borders: Iterable[int]) -> None:
    """Join the runs that area borders no longer keep apart."""
    coalesce.coalesce(conn, pages.rows_around(conn, mm, borders))


def first_hole(conn: Connection, mm: int, start: int, end: int) -> int | None:
    """The lowest page of [start, end) that no area has."""
    at = start
    for vma in vmas.overlapping(conn, mm, start, end):
        if vma.start > at:
            break
        at = vma.end
    return at if at < end else None
