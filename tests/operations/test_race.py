"""``--race``: the table of semantics.md 5 over the command line, and what else may run beside a migration."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Runner
from tests.operations.test_swap import contents, run, slots, where

Build = Callable[[tuple[str, ...]], None]

FAMILY = (
    "init --nodes 3 --memory 100p --swap 32p",
    "task create --pid 100 --node 0",
    "mmap 100 4p --label a",
    "fault 100 a --write",
    "fork 100 --pid 101",
    "task run-on 101 --node 2",
)
"""Parent on node 0 and child on node 2 share four pages on node 0."""

PARKED = (*FAMILY, "swap out 100 a", "fault 100 a")
"""The parent has read them back; the child still has swap ptes."""

FILE = (
    "init --nodes 3 --memory 100p --swap 32p",
    "file create f 4p --fs ext2",
    "task create --pid 100 --node 0",
    "mmap 100 4p --shared --file f --label a",
    "fault 100 a --write",
    "task create --pid 101 --node 2",
    "mmap 101 4p --shared --file f --label a",
)
"""Four dirty pages of a file on node 0; task 101 maps the file and has touched none."""

TMPFS = tuple(line.replace("ext2", "tmpfs") for line in FILE)
"""The same on tmpfs, whose pages go through the swap cache: they are unmapped in pass 0 and switched in pass 1."""


@dataclass(frozen=True)
class Met:
    """
    What is to come of a meeting.

    ``order``: the state is that of the two commands one after another: the observer's ``first`` or ``last``; None where
    the half-migrated page makes a difference, which ``ends`` tells. ``node``: where the observer found its page.
    """

    blocked_on: str | None = None
    backed_out: bool = False
    retries: int = 0
    order: str | None = "last"
    passes: int = 1
    moved: int = 4
    failed: int = 0
    residue: tuple[int, int] = (0, 0)
    node: int | None = None
    faults: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Scene:
    """A state, the command that runs beside ``migrate-pages 100 0 1``, and what comes of it by the steps."""

    setup: tuple[str, ...]
    argv: str
    table: dict[tuple[int, int], Met]

    def at(self, step: int) -> Met:
        """What is to come of it at a step."""
        return next(met for (low, high), met in self.table.items() if low <= step <= high)


def late(**facts: Any) -> dict[tuple[int, int], Met]:
    """Steps 6 to 20 of who sleeps on the target's lock, and goes on with the target."""
    retries = facts.pop("retries", 0)
    last = Met(**facts)
    return {
        (6, 12): replace(last, blocked_on="tree-lock", retries=retries),
        (13, 19): replace(last, blocked_on="page-lock", retries=retries),
        (20, 20): last,
    }


def on_new(**faults: int) -> dict[str, Any]:
    """What a fault after the migration tells."""
    return {"node": 1, "faults": faults}


WAITER = Met("page-lock", backed_out=True, order="first", passes=2)
"""It found the old page and sleeps on its lock: the count test fails, it goes first, the next pass moves the page."""

PINNER = Met(backed_out=True, order="first", passes=11, moved=3, failed=1)

SCENES = {
    "F: swapped out earlier": Scene(
        PARKED,
        "fault 101 a+1p",
        {(1, 5): replace(WAITER, node=0, faults={"swapin": 1})} | late(retries=1, **on_new(present=1)),
    ),
    "F: freshly parked": Scene(
        FAMILY,
        "fault 101 a+1p",
        {
            (1, 4): Met(order="first", node=0, faults={"present": 1}),
            (5, 5): replace(WAITER, node=0, faults={"swapin": 1}),
        }
        | late(retries=1, **on_new(present=1)),
    ),
    "F: writes, and copies": Scene(
        FAMILY,
        "fault 101 a+1p --write",
        {
            (1, 4): Met(order="first", node=2, faults={"cow": 1}),
            (5, 5): replace(WAITER, node=2, faults={"swapin": 1, "cow": 1}),
        }
        | late(retries=1, node=2, faults={"cow": 1}),
    ),
    "U: all pages have entries": Scene(
        (*PARKED, "swap on spare 8p"),
        "swap off swap0",
        {(1, 5): WAITER} | late(retries=1),
    ),
    "U: entries are fresh": Scene(
        (*FAMILY, "swap on spare 8p"),
        "swap off swap0",
        {(1, 2): Met(order="first"), (3, 5): WAITER} | late(retries=1),
    ),
    "S: tmpfs lookup by a fault": Scene(
        TMPFS,
        "fault 101 a+1p",
        {(1, 5): replace(WAITER, passes=3, node=0, faults={"file": 1})} | late(retries=1, passes=2, **on_new(file=1)),
    ),
    "S: tmpfs lookup by a read": Scene(
        TMPFS, "file read f 1p", {(1, 5): replace(WAITER, passes=3)} | late(retries=1, passes=2)
    ),
    "file fault": Scene(
        FILE,
        "fault 101 a+1p",
        {(1, 5): replace(WAITER, node=0, faults={"file": 1})} | late(**on_new(file=1)),
    ),
    "file fault through a pte that goes": Scene(
        FILE,
        "fault 100 a+1p",
        {
            (1, 4): Met(order="first", node=0, faults={"present": 1}),
            (5, 5): replace(WAITER, node=0, faults={"file": 1}),
        }
        | late(**on_new(file=1)),
    ),
    "file read": Scene(FILE, "file read f 1p@1p", {(1, 5): WAITER} | late()),
    "truncate": Scene(FILE, "file truncate f 3p", {(1, 5): replace(WAITER, passes=1, moved=3)} | late()),
    "pin through a live pte": Scene(
        (*FAMILY, "mprotect 101 a r"),
        "page pin 101 a+1p",
        {
            (1, 4): replace(PINNER, residue=(1, 0)),
            (5, 5): replace(PINNER, blocked_on="page-lock", order=None, residue=(1, 1)),
        }
        | late(retries=1),
    ),
    "pin that is let go": Scene(
        (*FAMILY, "mprotect 101 a r"),
        "page pin 101 a+1p --passes 4",
        {(1, 4): replace(WAITER, blocked_on=None, passes=5), (5, 5): replace(WAITER, passes=5)} | late(retries=1),
    ),
    "pin that copies": Scene(
        FAMILY,
        "page pin 101 a+1p",
        {(1, 4): Met(order="first"), (5, 5): WAITER} | late(retries=1),
    ),
    "fork": Scene(FAMILY, "fork 101 --pid 102", {(1, 20): Met()}),
    "reclaim": Scene(FAMILY, "swap out 101 a", {(1, 19): Met(order=None), (20, 20): Met()}),
    "another migration": Scene(FAMILY, "migrate-pages 101 0 2", {(1, 20): Met()}),
    "unmapping": Scene(FAMILY, "munmap 101 a+1p@1p", {(1, 20): Met()}),
}


