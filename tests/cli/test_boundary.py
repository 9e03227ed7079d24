"""What every command shares: global options in any place, exit codes, documents of what went wrong, lazy loading."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from migratectl.cli import COMMANDS, deferred, main, program, run
from migratectl.cli.group import Command, Entry, LazyGroup, own_words
from migratectl.cli.session import Options, default_state, exit_code
from tests.conftest import Runner


def commands(registry: Any = COMMANDS, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Entry]]:
    """Every command that can be called, with its entry."""
    for name, entry in registry.items():
        if entry.module is not None:
            yield (*path, name), entry
        yield from commands(entry.group or {}, (*path, name))


EVERY = list(commands())


def loaded(path: tuple[str, ...]) -> click.Command:
    """The command of that name."""
    found: click.Command = program()
    for name in path:
        assert isinstance(found, LazyGroup)
        inner = found.get_command(click.Context(found), name)
        assert inner is not None
        found = inner
    return found


@pytest.mark.parametrize(
    ("path", "entry"), EVERY, ids=lambda value: "-".join(value) if isinstance(value, tuple) else ""
)
def test_the_registry_tells_what_the_command_tells(path: tuple[str, ...], entry: Entry) -> None:
    """The help line of a command that is not loaded is the first line of its own help."""
    found = loaded(path)
    assert isinstance(found, Command)
    assert (found.help or "").strip().splitlines()[0] == entry.help
    assert found.examples, "the help closes with an example"
    assert all(example.split()[: len(path)] == list(path) for example in found.examples)


@pytest.mark.parametrize("path", [path for path, _ in EVERY], ids="-".join)
def test_help_of_each_command(path: tuple[str, ...], tool: Runner) -> None:
    outcome = tool(*path, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"Usage: migratectl {' '.join(path)} ")
    assert f"Examples:\n  migratectl {' '.join(path)}" in outcome.out


@pytest.mark.parametrize(("path", "example"), [(path, e) for path, _ in EVERY for e in loaded(path).examples])  # type: ignore[attr-defined]
def test_examples_parse(path: tuple[str, ...], example: str) -> None:
    """An example of the help is a line that the command can read."""
    words = example.partition(" < ")[0].split()
    context = loaded(path).make_context(path[-1], words[len(path) :])
    assert context.params is not None


def test_help_lists_every_command_under_a_heading(tool: Runner) -> None:
    text = tool("--help").out
    for name, entry in COMMANDS.items():
        assert f"\n  {name} " in text
        assert f"\n{entry.section}:\n" in text


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["task", "--help"], ["migrate-pages", "--help"]])
def test_help_loads_no_heavy_library(words: list[str]) -> None:
    program = (
        "import sys, migratectl.cli as cli\n"
        f"code = cli.run({words!r})\n"
        "heavy = {'sqlalchemy', 'rich', 'alembic', 'sqlite3'} & set(sys.modules)\n"
        "sys.exit(f'{heavy}' if heavy else code)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "words",
    [["node", "list", "--json"], ["migrate-pages", "100", "0", "1", "--json"], ["init", "--force"], ["state", "hash"]],
)
def test_a_command_on_a_state_file_loads_no_library_for_other_databases(
    machine: Runner, state: Path, words: list[str]
) -> None:
    program = (
        "import sys, migratectl.cli as cli\n"
        f"code = cli.run(['-s', {str(state)!r}, *{words!r}])\n"
        "heavy = {'sqlalchemy', 'alembic'} & set(sys.modules)\n"
        "sys.exit(f'{heavy}' if heavy else code)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("words", "expected"), [("migratectl mi", "migrate-pages"), ("migratectl task cr", "create")])
def test_completion_loads_no_heavy_library(words: str, expected: str) -> None:
    program = (
        "import atexit, sys, migratectl.cli as cli\n"
        "atexit.register(lambda: print({'sqlalchemy', 'rich', 'alembic'} & set(sys.modules)))\n"
        "cli.main()\n"
    )
    environment = {"_MIGRATECTL_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment, cwd=Path.cwd()
    )
    assert done.stdout.splitlines() == [f"plain,{expected}", "set()"]


@pytest.mark.parametrize(
    "words",
    [
        "--json --nonsense check",
        "check --nonsense --json",
        "check --nonsense -j",
        "-qj check --nonsense",
        "nonsense --json",
        "--json",
        "task --json",
        "migrate-pages 1 5-2 0 --json",
        "migrate-pages 1 0,,1 0 --json",
        "mmap 1 1x --json",
        "fault 1 4096+1p --json",
        "task create --json",
        "task create --pid 1 --node 0 --cpu 0 --json",
        "migrate-pages 1 0 1 --as 0 --by 1 --json",
        "move-pages 1 0x1000 --json",
        "init --nodes 2 --memory 1G,2G,3G --json",
        "batch /nonsense/file --json",
    ],
)
def test_wrong_words_are_a_document_too(tool: Runner, words: str) -> None:
    """Exit 2, one document, one line."""
    outcome = tool(*words.split())
    assert outcome.code == 2
    document = outcome.document
    assert (document["errno"], document["exit"], document["format"]) == (None, 2, "migratectl/1")
    assert outcome.err.startswith("migratectl: ")
    assert outcome.err.count("\n") == 1
    assert outcome.err.endswith(f"{document['message']}\n")


def test_wrong_words_name_the_command(tool: Runner) -> None:
    outcome = tool("task", "create", "--pid", "x", "--json")
    assert outcome.document["command"] == "task create"
    assert outcome.err.startswith("migratectl: task create: ")
    assert "'x' is not a pid, a whole number" in outcome.err


def test_json_by_environment(tool: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIGRATECTL_JSON", "1")
    assert tool("nonsense").document["exit"] == 2
    monkeypatch.setenv("MIGRATECTL_JSON", "0")
    assert tool("nonsense").out == ""


def test_no_command_is_told_how(tool: Runner) -> None:
    outcome = tool()
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("Usage: migratectl ")


@pytest.mark.parametrize("words", ["check", "show pages 100", "migrate-pages 100 0 1", "batch -"])
def test_a_missing_state_file_is_never_made(tool: Runner, state: Path, words: str) -> None:
    outcome = tool(*words.split(), "--json", stdin="check\n")
    assert outcome.code == 4
    assert outcome.document["exit"] == 4
    assert outcome.document["errno"] is None
    assert "migratectl init" in outcome.err
    assert not state.exists()


def test_init_does_not_overwrite(machine: Runner) -> None:
    before = machine("state", "hash").out
    assert machine("init").code == 4
    assert machine("state", "hash").out == before
    assert machine("init", "--force").code == 0
    assert machine("task", "list").out == "no tasks\n"


def test_init_makes_the_default_folder_but_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    out, err = io.StringIO(), io.StringIO()
    assert run(["init", "-s", str(tmp_path / "no" / "state.db")], out, err) == 4
    assert run(["init"], out, err) == 0
    assert (tmp_path / "home/migratectl/state.db").is_file()


def test_the_default_state_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert default_state({}) == Path("/home/ann/.local/state/migratectl/state.db")
    assert default_state({"XDG_STATE_HOME": "/x"}) == Path("/x/migratectl/state.db")
    assert default_state({"XDG_STATE_HOME": "relative"}) == default_state({})
    assert Options.of_environment({"MIGRATECTL_STATE": "a.db"}).state == Path("a.db")


@pytest.mark.parametrize("words", ["-j show nodes", "show -j nodes", "show nodes -j", "--json show nodes"])
def test_global_options_stand_anywhere(machine: Runner, words: str) -> None:
    document = machine(*words.split()).document
    assert document["command"] == "show nodes"
    assert [node["node"] for node in document["nodes"]] == [0, 1]


def test_the_last_state_file_named_counts(machine: Runner, tmp_path: Path) -> None:
    assert machine("-s", tmp_path / "other.db", "task", "list").code == 4
    assert machine("-s", tmp_path / "other.db", "task", "list", "-s", tmp_path / "state.db").code == 0


def test_a_refused_call_is_a_result(machine: Runner) -> None:
    """ESRCH is errno 3: return -3, nothing committed, exit 1, and the line on standard error."""
    outcome = machine("migrate-pages", 4711, 0, 1, "--json")
    document = outcome.document
    assert outcome.code == 1
    assert list(document)[:3] == ["format", "command", "profile"]
    assert (document["command"], document["profile"]) == ("migrate-pages", "v9")
    assert (document["return"], document["errno"], document["committed"]) == (-3, "ESRCH", False)
    assert outcome.err == f"migratectl: migrate-pages: {document['message']}\n"
    assert document["message"].startswith("pid 4711: ESRCH: ")


def test_without_json_a_refused_call_prints_nothing(machine: Runner) -> None:
    outcome = machine("migrate-pages", 4711, 0, 1)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("migratectl: migrate-pages: pid 4711: ESRCH: ")


def test_a_dry_run_tells_the_result_and_changes_nothing(machine: Runner) -> None:
    before = machine("state", "hash").out
    would = machine("migrate-pages", 100, 0, 1, "-n", "--json").document
    assert machine("state", "hash").out == before
    did = machine("migrate-pages", 100, 0, 1, "--json").document
    assert did["moved"] == 16
    assert would == did | {"dry_run": True}
    assert machine("state", "hash").out != before


def test_pages_that_stayed_are_exit_3(machine: Runner) -> None:
    assert machine("page", "pin", 100, "heap+3p").code == 0
    outcome = machine("migrate-pages", 100, 0, 1, "--json")
    document = outcome.document
    assert (outcome.code, outcome.err) == (3, "")
    assert (document["return"], document["errno"], document["moved"], document["failed"]) == (3, None, 13, 3)


class BrokenPipe(io.StringIO):
    """A stream that nobody reads any more."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_broken_pipe_changes_nothing(machine: Runner) -> None:
    before = machine("state", "hash").out
    err = io.StringIO()
    assert run(["migrate-pages", "100", "0", "1"], BrokenPipe(), err) == 141
    assert run(["batch", "-"], BrokenPipe(), err, io.StringIO("migrate-pages 100 0 1\ncheck\n")) == 141
    assert err.getvalue() == ""
    assert machine("state", "hash").out == before


