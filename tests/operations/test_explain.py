"""``explain``: what it says of areas and groups, and that each remedy it prints helps when it is run as printed."""

from __future__ import annotations

import os
import random
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Runner
from tests.reference.scripts import script_of

EVERYWHERE = "0x0-0x7fffffffffff"


def told(tool: Runner, *words: object) -> Any:
    """The document of a command that is done."""
    outcome = tool(*words, "--json")
    assert outcome.code == 0, outcome
    return outcome.document


def entry_at(document: Any, addr: str) -> Any:
    """The entry that tells of an address; None where none does any more."""
    at = int(addr, 16)
    for entry in document["pages"]:
        start, step = int(entry["addr"], 16), entry.get("step", 1) * 4096
        if start <= at <= start + (entry["pages"] - 1) * step and not (at - start) % step:
            return entry
    return None


def helped(before: Any, after: Any) -> bool:
    """Whether what stood in a page's way is another thing now, or its place is another one."""
    if after is None:
        return True
    keys = ("reason", "node", "state", "holders", "mappers")
    return any(before[key] != after[key] for key in keys) or before["help"] != after["help"]


def remedies_that_fail(tool: Runner, pid: int, state: Path, asked: tuple[str, ...] = ()) -> Iterator[str]:
    """Run each remedy of all areas of a task on a copy of the state; what does not work, or does not help."""
    copy = state.with_name("copy.db")
    before = told(tool, "explain", pid, EVERYWHERE, *asked)
    for entry in before["pages"]:
        assert entry["help"] is None or all(f"'migratectl {line}'" in entry["help"] for line in entry["commands"])
        if not entry["commands"]:
            continue
        shutil.copy(state, copy)
        for line in entry["commands"]:
            outcome = tool("-s", copy, *shlex.split(line), "--json")
            if outcome.code not in (0, 3):
                yield f"{entry['reason']}: {line}: {outcome.err}"
        again = told(tool, "-s", copy, "explain", pid, EVERYWHERE, *asked)
        after = outcome.document if entry["commands"][0].startswith("explain") else again
        if not helped(entry, entry_at(after, entry["addr"])):
            yield f"{entry['reason']}: {entry['commands']} did not help: {entry_at(after, entry['addr'])}"