@pytest.fixture(scope="module")
def prepared() -> dict[tuple[str, ...], Path]:
    """State files by the commands that made them; copied, they save making them again."""
    return {}


@pytest.fixture
def build(
    tool: Runner, state: Path, prepared: dict[tuple[str, ...], Path], tmp_path_factory: pytest.TempPathFactory
) -> Build:
    """Brings the state file to where some commands lead."""

    def to(lines: tuple[str, ...]) -> None:
        if lines not in prepared:
            state.unlink(missing_ok=True)
            for line in lines:
                outcome = tool(*line.split(), "--json")
                assert outcome.code in (0, 3), outcome.out
            prepared[lines] = tmp_path_factory.mktemp("prepared") / "state.db"
            shutil.copy(state, prepared[lines])
        shutil.copy(prepared[lines], state)

    return to


def hash_of(tool: Runner) -> str:
    """The hash of the modelled state."""
    return str(tool("state", "hash", "--json").document["hash"])


MIGRATE = "migrate-pages 100 0 1"


def race(tool: Runner, command: str, *races: str, code: int = 0) -> Any:
    """The document of a migrating command with races beside it; nothing is broken afterwards."""
    words = [word for each in races for word in ("--race", each)]
    outcome = tool(*command.split(), *words, "--json")
    assert outcome.code == code, outcome.out + outcome.err
    assert tool("check").code == 0, tool("check").out
    return outcome.document


@pytest.mark.parametrize("step", range(1, 21))
@pytest.mark.parametrize("name", SCENES)
def test_the_table(tool: Runner, state: Path, build: Build, name: str, step: int) -> None:
    scene = SCENES[name]
    wanted = scene.at(step)
    serial = {"first": (scene.argv, MIGRATE), "last": (MIGRATE, scene.argv)}.get(wanted.order or "")
    if serial is not None:
        build((*scene.setup, *serial))
        after = hash_of(tool)
    build(scene.setup)
    before = contents(state)
    document = race(tool, MIGRATE, f"{step}:{scene.argv}", code=3 if wanted.failed else 0)
    (met,) = document["races"]
    assert (met["step"], met["argv"], met["met"]) == (step, scene.argv.split(), True)
    found = Met(
        met["blocked_on"],
        met["backed_out"],
        met["retries"],
        wanted.order,
        document["passes"],
        document["moved"],
        document["failed"],
        (document["residue"]["swapcache"], document["residue"]["unmapped"]),
        met["result"]["nodes"][0]["node"] if wanted.node is not None else None,
        {key: value for key, value in (met["result"].get("faults") or {}).items() if value},
    )
    assert found == wanted
    assert met["result"]["errno"] is None
    if serial is not None:
        assert hash_of(tool) == after
    now = contents(state)
    assert {key: now[key] for key in before if key in now} == {key: before[key] for key in before if key in now}


# ---- where the two do not come one after another -------------------------------------------------------------------


