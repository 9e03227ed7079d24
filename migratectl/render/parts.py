"""What reports are made of: lines and tables, not yet laid out, and how a value becomes the text of a cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from migratectl.wording import counted, printable

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """
    A line of text.

    Args:
        text: Without its newline.
        bad: It tells of what went wrong.
    """

    text: str
    bad: bool = False


@dataclass(frozen=True)
class Table:
    """
    Rows under headings.

    Args:
        headings: One a column.
        rows: Cells as text, as many as headings.
        left: Headings of the columns that hold words; the others hold numbers and end at the right.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Verbatim:
    """Text in a layout of its own, with its newlines."""

    text: str


Part = Line | Table | Verbatim

_BYTES: Final = "".join(map(chr, range(0xDC80, 0xDD00)))
"""What stands for the bytes of a path that is no UTF-8."""

WORDS: Final = frozenset(
    {"addr", "area", "cap", "command", "cpu_exclusive", "cpus", "cpuset", "drop_cap", "dumpable", "end", "errno"}
    | {"file", "flags", "fs", "hold", "journal", "kernel_thread", "kind", "label", "mapped", "mem_exclusive"}
    | {"memory_migrate", "mems", "method", "mode", "name", "nodes", "online", "pids", "policy", "prot", "reason"}
    | {"result", "scope", "state", "stayed", "tasks", "threads", "time", "where"}
)
"""Columns that hold words and begin at the left."""


def table(rows: Iterable[Document], keys: Sequence[str], left: Iterable[str] = ()) -> Table:
    """A table with a column for each of *keys*; those of WORDS and of *left* begin at the left."""
    cells = tuple(tuple(_cell(row.get(key)) for key in keys) for row in rows)
    return Table(tuple(keys), cells, WORDS | frozenset(left))


def wide_table(rows: Sequence[Document], keys: Sequence[str]) -> Table:
    """A table of *keys* and of whatever else the rows tell, as far as a row has it."""
    there = dict.fromkeys(key for row in rows for key in row)
    first = [key for key in keys if key in there]
    return table(rows, first + [key for key in there if key not in first])


def _cell(value: Any) -> str:
    return "-" if value is None else flat(value) or "-"


def flat(value: Any) -> str:
    """A value in one line: yes and no, lists with commas, what cannot be printed in octal."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return " ".join(f"{key}={flat(each)}" for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return ",".join(map(flat, value))
    return printable(str(value))


def safe(part: Part, *, terminal: bool) -> Part:
    """
    A part without words that could steer a terminal; cells are flat already.

    Args:
        part: As a report has it.
        terminal: It goes to one; a pipe gets the bytes of paths as they are.
    """
    kept = "" if terminal else _BYTES
    match part:
        case Line(text, bad):
            return Line(printable(text, keeping=kept), bad)
        case Verbatim(text):
            return Verbatim(printable(text, keeping=f"\n\t{kept}"))
    return part


def is_rows(value: Any) -> bool:
    """Whether a value is a list of rows."""
    return isinstance(value, (list, tuple)) and bool(value) and isinstance(value[0], Mapping)


def in_any(key: str, rows: Iterable[Document]) -> bool:
    """Whether a row has the key."""
    return any(key in row for row in rows)


def tells(value: Any) -> bool:
    """Whether there is something to tell: zero and False are."""
    return value is not None and value not in ("", [], {}, ())


def sums(document: Document) -> Line:
    """The counts of a migration."""
    swapped = f", swapped {document['swapped']}" if document.get("swapped") else ""
    twice = f", moved twice {document['moved_twice']}" if document.get("moved_twice") else ""
    passes = document.get("passes", 0)
    return Line(
        f"moved {document.get('moved', 0)}{twice}{swapped}, failed {document.get('failed', 0)}, "
        f"skipped {document.get('skipped', 0)} ({counted(passes, 'pass', 'passes')})"
    )


def residue(document: Document) -> list[Part]:
    """What failed pages were left with; nothing where there is nothing."""
    left = [f"{word} {count}" for word, count in document.get("residue", {}).items() if count]
    return [Line(f"residue: {', '.join(left)}")] if left else []


def faults(document: Document) -> list[Part]:
    """How many faults of each kind a range took, and where its pages are, where that is told."""
    counts = [f"{kind} {count}" for kind, count in document["faults"].items() if count]
    parts: list[Part] = [Line(f"faults: {', '.join(counts) or 'none'}")]
    return parts + ([table(document["nodes"], ("node", "pages"))] if document.get("nodes") else [])
