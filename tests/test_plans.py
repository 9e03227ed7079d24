"""
No command reads what it does not touch: the query plans of all statements that a story of commands executes.

Tables in a file have no statistics and temporary ones are believed large, so a plain join may scan all pages of the
machine for one page of a small task. A whole-state command (``check``, ``state hash``) may.
"""

from __future__ import annotations

import io
import re
import unittest.mock
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from migratectl.cli import run
from migratectl.storage import gathering, pages
from migratectl.storage.connection import Connection, Parameters, Rows
from migratectl.storage.engine import StateFile
from migratectl.storage.gathering import Asked

FILE_MAPS = """\
00400000 default file=/bin/db mapped=8 mapmax=3 N0=6 N1=2
7f0000000000 interleave=0-1 anon=6 dirty=6 N0=3 N1=3
7f0000100000 default file=/lib/libc.so anon=2 dirty=2 mapped=4 N1=4
"""

STORY = """
init --nodes 4 --memory 2000p --swap 300p
task create --pid 100 --name db --node 0
mmap 100 200p --addr 0x10000000 --label heap
mmap 100 16p --addr 0x20000000 --label more
fault 100 heap --write
fault 100 more
fault 100 0x20000000+4p --write
fault 100 heap
page lock 100 0x10010000+3p --passes 1
page pin 100 0x10020000+2p
page lock 100 0x10030000+2p
mlock 100 0x10040000+4p
munlock 100 0x10041000+2p
set-mempolicy 100 interleave 0-2
mmap 100 64p --addr 0x30000000 --label rows
fault 100 rows --write
migrate-pages 100 0 1
migrate-pages 100 0-1 2-3
migrate-pages 100 0-3 0-1
page unlock 100 0x10030000+2p
page unpin 100 0x10020000+2p
migrate-pages 100 2 3
fault 100 0x10000000+100p --write
move-pages 100 0x10000000=3 0x10005000=3 0x20000000=3
move-pages 100 --query 0x10000000 heap+4p
munmap 100 0x10050000+8p
set-mempolicy 100 bind 3
mmap 100 8p --addr 0x40000000
fault 100 0x40000000+8p --write
show pages 100
show pages 100 heap
show vmas 100
show vmas
numa-maps 100
# the import
migrate-pages 300 0 1
migrate-pages 300 1 0 --as 0
show pages 300
task set 100 --name other
task run-on 100 --node 3
swap on more 10p
task create --pid 101 --thread-of 100
task exit 101
fault 100 0x20000000+16p
fork 100 --pid 102
fault 100 0x30000000+7p --write
fault 102 rows --write
migrate-pages 102 0-3 0-1
migrate-pages 100 0-3 2-3 --by 102
mbind 100 rows interleave 0-1 --move
mbind 100 0x30004000+9p bind 0 --move-all --strict
mbind 100 rows preferred 2 --move
mbind 102 rows default --move-all
mprotect 100 0x30010000+4p r
mprotect 100 0x30010000+4p rw
madvise 102 0x30020000+5p dontneed
get-mempolicy 100 0x30000000 --node
page park 102 0x30000000+2p
migrate-pages 102 0-3 1
page unpark 102
munmap 102 0x30000000+2p
mlock 102 0x10000000+2p
task exit 102
task exit 100
"""
"""Every command that changes or shows one task, with runs to cut, holds to end, slots to give, files and zero pages."""

BULK = re.compile(r"\b(pages|ptes)\b(?:\s+(?:AS\s+)?([a-z])\b)?", re.IGNORECASE)


WHOLE = re.compile(r"INDEX (?:pages_(?:first|next|reach|before) \(mapping=\?\)|ptes_reach \(mm=\?(?: AND reach=\?)?\))")
"""An index of which no more is used than whose pages they are."""


def names_of_bulk(statement: str) -> set[str]:
    """What the statement calls the two large tables."""
    found = {"pages", "ptes"}
    for _, alias in BULK.findall(statement):
        if alias:
            found.add(alias)
    return found


def reads_too_much(statement: str, plan: list[str]) -> list[str]:
    """Lines of a plan that read a whole large table, or all pages of a mapping."""
    bulk = names_of_bulk(statement)
    bad = []
    for line in plan:
        scan = re.match(r"SCAN (\w+)", line)
        whole_mapping = WHOLE.search(line)
        stops_at_once = statement.startswith("DELETE FROM mappings")  # NOT EXISTS: the first page is the answer
        if (scan and scan[1] in bulk) or (whole_mapping and not stops_at_once):
            bad.append(line)
    return bad


IMPORT = "import-numa-maps {maps} --pid 300"
"""Not watched: it reads all cache pages of each file that it maps, which is what it has to know."""

Executed = dict[str, tuple[Any, ...]]


