"""The run that covers a place, found by how far runs reach, is the one that reading all of them finds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migratectl.runs import Run, make_run
from migratectl.storage.engine import StateFile
from migratectl.storage.reach import covering_ptes, covering_rows, reach, reach_of
from tests.storage.states import ANON, MM, Piece, lay

FAR = 1 << 48
RUNS = st.builds(
    make_run,
    st.one_of(st.integers(0, 300), st.integers(0, FAR)),
    st.one_of(st.integers(1, 20), st.integers(1, 1 << 30)),
    st.one_of(st.integers(1, 40), st.integers(1, 1 << 20)),
)


@pytest.mark.parametrize(
    ("run", "far"),
    [(Run(7, 1, 1), 0), (Run(0, 1, 2), 1), (Run(3, 15, 2), 1), (Run(3, 16, 2), 2), (Run(0, 1, 0x10000), 4)],
)
def test_the_reach_counts_hexadecimal_digits(furnished: StateFile, run: Run, far: int) -> None:
    """Between first and last: 1, 0xf, 0x10, 0xffff."""
    assert reach_of(run) == far
    with furnished.transaction(write=False) as conn:
        assert conn.execute(f"SELECT {reach(str(run.nr_pages), str(run.step))}").scalar_one() == far


@settings(max_examples=60)
@given(runs=st.lists(RUNS, max_size=12, unique_by=lambda run: run.start), more=st.lists(st.integers(0, FAR)))
def test_what_covers_a_place_is_found(furnished: StateFile, runs: list[Run], more: list[int]) -> None:
    """At every first and last page, beside them, and anywhere; runs may overlap, as strided ones do."""
    with furnished.transaction(write=True, dry_run=True) as conn:
        rows = {lay(conn, Piece(run)): run for run in runs}
        edges = [at + k for run in runs for at in (run.start, run.last) for k in (-1, 0, 1)]
        for at in [*edges, *more]:
            expected = sorted(row for row, run in rows.items() if run.start < at <= run.last)
            by_address = conn.execute(f"SELECT t.page {covering_ptes('?1', '?2')} ORDER BY 1", (MM, at)).scalars()
            by_index = conn.execute(f"SELECT p.id {covering_rows('?1', '?2')} ORDER BY 1", (ANON, at)).scalars()
            assert by_address == by_index == expected
