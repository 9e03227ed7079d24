"""MADV_PAGEOUT of files: rule 54 of what a 6.1 kernel does."""

from __future__ import annotations

import pytest

from tests.conftest import Runner

# file system, how it is touched, what the call tells, the pages then cached
FILES = [
    ("ext2", "--write", {"swapped": 0, "dropped": 0, "unmapped": 4}, 4),
    ("ext2", "", {"swapped": 0, "dropped": 4, "unmapped": 0}, 0),
    ("ramfs", "--write", {"swapped": 0, "dropped": 0, "unmapped": 0}, 4),
    ("tmpfs", "--write", {"swapped": 4, "dropped": 0, "unmapped": 0}, 0),
]


@pytest.mark.parametrize(("fs", "how", "told", "cached"), FILES)
def test_pages_of_a_file(tool: Runner, fs: str, how: str, told: dict[str, int], cached: int) -> None:
    """A dirty page of a disk is left to the flusher and stays in the cache; ramfs is on no list of reclaim."""
    script = f"""init --nodes 2 --profile modern --swap 8p
task create --pid 1 --node 1
file create /f 4p --fs {fs}
mmap 1 4p --file /f --shared --label f
madvise 1 f random
fault 1 f {how}"""
    assert tool("batch", "-", stdin=script).code == 0
    document = tool("madvise", 1, "f", "pageout", "--json").document
    assert {key: document[key] for key in told} == told
    (file,) = tool("file", "list", "--json").document["files"]
    assert sum(file["nodes"].values()) == cached
    assert tool("check").code == 0
    mapped = tool("show", "pages", 1, "--json").document["vmas"][0]["pages"]
    assert {run["state"] for run in mapped} == ({"present"} if fs == "ramfs" else {"absent"})


def test_a_page_that_is_written_keeps_its_node_and_is_active(tool: Runner) -> None:
    """It comes back from the cache where it was, and not where the task runs by then."""
    script = """init --nodes 2 --profile modern
task create --pid 1 --node 1
file create /f 2p --fs ext2
mmap 1 2p --file /f --shared --label f
fault 1 f --write
madvise 1 f pageout
task run-on 1 --node 0
fault 1 f"""
    assert tool("batch", "-", stdin=script).code == 0
    (line,) = tool("numa-maps", 1, "--json").document["lines"]
    assert (line["nodes"], line["dirty"]) == ({"1": 2}, 2)
