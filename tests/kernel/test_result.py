"""The document of a migration, as cli.md tells it: what is counted where, and the entries of what stayed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migratectl.kernel.result import MigrateResult, Stayed
from migratectl.runs import Run

PAGE = 4096
PINNED = Stayed(100, 0, "pinned", "EAGAIN", 10)


def test_the_example_of_the_contract() -> None:
    """512 pages on node 0, three of them pinned; the others move to node 1."""
    result = MigrateResult(before={0: 512}, after={0: 3, 1: 509})
    result.nids.add(1)
    result.moves[0, 1] = 509
    result.fail(PINNED, [Run(0x10003, 1, 3)])
    result.passes, result.swapcache = 11, 3
    assert result.document(PAGE) == {
        "return": 3,
        "errno": None,
        "committed": True,
        "moved": 509,
        "moved_twice": 0,
        "swapped": 0,
        "failed": 3,
        "skipped": 0,
        "nodes": [
            {"node": 0, "before": 512, "after": 3, "in": 0, "out": 509, "failed": 3},
            {"node": 1, "before": 0, "after": 509, "in": 509, "out": 0, "failed": 0},
        ],
        "moves": [{"from": 0, "to": 1, "pages": 509}],
        "failures": [
            {
                "pid": 100,
                "addr": "0x10003000",
                "pages": 3,
                "node": 0,
                "reason": "pinned",
                "errno": "EAGAIN",
                "pass": 10,
            }
        ],
        "skips": [],
        "passes": 11,
        "residue": {"swapcache": 3, "unmapped": 0},
        "io": {"written": 0, "read": 0},
    }


def test_a_call_that_ran_out_of_memory_returns_its_errno() -> None:
    """ENOMEM is 12; what moved stays moved and is committed."""
    result = MigrateResult(before={0: 10}, err="ENOMEM")
    result.moves[0, 1] = 4
    result.fail(Stayed(100, 0, "not-tried", "ENOMEM"), [Run(4, 1, 6)])
    document = result.document(PAGE)
    assert (document["return"], document["errno"], document["committed"]) == (-12, "ENOMEM", True)
    assert (document["moved"], document["failed"]) == (4, 6)
    assert document["failures"][0]["pass"] is None


def test_skipped_pages_are_listed_and_not_counted_as_failed() -> None:
    """Checklist 8: the numeric result leaves them out. An entry of a skip has neither errno nor pass."""
    result = MigrateResult(before={0: 3})
    result.skip(Stayed(100, 0, "shared"), [Run(16, 1, 2)])
    result.skip(Stayed(100, None, "reserved-page"), [Run(32, 1, 1)])
    document = result.document(PAGE)
    assert (document["return"], document["failed"], document["skipped"]) == (0, 0, 3)
    assert document["skips"] == [
        {"pid": 100, "addr": "0x20000", "pages": 1, "node": None, "reason": "reserved-page"},
        {"pid": 100, "addr": "0x10000", "pages": 2, "node": 0, "reason": "shared"},
    ]


def test_moves_count_moves() -> None:
    """A page that went 2 > 1 > 2 moved twice, and is where it was."""
    result = MigrateResult(before={2: 1}, after={2: 1}, moved_twice=1)
    result.nids |= {1, 2}
    result.moves |= {(2, 1): 1, (1, 2): 1}
    document = result.document(PAGE)
    assert (document["moved"], document["moved_twice"], document["return"]) == (2, 1, 0)
    assert document["nodes"] == [
        {"node": 1, "before": 0, "after": 0, "in": 1, "out": 1, "failed": 0},
        {"node": 2, "before": 1, "after": 1, "in": 1, "out": 1, "failed": 0},
    ]


def test_nodes_that_were_asked_are_listed_though_nothing_came() -> None:
    result = MigrateResult(before={})
    result.nids |= {3, 1}
    assert [row["node"] for row in result.document(PAGE)["nodes"]] == [1, 3]


def test_one_entry_for_pages_that_failed_in_several_passes() -> None:
    """The pass is the last that saw a page of the entry."""
    result = MigrateResult(before={0: 8})
    result.fail(Stayed(100, 0, "mlocked", "EPERM", 0), [Run(0, 1, 2)])
    result.fail(Stayed(100, 0, "mlocked", "EPERM", 4), [Run(2, 1, 2)])
    result.fail(Stayed(100, 0, "mlocked", "EPERM", 2), [Run(100, 1, 1)])
    (near, far) = result.document(PAGE)["failures"]
    assert (near["addr"], near["pages"], near["pass"]) == ("0x0", 4, 4)
    assert (far["addr"], far["pages"], far["pass"]) == ("0x64000", 1, 2)


def test_entries_go_by_task_node_and_address() -> None:
    result = MigrateResult(before={})
    for pid, node, page in ((200, 0, 1), (100, 1, 1), (100, 0, 9), (100, 0, 2)):
        result.fail(Stayed(pid, node, "pinned", "EAGAIN", 10), [Run(page, 1, 1)])
    result.fail(Stayed(100, 0, "busy-locked", "EAGAIN", 10), [Run(5, 1, 1)])
    found = [(e["pid"], e["node"], e["addr"], e["pages"]) for e in result.document(PAGE)["failures"]]
    assert found == [(100, 0, "0x2000", 2), (100, 0, "0x5000", 1), (100, 1, "0x1000", 1), (200, 0, "0x1000", 1)]


def test_a_strided_entry_tells_its_step() -> None:
    """Neighbours have no ``step``; every eighth page has."""
    result = MigrateResult(before={})
    result.fail(PINNED, [Run(0, 8, 2), Run(16, 8, 1)])
    result.fail(Stayed(100, 0, "busy-locked", "EAGAIN", 10), [Run(1, 1, 2)])
    strided, dense = result.document(PAGE)["failures"]
    assert (strided["pages"], strided["step"]) == (3, 8)
    assert "step" not in dense


@given(st.sets(st.integers(0, 60), min_size=1), st.randoms(use_true_random=False))
def test_entries_do_not_depend_on_how_runs_are_cut(numbers: set[int], rng: Any) -> None:
    """Any cutting of the pages gives the entries of single pages."""
    shuffled = list(numbers)
    rng.shuffle(shuffled)
    single, cut = MigrateResult(before={}), MigrateResult(before={})
    for page in shuffled:
        single.fail(PINNED, [Run(page, 1, 1)])
    ordered = sorted(numbers)
    low = ordered[0]
    while ordered:  # dense stretches, as a second cutting
        nr = 1
        while nr < len(ordered) and ordered[nr] == ordered[0] + nr:
            nr += 1
        cut.fail(PINNED, [Run(ordered[0], 1, nr)])
        ordered = ordered[nr:]
    entries = single.document(PAGE)["failures"]
    assert entries == cut.document(PAGE)["failures"]
    assert entries[0]["addr"] == hex(low * PAGE)
    assert sum(entry["pages"] for entry in entries) == len(numbers)


@pytest.mark.parametrize("page_size", [512, 4096, 65536])
def test_addresses_are_bytes(page_size: int) -> None:
    result = MigrateResult(before={})
    result.fail(PINNED, [Run(16, 1, 1)])
    assert result.document(page_size)["failures"][0]["addr"] == hex(16 * page_size)