@pytest.mark.parametrize(("step", "skipped"), [(1, 4), (4, 4), (5, 3), (17, 3), (18, 4), (19, 4)])
def test_reclaim_finds_the_list_off_the_lru(tool: Runner, build: Build, step: int, skipped: int) -> None:
    """Old pages until they are put back, new ones until step 20; between 5 and 18 one has no pte to be found by."""
    build(FAMILY)
    (met,) = race(tool, MIGRATE, f"{step}:swap out 101 a")["races"]
    assert (met["result"]["swapped"], met["result"]["skipped"]) == (0, skipped)
    assert {each["reason"] for each in met["result"]["skips"]} == {"off-lru"}
    assert where(tool, 100) == where(tool, 101) == dict.fromkeys(range(4), ("present", 1))


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5])
def test_the_only_swap_area_is_taken_away(tool: Runner, build: Build, step: int) -> None:
    """9a: after U the page is anonymous without an entry, and step 3 finds no slot for it nor for the others."""
    build(PARKED)
    document = race(tool, MIGRATE, f"{step}:swap off swap0", code=3)
    (met,) = document["races"]
    assert (met["blocked_on"], met["backed_out"]) == ("page-lock", True)
    assert [(each["reason"], each["pages"]) for each in document["failures"]] == [("no-swap", 4)]
    assert document["passes"] == 2, "the page backs out, and asks for an entry again in the next pass"
    assert where(tool, 100) == where(tool, 101) == dict.fromkeys(range(4), ("present", 0))


def test_a_pin_at_step_5_leaves_the_other_ptes_away(tool: Runner, state: Path, build: Build) -> None:
    """B24: the parent's swap pte stays behind; its next fault finds the old page in the swap cache."""
    build((*FAMILY, "mprotect 101 a r"))
    before = contents(state)
    race(tool, MIGRATE, "5:page pin 101 a+1p", code=3)
    assert where(tool, 100)[0] == ("swapped", None)
    assert where(tool, 101)[0] == ("present", 0)
    assert run(tool, "fault 100 a+1p")["faults"]["swapin"] == 1
    assert where(tool, 100)[0] == ("present", 0)
    assert contents(state) == before


def test_a_dirty_pte_that_goes_at_step_5_dirties_the_ring(tool: Runner, build: Build) -> None:
    """Through the mapping, as everywhere else (semantics.md 1.8)."""
    build((*FILE[:-1], "page buffers 100 a --state idle", FILE[-1]))
    race(tool, MIGRATE, "5:page pin 101 a+1p", code=3)
    assert {tuple(row["flags"]) for row in tool("show", "buffers", "--json").document["buffers"]} == {("dirty",)}


def test_a_fork_at_step_5_and_later_copies_a_swap_pte_that_comes_back(tool: Runner, build: Build) -> None:
    build(FAMILY)
    race(tool, MIGRATE, "5:fork 101 --pid 102")
    assert where(tool, 102) == dict.fromkeys(range(4), ("present", 1))
    assert slots(tool) == {"swap0": 0}


def test_a_truncated_page_has_vanished(tool: Runner, build: Build) -> None:
    """2.2 a: nobody but the migration has it any more; no target is used, and it is not counted as left over."""
    build(FILE)
    document = race(tool, MIGRATE, "2:file truncate f 0", code=0)
    assert (document["return"], document["failed"], document["moved"]) == (0, 0, 0)
    assert run(tool, "file list")["files"][0]["cached"] == 0
    assert [row["free"] for row in run(tool, "node list")["nodes"]] == [100, 100, 100]


def test_a_pinned_page_that_is_truncated_is_tried_to_the_end(tool: Runner, build: Build) -> None:
    """2.2 h, 2.6: it has no mapping any more, step 9 sees that in each pass; the three others have vanished."""
    build((*FILE, "page pin 100 a+1p"))
    document = race(tool, MIGRATE, "2:file truncate f 0", code=3)
    assert (document["moved"], document["failed"]) == (0, 1)
    (why,) = document["failures"]
    assert (why["reason"], why["errno"], why["pass"], why["pages"]) == ("truncated", "EAGAIN", 10, 1)


# ---- which page, whether at all --------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [MIGRATE, "swap out 100 a"])
def test_a_truncated_page_vanishes_when_its_last_pin_ends(tool: Runner, build: Build, command: str) -> None:
    """From pass 4 on nobody but the migration holds it: it is freed, neither failed nor swapped (2.2 a)."""
    build((*(line for line in FILE if "101" not in line), "page pin 100 a+1p --passes 4"))
    document = race(tool, command, "2:file truncate f 0")
    assert (document["failed"], document["swapped"], document["passes"]) == (0, 0, 5)
    assert tool("node", "list", "--json").document["nodes"][0]["free"] == 100


def test_the_first_page_that_the_command_touches_is_met(tool: Runner, build: Build) -> None:
    """Page 1 backs out once; page 2 is touched too, so it has two ptes when its turn comes."""
    build(PARKED)
    document = race(tool, f"{MIGRATE} --trace", "5:fault 101 a+2p@1p")
    assert document["races"][0]["result"]["faults"]["swapin"] == 2
    assert [(each["addr"], each["pages"], len(each["passes"])) for each in document["trace"]] == [
        ("0x10000000", 2, 1),
        ("0x10001000", 1, 2),
        ("0x10002000", 1, 1),
    ]


NOT_MET = {
    "the page is never unlocked": ("page lock 100 a", "1:fault 101 a", 3),
    "it is pinned: the count test comes before step 5": ("page pin 101 a", "5:fault 100 a", 3),
    "nothing of it is on the source node": ("migrate-pages 100 0 2", "5:fault 101 a", 0),
    "the task has none of the pages": ("task create --pid 7", "5:task exit 7", 0),
    "nobody has that part of the file cached": ("file create g 9p --fs ext2", "5:file read g", 0),
}


