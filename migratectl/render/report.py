"""What a reader is told of each result: lines and tables, not yet laid out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from migratectl.nodemask import Nodemask
from migratectl.render import looking
from migratectl.render.parts import (
    Document,
    Line,
    Part,
    Verbatim,
    faults,
    flat,
    is_rows,
    residue,
    sums,
    table,
    tells,
    wide_table,
)
from migratectl.render.steps import calls, races, trace
from migratectl.wording import counted, pages_text

ENVELOPE: Final = frozenset(
    {"format", "command", "profile", "exit", "errno", "return", "committed", "message", "dry_run"}
    | {"assumptions", "notes"}
)


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
    return f"{subject}{errno}: {pages_text(document['failed'])} stayed, {others} (see 'migratectl show {look}')"


def _migration(document: Document) -> list[Part]:
    parts: list[Part] = []
    if document.get("nodes"):
        parts.append(table(document["nodes"], ("node", "before", "after", "in", "out", "failed")))
    parts.append(sums(document))
    parts += _reasons("failed", document.get("failures", ()))
    parts += _reasons("skipped", document.get("skips", ()))
    io = document.get("io", {"written": 0, "read": 0})
    if "slots" in document:
        slots = counted(document["slots"], "slot", "slots")
        parts.append(Line(f"written {io['written']}, read back {io['read']}, {slots} of swap in use at most"))
    elif io["written"]:
        parts.append(Line(f"written {io['written']}, read back {io['read']}"))
    parts += residue(document) + races(document.get("races", ()), report)
    return parts + (calls(document["calls"]) + trace(document["trace"]) if "trace" in document else [])


def _move_pages(document: Document) -> list[Part]:
    status = [
        {"addr": each["addr"], "node": each.get("node"), "errno": each.get("errno")}
        for each in document.get("status", ())
    ]
    parts: list[Part] = [table(status, ("addr", "node", "errno"), left={"errno"})] if status else []
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


def _sum(group: Iterable[Document]) -> int:
    return sum(int(entry["pages"]) for entry in group)


def _unit(group: Iterable[Document]) -> str:
    return "page " if _sum(group) == 1 else "pages"


def _nodes(document: Document) -> list[Part]:
    rows = [
        {**node, "online": "yes" if node["online"] else "no", "distance": " ".join(map(str, node["distance"]))}
        for node in document["nodes"]
    ]
    telling = ["weight"] if any(row.get("weight", 1) > 1 for row in rows) else []
    return [table(rows, ("node", "online", "cpus", "pages", "free", *telling, "distance"), left={"distance"})]


def _tasks(document: Document) -> list[Part]:
    if not document["tasks"]:
        return [Line("no tasks")]
    rows = document["tasks"]
    if not any(tells(row.get("cpus")) for row in rows):
        rows = [{key: value for key, value in row.items() if key != "cpus"} for row in rows]
    return [wide_table(rows, ("pid", "name", "uid", "cpu", "node", "cpuset"))]


def _mmap(document: Document) -> list[Part]:
    label = f"  {document['label']}" if document.get("label") else ""
    return [Line(f"{document['addr']}-{document['end']}  {pages_text(document['pages'])}{label}")]


def _check(document: Document) -> list[Part]:
    checked = ", ".join(counted(nr, what.removesuffix("s"), what) for what, nr in document.get("checked", {}).items())
    broken = [Line(flat(violation), bad=True) for violation in document.get("violations", ())]
    if document.get("ok"):
        return [Line(f"ok: {checked} checked")]
    return [*broken, Line(f"{counted(len(broken), 'invariant is', 'invariants are')} broken; {checked} checked")]


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
    words = [f"{key} {flat(value)}" for key, value in told.items() if not is_rows(value) and tells(value)]
    if words:
        parts.append(Line(", ".join(words)))
    parts += [wide_table(value, ()) for value in told.values() if is_rows(value)]
    return parts


def _mlock(document: Document) -> list[Part]:
    parts: list[Part] = [Line(f"locked {pages_text(document['pages'])}")]
    return parts + (faults(document) if any(document["faults"].values()) else [])


def _import(document: Document) -> list[Part]:
    rest = {key: value for key, value in document.items() if key not in ("nodes", "tasks")}
    parts = _nodes(document) if document.get("nodes") else []
    tasks = _tasks(document) if document.get("tasks") and is_rows(document["tasks"]) else []
    return parts + tasks + _facts(rest)


_REPORTS: Final[Mapping[str, Callable[[Document], list[Part]]]] = {
    "init": _nodes,
    "import": _import,
    "node list": _nodes,
    "show nodes": _nodes,
    "task list": _tasks,
    "show tasks": looking.show_tasks,
    "show vmas": looking.vmas,
    "show pages": looking.page_runs,
    "show mappings": looking.mappings,
    "show buffers": looking.buffers,
    "show policies": looking.policies,
    "show cpusets": looking.cpusets,
    "cpuset list": looking.cpusets,
    "cpuset read": looking.cpuset_value,
    "show swap": looking.swap,
    "numa-maps": _text,
    "numastat": _text,
    "hardware": _text,
    "locality": looking.locality,
    "log": looking.log,
    "log show": looking.log_show,
    "db current": looking.db_current,
    "db upgrade": looking.db_upgrade,
    "mmap": _mmap,
    "fault": faults,
    "mlock": _mlock,
    "migrate-pages": _migration,
    "move-pages": _move_pages,
    "check": _check,
    "explain": looking.explain,
    "state hash": _hash,
}
