"""`init --force`: what it replaces, what it must not, and whom it waits for."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tests.conftest import Runner


def test_a_file_that_is_no_state_file_is_kept(tool: Runner, state: Path) -> None:
    state.write_text("a letter that nobody has a copy of\n")
    outcome = tool("init", "--force")
    assert outcome.code == 4
    assert "not a state file" in outcome.err
    assert state.read_text() == "a letter that nobody has a copy of\n"


def test_another_database_is_kept(tool: Runner, state: Path) -> None:
    other = sqlite3.connect(state)
    other.execute("CREATE TABLE accounts (name TEXT)")
    other.commit()
    other.close()
    assert tool("init", "--force").code == 4
    assert sqlite3.connect(state).execute("SELECT name FROM sqlite_master").fetchall() == [("accounts",)]


def test_a_file_that_another_process_writes_is_busy_and_its_work_is_kept(tool: Runner, state: Path) -> None:
    assert tool("init", "--nodes", 2).code == 0
    writer = sqlite3.connect(state, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE nodes SET other = 1 WHERE id = 1")
    assert tool("--timeout", 0, "init", "--force").code == 6
    writer.execute("COMMIT")
    writer.close()
    nodes = tool("node", "list", "--json").document["nodes"]
    assert [node["other"] for node in nodes] == [0, 1]


def test_a_file_that_another_process_has_open_is_busy(tool: Runner, state: Path) -> None:
    """Its next transaction would go into a file that nobody can find any more."""
    assert tool("init").code == 0
    reader = sqlite3.connect(state, isolation_level=None)
    reader.execute("SELECT count(*) FROM nodes").fetchone()
    assert tool("--timeout", 0, "init", "--force").code == 6
    reader.close()
    assert tool("init", "--nodes", 3, "--force").code == 0
    assert len(tool("node", "list", "--json").document["nodes"]) == 3


def test_a_symbolic_link_is_followed_as_by_every_other_command(tool: Runner, state: Path, tmp_path: Path) -> None:
    real = tmp_path / "real.db"
    state.symlink_to(real)
    assert tool("init").code == 0
    assert state.is_symlink()
    assert real.is_file()
    assert tool("init", "--nodes", 2, "--force").code == 0
    assert state.is_symlink()
    assert len(tool("node", "list", "--json").document["nodes"]) == 2


def test_nothing_is_left_beside_a_new_state_file(tool: Runner, tmp_path: Path) -> None:
    assert tool("init").code == 0
    assert tool("init", "--force").code == 0
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []
