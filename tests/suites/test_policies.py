"""What the Linux Test Project and numactl expect of policies, by id: mbind01 to 04, set_mempolicy01 to 04,
get_mempolicy01 and 02; regress, prefered, randmap, tshared, shmtest."""

from __future__ import annotations

import pytest

from tests.conftest import Make, Runner
from tests.telling import counters, nodes_of, page_nodes, play, policy

AREA = 0x10000000
both = pytest.mark.parametrize("profile", ["v9", "modern"])
every_node = pytest.mark.parametrize("node", range(4))


@pytest.fixture
def fresh(make: Make, profile: str) -> Runner:
    """Task 1, privileged, on node 0, with 16 pages that nobody has touched."""
    tool = make(profile)
    play(tool, "task create --pid 1 --node 0\nmmap 1 16p --label a")
    return tool


# id: (words, errno or ok, the policy of the area afterwards; None where the profiles read it back differently)
CALLS = {
    "MBIND-01": ("default", "ok", "default"),
    "MBIND-03": ("bind none", "EINVAL", "default"),
    "MBIND-05": ("interleave none", "EINVAL", "default"),
    "MBIND-07": ("preferred none", "ok", None),
    "MBIND-11": ("-1", "usage", "default"),
}


@both
@pytest.mark.parametrize(("words", "wanted", "left"), CALLS.values(), ids=CALLS)
def test_modes(fresh: Runner, words: str, wanted: str, left: str | None) -> None:
    play(fresh, f"{wanted}: mbind 1 a {words}" if wanted != "ok" else f"mbind 1 a {words}")
    found = policy(fresh, 1, AREA)
    assert found == left if left is not None else found.split()[0] in ("preferred", "local")


@pytest.mark.parametrize("profile", ["modern"])
def test_local_mbind_09(fresh: Runner) -> None:
    """Younger than V9; today it reads back as itself, without nodes."""
    play(fresh, "mbind 1 a local")
    assert policy(fresh, 1, AREA) == "local"


@both
def test_strict_alone_mbind_15(fresh: Runner) -> None:
    play(fresh, "fault 1 a+1p --write\nEIO: mbind 1 a bind 1 --strict")


MOVES = {
    "MBIND-17": "preferred 1 --move",
    "MBIND-18": "preferred 1 --move-all",
    "MBIND-21": "interleave 1 --move",
    "MBIND-22": "interleave 1 --move-all",
}


@both
@pytest.mark.parametrize("words", MOVES.values(), ids=MOVES)
def test_a_faulted_page_moves(fresh: Runner, words: str) -> None:
    play(fresh, f"fault 1 a+1p --write\nmbind 1 a {words}")
    assert nodes_of(fresh, 1, "a") == {1: 1}


@both
@every_node
@pytest.mark.parametrize("flag", ["", "--strict"], ids=["MBIND-25", "MBIND-26"])
def test_a_forked_child_keeps_the_policy(fresh: Runner, flag: str, node: int) -> None:
    play(fresh, f"mbind 1 a bind {node} {flag}\nfork 1 --pid 2\nfault 2 a --write\nfault 1 a --write")
    assert nodes_of(fresh, 1, "a") == nodes_of(fresh, 2, "a") == {node: 16}


@both
@every_node
@pytest.mark.parametrize("pid", [1, 2], ids=["SETPOL-01", "SETPOL-02"])
def test_a_task_bound_to_a_node(fresh: Runner, pid: int, node: int) -> None:
    """Parent 1, and child 2, which has its policy."""
    play(fresh, f"set-mempolicy 1 bind {node}\nfork 1 --pid 2\nfault {pid} a --write")
    assert nodes_of(fresh, pid, "a") == {node: 16}


@both
@pytest.mark.parametrize("pid", [1, 2], ids=["SETPOL-05", "SETPOL-06"])
def test_an_interleaving_task_deals_evenly(fresh: Runner, pid: int) -> None:
    play(fresh, f"set-mempolicy 1 interleave 0-3\nfork 1 --pid 2\nmmap {pid} 8p --label b\nfault {pid} b --write")
    assert nodes_of(fresh, pid, "b") == dict.fromkeys(range(4), 2)


@both
@every_node
def test_page_cache_of_a_bound_task_setpol_09(fresh: Runner, node: int) -> None:
    play(fresh, f"set-mempolicy 1 bind {node}\nfile create /f 16p --fs ext2")
    play(fresh, "mmap 1 16p --file /f --shared --label f\nfault 1 f --write")
    assert nodes_of(fresh, 1, "f") == {node: 16}


@both
def test_page_cache_of_an_interleaving_task_setpol_11_setpol_12(fresh: Runner) -> None:
    """Files of all sizes, one after another: a counter that starts anew for each would favour the first nodes."""
    play(fresh, "set-mempolicy 1 interleave 0-3")
    sizes = [k for k in range(1, 10) for _ in range(4)]
    for k, size in enumerate(sizes):
        line = f"file create /f{k} {size}p --fs ext2"
        play(fresh, f"{line}\nmmap 1 {size}p --file /f{k} --shared --label f{k}\nfault 1 f{k}")
    held = [page_nodes(fresh, 1, f"f{k}") for k in range(len(sizes))]
    per_node = {node: sum(nodes.count(node) for nodes in held) for node in range(4)}
    total = sum(sizes)
    assert sum(per_node.values()) == total
    assert all(abs(nr - total / 4) <= total / 60 for nr in per_node.values())


@both
@pytest.mark.parametrize(
    "first", ["default", "interleave 1", "preferred 1"], ids=["GETPOL-01", "GETPOL-03", "GETPOL-05"]
)
def test_the_last_policy_of_a_task_is_told(fresh: Runner, first: str) -> None:
    play(fresh, f"set-mempolicy 1 {first}\nset-mempolicy 1 preferred 1")
    assert policy(fresh, 1) == "preferred 1"


