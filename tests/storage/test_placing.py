"""A new state file and what other lives left beside its name: logs, drafts, processes that still work on them."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from migratectl.errors import StateBusy, StateFileError
from migratectl.storage import placing
from migratectl.storage.engine import StateFile
from tests.conftest import Outcome, Runner
from tests.storage import states

ROOT = Path(__file__).resolve().parents[2]
WRITER = [sys.executable, "-m", "migratectl", "batch", "-"]


@contextmanager
def open_batch(state: Path, tasks: int) -> Iterator[subprocess.Popen[str]]:
    """A batch that has made some tasks and waits for its next line, the state file and its log open."""
    environment = dict(os.environ) | {"MIGRATECTL_STATE": str(state)}
    with subprocess.Popen(
        WRITER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        lines = [f"task create --pid {pid} --json" for pid in range(101, 101 + tasks)]
        for line in (*lines, "task list --json"):  # a result is told before its commit, so one line more
            writer.stdin.write(f"{line}\n")
            writer.stdin.flush()
            writer.stdout.readline()
        yield writer
        if writer.poll() is None:
            writer.kill()


def leave_log(state: Path, tasks: int = 5) -> None:
    """Let a batch be killed that has made some tasks: they are in the log alone."""
    with open_batch(state, tasks) as writer:
        writer.kill()
        assert writer.wait() == -signal.SIGKILL
    assert state.with_name("state.db-wal").stat().st_size > 0


def tasks(tool: Runner) -> list[int]:
    """The pids of the state."""
    return [task["pid"] for task in tool("task", "list", "--json").document["tasks"]]


def leftovers(folder: Path) -> list[str]:
    """What lies in the folder besides the state file, by the last part of its name."""
    return sorted(path.name for path in folder.iterdir() if path.name != "state.db")


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_the_log_of_a_removed_file_does_not_meet_the_new_one(tool: Runner, state: Path, force: list[str]) -> None:
    """Five tasks in the log of a killed batch, the file removed: the new machine has none."""
    assert tool("init", "--nodes", 4).code == 0
    leave_log(state)
    state.unlink()
    assert tool("init", "--nodes", 2, *force).code == 0
    assert tasks(tool) == []
    assert len(tool("node", "list", "--json").document["nodes"]) == 2
    assert tool("check").code == 0
    assert leftovers(state.parent) == []


@pytest.mark.parametrize("words", ["init --nodes 3", "import TREE"])
@pytest.mark.parametrize("side", placing.SIDES)
def test_whatever_lies_beside_the_name_goes(tool: Runner, state: Path, tmp_path: Path, words: str, side: str) -> None:
    """Also what is no log at all, and the journal of a file that was in another mode."""
    node = tmp_path / "tree/sys/devices/system/node/node0"
    node.mkdir(parents=True)
    (node / "meminfo").write_text("Node 0 MemTotal: 4096 kB\nNode 0 MemFree: 4096 kB\n")
    (node / "cpulist").write_text("0\n")
    (node / "distance").write_text("10\n")
    state.with_name(f"state.db{side}").write_bytes(b"\x37\x7f\x06\x82" + b"x" * 4096)
    assert tool(*words.replace("TREE", str(tmp_path / "tree")).split()).code == 0
    assert leftovers(tmp_path) == ["tree"]
    assert tool("check").code == 0


def test_a_hot_journal_is_not_rolled_back_into_the_new_file(tool: Runner, state: Path) -> None:
    """A file that another program put into the mode DELETE, and whose writer was killed with pages in the file."""
    assert tool("init", "--nodes", 4).code == 0
    script = f"""
import os, signal, sqlite3
conn = sqlite3.connect({str(state)!r}, isolation_level=None)
conn.execute("PRAGMA journal_mode=DELETE")
conn.execute("PRAGMA cache_spill=1")
conn.execute("PRAGMA cache_size=1")
conn.execute("BEGIN IMMEDIATE")
conn.execute("UPDATE nodes SET other = 7")
for k in range(2000):
    conn.execute("INSERT INTO labels VALUES (1, ?, 0, 1)", (f"{{k:0500}}",))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -signal.SIGKILL
    assert leftovers(state.parent) == ["state.db-journal"]
    state.unlink()
    assert tool("init", "--nodes", 2).code == 0
    assert leftovers(state.parent) == []
    assert len(tool("node", "list", "--json").document["nodes"]) == 2
    assert tool("check").code == 0


def test_force_over_a_file_with_the_log_of_a_killed_process(tool: Runner, state: Path) -> None:
    assert tool("init", "--nodes", 4).code == 0
    leave_log(state)
    assert tool("init", "--nodes", 2, "--force").code == 0
    assert tasks(tool) == []
    assert leftovers(state.parent) == []


