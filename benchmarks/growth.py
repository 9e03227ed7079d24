"""
What a command costs among things that it does not touch, in steps of SQLite's virtual machine.

``python -m benchmarks.growth [--large]`` prints for each command and each kind of thing how its steps grow with their
number: of rows of its own task, of tasks, areas, cpusets, files, holds, swap entries, lines of history. Steps are
free of noise, so the tests run the small sizes.
"""

from __future__ import annotations

import argparse
import io
import shlex
import sys
import tempfile
import unittest.mock
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.states import BASE, PID, main
from migratectl.cli import run
from migratectl.storage import connection, engine
from migratectl.storage.connection import Connection
from migratectl.storage.engine import StateFile

EVERY: Final = 10
"""Steps between two counts."""

ALLOWED: Final = 1.2
"""How many times as much a command may cost among more of what it does not touch …"""

SLACK: Final = 800
"""… and so many steps on top, for what an index has in depth and a row in neighbours."""

SMALL: Final = 1_000
SIZES: Final = {False: (1_000, 10_000), True: (1_000, 100_000)}
"""How many things are compared: as the tests do, and with ``--large``; ten times as many rows of the own task."""

BEHIND: Final = 20
"""The page that is looked for lies so many pages before the end of its task."""


@dataclass(frozen=True)
class Growth:
    """The steps of a command among few and among many things of a kind."""

    command: str
    kind: str
    few: int
    many: int

    @property
    def ratio(self) -> float:
        """How many times as many."""
        return self.many / self.few

    @property
    def grows(self) -> bool:
        """Whether it costs more than it may."""
        return self.many > ALLOWED * self.few + SLACK


def rows(conn: Connection, statement: str, nr: int, values: Callable[[int], Sequence[Any]]) -> None:
    """Execute a statement for the numbers from 1 to *nr*."""
    conn.execute_many(statement, (values(k) for k in range(1, nr + 1)))


def tasks(conn: Connection, nr: int) -> None:
    """Tasks with an area each."""
    first = 1 + conn.execute("SELECT max(id) FROM mappings").scalar_one()
    mm = 1 + conn.execute("SELECT max(id) FROM mms").scalar_one()
    rows(
        conn,
        "INSERT INTO mappings(id, kind, name, method) VALUES (?, 'anon', ?, 'page')",
        nr,
        lambda k: (first + k, f"anon:{1000 + k}"),
    )
    rows(conn, "INSERT INTO mms(id, anon) VALUES (?, ?)", nr, lambda k: (mm + k, first + k))
    rows(
        conn,
        "INSERT INTO tasks(pid, name, uid, cpu, cpuset, mm, caps, tgid) VALUES (?, ?, 0, 0, 1, ?, 0, ?)",
        nr,
        lambda k: (1000 + k, str(1000 + k), mm + k, 1000 + k),
    )
    rows(
        conn,
        'INSERT INTO vmas(mm, start, "end", mapping, flags) VALUES (?, ?, ?, ?, 3)',
        nr,
        lambda k: (mm + k, BASE, BASE + 16, first + k),
    )


def areas(conn: Connection, nr: int) -> None:
    """Areas of the own task, behind its first one, each two pages from the next."""
    mm, anon = conn.execute("SELECT id, anon FROM mms").one()
    start = 1 << 24
    rows(
        conn,
        'INSERT INTO vmas(mm, start, "end", mapping, flags) VALUES (?, ?, ?, ?, 3)',
        nr,
        lambda k: (mm, start + 3 * k, start + 3 * k + 1, anon),
    )


def cpusets(conn: Connection, nr: int) -> None:
    """Cpusets below the root."""
    rows(conn, "INSERT INTO cpusets(name, cpus, mems) VALUES (?, '0-15', '0-3')", nr, lambda k: (f"/set{k}",))


def files(conn: Connection, nr: int) -> None:
    """Files without pages."""
    statement = "INSERT INTO mappings(kind, name, fs, method, size) VALUES ('file', ?, 'ext2', 'buffer', 16)"
    rows(conn, statement, nr, lambda k: (f"/file{k}",))


def swapped(conn: Connection, nr: int) -> None:
    """Pages of another task that are in swap, a row each."""
    conn.execute("UPDATE swap_areas SET slots = ?, used = ?", (2 * nr, nr))
    tasks(conn, 1)
    mm, anon = conn.execute("SELECT id, anon FROM mms ORDER BY id DESC LIMIT 1").one()
    conn.execute('UPDATE vmas SET "end" = ? WHERE mm = ?', (BASE + 2 * nr + 2, mm))
    first = 1 + conn.execute("SELECT max(id) FROM pages").scalar_one()
    rows(
        conn,
        "INSERT INTO pages(id, mapping, first, count, step, area, origin, origin_first)"
        " VALUES (?1, ?2, ?3, 1, 1, 1, ?2, ?3)",
        nr,
        lambda k: (first + k, anon, BASE + 2 * k),
    )
    rows(
        conn,
        "INSERT INTO ptes(mm, addr, page, present, reach) VALUES (?, ?, ?, 0, 0)",
        nr,
        lambda k: (mm, BASE + 2 * k, first + k),
    )


def held(conn: Connection, nr: int) -> None:
    """Pages of another task that are pinned, a row each."""
    swapped(conn, nr)
    conn.execute("UPDATE swap_areas SET used = 0")
    conn.execute("UPDATE pages SET node = 0, area = NULL, pin = 3, pins = 1 WHERE area = 1")
    conn.execute("UPDATE ptes SET present = 1 WHERE NOT present")
    conn.execute("INSERT INTO holds(page, pid, kind, passes) SELECT id, 1001, 'pin', 3 FROM pages WHERE pins")
    conn.execute("INSERT INTO resident SELECT max(id), 0, ? FROM mms", (nr,))
    conn.execute("UPDATE nodes SET used = used + ? WHERE id = 0", (nr,))


