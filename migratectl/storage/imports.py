"""Bulk inserts of an import. Nothing here asks the database once a line or task: rows of many are written together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from migratectl.runs import Run
from migratectl.storage import pages
from migratectl.storage.connection import Connection
from migratectl.storage.reach import reach_of
from migratectl.storage.tasks import Task
from migratectl.storage.tasks import insert_many as insert_tasks
from migratectl.storage.work import write_many

MAX_PARAMETERS: Final = 900
"""Most parameters of a statement: every SQLite takes 999."""

MAX_WAITING: Final = 20_000
"""Areas and pages that wait before they are written."""

PageRow = tuple[int, int, int, int, int, int | None, int, int | None, int]
"""
A page row to write: mapping, first index, pages, step, node, swap area, page flags, the pass at which its writeback
ends, mappers that are not in the state.
"""

PteRow = tuple[int, int, int, int]
"""A present, young pte to write: address space, address, dirty, writable."""

AreaRow = tuple[int, int, int, int, int, int, int | None, int, int]
"""
An area to write: address space, start, end, mapping, delta, flags, policy, order, whether it has anonymous pages.
"""


class NewRows:
    """
    Rows of new tasks that wait to be written together; a task's rows are complete before flush() is called.
    Callers append to the lists ``areas``, ``labels``, ``words``, ``pages`` and ``ptes``: the pte that maps a page row
    is added with it.

    Args:
        conn: The connection of the transaction; nothing else adds tasks, address spaces or mappings meanwhile.
    """

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        last = {str(name): int(row) for name, row in conn.execute("SELECT name, seq FROM sqlite_sequence")}
        self.last_mapping, self.last_mm = last.get("mappings", 0), last.get("mms", 0)
        self.pids = {pid for (pid,) in conn.execute("SELECT pid FROM tasks")}
        self.objects: dict[tuple[str, str, int | None], int] = {}
        for row in conn.execute("SELECT id, kind, name, ino FROM mappings WHERE kind <> 'anon' ORDER BY id"):
            self._enter_object(*row)
        self.mappings: list[tuple[int, str, str, str, int | None]] = []
        self.mms: list[tuple[int, int]] = []
        self.tasks: list[Task] = []
        self.areas: list[AreaRow] = []
        self.labels: list[tuple[int, str, int, int]] = []
        self.words: list[tuple[int, int, str]] = []
        self.pages: list[PageRow] = []
        self.ptes: list[PteRow] = []
        self.waits: list[tuple[int, int, int]] = []

    def new_space(self, pid: int, anon: int | None = None) -> tuple[int, int]:
        """A new, empty address space of an anonymous family, None for one of its own; the row ids of both."""
        if anon is None:
            anon = self._new_mapping("anon", f"anon:{pid}", "page", None)
        self.last_mm += 1
        self.mms.append((self.last_mm, anon))
        return self.last_mm, anon

    def new_object(self, kind: str, name: str, method: str, ino: int | None) -> int:
        """A new file or shared memory object; its row id."""
        row = self._new_mapping(kind, name, method, ino)
        self._enter_object(row, kind, name, ino)
        return row

    def find_object(self, kind: str, name: str, ino: int | None) -> int | None:
        """The first object of that kind and name, and of that inode number where one is given."""
        return self.objects.get((kind, name, ino))

    def _new_mapping(self, kind: str, name: str, method: str, ino: int | None) -> int:
        self.last_mapping += 1
        self.mappings.append((self.last_mapping, kind, name, method, ino))
        return self.last_mapping

    def _enter_object(self, row: int, kind: str, name: str, ino: int | None) -> None:
        self.objects.setdefault((kind, name, ino), row)
        self.objects.setdefault((kind, name, None), row)

    def add_task(self, task: Task) -> None:
        """Add a task without policy."""
        self.pids.add(task.pid)
        self.tasks.append(task)

    def wait(self, pid: int, writeback: int | None) -> None:
        """Let *pid* wait for the writeback, if there is one, of the page row that is added next."""
        if writeback is not None:
            self.waits.append((len(self.pages), pid, writeback))

    @property
    def full(self) -> bool:
        """Whether so many rows wait that it is time for flush()."""
        return len(self.areas) + len(self.pages) >= MAX_WAITING

    def flush(self) -> None:
        """Write what waits, each table after those that its rows refer to."""
        self._flush_tasks()
        insert(
            self.conn,
            'INSERT INTO vmas(mm, start, "end", mapping, delta, flags, policy, "order", anon_vma)',
            self.areas,
        )
        insert(self.conn, 'INSERT INTO labels(mm, name, start, "end")', self.labels)
        insert(self.conn, "INSERT INTO words(mm, start, text)", self.words)
        rows = insert_pages(self.conn, self.pages)
        reaches = [reach_of(Run(first, step, count)) for _, first, count, step, *_ in self.pages]
        insert_ptes(
            self.conn,
            [
                (mm, addr, row, dirty, able, far)
                for row, far, (mm, addr, dirty, able) in zip(rows, reaches, self.ptes, strict=True)
            ],
        )
        hold_writeback(self.conn, [(rows[at], pid, passes) for at, pid, passes in self.waits])
        for waiting in (self.areas, self.labels, self.words, self.pages, self.ptes, self.waits):
            waiting.clear()

    def _flush_tasks(self) -> None:
        """Write objects, address spaces and tasks."""
        write_many(self.conn, "INSERT INTO mappings(id, kind, name, method, ino) VALUES (?, ?, ?, ?, ?)", self.mappings)
        write_many(self.conn, "INSERT INTO mms(id, anon) VALUES (?, ?)", self.mms)
        insert_tasks(self.conn, self.tasks)
        for waiting in (self.mappings, self.mms, self.tasks):
            waiting.clear()


def insert(conn: Connection, head: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """
    Add rows, many with each statement: what a statement costs beside its rows is more than a row.

    Args:
        conn: The connection of the transaction.
        head: The statement up to its values.
        rows: The values, as many in each row.
    """
    if not rows:
        return
    values = "(" + ", ".join("?" * len(rows[0])) + ")"
    at_once = MAX_PARAMETERS // len(rows[0])
    whole = len(rows) - len(rows) % at_once
    many = [tuple(chain.from_iterable(rows[k : k + at_once])) for k in range(0, whole, at_once)]
    write_many(conn, f"{head} VALUES {', '.join([values] * at_once)}", many)
    write_many(conn, f"{head} VALUES {values}", rows[whole:])


def insert_pages(conn: Connection, rows: Sequence[PageRow]) -> range:
    """Add page rows whose content is their own. Their row ids, in the order of *rows*."""
    offset = pages.last_row(conn) + 1
    insert(
        conn,
        "INSERT INTO pages(id, mapping, first, count, step, node, area, flags, writeback, outside, origin,"
        " origin_first)",
        [(row, *page, page[0], page[1]) for row, page in enumerate(rows, offset)],
    )
    return range(offset, offset + len(rows))


def insert_ptes(conn: Connection, rows: Iterable[tuple[int, int, int, int, int, int]]) -> None:
    """Add present, young ptes: address space, address, page row, dirty, writable, reach."""
    insert(
        conn,
        "INSERT INTO ptes(mm, addr, page, present, young, dirty, writable, reach)",
        [(mm, addr, row, 1, 1, dirty, able, far) for mm, addr, row, dirty, able, far in rows],
    )


def hold_writeback(conn: Connection, rows: Iterable[tuple[int, int, int]]) -> None:
    """Record who waits for writeback: page row, pid, pass at which it ends; the page rows say so already."""
    write_many(conn, "INSERT INTO holds(page, pid, kind, passes) VALUES (?, ?, 'writeback', ?)", rows)


def set_other(conn: Connection, other: Mapping[int, int]) -> None:
    """Set the memory of nodes that something outside the model uses."""
    write_many(conn, "UPDATE nodes SET other = ? WHERE id = ?", [(nr, nid) for nid, nr in other.items()])


def use_slots(conn: Connection, used: Mapping[int, int]) -> None:
    """Count swap slots as used, by area."""
    write_many(conn, "UPDATE swap_areas SET used = used + ? WHERE id = ?", [(nr, area) for area, nr in used.items()])
