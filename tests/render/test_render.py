"""Results to text: columns, reasons, colours, JSON."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migratectl import render
from migratectl.render.json import to_json
from migratectl.render.parts import Line, Table, Verbatim
from migratectl.render.plain import to_plain
from migratectl.render.report import failure, report
from migratectl.render.table import to_table
from migratectl.render.terminal import Look, looks

MIGRATION: dict[str, Any] = {
    "format": "migratectl/1",
    "command": "migrate-pages",
    "profile": "v9",
    "pid": 100,
    "return": 4,
    "errno": None,
    "committed": True,
    "moved": 509,
    "swapped": 0,
    "failed": 4,
    "skipped": 1,
    "nodes": [
        {"node": 0, "before": 514, "after": 5, "in": 0, "out": 509, "failed": 4},
        {"node": 10, "before": 0, "after": 509, "in": 509, "out": 0, "failed": 0},
    ],
    "moves": [{"from": 0, "to": 10, "pages": 509}],
    "failures": [
        {"pid": 100, "addr": "0x10003000", "pages": 2, "node": 0, "reason": "pinned", "errno": "EAGAIN", "pass": 10},
        {"pid": 100, "addr": "0x10008000", "pages": 1, "node": 1, "reason": "no-swap", "errno": "ENOMEM", "pass": 0},
        {"pid": 100, "addr": "0x10009000", "pages": 1, "node": 2, "reason": "pinned", "errno": "EAGAIN", "pass": 9},
    ],
    "skips": [{"pid": 100, "addr": "0x10004000", "pages": 1, "node": 0, "reason": "shared"}],
    "passes": 11,
    "residue": {"swapcache": 3, "unmapped": 0},
}

TEXT = """\
node  before  after   in  out  failed
   0     514      5    0  509       4
  10       0    509  509    0       0