@pytest.mark.parametrize(("more", "argv", "code"), NOT_MET.values(), ids=NOT_MET)
def test_a_step_that_no_page_reaches_is_not_met(tool: Runner, build: Build, more: str, argv: str, code: int) -> None:
    """The command has not run, and the migration is as without it."""
    build((*FAMILY, "mprotect 101 a r", more))
    plain = tool(*MIGRATE.split(), "--json", "--dry-run").document
    found = race(tool, MIGRATE, argv, code=code)
    step, _, words = argv.partition(":")
    assert found.pop("races") == [{"step": int(step), "argv": words.split(), "met": False}]
    plain |= {"dry_run": False, "races": None}
    found |= {"races": None}
    assert found == plain


def test_the_step_is_met_in_the_pass_that_reaches_it(tool: Runner, build: Build) -> None:
    """A lock until pass 2: the observer comes in pass 2, and pass 3 moves the page."""
    build((*PARKED, "page lock 100 a+1p --passes 2"))
    document = race(tool, MIGRATE, "2:fault 101 a+1p")
    assert (document["passes"], document["moved"]) == (4, 4)


def test_two_races_in_one_call(tool: Runner, state: Path, build: Build) -> None:
    """One page each; the document has them in the order of the command line."""
    build(PARKED)
    before = contents(state)
    document = race(tool, MIGRATE, "14:fault 101 a+1p@3p", "5:fault 101 a+1p@1p")
    assert [(met["step"], met["backed_out"], met["retries"]) for met in document["races"]] == [
        (14, False, 1),
        (5, True, 0),
    ]
    assert (document["passes"], document["moved"]) == (2, 4)
    assert contents(state) == before


def test_two_races_on_one_page(tool: Runner, build: Build) -> None:
    """The second comes in the pass after the one that the first has backed out."""
    build(PARKED)
    document = race(tool, MIGRATE, "2:fault 101 a+1p", "4:page pin 101 a+1p --passes 3")
    assert [met["met"] for met in document["races"]] == [True, True]
    assert (document["moved"], document["failed"]) == (4, 0)


@pytest.mark.parametrize(
    "argv",
    [
        *(
            "nosuch",
            "undo",
            "init --force",
            "batch -",
            "check",
            "page",
            "fault",
            "fault 100 a --wirte",
            "fault 100 a+x",
        ),
        *("--version", "fault 100 a --help", "-s other fault 100 a", "fault 100 a --race '3:fault 100 a'", "--as 0"),
        *(
            "fault 100 a -nq",
            "--as x fault 100 a",
            "migrate-pages 100 0 1 --trace",
            "log show 1",
            "move-pages --query 100 x+y",
        ),
    ],
)
def test_a_race_that_is_no_command_is_refused_before_anything_moves(tool: Runner, build: Build, argv: str) -> None:
    build(FAMILY)
    before = hash_of(tool)
    refused = tool(*MIGRATE.split(), "--race", f"5:{argv}", "--json")
    assert (refused.code, refused.document["exit"]) == (2, 2)
    assert refused.document["message"].startswith("--race: ")
    assert hash_of(tool) == before


WRITERS = (
    "mlock 100 a",
    "munlock 100 a",
    "munmap 100 a",
    "munmap 100 a+1p@3p",
    "mmap 100 4p --label more",
    "mprotect 100 a r",
    "mbind 100 a bind 2",
    "mbind 100 a bind 2 --move-all",
    "fork 100 --pid 102",
    "task exit 100",
)


@pytest.mark.parametrize("step", [1, 2, 3, 5, 6, 14, 19, 20])
@pytest.mark.parametrize("argv", WRITERS)
def test_who_writes_to_the_address_space_waits_until_the_call_is_over(
    tool: Runner, build: Build, argv: str, step: int
) -> None:
    """9a, patch 4: whatever the step, and whatever the range; it then runs on what the call has left."""
    build((*FAMILY, MIGRATE, argv))
    after = hash_of(tool)
    build(FAMILY)
    document = race(tool, MIGRATE, f"{step}:{argv}")
    (met,) = document["races"]
    assert (met["met"], met["waited_for_call"], met["blocked_on"], met["backed_out"]) == (True, True, None, False)
    assert (document["moved"], document["failed"], document["passes"]) == (4, 0, 1)
    assert hash_of(tool) == after


@pytest.mark.parametrize("argv", ["munmap 100 a", "fault 100 a", "migrate-pages 100 0 2"])
@pytest.mark.parametrize("step", [1, 5, 14])
def test_all_others_wait_for_mbind(tool: Runner, build: Build, argv: str, step: int) -> None:
    """It holds the address space for writing: who only reads it waits too."""
    build((*FAMILY, "mbind 100 a bind 1 --move-all", argv))
    after = hash_of(tool)
    build(FAMILY)
    (met,) = race(tool, "mbind 100 a bind 1 --move-all", f"{step}:{argv}")["races"]
    assert met["waited_for_call"]
    assert hash_of(tool) == after


