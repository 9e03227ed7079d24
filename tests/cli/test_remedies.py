"""What a user is told who has taken a wrong turn: what is refused, what is said, and that the remedy works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import Make, Runner


def play(tool: Runner, *lines: str) -> None:
    """Run lines that all are done."""
    for line in lines:
        outcome = tool(*line.split())
        assert outcome.code == 0, (line, outcome)


# ---- pages that a cpuset leaves behind


@pytest.mark.parametrize("profile", ["v9", "modern"])
def test_a_move_that_leaves_pages_behind_says_so(make: Make, profile: str) -> None:
    """Eight pages on node 0, the cpuset has node 1 and does not migrate; the remedy lets them follow."""
    tool = make(profile)
    play(tool, "task create --pid 1 --node 0", "mmap 1 8p --label a", "fault 1 a --write", "cpuset create /c --mems 1")
    moved = tool("cpuset", "move", 1, "/c")
    assert moved.code == 0
    assert moved.err == (
        "migratectl: cpuset move: 8 pages lie outside the new nodes and stay there, as memory_migrate of cpuset /c is "
        "off; 'migratectl cpuset set /c --memory-migrate' lets pages follow from then on\n"
    )
    play(tool, "cpuset move 1 /", "cpuset set /c --memory-migrate")
    moved = tool("cpuset", "move", 1, "/c")
    assert (moved.code, moved.err) == (0, "")
    assert tool("task", "list", "--json").document["tasks"][0]["nodes"] == {"1": 8}


def test_a_change_that_leaves_pages_behind_says_so(make: Make) -> None:
    tool = make("v9")
    play(
        tool,
        "cpuset create /c --mems 0-1",
        "task create --pid 1 --node 0 --cpuset /c",
        "mmap 1 1p --label a",
        "fault 1 a --write",
        "fork 1 --pid 2",
    )
    kept = tool("cpuset", "set", "/c", "--mems", 1)
    assert "2 pages lie outside the new nodes" in kept.err, "a page counts once for each task that has it"
    play(tool, "task exit 2", "cpuset set /c --mems 0-1")
    assert "1 page lies outside the new nodes and stays there" in tool("cpuset", "write", "/c", "mems", "1").err
    assert tool("-q", "cpuset", "set", "/c", "--mems", 2).err == ""


def test_nothing_is_said_where_nothing_stays(make: Make) -> None:
    tool = make("v9")
    play(tool, "task create --pid 1 --node 0", "mmap 1 4p --label a", "fault 1 a --write")
    play(tool, "cpuset create /wide --mems 0-1", "cpuset create /same --mems 0-1")
    assert tool("cpuset", "move", 1, "/wide").err == ""
    assert tool("cpuset", "move", 1, "/same").err == ""


# ---- who calls


@pytest.mark.parametrize("who", ["--as 0", "--as 1000", "--by 100"])
@pytest.mark.parametrize("call", ["mbind 100 heap bind 1 --move", "set-mempolicy 100 bind 1"])
def test_what_a_task_calls_itself_has_no_other_caller(machine: Runner, call: str, who: str) -> None:
    before = machine("state", "hash").out
    outcome = machine(*call.split(), *who.split(), "--json")
    assert (outcome.code, outcome.document["exit"]) == (2, 2)
    remedy = re.search(r"'migratectl (task set [^']*)'", outcome.err)
    assert remedy is not None
    assert machine("state", "hash").out == before
    words = remedy[1].replace("--uid U --cap C", "--uid 1000 --cap sys_nice")
    play(machine, words, call)
    assert machine("show", "tasks", 100, "--json").document["tasks"][0]["uid"] == (0 if who == "--as 0" else 1000)


def test_capabilities_of_a_task_change(machine: Runner) -> None:
    """MOVE_ALL needs CAP_SYS_NICE of the task itself; a new user begins with what its user has."""

    def shown() -> tuple[list[str], list[str]]:
        task = machine("show", "tasks", 100, "--json").document["tasks"][0]
        return task["cap"], task["drop_cap"]

    play(machine, "task set 100 --drop-cap sys_nice")
    assert shown() == ([], ["sys_nice"])
    assert machine("mbind", 100, "heap", "bind", 1, "--move-all").code == 1
    play(machine, "task set 100 --cap CAP_SYS_NICE", "mbind 100 heap bind 1 --move-all")
    play(machine, "task set 100 --uid 1000 --cap sys_nice --cap ipc_lock --drop-cap ipc_lock")
    assert shown() == (["sys_nice"], [])
    play(machine, "task set 100 --name x")
    assert shown() == (["sys_nice"], []), "what is not named stays"
    play(machine, "task set 100 --uid 0")
    assert shown() == ([], [])
    refused = machine("task", "set", 100, "--uid", 5, "--cap", "fly")
    assert (refused.code, "no such capability" in refused.err) == (1, True)
    assert machine("show", "tasks", 100, "--json").document["tasks"][0]["uid"] == 0
    assert machine("task", "set", 100).code == 2


# ---- a machine's words


@pytest.mark.parametrize("pair", ["20,10", "10,10", "9,20", "10,255", "0,0", "300,400"])
def test_distances_that_no_machine_has(tool: Runner, state: Path, pair: str) -> None:
    outcome = tool("init", "--nodes", 2, "--distance", pair)
    assert outcome.code == 2
    assert not state.exists()


@pytest.mark.parametrize(
    ("matrix", "line"),
    [("10 20\n20 20\n", 2), ("10 9\n20 10\n", 1), ("10 20\n255 10\n", 2), ("10 20\n15 16\n", 2), ("10 20\n\n5 4\n", 3)],
)
def test_matrices_that_no_machine_has(tool: Runner, tmp_path: Path, matrix: str, line: int) -> None:
    (tmp_path / "m").write_text(matrix)
    outcome = tool("init", "--nodes", 2, "--distance", tmp_path / "m")
    assert outcome.code == 2
    assert f"m:{line}: " in outcome.err


def test_distances_at_the_ends_and_rows_of_their_own(tool: Runner, tmp_path: Path) -> None:
    """The smallest of a row is its own node's; rows need not be alike, nor the matrix symmetric."""
    (tmp_path / "m").write_text("10 254\n21 20\n")
    assert tool("init", "--nodes", 2, "--distance", tmp_path / "m").code == 0
    assert tool("init", "--nodes", 2, "--distance", "253,254", "--force").code == 0
    assert tool("init", "--nodes", 1, "--distance", "10,20", "--force").code == 0