INIT = "init --nodes 3 --memory 200p --swap 100p"
TASKS = ("task create --pid 100 --node 0", "task create --pid 101 --node 1")
TWO = ("mmap 100 4p --shm s --label a", "mmap 101 4p --shm s --label a")
MAPPED = "mmap 100 4p --shared --file /f --label a"
EXT2, REISER = ("file create /f 4p --fs ext2", MAPPED), ("file create /f 4p --fs reiserfs", MAPPED)
CASES: dict[str, tuple[str, ...]] = {
    "absent": ("mmap 100 8p",),
    "absent, read only": ("mmap 100 8p --prot r",),
    "absent, no access": ("mmap 100 8p --prot none",),
    "absent, more than there is room for": ("mmap 100 100000p",),
    "absent, bound to a small rest": ("mmap 100 300p --label a", "mbind 100 a bind 1"),
    "absent, no room at all": ("mmap 101 600p --label b", "fault 101 b+600p --write", "mmap 100 8p"),
    "absent between others": ("mmap 100 9p --label a", *(f"fault 100 a+1p@{k}p --write" for k in (0, 2, 4, 6, 8))),
    "absent in two areas": ("mmap 100 4p --addr 0x10000000", "mmap 100 4p --addr 0x10004000 --prot r"),
    "swapped": ("mmap 100 4p --label a", "fault 100 a --write", "swap out 100 a"),
    "zero": ("mmap 100 4p --label a", "fault 100 a"),
    "zero, read only": ("mmap 100 4p --label a", "fault 100 a", "mprotect 100 a r"),
    "file": ("file create /f 4p --fs ext2", "mmap 100 4p --file /f --prot r"),
    "file, no access": ("file create /f 4p --fs ext2", "mmap 100 4p --file /f --prot none"),
    "file, beyond its end": ("file create '/a b' 2p --fs ext2", "mmap 100 8p --file '/a b'"),
    "segment": ("mmap 100 4p --shm seg",),
    "io": ("mmap 100 4p --io", "mmap 100 4p --pfnmap", "mmap 100 512p --hugetlb"),
    "locked": ("mmap 100 4p --label a", "mlock 100 a"),
    "parked by two": (*TWO, "fault 100 a --write", "page park 100 a", "fault 101 a"),
    "page lock": ("mmap 100 4p --label a", "fault 100 a --write", "page lock 100 a+2p"),
    "pins of two": (*TWO, "page pin 100 a", "page pin 101 a"),
    "writeback": (*EXT2, "fault 100 a --write", "page writeback 100 a"),
    "locked elsewhere": ("mmap 100 8p --label p", *TWO, "fault 100 a --write", "mlock 101 a"),
    "shared": (*TWO, "fault 100 a", "fault 101 a"),
    "buffers locked": (*EXT2, "fault 100 a", "page buffers 100 a --state locked"),
    "buffers busy": (*REISER, "fault 100 a", "page buffers 100 a --state busy"),
    "interleaved": ("mmap 100 9p --label a", "mbind 100 a interleave 0-2", "fault 100 a --write", "mlock 100 a"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("profile", "asked"),
    [("v9", ()), ("v9", ("--move",)), ("v9-posted", ()), ("modern", ()), ("modern", ("--move", "--from", "2"))],
    ids=lambda each: each if isinstance(each, str) else " ".join(each),
)
@pytest.mark.parametrize("case", CASES)
def test_each_remedy_helps_as_printed(
    tool: Runner, state: Path, case: str, profile: str, asked: tuple[str, ...]
) -> None:
    for line in (f"{INIT} --profile {profile}", *TASKS, *CASES[case]):
        outcome = tool(*shlex.split(line))
        assert outcome.code == 0 or (line.startswith("fault 101 b") and outcome.code == 1), outcome
    assert list(remedies_that_fail(tool, 100, state, asked)) == []


def test_a_swap_area_with_a_name_that_is_free(tool: Runner, state: Path) -> None:
    for line in (
        "init --nodes 2 --swap none",
        "task create --pid 100",
        "mmap 100 4p --label a",
        "fault 100 a --write",
        "swap on swap0 1p",
        "mmap 100 1p --label b",
        "fault 100 b --write",
        "swap out 100 b",
    ):
        assert tool(*line.split()).code == 0, line
    entry = entry_at(told(tool, "explain", 100, "a"), "0x10000000")
    assert (entry["reason"], entry["commands"]) == ("no-swap", ["swap on swap1 1p"])
    assert list(remedies_that_fail(tool, 100, state)) == []


def test_tmpfs_without_swap(tool: Runner, state: Path) -> None:
    for line in (
        "init --nodes 2 --memory 1M --swap none",
        "task create --pid 100",
        "file create /t 2p --fs tmpfs",
        "mmap 100 2p --shared --file /t --label t",
        "file write /t --by 100",
        "fault 100 t",
    ):
        assert tool(*line.split()).code == 0, line
    assert told(tool, "explain", 100, "t")["pages"][0]["commands"] == ["swap on swap0 1M"]
    assert list(remedies_that_fail(tool, 100, state)) == []


MANY = int(os.environ.get("MIGRATECTL_SCRIPTS", "0")) // 10
SEEDS = [random.randrange(1 << 63) for _ in range(MANY)] or range(8)


@pytest.mark.parametrize("seed", SEEDS)
def test_remedies_in_random_states(tool: Runner, state: Path, tmp_path: Path, seed: int) -> None:
    """Whatever a random script leaves behind; ``MIGRATECTL_SCRIPTS`` draws more of them."""
    lines = [line for line in script_of(seed).text().splitlines() if not line.startswith("#")]
    (tmp_path / "script").write_text("\n".join(lines))
    tool("batch", tmp_path / "script", "--keep-going")
    for task in told(tool, "show", "tasks")["tasks"]:
        if not task["kernel_thread"]:
            assert list(remedies_that_fail(tool, task["pid"], state)) == []
            assert list(remedies_that_fail(tool, task["pid"], state, ("--move",))) == []


def test_groups_never_cross_an_area(tool: Runner) -> None:
    """Two neighbours that differ in nothing but their label's area: two entries, and a command for each that works."""
    for line in (
        "init --nodes 2 --memory 100p",
        "task create --pid 100",
        "mmap 100 4p --addr 0x10000000",
        "mmap 100 4p --addr 0x10004000 --prot r",
        "mmap 100 4p --addr 0x10010000",
    ):
        assert tool(*line.split()).code == 0, line
    document = told(tool, "explain", 100, EVERYWHERE)
    assert [(entry["addr"], entry["pages"]) for entry in document["pages"]] == [
        ("0x10000000", 4),
        ("0x10004000", 4),
        ("0x10010000", 4),
    ]
    (group,) = document["groups"]
    assert (group["reason"], group["pages"], group["areas"], group["more"]) == ("not-present", 12, 3, 0)
    assert group["help"] == [
        "touch it first: 'migratectl fault 100 0x10000000+4p --write'",
        "its protection forbids the touch; allow it: 'migratectl mprotect 100 0x10004000+4p rw'",
        "touch it first: 'migratectl fault 100 0x10010000+4p --write'",
    ]


def test_without_a_range_all_areas_are_grouped_by_reason(tool: Runner) -> None:
    for line in (
        "init --nodes 2 --memory 100p",
        "task create --pid 100 --node 0",
        "mmap 100 4p --label a",
        "mmap 100 4p --label b",
        "mmap 100 4p --io",
        "fault 100 a --write",
        "fault 100 b+2p --write",
        "page pin 100 b+1p",
    ):
        assert tool(*line.split()).code == 0, line
    document = told(tool, "explain", 100)
    assert document["pages"] is None
    assert [(group["reason"], group["pages"], group["areas"]) for group in document["groups"]] == [
        ("movable", 5, 2),
        ("not-present", 2, 1),
        ("vma-io", 4, 1),
        ("pinned", 1, 1),
    ]
    text = tool("explain", 100).out.splitlines()
    assert text[0].split() == ["reason", "errno", "pages", "areas", "addr"]
    assert text[4].split() == ["pinned", "EAGAIN", "1", "1", "0x10200000"]
    assert "  let the references go: 'migratectl page unpin 100'" in text


@pytest.mark.parametrize("profile", ["v9", "modern"])
def test_the_policy_of_a_files_area_places_nothing(tool: Runner, profile: str) -> None:
    """Page cache follows whoever reads it in (modern-kernel.md 22); shared memory follows its policy."""
    for line in (
        f"init --nodes 2 --memory 100p --profile {profile}",
        "task create --pid 100 --node 0",
        "file create /f 4p --fs ext2",
        "mmap 100 4p --shared --file /f --label f",
        "mmap 100 4p --shm s --label s",
        "mmap 100 4p --label a",
        "mbind 100 f bind 1",
        "mbind 100 s bind 1",
        "mbind 100 a bind 1",
        "fault 100 f",
    ):
        assert tool(*line.split()).code == 0, line
    document = told(tool, "explain", 100)
    areas = [{"addr": "0x10000000", "end": "0x10004000", "file": "/f", "policy": "bind:1"}]
    assert document["placed"] == (areas if profile == "modern" else [])
    said = "0x10000000-0x10004000: a page of /f is placed by the policy of the task that reads it in, not by the area's"
    assert (said in tool("explain", 100, "f").out) == (profile == "modern")


def test_without_areas(tool: Runner) -> None:
    assert tool("init").code == 0
    assert tool("task", "create", "--pid", 100).code == 0
    assert tool("explain", 100).out == "no areas\n"
    assert tool("explain", 7).code == 1
