"""The tables of semantics.md 3.3 to 3.5: a call that is wrong in two ways says what the earlier row says."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest

from tests.conftest import Make, Runner
from tests.telling import policy, tell

Row = tuple[dict[str, object], str]
"""What a row makes of the parts of a call, and its answer: 'ok' or an errno."""

AREA, HOLE = 0x10000000, 0x30000000


def pairs(rows: Mapping[int, Row]) -> list[object]:
    """Each row alone and with each later one that makes other parts wrong; the answer is the earlier one's."""
    found = [pytest.param(parts, wanted, id=f"row {nr}") for nr, (parts, wanted) in rows.items()]
    for (early, (first, wanted)), (late, (second, _)) in itertools.combinations(rows.items(), 2):
        if not first.keys() & second.keys():
            found.append(pytest.param(first | second, wanted, id=f"row {early} before {late}"))
    return list(found)


# ---- 3.3: mbind ----------------------------------------------------------------------------------------------------

MBIND: dict[int, Row] = {
    1: ({"nodes": "1500"}, "EINVAL"),
    3: ({"flag": "--move-all"}, "EPERM"),
    4: ({"byte": 1}, "EINVAL"),
    6: ({"length": 0}, "ok"),
    7: ({"nodes": "none"}, "EINVAL"),
    9: ({"at": HOLE}, "EFAULT"),
    10: ({"flag": "--strict"}, "EIO"),
}


@pytest.mark.parametrize("profile", ["v9", "modern"])
@pytest.mark.parametrize(("parts", "wanted"), pairs(MBIND))
def test_mbind(make: Make, profile: str, parts: dict[str, object], wanted: str) -> None:
    """Task 1 has no privilege; its four pages are on node 0, and node 1 is asked for. A kernel keeps to it (8)."""
    tool = make(profile)
    for line in ("task create --pid 1 --uid 7 --node 0", "mmap 1 4p --label a", "fault 1 a --write"):
        assert tell(tool, line) == "ok"
    call = {"at": AREA, "byte": 0, "length": 4 * 4096, "nodes": "1", "flag": ""} | parts
    start = int(str(call["at"])) + int(str(call["byte"]))
    assert tell(tool, f"mbind 1 {start:#x}+{call['length']} bind {call['nodes']} {call['flag']}") == wanted
    assert policy(tool, 1, AREA) == "default", "a refused call sets nothing, one of no length neither"


# ---- 3.4: migrate_pages --------------------------------------------------------------------------------------------

MIGRATE: dict[int, Row] = {
    2: ({"pid": 99}, "ESRCH"),
    3: ({"pid": 2}, "EINVAL"),
    4: ({"by": 8}, "EPERM"),
    5: ({"to": "3"}, "EPERM"),
    6: ({"to": "none"}, "EINVAL"),
}
MIGRATE_TODAY: dict[int, Row] = {row: MIGRATE[row] for row in (2, 4, 5, 6, 3)}
"""Today the address space is looked for last (modern-kernel.md 35)."""


def migrate(tool: Runner, parts: dict[str, object]) -> str:
    """Task 7 calls for task 1 of the same user, within nodes 0 and 1; task 8 is another's, task 2 a kernel thread."""
    for line in (
        "cpuset create /p --mems 0-1",
        "task create --pid 1 --uid 7 --cpuset /p",
        "task create --pid 2 --uid 7 --cpuset /p --kernel-thread --drop-cap sys_nice",
        "task create --pid 7 --uid 7 --cpuset /p",
        "task create --pid 8 --uid 8 --cpuset /p",
    ):
        assert tell(tool, line) == "ok"
    call = {"pid": 1, "by": 7, "to": "1"} | parts
    return tell(tool, f"migrate-pages {call['pid']} 0 {call['to']} --by {call['by']}")


@pytest.mark.parametrize(("parts", "wanted"), pairs(MIGRATE))
def test_migrate_pages_of_v9(make: Make, parts: dict[str, object], wanted: str) -> None:
    assert migrate(make("v9"), parts) == wanted


@pytest.mark.parametrize(("parts", "wanted"), pairs(MIGRATE_TODAY))
def test_migrate_pages_of_today(make: Make, parts: dict[str, object], wanted: str) -> None:
    assert migrate(make("modern"), parts) == wanted


# ---- 3.5: set_mempolicy, get_mempolicy -----------------------------------------------------------------------------

SET = {
    "nodes outside of the cpuset": ("interleave 3", "EINVAL"),
    "default with nodes": ("default 0", "EINVAL"),
    "bind without": ("bind none", "EINVAL"),
    "interleave without": ("interleave none", "EINVAL"),
    "a node that is not there": ("bind 9", "EINVAL"),
    "preferred without": ("preferred none", "ok"),
    "default": ("default", "ok"),
}
GET = {
    "task, default": ("default", "", ("default", "")),
    "task, a set": ("bind 0-1", "", ("bind", "0-1")),
    "address without a policy": ("bind 0-1", hex(AREA), ("default", "")),
    "address with one": ("bind 0-1", hex(AREA + 4 * 4096), ("interleave", "0-1")),
    "no area": ("default", hex(HOLE), "EFAULT"),
    "next node of a task that does not interleave": ("bind 0", "--node", "EINVAL"),
    "next node": ("interleave 0-1", "--node", 0),
    "node of a page that is there": ("default", f"{AREA:#x} --node", 1),
    "node of a page that is not": ("preferred 0", f"{AREA + 2 * 4096:#x} --node", 0),
    "node behind no area": ("default", f"{HOLE:#x} --node", "EFAULT"),
}


@pytest.fixture(params=["v9", "modern"])
def inside(make: Make, request: pytest.FixtureRequest) -> Runner:
    """Task 1 on node 1, within nodes 0 and 1: two pages of its area are there, its second area is interleaved."""
    tool = make(request.param)
    for line in (
        "cpuset create /p --mems 0-1",
        "task create --pid 1 --node 1 --cpuset /p",
        "mmap 1 8p --label a",
        "mbind 1 a+4p@4p interleave 0-1",
        "fault 1 a+2p --write",
    ):
        assert tell(tool, line) == "ok"
    return tool


@pytest.mark.parametrize(("words", "wanted"), SET.values(), ids=SET)
def test_set_mempolicy(inside: Runner, words: str, wanted: str) -> None:
    assert tell(inside, f"set-mempolicy 1 {words}") == wanted


@pytest.mark.parametrize(("own", "words", "wanted"), GET.values(), ids=GET)
def test_get_mempolicy(inside: Runner, own: str, words: str, wanted: tuple[str, str] | str | int) -> None:
    """An address never shows the policy of the task; a page that is missing is read in: the zero page, of node 0."""
    assert tell(inside, f"set-mempolicy 1 {own}") == "ok"
    found = inside("get-mempolicy", 1, *words.split(), "--json").document
    if isinstance(wanted, tuple):
        assert (found["mode"], found["nodes"]) == wanted
    else:
        assert found["errno" if isinstance(wanted, str) else "node"] == wanted
