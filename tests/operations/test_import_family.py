"""Pages that imported tasks share since a fork; through the command line."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.conftest import Runner
from tests.operations.trees import done, free, loaded, make_tree, text_of, where

HEAP = "10000000 default heap anon={0} dirty={0} mapmax={1} N0={0}\n"
HEAP_OF_TWO = "10000000 default heap anon={0} dirty={0} mapmax=2 {1}\n"


def status(ppid: int | None, uid: int = 0) -> str:
    return f"Uid:\t{uid}\n" + ("" if ppid is None else f"PPid:\t{ppid}\n")


def sharing(notes: list[str]) -> list[str]:
    return [line.partition("numa_maps: ")[2] for line in notes if "since a fork" in line]


SENTENCE = (
    "pages taken as shared with pid {} since a fork: areas of both begin at one address and are mapped more than once"
)


@pytest.mark.parametrize("ppids", [(1, 7), (None, None), (1, 1), (8, 1), (1, None)])
@pytest.mark.parametrize("profile", ["v9", "modern"])
def test_relatives_share_what_both_map(
    tool: Runner, tmp_path: Path, ppids: tuple[int | None, int | None], profile: str
) -> None:
    """Four pages, not eight; they go with either task, and a write of one copies."""
    files = {
        pid: {"numa_maps": HEAP.format(4, 2), "status": status(ppid)} for pid, ppid in zip((7, 8), ppids, strict=True)
    }
    document = loaded(tool, make_tree(tmp_path / "t", files), "--profile", profile)
    assert sharing(document["assumptions"]) == [SENTENCE.format(7)]
    assert sum(free(tool)) == 2 * 900
    assert [row["pages"] for row in document["tasks"]] == [4, 4]
    assert done(tool("migrate-pages", 8, 0, 1, "--json"))["moved"] == 4
    assert set(where(tool, 7).values()) == {1}
    assert done(tool("fault", 8, "0x10000000+1p", "--write", "--json"))["faults"]["cow"] == 1
    assert done(tool("fault", 7, "0x10000000+1p", "--write", "--json"))["faults"]["reuse"] == 1


def test_strangers_share_nothing(tool: Runner, tmp_path: Path) -> None:
    """Another parent each, and neither is the other's: a program that is mapped at one address every time."""
    files = {pid: {"numa_maps": HEAP.format(4, 2), "status": status(pid - 5)} for pid in (17, 18)}
    document = loaded(tool, make_tree(tmp_path / "t", files))
    assert not sharing(document["assumptions"])
    assert done(tool("migrate-pages", 18, 0, 1, "--json"))["moved"] == 4
    assert set(where(tool, 17).values()) == {0}


def test_grandchildren_are_relatives(tool: Runner, tmp_path: Path) -> None:
    """The task between them is imported, and has another program by now."""
    own = {"numa_maps": "30000000 default heap anon=1 dirty=1 N0=1\n", "status": status(7)}
    files = {7: {"numa_maps": HEAP.format(4, 2), "status": status(1)}, 8: own}
    files[9] = {"numa_maps": HEAP.format(4, 2), "status": status(8)}
    assert sharing(loaded(tool, make_tree(tmp_path / "t", files))["assumptions"]) == [SENTENCE.format(7)]


def test_no_more_tasks_than_mapmax(tool: Runner, tmp_path: Path) -> None:
    """Each page is mapped twice: by 7 and 8, and by 9 and 10."""
    files = {pid: {"numa_maps": HEAP.format(4, 2)} for pid in (7, 8, 9, 10)}
    document = loaded(tool, make_tree(tmp_path / "t", files))
    assert sharing(document["assumptions"]) == [SENTENCE.format(7), SENTENCE.format(9)]
    assert done(tool("migrate-pages", 7, 0, 1, "--json"))["moved"] == 4
    assert [set(where(tool, pid).values()) for pid in (7, 8, 9, 10)] == [{1}, {1}, {0}, {0}]


def test_the_later_task_may_say_a_lower_mapmax(tool: Runner, tmp_path: Path) -> None:
    """Pages of 7 are mapped three times, those of 9 twice: 9 cannot be a third one, whoever shares them."""
    files = {pid: {"numa_maps": HEAP.format(4, mapmax)} for pid, mapmax in ((7, 3), (8, 3), (9, 2))}
    assert sharing(loaded(tool, make_tree(tmp_path / "t", files))["assumptions"]) == [SENTENCE.format(7)]
    done(tool("migrate-pages", 7, 0, 1, "--json"))
    assert set(where(tool, 9).values()) == {0}


def test_mappers_that_are_not_imported_remain(tool: Runner, tmp_path: Path) -> None:
    """Of five mappers two are imported; the pages are shared with three more still, so that MOVE leaves them."""
    files = {pid: {"numa_maps": HEAP.format(4, 5), "status": status(1, 42)} for pid in (7, 8)}
    loaded(tool, make_tree(tmp_path / "t", files))
    assert [text_of(tool, pid).partition(" kernel")[0].strip() for pid in (7, 8)] == [HEAP.format(4, 5).strip()] * 2
    done(tool("task", "exit", 8, "--json"))
    document = done(tool("migrate-pages", 7, 0, 1, "--as", 42, "--json"))
    assert (document["moved"], document["skips"][0]["reason"]) == (0, "shared")


def smaps(pages: int, shared: int) -> str:
    end = 0x10000000 + pages * 4096
    return (
        f"10000000-{end:x} rw-p 00000000 00:00 0 [heap]\nShared_Clean: 0 kB\nShared_Dirty: {4 * shared} kB\n"
        f"Private_Dirty: {4 * (pages - shared)} kB\n"
    )


