"""What a reader is told by the commands that look: the state, the history, the schema."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from migratectl.render.parts import (
    Document,
    Line,
    Part,
    Table,
    faults,
    flat,
    in_any,
    residue,
    sums,
    table,
    tells,
    wide_table,
)
from migratectl.wording import pages_text


def vmas(document: Document) -> list[Part]:
    """Areas, one a row."""
    if not document["vmas"]:
        return [Line("no areas")]
    keys = ("pid", "addr", "end", "pages", "label", "policy", "kind", "file", "flags", "order", "nodes")
    return [table(document["vmas"], keys)]


def page_runs(document: Document) -> list[Part]:
    """The pages of each area, under a line that tells the area."""
    parts: list[Part] = []
    for vma in document["vmas"]:
        label = f"  {vma['label']}" if vma.get("label") else ""
        parts.append(Line(f"{vma['addr']}-{vma['end']}{label}  {vma['policy']}"))
        stepped = ("step",) if any("step" in run for run in vma["pages"]) else ()
        rows = [{**run, "flags": ",".join(run["flags"])} for run in vma["pages"]]
        if rows:
            parts.append(table(rows, ("addr", "pages", *stepped, "node", "state", "mapcount", "flags")))
    return parts or [Line("no areas")]


def show_tasks(document: Document) -> list[Part]:
    """A column for what most tasks have not got is there when one of them has it."""
    rows = document["tasks"]
    telling = [key for key in ("il_next", "cap", "drop_cap", "threads") if any(tells(row[key]) for row in rows)]
    telling += ["dumpable"] if not all(row["dumpable"] for row in rows) else []
    telling += ["kernel_thread"] if any(row["kernel_thread"] for row in rows) else []
    keys = ("pid", "name", "uid", "cpu", "node", "cpuset", "policy", *telling, "nodes")
    return [table(rows, keys)] if rows else [Line("no tasks")]


def mappings(document: Document) -> list[Part]:
    """Mappings; columns that only files have are there when one has them."""
    rows = document["mappings"]
    telling = [key for key in ("fs", "journal", "ino", "size") if any(tells(row[key]) for row in rows)]
    keys = ("mapping", "kind", "name", "method", *telling, "pages", "swapped", "nodes", "tasks")
    return [table(rows, keys)] if rows else [Line("no mappings")]


def buffers(document: Document) -> list[Part]:
    """Runs of pages with buffers."""
    rows = document["buffers"]
    keys = [key for key in ("file", "index", "addr", "pages", "step", "node", "ring", "flags") if in_any(key, rows)]
    return [table(rows, keys)] if rows else [Line("no buffers")]


def policies(document: Document) -> list[Part]:
    """Policies and who has them."""
    rows = [{**row, "where": _holder(row)} for row in document["policies"]]
    telling = ["il_next"] if any(tells(row.get("il_next")) for row in rows) else []
    return [table(rows, ("scope", "pids", "where", "policy", "mems", *telling))] if rows else [Line("no policies")]


def _holder(row: Document) -> str | None:
    if row["scope"] == "object":
        return f"{row['object']}, {pages_text(row['pages'])} from {row['index']}"
    if "addr" not in row:
        return None
    return f"{row['addr']}-{row['end']}" + (f"  {row['label']}" if row["label"] else "")


def swap(document: Document) -> list[Part]:
    """The swap areas, and under them the pages of a task."""
    areas, rows = document["areas"], document.get("pages")
    parts: list[Part] = [wide_table(areas, ("name", "slots", "used", "free")) if areas else Line("no swap areas")]
    return parts + ([wide_table(rows, ("addr", "pages", "state"))] if rows else [])


def cpuset_value(document: Document) -> list[Part]:
    """What cat would print."""
    return [Line(document["value"])]


def cpusets(document: Document) -> list[Part]:
    """Cpusets, one a row."""
    return [wide_table(document["cpusets"], ("name", "mems", "cpus"))]


def locality(document: Document) -> list[Part]:
    """A row for each task and distance; the shares of all tasks in a line under them."""
    rows = [
        {**task, **share}
        for task in document["tasks"]
        for share in (task["distances"] or [{"distance": None, "pages": 0, "percent": None, "nodes": None}])
    ]
    if not rows:
        return [Line("no tasks with an address space")]
    parts: list[Part] = [table(rows, ("pid", "name", "node", "distance", "pages", "percent", "nodes"))]
    total = document.get("total", {"distances": ()})
    told = [f"{share['percent']} % at distance {share['distance']}" for share in total["distances"]]
    return parts + ([Line(f"in all {pages_text(total['pages'])}: {', '.join(told)}")] if told else [])


def log(document: Document) -> list[Part]:
    """The history, one command a row."""
    rows = [{**entry, "command": shlex.join(entry["argv"]), "result": _result(entry)} for entry in document["entries"]]
    times = ["time"] if in_any("time", rows) else []
    keys = ("entry", *times, "command", "result", "moved", "failed", "skipped")
    return [table(rows, keys)] if rows else [Line("no entries")]


def _result(entry: Document) -> str | None:
    """The errno, else what the call returned; None where it is no call that returns something."""
    returned = entry["return"]
    return entry["errno"] or (None if returned is None else str(returned))


def log_show(document: Document) -> list[Part]:
    """A command of the history with what became of it."""
    result = document["result"]
    time = f" ({document['time']})" if "time" in document else ""
    words = [f"profile {result['profile']}"]
    words += [f"return {result['return']}"] if result["return"] is not None else []
    words += [f"errno {result['errno']}"] if result["errno"] else []
    parts: list[Part] = [
        Line(flat(f"entry {document['entry']}: {shlex.join(result['argv'])}{time}")),
        Line(", ".join(words)),
    ]
    if "at" in result:
        parts.append(Line(f"stopped at {result['at']}" + (f" ({result['signal']})" if result.get("signal") else "")))
    parts += faults(result) if "faults" in result and "moved" not in result else []
    return parts + (_past_migration(result) if "moved" in result else [])


def _past_migration(result: Document) -> list[Part]:
    """As the migration was told, with what stayed by all that the history knows of it."""
    parts: list[Part] = []
    if result.get("nodes"):
        parts.append(table(result["nodes"], ("node", "before", "after", "in", "out", "failed")))
    if result.get("moves"):
        parts.append(table(result["moves"], ("from", "to", "pages")))
    parts.append(sums(result))
    stayed = [
        {"stayed": verb, **entry}
        for verb, key in (("failed", "failures"), ("skipped", "skips"))
        for entry in result.get(key, ())
    ]
    parts += [table(stayed, ("stayed", "reason", "errno", "pid", "node", "pass", "pages"))] if stayed else []
    return parts + residue(result)


def db_current(document: Document) -> list[Part]:
    """The revision of the file, and what to do about it."""
    found, newest = document["revision"], document["newest"]
    if document["current"]:
        return [Line(f"schema {found}, the newest")]
    if document["known"]:
        return [Line(f"schema {found}, the newest is {newest}: run 'migratectl db upgrade'")]
    return [Line(f"schema {found}, unknown here, where the newest is {newest}: use the version that wrote it")]


def db_upgrade(document: Document) -> list[Part]:
    """Which revision the file had and has."""
    if not document["revisions"]:
        return [Line(f"schema {document['to']} is the newest already")]
    return [Line(f"upgraded from schema {document['from']} to {document['to']}")]


def explain(document: Document) -> list[Part]:
    """A table of the pages, or of the reasons where no range is named; then each reason: its sense, what would help."""
    groups = document["groups"]
    if not groups:
        return [Line("no areas")]
    parts: list[Part] = [_reasons(groups) if document["pages"] is None else _explained(document["pages"])]
    for group in groups:
        told = f"{group['reason']}: {pages_text(group['pages'])}: {group['why']}"
        parts.append(Line(told, bad=bool(group["errno"])))
        parts += [Line(f"  {text}") for text in group["help"]]
        if group["help"] and group["more"]:
            parts.append(Line(f"  and {group['more']} more of the kind (see --json)"))
    parts += [Line(_placing(area)) for area in document["placed"]]
    return parts + ([Line(f"refused: {document['refused']}", bad=True)] if document["refused"] else [])


def _explained(entries: Sequence[Document]) -> Table:
    rows = [{**entry, "step": entry["at_step"], "stride": entry.get("step", 1)} for entry in entries]
    stride = ("stride",) if any(row["stride"] > 1 for row in rows) else ()
    keys = ("addr", "pages", *stride, "node", "state", "reason", "errno", "step", "pass")
    return table(rows, keys, left={"reason", "errno"})


def _reasons(groups: Sequence[Document]) -> Table:
    return table(groups, ("reason", "errno", "pages", "areas", "addr"), left={"reason", "errno"})


def _placing(area: Document) -> str:
    what = "placed by the policy of the task that reads it in, not by the area's"
    return f"{area['addr']}-{area['end']}: a page of {flat(area['file'])} is {what} ({area['policy']})"
