"""Trees for the tests of import, and what they ask of a state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.conftest import SHARED_DATA, Outcome, Runner

KIB_A_PAGE = 4


NUMA_MAPS = SHARED_DATA / "numa_maps"


TOPOLOGIES = SHARED_DATA / "topologies"


def make_tree(
    root: Path, tasks: dict[int, dict[str, str]] | None = None, *, nodes: int = 2, total: int = 1000, free: int = 900
) -> Path:
    """A tree of *nodes* nodes of *total* pages, *free* of them free, two CPUs each; files of tasks by name."""
    for nid in range(nodes):
        put(
            root,
            f"sys/devices/system/node/node{nid}",
            {
                "meminfo": f"Node {nid} MemTotal: {total * KIB_A_PAGE} kB\n"
                f"Node {nid} MemFree: {free * KIB_A_PAGE} kB\n",
                "cpulist": f"{2 * nid}-{2 * nid + 1}\n",
                "distance": " ".join("10" if nid == other else "20" for other in range(nodes)) + "\n",
            },
        )
    put(root, "proc", {"meminfo": "SwapTotal: 400 kB\n"})
    for pid, files in (tasks or {}).items():
        put(root, f"proc/{pid}", files)
    return root


def put(root: Path, folder: str, files: dict[str, str]) -> None:
    (root / folder).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / folder / name).write_text(text)


def done(outcome: Outcome) -> Any:
    assert outcome.code == 0, outcome.err
    return outcome.document


def loaded(tool: Runner, tree: Path, *words: object) -> Any:
    """The document of an import that was done, whose state passes every check."""
    document = done(tool("import", tree, "--json", *words))
    assert done(tool("check", "--json"))["violations"] == []
    return document


def refused(tool: Runner, *words: object) -> str:
    """What a refused call says; exit code 2 and nothing on standard output."""
    outcome = tool(*words)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.count("\n") == 1
    return outcome.err


def free(tool: Runner) -> list[int]:
    return [node["free"] for node in done(tool("node", "list", "--json"))["nodes"]]


def text_of(tool: Runner, pid: int) -> str:
    outcome = tool("numa-maps", pid)
    assert outcome.code == 0, outcome.err
    return outcome.out


def where(tool: Runner, pid: int) -> dict[int, int | None]:
    """Node of each present page of a task, by page number."""
    areas = done(tool("show", "pages", pid, "--json"))["vmas"]
    return {
        int(row["addr"], 16) // 4096 + k: row["node"]
        for area in areas
        for row in area["pages"]
        for k in range(row["pages"])
        if row["state"] == "present"
    }


ONE_PAGE = "00010000 default anon=1 dirty=1 N1=1\n"