@contextmanager
def noted(executed: Executed) -> Iterator[None]:
    """Note every statement with the parameters that it is first executed with."""
    execute, execute_many = Connection.execute, Connection.execute_many

    def note(statement: str, parameters: Parameters) -> None:
        if statement.lstrip().split()[0] in ("SELECT", "INSERT", "UPDATE", "DELETE"):
            executed.setdefault(statement, tuple(parameters))

    def one(conn: Connection, statement: str, parameters: Parameters = ()) -> Rows:
        note(statement, parameters)
        return execute(conn, statement, parameters)

    def many(conn: Connection, statement: str, rows: Iterable[Parameters]) -> None:
        values = list(rows)
        note(statement, values[0])
        execute_many(conn, statement, values)

    with unittest.mock.patch.multiple(Connection, execute=one, execute_many=many):
        yield


def refuse_scans(path: Path, executed: Executed) -> None:
    """Fail with the statements that read too much, and the lines of their plans that say so."""
    file = StateFile(path)
    found = {}
    with file.transaction(write=False) as conn:
        for statement, parameters in executed.items():
            bad = reads_too_much(statement, pages.query_plan(conn, statement, parameters))
            if bad:
                found[statement] = bad
    file.close()
    assert not found, "\n\n".join(f"{statement}\n  {lines}" for statement, lines in found.items())


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Executed]:
    """A state file after the story, and every statement with the parameters that it was first executed with."""
    folder = tmp_path_factory.mktemp("plans")
    (folder / "maps").write_text(FILE_MAPS)
    executed: Executed = {}

    out, err = io.StringIO(), io.StringIO()
    words = ["-s", str(folder / "state.db"), "batch", "-", "--keep-going"]
    before, after = STORY.split("# the import\n")
    for script, watched in ((before, True), (IMPORT.format(maps=folder / "maps"), False), (after, True)):
        with noted(executed if watched else {}):
            run(words, out, err, io.StringIO(script))
    refusals = [line for line in err.getvalue().splitlines() if re.search(r"E[A-Z]+:|--help", line)]
    assert not refusals, "a command of the story does nothing"
    return folder / "state.db", executed


def test_no_command_scans_all_pages(told: tuple[Path, Executed]) -> None:
    refuse_scans(*told)


@pytest.mark.parametrize(
    "part",
    [
        "INSERT INTO pages(id, first",
        "INSERT INTO ptes(mm, addr, page, present, young, dirty, writable, reach)\nSELECT",
        "INSERT INTO holds(page, pid, kind, passes, count)\nSELECT",
        "UPDATE pages SET\n step =",
        "UPDATE pages SET node = ?",
        "UPDATE pages SET area = ?",
        "UPDATE ptes SET present = 1",
        "UPDATE ptes SET young = 1",
        "UPDATE ptes SET writable = 1",
        "DELETE FROM ptes WHERE mm = ?",
        "DELETE FROM holds WHERE page IN",
        "INSERT OR IGNORE INTO iso",
        "INSERT OR IGNORE INTO picked",
        "UPDATE iso SET class =",
        "SELECT i.page, r.value",
        "UPDATE ptes SET writable = 0",
        "UPDATE vmas SET policy = ?",
        "n.next = p.first",
        "GROUP BY p.node",
    ],
)
def test_the_story_executes_the_hot_statements(told: tuple[Path, Executed], part: str) -> None:
    """Else the test above would prove little: cut, move, touch, unmap, gather, join, count."""
    assert any(part in statement for statement in told[1])


@pytest.mark.parametrize("mapcounts", [False, True])
@pytest.mark.parametrize("alone", [False, True])
def test_gathering_reads_the_task_alone(told: tuple[Path, Executed], alone: bool, mapcounts: bool) -> None:
    """Areas of the task, then its ptes in them, then the pages of those by row id: in this order, in all variants."""
    file = StateFile(told[0])
    with file.transaction(write=False) as conn:
        for statement in gathering.gather_statements(Asked(mapcounts=mapcounts), alone=alone):
            plan = pages.query_plan(conn, statement, (1, 1, "[0]", 1, 0, 1 << 40))
            assert reads_too_much(statement, plan) == []
            searched = [line.split()[1] for line in plan if line.startswith("SEARCH ")]
            order = [name for name in searched if name != "u"]  # where the first of these areas begins
            assert order[:3] == ["v", "t", "p"]
    file.close()


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        ("SELECT count FROM pages WHERE node = 1", "SCAN pages"),
        ("SELECT * FROM picked c JOIN ptes t ON t.present = c.page", "SCAN t"),
        ("SELECT * FROM pages p WHERE p.mapping = 1 AND p.count = 3", "(mapping=?)"),
    ],
)
def test_a_scan_would_be_seen(told: tuple[Path, Executed], statement: str, line: str) -> None:
    file = StateFile(told[0])
    with file.transaction(write=False) as conn:
        bad = reads_too_much(statement, pages.query_plan(conn, statement))
    file.close()
    assert any(line in found for found in bad)


def test_a_scan_of_tasks_is_none() -> None:
    """A statement may call the tasks t, as others call the ptes."""
    assert reads_too_much("SELECT * FROM tasks t", ["SCAN t"]) == []
    assert reads_too_much("SELECT * FROM ptes t", ["SCAN t"]) == ["SCAN t"]