def test_a_damaged_file_and_its_log_are_replaced(tool: Runner, state: Path) -> None:
    assert tool("init", "--nodes", 4).code == 0
    leave_log(state)
    content = state.read_bytes()
    state.write_bytes(content[:100] + b"\x5a" * (len(content) - 100))
    assert tool("init", "--nodes", 2, "--force").code == 0
    assert tasks(tool) == []
    assert tool("check").code == 0


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_the_log_of_a_removed_file_is_busy_while_somebody_has_it_open(
    tool: Runner, state: Path, force: list[str]
) -> None:
    """The batch lives: its next line would go into a log that by then is another file's."""
    assert tool("init", "--nodes", 4).code == 0
    with open_batch(state, 1) as writer:
        state.unlink()
        refused = tool("--timeout", 0, "init", "--nodes", 2, *force)
        assert refused.code == 6
        assert "busy for 0 s" in refused.err
        assert not state.exists()
        _, lost = writer.communicate("task create --pid 500\n")
        assert writer.returncode == 4, lost
    assert tool("init", "--nodes", 2, *force).code == 0
    assert tasks(tool) == []


def test_an_open_batch_keeps_its_file(tool: Runner, state: Path) -> None:
    assert tool("init", "--nodes", 4).code == 0
    with open_batch(state, 1) as writer:
        assert tool("--timeout", 0, "init", "--force").code == 6
        writer.communicate("task create --pid 500\n")
        assert writer.returncode == 0
    assert tasks(tool) == [101, 500]


def test_a_file_that_goes_away_while_it_is_open_is_told(tool: Runner, state: Path, tmp_path: Path) -> None:
    """What is committed into a file without a name is lost: neither a name that is gone nor another file will do."""
    assert tool("init").code == 0
    file = StateFile(state)
    with file.transaction(write=False):
        pass
    state.rename(tmp_path / "away.db")
    with pytest.raises(StateFileError, match="removed or replaced"), file.transaction(write=True):
        pytest.fail("began on a file that has no name")
    (tmp_path / "away.db").rename(state)
    with pytest.raises(StateFileError, match="removed or replaced"), file.transaction(write=True):
        state.rename(tmp_path / "away.db")
    file.close()


def test_two_processes_make_one_file(tool: Runner, state: Path) -> None:
    """One of them makes it; the log that the other's user writes at once stays with it."""
    words = [sys.executable, "-m", "migratectl", "-s", str(state), "init", "--nodes"]
    makers = [subprocess.Popen([*words, str(nodes)], cwd=ROOT, stderr=subprocess.PIPE) for nodes in (2, 3, 4)]
    said = [maker.communicate()[1] for maker in makers]
    codes = sorted(maker.returncode for maker in makers)
    assert codes == [0, 4, 4], said
    winner = next(nodes for nodes, maker in zip((2, 3, 4), makers, strict=True) if maker.returncode == 0)
    assert len(tool("node", "list", "--json").document["nodes"]) == winner
    assert leftovers(state.parent) == []


def test_two_processes_replace_one_file(tool: Runner, state: Path) -> None:
    assert tool("init").code == 0
    words = [sys.executable, "-m", "migratectl", "-s", str(state), "init", "--force", "--nodes"]
    makers = [subprocess.Popen([*words, str(nodes)], cwd=ROOT) for nodes in (2, 3)]
    assert [maker.wait() for maker in makers] == [0, 0]
    assert len(tool("node", "list", "--json").document["nodes"]) in (2, 3)
    assert tool("check").code == 0
    assert leftovers(state.parent) == []


def test_the_folder_is_held_while_a_file_is_put_in_place(state: Path) -> None:
    holder = "import fcntl, os, sys; fd = os.open(sys.argv[1], os.O_RDONLY); fcntl.flock(fd, fcntl.LOCK_EX)\n"
    holder += "print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(state.parent)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(StateBusy), StateFile(state, timeout=0).create(force=False):
            pytest.fail("made a draft in a folder that is held")
        other.communicate("")
    with StateFile(state, timeout=0).create(force=False) as conn:
        states.furnish(conn)
    assert leftovers(state.parent) == []