@pytest.mark.parametrize("step", range(1, 5))
def test_copies_of_the_racer_stay_where_it_put_them(tool: Runner, build: Build, step: int) -> None:
    """9a: the list is what was isolated; the four copies on node 0 are not gathered, although the call is about 101."""
    build((*FAMILY, "task run-on 101 --node 0"))
    document = race(tool, "migrate-pages 101 0 1", f"{step}:fault 101 a --write")
    assert (document["moved"], document["failed"], document["skipped"]) == (4, 0, 0)
    assert where(tool, 100) == dict.fromkeys(range(4), ("present", 1))
    assert where(tool, 101) == dict.fromkeys(range(4), ("present", 0))


def test_what_a_racer_adds_is_not_gathered(tool: Runner, build: Build) -> None:
    build((*FAMILY, "mmap 100 3p --label more"))
    document = race(tool, MIGRATE, "3:fault 100 more --write", "2:fault 100 a")
    assert [met["met"] for met in document["races"]] == [False, True]
    document = race(tool, "migrate-pages 100 1 2", "3:page pin 101 a+1p --passes 2", "4:fault 100 more --write")
    assert document["moved"] == 4


def test_what_a_racer_adds_is_not_gathered_where_several_policies_decide(tool: Runner, build: Build) -> None:
    build(
        (
            "init --nodes 3 --memory 100p --profile modern",
            "task create --pid 100 --node 0 --cap sys_nice",
            "task create --pid 101 --node 0 --cap sys_nice",
            "mmap 100 8p --shm seg --label seg",
            "mmap 101 8p --shm seg --label seg",
            "fault 100 seg --write",
            "fault 101 seg --write",
            "mbind 100 seg bind 2",
            "mbind 101 seg+4p bind 1",  # the object's first half has another policy than the area of 100
            "move-pages 101 seg@7p=2 --move-all",
        )
    )
    moved = race(tool, "mbind 100 seg bind 2 --move-all", "3:move-pages 101 seg@7p=0 --move-all")
    assert moved["moved"] == 7  # the eighth page lay on node 2 when the call looked
    assert [node for _, node in where(tool, 100, "seg").values()] == [1, 1, 1, 1, 2, 2, 2, 0]


def test_what_is_no_candidate_is_told_though_a_racer_takes_it_away(tool: Runner, build: Build) -> None:
    """The list was made before: a shared page of MOVE stays skipped, and one that becomes shared moves all the same."""
    build((*FAMILY, "fault 100 a+1p --write", "task set 100 --uid 7", "task set 101 --uid 7"))
    document = race(tool, "--as 7 migrate-pages 100 0 1", "3:madvise 101 a+1p@2p dontneed", "3:fault 100 a+1p")
    assert (document["moved"], document["skipped"], document["passes"]) == (1, 3, 1)


def test_a_list_in_pieces_is_found_again(tool: Runner, build: Build) -> None:
    """Races that cut and join the runs of the list: each page moves once, in its place."""
    build((*FAMILY, "fault 100 a+1p@1p --write"))
    before = len(where(tool, 100))
    document = race(
        tool, MIGRATE, "1:fault 101 a+1p@3p --write", "2:fault 101 a+2p --write", "3:madvise 101 a dontneed"
    )
    assert (document["moved"], document["failed"], before) == (4, 0, 4)
    assert where(tool, 100) == dict.fromkeys(range(4), ("present", 1))


def test_mlock_of_another_task_comes_as_a_fault_does(tool: Runner, build: Build) -> None:
    """It touches by writing, so the child waits for the page it meets and then has copies of its own."""
    build(FAMILY)
    document = race(tool, MIGRATE, "5:mlock 101 a")
    (met,) = document["races"]
    assert (met["blocked_on"], met["backed_out"], met["result"]["faults"]["cow"]) == ("page-lock", True, 4)
    assert (document["moved"], document["passes"]) == (4, 2)


def test_a_race_at_a_later_step_leaves_what_an_earlier_one_has_backed_out(tool: Runner, build: Build) -> None:
    build(FAMILY)
    document = race(tool, MIGRATE, "5:fault 101 a", "14:fork 100 --pid 7")
    assert document["passes"] == 2


def test_a_race_that_fails(tool: Runner, build: Build) -> None:
    """Its failure is its own result; the migration goes on, and nothing of the failed command stays."""
    build((*FAMILY, MIGRATE))
    plain = hash_of(tool)
    build(FAMILY)
    for argv, errno in (("fault 999 a", "ESRCH"), ("fault 101 nosuch", "EFAULT")):
        build(FAMILY)
        document = race(tool, MIGRATE, f"5:{argv}")
        (met,) = document["races"]
        assert (met["result"]["errno"], met["backed_out"]) == (errno, False), argv
        assert document["moved"] == 4
        assert hash_of(tool) == plain


def test_a_dry_run_changes_nothing(tool: Runner, build: Build) -> None:
    build(PARKED)
    before = hash_of(tool)
    for step in (3, 14):
        document = race(tool, f"{MIGRATE} --dry-run", f"{step}:fault 101 a+1p --write")
        assert document["races"][0]["result"]["faults"]["cow"] == 1
        assert hash_of(tool) == before


