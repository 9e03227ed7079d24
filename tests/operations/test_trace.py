"""``--trace`` on every migrating command: one block a course, the page asked for, numbers that the state confirms."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Runner

FAMILY = (
    "init --nodes 3 --memory 100p --swap 32p",
    "task create --pid 100 --node 0",
    "mmap 100 8p --label a",
    "fault 100 a --write",
)


@pytest.fixture
def eight(tool: Runner) -> Runner:
    """Three nodes; task 100 on node 0 with 8 written pages ``a``."""
    for line in FAMILY:
        assert tool(*line.split()).code == 0
    return tool


def traced(tool: Runner, line: str, code: int = 0) -> list[dict[str, Any]]:
    """The blocks that a command tells."""
    outcome = tool(*line.split(), "--json")
    assert outcome.code == code, outcome.out + outcome.err
    assert tool("check").code == 0
    found: list[dict[str, Any]] = outcome.document["trace"]
    return found


def brief(blocks: list[dict[str, Any]]) -> list[tuple[str, int, list[tuple[int, int, str | None]]]]:
    """Of each block the first address, how many pages, and first pass, last pass, reason of its parts."""
    return [
        (block["addr"], block["pages"], [(one["first"], one["last"], one["reason"]) for one in block["passes"]])
        for block in blocks
    ]


def end(block: dict[str, Any]) -> tuple[int, str, str, int | None]:
    """The last step of a block: its number, both pages as references/mappings, the slot."""
    step = block["passes"][-1]["steps"][-1]
    old, new = (f"{each['count']}/{each['mapcount']}" if each else "-" for each in (step["old"], step["new"]))
    return step["step"], old, new, step["slot"]


COMMANDS = [
    "migrate-pages 100 0 1 --trace",
    "mbind 100 a bind 1 --move --trace",
    "node offline 0 --trace",
    "move-pages 100 0x10000000=1 0x10001000=1 0x10002000=1 0x10003000=1 --trace",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_migrating_command_tells_the_twenty_steps(eight: Runner, command: str) -> None:
    """Pages that went the same way are one block, whatever runs they lie in."""
    (block,) = traced(eight, command)
    assert brief([block]) == [("0x10000000", 4 if command.startswith("move-pages") else 8, [(0, 0, None)])]
    steps = [step["step"] for step in block["passes"][0]["steps"]]
    assert sorted(set(steps)) == list(range(21))
    assert end(block) == (20, "0/0", "1/1", 0)


def test_an_eviction_has_no_target(eight: Runner) -> None:
    (block,) = traced(eight, "swap out 100 a --trace")
    assert brief([block]) == [("0x10000000", 8, [(0, 0, "writeback-started"), (1, 1, None)])]
    assert all(step["new"] is None for one in block["passes"] for step in one["steps"])
    assert block["passes"][-1]["outcome"] == "evicted"


def test_a_block_for_each_course(eight: Runner) -> None:
    """Courses differ by what stood in the way and by the references seen, not by where the pages lie."""
    for line in ("page pin 100 a+1p@2p", "page pin 100 a+1p@5p", "page lock 100 a+1p@3p --passes 2"):
        eight(*line.split())
    assert brief(traced(eight, "migrate-pages 100 0 1 --trace", code=3)) == [
        ("0x10000000", 5, [(0, 0, None)]),
        ("0x10002000", 2, [(0, 0, "pinned"), (1, 10, "pinned")]),
        ("0x10003000", 1, [(0, 1, "busy-locked"), (2, 2, None)]),
    ]


def test_shared_pages_and_others_are_told_apart(eight: Runner) -> None:
    """A call that takes pages by MOVE_ALL does not ask how many ptes there are; its trace does."""
    for line in ("fork 100 --pid 101", "fault 101 a+4p --write"):
        eight(*line.split())
    blocks = traced(eight, "migrate-pages 100 0 1 --trace")
    assert [(block["addr"], block["pages"], end(block)) for block in blocks] == [
        ("0x10000000", 4, (20, "0/0", "1/1", 0)),
        ("0x10004000", 4, (20, "0/0", "2/2", 0)),
    ]


def test_each_pair_of_nodes_counts(eight: Runner) -> None:
    """0-1 to 1-2: the pages of node 1 go to 2 first, those of node 0 to 1; all the same way."""
    eight("mbind", 100, "a+4p", "bind", 1, "--move")
    assert brief(traced(eight, "migrate-pages 100 0-1 1-2 --trace")) == [("0x10000000", 8, [(0, 0, None)])]


def test_the_page_at_an_address(eight: Runner) -> None:
    """It is the page that the address lies in; a block of one page."""
    eight("page", "pin", 100, "a+1p@2p")
    assert brief(traced(eight, "migrate-pages 100 0 1 --trace=0x10002abc --dry-run", code=3)) == [
        ("0x10002000", 1, [(0, 0, "pinned"), (1, 10, "pinned")])
    ]
    assert brief(traced(eight, "migrate-pages 100 0 1 --trace=0x10003000", code=3)) == [
        ("0x10003000", 1, [(0, 0, None)])
    ]


@pytest.mark.parametrize("address", ["0x10002000", "0x20000000"])
def test_a_page_that_is_not_looked_at_has_no_block(eight: Runner, address: str) -> None:
    """Not on a source node, or not there at all: no block, and the report says so."""
    assert traced(eight, f"migrate-pages 100 1 2 --trace={address}") == []
    text = eight("migrate-pages", 100, 1, 2, f"--trace={address}").out
    assert "no page that was asked for was looked at" in text


@pytest.mark.parametrize(("profile", "moved"), [("v9", 0), ("modern", 3)])
def test_pages_that_were_not_looked_at_have_no_course(tool: Runner, profile: str, moved: int) -> None:
    """
    Both nodes are full but for three pages. V9 gives up before it has targets for a chunk (3.1), a 6.x kernel when a
    page finds none; who was not tried has no block.
    """
    for line in (
        f"init --nodes 2 --memory 100p --swap 8p --profile {profile}",
        *FAMILY[1:],
        "mmap 100 92p --label rest",
        "fault 100 rest --write",
        "task create --pid 7 --node 1",
        "mmap 7 97p --label b",
        "fault 7 b --write",
    ):
        assert tool(*line.split()).code == 0
    blocks = traced(tool, "migrate-pages 100 0 1 --trace", code=1)
    assert brief(blocks) == ([("0x10000000", moved, [(0, 0, None)])] if moved else [])


@pytest.mark.parametrize("profile", ["v9", "modern"])
def test_pages_of_files_of_every_method(tool: Runner, profile: str) -> None:
    """What the state shows afterwards is what the last step told: mappings by show pages, slots by show swap."""
    tool("init", "--nodes", 2, "--memory", "100p", "--swap", "32p", "--profile", profile)
    tool("task", "create", "--pid", 100, "--node", 0)
    for k, fs in enumerate(("ext2", "xfs", "tmpfs", "ramfs", "bdev", "xfs-buf")):
        tool("file", "create", f"/{fs}", "2p", "--fs", fs)
        tool("mmap", 100, "2p", "--shared", "--file", f"/{fs}", "--label", fs, "--addr", hex(0x10000000 + k * 0x10000))
        tool("fault", 100, fs, *(["--write"] if k % 2 == 0 else []))
    outcome = tool("migrate-pages", 100, 0, 1, "--trace", "--json")
    assert tool("check").code == 0
    (document, blocks) = outcome.document, outcome.document["trace"]
    assert sum(block["pages"] for block in blocks) == document["moved"] + document["failed"] == 12
    shown = {
        int(vma["addr"], 16): sum(run["mapcount"] for run in vma["pages"] if run["state"] == "present")
        for vma in tool("show", "pages", 100, "--json").document["vmas"]
    }
    for block in blocks:
        last = block["passes"][-1]
        step = last["steps"][-1]
        page = step["new"] if last["outcome"] == "moved" else step["old"]
        back = profile == "modern" and last["outcome"] != "moved"  # migration entries of a page that stays
        assert back or page["mapcount"] == min(shown[int(block["addr"], 16)], 1), block


@pytest.mark.parametrize("words", ["--trace=a b", "--trace=100", "--trace=0x1ffffffffffffffff"])
def test_addresses_that_are_none(eight: Runner, words: str) -> None:
    outcome = eight("migrate-pages", 100, 0, 1, words)
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1


def test_a_query_tells_no_steps(eight: Runner) -> None:
    """move-pages --query moves nothing."""
    outcome = eight("move-pages", 100, "--query", "a", "--trace")
    assert outcome.code == 2
    assert "--trace" in outcome.err


def test_swap_ptes_of_others_are_counted(eight: Runner) -> None:
    """1.7, 2.3: the slot counts them before the move, and they are ptes after it; each block has its own numbers."""
    for line in ("fork 100 --pid 101", "swap out 100 a", "fault 100 a", "fork 101 --pid 102", "fault 102 a+4p"):
        assert eight(*line.split()).code == 0
    blocks = traced(eight, "migrate-pages 100 0 1 --trace")
    assert [(block["addr"], block["pages"], end(block)) for block in blocks] == [
        ("0x10000000", 4, (20, "0/0", "3/3", 0)),
        ("0x10004000", 4, (20, "0/0", "3/3", 0)),
    ]
    first, second = (block["passes"][0]["steps"][0] for block in blocks)
    assert (first["old"], first["slot"]) == ({"count": 4, "mapcount": 2}, 2)
    assert (second["old"], second["slot"]) == ({"count": 3, "mapcount": 1}, 3)


def test_pins_are_counted_page_by_page(eight: Runner) -> None:
    """Two pages in one state of the rules, held once and thrice: two blocks."""
    eight("page", "pin", 100, "a+1p@2p")
    eight("page", "pin", 100, "a+1p@5p", "--count", 3)
    blocks = traced(eight, "migrate-pages 100 0 1 --trace", code=3)
    assert [(block["addr"], block["pages"], end(block)[1]) for block in blocks] == [
        ("0x10000000", 6, "0/0"),
        ("0x10002000", 1, "4/1"),
        ("0x10005000", 1, "6/1"),
    ]


def test_the_lists_of_each_call_are_told(eight: Runner) -> None:
    """The use of migrate_pages() as the documentation has it: collect, allocate, move, put back."""
    for line in ("page pin 100 a+1p@2p", "page lock 100 a+1p@3p --passes 2", "fork 100 --pid 101", "mlock 101 a+1p"):
        assert eight(*line.split()).code == 0
    eight("fault", 100, "a+1p@1p", "--write")
    document = eight("migrate-pages", 100, 0, 1, "--trace", "--json").document
    (call,) = document["calls"]
    assert call["pid"] == 100
    assert [tuple(step.values()) for step in call["lists"]] == [
        ("collect", 8, 0, 0, 0),
        ("allocate", 8, 8, 0, 0),
        ("move", 1, 1, 7, 0),
        ("put back", 0, 0, 0, 0),
    ]
    text = eight("migrate-pages", 100, 0, 1, "--trace").out.splitlines()
    at = text.index("migrate_pages for pages of pid 100:")
    assert text[at + 1].split() == ["step", "from", "to", "moved", "failed"]


def test_each_node_pair_is_a_call_of_its_own(eight: Runner) -> None:
    eight("mbind", 100, "a+4p", "bind", 1, "--move")
    calls = eight("migrate-pages", 100, "0-1", "1-2", "--trace", "--json").document["calls"]
    assert [call["lists"][2]["moved"] for call in calls] == [4, 4]


def test_the_first_pair_that_finds_no_memory_ends_the_call(tool: Runner) -> None:
    """3.2: 0 to 2 wants four targets where three are free, so 1 to 3 is never begun, though it needs only one."""
    for line in (
        "init --nodes 4 --memory 10p --swap 8p",
        "task create --pid 100 --node 0",
        "mmap 100 5p --label a",
        "fault 100 a+4p --write",
        "task run-on 100 --node 1",
        "fault 100 a --write",
        *(f"task create --pid {nid} --node {nid}" for nid in (2, 3)),
        *(f"mmap {nid} {nr}p --label fill" for nid, nr in ((2, 8), (3, 9))),
        *(f"fault {nid} fill --write" for nid in (2, 3)),
        "cpuset create far --mems 2-3",
        "task create --pid 9 --node 2 --cpuset far",
    ):
        assert tool(*line.split()).code == 0, line
    found = tool("migrate-pages", 100, "0-1", "2-3", "--by", 9, "--trace", "--json").document
    assert (found["return"], found["errno"], found["moved"]) == (-12, "ENOMEM", 0)
    assert [(why["node"], why["pages"], why["reason"]) for why in found["failures"]] == [(0, 4, "not-tried")]
    assert len(found["calls"]) == 1
    assert tool("check").code == 0


@pytest.mark.parametrize(("profile", "moved"), [("v9", 0), ("v9-posted", 3)])
def test_as_posted_each_round_has_one_target(tool: Runner, profile: str, moved: int) -> None:
    """B1: five pages, three targets. One round for all of them cannot begin; of five rounds three can."""
    for line in (
        f"init --nodes 2 --memory 10p,3p --swap 8p --profile {profile}",
        "task create --pid 100 --node 0",
        "mmap 100 5p --label a",
        "fault 100 a --write",
        "cpuset create far --mems 1",
        "task create --pid 9 --node 1 --cpuset far",
    ):
        assert tool(*line.split()).code == 0, line
    found = tool("migrate-pages", 100, 0, 1, "--by", 9, "--json").document
    assert (found["return"], found["errno"], found["moved"]) == (-12, "ENOMEM", moved)
    assert [(why["pages"], why["reason"]) for why in found["failures"]] == [(5 - moved, "not-tried")]
    assert tool("check").code == 0


def test_what_fails_for_good_is_on_the_list_of_failed_pages(eight: Runner) -> None:
    eight("swap", "off", "swap0")
    (call,) = eight("migrate-pages", 100, 0, 1, "--trace", "--json").document["calls"]
    assert call["lists"][2] == {"step": "move", "from": 0, "to": 8, "moved": 0, "failed": 8}


def test_an_eviction_has_no_list_of_targets(eight: Runner) -> None:
    (call,) = eight("swap", "out", 100, "a", "--trace", "--json").document["calls"]
    assert [(step["to"], step["moved"]) for step in call["lists"]] == [(None, 0), (None, 0), (None, 8), (None, 0)]


@pytest.mark.parametrize("fill", ["anonymous", "file"])
def test_as_posted_nine_of_eleven_young_ptes_are_gone_after_the_first_pass(tool: Runner, fill: str) -> None:
    """B28: ten calls, each of which stops at the first young pte and makes it old."""
    pids = range(100, 111)
    lines = ["init --nodes 2 --memory 100p --profile v9-posted", "task create --pid 100 --node 0"]
    if fill == "anonymous":
        lines += ["mmap 100 1p --label a", "fault 100 a --write"]
        lines += [f"fork 100 --pid {pid}" for pid in pids[1:]] + [f"fault {pid} a" for pid in pids]
    else:
        lines += ["file create f 1p --fs ext2"] + [f"task create --pid {pid}" for pid in pids[1:]]
        for pid in pids:
            lines += [f"mmap {pid} 1p --shared --file f --label a", f"fault {pid} a"]
    for line in lines:
        assert tool(*line.split()).code == 0, line
    (block,) = traced(tool, "migrate-pages 100 0 1 --trace")
    first, second = block["passes"]
    assert (first["reason"], first["steps"][-1]["old"]["mapcount"]) == ("unmap-incomplete", 2)
    assert second["outcome"] == "moved"


def test_as_posted_nine_young_ptes_stay_away_where_the_page_is_kept_from_then_on(tool: Runner) -> None:
    """
    B28, B10: eleven young ptes, the first of them dirty. Nine go in pass 0, the tenth is old then; the page is dirty
    now and still mapped, so pageout() says KEEP in the ten passes that follow.
    """
    pids = range(100, 111)
    lines = ["init --nodes 2 --memory 100p --profile v9-posted", "file create f 1p --fs tmpfs"]
    for pid in pids:
        lines += [f"task create --pid {pid} --node 0", f"mmap {pid} 1p --shared --file f --label a"]
        lines += [f"fault {pid} a{' --write' if pid == 100 else ''}"]
    for line in lines:
        assert tool(*line.split()).code == 0, line
    found = tool("migrate-pages", 100, 0, 1, "--json").document
    (why,) = found["failures"]
    assert (why["reason"], why["errno"], why["pass"], found["residue"]["unmapped"]) == ("pageout-keep", "EAGAIN", 10, 1)
    left = {}
    for pid in pids:
        (area,) = tool("show", "pages", pid, "--json").document["vmas"]
        (page,) = area["pages"]
        if page["state"] == "present":
            left[pid] = page["mapcount"], {*page["flags"]} & {"dirty", "referenced"}
    assert left == {109: (2, {"dirty"}), 110: (2, {"dirty", "referenced"})}
    assert tool("check").code == 0


def test_direct_moves_tell_what_they_wrote(tool: Runner) -> None:
    """A page without a method is written before it moves; with one it is not, and nothing is read."""
    for line in (
        "init --nodes 2 --memory 100p",
        "task create --pid 100",
        "file create bare 3p --fs reiserfs",
        "file create own 3p --fs ext2",
        "mmap 100 3p --shared --file bare --label bare",
        "mmap 100 3p --shared --file own --label own",
        "file write bare",
        "file write own",
        "fault 100 bare",
        "fault 100 own",
    ):
        assert tool(*line.split()).code == 0
    found = tool("migrate-pages", 100, 0, 1, "--json").document
    assert (found["moved"], found["io"]) == (6, {"written": 3, "read": 0})
    assert tool("migrate-pages", 100, 1, 0, "--json").document["io"] == {"written": 0, "read": 0}