def test_a_matrix_of_one_line_for_two_nodes(tool: Runner, tmp_path: Path) -> None:
    (tmp_path / "m").write_text("10 20\n")
    outcome = tool("init", "--nodes", 2, "--distance", tmp_path / "m")
    assert "has 1 line of distances, the machine 2 nodes; write one line a node" in outcome.err
    assert "has 3 values for 1 node;" in tool("init", "--nodes", 1, "--memory", "1M,1M,1M").err


@pytest.mark.parametrize("word", ["none", "NONE", "None"])
def test_words_are_read_in_any_case(tool: Runner, word: str) -> None:
    assert tool("init", "--nodes", 2, "--swap", word).code == 0
    assert tool("show", "swap", "--json").document["areas"] == []
    play(tool, f"cpuset create /c --mems {word} --cpus {word}", "task create --pid 1", "set-mempolicy 1 interleave ALL")


# ---- addresses


def test_a_label_stands_wherever_an_address_does(machine: Runner) -> None:
    play(machine, "mbind 100 heap+4p@4p bind 1 --move")
    assert machine("get-mempolicy", 100, "heap", "--json").document["mode"] == "default"
    assert machine("get-mempolicy", 100, "heap@4p", "--node", "--json").document["node"] == 1
    moved = machine("move-pages", 100, "heap@2p=1", "heap=1", "0x10004000=0", "--json").document
    assert [(each["addr"], each["node"]) for each in moved["status"]] == [
        ("0x10002000", 1),
        ("0x10000000", 1),
        ("0x10004000", 0),
    ]
    asked = machine("move-pages", 100, "--query", "heap@4p", "heap+2p", "0x10001000", "--json").document
    assert [(each["addr"], each["node"]) for each in asked["status"]] == [
        ("0x10004000", 0),
        ("0x10000000", 1),
        ("0x10001000", 0),
        ("0x10001000", 0),
    ]
    traced = machine("migrate-pages", 100, 1, 0, "--trace=heap@2p", "--dry-run", "--json").document
    assert [(each["addr"], each["pages"]) for each in traced["trace"]] == [("0x10002000", 1)]
    taken = machine("mmap", 100, "1p", "--addr", "heap@1p", "--json")
    assert (taken.code, taken.document["errno"]) == (1, "EEXIST")