def test_the_log_is_gone_from_the_disk_before_the_name_changes_hands(
    tool: Runner, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash the names may be of any moment between two syncs of the folder, in any order."""
    assert tool("init", "--nodes", 4).code == 0
    leave_log(state)
    steps: list[str] = []

    def told(name: str, call: object) -> object:
        def wrapper(*args: object, **keywords: object) -> object:
            subject = os.readlink(f"/proc/self/fd/{args[0]}") if name == "fsync" else str(args[0])
            if str(state.parent) in subject:
                steps.append(f"{name} {'folder' if subject == str(state.parent) else Path(subject).name[-4:]}")
            return call(*args, **keywords)  # type: ignore[operator]  # whichever of the os it is

        return wrapper

    monkeypatch.setattr(os, "fsync", told("fsync", os.fsync))
    monkeypatch.setattr(os, "unlink", told("unlink", os.unlink))
    monkeypatch.setattr(os, "replace", told("replace", os.replace))
    assert tool("init", "--nodes", 2, "--force").code == 0
    placed = steps[: steps.index("replace .new") + 2]
    assert placed == [
        "fsync .new",
        "unlink -wal",
        "unlink -shm",
        "unlink rnal",
        "fsync folder",
        "replace .new",
        "fsync folder",
    ]


KILLED_AT = """
import os, signal, sys
from migratectl.cli import call, deferred, run, state
from migratectl.storage import engine, tables
folder = sys.argv[1]
run(["-s", folder + "/none", "init", "--dry-run"])

def attempt(point):
    seen = 0
    def watch(event, args):
        nonlocal seen
        if event.startswith(("fcntl.", "sqlite3.connect")) or any(folder in str(each) for each in args):
            seen += 1
            if seen == point:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)
    os._exit(run(sys.argv[2:]))

for line in sys.stdin:
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        attempt(int(line))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Runs a command again and again, each time killed before a later touch of its folder; forked, to be quick."""


@contextmanager
def killer(state: Path, *words: str) -> Iterator[Callable[[int], int]]:
    """Runs a command that is killed before the so-many-th touch of its folder, and gives its exit code."""
    argv = [sys.executable, "-c", KILLED_AT, str(state.parent), "-s", str(state), *words]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        lines, answers = process.stdin, process.stdout
        while not answers.readline().startswith("   0"):
            pass  # what the first run printed

        def run(point: int) -> int:
            lines.write(f"{point}\n")
            lines.flush()
            return int(answers.readline())

        yield run


@pytest.mark.parametrize("before", ["nothing", "log", "file and log"])
def test_a_replacement_that_is_killed_at_any_point(
    tool: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    """What is there afterwards is the old state or the new one, whole; no draft stays, and the next try succeeds."""
    codes: list[int] = []
    kept = tmp_path / "kept"
    kept.mkdir()
    if before != "nothing":
        assert tool("-s", kept / "state.db", "init", "--nodes", 4).code == 0
        leave_log(kept / "state.db", 1)
    if before == "log":
        (kept / "state.db").unlink()
    state = tmp_path / "tried" / "state.db"
    monkeypatch.setenv("MIGRATECTL_STATE", str(state))
    state.parent.mkdir()
    with killer(state, "init", "--nodes", "2", *(["--force"] if before == "file and log" else [])) as run:
        while 0 not in codes:
            shutil.rmtree(state.parent)
            shutil.copytree(kept, state.parent)
            codes.append(run(len(codes) + 1))
            nodes = nodes_of(tool, state)
            assert nodes in (2, 4 if before == "file and log" else None), (codes, nodes)
            assert tool("init", "--nodes", 3, "--force").code == 0
            assert (nodes_of(tool, state), tasks(tool)) == (3, [])
            assert leftovers(state.parent) == [], codes
    assert codes.count(-signal.SIGKILL) == len(codes) - 1 > 10


def nodes_of(tool: Runner, state: Path) -> int | None:
    """How many nodes the machine has, its state found sound; None where there is no state file."""
    if not state.exists():
        return None
    sound: Outcome = tool("check")
    assert sound.code == 0, sound
    listed: Outcome = tool("node", "list", "--json")
    assert listed.code == 0, listed
    nodes = len(listed.document["nodes"])
    assert tasks(tool) == ([101] if nodes == 4 else [])
    return nodes


def test_a_draft_that_somebody_works_on_is_left_alone(tool: Runner, state: Path) -> None:
    with StateFile(state).create(force=True) as conn:
        states.furnish(conn)
        draft = next(path for path in state.parent.iterdir() if path.suffix == ".new")
        argv = [sys.executable, "-m", "migratectl", "-s", str(state), "init", "--nodes", "2"]
        assert subprocess.run(argv, check=False, cwd=ROOT, stdout=subprocess.DEVNULL).returncode == 0
        assert draft.exists()
    with closing(sqlite3.connect(state)) as plain:
        assert plain.execute("SELECT count(*) FROM tasks").fetchone() == (2,)


def test_other_files_with_a_similar_name_stay(tool: Runner, state: Path) -> None:
    others = [state.with_name(f".{state.name}.{middle}.new") for middle in ("mine", "0123abcd.old", "0123ABCD")]
    for path in others:
        path.write_text("mine")
    pipe = state.with_name(f".{state.name}.0123abcd.new")
    os.mkfifo(pipe)
    assert tool("init", "--nodes", "2").code == 0
    assert [path.read_text() for path in others] == ["mine"] * 3
    assert pipe.is_fifo()
