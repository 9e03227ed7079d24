"""The program as a process: the same bytes at every width, the same bytes twice, other processes at the state file."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Runner

LOOKS = [
    "--help",
    "migrate-pages --help",
    "show nodes",
    "show pages 100",
    "show vmas 100",
    "task list",
    "numa-maps 100",
    "check",
    "migrate-pages 100 0 1 --dry-run",
    "show pages 100 --json",
]


def process(state: Path, words: str, **environment: str) -> tuple[int, bytes]:
    """Exit code and standard output of the program in a pipe."""
    done = subprocess.run(
        [sys.executable, "-m", "migratectl", "-s", str(state), *words.split()],
        capture_output=True,
        check=False,
        env=dict(os.environ) | environment,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("words", LOOKS)
@pytest.mark.usefixtures("machine")
def test_a_pipe_gets_the_same_bytes_whatever_the_terminal(state: Path, words: str) -> None:
    """Neither the width nor what asks for colours nor the order of hashes is seen in a pipe."""
    narrow = process(state, words, COLUMNS="35", PYTHONHASHSEED="0", FORCE_COLOR="1")
    assert narrow[0] == 0
    assert narrow[1]
    assert narrow == process(state, words, COLUMNS="80", PYTHONHASHSEED="1", TTY_COMPATIBLE="1")
    assert narrow == process(state, words, COLUMNS="200", PYTHONHASHSEED="2", TERM="dumb", LC_ALL="C")


def test_a_busy_state_file_is_exit_6(machine: Runner, state: Path) -> None:
    other = sqlite3.connect(state, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        busy = machine("task", "exit", 100, "--timeout", 0, "--json")
        assert (busy.code, busy.document["exit"], busy.document["errno"]) == (6, 6, None)
        assert machine("task", "list", "--timeout", 0).code == 0, "readers do not wait"
        other.execute("ROLLBACK")
    finally:
        other.close()
    assert machine("task", "exit", 100, "--timeout", 0).code == 0


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + b"x" * 4096])
def test_what_is_no_state_file_is_exit_4(tool: Runner, state: Path, content: bytes) -> None:
    state.write_bytes(content)
    outcome = tool("check", "--json")
    assert (outcome.code, outcome.document["exit"]) == (4, 4)
    assert str(state) in outcome.err
    assert state.read_bytes() == content


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_device_changes_nothing(machine: Runner, state: Path) -> None:
    before = machine("state", "hash").out
    for words, stdin in (("migrate-pages 100 0 1", b""), ("batch -", b"task exit 100\n")):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "migratectl", "-s", str(state), *words.split()],
                stdout=full,
                stderr=subprocess.PIPE,
                check=False,
                input=stdin,
            )
        assert done.returncode == 141
        assert done.stderr.endswith(b"standard output: No space left on device; nothing was changed\n")
    assert machine("state", "hash").out == before


def test_closed_streams_are_no_defect(tmp_path: Path) -> None:
    """The exit code says what the streams cannot."""

    def closed(words: str) -> int:
        shell = f'"{sys.executable}" -m migratectl -s "{tmp_path}/no.db" {words} <&- >&- 2>&-'
        return subprocess.run(["sh", "-c", shell], check=False).returncode

    assert closed("check") == 4
    assert closed("--version") == 0


def test_a_path_leaves_as_the_bytes_it_came_in(state: Path) -> None:
    """Standard output is UTF-8 and passes undecodable bytes on."""
    program = "import sys, migratectl.cli as cli; sys.argv[1:] = ['--version']; cli.main(); print('é\\udcff')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, env={"LC_ALL": "C"})
    assert done.stdout == b"migratectl 0.1.0\n\xc3\xa9\xff\n"
