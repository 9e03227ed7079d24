"""What the Linux Test Project and numactl expect of moves, by id: migrate_pages01 and 02, move_pages01 to 12,
mbind_mig_pages, move_pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Make, Runner
from tests.telling import contents, nodes_of, page_nodes, play

AREA = 0x10000000
# V9 drops the ptes of a shared page that moves: a touch finds it where it is now.
both = pytest.mark.parametrize("profile", ["v9", "modern"])


@pytest.fixture
def fresh(make: Make, profile: str) -> Runner:
    """Task 1, privileged, on node 0."""
    tool = make(profile)
    play(tool, "task create --pid 1 --node 0")
    return tool


@both
def test_to_where_they_are_mig_01(fresh: Runner) -> None:
    play(fresh, "mmap 1 4p --label a\nfault 1 a --write\n--by 1 migrate-pages 1 0 0")
    assert nodes_of(fresh, 1, "a") == {0: 4}


@both
def test_no_such_pid_mig_03(fresh: Runner) -> None:
    play(fresh, "ESRCH: --by 1 migrate-pages 99 0 1")


@both
def test_nobody_may_not_migrate_root_mig_09(fresh: Runner) -> None:
    play(fresh, "task create --pid 2 --uid 65534\nEPERM: --by 2 migrate-pages 1 0 1")


@both
def test_a_shared_page_of_one_task_mig_12(fresh: Runner) -> None:
    play(fresh, "mmap 1 1p --shared --label s\nfault 1 s --write\n--by 1 migrate-pages 1 0 1\nfault 1 s")
    assert nodes_of(fresh, 1, "s") == {1: 1}


@both
@pytest.mark.parametrize(("area", "node"), [("own", 0), ("s", 1)], ids=["MIG-15", "MIG-16"])
def test_a_child_without_rights_moves_what_is_its_own(fresh: Runner, area: str, node: int) -> None:
    """Its private page goes from node 1 to 0, the one that it shares with its parent stays; both are no error."""
    play(fresh, "mmap 1 1p --shared --label s\nfault 1 s --write\nmigrate-pages 1 0 1\nfault 1 s\nfork 1 --pid 2")
    play(fresh, "fault 2 s")
    play(fresh, "task set 2 --uid 65534\nmmap 2 1p --label own\ntask run-on 2 --node 1\nfault 2 own --write")
    assert fresh("--by", 2, "migrate-pages", 2, 1, 0, "--json").document["errno"] is None
    play(fresh, f"fault 2 {area}")
    assert nodes_of(fresh, 2, area) == {node: 1}


@both
def test_a_task_of_the_same_user_mig_18(fresh: Runner) -> None:
    play(fresh, "task create --pid 2 --uid 7 --node 0\ntask create --pid 3 --uid 7\nmmap 2 1p --label a")
    play(fresh, "fault 2 a --write\n--by 3 migrate-pages 2 0 1")
    assert nodes_of(fresh, 2, "a") == {1: 1}


def status(tool: Runner, *words: object) -> list[Any]:
    """The node or the errno of each page of a move-pages call, which as a whole must not fail."""
    document = tool("move-pages", *words, "--json").document
    assert document["return"] >= 0
    return [row["errno"] or row["node"] for row in document["status"]]


@both
def test_a_query_says_what_the_policy_call_says_move_01(fresh: Runner) -> None:
    play(fresh, "mmap 1 2p --label a\nmbind 1 a interleave 0-1\nfault 1 a --write")
    places = [fresh("get-mempolicy", 1, hex(AREA + k * 4096), "--node", "--json").document["node"] for k in range(2)]
    assert status(fresh, 1, "--query", "a") == places == [0, 1]


@both
def test_shared_pages_with_move_all_move_03(fresh: Runner) -> None:
    play(fresh, "mmap 1 2p --shared --label s\nfault 1 s --write\nfork 1 --pid 2\nfault 2 s")
    pages = [f"{AREA + k * 4096:#x}=1" for k in range(2)]
    assert status(fresh, 1, "--move-all", *pages) == [1, 1]
    play(fresh, "fault 2 s")
    assert nodes_of(fresh, 2, "s") == {1: 2}


@both
def test_a_page_of_two_tasks_without_rights_move_07(fresh: Runner) -> None:
    """-EACCES is the status of the shared page alone."""
    play(fresh, "mmap 1 1p --shared --label s --addr 0x40000000\nfault 1 s --write\nfork 1 --pid 2\nfault 2 s")
    play(fresh, "mmap 1 1p --label own --addr 0x40010000\nfault 1 own --write")
    assert status(fresh, 1, "0x40000000=1", "0x40010000=1") == ["EACCES", 1]


@both
def test_no_such_pid_move_09(fresh: Runner) -> None:
    play(fresh, f"mmap 1 2p --label a\nfault 1 a --write\nESRCH: move-pages 99 {AREA:#x}=1")


@both
def test_strict_is_no_flag_of_it_move_11(fresh: Runner) -> None:
    play(fresh, f"mmap 1 2p --label a\nfault 1 a --write\nusage: move-pages 1 --strict {AREA:#x}=1")


@pytest.fixture
def holed(fresh: Runner) -> Runner:
    """32 pages of task 1 on node 0; page 2 was never touched."""
    play(fresh, "mmap 1 32p --label a\nfault 1 a+2p --write\nfault 1 a+29p@3p --write")
    return fresh


def but_page_2(node: int) -> list[int | None]:
    """All on a node, page 2 nowhere."""
    return [None if page == 2 else node for page in range(32)]


@both
def test_mbind_moves_around_an_absent_page_nmig_01_nmig_02_nmig_03_nmig_04_nmig_05(holed: Runner, state: Path) -> None:
    """Query; bind where they are; bind elsewhere, which page 2 does not hinder; query; the content is as it was."""
    assert page_nodes(holed, 1, "a") == but_page_2(0)
    before = contents(state)
    play(holed, "mbind 1 a bind 0 --move --strict")
    assert page_nodes(holed, 1, "a") == but_page_2(0)
    found = holed("mbind", 1, "a", "bind", 1, "--move", "--strict", "--json")
    assert (found.code, found.document["return"]) == (0, 0)
    assert page_nodes(holed, 1, "a") == but_page_2(1)
    assert contents(state) == before


@both
def test_a_query_names_the_absent_page_nmig_10(holed: Runner) -> None:
    found = status(holed, 1, "--query", "a")
    assert [page for page, what in enumerate(found) if what != 0] == [2]
    assert isinstance(found[2], str)


@both
def test_each_page_to_a_node_of_its_own_nmig_11_nmig_12(holed: Runner, state: Path) -> None:
    """Page i to node i modulo their number; page 2 is an error of its own, no content is lost."""
    before = contents(state)
    found = status(holed, 1, *(f"{AREA + page * 4096:#x}={page % 4}" for page in range(32)))
    assert [what for page, what in enumerate(found) if page != 2] == [page % 4 for page in range(32) if page != 2]
    assert page_nodes(holed, 1, "a") == [None if page == 2 else page % 4 for page in range(32)]
    assert contents(state) == before
