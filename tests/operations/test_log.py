"""The history as ``log`` and ``log show`` tell it."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Runner

CALLS = ["init", "task create", "mmap", "fault"]
"""What made the state of the fixture."""


def entries(machine: Runner, *words: object) -> list[dict[str, Any]]:
    """The entries that ``log`` lists."""
    outcome = machine("log", "--json", *words)
    assert outcome.code == 0
    found: list[dict[str, Any]] = outcome.document["entries"]
    return found


def test_every_change_is_listed_oldest_first(machine: Runner) -> None:
    listed = entries(machine)
    assert [entry["entry"] for entry in listed] == [1, 2, 3, 4]
    assert [" ".join(entry["argv"]).startswith(call) for entry, call in zip(listed, CALLS, strict=True)] == [True] * 4
    assert all(entry["moved"] is None for entry in listed)


def test_what_changed_nothing_is_not_listed(machine: Runner) -> None:
    for words in ("show nodes", "migrate-pages 999 0 1", "migrate-pages 100 0 1 --dry-run", "log"):
        machine(*words.split())
    assert len(entries(machine)) == len(CALLS)


@pytest.mark.parametrize(("last", "numbers"), [(1, [4]), (3, [2, 3, 4]), (4, [1, 2, 3, 4]), (99, [1, 2, 3, 4])])
def test_last_takes_the_newest_and_keeps_the_order(machine: Runner, last: int, numbers: list[int]) -> None:
    assert [entry["entry"] for entry in entries(machine, "--last", last)] == numbers


@pytest.mark.parametrize("words", ["log --last 0", "log --last -1", "log --last x", "log show", "log show x", "log 4"])
def test_words_that_are_wrong(machine: Runner, words: str) -> None:
    outcome = machine(*words.split())
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("words", ["log --last 2 show 4", "log --time show 4", "--json log --time show 4"])
def test_options_of_the_list_do_not_go_with_an_entry(machine: Runner, words: str) -> None:
    outcome = machine(*words.split())
    assert outcome.code == 2
    assert "log show N" in outcome.err


def test_an_entry_tells_what_the_command_told(machine: Runner) -> None:
    """All but its lists of pages: pages that stayed are by reason, node, errno and pass."""
    machine("page", "pin", 100, "heap+2p")
    machine("page", "pin", 100, "heap+1p@8p")
    told = machine("migrate-pages", 100, 0, 1, "--json").document
    shown = machine("log", "show", 7, "--json").document
    assert (shown["entry"], shown["argv"]) == (7, ["migrate-pages", "100", "0", "1"])
    result = shown["result"]
    kept = ("profile", "return", "errno", "committed", "moved", "failed", "passes", "residue", "nodes", "moves")
    assert {key: result[key] for key in kept} == {key: told[key] for key in kept}
    assert result["failures"] == [
        {"pid": 100, "node": 0, "reason": "pinned", "errno": "EAGAIN", "pass": 10, "pages": 3}
    ]
    assert shown["errno"] is None, "that call's errno is not this one's"


def test_a_call_that_fell_short_is_shown_without_failing(tool: Runner) -> None:
    """ENOMEM half-way: 5 of 16 pages have moved, and the look at it is exit 0."""
    for words in (
        "init --nodes 2 --memory 1000p,5p --profile modern",
        "task create --pid 100 --node 0",
        "mmap 100 16p --label heap",
        "fault 100 heap --write",
    ):
        assert tool(*words.split()).code == 0
    assert tool("migrate-pages", 100, 0, 1).code == 1
    outcome = tool("log", "show", 5)
    assert outcome.code == 0
    assert "errno ENOMEM" in outcome.out
    assert "moved 5, failed 11" in outcome.out
    listed = tool("log", "--last", 1)
    assert (listed.code, listed.out.splitlines()[1].split()[-4:]) == (0, ["ENOMEM", "5", "11", "0"])


def test_a_fault_that_stopped_tells_where(machine: Runner) -> None:
    """Two of four pages are mapped; the fault of the third is SIGSEGV, and what came before is done."""
    machine("mmap", 100, "2p", "--addr", "0x20000000")
    assert machine("fault", 100, "0x20000000+4p", "--write").code == 1
    shown = machine("log", "show", 6).out
    assert "stopped at 0x20002000 (SIGSEGV)\nfaults: anonymous 2\n" in shown


@pytest.mark.parametrize("number", [0, 5, 2**31 - 1])
def test_an_unknown_entry_is_ENOENT_with_the_numbers_there_are(machine: Runner, number: int) -> None:
    outcome = machine("log", "show", number, "--json")
    assert (outcome.code, outcome.document["errno"], outcome.document["return"]) == (1, "ENOENT", -2)
    assert "4 entries, 1 to 4" in outcome.err


def test_an_empty_history(machine: Runner, state: Path) -> None:
    with closing(sqlite3.connect(state)) as plain, plain:
        plain.execute("DELETE FROM journal")
    assert machine("log").out == "no entries\n"
    assert "the history is empty" in machine("log", "show", 1).err


def test_times_are_told_where_asked_only(machine: Runner, state: Path) -> None:
    """Second 1136851200 since 1970 is the tenth of January 2006, 0:00 UTC."""
    with closing(sqlite3.connect(state)) as plain, plain:
        plain.execute("UPDATE journal SET time = 1136851200")
    assert "2006" not in machine("log").out + machine("log", "--json").out + machine("log", "show", 2).out
    assert machine("log", "--time").out.count("2006-01-10T00:00:00Z") == len(CALLS)
    assert entries(machine, "--time")[0]["time"] == "2006-01-10T00:00:00Z"
    assert "(2006-01-10T00:00:00Z)" in machine("log", "show", 2, "--time").out


def test_words_are_quoted_as_a_shell_reads_them(machine: Runner) -> None:
    machine("task", "set", 100, "--name", "my db")
    assert re.search(r"^    5  task set 100 --name 'my db'  ", machine("log").out, re.M)
    assert entries(machine)[-1]["argv"] == ["task", "set", "100", "--name", "my db"]


def test_entries_of_an_older_program_have_less(machine: Runner, state: Path) -> None:
    """It kept no pages by node and no moves."""
    machine("migrate-pages", 100, 0, 1)
    with closing(sqlite3.connect(state)) as plain, plain:
        old = json.dumps({"committed": True, "moved": 16, "failed": 0, "skipped": 0, "passes": 1})
        plain.execute("UPDATE journal SET summary = ? WHERE id = 5", (old,))
    outcome = machine("log", "show", 5)
    assert (outcome.code, outcome.out.splitlines()[-1]) == (0, "moved 16, failed 0, skipped 0 (1 pass)")


@pytest.mark.parametrize("words", ["log show 4 --json", "log --json show 4", "--json log show 4"])
def test_global_options_stand_anywhere(machine: Runner, words: str) -> None:
    document = machine(*words.split()).document
    assert (document["command"], document["entry"]) == ("log show", 4)


def test_a_batch_can_look_back(machine: Runner) -> None:
    """Also within one transaction, whose lines are history before it ends."""
    script = "munmap 100 heap+1p\nlog --last 1\nlog show 5\n"
    outcome = machine("batch", "-", "--atomic", "--json", stdin=script)
    documents = [json.loads(line) for line in outcome.out.splitlines()]
    assert outcome.code == 0
    assert documents[1]["entries"][0]["argv"] == documents[2]["result"]["argv"] == ["munmap", "100", "heap+1p"]
    assert documents[2]["argv"] == ["log", "show", "5"], "of a line of a batch it is the line"


def test_both_commands_have_help_with_examples(tool: Runner) -> None:
    """``log`` is a command and has one."""
    listed, shown = tool("log", "--help"), tool("log", "show", "--help")
    assert (listed.code, listed.err, shown.code, shown.err) == (0, "", 0, "")
    assert "  show  Show one entry of the history.\n" in listed.out
    assert "Examples:\n  migratectl log\n" in listed.out
    assert "Examples:\n  migratectl log show 3\n" in shown.out
