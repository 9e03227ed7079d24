"""Transactions on a state file: all or nothing, for errors, dry runs, other processes and processes that are killed."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from migratectl.errors import StateBusy, StateFileError
from migratectl.storage.digest import state_hash
from migratectl.storage.engine import APPLICATION_ID, StateFile
from migratectl.storage.work import write
from tests.storage import states

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A state file of its own."""
    where = tmp_path / "state.db"
    file = StateFile(where)
    with file.create(force=False) as conn:
        states.furnish(conn)
    file.close()
    return where


def names(path: Path) -> list[str]:
    """The tasks' names, as another process reads them."""
    with closing(sqlite3.connect(path)) as plain:
        return [name for (name,) in plain.execute("SELECT name FROM tasks ORDER BY pid")]


RENAME = "UPDATE tasks SET name = 'new' WHERE pid = 10"


def test_the_end_of_a_transaction_commits(path: Path) -> None:
    file = StateFile(path)
    with file.transaction(write=True) as conn:
        assert not conn.changed
        assert write(conn, RENAME) == 1
        assert conn.changed
        assert names(path) == ["a", "b"], "nobody sees it before"
    assert names(path) == ["new", "b"]
    with file.transaction(write=True) as conn:
        assert not conn.changed, "each transaction counts for itself"
    file.close()


def test_an_error_rolls_back_and_leaves_the_file_usable(path: Path) -> None:
    file = StateFile(path)

    def fail() -> None:
        with file.transaction(write=True) as conn:
            write(conn, RENAME)
            raise KeyError("something else")

    with pytest.raises(KeyError, match="something else"):
        fail()
    assert names(path) == ["a", "b"]
    with file.transaction(write=True) as conn:
        write(conn, RENAME)
    assert names(path) == ["new", "b"]
    file.close()


def test_a_dry_run_is_the_same_and_a_rollback(path: Path) -> None:
    file = StateFile(path)
    with file.transaction(write=False) as conn:
        before = state_hash(conn)
    with file.transaction(write=True, dry_run=True) as conn:
        write(conn, RENAME)
        assert conn.execute("SELECT name FROM tasks WHERE pid = 10").scalar_one() == "new"
        assert state_hash(conn) != before
    with file.transaction(write=False) as conn:
        assert state_hash(conn) == before
    file.close()


def test_a_read_transaction_sees_one_state_throughout(path: Path) -> None:
    """What another process commits meanwhile is seen by the next transaction."""
    file = StateFile(path)
    with file.transaction(write=False) as conn:
        before = state_hash(conn)
        with closing(sqlite3.connect(path)) as plain, plain:
            plain.execute(RENAME)
        assert state_hash(conn) == before
    with file.transaction(write=False) as conn:
        assert state_hash(conn) != before
    file.close()


@pytest.mark.parametrize("timeout", [0.0, 0.3])
def test_a_busy_file_is_given_up_after_the_timeout(path: Path, timeout: float) -> None:
    """Readers do not wait; afterwards the same object works."""
    file = StateFile(path, timeout)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with file.transaction(write=False) as conn:
            assert state_hash(conn)
        began = time.monotonic()
        with pytest.raises(StateBusy, match=f"busy for {timeout:g} s"), file.transaction(write=True):
            pytest.fail("began in spite of the other process")
        assert time.monotonic() - began >= timeout
        other.execute("ROLLBACK")
    with file.transaction(write=True) as conn:
        write(conn, RENAME)
    assert names(path) == ["new", "b"]
    file.close()


def test_a_waiting_writer_goes_on_when_the_other_is_done(path: Path) -> None:
    script = f"import sqlite3, time; c = sqlite3.connect({str(path)!r}, isolation_level=None)\n"
    script += "c.execute('BEGIN IMMEDIATE'); print('held', flush=True); time.sleep(0.3); c.execute('COMMIT')"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        file = StateFile(path, timeout=30)
        with file.transaction(write=True) as conn:
            write(conn, RENAME)
        file.close()
    assert names(path) == ["new", "b"]