@pytest.mark.parametrize("words", ["get-mempolicy 100 ADDR", "move-pages 100 ADDR=1", "mmap 100 1p --addr ADDR"])
@pytest.mark.parametrize("address", ["nothing", "heap@16p"])
def test_a_label_that_is_none(machine: Runner, words: str, address: str) -> None:
    outcome = machine(*words.replace("ADDR", address).split(), "--json")
    assert (outcome.code, outcome.document["errno"]) == (1, "EFAULT")


def test_a_traced_label_is_one_of_each_task(make: Make) -> None:
    """A change of a cpuset moves several tasks; the label is looked for in each."""
    tool = make("v9")
    play(tool, "cpuset create /c --mems 0 --memory-migrate")
    for pid in (1, 2):
        play(tool, f"task create --pid {pid} --cpuset /c --node 0", f"mmap {pid} 2p --label l{pid}")
        play(tool, f"fault {pid} l{pid} --write")
    traced = tool("cpuset", "set", "/c", "--mems", 1, "--trace=l2@1p", "--json").document
    assert [(each["addr"], each["pages"]) for each in traced["trace"]] == [("0x10001000", 1)]
    assert tool("migrate-pages", 1, 0, 1, "--trace=l2").code == 1


# ---- words that are wrong


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("tsak list", "did you mean 'task'?"),
        ("node lst", "did you mean 'list'?"),
        ("migrate_pages 1 0 1", "did you mean 'migrate-pages'?"),
        ("Check", "did you mean 'check'?"),
        ("pin 100 heap", "did you mean 'page pin'?"),
        ("list", "did you mean 'node list' or 'task list'?"),
        ("zzz", "No such command 'zzz' (see"),
        ("check --jsn", "'--json'"),
    ],
)
def test_a_wrong_word_suggests_the_right_one(tool: Runner, words: str, meant: str) -> None:
    outcome = tool(*words.split())
    assert outcome.code == 2
    assert meant in outcome.err


def test_one_place_at_a_time(machine: Runner) -> None:
    outcome = machine("task", "run-on", 100, "--node", 1, "--cpu", 4)
    assert outcome.code == 2
    assert "--node and --cpu: give only one of them" in outcome.err


def test_a_state_file_without_a_name(tool: Runner) -> None:
    outcome = tool("-s", "", "check")
    assert outcome.code == 2
    assert "names no file" in outcome.err


@pytest.mark.parametrize("words", ["check", "init", "init --force"])
def test_a_file_of_somebody_else(tool: Runner, tmp_path: Path, words: str) -> None:
    """Nobody is told to restore it, to replace it or to remove it."""
    other = tmp_path / "passwd"
    other.write_text("root:x:0:0:root:/root:/bin/bash\n" * 100)
    outcome = tool("-s", other, *words.split())
    assert outcome.code == 4
    assert re.search(r"not a state file of migratectl.*name another: -s FILE\n$", outcome.err)
    assert not re.search(r"restore|remove|--force", outcome.err)