@both
@every_node
def test_the_policy_of_an_address_getpol_07(fresh: Runner, node: int) -> None:
    play(fresh, f"mmap 1 4M --label big --addr 0x40000000\nmbind 1 big bind {node}")
    assert policy(fresh, 1, 0x40000000) == f"bind {node}"


@pytest.mark.parametrize("profile", ["modern"])
def test_preferred_without_nodes_getpol_09(fresh: Runner) -> None:
    """V9 names all nodes that are online instead (semantics.md 3.5)."""
    play(fresh, "mmap 1 4M --label big --addr 0x40000000\nmbind 1 big preferred none")
    assert fresh("get-mempolicy", 1, "0x40000000", "--json").document["nodes"] == ""


@both
def test_no_area_getpol_11(fresh: Runner) -> None:
    play(fresh, "EFAULT: get-mempolicy 1 0x0")


@both
@pytest.mark.parametrize(
    "words", ["interleave 1", "interleave all", "preferred none"], ids=["NREG-01", "NREG-03", "NREG-07"]
)
def test_a_toucher_runs(fresh: Runner, words: str) -> None:
    """`preferred none` is what --localalloc asks for."""
    play(fresh, f"set-mempolicy 1 {words}\nmmap 1 40p --label t\nfault 1 t --write")
    assert sum(nodes_of(fresh, 1, "t").values()) == 40


@both
@pytest.mark.parametrize("words", ["set-mempolicy 1 bind 0,1", "mbind 1 t bind 0,1"], ids=["NREG-05", "NREG-11"])
def test_hits_of_a_bound_toucher(fresh: Runner, words: str) -> None:
    before = counters(fresh)["numa_hit"]
    play(fresh, f"mmap 1 40p --label t\n{words}\nfault 1 t --write")
    after = counters(fresh)["numa_hit"]
    assert sum(after[n] - before[n] for n in (0, 1)) >= 40


@both
def test_interleave_hits_nreg_09(fresh: Runner) -> None:
    before = counters(fresh)["interleave_hit"]
    play(fresh, "mmap 1 40p --label t\nmbind 1 t interleave 0,1\nfault 1 t --write")
    after = counters(fresh)["interleave_hit"]
    assert [after[n] - before[n] for n in range(4)] == [20, 20, 0, 0]


@both
@pytest.mark.parametrize("node", [3, 2, 1, 0])
def test_preferred_on_a_first_page_npref_01_npref_02_npref_03(fresh: Runner, node: int) -> None:
    """The mode, its set, and where the page is."""
    play(fresh, f"mbind 1 a+1p preferred {node}\nfault 1 a+1p --write")
    assert policy(fresh, 1, AREA) == f"preferred {node}"
    assert fresh("get-mempolicy", 1, hex(AREA), "--node", "--json").document["node"] == node


RANDOM_MAP = (
    (0, 400, "interleave 0-1"),
    (100, 200, "bind 1"),
    (150, 100, "default"),
    (50, 100, "preferred 2"),
    (200, 100, "interleave 1-3"),
    (250, 100, "bind 0"),
    (300, 100, "default"),
    (0, 100, "preferred 3"),
    (350, 50, "interleave 0,2"),
)


@both
def test_overlapping_ranges_nrand_01(fresh: Runner, profile: str) -> None:
    """After each call every page from 20 before to 20 after its range shows what was last set for it."""
    play(fresh, "mmap 1 400p --shm seg --label s --addr 0x40000000")
    shown = dict.fromkeys(range(400), "default")
    for first, nr, words in RANDOM_MAP:
        play(fresh, f"mbind 1 s+{nr}p@{first}p {words}")
        shown |= dict.fromkeys(range(first, first + nr), words)
        around = range(max(first - 20, 0), min(first + nr + 20, 400))
        assert [policy(fresh, 1, 0x40000000 + page * 4096) for page in around] == [shown[page] for page in around]


@both
def test_placement_follows_the_offset_nshm_01(fresh: Runner) -> None:
    """Ten children touch every tenth page each; today the inode's number is added, here one that changes nothing."""
    play(fresh, "mmap 1 80p --shared --ino 4 --label s\nmbind 1 s interleave 0-3")
    for child in range(10):
        assert fresh("fork", 1, "--pid", 10 + child).code == 0
    for child in reversed(range(10)):
        for page in range(child, 80, 10):
            assert fresh("fault", 10 + child, f"s+1p@{page}p", "--write").code == 0
    play(fresh, "fault 1 s")
    assert page_nodes(fresh, 1, "s") == [page % 4 for page in range(80)]


@both
def test_policies_of_a_segment_outlive_the_task_nshm_05_nshm_06_nshm_07(fresh: Runner) -> None:
    """Ordinary pages instead of huge ones: three ranges, each set by a task that is gone when the next one comes."""
    ranges = (("interleave 0-1", 8), ("bind 1", 16), ("preferred 1", 24))
    for k, (words, first) in enumerate(ranges):
        pid = 20 + k
        play(
            fresh,
            f"task create --pid {pid}\nmmap {pid} 40p --shm seg --label s\nmbind {pid} s+8p@{first}p {words} --strict",
        )
        play(fresh, f"fault {pid} s+8p@{first}p --write\ntask exit {pid}")
        play(fresh, f"mmap 1 40p --shm seg --label now{k} --addr {0x40000000 + k * 0x1000000:#x}")
        start = 0x40000000 + k * 0x1000000
        for wanted, at in ranges[: k + 1]:
            assert policy(fresh, 1, start + at * 4096) == wanted
