"""What the tool said against what the model says, document by document."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .base import ERRNO, Document
from .machine import PAGE

EXACT = ("exit", "errno")
PLAIN = ("return", "moved", "failed", "skipped", "swapped", "passes", "moves", "residue", "io", "at", "signal",
         "status", "pid", "addr", "end", "pages", "label", "uid", "cpu", "node", "cpuset")  # fmt: skip
Rows = list[dict[str, Any]]


def runs(entries: Rows, keys: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """
    Entries of single pages as the maximal runs of cli.md: per (pid, node, reason), greedy from the lowest address.

    Returns:
        Tuples of address, pages, step and the values of `keys`.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for entry in entries:
        groups.setdefault(tuple(entry[key] for key in keys), []).append(entry["vpn"])
    found: list[tuple[Any, ...]] = []
    for values, vpns in groups.items():
        rest = sorted(vpns)
        while rest:
            run = rest[:1]
            step = rest[1] - rest[0] if len(rest) > 1 else 1
            for vpn in rest[1:]:
                if vpn - run[-1] != step:
                    break
                run.append(vpn)
            rest = rest[len(run) :]
            found.append((hex(run[0] * PAGE), len(run), step if len(run) > 1 else 1, *values))
    return sorted(found, key=repr)


def told(entries: Rows, keys: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """The tool's entries as such tuples."""
    return sorted(((e["addr"], e["pages"], e.get("step", 1), *(e.get(key) for key in keys)) for e in entries), key=repr)


def passes_differ(want: Rows, got: Rows) -> Iterable[str]:
    """The pass of each entry must be one of its pages'; a page never looked at has none to compare."""
    by_place: dict[tuple[int, int], int | None] = {(entry["pid"], entry["vpn"]): entry["pass"] for entry in want}
    for entry in got:
        first = int(entry["addr"], 16) // PAGE
        seen = {by_place.get((entry["pid"], first + k * entry.get("step", 1))) for k in range(entry["pages"])}
        if None not in seen and entry.get("pass") not in seen:
            yield f"pass of {entry}, the model {seen}"


def without_zero_page_node(entries: Rows) -> Rows:
    """The node of the zero page is not fixed by cli.md."""
    return [e | {"node": None} if e["reason"] == "reserved-page" else e for e in entries]


def expand(document: Document) -> dict[int, tuple[Any, ...]]:
    """`show pages` as one entry a page."""
    seen: dict[int, tuple[Any, ...]] = {}
    for area in document["vmas"]:
        for run in area["pages"]:
            for k in range(run["pages"]):
                vpn = int(run["addr"], 16) // PAGE + k * run.get("step", 1)
                mapcount = run.get("mapcount") if run["state"] == "present" else None
                seen[vpn] = (run["state"], run["node"], list(run["flags"]), mapcount)
    return seen


def rows_differ(want: Rows, got: Rows, keys: tuple[str, ...]) -> Iterable[str]:
    """Rows by node; a row that the tool leaves out must be all zero."""
    by_node = {row["node"]: row for row in got}
    if [row["node"] for row in got] != sorted(by_node):
        yield f"nodes out of order: {got}"
    for row in want:
        told_row = by_node.pop(row["node"], dict.fromkeys(keys, 0) | {"node": row["node"]})
        if any(told_row.get(key) != row[key] for key in keys):
            yield f"node {row['node']}: {told_row}, the model {row}"
    if by_node:
        yield f"nodes that do not exist: {by_node}"


def migration_differs(want: Document, got: Document) -> Iterable[str]:
    """Rows, failures and skips of a migration."""
    yield from rows_differ(want["_rows"], got["nodes"], ("node", "before", "after", "in", "out", "failed"))
    keys: tuple[str, ...] = ("pid", "node", "reason", "errno")
    if told(got["failures"], keys) != runs(want["_failures"], keys):
        yield f"failures {told(got['failures'], keys)}, the model {runs(want['_failures'], keys)}"
    else:
        yield from passes_differ(want["_failures"], got["failures"])
    keys = ("pid", "node", "reason")
    if "_skips" in want:
        seen = told(without_zero_page_node(got["skips"]), keys)
        should = runs(without_zero_page_node(want["_skips"]), keys)
        if seen != should:
            yield f"skips {seen}, the model {should}"
    if got.get("moved_twice", 0) != want["moved_twice"]:
        yield f"moved_twice {got.get('moved_twice', 0)}, the model {want['moved_twice']}"
    if want["moved"] and got.get("committed") is not True:
        yield "moved pages that are not committed"


def pages_differ(want: dict[int, tuple[Any, ...]], got: dict[int, tuple[Any, ...]]) -> Iterable[str]:
    """The first pages that differ."""
    wrong = [vpn for vpn in sorted(want.keys() | got.keys()) if want.get(vpn) != got.get(vpn)]
    for vpn in wrong[:3]:
        yield f"page {vpn * PAGE:#x}: {got.get(vpn)}, the model {want.get(vpn)} ({len(wrong)} pages differ)"


def lines_differ(want: Rows, got: Rows) -> Iterable[str]:
    """numa_maps area by area; a counter that is not printed is null or 0."""
    ours, theirs = ({line["addr"]: line for line in lines} for lines in (want, got))
    if list(theirs) != list(ours):
        yield f"areas at {list(theirs)}, the model {list(ours)}"
        return
    for addr, line in ours.items():
        wrong = {key: theirs[addr].get(key) for key in line if (theirs[addr].get(key) or None) != (line[key] or None)}
        if wrong:
            yield f"line {addr}: {wrong}, the model {line}"


def rings_differ(want: dict[tuple[str, int], tuple[int, list[str]]], got: Rows) -> Iterable[str]:
    """The rings, page by page."""
    seen = {}
    for row in got:
        for k in range(row["pages"]):
            seen[row["file"], row["index"] + k * row.get("step", 1)] = (row["node"], sorted(row["flags"]))
    for key in sorted(want.keys() | seen.keys()):
        if want.get(key) != seen.get(key):
            yield f"ring {key}: {seen.get(key)}, the model {want.get(key)}"


def differences(want: Document, got: Document) -> list[str]:
    """
    Everything in which the tool's document is not what the model says.

    Args:
        want: From Model.run.
        got: From `batch --json`.
    """
    found = [f"{key} {got.get(key)!r}, the model {want[key]!r}" for key in EXACT if got.get(key) != want[key]]
    if want["errno"] and got.get("return", -ERRNO[want["errno"]]) != -ERRNO[want["errno"]]:
        found.append(f"return {got['return']} with {want['errno']}")
    if "_refused" in want and got.get("committed"):
        found.append("a refused call that is committed")
    if found or (want["exit"] == 1 and not want.get("moved") and "nodes" not in got and "_rows" in want):
        return found  # a refused call may leave out everything else
    found += [
        f"{key} {got.get(key)!r}, the model {want[key]!r}" for key in PLAIN if key in want and got.get(key) != want[key]
    ]
    try:
        return found + list(parts_differ(want, got))
    except (KeyError, TypeError) as error:
        return [*found, f"the document has not what cli.md says: {error!r} in {sorted(got)}"]


def races_differ(want: Rows, got: Rows) -> Iterable[str]:
    """How each race went, and what its command said of its faults."""
    for ours, theirs in zip(want, got, strict=True):
        told = {key: theirs.get(key) for key in ours if key != "result"}
        if told != {key: value for key, value in ours.items() if key != "result"} or theirs.keys() != ours.keys():
            yield f"race {theirs}, the model {ours}"
        if "result" in ours:
            wanted, found = ours["result"], theirs["result"]
            if found["errno"] is not None or found.get("faults") != wanted.get("faults", found.get("faults")):
                yield f"race {found}, the model {wanted}"


def cache_differs(want: Document, got: Document) -> Iterable[str]:
    """Files, rings and what a command says of swap and cache."""
    if "_back" in want and {key: got.get(key) for key in want["_back"]} != want["_back"]:
        yield f"{ {key: got.get(key) for key in want['_back']} }, the model {want['_back']}"
    if "_files" in want:
        for ours, theirs in zip(want["_files"], got["files"], strict=True):
            if any(theirs.get(key) != ours[key] for key in ours):
                yield f"{theirs}, the model {ours}"
    if "_rings" in want:
        yield from rings_differ(want["_rings"], got["buffers"])
    if "_swap" in want:
        areas = [(area["name"], area["slots"], area["used"]) for area in got["areas"]]
        if areas != want["_swap"] or any(area["used"] + area["free"] != area["slots"] for area in got["areas"]):
            yield f"{got['areas']}, the model {want['_swap']}"


def parts_differ(want: Document, got: Document) -> Iterable[str]:
    """Everything that is more than one value."""
    yield from cache_differs(want, got)
    if "faults" in want:
        present = {row["node"]: row["pages"] for row in got["nodes"] if row["pages"]}
        if got["faults"] != want["faults"] or present != want["_present"]:
            yield f"{got['faults']} {present}, the model {want['faults']} {want['_present']}"
    if "_rows" in want:
        yield from migration_differs(want, got)
    if "_races" in want:
        yield from races_differ(want["_races"], got["races"])
    if "_pages" in want:
        yield from pages_differ(want["_pages"], expand(got))
    if "_nodes" in want:
        yield from rows_differ(
            want["_nodes"], got["nodes"], ("node", "online", "pages", "free", "distance", "numastat")
        )
    if "_lines" in want:
        yield from lines_differ(want["_lines"], got["lines"])
    if "_policy" in want:
        seen = {key: got.get(key) for key in want["_policy"]}
        if seen != want["_policy"]:
            yield f"{seen}, the model {want['_policy']}"
    if "_cpusets" in want:
        seen = [{key: row.get(key) for key in ours} for ours, row in zip(want["_cpusets"], got["cpusets"], strict=True)]
        if seen != want["_cpusets"]:
            yield f"{seen}, the model {want['_cpusets']}"
    if "_ok" in want and got.get("ok") is not True:
        yield f"check found {got.get('violations')}"
