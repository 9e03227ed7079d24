"""The schema: metadata, ``schema.sql``, migrations and a file made by ``init`` agree; other versions are refused."""

from __future__ import annotations

import io
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from migratectl.cli import run
from migratectl.storage import schema
from migratectl.storage.connection import Connection, connect
from migratectl.storage.tables import metadata
from tests.conftest import Runner

ROOT = Path(__file__).resolve().parents[1]
KEYED = {"distances", "shared_policies", "vmas", "labels", "words", "ptes", "resident"}
NEVER_REUSED = {"mappings", "mms", "pages", "journal"}

Master = dict[tuple[str, str, str], str | None]


@contextmanager
def database(path: Path) -> Iterator[Connection]:
    """A transaction on a plain database, committed at the end."""
    with closing(connect(path, mode="rwc")) as conn, conn.transaction(write=True):
        yield conn


def master(path: Path, *, stamped: bool = False) -> Master:
    """What sqlite_master says, by (type, name, table); white space at line ends and tabs do not count."""
    with closing(sqlite3.connect(path)) as plain:
        rows = plain.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    return {
        (kind, name, table): None if sql is None else "\n".join(map(str.rstrip, sql.expandtabs(4).strip().splitlines()))
        for kind, name, table, sql in rows
        if stamped or table != "alembic_version"
    }


@pytest.fixture
def created(tmp_path: Path) -> Path:
    """A file made from the metadata."""
    path = tmp_path / "created.db"
    with database(path) as conn:
        schema.create(conn)
    return path


@pytest.fixture
def migrated(tmp_path: Path) -> Path:
    """An empty file after all migrations."""
    path = tmp_path / "migrated.db"
    with database(path) as conn:
        schema.upgrade(conn)
    return path


def test_the_migrations_lead_to_the_metadata(created: Path, migrated: Path) -> None:
    assert master(migrated, stamped=True) == master(created, stamped=True)


def test_schema_sql_is_the_metadata(created: Path, tmp_path: Path) -> None:
    path = tmp_path / "text.db"
    with closing(sqlite3.connect(path)) as plain:
        plain.executescript((ROOT / "schema.sql").read_text(encoding="utf-8"))
    assert master(path) == master(created)


def test_schema_sql_is_what_the_module_writes() -> None:
    """``python -m migratectl.storage.schema > schema.sql`` changes nothing."""
    written = subprocess.run(
        [sys.executable, "-m", "migratectl.storage.schema"], capture_output=True, check=True, cwd=ROOT
    )
    assert written.stdout == (ROOT / "schema.sql").read_bytes()
    assert written.stderr == b""


def test_a_file_of_init_has_this_schema(tool: Runner, state: Path, created: Path, migrated: Path) -> None:
    assert tool("init").code == 0
    assert master(state, stamped=True) == master(created, stamped=True) == master(migrated, stamped=True)


def test_every_table_is_there(created: Path) -> None:
    """The comparisons above do not compare nothing with nothing."""
    names = {name for kind, name, _ in master(created) if kind == "table"} - {"sqlite_sequence"}
    assert names == set(metadata.tables)
    assert {name for kind, name, _ in master(created) if kind == "view"} == {"task_nodes", "task_vmas"}


def test_tables_are_strict_and_keyed_as_meant(migrated: Path) -> None:
    """STRICT everywhere; no rowid where the key is natural; AUTOINCREMENT where a row id must never come back."""
    with closing(sqlite3.connect(migrated)) as plain:
        rows = plain.execute("SELECT name, wr, strict FROM pragma_table_list WHERE type = 'table'").fetchall()
        plain.execute("PRAGMA foreign_keys = ON")
        generated = plain.execute("SELECT hidden FROM pragma_table_xinfo('pages') WHERE name = 'next'").fetchone()
    ours = {name: (wr, strict) for name, wr, strict in rows if name in metadata.tables}
    assert ours.keys() == metadata.tables.keys()
    assert {name for name, (_, strict) in ours.items() if not strict} == set()
    assert {name for name, (wr, _) in ours.items() if wr} == KEYED
    assert {name for (_, name, _), sql in master(migrated).items() if sql and "AUTOINCREMENT" in sql} == NEVER_REUSED
    assert generated == (2,), "next is a generated column that is not stored"


def test_the_newest_revision_is_the_one_that_init_stamps() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.script_location()))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [schema.REVISION]
    assert tuple(reversed([each.revision for each in scripts.walk_revisions()])) == schema.REVISIONS


def test_a_released_revision_does_not_look_at_the_metadata() -> None:
    """The metadata goes on to change; what a revision made must not change with it."""
    for path in sorted((schema.script_location() / "versions").glob("*.py")):
        assert "migratectl" not in path.read_text(encoding="utf-8"), f"{path.name} imports the package"


def test_an_upgrade_is_one_transaction(tmp_path: Path) -> None:
    """What fails half-way leaves the file as it was."""
    path = tmp_path / "half.db"

    def upgrade_and_fail() -> None:
        with database(path) as conn:
            schema.upgrade(conn)
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        upgrade_and_fail()
    assert master(path, stamped=True) == {}


