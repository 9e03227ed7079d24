"""``db current`` and ``db upgrade`` on a file of each older revision: every row is kept, or nothing is changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from migratectl.storage import schema
from migratectl.storage.connection import connect
from migratectl.storage.engine import APPLICATION_ID
from tests.conftest import Runner
from tests.test_schema import master

STORY = """
init --nodes 2 --memory 1000p --swap 100p
task create --pid 100 --name db --node 0
task create --pid 101 --thread-of 100
mmap 100 16p --label heap
mmap 100 8p --label zero
mmap 100 4p --label untouched
fault 100 heap --write
fault 100 zero
mmap 100 4p --shm seg --label seg
mbind 100 seg+2p@1p bind 1
set-mempolicy 100 interleave 0-1
page pin 100 heap+2p
page lock 100 heap+1p@8p --passes 3
migrate-pages 100 0 1
import-numa-maps {maps} --pid 200 -q
swap on more 10p
"""
"""A state with rows in most tables: areas that had anonymous pages and others, holds, a page in the swap cache."""

MAPS = """\
00400000 default file=/bin/db mapped=4 mapmax=3 N0=4
00600000 bind=1 file=/bin/db anon=2 dirty=2 N1=2
"""

Rows = dict[str, list[tuple[Any, ...]]]


def rows(path: Path, columns: dict[str, str] | None = None) -> Rows:
    """The rows of every table, sorted; of these columns only, where they are given."""
    with closing(sqlite3.connect(path)) as plain:
        tables = [name for (name,) in plain.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            table: sorted(plain.execute(f"SELECT {(columns or {}).get(table, '*')} FROM {table}").fetchall(), key=repr)
            for table in tables
            if table not in ("alembic_version", "sqlite_sequence")
        }


def columns(path: Path) -> dict[str, str]:
    """The columns of every table that can be written, as a list for a statement."""
    with closing(sqlite3.connect(path)) as plain:
        tables = [name for (name,) in plain.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            table: ", ".join(f'"{row[1]}"' for row in plain.execute(f"PRAGMA table_xinfo({table})") if row[6] == 0)
            for table in tables
        }


def aged(newest: Path, old: Path, revision: str) -> None:
    """A file of an older revision with the rows of a newest one, as far as it has tables and columns for them."""
    with closing(connect(old, mode="rwc")) as conn, conn.transaction(write=True):
        schema.upgrade(conn, revision)
    known = columns(old)
    with closing(sqlite3.connect(old, isolation_level=None)) as plain:
        plain.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        plain.execute("PRAGMA journal_mode = WAL")
        plain.execute("ATTACH ? AS newest", (str(newest),))
        for table, names in known.items():
            if table != "alembic_version":
                plain.execute(f"DELETE FROM main.{table}")
                plain.execute(f"INSERT INTO main.{table}({names}) SELECT {names} FROM newest.{table}")


Older = Callable[[str], Path]


@pytest.fixture
def older(tool: Runner, state: Path, tmp_path: Path) -> Older:
    """Puts a file of an older revision in the place of the state file; returns the newest one that it was made from."""
    (tmp_path / "maps").write_text(MAPS)
    made = tool("batch", "-", "--keep-going", stdin=STORY.format(maps=tmp_path / "maps"))
    assert made.code == 3, made.err

    def replace(revision: str) -> Path:
        newest = tmp_path / "newest.db"
        state.rename(newest)
        aged(newest, state, revision)
        return newest

    return replace


OLDER = pytest.mark.parametrize("revision", schema.REVISIONS[:-1])


@OLDER
def test_an_older_file_is_upgraded_and_every_row_kept(tool: Runner, state: Path, older: Older, revision: str) -> None:
    """The rows of the columns that it had are the same but for a row of history; the rest is as if made today."""
    newest = older(revision)
    known = columns(state)
    before, stamped = rows(state, known), master(state, stamped=True)
    assert stamped != master(newest, stamped=True)
    outcome = tool("db", "upgrade", "--json")
    assert outcome.code == 0, outcome.err
    assert (outcome.document["from"], outcome.document["to"]) == (revision, schema.REVISION)
    assert outcome.document["revisions"] == list(schema.REVISIONS[schema.REVISIONS.index(revision) + 1 :])
    assert master(state, stamped=True) == master(newest, stamped=True)
    after = rows(state, known)
    history = set(after.pop("journal")) - set(before.pop("journal"))
    assert {table: found for table, found in after.items() if table in before} == before
    counted = {"resident"}  # it follows from the ptes
    assert not any(found for table, found in after.items() if table not in {*before, *counted})
    assert [row[1] for row in history] == ['["db", "upgrade"]']
    made_today = rows(newest)
    assert {name: found for name, found in rows(state).items() if name != "journal"} == {
        name: found for name, found in made_today.items() if name != "journal"
    }
    assert tool("check").code == 0
    assert tool("state", "hash").out == tool("state", "hash", "-s", newest).out


@OLDER
def test_an_upgraded_file_works(tool: Runner, older: Older, revision: str) -> None:
    older(revision)
    assert tool("db", "upgrade").out == f"upgraded from schema {revision} to {schema.REVISION}\n"
    assert tool("db", "current").out == f"schema {schema.REVISION}, the newest\n"
    assert tool("db", "upgrade").out == f"schema {schema.REVISION} is the newest already\n"
    assert tool("page", "unpin", 100).code == 0
    assert tool("migrate-pages", 100, 1, 0).code in (0, 3)
    assert tool("check").code == 0


@OLDER
def test_every_other_command_tells_how_to_go_on(tool: Runner, state: Path, older: Older, revision: str) -> None:
    older(revision)
    before = state.read_bytes()
    for words in ("show nodes", "migrate-pages 100 0 1", "check", "log", "task exit 100"):
        outcome = tool(*words.split(), "--json")
        assert (outcome.code, outcome.document["exit"]) == (4, 4), words
        assert f"has schema {revision}" in outcome.err
        assert "run 'migratectl db upgrade'" in outcome.err
    assert state.read_bytes() == before


@OLDER
def test_an_older_file_tells_its_revision(tool: Runner, older: Older, revision: str) -> None:
    older(revision)
    outcome = tool("db", "current", "--json")
    assert outcome.code == 0
    told = {key: outcome.document[key] for key in ("revision", "newest", "current", "known", "profile")}
    assert told == {
        "revision": revision, "newest": schema.REVISION, "current": False, "known": True, "profile": "v9",
    }  # fmt: skip
    assert "run 'migratectl db upgrade'" in tool("db", "current").out


@OLDER
def test_a_dry_upgrade_changes_nothing(tool: Runner, state: Path, older: Older, revision: str) -> None:
    older(revision)
    before, stamped = rows(state), master(state, stamped=True)
    outcome = tool("db", "upgrade", "--dry-run", "--json")
    assert (outcome.code, outcome.document["dry_run"]) == (0, True)
    assert (outcome.document["from"], outcome.document["to"]) == (revision, schema.REVISION)
    assert (rows(state), master(state, stamped=True)) == (before, stamped)


@OLDER
def test_an_upgrade_that_fails_half_way_changes_nothing(
    tool: Runner, state: Path, older: Older, revision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All revisions are run, and then something goes wrong."""
    older(revision)
    before, stamped = rows(state), master(state, stamped=True)

    def record(*_: object) -> None:
        raise RuntimeError("half-way")

    monkeypatch.setattr("migratectl.storage.journal.record", record)
    assert tool("db", "upgrade").code == 70
    assert (rows(state), master(state, stamped=True)) == (before, stamped)