moved 509, failed 4, skipped 1 (11 passes)
failed: pinned   3 pages  EAGAIN  nodes 0,2  from 0x10003000  (passes 9-10)
failed: no-swap  1 page   ENOMEM  node 1  from 0x10008000  (pass 0)
skipped: shared  1 page   node 0  from 0x10004000
residue: swapcache 3
"""


def test_a_migration_as_text() -> None:
    assert to_plain(report(MIGRATION)) == TEXT


def test_a_migration_that_had_nothing_to_do() -> None:
    document = MIGRATION | {
        "nodes": [],
        "failures": [],
        "skips": [],
        "moved": 0,
        "failed": 0,
        "skipped": 0,
        "passes": 1,
    }
    document["residue"] = {"swapcache": 0, "unmapped": 0}
    assert to_plain(report(document)) == "moved 0, failed 0, skipped 0 (1 pass)\n"


def test_counts_that_are_seldom() -> None:
    document = MIGRATION | {"moved_twice": 2, "swapped": 7}
    assert "moved 509, moved twice 2, swapped 7, failed 4" in to_plain(report(document))


def test_a_reason_of_several_tasks_tells_whose_page_is_first() -> None:
    other = MIGRATION["failures"][2] | {"pid": 101}
    document = MIGRATION | {"failures": [MIGRATION["failures"][0], other]}
    assert "from 0x10003000 of pid 100" in to_plain(report(document))


def test_a_refusal_has_no_report() -> None:
    refusal = {"command": "migrate-pages", "errno": "ESRCH", "return": -3, "message": "x", "committed": False}
    assert report(refusal) == []


def test_a_call_that_fell_short_has_a_sentence() -> None:
    document = MIGRATION | {"errno": "ENOMEM", "failed": 1}
    assert (
        failure(document) == "pid 100: ENOMEM: 1 page stayed, the others have moved (see 'migratectl show pages 100')"
    )
    none = MIGRATION | {"errno": "ENOMEM", "moved": 0, "failed": 2, "pid": None}
    assert failure(none) == "ENOMEM: 2 pages stayed, none has moved (see 'migratectl show nodes')"
    assert failure({"errno": "ENOMEM"}) == "ENOMEM: stopped half-way, what came before is done"
    stopped = {"pid": 7, "errno": "EFAULT", "signal": "SIGSEGV", "at": "0x1000"}
    assert failure(stopped) == "pid 7: EFAULT: stopped at 0x1000 (SIGSEGV), what came before is done"


def test_status_of_pages() -> None:
    status = [{"addr": "0x1000", "node": 1, "errno": None}, {"addr": "0x2000", "node": None, "errno": "ENOENT"}]
    document = {"command": "move-pages", "pid": 1, "errno": None, "return": 0, "status": status}
    assert to_plain(report(document)) == "addr    node  errno\n0x1000     1  -\n0x2000     -  ENOENT\n"


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (
            {
                "command": "node list",
                "nodes": [
                    {"node": 0, "online": True, "cpus": "0-3", "pages": 9, "free": 8, "distance": [10, 20]},
                    {"node": 1, "online": False, "cpus": "", "pages": 0, "free": 0, "distance": [20, 10]},
                ],
            },
            "node  online  cpus  pages  free  distance\n"
            "   0  yes     0-3       9     8  10 20\n"
            "   1  no      -         0     0  20 10\n",
        ),
        (
            {"command": "task list", "tasks": [{"pid": 1, "name": "db", "uid": 0, "cpu": 0, "node": 0, "cpuset": "/"}]},
            "pid  name  uid  cpu  node  cpuset\n  1  db      0    0     0  /\n",
        ),
        ({"command": "task list", "tasks": []}, "no tasks\n"),
        ({"command": "show vmas", "vmas": []}, "no areas\n"),
        (
            {"command": "mmap", "pid": 1, "addr": "0x1000", "end": "0x3000", "pages": 2, "label": "heap"},
            "0x1000-0x3000  2 pages  heap\n",
        ),
        (
            {"command": "mmap", "pid": 1, "addr": "0x1000", "end": "0x2000", "pages": 1, "label": None},
            "0x1000-0x2000  1 page\n",
        ),
        (
            {
                "command": "fault",
                "pid": 1,
                "faults": {"anonymous": 4, "zero": 0, "present": 1},
                "nodes": [{"node": 0, "pages": 5}],
            },
            "faults: anonymous 4, present 1\nnode  pages\n   0      5\n",
        ),
        ({"command": "fault", "pid": 1, "faults": {"anonymous": 0}, "nodes": []}, "faults: none\n"),
        (
            {"command": "check", "ok": True, "checked": {"pages": 5, "tasks": 1}, "violations": []},
            "ok: 5 pages, 1 task checked\n",
        ),
        (
            {"command": "check", "ok": False, "checked": {"pages": 5}, "violations": [{"id": "INV-03", "text": "a"}]},
            "id=INV-03 text=a\n1 invariant is broken; 5 pages checked\n",
        ),
        ({"command": "state hash", "hash": "abc"}, "abc\n"),
        ({"command": "numa-maps", "pid": 1, "lines": [], "text": "00001000 default\n"}, "00001000 default\n"),
        ({"command": "task create", "pid": 1, "name": "db", "label": None}, "pid 1, name db\n"),
        (
            {"command": "later", "pid": 1, "rows": [{"a": 1, "b": True}, {"a": 20, "c": [1, 2]}]},
            "pid 1\n a    b    c\n 1  yes    -\n20    -  1,2\n",
        ),
    ],
)
def test_texts(document: dict[str, Any], text: str) -> None:
    assert to_plain(report(document)) == text


def test_pages_of_an_area() -> None:
    run = {"addr": "0x1000", "pages": 8, "node": 0, "state": "present", "flags": ["dirty", "uptodate"], "mapcount": 1}
    absent = {"addr": "0x9000", "pages": 8, "node": None, "state": "absent", "flags": [], "mapcount": 0}
    vma = {"addr": "0x1000", "end": "0x11000", "label": "heap", "policy": "default", "pages": [run, absent]}
    document = {"command": "show pages", "pid": 1, "vmas": [vma]}
    assert to_plain(report(document)) == (
        "0x1000-0x11000  heap  default\n"
        "addr    pages  node  state    mapcount  flags\n"
        "0x1000      8     0  present         1  dirty,uptodate\n"
        "0x9000      8     -  absent          0  -\n"
    )
    strided = document | {"vmas": [vma | {"pages": [run | {"step": 4}]}]}
    assert "addr    pages  step  node  state" in to_plain(report(strided))


CELLS = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), max_size=12)


@given(st.integers(1, 5).flatmap(lambda n: st.lists(st.tuples(*[CELLS] * n), min_size=1, max_size=5)), st.booleans())
def test_columns_cut_nothing_and_end_in_no_blank(rows: list[tuple[str, ...]], left: bool) -> None:
    """Every cell stands whole under its heading; colours change no letter."""
    headings, *cells = rows
    table = Table(headings, tuple(cells), frozenset(headings) if left else frozenset())
    text = to_plain([table])
    assert [line.split() for line in text.splitlines()] == [" ".join(row).split() for row in rows]
    assert not re.search(r"[ \t]$", text, re.MULTILINE)
    assert re.sub(r"\033\[\d*m", "", to_plain([table], colored=True)) == text


def test_a_terminal_gets_boxes_that_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    long = "x" * 50
    text = to_table(
        [Table(("name",), ((long,),), frozenset(["name"])), Line("bad", bad=True), Verbatim("as is\n")],
        colored=False,
        width=30,
    )
    assert "\033" not in text
    assert text.count("x") == 50
    assert max(map(len, text.splitlines())) <= 30
    assert text.endswith("bad\nas is\n")
    assert "\033[31m" in to_table([Line("bad", bad=True)], colored=True, width=30)


def test_addresses_are_not_folded() -> None:
    """Words give way first; where that is not enough each row is a list."""
    headings, row = ("addr", "flags", "pages"), ("0x7f0000000000", "read,write,shared,locked", "16384")
    table = Table(headings, (row, row), frozenset(["addr", "flags"]))
    narrow, narrowest = (to_table([table], colored=False, width=width) for width in (44, 34))
    assert narrow.count("0x7f0000000000") == narrowest.count("0x7f0000000000") == 2
    assert "read,write,shared,locked" not in narrow
    assert narrow.count("addr") == 1
    assert narrowest.count("addr") == 2
    assert all(max(map(len, text.splitlines())) <= width for text, width in ((narrow, 44), (narrowest, 34)))


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "color", "environment", "look"),
    [
        (io.StringIO, "auto", {}, Look(False, False)),
        (io.StringIO, "auto", {"FORCE_COLOR": "1"}, Look(False, False)),
        (io.StringIO, "always", {"NO_COLOR": "1"}, Look(False, True)),
        (Terminal, "auto", {}, Look(True, True)),
        (Terminal, "never", {}, Look(True, False)),
        (Terminal, "auto", {"NO_COLOR": "1"}, Look(True, False)),
        (Terminal, "auto", {"NO_COLOR": "1", "FORCE_COLOR": "1"}, Look(True, False)),
        (Terminal, "auto", {"NO_COLOR": ""}, Look(True, True)),
        (Terminal, "auto", {"TERM": "dumb"}, Look(False, False)),
        (Terminal, "auto", {"TERM": "dumb", "CLICOLOR_FORCE": "1"}, Look(False, True)),
        (Terminal, "auto", {"TERM": "dumb", "CLICOLOR_FORCE": "0"}, Look(False, False)),
        (Terminal, "always", {"TERM": "dumb"}, Look(False, True)),
    ],
)
def test_who_gets_boxes_and_colours(
    stream: type[io.StringIO], color: str, environment: dict[str, str], look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TERM", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert looks(stream(), color) == look


@pytest.mark.parametrize("columns", ["35", "80", "200"])
def test_a_pipe_has_no_width(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert render.to_text(MIGRATION, io.StringIO(), "auto") == TEXT


def test_a_terminal_gets_the_same_figures() -> None:
    text = render.to_text(MIGRATION, Terminal(), "never")
    assert text != TEXT
    assert "moved 509, failed 4, skipped 1 (11 passes)\n" in text
    assert re.search(r"10 +│ +0 │ +509", text)


def test_json_is_one_line_of_ascii_without_the_text_for_readers() -> None:
    text = to_json({"command": "numa-maps", "text": "x", "lines": [{"file": "/é\udcff"}]})
    assert text.endswith('"pid": null, "era": null, "lines": [{"file": "/\\u00e9\\udcff"}]}\n')
    assert '"text"' not in text
    assert text.isascii()


def mapping(**facts: Any) -> dict[str, Any]:
    """A row of ``show mappings``."""
    row = {"mapping": 1, "kind": "file", "name": "/data", "fs": None, "journal": None, "method": "buffer", "ino": None}
    return row | {"size": None, "pages": 6, "swapped": 0, "nodes": {"0": 6}, "tasks": [7, 8]} | facts


def test_a_mapping_tells_of_file_systems_where_there_are_some() -> None:
    document: dict[str, Any] = {"command": "show mappings", "pid": None, "mappings": [mapping()]}
    assert to_plain(report(document)) == (
        "mapping  kind  name   method  pages  swapped  nodes  tasks\n"
        "      1  file  /data  buffer      6        0  0=6    7,8\n"
    )
    document["mappings"].append(mapping(mapping=2, fs="ext3", journal="ordered", size=16))
    assert to_plain(report(document)).splitlines()[::2] == [
        "mapping  kind  name   method  fs    journal  size  pages  swapped  nodes  tasks",
        "      2  file  /data  buffer  ext3  ordered    16      6        0  0=6    7,8",
    ]
    assert to_plain(report(document | {"mappings": []})) == "no mappings\n"


def test_an_entry_of_the_history() -> None:
    """What stayed is a table here: the history knows no addresses, but each node and pass."""
    result = {key: MIGRATION[key] for key in ("return", "errno", "moved", "failed", "skipped", "passes", "residue")}
    stayed = [
        {"pid": 100, "node": 0, "reason": "pinned", "errno": "EAGAIN", "pass": 10, "pages": 2},
        {"pid": 100, "node": 2, "reason": "no-swap", "errno": "ENOMEM", "pass": 0, "pages": 2},
    ]
    skips = [{"pid": 101, "node": 0, "reason": "shared", "errno": None, "pass": None, "pages": 1}]
    result |= {"argv": ["migrate-pages", "100", "0", "1"], "profile": "v9", "failures": stayed, "skips": skips}
    document = {"command": "log show", "entry": 5, "argv": result["argv"], "result": result, "errno": None}
    assert to_plain(report(document)) == (
        "entry 5: migrate-pages 100 0 1\n"
        "profile v9, return 4\n"
        "moved 509, failed 4, skipped 1 (11 passes)\n"
        "stayed   reason   errno   pid  node  pass  pages\n"
        "failed   pinned   EAGAIN  100     0    10      2\n"
        "failed   no-swap  ENOMEM  100     2     0      2\n"
        "skipped  shared   -       101     0     -      1\n"
        "residue: swapcache 3\n"
    )


def test_names_that_cannot_be_printed_do_not_reach_a_terminal() -> None:
    """A word of the history may be anything that a shell can write."""
    entry = {"entry": 1, "argv": ["task", "set", "1", "--name", "\033[2J"], "return": None, "errno": None}
    text = to_plain(report({"command": "log", "entries": [entry | {"moved": None, "failed": None, "skipped": None}]}))
    assert "\033" not in text
    assert "\\033[2J" in text
