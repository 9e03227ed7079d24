"""The documents of ``--json``: each command's has the same keys whatever becomes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from migratectl.render.keys import HEAD, KEYS
from tests.conftest import Runner
from tests.test_docs import COMMANDS as REGISTRY
from tests.test_docs import commands

ALL = [name for name, entry in commands(REGISTRY)]

DONE = {
    "import": "TREE --force",
    "import-numa-maps": "TEXT --pid 55",
    "init": "--force",
    "log show": "1",
    "node offline": "1 --dry-run",
    "node online": "1",
    "node weight": "0 2",
    "task create": "--pid 200",
    "task set": "100 --name x",
    "task run-on": "100 --cpu 1",
    "task exit": "100",
    "fork": "100 --pid 101",
    "mmap": "100 1p",
    "munmap": "100 heap",
    "mlock": "100 heap",
    "munlock": "100 heap",
    "mprotect": "100 heap r",
    "madvise": "100 heap dontneed",
    "fault": "100 heap",
    "page lock": "100 heap+1p",
    "page unlock": "100",
    "page pin": "100 heap",
    "page unpin": "100",
    "page writeback": "100 map+1p",
    "page unwriteback": "100",
    "page park": "100 heap+1p",
    "page unpark": "100",
    "page buffers": "100 map+1p --state idle",
    "file create": "/new 4p --fs ext2",
    "file read": "/f",
    "file write": "/f",
    "file truncate": "/f 1p",
    "file sync": "/f",
    "swap on": "more 1M",
    "swap out": "100 heap",
    "swap off": "swap0",
    "set-mempolicy": "100 bind 0",
    "get-mempolicy": "100",
    "mbind": "100 heap bind 1 --move",
    "migrate-pages": "100 0 1",
    "move-pages": "100 heap=1",
    "cpuset create": "/new --mems 0",
    "cpuset set": "/c --mems 0",
    "cpuset move": "100 /c",
    "cpuset read": "/c mems",
    "cpuset write": "/c mems 0",
    "cpuset remove": "/c",
    "show pages": "100",
    "explain": "100 heap",
    "numa-maps": "100",
}
"""Words with which a command is done; the others need none."""

BEFORE = {"node online": "node offline 1", "node weight": "init --nodes 2 --profile modern --force"}
"""What has to come before."""

REFUSED: dict[str, str | None] = {
    **dict.fromkeys(("init", "import"), None),
    "import-numa-maps": "TEXT --pid 100",
    "log show": "99",
    "node offline": "9",
    "node online": "0",
    "node weight": "0 1",
    "task create": "--pid 100",
    "fork": "7 --pid 8",
    "mmap": "7 1p",
    "cpuset create": "/c --mems 0",
    "cpuset set": "/no --mems 0",
    "cpuset move": "100 /no",
    "cpuset read": "/no mems",
    "cpuset write": "/no mems 0",
    "cpuset remove": "/no",
    "file create": "/f 4p --fs ext2",
    "file read": "/no",
    "file write": "/no",
    "file truncate": "/no 0",
    "file sync": "/no",
    "swap on": "swap0 1M",
    "swap off": "no",
}
"""Words with which a call fails; the others fail with the pid of no task, where they take one."""


@pytest.fixture
def full(machine: Runner) -> Runner:
    """The machine of the tests with a file and a cpuset besides, so that every command has something to work on."""
    for line in (
        "file create /f 4p --fs ext2",
        "mmap 100 4p --shared --file /f --label map",
        "fault 100 map --write",
        "cpuset create /c --mems 0-1",
    ):
        assert machine(*line.split()).code == 0
    return machine


def words(name: str, table: dict[str, str | None], tmp_path: Path) -> list[str]:
    """A command line with the files of the test."""
    node = tmp_path / "tree/sys/devices/system/node/node0"
    node.mkdir(parents=True, exist_ok=True)
    (node / "meminfo").write_text("Node 0 MemTotal: 4096 kB\nNode 0 MemFree: 4096 kB\n")
    (node / "cpulist").write_text("0\n")
    (node / "distance").write_text("10\n")
    (tmp_path / "text").write_text("00400000 default anon=1 dirty=1 N0=1\n")
    rest = (table.get(name) or "").replace("TREE", str(tmp_path / "tree")).replace("TEXT", str(tmp_path / "text"))
    return [*name.split(), *rest.split()]


def test_every_command_has_its_keys() -> None:
    assert {*KEYS} == {*ALL}
    assert all(len({*HEAD, *keys}) == len(HEAD) + len(keys) for keys in KEYS.values())


@pytest.mark.parametrize("name", [name for name in ALL if name != "batch"])
def test_done(full: Runner, tmp_path: Path, name: str) -> None:
    if name in BEFORE:
        assert full(*BEFORE[name].split()).code == 0
    outcome = full(*words(name, dict(DONE), tmp_path), "--json")
    assert outcome.code in (0, 3), outcome
    document = outcome.document
    assert (document["errno"], document["message"], document["dry_run"]) == (None, None, "offline" in name)


@pytest.mark.parametrize("name", [name for name in ALL if name != "batch"])
def test_refused(full: Runner, tmp_path: Path, name: str) -> None:
    """By the call itself, with an errno."""
    known = DONE.get(name, "")
    by_pid = known.replace("100", "7", 1) if known.startswith("100") else None
    table = {name: REFUSED.get(name, by_pid)}
    if table[name] is None:
        return
    document = full(*words(name, table, tmp_path), "--json").document
    assert document["errno"]
    assert document["return"] < 0
    assert (document["exit"], document["committed"]) == (1, False)


@pytest.mark.parametrize("name", ALL)
def test_mistyped(full: Runner, name: str) -> None:
    document = full(*name.split(), "--nonsense", "--json").document
    assert (document["command"], document["exit"], document["return"], document["errno"]) == (name, 2, None, None)
    assert document["message"]


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("init", "import", "batch", "demo")])
def test_without_a_state_file(tool: Runner, tmp_path: Path, name: str) -> None:
    document = tool(*words(name, dict(DONE), tmp_path), "--json").document
    assert (document["command"], document["exit"], document["errno"]) == (name, 4, None)


def test_a_line_of_a_batch_has_its_place_besides(full: Runner) -> None:
    outcome = full("batch", "--json", "--keep-going", stdin="task list\ntask list --no\n'\ntask exit 7\ncheck\n")
    documents = [json.loads(line) for line in outcome.out.splitlines()]
    assert [each["exit"] for each in documents] == [0, 2, 2, 1, 0]
    for document in documents:
        assert tuple(document) == (*HEAD, *KEYS.get(document["command"], ()), "line", "argv")


def test_no_command_at_all(tool: Runner) -> None:
    for line in ("--json", "nonsense --json", "task --json"):
        assert tool(*line.split()).document["exit"] == 2
