"""Words that could steer a terminal: refused where they are new, never printed raw where they are there."""

from __future__ import annotations

import io
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from migratectl.cli import run
from migratectl.wording import cell_width
from tests.conftest import Runner

EVIL = {
    "escape": "a\x1b[2Jb", "c1": "a\x9b2Jb", "bidi": "a\u202eb", "isolate": "a\u2066b", "bell": "a\x07b",
    "return": "a\rb",
}  # fmt: skip
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\udc80-\udcff]")


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


@pytest.mark.parametrize("word", EVIL.values(), ids=EVIL)
@pytest.mark.parametrize(
    "words",
    [
        "mmap 100 1p --label WORD",
        "mmap 100 1p --shm WORD",
        "task create --pid 7 --name WORD",
        "task set 100 --name WORD",
        "cpuset create /WORD --mems 0",
        "file create /WORD 4p --fs ext2",
        "swap on WORD 1M",
    ],
)
def test_names_with_control_characters_are_refused(machine: Runner, words: str, word: str) -> None:
    before = machine("state", "hash").out
    outcome = machine(*(each.replace("WORD", word) for each in words.split(" ")))
    assert outcome.code in (1, 2)
    assert re.search("cannot be printed|is no name|cannot name an area", outcome.err)
    assert not RAW.search(outcome.err.rstrip("\n"))
    assert machine("state", "hash").out == before


@pytest.mark.parametrize("word", EVIL.values(), ids=EVIL)
def test_words_of_the_command_line_are_never_printed_raw(machine: Runner, word: str) -> None:
    for words in (
        ["migrate-pages", "100", word, "1"],
        [word],
        ["task", word],
        ["fault", "100", word],
        ["cpuset", "move", "100", f"/{word}"],
        ["file", "read", f"/{word}"],
        ["-s", f"/tmp/{word}/none", "check"],
        ["import", f"/tmp/{word}"],
    ):
        err = machine(*words).err
        assert err
        assert not RAW.search(err.rstrip("\n"))


LOOKS = (
    "show tasks", "show vmas", "show pages 100", "show mappings", "show policies", "show cpusets", "show swap",
    "task list", "cpuset list", "file list", "numa-maps 100", "numastat -p 100", "locality", "log", "explain 100",
    "explain 100 0x0-0x7fffffffffff", "check", "mbind 100 0x10000000+1p bind 1 --move", "move-pages 100 x=1",
)  # fmt: skip


@pytest.mark.parametrize("word", EVIL.values(), ids=EVIL)
def test_names_of_a_state_file_are_never_printed_raw(machine: Runner, state: Path, word: str) -> None:
    """However they came there: an import, an older version, another program."""
    for line in (
        "file create /f 4p --fs ext2",
        "mmap 100 4p --shared --file /f",
        "fault 100 0x10200000+4p",
        "cpuset create /c --mems 0-1",
        "cpuset move 100 /c",
    ):
        assert machine(*line.split()).code == 0, line
    with closing(sqlite3.connect(state)) as plain, plain:
        plain.execute("UPDATE tasks SET name = ?", (word,))
        plain.execute("UPDATE labels SET name = ?", (word,))
        plain.execute("UPDATE mappings SET name = ? WHERE name = '/f'", (f"/{word}",))
        plain.execute("UPDATE cpusets SET name = ? WHERE name = '/c'", (f"/{word}",))
        plain.execute("UPDATE swap_areas SET name = ?", (word,))
    for words in LOOKS:
        out, err = Terminal(), Terminal()
        run(["--color", "never", *words.split()], out, err)
        assert out.getvalue() or err.getvalue()
        assert not RAW.search(out.getvalue() + err.getvalue()), (words, out.getvalue(), err.getvalue())
        piped = machine(*words.split())
        assert not RAW.search(piped.out + piped.err), words


def test_piped_tables_align_by_cell_width(machine: Runner) -> None:
    """A wide character takes two columns, a combining one none."""
    for pid, name in ((7, "数据库"), (8, "e\u0301te\u0301"), (9, "plain")):
        assert machine("task", "create", "--pid", pid, "--name", name).code == 0
    lines = machine("task", "list").out.splitlines()
    ends = {cell_width(line[: line.index("/")]) for line in lines[1:]}
    assert len(ends) == 1, lines
    assert [cell_width(name) for name in ("数据库", "e\u0301te\u0301", "plain")] == [6, 3, 5]
