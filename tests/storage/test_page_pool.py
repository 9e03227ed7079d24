"""The pages of an object while several tasks lay claim to them."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from migratectl.runs import Run, make_run
from migratectl.storage.page_pool import PagePool, Piece, common_pages

runs = st.builds(make_run, st.integers(0, 60), st.integers(1, 9), st.integers(1, 20))


def members(found: Iterable[Run]) -> set[int]:
    return {page for run in found for page in range(run.start, run.last + 1, run.step)}


@given(runs, runs)
def test_common_pages(a: Run, b: Run) -> None:
    common = common_pages(a, b)
    assert members([common] if common else []) == members([a]) & members([b])


@given(st.lists(runs, min_size=1, max_size=6))
def test_claims(wanted: list[Run]) -> None:
    """Each claim names the pages that an earlier one took, in pieces without others, and the pages that nobody has."""
    pool = PagePool(None, 1)  # type: ignore[arg-type]  # only pages that the state had before are cut by statements
    taken: set[int] = set()
    for run in wanted:
        had, fresh = pool.claim(run)
        assert members(piece.run for piece in had) == members([run]) & taken
        assert members(fresh) == members([run]) - taken
        assert sum(part.nr_pages for part in fresh) == len(members(fresh))
        for part in fresh:
            pool.add(Piece(part, 0, 0, 0))
        taken |= members([run])
        assert members(piece.run for piece in pool.pieces) == taken
        assert sum(piece.run.nr_pages for piece in pool.pieces) == len(taken)
        assert all(piece.run.nr_pages > 1 or piece.run.step == 1 for piece in pool.pieces)