VICTIM = """
import sys, time
from pathlib import Path
from migratectl.storage.engine import StateFile
from migratectl.storage.work import write
file = StateFile(Path(sys.argv[1]))
with file.transaction(write=True) as conn:
    conn.execute("PRAGMA cache_spill = 1")
    conn.execute("PRAGMA cache_size = 1")
    for pid in range(1000, 3000):
        into = "INSERT INTO tasks(pid, name, uid, cpu, cpuset, mm, caps, tgid)"
        write(conn, f"{into} VALUES (?1, ?2, 0, 0, 1, NULL, 0, ?1)", (pid, "x" * 500))
    if sys.argv[2] == "inside":
        print("ready", flush=True)
        time.sleep(60)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("when", "tasks"), [("inside", 2), ("after", 2002)])
def test_a_killed_process_leaves_the_state_before_or_after(path: Path, when: str, tasks: int) -> None:
    """Inside the transaction a megabyte has been written, most of it spilt into the log already."""
    with subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(path), when], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "ready\n"
        victim.send_signal(signal.SIGKILL)
        assert victim.wait() == -signal.SIGKILL
    file = StateFile(path)
    with file.transaction(write=True) as conn:
        assert conn.execute("SELECT count(*) FROM tasks").scalar_one() == tasks
        assert conn.execute("PRAGMA integrity_check").scalar_one() == "ok"
        write(conn, RENAME)
    file.close()
    assert names(path)[0] == "new"


def test_settings_of_a_connection(path: Path) -> None:
    """WAL, every commit on the disk (FULL is 2), foreign keys watched, work tables not in a file."""
    file = StateFile(path)
    with file.transaction(write=False) as conn:
        found = {
            name: conn.execute(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "temp_store", "application_id")
        }
    file.close()
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "temp_store": 2,
        "application_id": APPLICATION_ID,
    }


def mode(path: Path) -> int:
    """The permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    """Mode 0600, whatever the umask; the log beside it too."""
    where = tmp_path / "state.db"
    old = os.umask(0)
    try:
        file = StateFile(where)
        with file.create(force=False) as conn:
            states.furnish(conn)
        assert mode(where) == 0o600
        with file.transaction(write=True) as conn:
            write(conn, RENAME)
            assert {mode(path) for path in tmp_path.iterdir()} == {0o600}
            assert len(list(tmp_path.iterdir())) == 3, "the file, its log and the log's index"
        file.close()
    finally:
        os.umask(old)


def test_a_file_that_is_there_is_not_replaced_without_force(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(StateFileError, match="--force"), StateFile(path).create(force=False):
        pytest.fail("made a draft of a file that is there")
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["state.db"]


def test_force_replaces_it(path: Path) -> None:
    file = StateFile(path)
    with file.create(force=True) as conn:
        states.furnish(conn)
        write(conn, RENAME)
        assert names(path) == ["a", "b"], "the old file stands until the new one is whole"
    assert names(path) == ["new", "b"]
    assert os.listdir(path.parent) == ["state.db"]


@pytest.mark.parametrize("force", [False, True])
def test_a_file_that_could_not_be_filled_leaves_nothing(path: Path, force: bool) -> None:
    where = path if force else path.with_name("other.db")
    before = sorted(os.listdir(path.parent))

    def fail() -> None:
        with StateFile(where).create(force=force) as conn:
            states.furnish(conn)
            raise ValueError("no such machine")

    with pytest.raises(ValueError, match="no such machine"):
        fail()
    assert sorted(os.listdir(path.parent)) == before
    assert names(path) == ["a", "b"]


def test_a_dry_run_makes_no_file(tmp_path: Path) -> None:
    with StateFile(tmp_path / "state.db").create(force=False, dry_run=True) as conn:
        states.furnish(conn)
    assert os.listdir(tmp_path) == []


def test_a_file_made_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    """Two processes make one file: the second to finish is refused, the first one's file stays."""
    where = tmp_path / "state.db"

    def make_second() -> None:
        with StateFile(where).create(force=False) as conn:
            states.furnish(conn)
            where.write_bytes(b"first")

    with pytest.raises(StateFileError, match="another process"):
        make_second()
    assert where.read_bytes() == b"first"


def test_no_directory_no_file(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "no" / "state.db")
    with pytest.raises(StateFileError, match="no such directory"), file.create(force=False):
        pytest.fail("made a draft nowhere")
    with pytest.raises(StateFileError, match="migratectl init"), file.transaction(write=False):
        pytest.fail("opened what is not there")
    assert os.listdir(tmp_path) == []


def test_a_damaged_file_is_said_to_be_damaged(path: Path) -> None:
    """Everything behind the first page is noise."""
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\x5a" * (len(content) - 4096))
    with pytest.raises(StateFileError, match="damaged"), StateFile(path).transaction(write=True) as conn:
        state_hash(conn)


def test_no_room_is_said_and_changes_nothing(path: Path) -> None:
    file = StateFile(path)

    def fill() -> None:
        with file.transaction(write=True) as conn:
            conn.execute("PRAGMA max_page_count = 1")  # the smallest that is allowed: the present size
            for k in range(1000):
                write(conn, "INSERT INTO labels VALUES (1, ?, 0, 1)", (f"{k:0500}",))

    with pytest.raises(StateFileError, match="no room"):
        fill()
    file.close()
    with closing(sqlite3.connect(path)) as plain:
        assert plain.execute("SELECT count(*) FROM labels").fetchone() == (0,)