def test_a_race_is_no_line_of_the_history(tool: Runner, build: Build) -> None:
    build(PARKED)
    race(tool, MIGRATE, "3:fault 101 a+1p")
    last, before = tool("log", "--json").document["entries"][-1:-3:-1]
    assert last["argv"] == [*MIGRATE.split(), "--race", "3:fault 101 a+1p"]
    assert before["argv"] == ["fault", "100", "a"]


# ---- who else can be met ---------------------------------------------------------------------------------------------


def test_the_task_of_an_mbind_waits_until_the_call_is_over(tool: Runner, build: Build) -> None:
    """mbind holds the address space for writing (3.3); another task of the family does not wait."""
    build(FAMILY)
    own, other = race(tool, "mbind 100 a bind 1 --move-all", "2:fault 100 a", "2:fault 101 a")["races"]
    assert (own["blocked_on"], own["backed_out"], own["result"]["nodes"]) == (None, False, [{"node": 1, "pages": 4}])
    assert own["waited_for_call"]
    assert "waited_for_call" not in other
    assert other["result"]["nodes"] == [{"node": 0, "pages": 4}]


def test_an_address_space_outlives_its_task_until_the_call_is_over(tool: Runner, build: Build) -> None:
    """The call has a reference on it (get_task_mm()), so the exit of its last task tears it down afterwards."""
    build(FAMILY)
    document = race(tool, MIGRATE, "5:task exit 100")
    assert (document["moved"], document["races"][0]["result"]["errno"]) == (4, None)
    assert [task["pid"] for task in tool("task", "list", "--json").document["tasks"]] == [101]


MOVERS = {
    "mbind 100 a bind 1 --move-all": 2,
    "move-pages 100 0x10000000=1 0x10001000=1 --move-all": 2,
    "node offline 0": 2,
    "swap out 100 a": 2,
}
"""Commands, and their passes: the pages are clean in the swap cache, so ``swap out`` need not write them."""


@pytest.mark.parametrize(("command", "passes"), MOVERS.items())
def test_every_migrating_command_can_be_met(tool: Runner, state: Path, build: Build, command: str, passes: int) -> None:
    """F at step 3 backs the pass out; the page goes its way in the next one."""
    build(PARKED)
    before = contents(state)
    document = race(tool, command, "3:fault 101 a+1p")
    (met,) = document["races"]
    assert (met["met"], met["blocked_on"], met["backed_out"]) == (True, "page-lock", True)
    assert document["failed"] == 0
    assert document["passes"] == passes
    assert where(tool, 100)[0][1] != 0
    assert contents(state) == before


def test_a_page_that_leaves_memory_never_comes_to_step_6(tool: Runner, build: Build) -> None:
    """There is no target and no tree to switch (2.4)."""
    build(FAMILY)
    document = race(tool, "swap out 100 a", "6:fault 101 a", "14:fault 101 a")
    assert [met["met"] for met in document["races"]] == [False, False]
    assert document["swapped"] == 4


@pytest.mark.parametrize("step", range(1, 21))
def test_today_a_fault_waits_for_the_migration_entry(tool: Runner, build: Build, step: int) -> None:
    """A 6.x kernel parks ptes without swap: from step 5 on the fault waits for the page lock without a reference."""
    modern = tuple(line.replace("--swap 32p", "--profile modern") for line in FAMILY)
    build(modern)
    document = race(tool, MIGRATE, f"{step}:fault 101 a+1p")
    (met,) = document["races"]
    assert met["blocked_on"] == ("page-lock" if 5 <= step < 20 else None)
    assert (met["backed_out"], met["retries"], document["passes"], document["moved"]) == (False, 0, 1, 4)
    assert met["result"]["faults"]["present"] == 1


# ---- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", ["fault 101 a", "0:fault 101 a", "21:fault 101 a", "x:fault 101 a", "5:", "5:  ", "5:'", "-1:a", "5"]
)
def test_words_that_are_no_race(tool: Runner, build: Build, words: str) -> None:
    build(FAMILY)
    outcome = tool(*MIGRATE.split(), "--race", words)
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "--race" in outcome.err


def test_words_of_the_command_are_quoted_as_in_a_shell(tool: Runner, build: Build) -> None:
    build((*FAMILY, "task set 101 --name x"))
    (met,) = race(tool, MIGRATE, "5:task set 101 --name 'two words'")["races"]
    assert met["argv"] == ["task", "set", "101", "--name", "two words"]
    assert met["result"]["name"] == "two words"


@pytest.mark.parametrize(
    "argv", ["--as 0 fault 101 a+1p", "--as=0 fault 101 a+1p", "fault 101 a+1p --as 0", "-q fault --write 101 a+1p"]
)
def test_global_options_of_the_command_are_not_its_words(tool: Runner, build: Build, argv: str) -> None:
    build((*PARKED, "task create --pid 7"))
    (met,) = race(tool, MIGRATE, f"3:{argv}")["races"]
    assert (met["blocked_on"], met["backed_out"]) == ("page-lock", True)


