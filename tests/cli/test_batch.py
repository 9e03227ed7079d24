"""``batch`` and ``demo``: many commands in one process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from migratectl.cli import deferred
from migratectl.cli.session import worst
from migratectl.cli.state import split_line
from tests.conftest import Outcome, Runner

BUILD = """\
# two nodes and a task
init --nodes 2 --memory 100p

task create --pid 7 --name 'the db' --node 0   # on node 0
mmap 7 4p --label heap
fault 7 heap --write
"""


def documents(outcome: Outcome) -> list[Any]:
    return [json.loads(line) for line in outcome.out.splitlines()]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("  # only a comment 'with a quote", []),
        ("mmap 7 4p # it's", ["mmap", "7", "4p"]),
        ("a '# no' b", ["a", "# no", "b"]),
        ('a "b \\" # c" d#e', ["a", 'b " # c', "d#e"]),
        ("a\\ b \\# c", ["a b", "#", "c"]),
        ("a ''#b", ["a", "#b"]),
    ],
)
def test_lines_are_quoted_as_in_a_shell(text: str, words: list[str]) -> None:
    assert split_line(text) == words


@pytest.mark.parametrize("text", ["a 'b", 'a "b # c', "a \\"])
def test_quotations_end(text: str) -> None:
    with pytest.raises(ValueError, match=r"closing quotation|escaped character"):
        split_line(text)


def test_one_document_a_line(tool: Runner) -> None:
    outcome = tool("batch", "--json", "-", stdin=BUILD)
    assert (outcome.code, outcome.err) == (0, "migratectl: batch: 4 lines: 4 with exit 0\n")
    lines = documents(outcome)
    assert [each["line"] for each in lines] == [2, 4, 5, 6]
    assert [each["exit"] for each in lines] == [0, 0, 0, 0]
    assert lines[1]["argv"] == ["task", "create", "--pid", "7", "--name", "the db", "--node", "0"]
    assert lines[1]["name"] == "the db"
    assert lines[3]["faults"]["anonymous"] == 4


def test_standard_input_is_the_default_and_files_are_read(tool: Runner, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(BUILD, encoding="utf-8")
    assert tool("batch", tmp_path / "script").code == 0
    assert documents(tool("batch", "--json", stdin="task list"))[0]["tasks"][0]["pid"] == 7


def test_texts_follow_each_other(machine: Runner) -> None:
    alone = machine("show", "nodes").out
    assert machine("batch", stdin="show nodes\nshow nodes\n").out == alone * 2


def test_it_stops_at_a_failure(machine: Runner) -> None:
    script = "task exit 4711\ntask exit 100\n"
    outcome = machine("batch", stdin=script)
    assert outcome.code == 1
    assert outcome.err.startswith("migratectl: batch: line 1: task exit: pid 4711: ESRCH: ")
    assert "100" in machine("task", "list").out


@pytest.mark.parametrize(
    ("lines", "code", "told"),
    [
        ("", 0, "no lines with a command"),
        ("# nothing\n\n", 0, "no lines with a command"),
        ("STAYS\ntask list", 3, "2 lines: 1 with exit 0, 1 with exit 3"),
        ("STAYS\ntask exit 7", 1, "2 lines: 1 with exit 3, 1 with exit 1"),
        ("STAYS\ntask exit 7\nnonsense", 2, "3 lines: 1 with exit 3, 1 with exit 1, 1 with exit 2"),
        ("nonsense\nSTAYS", 2, "2 lines: 1 with exit 3, 1 with exit 2"),
        ("'", 2, "1 line: 1 with exit 2"),
        ("init\nnonsense\nSTAYS", 4, "3 lines: 1 with exit 3, 1 with exit 2, 1 with exit 4"),
    ],
)
def test_the_worst_line_decides_and_all_are_counted(machine: Runner, lines: str, code: int, told: str) -> None:
    """The order of cli.md is 0, 3, 5, 1, 6, 2, 4, 70: pages that stayed do not hide a line that was mistyped."""
    assert machine("page", "pin", 100, "heap+1p").code == 0
    outcome = machine("batch", "--keep-going", stdin=lines.replace("STAYS", "migrate-pages 100 0 1"))
    assert outcome.code == code
    assert outcome.err.splitlines()[-1] == f"migratectl: batch: {told}"
    assert told not in machine("batch", "-q", stdin="task list").err


def test_the_order_of_the_codes() -> None:
    order = [0, 3, 5, 1, 6, 2, 4, 70]
    assert all(worst((mild, bad)) == bad for k, mild in enumerate(order) for bad in order[k:])
    assert worst([]) == 0


def test_a_new_file_does_not_take_the_place_of_what_lines_before_worked_on(machine: Runner, state: Path) -> None:
    """What those lines said they had done would be gone without a word."""
    outcome = machine("batch", "--json", stdin="task create --pid 7\ninit --force")
    assert outcome.code == 2
    assert "earlier lines have worked on the state file" in outcome.err
    state.unlink()
    assert machine("batch", stdin="init --nodes 3\ntask create --pid 8\ninit --force\n").code == 2
    assert [task["pid"] for task in machine("task", "list", "--json").document["tasks"]] == [8]
    assert machine("batch", stdin="init --force --nodes 3\ntask create --pid 8\n").code == 0
    assert machine("batch", "--atomic", stdin="init --force\ntask create --pid 9\n").code == 0
    assert [task["pid"] for task in machine("task", "list", "--json").document["tasks"]] == [9]


def test_a_batch_that_began_by_replacing_may_do_so_again(machine: Runner) -> None:
    """Machine after machine in one script, each made with --force: nothing goes that the script has not given up."""
    script = "".join(f"init --nodes {nodes} --force\ntask create --pid {nodes}\n" for nodes in (2, 3))
    assert machine("batch", stdin=script).code == 0
    assert [task["pid"] for task in machine("task", "list", "--json").document["tasks"]] == [3]


def test_keep_going_goes_on_and_returns_the_worst_code(machine: Runner) -> None:
    script = "task exit 4711\nnonsense\n'\nmigrate-pages 100 5-2 1\ntask exit 100\n"
    outcome = machine("batch", "--keep-going", "--json", stdin=script)
    assert outcome.code == 2
    assert [(each["line"], each["exit"]) for each in documents(outcome)] == [(1, 1), (2, 2), (3, 2), (4, 2), (5, 0)]
    assert documents(outcome)[1]["argv"] == ["nonsense"]
    assert machine("task", "list").out == "no tasks\n"


def test_pages_that_stay_do_not_stop_it(machine: Runner) -> None:
    script = "page pin 100 heap+1p\nmigrate-pages 100 0 1\ntask exit 100\n"
    outcome = machine("batch", "--json", stdin=script)
    assert outcome.code == 3
    assert [each["exit"] for each in documents(outcome)] == [0, 3, 0]


def test_atomic_is_all(machine: Runner) -> None:
    assert machine("batch", "--atomic", stdin="mmap 100 1p --label a\nmunmap 100 a\nmmap 100 2p --label b\n").code == 0
    assert " b " in machine("show", "vmas", 100).out


@pytest.mark.parametrize("options", [["--atomic"], ["--atomic", "--keep-going"]])
def test_atomic_is_nothing(machine: Runner, options: list[str]) -> None:
    """A line sees what the lines before did; after a failure none of it is left."""
    before = machine("state", "hash").out
    script = "task create --pid 7\ntask set 7 --name x\ntask exit 4711\ntask create --pid 8\n"
    outcome = machine("batch", *options, "--json", stdin=script)
    assert outcome.code == 1
    assert [each["exit"] for each in documents(outcome)] == [0, 0, 1] + [0] * ("--keep-going" in options)
    assert outcome.err.splitlines()[-2] == "migratectl: batch: a line failed, and with --atomic nothing was changed"
    assert machine("state", "hash").out == before


def test_a_refused_line_of_a_dry_run_leaves_the_others(machine: Runner) -> None:
    before = machine("state", "hash").out
    script = "task create --pid 7\ntask create --pid 7\ntask list\n"
    lines = documents(machine("batch", "-n", "--keep-going", "--json", stdin=script))
    assert [each["exit"] for each in lines] == [0, 1, 0]
    assert [task["pid"] for task in lines[2]["tasks"]] == [7, 100]
    assert machine("state", "hash").out == before


def test_a_dry_line_of_an_atomic_batch(machine: Runner) -> None:
    lines = documents(machine("batch", "--atomic", "--json", stdin="task exit 100 -n\ntask list\n"))
    assert lines[0]["dry_run"] is True
    assert lines[1]["dry_run"] is False
    assert [task["pid"] for task in lines[1]["tasks"]] == [100]


@pytest.mark.parametrize("options", [["--atomic"], ["--dry-run"], []])
def test_a_new_file_comes_with_the_first_command(tool: Runner, state: Path, options: list[str]) -> None:
    outcome = tool("batch", "-q", *options, stdin=BUILD)
    assert (outcome.code, outcome.err) == (0, "")
    assert state.exists() == (options != ["--dry-run"])
    if state.exists():
        assert documents(tool("show", "pages", 7, "--json"))[0]["vmas"][0]["pages"][0]["pages"] == 4


def test_an_atomic_batch_that_fails_leaves_no_new_file(tool: Runner, state: Path) -> None:
    assert tool("batch", "--atomic", stdin=BUILD + "task exit 4711\n").code == 1
    assert not state.exists()
    assert list(state.parent.iterdir()) == []


def test_a_new_file_in_the_middle_of_one_transaction_is_refused(machine: Runner) -> None:
    before = machine("state", "hash").out
    assert machine("batch", "--atomic", stdin="task exit 100\ninit --force\n").code == 2
    assert machine("state", "hash").out == before


def test_a_new_file_in_the_middle_of_a_batch(machine: Runner) -> None:
    """What follows works on the new file, not on the one that was open."""
    lines = documents(machine("batch", "--json", stdin="task list\ninit --force\ntask list\ntask create --pid 9\n"))
    assert [task["pid"] for task in lines[0]["tasks"]] == [100]
    assert lines[2]["tasks"] == []
    assert "9" in machine("task", "list").out


def test_a_batch_has_one_state_file(machine: Runner) -> None:
    outcome = machine("batch", stdin="task list -s other.db\n")
    assert outcome.code == 2
    assert "one state file" in outcome.err


def test_a_batch_in_a_batch_is_refused(machine: Runner) -> None:
    outcome = machine("batch", "--json", stdin="batch --json\n")
    assert outcome.code == 2
    assert documents(outcome)[0]["message"].startswith("a batch cannot be a line of a batch")


def test_every_line_that_changed_something_is_a_row_of_the_journal(
    machine: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in one transaction a line that only looked, or was refused, leaves none."""
    kept: list[list[str]] = []
    journal = deferred.journal.record

    def record(conn: Any, words: Any, document: Any) -> None:
        rows = conn.execute("SELECT count(*) FROM journal").scalar()
        journal(conn, words, document)
        if conn.execute("SELECT count(*) FROM journal").scalar() > rows:
            kept.append(list(words))

    monkeypatch.setattr(deferred.journal, "record", record)
    script = "task create --pid 7 -q\nmunlock 7 0x1000+1p\ntask list\ntask set 7 --name x --as 5\nmunmap 7 0x1000+1p\n"
    machine("batch", "--dry-run", "--keep-going", stdin=script)
    assert kept == [["task", "create", "--pid", "7"], ["task", "set", "7", "--name", "x", "--as", "5"]]


def test_demo_tells_a_story(tool: Runner, state: Path) -> None:
    outcome = tool("demo")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("$ migratectl init ")
    assert "$ migratectl migrate-pages " in outcome.out
    assert not state.exists()
    assert tool("demo").out == outcome.out
    steps = tool("demo", "--json").document["steps"]
    assert steps[0]["argv"][0] == "init"
    assert [step.get("dry_run", False) for step in steps] == ["--dry-run" in step["argv"] for step in steps]


def test_a_machine_that_was_not_made_can_be_made_by_a_later_line(tool: Runner, state: Path) -> None:
    script = "init --page-size 5000\ninit --nodes 2\nshow nodes\n"
    lines = documents(tool("batch", "--dry-run", "--keep-going", "--json", stdin=script))
    assert [each["exit"] for each in lines] == [1, 0, 0]
    assert len(lines[2]["nodes"]) == 2
    assert not state.exists()