def test_upgrading_twice_changes_nothing(migrated: Path) -> None:
    before = migrated.read_bytes()
    with database(migrated) as conn:
        schema.upgrade(conn)
    assert migrated.read_bytes() == before


def test_a_source_tree_finds_its_migrations() -> None:
    """Also the tree that an editable install points to."""
    assert schema.script_location() == ROOT / "migrations"
    assert (schema.script_location() / "env.py").is_file()


@pytest.mark.parametrize("found", ["9999", "9f3c1e5a7b20", ""])
def test_a_file_of_another_revision_is_refused(machine: Runner, state: Path, found: str) -> None:
    """Neither read nor written, whatever the command."""
    with closing(sqlite3.connect(state)) as plain, plain:
        plain.execute("UPDATE alembic_version SET version_num = ?", (found,))
    before = sorted(master(state, stamped=True))
    for words in ("show nodes", "migrate-pages 100 0 1", "check", "state hash", "migrate-pages 100 0 1 --dry-run"):
        outcome = machine(*words.split(), "--json")
        assert (outcome.code, outcome.document["exit"]) == (4, 4), words
        assert outcome.err.count("\n") == 1
        assert f"schema {found}" in outcome.err
        assert schema.REVISION in outcome.err
        assert "db upgrade" not in outcome.err, "it leads to no version that is not known"
    assert sorted(master(state, stamped=True)) == before


@pytest.mark.parametrize("damage", ["DELETE FROM alembic_version", "DROP TABLE alembic_version"])
def test_a_file_without_a_revision_is_refused(machine: Runner, state: Path, damage: str) -> None:
    with closing(sqlite3.connect(state)) as plain, plain:
        plain.execute(damage)
    outcome = machine("show", "nodes")
    assert outcome.code == 4
    assert "no schema version" in outcome.err


def test_a_database_of_somebody_else_is_refused(tool: Runner, state: Path, created: Path) -> None:
    """The tables and the revision are right, the application id is not."""
    shutil.copy(created, state)
    outcome = tool("show", "nodes")
    assert outcome.code == 4
    assert "not a state file" in outcome.err


VIEW_ROWS = {
    "task_nodes": [(100, "db", 0, 16)],
    "task_vmas": [(100, "db", "10000000", "10010000", 16, "anon", "anon:100", "default", "")],
}


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state file that no test changes: two nodes of 1000 pages, 16 written pages of task 100 on node 0."""
    path = tmp_path_factory.mktemp("standing") / "state.db"
    script = "init --nodes 2 --memory 1000p --swap 1000p\ntask create --pid 100 --name db --node 0\n"
    script += "mmap 100 16p --label heap\nfault 100 heap --write\n"
    out, err = io.StringIO(), io.StringIO()
    assert run(["-s", str(path), "batch", "-"], out, err, io.StringIO(script)) == 0, err.getvalue()
    return path


@pytest.mark.parametrize(("view", "rows"), VIEW_ROWS.items(), ids=VIEW_ROWS)
def test_the_views_read_like_show(standing: Path, view: str, rows: list[tuple[object, ...]]) -> None:
    """Task 100 has one area of 16 pages (0x10 pages of 4096 bytes are 0x10000), all written on node 0."""
    with closing(sqlite3.connect(standing)) as plain:
        assert plain.execute(f"SELECT * FROM {view}").fetchall() == rows


REFUSED = {
    "count 0": "UPDATE pages SET count = 0",
    "step 0": "UPDATE pages SET step = 0",
    "a single page with a step": "UPDATE pages SET count = 1, step = 2",
    "a pin without a count": "UPDATE pages SET pin = 3",
    "a swap pte that is young": "UPDATE ptes SET present = 0, young = 1",
    "a swap pte that is writable": "UPDATE ptes SET present = 0, young = 0, dirty = 0, writable = 1",
    "more used than there is": "UPDATE nodes SET used = 1001",
    "other and used together beyond the capacity": "UPDATE nodes SET other = 500, used = 501",
    "used below 0": "UPDATE nodes SET used = -1",
    "more slots used than there are": "UPDATE swap_areas SET used = 1001",
    "an area without pages": 'UPDATE vmas SET "end" = start',
    "a text where a number belongs": "UPDATE pages SET node = 'zero'",
    "a page of no mapping": "UPDATE pages SET mapping = 99",
    "a pte of no page": "UPDATE ptes SET page = 99",
    "a page on no node": "UPDATE pages SET node = 99",
    "a second row of facts": "INSERT INTO facts VALUES (2, 'migratectl/1', 4096, 'v9', '')",
    "a page size that is no power of two": "UPDATE facts SET page_size = 4095",
    "an unknown profile": "UPDATE facts SET profile = 'v10'",
    "more buffers than a page has": "UPDATE mappings SET ring = 9",
    "an unknown kind of hold": "INSERT INTO holds(page, pid, kind, passes) VALUES (1, 100, 'grip', 1)",
}


@pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED)
def test_what_a_row_can_promise_alone_it_promises(standing: Path, statement: str) -> None:
    with closing(sqlite3.connect(standing)) as plain:
        plain.execute("PRAGMA foreign_keys = ON")
        with pytest.raises(sqlite3.IntegrityError):
            plain.execute(statement)