BYSTANDERS = {
    # who touches no page or passes over what is off the LRU: met at the first page, and nobody waits
    "cpuset set web --mems 3": (3, None, False),
    "cpuset create 3 --mems 0": (3, None, False),
    "cpuset write / memory_migrate 3": (3, None, False),
    "page lock --passes 3 100 a": (3, None, False),
    "task set --name 3 100": (3, None, False),
    "task create --pid 9 --uid 3": (3, None, False),
    "swap on 3 8p": (3, None, False),
    "file create 3 4p --fs ext2": (3, None, False),
    "migrate-pages 999 3 3": (3, None, False),
    "move-pages --move-all 100 a@3p=2": (3, None, False),
    # who touches the page waits for it at step 5, and goes first
    "fault 101 a+1p": (5, "page-lock", True),
    "mlock 101 a+1p": (5, "page-lock", True),
    "page pin --passes 3 101 a+1p": (5, "page-lock", True),
    "swap off swap0": (5, "page-lock", True),
    # a fork copies what it finds
    "fork --pid 3003 101": (5, None, False),
}
"""Commands in which 3 is no pid: the step, what they are blocked on, whether the migration backs out."""


@pytest.mark.parametrize(("argv", "wanted"), BYSTANDERS.items())
@pytest.mark.parametrize("bystander", [(), ("task create --pid 3", "mmap 3 4p --label a", "fault 3 a --write")])
def test_who_else_there_is_changes_nothing(
    tool: Runner, build: Build, argv: str, wanted: tuple[int, str | None, bool], bystander: tuple[str, ...]
) -> None:
    """What the command itself is about decides, not a task whose pid happens to be a number in it."""
    step, blocked_on, backed_out = wanted
    build((*FAMILY, "swap on more 99p", *bystander))
    (met,) = race(tool, MIGRATE, f"{step}:{argv}")["races"]
    assert (met["met"], met["blocked_on"], met["backed_out"]) == (True, blocked_on, backed_out)


@pytest.mark.parametrize("argv", ["file read 100", "task create --pid 9 --uid 100", "cpuset set web --mems 100"])
def test_a_number_that_is_no_pid_does_not_wait_for_the_call(tool: Runner, build: Build, argv: str) -> None:
    """mbind holds the address space of task 100, which none of these needs."""
    build((*FAMILY, "file create 100 4p --fs ext2"))
    (met,) = race(tool, "mbind 100 a bind 1 --move-all", f"3:{argv}")["races"]
    assert "waited_for_call" not in met


@pytest.mark.parametrize(
    "words", ["set-mempolicy {} default", "task set {} --name default", "cpuset move {} /web", "migrate-pages {} all 1"]
)
def test_what_stands_behind_the_pid_is_no_label(tool: Runner, build: Build, words: str) -> None:
    """They are about the whole task: 101 is met at page 0 of the list though an area has that name, 7 has no page."""
    areas = [f"mmap 101 1p --label {name}" for name in ("default", "/web", "all")]
    build((*FAMILY, *areas, "cpuset create /web --mems 0-2", "task create --pid 7"))
    whole, nothing = race(tool, MIGRATE, f"3:{words.format(101)}", f"3:{words.format(7)}")["races"]
    assert (whole["met"], whole["blocked_on"], whole["result"]["errno"]) == (True, None, None)
    assert not nothing["met"]


@pytest.mark.parametrize(("buffers", "stay"), [("busy", []), ("locked", [("busy-locked", "0x10001000", 1)])])
def test_an_option_of_the_command_is_its_own(
    tool: Runner, build: Build, buffers: str, stay: list[tuple[str, str, int]]
) -> None:
    """--state of page buffers is no state file. Busy buffers go along (2.3); locked ones keep their page for ever."""
    build(FILE)
    document = race(tool, MIGRATE, f"1:page buffers 100 a+1p@1p --state {buffers}", code=3 if stay else 0)
    (met,) = document["races"]
    assert (met["met"], met["blocked_on"], met["backed_out"]) == (True, None, False)
    assert (met["result"]["errno"], met["result"]["pages"], met["result"]["state"]) == (None, 1, buffers)
    assert [(each["reason"], each["addr"], each["pages"]) for each in document["failures"]] == stay


@pytest.mark.parametrize(
    ("step", "blocked_on", "backed_out", "retries", "node"),
    [(3, None, False, 0, 0), (5, "page-lock", True, 0, 0), (14, "page-lock", False, 1, 1), (20, None, False, 0, 1)],
)
def test_who_asks_for_the_node_of_a_page_comes_as_a_fault_does(
    tool: Runner, build: Build, step: int, blocked_on: str | None, backed_out: bool, retries: int, node: int
) -> None:
    """get_user_pages() in lookup_node(): through the pte that is there, from step 5 on through the swap entry."""
    build(FAMILY)
    (met,) = race(tool, MIGRATE, f"{step}:get-mempolicy 101 a@1p --node")["races"]
    assert (met["blocked_on"], met["backed_out"], met["retries"]) == (blocked_on, backed_out, retries)
    assert (met["result"]["errno"], met["result"]["node"]) == (None, node)


