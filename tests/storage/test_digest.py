"""The hash of a state: the same however runs are cut, another as soon as anything modelled differs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migratectl.runs import Run
from migratectl.storage import coalesce, pages
from migratectl.storage.connection import Connection
from migratectl.storage.digest import BASE, PRIME, geometric_sum, state_hash
from migratectl.storage.engine import StateFile
from tests.storage.states import Piece, expanded, lay, pieces, row_ids


@given(st.integers(0, 50), st.integers(1, 9), st.integers(1, 20))
def test_the_closed_form_is_the_sum(first: int, step: int, count: int) -> None:
    terms = [pow(BASE, first + k * step, PRIME) for k in range(count)]
    assert geometric_sum(first, step, count) == sum(terms) % PRIME


def test_the_modulus_is_a_prime_of_127_bits() -> None:
    """2^127 - 1 is a Mersenne prime; the base is no trivial one."""
    assert PRIME == 2**127 - 1
    assert 1 < BASE < PRIME - 1
    assert geometric_sum(1 << 60, 1 << 20, 1 << 50) < PRIME


def cut_somehow(conn: Connection, data: st.DataObject) -> None:
    """Deal and cut some rows."""
    for _ in range(data.draw(st.integers(1, 4))):
        row = data.draw(st.sampled_from(row_ids(conn)))
        pages.deal(conn, row, data.draw(st.integers(1, 4)))
    for at in data.draw(st.lists(st.integers(0, 245), max_size=4)):
        pages.cut_address(conn, data.draw(st.sampled_from([1, 2])), at)


@settings(max_examples=30)
@given(laid=pieces(), data=st.data())
def test_the_hash_does_not_see_how_runs_are_cut(furnished: StateFile, laid: list[Piece], data: st.DataObject) -> None:
    with furnished.transaction(write=True, dry_run=True) as conn:
        for piece in laid:
            lay(conn, piece)
        before, shape = state_hash(conn), len(row_ids(conn))
        cut_somehow(conn, data)
        assert state_hash(conn) == before
        coalesce.coalesce(conn, row_ids(conn))
        assert state_hash(conn) == before
        assert shape > 0


@settings(max_examples=25)
@given(laid=pieces(), seed=st.randoms(use_true_random=False))
def test_the_hash_does_not_see_row_ids(furnished: StateFile, laid: list[Piece], seed: st.DataObject) -> None:
    """The same pages, laid in another order after others had come and gone."""
    with furnished.transaction(write=True, dry_run=True) as conn:
        for piece in laid:
            lay(conn, piece)
        wanted = state_hash(conn)
    shuffled = list(laid)
    seed.shuffle(shuffled)  # type: ignore[attr-defined]
    with furnished.transaction(write=True, dry_run=True) as conn:
        lay(conn, Piece(Run(0, 1, 40)))
        pages.drop_range(conn, 1, 0, 40)
        for piece in shuffled:
            lay(conn, piece)
        assert state_hash(conn) == wanted


ONE_PAGE = {
    "node": "UPDATE pages SET node = 1 - node WHERE id = {row} AND node IS NOT NULL",
    "flags": "UPDATE pages SET flags = flags + 2 WHERE id = {row}",
    "outside": "UPDATE pages SET outside = outside + 1 WHERE id = {row}",
    "swap area": "UPDATE pages SET area = 2 WHERE id = {row}",
    "parked": "UPDATE pages SET parked = 1 WHERE id = {row}",
    "content": "UPDATE pages SET origin_first = origin_first + 1 WHERE id = {row}",
    "young": "UPDATE ptes SET young = 1 - young WHERE page = {row} AND present",
    "gone": "DELETE FROM ptes WHERE page = {row} AND mm = 1",
    "hold": "INSERT INTO holds(page, pid, kind, passes) VALUES ({row}, 11, 'park', 14)",
}


@settings(max_examples=30)
@given(laid=pieces(), data=st.data(), what=st.sampled_from(sorted(ONE_PAGE)))
def test_the_hash_sees_one_page_that_differs(
    furnished: StateFile, laid: list[Piece], data: st.DataObject, what: str
) -> None:
    """One page is cut out of a run and changed; where that changed nothing, the hash stays."""
    with furnished.transaction(write=True, dry_run=True) as conn:
        for piece in laid:
            lay(conn, piece)
        before, spelt = state_hash(conn), expanded(conn)
        row = data.draw(st.sampled_from(row_ids(conn)))
        count = conn.execute("SELECT count FROM pages WHERE id = ?", (row,)).scalar_one()
        k = data.draw(st.integers(0, count - 1))
        if k:
            (row,) = pages.split(conn, [(row, k)])
        if count - k > 1:
            pages.split(conn, [(row, 1)])
        conn.execute(ONE_PAGE[what].format(row=row))
        assert (state_hash(conn) == before) == (expanded(conn) == spelt)


def test_pages_that_trade_places_are_another_state(furnished: StateFile) -> None:
    """Node 0 and node 1 have as many pages, of as many kinds, as before."""
    with furnished.transaction(write=True, dry_run=True) as conn:
        rows = [lay(conn, Piece(Run(0, 1, 4), node=0)), lay(conn, Piece(Run(4, 1, 4), node=1))]
        before = state_hash(conn)
        for row, node in zip(rows, (1, 0), strict=True):
            conn.execute("UPDATE pages SET node = ? WHERE id = ?", (node, row))
        assert state_hash(conn) != before


SEEN = {
    "profile": "UPDATE facts SET profile = 'modern'",
    "page size": "UPDATE facts SET page_size = 8192",
    "capacity": "UPDATE nodes SET capacity = capacity + 1 WHERE id = 1",
    "memory of others": "UPDATE nodes SET other = 1 WHERE id = 1",
    "cpus": "UPDATE nodes SET cpus = '1-2' WHERE id = 1",
    "online": "UPDATE nodes SET online = 0 WHERE id = 1",
    "a counter": "UPDATE nodes SET numa_hit = 1 WHERE id = 1",
    "a distance": "UPDATE distances SET distance = 21 WHERE source = 0 AND dest = 1",
    "a cpuset's mems": "UPDATE cpusets SET mems = '0'",
    "a task's name": "UPDATE tasks SET name = 'c' WHERE pid = 10",
    "a task's cpu": "UPDATE tasks SET cpu = 1 WHERE pid = 10",
    "a task's capabilities": "UPDATE tasks SET caps = 1 WHERE pid = 10",
    "a new task": "INSERT INTO tasks(pid, name, uid, cpu, cpuset, mm, caps, tgid)"
    " VALUES (12, 'c', 0, 0, 1, NULL, 0, 12)",
    "a thread instead of a task": "UPDATE tasks SET mm = 1 WHERE pid = 11",
    "a word of numa_maps": "INSERT INTO words VALUES (1, 0, 'stack:7')",
    "a label": "INSERT INTO labels VALUES (1, 'heap', 0, 4)",
    "an area's flags": "UPDATE vmas SET flags = 1 WHERE mm = 1 AND start = 0",
    "an area's end": 'UPDATE vmas SET "end" = 39 WHERE mm = 1 AND start = 0',
    "a file's method": "UPDATE mappings SET method = 'none' WHERE id = 3",
    "a swap area's size": "UPDATE swap_areas SET slots = 9999 WHERE id = 1",
}
UNSEEN = {
    "the journal": "INSERT INTO journal(argv, profile, summary, time) VALUES ('[]', 'v9', '{}', 1)",
    "used pages follow from the pages": "UPDATE nodes SET used = 1",
    "used slots follow from the pages": "UPDATE swap_areas SET used = 1",
    "fallback lists follow from the distances": "UPDATE nodes SET zonelist = '1,0'",
    "a policy that nobody has": "INSERT INTO policies(mode, nodes, flags, mems) VALUES ('bind', '0', '', '0')",
    "a snapshot": "INSERT INTO snapshots(name, journal) VALUES ('before', 1)",
}


@pytest.mark.parametrize("statement", SEEN.values(), ids=SEEN)
def test_the_hash_sees_the_small_tables(furnished: StateFile, statement: str) -> None:
    with furnished.transaction(write=True, dry_run=True) as conn:
        before = state_hash(conn)
        conn.execute(statement)
        assert state_hash(conn) != before


@pytest.mark.parametrize("statement", UNSEEN.values(), ids=UNSEEN)
def test_the_hash_leaves_out_what_is_no_state_or_follows_from_it(furnished: StateFile, statement: str) -> None:
    with furnished.transaction(write=True, dry_run=True) as conn:
        before = state_hash(conn)
        assert conn.execute(statement).rowcount > 0
        assert state_hash(conn) == before


def test_policies_are_seen_by_value(furnished: StateFile) -> None:
    """Two rows of one value are the same policy; another value is another."""
    with furnished.transaction(write=True, dry_run=True) as conn:
        conn.execute(
            "INSERT INTO policies(id, mode, nodes, flags, mems) VALUES (1, 'bind', '0', '', '0-1'),"
            " (2, 'bind', '1', '', '0-1'), (3, 'bind', '0', '', '0')"
        )
        found = set()
        for row in (None, 1, 2, 3):
            conn.execute("UPDATE tasks SET policy = ? WHERE pid = 10", (row,))
            found.add(state_hash(conn))
            conn.execute("UPDATE tasks SET policy = NULL")
            conn.execute("UPDATE vmas SET policy = ? WHERE mm = 1 AND start = 0", (row,))
            found.add(state_hash(conn))
            conn.execute("UPDATE vmas SET policy = NULL")
        assert len(found) == 7, "none of either is one state, three of each are six"


def test_two_areas_of_a_file_are_not_one(furnished: StateFile) -> None:
    """The same pages at the same indexes, mapped by one window or by the other."""
    with furnished.transaction(write=True, dry_run=True) as conn:
        row = lay(conn, replace(Piece(Run(0, 1, 4)), file=True))
        conn.execute("DELETE FROM ptes WHERE page = ? AND addr = 200", (row,))
        before = state_hash(conn)
        conn.execute("UPDATE ptes SET addr = 200 WHERE page = ?", (row,))
        assert state_hash(conn) != before
