"""Joining runs: what is joined, what stops it, and that no page changes by it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migratectl.runs import Run
from migratectl.storage import coalesce, pages
from migratectl.storage.connection import Connection
from migratectl.storage.engine import StateFile
from tests.storage.states import Piece, crossing, expanded, lay, pieces, row_ids, shapes

Shape = tuple[int, int, int]


def joined(conn: Connection, laid: list[Piece], touched: list[int] | None = None) -> list[Shape]:
    """Lay pieces, join around the touched ones (all by default), and the rows after; no page may change."""
    rows = [lay(conn, piece) for piece in laid]
    before = expanded(conn)
    coalesce.coalesce(conn, rows if touched is None else [rows[k] for k in touched])
    assert expanded(conn) == before
    return shapes(conn)


JOINED: dict[str, tuple[list[Run], list[Shape]]] = {
    "two neighbours": ([Run(0, 1, 4), Run(4, 1, 4)], [(0, 8, 1)]),
    "a chain in any order": ([Run(6, 1, 2), Run(0, 1, 4), Run(4, 1, 2)], [(0, 8, 1)]),
    "two single pages": ([Run(0, 1, 1), Run(1, 1, 1)], [(0, 2, 1)]),
    "a strided chain": ([Run(0, 3, 2), Run(6, 3, 2)], [(0, 4, 3)]),
    "a single page behind a strided run": ([Run(0, 3, 2), Run(6, 1, 1)], [(0, 3, 3)]),
    "a single page before a strided run": ([Run(0, 1, 1), Run(3, 3, 2)], [(0, 3, 3)]),
    "a single page between two strided runs": ([Run(0, 3, 2), Run(6, 1, 1), Run(9, 3, 2)], [(0, 5, 3)]),
    "a zip of two": ([Run(0, 2, 4), Run(1, 2, 4)], [(0, 8, 1)]),
    "a zip of two, the last class shorter": ([Run(0, 2, 4), Run(1, 2, 3)], [(0, 7, 1)]),
    "a zip of three, two classes shorter": ([Run(0, 3, 3), Run(1, 3, 2), Run(2, 3, 2)], [(0, 7, 1)]),
    "a zip to a smaller step": ([Run(0, 4, 3), Run(2, 4, 3)], [(0, 6, 2)]),
    "a zip whose result joins a neighbour": ([Run(0, 2, 3), Run(1, 2, 3), Run(6, 1, 4)], [(0, 10, 1)]),
    "zips of zips": ([Run(0, 4, 2), Run(2, 4, 2), Run(1, 4, 2), Run(3, 4, 2)], [(0, 8, 1)]),
}
APART: dict[str, tuple[list[Run], list[Shape]]] = {
    "a gap": ([Run(0, 1, 4), Run(5, 1, 4)], [(0, 4, 1), (5, 4, 1)]),
    "steps that differ": ([Run(0, 2, 3), Run(6, 3, 3)], [(0, 3, 2), (6, 3, 3)]),
    "a zip whose upper class is the longer one": ([Run(0, 2, 2), Run(1, 2, 3)], [(0, 2, 2), (1, 3, 2)]),
    "a zip whose counts differ by two": ([Run(0, 2, 5), Run(1, 2, 3)], [(0, 5, 2), (1, 3, 2)]),
    "two of three classes": ([Run(0, 3, 3), Run(1, 3, 3)], [(0, 3, 3), (1, 3, 3)]),
    "classes that are not evenly apart": (
        [Run(0, 6, 2), Run(2, 6, 2), Run(3, 6, 2)],
        [(0, 2, 6), (2, 2, 6), (3, 2, 6)],
    ),
}


@pytest.mark.parametrize(("runs", "wanted"), [*JOINED.values(), *APART.values()], ids=[*JOINED, *APART])
def test_which_runs_become_one(furnished: StateFile, runs: list[Run], wanted: list[Shape]) -> None:
    with furnished.transaction(write=True, dry_run=True) as conn:
        assert joined(conn, [Piece(run) for run in runs]) == wanted


@pytest.mark.parametrize("touched", [0, 1])
@pytest.mark.parametrize(
    "runs",
    [
        [Run(0, 1, 4), Run(4, 1, 4)],
        [Run(0, 3, 3), Run(9, 1, 1)],
        [Run(0, 1, 1), Run(3, 3, 2)],
    ],
    ids=str,
)
def test_one_touched_run_finds_its_neighbour(furnished: StateFile, runs: list[Run], touched: int) -> None:
    """On either side, and a single page also the strided run that it begins."""
    with furnished.transaction(write=True, dry_run=True) as conn:
        assert len(joined(conn, [Piece(run) for run in runs], [touched])) == 1


def test_a_join_goes_on_along_the_chain(furnished: StateFile) -> None:
    """Neighbours of a joined run are looked at again: the first row alone is touched."""
    with furnished.transaction(write=True, dry_run=True) as conn:
        laid = [Piece(Run(at, 1, 4)) for at in range(0, 20, 4)]
        assert joined(conn, laid, [0]) == [(0, 20, 1)]


BASE = Piece(Run(0, 1, 4), child=(1, 0, 0, 0))
DIFFERENT: dict[str, dict[str, Any]] = {
    "node": {"node": 1},
    "swap cache": {"area": 1},
    "flags": {"flags": 1},
    "mappers outside": {"outside": 1},
    "content from elsewhere": {"shift": 7},
    "a lock": {"hold": ("lock", 3, 1)},
    "a pin": {"hold": ("pin", 3, 1)},
    "a pte bit": {"bits": (1, 0, 1, 1)},
    "a pte bit of the other address space": {"child": (1, 1, 0, 0)},
    "not mapped by the other address space": {"child": None},
}


@pytest.mark.parametrize("change", DIFFERENT.values(), ids=DIFFERENT)
def test_what_differs_stays_apart(furnished: StateFile, change: dict[str, Any]) -> None:
    with furnished.transaction(write=True, dry_run=True) as conn:
        other = replace(BASE, run=Run(4, 1, 4), **change)
        assert joined(conn, [BASE, other]) == [(0, 4, 1), (4, 4, 1)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("lock", 3, 1), ("lock", 4, 1)),
        (("pin", 3, 1), ("pin", 3, 2)),
    ],
    ids=["release pass", "number of pins"],
)
def test_holds_that_differ_stop_a_join(
    furnished: StateFile, one: tuple[str, int, int], other: tuple[str, int, int]
) -> None:
    with furnished.transaction(write=True, dry_run=True) as conn:
        assert len(joined(conn, [replace(BASE, hold=one), replace(BASE, run=Run(4, 1, 4), hold=other)])) == 2


def test_content_that_does_not_go_on_stops_a_join(furnished: StateFile) -> None:
    """Both from the other file, but one page is left out between them."""
    with furnished.transaction(write=True, dry_run=True) as conn:
        laid = [replace(BASE, shift=7), replace(BASE, run=Run(4, 1, 4), shift=8)]
        assert len(joined(conn, laid)) == 2


ALIKE: dict[str, dict[str, Any]] = {
    "two address spaces": {},
    "locked alike": {"hold": ("lock", 3, 1)},
    "pinned alike": {"hold": ("pin", 14, 2)},
    "content from elsewhere that goes on": {"shift": 7},
    "swapped out in both": {"node": None, "area": 1, "bits": (0, 0, 0, 0), "child": (0, 0, 0, 0)},
    "a file mapped twice, with buffers": {"file": True, "ring": 4},
}


@pytest.mark.parametrize("same", ALIKE.values(), ids=ALIKE)
def test_what_is_alike_in_everything_is_joined(furnished: StateFile, same: dict[str, Any]) -> None:
    """The holds, ptes and buffers of the joined run stand once."""
    with furnished.transaction(write=True, dry_run=True) as conn:
        one = replace(BASE, **same)
        assert joined(conn, [one, replace(one, run=Run(4, 1, 4))]) == [(0, 8, 1)]


def test_buffers_that_differ_stop_a_join(furnished: StateFile) -> None:
    with furnished.transaction(write=True, dry_run=True) as conn:
        one = Piece(Run(0, 1, 4), file=True, ring=4)
        assert len(joined(conn, [one, replace(one, run=Run(4, 1, 4), ring=0)])) == 2
        assert len(joined(conn, [replace(one, run=Run(20, 1, 4)), replace(one, run=Run(24, 1, 4), ring=8)])) == 4


@pytest.mark.parametrize(
    "runs",
    [
        [Run(36, 1, 4), Run(40, 1, 4)],
        [Run(36, 2, 2), Run(40, 2, 2)],
        [Run(39, 1, 1), Run(42, 3, 2)],
        [Run(36, 3, 2), Run(42, 1, 1)],
        [Run(37, 2, 2), Run(36, 2, 2), Run(40, 2, 3), Run(41, 2, 3)],
    ],
    ids=str,
)
def test_no_run_reaches_over_the_border_of_an_area(furnished: StateFile, runs: list[Run]) -> None:
    """One area ends at 40 and another begins: neighbours by index there are joined on either side, never across."""
    with furnished.transaction(write=True, dry_run=True) as conn:
        shape = joined(conn, [Piece(run) for run in runs])
        assert crossing(conn) == 0
        assert len(shape) == 2


def test_a_border_in_the_other_address_space_counts_too(furnished: StateFile) -> None:
    """The child alone has an area border at page 20."""
    with furnished.transaction(write=True, dry_run=True) as conn:
        conn.execute('UPDATE vmas SET "end" = 20 WHERE mm = 2 AND start = 0')
        conn.execute('INSERT INTO vmas(mm, start, "end", mapping, flags) VALUES (2, 20, 40, 1, 3)')
        shared = replace(BASE, run=Run(16, 1, 4))
        assert len(joined(conn, [shared, replace(shared, run=Run(20, 1, 4))])) == 2


def test_two_contents_of_one_index_are_not_mixed(furnished: StateFile) -> None:
    """After a copy on write the child has a page of its own at an index that the parent has too."""
    with furnished.transaction(write=True, dry_run=True) as conn:
        rows = [lay(conn, Piece(Run(0, 1, 4))), lay(conn, Piece(Run(4, 1, 4)))]
        own = lay(conn, Piece(Run(20, 1, 4)))
        conn.execute("UPDATE pages SET first = 4, origin_first = 4 WHERE id = ?", (own,))
        conn.execute("UPDATE ptes SET mm = 2, addr = 4 WHERE page = ?", (own,))
        before = expanded(conn)
        coalesce.coalesce(conn, [*rows, own])
        assert expanded(conn) == before
        assert shapes(conn) == [(0, 8, 1), (4, 4, 1)]


@settings(max_examples=60)
@given(laid=pieces(), data=st.data())
def test_joining_changes_no_page(furnished: StateFile, laid: list[Piece], data: st.DataObject) -> None:
    """Whatever was cut before; there are never more rows than before the cutting, and a second time joins nothing."""
    with furnished.transaction(write=True, dry_run=True) as conn:
        for piece in laid:
            lay(conn, piece)
        before = expanded(conn)
        for _ in range(data.draw(st.integers(0, 3))):
            row = data.draw(st.sampled_from(row_ids(conn)))
            pages.deal(conn, row, data.draw(st.integers(1, 4)))
        for at in data.draw(st.lists(st.integers(0, 79), max_size=3)):
            pages.cut_address(conn, data.draw(st.sampled_from([1, 2])), at)
        cut = len(row_ids(conn))
        coalesce.coalesce(conn, row_ids(conn))
        assert expanded(conn) == before
        assert crossing(conn) == 0
        after = shapes(conn)
        assert len(after) <= cut
        coalesce.coalesce(conn, row_ids(conn))
        assert shapes(conn) == after


@settings(max_examples=30)
@given(
    run=st.builds(Run, st.integers(0, 9), st.integers(1, 2), st.integers(8, 14)),
    nr=st.integers(2, 4),
    at=st.lists(st.integers(1, 39), max_size=4),
)
def test_cutting_and_joining_gives_the_run_back(furnished: StateFile, run: Run, nr: int, at: list[int]) -> None:
    """A run that was dealt, its classes each of two pages or more, or cut at addresses, is one row again."""
    with furnished.transaction(write=True, dry_run=True) as conn:
        row = lay(conn, Piece(run, child=(1, 0, 0, 0)))
        for border in at:
            pages.cut_address(conn, 1, border)
        coalesce.coalesce(conn, row_ids(conn))
        assert shapes(conn) == [(run.start, run.nr_pages, run.step)]
        pages.deal(conn, row if row in row_ids(conn) else row_ids(conn)[0], nr)
        coalesce.coalesce(conn, row_ids(conn))
        assert shapes(conn) == [(run.start, run.nr_pages, run.step)]


def test_above_the_limit_nothing_is_read(furnished: StateFile) -> None:
    """Touching more rows than LIMIT leaves them as they are."""
    with furnished.transaction(write=True, dry_run=True) as conn:
        rows = [lay(conn, Piece(Run(at, 1, 4))) for at in (0, 4)]
        coalesce.coalesce(conn, [*rows, *range(10**6, 10**6 + coalesce.LIMIT)])
        assert shapes(conn) == [(0, 4, 1), (4, 4, 1)]
        coalesce.coalesce(conn, [])
        assert len(shapes(conn)) == 2
        coalesce.coalesce(conn, [*rows, *range(10**6, 10**6 + coalesce.LIMIT - 2)])
        assert shapes(conn) == [(0, 8, 1)]
