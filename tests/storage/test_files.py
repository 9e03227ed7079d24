"""Policies of ranges of shared memory objects, against a page-by-page list; the numbers that objects get."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migratectl.nodemask import Nodemask
from migratectl.policy import Policy
from migratectl.storage import files, tasks
from migratectl.storage.engine import StateFile
from migratectl.storage.files import File, PolicyRange
from migratectl.uapi import Mode

SIZE = 30
CALLS = st.lists(
    st.tuples(st.integers(0, SIZE - 1), st.integers(1, SIZE), st.sampled_from([None, 0, 1])), min_size=1, max_size=8
)


def an_object(name: str = "/dev/shm/s", ino: int | None = 1) -> File:
    """An object of tmpfs that is not in the state yet."""
    return File(0, "shm", name, "tmpfs", None, "none", ino, SIZE, 0)


@settings(max_examples=60)
@given(calls=CALLS)
def test_policies_of_ranges(furnished: StateFile, calls: list[tuple[int, int, int | None]]) -> None:
    """A later call counts where it reaches; neighbours with one policy are one range, nothing is left of none."""
    want: list[int | None] = [None] * SIZE
    with furnished.transaction(write=True, dry_run=True) as conn:
        row = files.insert(conn, an_object()).id
        rows = [tasks.intern_policy(conn, Policy(Mode.BIND, Nodemask([nid]))) for nid in (0, 1)]
        for start, nr, number in calls:
            end = min(start + nr, SIZE)
            policy = None if number is None else rows[number]
            files.set_policy(conn, row, (start, end), policy, None)
            want[start:end] = [policy] * (end - start)
        assert [files.policy_at(conn, row, index) for index in range(SIZE)] == want
        found = files.policies(conn, row, 0, SIZE)
        assert all(a.end < b.start or a.policy != b.policy for a, b in itertools.pairwise(found))
        middle = files.policies(conn, row, 10, 20)
        assert middle == [each for each in found if each.start < 20 and each.end > 10]


def test_a_policy_in_the_middle_leaves_both_ends(furnished: StateFile) -> None:
    with furnished.transaction(write=True, dry_run=True) as conn:
        row = files.insert(conn, an_object()).id
        outer, inner = (tasks.intern_policy(conn, Policy(Mode.BIND, Nodemask([nid]))) for nid in (0, 1))
        files.set_policy(conn, row, (0, 10), outer, None)
        files.set_policy(conn, row, (4, 6), inner, None)
        assert files.policies(conn, row, 0, 30) == [
            PolicyRange(0, 4, outer),
            PolicyRange(4, 6, inner),
            PolicyRange(6, 10, outer),
        ]
        files.set_policy(conn, row, (4, 6), outer, None)
        assert files.policies(conn, row, 0, 30) == [PolicyRange(0, 10, outer)]


@pytest.mark.parametrize(("taken", "following"), [([], 1), ([1, 7], 8), ([None], 1)])
def test_an_object_gets_the_next_inode_number(furnished: StateFile, taken: list[int | None], following: int) -> None:
    """Two objects start on different nodes when they interleave (modern-kernel.md 20)."""
    with furnished.transaction(write=True, dry_run=True) as conn:
        for number, ino in enumerate(taken):
            files.insert(conn, an_object(f"/dev/shm/{number}", ino))
        assert files.next_ino(conn) == following
