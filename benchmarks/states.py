"""
States that take too long to build by commands; ``python -m benchmarks.states NAME FILE NUMBER``.

``random``: pid 100 with NUMBER pages on random nodes of four, 5 % of them locked, dirty, pinned or shared.
``crowd``: a small task, pid 100, and NUMBER others of 2,000 pages in 20 rows each.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path
from typing import Final

from migratectl.operations.fault import fault
from migratectl.operations.init import Init, init
from migratectl.operations.mm import Mmap, mmap
from migratectl.operations.tasks import TaskCreate, task_create
from migratectl.runs import Run
from migratectl.spans import Size, Span
from migratectl.storage import holds, nodes, pages, tasks, work
from migratectl.storage.connection import Connection
from migratectl.storage.engine import StateFile
from migratectl.storage.pages import Laid
from migratectl.uapi import NEVER, PG, Profile

PID: Final = 100
USER: Final = 1
SEED: Final = 1
BUSY: Final = 0.05
KINDS: Final = ("lock", "dirty", "pin", "shared")
BASE: Final = 0x10000000 >> 12
FRESH: Final = int(PG.ACTIVE)
"""Flags of a page that a write fault made."""

SMALL: Final = 16
ROWS_OF_A_TASK: Final = 20
PAGES_OF_A_TASK: Final = 2000


def machine(conn: Connection, nr: int, memory: int) -> None:
    """A machine of *nr* nodes with that much memory in GiB each."""
    gib = Size(memory << 30, "B")
    init(conn, Init(nr, (gib,), (4,), (10, 20), Size(4096, "B"), "default", Profile.V9))


def area(conn: Connection, pid: int, nr_pages: int) -> int:
    """A task with one area of that many pages from 0x10000000 on; its address space."""
    task_create(conn, TaskCreate(pid, uid=USER))
    mmap(conn, Mmap(pid, Size(nr_pages, "p"), addr=BASE << 12))
    found = tasks.find(conn, pid)
    assert found is not None
    assert found.mm is not None
    return found.mm


def random_runs(nr_pages: int) -> list[tuple[int, int, int, str]]:
    """(start, pages, node, kind of busy page or nothing): runs of equal neighbours, from a fixed seed."""
    dice = random.Random(SEED)
    runs: list[tuple[int, int, int, str]] = []
    for at in range(nr_pages):
        node = dice.randrange(4)
        kind = dice.choice(KINDS) if dice.random() < BUSY else ""
        if runs and runs[-1][2:] == (node, kind):
            start, count, _, _ = runs[-1]
            runs[-1] = (start, count + 1, node, kind)
        else:
            runs.append((at, 1, node, kind))
    return runs


def random_state(conn: Connection, nr_pages: int) -> None:
    """One task whose pages are on random nodes."""
    machine(conn, 4, 16)
    mm = area(conn, PID, nr_pages)
    runs = random_runs(nr_pages)
    laid = [Laid(Run(BASE + start, 1, count), node) for start, count, node, _ in runs]
    ids = pages.lay(conn, mm, tasks.anon_mapping(conn, mm), 0, laid, flags=FRESH, bits=(1, 1, 1))
    held = Counter[int]()
    for _, count, node, _ in runs:
        held[node] += count
    nodes.add_used(conn, held)
    rows: dict[str, list[int]] = {kind: [] for kind in KINDS}
    for row, (_, _, _, kind) in zip(ids, runs, strict=True):
        if kind:
            rows[kind].append(row)
    for kind in ("lock", "pin"):
        holds.add(conn, rows[kind], PID, kind, NEVER, 1)
    work.write_many(conn, f"UPDATE pages SET flags = flags | {int(PG.DIRTY)} WHERE id = ?", _each(rows["dirty"]))
    work.write_many(conn, "UPDATE pages SET outside = 1 WHERE id = ?", _each(rows["shared"]))


def _each(rows: list[int]) -> list[tuple[int]]:
    return [(row,) for row in rows]


def crowd_state(conn: Connection, nr_tasks: int) -> None:
    """A small task among others."""
    machine(conn, 4, 16)
    area(conn, PID, SMALL)
    fault(conn, PID, Span(address=BASE << 12, length=Size(SMALL, "p")), write=True)
    count = PAGES_OF_A_TASK // ROWS_OF_A_TASK
    held = Counter[int]()
    for number in range(nr_tasks):
        mm = area(conn, 1000 + number, PAGES_OF_A_TASK)
        laid = [Laid(Run(BASE + k * count, 1, count), (number + k) % 4) for k in range(ROWS_OF_A_TASK)]
        pages.lay(conn, mm, tasks.anon_mapping(conn, mm), 0, laid, flags=FRESH, bits=(1, 1, 1))
        for piece in laid:
            held[piece.node or 0] += count
    nodes.add_used(conn, held)


def main(name: str, path: str, number: str) -> None:
    """Build a state and fold its log into the file."""
    build = {"random": random_state, "crowd": crowd_state}[name]
    file = StateFile(Path(path))
    with file.create(force=True) as conn:
        build(conn, int(number))
    file.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
