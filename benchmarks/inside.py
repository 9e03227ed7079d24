"""
What is timed inside of a process that has everything loaded and the file in memory; writes one line of JSON.

``python -m benchmarks.inside migrate|update STATE UID FROM TO``, ``small STATE``, ``empty STATE NUMBER``.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.states import BASE, PID, SMALL
from migratectl.operations.caller import Caller
from migratectl.operations.fault import fault
from migratectl.operations.migrate_pages import migrate_pages
from migratectl.operations.numa_maps import numa_maps
from migratectl.operations.show import show_pages
from migratectl.spans import NodeList, Size, Span, parse_nodes
from migratectl.storage.engine import StateFile

ROUNDS: Final = 15
_WARM: Final = ("SELECT sum(count + node + step) FROM pages", "SELECT sum(addr + present) FROM ptes")

_MOVERS: Final = {
    0: "lock IS NULL AND pin IS NULL",
    1: "lock IS NULL AND pin IS NULL AND outside = 0",
}
"""Which rows of the nodes to leave a migration can move, for root (MOVE_ALL) and for the owner (MOVE)."""


@contextmanager
def clock(told: dict[str, Any]) -> Iterator[None]:
    """Put the wall clock and processor time of the body into *told*."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    told["wall"], told["cpu"] = time.perf_counter() - wall, time.process_time() - cpu


def warm(file: StateFile) -> None:
    """Read the file once, so that both sides find it in the memory of the same connection."""
    with file.transaction(write=False) as conn:
        for query in _WARM:
            conn.execute(query).all()


def migrate(file: StateFile, uid: str, source: str, dest: str) -> dict[str, Any]:
    """One migrate-pages with its commit."""
    told: dict[str, Any] = {}
    warm(file)
    with clock(told), file.transaction(write=True) as conn:
        document = migrate_pages(conn, Caller(int(uid)), PID, parse_nodes(source), parse_nodes(dest))
    return told | {key: document[key] for key in ("moved", "failed", "skipped", "passes")}


def update(file: StateFile, uid: str, source: str, dest: str) -> dict[str, Any]:
    """One bare UPDATE with its commit, of the rows that the migration would move; settings of the state file."""
    told: dict[str, Any] = {}
    first, last = (int(nid) for nid in source.split("-"))
    shift = int(dest.partition("-")[0]) - first
    warm(file)
    statement = f"UPDATE pages SET node = node + {shift} WHERE node BETWEEN {first} AND {last} AND {_MOVERS[int(uid)]}"
    with clock(told), file.transaction(write=True) as conn:
        rows = conn.execute(statement).rowcount
    return told | {"rows": rows}


def small(file: StateFile) -> dict[str, Any]:
    """The operations of a small task in turn; the median of a whole turn."""
    span = Span(address=BASE << 12, length=Size(SMALL, "p"))
    nodes: list[NodeList] = [parse_nodes("0"), parse_nodes("1")]
    turns: list[dict[str, Any]] = []
    for number in range(ROUNDS + 1):
        told: dict[str, Any] = {}
        with clock(told):
            with file.transaction(write=True) as conn:
                migrate_pages(conn, Caller(0), PID, nodes[number % 2], nodes[1 - number % 2])
            with file.transaction(write=True) as conn:
                fault(conn, PID, span, write=True)
            with file.transaction(write=False) as conn:
                show_pages(conn, PID, None, runs=False)
            with file.transaction(write=False) as conn:
                numa_maps(conn, PID)
        turns.append(told)
    return {key: statistics.median(turn[key] for turn in turns[1:]) for key in ("wall", "cpu")}


def main(name: str, path: str, *words: str) -> None:
    """Measure and tell."""
    with closing(StateFile(Path(path))) as file:
        told = {"migrate": migrate, "update": update, "small": small}[name](file, *words)
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