def test_a_query_is_met_at_the_first_of_the_pages_that_it_names(tool: Runner, build: Build) -> None:
    """Page 2 is pinned and never comes to step 6, so of the two pages the one with the lower address decides."""
    build((*FAMILY, "mprotect 101 a r", "page pin 101 a+1p@2p"))
    races = ("6:move-pages 100 --query a@2p a@3p", "6:move-pages 100 --query a@3p a@1p")
    stuck, moved = race(tool, MIGRATE, *races, code=3)["races"]
    assert (stuck["met"], moved["met"]) == (False, True)


@pytest.mark.parametrize(("argv", "met"), [("file truncate f 3p", True), ("file truncate f 4p", False)])
def test_a_file_is_cut_behind_its_new_end(tool: Runner, build: Build, argv: str, met: bool) -> None:
    """Four pages are in the list; nothing lies behind the fourth."""
    build(FILE)
    assert race(tool, MIGRATE, f"2:{argv}")["races"][0]["met"] is met


@pytest.mark.parametrize("step", [1, 3, 5, 14, 19])
@pytest.mark.parametrize("argv", ["munmap 100 a", "munmap 100 a+1p", "madvise 100 a dontneed", "munmap 100 a+2p@2p"])
def test_pages_that_lose_their_last_pte_leave_no_trace(tool: Runner, build: Build, step: int, argv: str) -> None:
    """Nobody but the migration has them then: freed under it; the accounts hold (checked), and no slot is kept."""
    build((*FAMILY, "munmap 101 a"))
    document = race(tool, MIGRATE, f"{step}:{argv}")
    assert document["races"][0]["result"]["errno"] is None
    assert document["failed"] == 0
    assert slots(tool) == {"swap0": 0}
    run(tool, "task exit 100")
    assert [row["free"] for row in run(tool, "node list")["nodes"]] == [100, 100, 100]


def test_a_cpuset_that_moves_its_tasks_can_be_met(tool: Runner, build: Build) -> None:
    """Node 0's pages follow the task to node 1; F at step 3 backs the first pass out."""
    build(
        (
            *PARKED,
            "cpuset create from --mems 0",
            "cpuset create to --mems 1 --memory-migrate",
            "cpuset move 100 from",
        )
    )
    document = race(tool, "cpuset move 100 to", "3:fault 101 a+1p")
    assert (document["races"][0]["backed_out"], document["passes"], document["moved"]) == (True, 2, 4)


def test_what_a_reader_is_told(tool: Runner, build: Build) -> None:
    """A line a race, and what its command told; one that was not run says so, one that failed says why."""
    build(PARKED)
    races = ("5:fault 101 a+1p", "14:fault 101 a+1p@3p", "6:fault 999 a", "3:file read 'no such'")
    text = tool(*MIGRATE.split(), *[word for each in races for word in ("--race", each)]).out.splitlines()
    told = text[text.index("race at step 5, fault 101 a+1p: blocked on the page lock, the migration backed out") :]
    assert told[1] == "faults: swapin 1"
    assert "race at step 14, fault 101 a+1p@3p: blocked on the page lock, looked up again 1 time" in told
    at = told.index("race at step 6, fault 999 a: not blocked")
    assert told[at + 1].startswith("pid 999: ESRCH: ")
    assert told[-1] == "race at step 3, file read 'no such': not run, no page came that far"


def test_migration_by_way_of_swap_can_be_met(tool: Runner, state: Path, build: Build) -> None:
    """Its pages leave memory: step 5 is met, 14 never is."""
    build(PARKED)
    before = contents(state)
    document = race(tool, f"{MIGRATE} --via-swap", "5:fault 101 a+1p", "14:fault 101 a+1p")
    assert [(met["met"], met.get("backed_out")) for met in document["races"]] == [(True, True), (False, None)]
    assert (document["swapped"], document["failed"]) == (4, 0)
    assert contents(state) == before


@pytest.mark.parametrize("step", range(1, 21))
def test_a_lookup_meets_a_page_of_tmpfs_that_nobody_maps(tool: Runner, build: Build, step: int) -> None:
    """S: the page is in the swap cache since its last move. Backed out, it is a page of its file in the next pass."""
    build((*TMPFS, MIGRATE))
    document = race(tool, "node offline 1", f"{step}:fault 101 a+1p")
    (met,) = document["races"]
    blocked = "tree-lock" if 6 <= step <= 12 else "page-lock" if step < 20 else None
    assert (met["blocked_on"], met["backed_out"], met["retries"]) == (blocked, step <= 5, int(5 < step < 20))
    assert met["result"]["nodes"] == [{"node": 1 if step <= 5 else 2, "pages": 1}]
    assert (document["moved"], document["failed"], document["passes"]) == (4, 0, 3 if step <= 5 else 1)
    assert slots(tool) == {"swap0": 4 if step <= 5 else 3}, "who was looked up after the move has left the swap cache"


def test_a_cache_page_that_nobody_maps_can_be_cut_off(tool: Runner, build: Build) -> None:
    build((*TMPFS, MIGRATE))
    document = race(tool, "node offline 1", "2:file truncate f 0")
    assert (document["moved"], document["failed"], slots(tool)) == (0, 0, {"swap0": 0})
