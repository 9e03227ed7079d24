"""
No command on files reads what it does not touch: the query plans of a story of page cache, shared memory and buffers.

As tests/test_plans.py, whose rules these are.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from migratectl.cli import run
from tests.test_plans import Executed, noted, refuse_scans

STORY = """
init --nodes 3 --memory 4000p --swap 300p --profile {profile}
task create --pid 100 --name db --node 0
task create --pid 200 --name web --node 1
file create /d/f 200p --fs ext3 --block-size 1024
file create /d/g 100p --fs ext2
file create /t/s 100p --fs tmpfs
file read /d/f 16p@8p --by 100
file write /d/f 8p@4p
set-mempolicy 100 interleave 0-2
mmap 100 150p --file /d/f --offset 10p --shared --addr 0x10000000 --label map
mmap 200 50p --file /d/f --shared --addr 0x10000000 --label map
mmap 100 60p --file /d/g --addr 0x20000000 --label private
mmap 100 40p --shm seg --addr 0x30000000 --label seg
mmap 200 40p --shared --addr 0x30000000 --label anon
mmap 100 8p --io --addr 0x40000000
fault 100 map+40p
fault 200 map
fault 100 map+9p@3p --write
fault 100 private+20p@4p
fault 100 private --write
fault 100 seg --write
fault 200 anon+9p@3p
fault 100 0x40000000+8p
fork 100 --pid 101
fault 101 private+5p --write
madvise 100 map+40p random
fault 100 map+5p@60p
mprotect 100 map+5p@2p r
mprotect 100 map+5p@2p rw
fault 100 map+9p --write
mlock 100 map+4p@80p
page pin 100 map+3p@20p
page lock 100 map+2p@30p
page unlock 100
page writeback 100 map+2p@30p
page unwriteback 100
page buffers 100 map+6p@20p --state busy --passes 5
page buffers 100 map+6p@20p --state dirty
page buffers 100 map+6p@20p --state idle
show buffers 100
show pages 100 map
numa-maps 100
munlock 100 map
munmap 200 anon
munmap 200 0x10004000+5p
file sync /d/f
file truncate /d/f 30p
page unpin 100
file write /d/f
task exit 101
task exit 100
"""

HOT = (
    "FROM pages WHERE mapping = ?1 AND first >= ?2 AND first < ?3",
    "SELECT p.id, (?2 - p.first + p.step - 1) / p.step",
    "SELECT ?, p.first - ?, p.id, 1",
    "INSERT OR IGNORE INTO buffers",
    "UPDATE buffers SET dirty = 1",
    "UPDATE pages SET mapping = ?",
    "UPDATE pages SET flags = flags | ?1",
    "DELETE FROM mappings WHERE kind = 'none'",
)
"""Parts of the statements that find, cut, map, dirty and drop cache pages."""


@pytest.fixture(scope="module", params=["v9", "modern"])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Executed]:
    """A state file after the story, and every statement with the parameters that it was first executed with."""
    path = tmp_path_factory.mktemp("plans") / "state.db"
    executed: Executed = {}
    out, err = io.StringIO(), io.StringIO()
    with noted(executed):
        run(["-s", str(path), "batch", "-", "--keep-going"], out, err, io.StringIO(STORY.format(profile=request.param)))
    refusals = [line for line in err.getvalue().splitlines() if re.search(r"E[A-Z]+:|--help|internal", line)]
    assert not refusals, "a command of the story does nothing"
    return path, executed


def test_no_command_on_files_scans_all_pages(told: tuple[Path, Executed]) -> None:
    refuse_scans(*told)


@pytest.mark.parametrize("part", HOT)
def test_the_story_executes_the_statements_of_the_cache(told: tuple[Path, Executed], part: str) -> None:
    """Else the test above would prove little."""
    assert any(part in statement for statement in told[1])
