"""Scripts of commands told to the tool, and what they left behind, for tests over the command line."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

from tests.conftest import Runner


def tell(tool: Runner, line: str) -> str:
    """'ok', 'usage', or the errno of a command; the state is sound after it."""
    found = tool(*line.split(), "--json")
    assert tool("check").code == 0, tool("check").out
    if found.code == 2:
        return "usage"
    return "ok" if found.code in (0, 3) else str(found.document["errno"])


def play(tool: Runner, script: str) -> None:
    """Commands, one a line; one that is to fail has its errno, or 'usage', before a colon."""
    for line in filter(None, map(str.strip, script.splitlines())):
        word, _, rest = line.partition(": ")
        wanted, command = (word, rest) if word.isupper() or word == "usage" else ("ok", line)
        assert tell(tool, command) == wanted, line


def cpuset(tool: Runner, name: str) -> tuple[str, str]:
    """The mems and the CPUs of a cpuset."""
    row = next(row for row in tool("cpuset", "list", "--json").document["cpusets"] if row["name"] == name)
    return row["mems"], row["cpus"]


def switch(tool: Runner, name: str, of: str) -> bool:
    """Whether a cpuset has a switch on."""
    row = next(row for row in tool("cpuset", "list", "--json").document["cpusets"] if row["name"] == name)
    return bool(row[of])


def nodes_of(tool: Runner, pid: int, area: str) -> dict[int, int]:
    """Pages of an area by node."""
    found: Counter[int] = Counter()
    for vma in tool("show", "pages", pid, area, "--json").document["vmas"]:
        for run in vma["pages"]:
            if run["node"] is not None:
                found[run["node"]] += run["pages"]
    return dict(found)


def policy(tool: Runner, pid: int, addr: int | None = None) -> str:
    """The policy of a task, or of the area at an address."""
    words = [] if addr is None else [hex(addr)]
    found = tool("get-mempolicy", pid, *words, "--json").document
    return f"{found['mode']} {found['nodes']}".rstrip()


def page_nodes(tool: Runner, pid: int, area: str) -> list[int | None]:
    """The node of each page of an area, in order; None where none is present."""
    found: dict[int, int | None] = {}
    low = high = None
    for vma in tool("show", "pages", pid, area, "--json").document["vmas"]:
        first, end = int(vma["addr"], 16), int(vma["end"], 16)
        low, high = first if low is None else low, end
        for run in vma["pages"]:
            at, step = int(run["addr"], 16), run.get("step", 1) * 4096
            found |= {at + k * step: run["node"] for k in range(run["pages"])}
    assert low is not None
    assert high is not None
    return [found.get(at) for at in range(low, high, 4096)]


def counters(tool: Runner) -> dict[str, dict[int, int]]:
    """The numastat counters of all nodes, by name."""
    found: dict[str, dict[int, int]] = {}
    for row in tool("numastat", "--json").document["nodes"]:
        for name, value in row.items():
            found.setdefault(name, {})[row["node"]] = value
    return found


def contents(state: Path) -> dict[tuple[int, int], tuple[int, int]]:
    """By (pid, page number): the content behind every pte, swap ptes included, as (origin, index there)."""
    query = """SELECT k.pid, t.addr, p.step, p.count, p.origin, p.origin_first FROM ptes t
JOIN pages p ON p.id = t.page JOIN tasks k ON k.mm = t.mm"""
    found = {}
    with closing(sqlite3.connect(state)) as conn:
        for pid, addr, step, count, origin, first in conn.execute(query):
            for k in range(0, count * step, step):
                found[pid, addr + k] = origin, first + k
    return found
