"""The night of docs/scheduler.md: its script as a shell runs it, on the imported machine, alone and beside another."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import SHARED_DATA

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "scheduler.md"
TREE = SHARED_DATA / "topologies" / "256ia64-64n2s2c.tar.gz"
CALL = "sh night.sh /day /night 'migratectl page unlock 102'"

pytestmark = pytest.mark.skipif(not TREE.exists(), reason="../shared/data is not there: no 64-node machine to import")


def blocks(kind: str) -> list[str]:
    """The fenced blocks of the page of one kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def start(folder: Path, command: str) -> subprocess.Popen[str]:
    """Start a command in that folder with the program on the path."""
    path = f"{folder}:{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "MIGRATECTL_STATE": str(folder / "state.db"), "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen(shlex.split(command), cwd=folder, env=env, stdout=pipe, stderr=pipe, text=True)


def shell(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command like that to its end."""
    started = start(folder, command)
    out, err = started.communicate()
    return subprocess.CompletedProcess(command, started.returncode, out, err)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the program, the script, and the state of the evening."""
    tmp_path = tmp_path_factory.mktemp("evening")
    program = tmp_path / "migratectl"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m migratectl "$@"\n')
    program.chmod(0o755)
    setup, script = blocks("sh")
    (tmp_path / "evening.txt").write_text(setup)
    (tmp_path / "night.sh").write_text(script)
    assert shell(tmp_path, f"migratectl import {TREE}").returncode == 0
    assert shell(tmp_path, "migratectl batch -q evening.txt").returncode == 0
    return tmp_path


@pytest.fixture
def evening(prepared: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(prepared, tmp_path / "copy"))


def test_the_night_is_as_the_page_tells_it(evening: Path, request: pytest.FixtureRequest) -> None:
    night = shell(evening, CALL)
    told = f"$ {CALL}\n{night.stdout}[{night.returncode}]\n"
    if request.config.getoption("--golden-update"):
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(text.replace(blocks("console")[0], told), encoding="utf-8")
        return
    assert blocks("console") == [told], night.stderr
    assert night.stderr == ""
    assert shell(evening, "migratectl check").returncode == 0


def test_a_second_night_finds_nobody_to_move(evening: Path) -> None:
    shell(evening, CALL)
    before = shell(evening, "migratectl state hash").stdout
    again = shell(evening, CALL)
    assert (again.returncode, again.stdout) == (0, "")
    assert shell(evening, "migratectl state hash").stdout == before


def test_the_script_waits_for_another_process(evening: Path) -> None:
    with closing(sqlite3.connect(evening / "state.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        night = start(evening, CALL)
        assert night.stderr is not None
        assert night.stderr.readline() == "state file busy, trying again\n"
        other.execute("ROLLBACK")
    out, err = night.communicate()
    assert night.returncode == 3, err
    assert out.splitlines()[0] == "job 101: moved 1048576, 0 stayed"


def test_a_cpuset_that_takes_nobody_ends_the_night_with_what_it_said(evening: Path) -> None:
    shell(evening, "migratectl cpuset create /none --mems none")
    night = shell(evening, "sh night.sh /day /none true")
    assert (night.returncode, night.stdout.count("ENOSPC")) == (1, 4), night.stdout