@pytest.mark.parametrize("json_wanted", [False, True])
def test_a_reader_that_went_away_is_no_traceback(machine: Runner, state: Path, json_wanted: bool) -> None:
    words = ["-s", str(state), "show", "pages", "100"] + (["--json"] if json_wanted else [])
    process = subprocess.Popen(
        [sys.executable, "-m", "migratectl", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait() == 141


def fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``show nodes`` raise *error*."""

    def raises(_: object) -> dict[str, Any]:
        raise error

    monkeypatch.setattr(deferred.show, "show_nodes", raises)


def test_an_interrupt_is_exit_130(machine: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(KeyboardInterrupt(), monkeypatch)
    outcome = machine("show", "nodes", "--json")
    assert (outcome.code, outcome.document["exit"]) == (130, 130)
    assert machine("batch", "-", "--keep-going", stdin="show nodes\ncheck\n").code == 130


def test_a_defect_is_one_line(machine: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(ZeroDivisionError("so\nmuch"), monkeypatch)
    outcome = machine("show", "nodes")
    assert (outcome.code, outcome.out) == (70, "")
    assert outcome.err.count("\n") == 1
    assert "internal error" in outcome.err
    monkeypatch.setenv("MIGRATECTL_DEBUG", "1")
    assert "Traceback" in machine("show", "nodes").err


def test_main_reads_the_words_of_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["migratectl", "--version"])
    assert main() == 0
    assert capsys.readouterr().out == "migratectl 0.1.0\n"


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({}, 0),
        ({"errno": None, "failed": 0}, 0),
        ({"errno": None, "failed": 2}, 3),
        ({"errno": "ENOMEM", "failed": 2}, 1),
        ({"ok": True}, 0),
        ({"ok": False}, 5),
    ],
)
def test_exit_codes_of_documents(document: dict[str, Any], code: int) -> None:
    assert exit_code(document) == code


@pytest.mark.parametrize(
    ("path", "words", "kept"),
    [
        ("mmap", "100 4p -j --state x.db --label a", "100 4p --label a"),
        ("mmap", "-nq 100 --state=x.db 4p -sy.db", "100 4p"),
        ("mmap", "100 4p --label --json", "100 4p --label --json"),
        ("mmap", "100 4p --timeout 5 --color never --as 7", "100 4p"),
        ("move-pages", "100 -- 0x1000=1 --json", "100 -- 0x1000=1 --json"),
        ("move-pages", "100 0x1000=-1 -v --move-all", "100 0x1000=-1 --move-all"),
    ],
)
def test_the_journal_keeps_a_commands_own_words(path: str, words: str, kept: str) -> None:
    assert own_words(loaded((path,)), words.split()) == kept.split()


def test_assumptions_are_notes(machine: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deferred.show, "show_nodes", lambda _: {"nodes": [], "assumptions": ["no table", "4 KiB"]})
    assert machine("show", "nodes").err == "migratectl: show nodes: no table\nmigratectl: show nodes: 4 KiB\n"
    quiet = machine("show", "nodes", "-q", "--json")
    assert quiet.err == ""
    assert json.loads(quiet.out)["assumptions"] == ["no table", "4 KiB"]
