"""What a reader is told of each result: lines and tables, not yet laid out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from migratectl.nodemask import Nodemask

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

ENVELOPE: Final = frozenset(
    {"format", "command", "profile", "errno", "return", "committed", "message", "dry_run", "assumptions", "notes"}
)
WORDS: Final = frozenset(
    {"addr", "cpus", "cpuset", "distance", "end", "file", "flags", "hold", "kind", "label", "mode", "name", "nodes"}
    | {"online", "policy", "state"}
)
"""Columns that hold words and begin at the left."""


def report(document: Document) -> list[Part]:
    """
    What to tell of a result.

    Args:
        document: The whole document of a command.

    Returns:
        Its parts from top to bottom; none where a message says it all.
    """
    if document.get("errno") is not None and not set(document) - ENVELOPE:
        return []
    return _REPORTS.get(str(document.get("command")), _facts)(document)


def failure(document: Document) -> str:
    """The sentence for a call that was carried out and fell short, in the form subject: ERRNO: sentence."""
    errno = document["errno"]
    subject = f"pid {document['pid']}: " if document.get("pid") is not None else ""
    if "at" in document:
        signal = f" ({document['signal']})" if document.get("signal") else ""
        return f"{subject}{errno}: stopped at {document['at']}{signal}, what came before is done"
    if "failed" not in document:
        return f"{subject}{errno}: stopped half-way, what came before is done"
    others = "the others have moved" if document.get("moved") else "none has moved"
    look = "nodes" if document.get("pid") is None else f"pages {document['pid']}"
    return f"{subject}{errno}: {_pages(document['failed'])} stayed, {others} (see 'migratectl show {look}')"


def _migration(document: Document) -> list[Part]:
    parts: list[Part] = []
    if document.get("nodes"):
        parts.append(_table(document["nodes"], ("node", "before", "after", "in", "out", "failed")))
    swapped = f", swapped {document['swapped']}" if document.get("swapped") else ""
    twice = f", moved twice {document['moved_twice']}" if document.get("moved_twice") else ""
    passes = document.get("passes", 0)
    parts.append(
        Line(
            f"moved {document.get('moved', 0)}{twice}{swapped}, failed {document.get('failed', 0)}, "
            f"skipped {document.get('skipped', 0)} ({_counted(passes, 'pass', 'passes')})"
        )
    )
    parts += _reasons("failed", document.get("failures", ()))
    parts += _reasons("skipped", document.get("skips", ()))
    left = [f"{word} {count}" for word, count in document.get("residue", {}).items() if count]
    return parts + ([Line(f"residue: {', '.join(left)}")] if left else [])


def _move_pages(document: Document) -> list[Part]:
    status = [
        {"addr": each["addr"], "node": each.get("node"), "errno": each.get("errno")}
        for each in document.get("status", ())
    ]
    parts: list[Part] = [_table(status, ("addr", "node", "errno"), left={"errno"})] if status else []
    return parts + (_migration(document) if "moved" in document else [])


def _reasons(verb: str, entries: Iterable[Document]) -> list[Line]:
    """One line for each reason, with how many pages it kept and the first of them."""
    groups: dict[tuple[str, str], list[Document]] = {}
    for entry in entries:
        groups.setdefault((entry["reason"], entry.get("errno") or ""), []).append(entry)
    wide = max((len(reason) for reason, _ in groups), default=0)
    digits = max((len(str(_sum(group))) for group in groups.values()), default=0)
    return [
        Line(
            f"{verb}: {reason:<{wide}}  {_sum(group):>{digits}} {_unit(group)}{_where(group, errno)}",
            bad=verb == "failed",
        )
        for (reason, errno), group in groups.items()
    ]


def _where(group: Sequence[Document], errno: str) -> str:
    nodes = Nodemask(entry["node"] for entry in group if entry.get("node") is not None)
    pids = {entry["pid"] for entry in group}
    words = [errno] if errno else []
    words += [f"{'node' if len(nodes) == 1 else 'nodes'} {nodes}"] if nodes else []
    words += [f"from {group[0]['addr']}" + (f" of pid {group[0]['pid']}" if len(pids) > 1 else "")]
    passes = sorted({entry["pass"] for entry in group if entry.get("pass") is not None})
    if passes:
        words.append(f"(pass {passes[0]})" if len(passes) == 1 else f"(passes {passes[0]}-{passes[-1]})")
    return "  " + "  ".join(words)


def _nodes(document: Document) -> list[Part]:
    rows = [
        {**node, "online": "yes" if node["online"] else "no", "distance": " ".join(map(str, node["distance"]))}
        for node in document["nodes"]
    ]
    return [_table(rows, ("node", "online", "cpus", "pages", "free", "distance"))]


def _tasks(document: Document) -> list[Part]:
    if not document["tasks"]:
        return [Line("no tasks")]
    return [_wide_table(document["tasks"], ("pid", "name", "uid", "cpu", "node", "cpuset"))]


def _vmas(document: Document) -> list[Part]:
    if not document["vmas"]:
        return [Line("no areas")]
    return [_wide_table(document["vmas"], ("pid", "addr", "end", "pages", "label", "policy"))]


def _page_runs(document: Document) -> list[Part]:
    parts: list[Part] = []
    for vma in document["vmas"]:
        label = f"  {vma['label']}" if vma.get("label") else ""
        parts.append(Line(f"{vma['addr']}-{vma['end']}{label}  {vma['policy']}"))
        stepped = ("step",) if any("step" in run for run in vma["pages"]) else ()
        rows = [{**run, "flags": ",".join(run["flags"])} for run in vma["pages"]]
        if rows:
            parts.append(_table(rows, ("addr", "pages", *stepped, "node", "state", "mapcount", "flags")))
    return parts or [Line("no areas")]


def _fault(document: Document) -> list[Part]:
    counts = [f"{kind} {count}" for kind, count in document["faults"].items() if count]
    parts: list[Part] = [Line(f"faults: {', '.join(counts) or 'none'}")]
    return parts + ([_table(document["nodes"], ("node", "pages"))] if document.get("nodes") else [])


def _mmap(document: Document) -> list[Part]:
    label = f"  {document['label']}" if document.get("label") else ""
    return [Line(f"{document['addr']}-{document['end']}  {_pages(document['pages'])}{label}")]


def _check(document: Document) -> list[Part]:
    checked = ", ".join(f"{count} {what}" for what, count in document.get("checked", {}).items())
    broken = [Line(_flat(violation), bad=True) for violation in document.get("violations", ())]
    if document.get("ok"):
        return [Line(f"ok: {checked} checked")]
    return [*broken, Line(f"{_counted(len(broken), 'invariant is', 'invariants are')} broken; {checked} checked")]


def _hash(document: Document) -> list[Part]:
    return [Line(str(document["hash"]))]


def _text(document: Document) -> list[Part]:
    return [Verbatim(str(document["text"]))]


def _facts(document: Document) -> list[Part]:
    """What a command without a report of its own answers: its facts in a line, then its lists."""
    told = {key: value for key, value in document.items() if key not in ENVELOPE}
    if {"moved", "failed"} <= set(told):
        return _migration(document)
    parts: list[Part] = []
    words = [f"{key} {_flat(value)}" for key, value in told.items() if not _is_rows(value) and _tells(value)]
    if words:
        parts.append(Line(", ".join(words)))
    parts += [_wide_table(value, ()) for value in told.values() if _is_rows(value)]
    return parts


def _tells(value: Any) -> bool:
    """Whether there is something to tell: zero and False are."""
    return value is not None and value not in ("", [], {}, ())


def _mlock(document: Document) -> list[Part]:
    parts: list[Part] = [Line(f"locked {_pages(document['pages'])}")]
    return parts + (_fault(document) if any(document["faults"].values()) else [])


def _import(document: Document) -> list[Part]:
    rest = {key: value for key, value in document.items() if key not in ("nodes", "tasks")}
    parts = _nodes(document) if document.get("nodes") else []
    tasks = _tasks(document) if document.get("tasks") and _is_rows(document["tasks"]) else []
    return parts + tasks + _facts(rest)


_REPORTS: Final[Mapping[str, Callable[[Document], list[Part]]]] = {
    "init": _nodes,
    "import": _import,
    "node list": _nodes,
    "show nodes": _nodes,
    "task list": _tasks,
    "show tasks": _tasks,
    "show vmas": _vmas,
    "show pages": _page_runs,
    "numa-maps": _text,
    "mmap": _mmap,
    "fault": _fault,
    "mlock": _mlock,
    "migrate-pages": _migration,
    "move-pages": _move_pages,
    "check": _check,
    "state hash": _hash,
}


def _table(rows: Iterable[Document], keys: Sequence[str], left: Iterable[str] = ()) -> Table:
    cells = tuple(tuple(_cell(row.get(key)) for key in keys) for row in rows)
    return Table(tuple(keys), cells, WORDS | frozenset(left))


def _wide_table(rows: Sequence[Document], keys: Sequence[str]) -> Table:
    """A table of *keys* and of whatever else the rows tell, as far as a row has it."""
    there = dict.fromkeys(key for row in rows for key in row)
    first = [key for key in keys if key in there]
    return _table(rows, first + [key for key in there if key not in first])


def _cell(value: Any) -> str:
    return "-" if value is None else _flat(value) or "-"


def _flat(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return " ".join(f"{key}={_flat(each)}" for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return ",".join(map(_flat, value))
    text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\{ord(c):03o}" for c in text)


def _is_rows(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and isinstance(value[0], Mapping)


def _sum(group: Iterable[Document]) -> int:
    return sum(int(entry["pages"]) for entry in group)


def _unit(group: Iterable[Document]) -> str:
    return "page " if _sum(group) == 1 else "pages"


def _pages(count: int) -> str:
    return _counted(count, "page", "pages")


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
