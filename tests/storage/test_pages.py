"""Cutting and dealing runs: the pages, their ptes, holds and buffers stay what they were."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migratectl.runs import Run
from migratectl.storage import pages, resident
from migratectl.storage.connection import Connection
from migratectl.storage.engine import StateFile
from tests.storage.states import ANON, CHILD, MM, Piece, crossing, expanded, lay, pieces, row_ids, shapes

PIECES = pieces()


def ptes_across(conn: Connection, mm: int, at: int) -> int:
    """Ptes of an address space that have pages on both sides of *at*."""
    query = """SELECT count(*) FROM ptes t JOIN pages p ON p.id = t.page
WHERE t.mm = ? AND t.addr < ? AND t.addr + (p.count - 1) * p.step >= ?"""
    return int(conn.execute(query, (mm, at, at)).scalar_one())


@settings(max_examples=30)
@given(laid=PIECES, data=st.data())
def test_a_split_cuts_in_two_and_loses_nothing(furnished: StateFile, laid: list[Piece], data: st.DataObject) -> None:
    with furnished.transaction(write=True, dry_run=True) as conn:
        rows = [lay(conn, piece) for piece in laid]
        before = expanded(conn)
        cuts = [
            (row, data.draw(st.integers(1, piece.run.nr_pages - 1)))
            for row, piece in zip(rows, laid, strict=True)
            if piece.run.nr_pages > 1
        ]
        uppers = pages.split(conn, cuts)
        assert expanded(conn) == before
        assert len(row_ids(conn)) == len(rows) + len(cuts)
        for (row, k), upper in zip(cuts, uppers, strict=True):
            low, high = (
                Run(*conn.execute("SELECT first, step, count FROM pages WHERE id = ?", (page,)).one())
                for page in (row, upper)
            )
            assert low.nr_pages == k
            assert low.last < high.start


def test_an_ordinal_counts_pages_not_addresses(furnished: StateFile) -> None:
    """The run 3, 8, 13, 18 cut at ordinal 1 is 3 and 8, 13, 18; the single page has step 1."""
    with furnished.transaction(write=True, dry_run=True) as conn:
        row = lay(conn, Piece(Run(3, 5, 4)))
        (upper,) = pages.split(conn, [(row, 1)])
        assert upper > row
        assert shapes(conn) == [(3, 1, 1), (8, 3, 5)]


def test_no_cut_is_no_write(furnished: StateFile) -> None:
    with furnished.transaction(write=True, dry_run=True) as conn:
        lay(conn, Piece(Run(3, 5, 4)))
        assert pages.split(conn, []) == []
        assert conn.changed == 0


@settings(max_examples=30)
@given(laid=PIECES, nr=st.integers(1, 9))
def test_a_deal_makes_residue_classes(furnished: StateFile, laid: list[Piece], nr: int) -> None:
    """Class r has the pages r, r + nr, …: as many classes as the run has residues, in their order."""
    with furnished.transaction(write=True, dry_run=True) as conn:
        rows = [lay(conn, piece) for piece in laid]
        before = expanded(conn)
        for row, piece in zip(rows, laid, strict=True):
            dealt = pages.deal(conn, row, nr)
            assert len(dealt) == min(nr, piece.run.nr_pages)
            numbers = sorted(piece.pages())
            for r, page in enumerate(dealt):
                first, step, count = conn.execute("SELECT first, step, count FROM pages WHERE id = ?", (page,)).one()
                assert [first + k * step for k in range(count)] == numbers[r::nr]
        assert expanded(conn) == before


@settings(max_examples=25)
@given(laid=PIECES, mm=st.sampled_from([MM, CHILD]), at=st.integers(0, 245))
def test_no_pte_reaches_over_a_cut(furnished: StateFile, laid: list[Piece], mm: int, at: int) -> None:
    """Also of a file that the task maps twice: the cut of one window may be in the middle of the other."""
    with furnished.transaction(write=True, dry_run=True) as conn:
        for piece in laid:
            lay(conn, piece)
        before = expanded(conn)
        pages.cut_address(conn, mm, at)
        assert ptes_across(conn, mm, at) == 0
        assert crossing(conn) == 0
        assert expanded(conn) == before


def test_a_cut_at_the_border_of_an_area_cuts_nothing(furnished: StateFile) -> None:
    with furnished.transaction(write=True, dry_run=True) as conn:
        lay(conn, Piece(Run(0, 1, 40)))
        lay(conn, Piece(Run(40, 1, 40)))
        pages.cut_address(conn, MM, 40)
        pages.cut_address(conn, MM, 90)
        assert shapes(conn) == [(0, 40, 1), (40, 40, 1)]
        assert conn.changed == 0


def test_row_ids_never_come_back(furnished: StateFile) -> None:
    """Before-images name rows by id: the id of a dropped row is not given to another page."""
    with furnished.transaction(write=True, dry_run=True) as conn:
        first = lay(conn, Piece(Run(0, 1, 4)))
        freed = pages.drop_range(conn, MM, 0, 40)
        assert (freed.nodes, row_ids(conn)) == ({0: -4}, [])
        second = lay(conn, Piece(Run(0, 1, 4)))
        third = pages.lay(conn, MM, ANON, 0, [pages.Laid(Run(10, 1, 2), 0)], flags=0, bits=(1, 1, 1))[0]
        (fourth,) = pages.split(conn, [(third, 1)])
        assert first < second < third < fourth


def test_unmapping_frees_what_nobody_maps_any_more(furnished: StateFile) -> None:
    """A page of two address spaces goes with the second; a pinned page stays, without a pte; slots come back."""
    with furnished.transaction(write=True, dry_run=True) as conn:
        lay(conn, Piece(Run(0, 1, 4), child=(1, 0, 0, 0)))
        lay(conn, Piece(Run(4, 1, 2), node=1, hold=("pin", 14, 1)))
        lay(conn, Piece(Run(6, 1, 3), node=None, area=2, bits=(0, 0, 0, 0)))
        lay(conn, Piece(Run(9, 1, 1), node=1, area=1))
        conn.execute("UPDATE swap_areas SET used = CASE id WHEN 1 THEN 1 ELSE 3 END")
        freed = pages.drop_range(conn, MM, 0, 40)
        assert (freed.nodes, freed.areas) == ({1: -1}, {1: -1, 2: -3})
        assert [row[0] for row in conn.execute("SELECT used FROM swap_areas ORDER BY id")] == [0, 0]
        assert shapes(conn) == [(0, 4, 1), (4, 2, 1)]
        assert pages.drop_range(conn, CHILD, 0, 40).nodes == {0: -4}
        assert shapes(conn) == [(4, 2, 1)]


def test_a_dirty_pte_makes_its_page_dirty_when_it_goes(furnished: StateFile) -> None:
    """semantics.md 1.8; the page of the file stays in the cache."""
    with furnished.transaction(write=True, dry_run=True) as conn:
        lay(conn, Piece(Run(0, 1, 4), file=True, bits=(1, 1, 1, 1)))
        lay(conn, Piece(Run(4, 1, 4), file=True, bits=(1, 1, 0, 1)))
        pages.drop_range(conn, MM, 100, 140)
        found = conn.execute("SELECT first, flags FROM pages ORDER BY first").all()
        assert [tuple(row) for row in found] == [(0, 1), (4, 0)]


def test_present_pages_by_node(furnished: StateFile) -> None:
    """Swapped pages lie on no node; a page in the swap cache that is mapped lies on its own."""
    with furnished.transaction(write=True, dry_run=True) as conn:
        lay(conn, Piece(Run(0, 2, 10), node=1, child=(1, 0, 0, 0)))
        lay(conn, Piece(Run(1, 2, 5), node=0, area=1))
        lay(conn, Piece(Run(30, 1, 5), node=None, area=1, bits=(0, 0, 0, 0)))
        assert resident.by_node(conn, MM) == {0: 5, 1: 10}
        assert resident.by_node(conn, CHILD) == {1: 10}


@pytest.mark.parametrize(("write_access", "wanted"), [(False, (1, 0)), (True, (1, 1))])
def test_touching_sets_young_and_a_write_dirties_writable_ptes(
    furnished: StateFile, write_access: bool, wanted: tuple[int, int]
) -> None:
    with furnished.transaction(write=True, dry_run=True) as conn:
        lay(conn, Piece(Run(0, 1, 4), bits=(1, 0, 0, 1)))
        lay(conn, Piece(Run(4, 1, 4), bits=(1, 0, 0, 0)))
        lay(conn, Piece(Run(8, 1, 4), bits=(0, 0, 0, 0), node=None, area=1))
        pages.touch(conn, MM, 0, 40, write_access=write_access)
        found = conn.execute("SELECT young, dirty FROM ptes ORDER BY addr").all()
        assert [tuple(row) for row in found] == [wanted, (1, 0), (0, 0)]