def heap(counts: str, pages: int, shared: int, ppid: int, cpu: int) -> dict[str, str]:
    """Files of a task whose heap has so many pages, so many of them shared, and that runs on that CPU."""
    stat = f"7 (x) S {ppid} " + " ".join(["0"] * 34) + f" {cpu}\n"
    maps = f"10000000-{0x10000000 + pages * 4096:x} rw-p 00000000 00:00 0 [heap]\n"
    return {
        "numa_maps": HEAP_OF_TWO.format(pages, counts),
        "maps": maps,
        "smaps": smaps(pages, shared),
        "stat": stat,
        "status": status(ppid, 42),
    }


@pytest.mark.parametrize(("cpu", "stays"), [(0, {0: 2}), (2, {1: 2})])
def test_smaps_tells_how_many_are_shared(tool: Runner, tmp_path: Path, cpu: int, stays: dict[int, int]) -> None:
    """
    Of 6 pages 4 are shared, by the smaps of both. CPU 0 is on node 0, CPU 2 on node 1: the copies of the child are
    where it runs. Its own two pages move with MOVE, and its parent's stay when the child's
    whole heap goes.
    """
    counts = "N0=3 N1=3"
    files = {7: heap(counts, 6, 4, 1, 0), 8: heap(counts, 6, 4, 7, cpu)}
    loaded(tool, make_tree(tmp_path / "t", files))
    assert [text_of(tool, pid).strip() for pid in (7, 8)] == [HEAP_OF_TWO.format(6, counts).strip()] * 2
    (node, own), (away,) = *stays.items(), (1 - next(iter(stays)),)
    mine = done(tool("migrate-pages", 8, node, away, "--as", 42, "--json"))
    assert (mine["moved"], mine["skipped"]) == (own, 1)
    done(tool("migrate-pages", 8, 1, 0, "--json"))
    left = [nid for nid in where(tool, 7).values() if nid == 1]
    assert len(left) == (2 if node == 1 else 0), "of node 1 the parent keeps what is its own"


def test_smaps_that_tells_of_nothing_shared(tool: Runner, tmp_path: Path) -> None:
    files = {7: heap("N0=6", 6, 0, 1, 0), 8: heap("N0=6", 6, 4, 7, 0)}
    assert not sharing(loaded(tool, make_tree(tmp_path / "t", files))["assumptions"])


@pytest.mark.parametrize(
    ("mine", "its"),
    [
        (HEAP.format(4, 2), HEAP.format(4, 1).replace(" mapmax=1", "")),
        (HEAP.format(4, 2), HEAP.format(4, 2).replace("N0", "N1")),
        (HEAP.format(4, 2), HEAP.format(4, 2).replace("N0", "active=0 N0")),
        (HEAP.format(4, 2), HEAP.format(4, 2).replace("heap", "file=/a")),
        (HEAP.format(4, 2), HEAP.format(4, 2).replace("10000000", "10001000")),
        (HEAP.format(4, 2), HEAP.format(4, 2).replace("N0", "swapcache=4 N0")),
    ],
    ids=["mapped-once", "node", "active", "file", "address", "swap-cache"],
)
def test_what_is_no_sign_of_sharing(tool: Runner, tmp_path: Path, mine: str, its: str) -> None:
    files = {7: {"numa_maps": mine}, 8: {"numa_maps": its}}
    document = loaded(tool, make_tree(tmp_path / "t", files), "--profile", "modern")
    assert not sharing(document["assumptions"])
    assert sum(row["pages"] for row in document["tasks"]) == 8


@pytest.mark.parametrize("seed", range(12))
def test_a_forked_family_comes_back(tool: Runner, tmp_path: Path, seed: int) -> None:
    """
    A family made by fork, whose members then wrote to some pages: imported from its numa_maps alone, every member
    shows the same text, and all together hold no more pages than before.
    """
    draw = random.Random(seed)
    done(tool("init", "--nodes", 3, "--memory", "1000p", "--profile", "modern", "--json"))
    done(tool("task", "create", "--pid", 10, "--json"))
    done(tool("file", "create", "/lib", "16p", "--fs", "ext2", "--json"))
    for k, mode in enumerate(["", "interleave 0-2", "bind 1", "interleave 0,2"]):
        size = draw.randint(3, 40)
        done(tool("mmap", 10, f"{size}p", "--label", f"a{k}", "--json"))
        if mode:
            done(tool("mbind", 10, f"a{k}", *mode.split(), "--json"))
        done(tool("fault", 10, f"a{k}+{draw.randint(1, size)}p@0p", "--write", "--json"))
    done(tool("mmap", 10, "16p", "--file", "/lib", "--label", "lib", "--json"))
    done(tool("fault", 10, "lib", "--json"))
    done(tool("fault", 10, "lib+4p", "--write", "--json"))
    pids = [10]
    for child in range(11, 11 + draw.randint(1, 3)):
        done(tool("fork", draw.choice(pids), "--pid", child, "--json"))
        pids.append(child)
        done(tool("task", "run-on", child, "--node", draw.randrange(3), "--json"))
        for k in [draw.randrange(4) for _ in range(draw.randint(0, 6))]:
            size = draw.randint(1, 3)
            done(tool("fault", draw.choice(pids), f"a{k}+{size}p@0p", "--write", "--json"))
    texts = {pid: text_of(tool, pid) for pid in pids}
    held = 3000 - sum(free(tool))
    tree = make_tree(tmp_path / "t", {pid: {"numa_maps": text} for pid, text in texts.items()}, nodes=3, free=1000)
    loaded(tool, tree, "--profile", "modern", "--force")
    assert {pid: text_of(tool, pid) for pid in pids} == texts
    assert 3000 - sum(free(tool)) <= held + 4 * (len(pids) - 1), "but for the private pages of /lib, which are not told"