def history(conn: Connection, nr: int) -> None:
    """Lines of the history."""
    statement = "INSERT INTO journal(argv, profile, return, summary, time) VALUES ('[\"fault\"]', 'v9', 0, '{}', ?)"
    rows(conn, statement, nr, lambda k: (k,))


OTHERS: Final[dict[str, Callable[[Connection, int], None]]] = {
    "tasks": tasks,
    "areas": areas,
    "cpusets": cpusets,
    "files": files,
    "swap entries": swapped,
    "holds": held,
    "history": history,
}

COMMANDS: Final = (
    "page pin {pid} {page}",
    "page unpin {pid} {page}",
    "page lock {pid} {page} --passes 3",
    "page unlock {pid} {page}",
    "page park {pid} {page}",
    "fault {pid} {page}",
    "get-mempolicy {pid} {addr}",
    "move-pages {pid} {addr}=1",
    "mprotect {pid} {page} r",
    "mbind {pid} {page} bind 0",
    "mbind {pid} {page} bind 0 --move",
    "madvise {pid} {page} dontneed",
    "munmap {pid} {page}",
    "mlock {pid} {page}",
    "swap out {pid} {page}",
    "swap on more 4p",
    "show pages {pid} {page}",
    "explain {pid} {page}",
    "migrate-pages {pid} 4 0",
    "set-mempolicy {pid} bind 0",
    "mmap {pid} 4p",
    "task create --pid 7",
    "task run-on {pid} --node 1",
    "cpuset create new --mems 0-1",
    "cpuset move {pid} /",
    "file create /new 4p --fs ext2",
    "page buffers {pid} {page} --state idle",
    "log show 1",
    "node weight 0 1",
)
"""What touches a page, a task, or nothing of what there are many of."""


class Counter:
    """Steps of SQLite's virtual machine on all connections that are opened while it is in place."""

    def __init__(self) -> None:
        self.steps = 0

    def _more(self) -> int:
        self.steps += EVERY
        return 0

    def connect(self, path: Path, timeout: float = 5.0, mode: str = "rw") -> Connection:
        """Open a database as storage does, and count."""
        found = connection.connect(path, timeout, mode)
        found.raw.set_progress_handler(self._more, EVERY)
        return found

    def of(self, path: Path, words: Sequence[str]) -> int:
        """The steps of a command that changes nothing; of one that ends otherwise than it should, its message."""
        self.steps = 0
        out, err = io.StringIO(), io.StringIO()
        code = run(["-s", str(path), *words], out, err)
        if code not in (0, 1, 3):
            raise ValueError(f"{shlex.join(words)}: exit {code}: {err.getvalue()}")
        return max(self.steps, EVERY)


def steps(path: Path, commands: Iterable[str]) -> dict[str, int]:
    """The steps of commands on the page of a state that lies near the end of task 100, each as a dry run."""
    with StateFile(path).transaction(write=False) as conn:
        query = "SELECT addr FROM ptes WHERE mm = (SELECT mm FROM tasks WHERE pid = ?) AND present ORDER BY addr DESC"
        at = conn.execute(f"{query} LIMIT 1 OFFSET {BEHIND}", (PID,)).scalar_one() << 12
    counter = Counter()
    found = {}
    with unittest.mock.patch.object(engine, "connect", counter.connect):
        for command in commands:
            words = command.format(pid=PID, addr=hex(at), page=f"{at:#x}+1p").split()
            dry = [] if words[0] in ("show", "explain", "get-mempolicy", "log") else ["--dry-run"]
            found[command] = counter.of(path, [*words, *dry])
    return found


def state_among(folder: Path, kind: str, nr: int) -> Path:
    """A state with a task of 100 pages on random nodes among *nr* things of a kind."""
    path = folder / f"{kind.replace(' ', '-')}-{nr}.db"
    main("random", str(path), "100")
    file = StateFile(path)
    with file.transaction(write=True) as conn:
        conn.execute("PRAGMA defer_foreign_keys = ON")
        OTHERS[kind](conn, nr)
    file.close()
    return path


def measured(kinds: Iterable[str], commands: Sequence[str], *, large: bool) -> Iterable[Growth]:
    """The growth of commands with the number of things of each kind; ``rows`` are those of the own task."""
    with tempfile.TemporaryDirectory(prefix="migratectl-growth-") as name:
        folder = Path(name)
        for kind in kinds:
            sizes = [nr * 10 if kind == "rows" and large else nr for nr in SIZES[large]]
            found = []
            for nr in sizes:
                path = folder / f"rows-{nr}.db"
                if kind == "rows":
                    main("random", str(path), str(nr))
                found.append(steps(path if kind == "rows" else state_among(folder, kind, nr), commands))
            for command in commands:
                yield Growth(command, kind, found[0][command], found[1][command])


def table(words: Sequence[str]) -> int:
    """Print the growth of each command with each kind; 1 where one grows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of rows, {', '.join(OTHERS)} (default: all)")
    parser.add_argument(
        "--large", action="store_true", help=f"to {SIZES[True][1]:,} things, not to {SIZES[False][1]:,}"
    )
    asked = parser.parse_args(words)
    grown = 0
    for kind in asked.kinds or ["rows", *OTHERS]:
        for each in measured([kind], COMMANDS, large=asked.large):
            grown += each.grows
            sign = "GROWS" if each.grows else ""
            line = (
                f"{each.kind:14}{each.command.split('{')[0]:26}{each.few:>12,}{each.many:>12,}{each.ratio:8.2f} {sign}"
            )
            sys.stdout.write(line.rstrip() + "\n")
            sys.stdout.flush()
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(table(sys.argv[1:]))
