"""What every call that changes a range of areas does to their borders."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from migratectl.storage import coalesce, pages, vmas
from migratectl.storage.vmas import Vma


def carve(conn: Connection, mm: int, start: int, end: int) -> list[Vma]:
    """Cut areas and page runs at both ends of a range; the areas inside it, ascending."""
    for at in (start, end):
        pages.cut_address(conn, mm, at)
        for vma in vmas.overlapping(conn, mm, at, at + 1):
            if vma.start < at:
                vmas.split(conn, vma, at)
    return vmas.overlapping(conn, mm, start, end)


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
