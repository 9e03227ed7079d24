"""The history: one row for each command that changed something, with counts instead of lists."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from migratectl.storage import journal
from migratectl.storage.engine import StateFile
from migratectl.storage.work import write
from tests.conftest import Runner


def rows(path: Path) -> list[tuple[Any, ...]]:
    """(argv, profile, return, errno, summary) by id."""
    with closing(sqlite3.connect(path)) as plain:
        found = plain.execute('SELECT argv, profile, "return", errno, summary FROM journal ORDER BY id').fetchall()
    return [(json.loads(argv), *middle, json.loads(summary)) for argv, *middle, summary in found]


def test_each_change_is_a_row(machine: Runner, state: Path) -> None:
    """The words of the command without global options that do not matter for it."""
    before = rows(state)
    assert machine("--json", "migrate-pages", 100, 0, 1, "--timeout", 5).code == 0
    (new,) = rows(state)[len(before) :]
    argv, profile, back, errno, summary = new
    assert argv == ["migrate-pages", "100", "0", "1"]
    assert (profile, back, errno) == ("v9", 0, None)
    assert (summary["moved"], summary["failed"]) == (16, 0)
    assert summary["moves"] == [{"from": 0, "to": 1, "pages": 16}]
    assert summary["nodes"] == [
        {"node": 0, "before": 16, "after": 0, "in": 0, "out": 16, "failed": 0},
        {"node": 1, "before": 0, "after": 16, "in": 16, "out": 0, "failed": 0},
    ]
    assert "nodes" not in before[0][4], "init tells of the machine, which the state has"


NO_CHANGE = [
    "show nodes",
    "show pages 100",
    "check",
    "state hash",
    "numa-maps 100",
    "task list",
    "migrate-pages 100 0 1 --dry-run",
    "migrate-pages 999 0 1",
    "migrate-pages 100 0 7",
    "migrate-pages 100 1 0",
    "fault 100 heap --write",
    "task exit 999",
    "no-such-command",
]


def test_what_changes_nothing_is_no_row(machine: Runner, state: Path) -> None:
    """Looks, dry runs, refused calls, words that are wrong, and calls that find everything as they want it."""
    before = rows(state)
    assert before
    for words in NO_CHANGE:
        machine(*words.split())
        assert rows(state) == before, words


def test_a_call_that_fell_short_is_a_row_with_its_errno(tool: Runner, state: Path) -> None:
    """Checklist 20: pages moved before memory ran out stay moved, so that is history. 12 is ENOMEM."""
    for words in (
        "init --nodes 2 --memory 1000p,5p --profile modern",
        "task create --pid 100 --node 0",
        "mmap 100 16p --label heap",
        "fault 100 heap --write",
    ):
        assert tool(*words.split()).code == 0
    outcome = tool("migrate-pages", 100, 0, 1, "--json")
    assert (outcome.code, outcome.document["committed"]) == (1, True)
    argv, profile, back, errno, summary = rows(state)[-1]
    assert (argv, profile, back, errno) == (["migrate-pages", "100", "0", "1"], "modern", -12, "ENOMEM")
    assert (summary["moved"], summary["failed"]) == (5, 11)


def test_pages_that_stayed_are_counted_by_reason(machine: Runner, state: Path) -> None:
    """Three pages in two runs, pinned; a list of pages is not kept, however long."""
    assert machine("page", "pin", 100, "heap+2p").code == 0
    assert machine("page", "pin", 100, "0x10008000+1p").code == 0
    assert machine("migrate-pages", 100, 0, 1).code == 3
    summary = rows(state)[-1][4]
    assert summary["failures"] == [
        {"pid": 100, "node": 0, "reason": "pinned", "errno": "EAGAIN", "pass": 10, "pages": 3}
    ]
    assert summary["residue"] == {"swapcache": 3, "unmapped": 0}
    assert "skips" not in summary


def test_record_looks_at_what_the_transaction_did(furnished: StateFile) -> None:
    count = "SELECT count(*) FROM journal"
    with furnished.transaction(write=True, dry_run=True) as conn:
        journal.record(conn, ["task", "set"], {"return": 0})
        assert conn.execute(count).scalar_one() == 0
        write(conn, "UPDATE tasks SET name = 'c' WHERE pid = 99")
        journal.record(conn, ["task", "set"], {"return": 0})
        assert conn.execute(count).scalar_one() == 0, "an UPDATE of no row changes nothing"
        write(conn, "UPDATE tasks SET name = 'c' WHERE pid = 10")
        journal.record(conn, ["task", "set"], {"return": 0})
        assert conn.execute(count).scalar_one() == 1


@pytest.mark.parametrize("words", ["task create --pid 7", "mmap 100 4p", "page lock 100 heap", "swap on more 100p"])
def test_machine_actions_are_history_too(machine: Runner, state: Path, words: str) -> None:
    before = rows(state)
    outcome = machine(*words.split())
    assert outcome.code == 0, outcome.err
    assert [row[0] for row in rows(state)[len(before) :]] == [words.split()]