@OLDER
def test_a_row_that_refers_to_none_stops_the_upgrade(tool: Runner, state: Path, older: Older, revision: str) -> None:
    """Foreign keys are not enforced while tables are made anew, but tested at the end."""
    older(revision)
    with closing(sqlite3.connect(state)) as plain, plain:
        plain.execute("UPDATE ptes SET page = 999 WHERE page = (SELECT min(page) FROM ptes)")
    before, stamped = rows(state), master(state, stamped=True)
    outcome = tool("db", "upgrade")
    assert outcome.code == 4
    assert "a row of ptes refers to none of pages" in outcome.err
    assert (rows(state), master(state, stamped=True)) == (before, stamped)


@OLDER
def test_a_busy_file_is_not_upgraded(tool: Runner, state: Path, older: Older, revision: str) -> None:
    older(revision)
    other = sqlite3.connect(state, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        assert tool("db", "upgrade", "--timeout", 0).code == 6
        assert tool("db", "current", "--timeout", 0).code == 0, "readers do not wait"
        other.execute("ROLLBACK")
    finally:
        other.close()
    assert tool("db", "upgrade").code == 0


@OLDER
def test_a_batch_goes_on_after_the_upgrade(tool: Runner, older: Older, revision: str) -> None:
    older(revision)
    outcome = tool("batch", "-", stdin="db current\ndb upgrade\ncheck\ntask list\n")
    assert outcome.code == 0, outcome.err
    assert f"upgraded from schema {revision}" in outcome.out


@OLDER
def test_one_transaction_of_many_commands_needs_the_newest(tool: Runner, older: Older, revision: str) -> None:
    older(revision)
    outcome = tool("batch", "-", "--atomic", stdin="db upgrade\ncheck\n")
    assert outcome.code == 4
    assert "run 'migratectl db upgrade'" in outcome.err
    assert tool("db", "upgrade").code == 0
    assert tool("batch", "-", "--atomic", stdin="db current\ndb upgrade\ncheck\n").code == 0


@pytest.mark.parametrize("found", ["9999", "9f3c1e5a7b20"])
def test_a_newer_file_is_told_and_not_upgraded(machine: Runner, state: Path, found: str) -> None:
    with closing(sqlite3.connect(state)) as plain, plain:
        plain.execute("UPDATE alembic_version SET version_num = ?", (found,))
    before = rows(state)
    outcome = machine("db", "upgrade", "--json")
    assert (outcome.code, outcome.document["exit"]) == (4, 4)
    assert f"has schema {found}" in outcome.err
    assert "use the version that wrote it" in outcome.err
    assert rows(state) == before
    told = machine("db", "current", "--json").document
    assert (told["revision"], told["current"], told["known"]) == (found, False, False)
    assert "unknown here" in machine("db", "current").out


@pytest.mark.parametrize("words", ["db current", "db upgrade"])
def test_a_file_that_is_none_is_refused(tool: Runner, state: Path, words: str) -> None:
    assert tool(*words.split()).code == 4
    assert not state.exists()
    with closing(sqlite3.connect(state)) as plain, plain:
        plain.execute("CREATE TABLE alembic_version (version_num TEXT)")
        plain.execute("INSERT INTO alembic_version VALUES ('0001')")
    outcome = tool(*words.split())
    assert outcome.code == 4
    assert "not a state file of migratectl" in outcome.err


@pytest.mark.parametrize("words", ["db current", "db upgrade"])
def test_a_file_without_a_revision_is_refused(machine: Runner, state: Path, words: str) -> None:
    with closing(sqlite3.connect(state)) as plain, plain:
        plain.execute("DELETE FROM alembic_version")
    outcome = machine(*words.split())
    assert outcome.code == 4
    assert "no schema version" in outcome.err
