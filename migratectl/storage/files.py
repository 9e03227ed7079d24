"""Files and shared memory objects: what is known of a mapping, and the policies of ranges of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from migratectl.storage.connection import Connection
from migratectl.storage.vmas import Vma
from migratectl.storage.work import write, write_many

UNNAMED: Final = "/dev/zero (deleted)"
"""What numa_maps calls shared anonymous memory: an object that goes with its last area."""


@dataclass(frozen=True, slots=True)
class File:
    """
    A file or a shared memory object.

    ``kind`` is ``file`` or ``shm`` (tmpfs), in a summary also that of a family; ``size`` in pages, None where
    an import did not tell; ``ring`` the buffers a page, 0 without.
    """

    id: int
    kind: str
    name: str
    fs: str | None
    journal: str | None
    method: str
    ino: int | None
    size: int | None
    ring: int

    @property
    def shared_memory(self) -> bool:
        """Whether it is of tmpfs: zero-filled, with policies of its own."""
        return self.kind == "shm"

    @property
    def unnamed(self) -> bool:
        """Whether it goes with its last area."""
        return self.kind == "shm" and self.name == UNNAMED


COLUMNS: Final = "SELECT id, kind, name, fs, journal, method, ino, size, ring FROM mappings"


def load(conn: Connection, mapping: int) -> File:
    """The file of a row id."""
    return File(*conn.execute(f"{COLUMNS} WHERE id = ?", (mapping,)).one())


def find(conn: Connection, name: str) -> File | None:
    """The first file or named object of that name."""
    query = f"{COLUMNS} WHERE kind IN ('file', 'shm') AND name = ? ORDER BY id LIMIT 1"
    row = conn.execute(query, (name,)).one_or_none()
    return None if row is None else File(*row)


def named(conn: Connection) -> list[File]:
    """All files and objects that can be named on the command line, by name."""
    query = f"{COLUMNS} WHERE kind IN ('file', 'shm') AND name <> '' AND name <> ? ORDER BY name, id"
    return [File(*row) for row in conn.execute(query, (UNNAMED,))]


def insert(conn: Connection, file: File) -> File:
    """Add a file; its ``id`` is given by the table. The file with its id."""
    write(
        conn,
        "INSERT INTO mappings(kind, name, fs, journal, method, ino, size, ring) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (file.kind, file.name, file.fs, file.journal, file.method, file.ino, file.size, file.ring),
    )
    return load(conn, int(conn.execute("SELECT max(id) FROM mappings").scalar_one()))


def next_ino(conn: Connection) -> int:
    """An inode number above all that objects of tmpfs have."""
    return int(conn.execute("SELECT coalesce(max(ino), 0) + 1 FROM mappings WHERE kind = 'shm'").scalar_one())


def set_size(conn: Connection, mapping: int, size: int) -> None:
    """Give a file another size, in pages."""
    write(conn, "UPDATE mappings SET size = ? WHERE id = ? AND size IS NOT ?", (size, mapping, size))


def orphanage(conn: Connection, file: File) -> int:
    """The mapping of the pages that were cut off a file while somebody held them."""
    query = "SELECT id FROM mappings WHERE kind = 'none' AND name = ? ORDER BY id LIMIT 1"
    found = conn.execute(query, (file.name,)).scalar()
    if found is None:
        write(
            conn,
            "INSERT INTO mappings(kind, name, fs, journal, method, ring) VALUES ('none', ?, ?, ?, 'none', ?)",
            (file.name, file.fs, file.journal, file.ring),
        )
        found = conn.execute(query, (file.name,)).scalar_one()
    return int(found)


def orphanage_of(conn: Connection, name: str) -> int | None:
    """The mapping of a file's orphans, where it has had any."""
    query = "SELECT id FROM mappings WHERE kind = 'none' AND name = ? ORDER BY id LIMIT 1"
    found = conn.execute(query, (name,)).scalar()
    return None if found is None else int(found)


def drop_empty_orphanages(conn: Connection) -> None:
    """Remove the mappings of orphans that are gone."""
    unused = """DELETE FROM mappings WHERE kind = 'none'
 AND NOT EXISTS (SELECT 1 FROM pages p WHERE p.mapping = mappings.id)"""
    write(conn, unused)


def forget(conn: Connection, mapping: int) -> None:
    """Remove an object without areas; while somebody holds pages of it, it stays as a mapping of orphans."""
    write(conn, "DELETE FROM shared_policies WHERE mapping = ?", (mapping,))
    if conn.execute("SELECT EXISTS (SELECT 1 FROM pages WHERE mapping = ? AND first >= 0)", (mapping,)).scalar_one():
        write(conn, "UPDATE mappings SET kind = 'none', size = NULL WHERE id = ?", (mapping,))
    else:
        write(conn, "DELETE FROM mappings WHERE id = ?", (mapping,))


@dataclass(frozen=True, slots=True)
class PolicyRange:
    """
    Pages [start, end) of an object have the policy of row id ``policy``.

    ``mm`` and ``delta`` are those of the area through which it was bound, where that is known; it may be gone.
    """

    start: int
    end: int
    policy: int
    mm: int | None = None
    delta: int | None = None

    def bound_through(self, vma: Vma) -> bool:
        """Whether it was bound through this area."""
        return (self.mm, self.delta) == (vma.mm, vma.delta)


def policies(conn: Connection, mapping: int, start: int, end: int) -> list[PolicyRange]:
    """The policies of an object that count in [start, end), by index; they may reach beyond."""
    query = """SELECT first, "end", policy, mm, delta FROM shared_policies
WHERE mapping = ? AND first < ? AND "end" > ? ORDER BY first"""
    return [PolicyRange(*row) for row in conn.execute(query, (mapping, end, start))]


def policy_at(conn: Connection, mapping: int, index: int) -> int | None:
    """The row id of the policy that an object has at a page index."""
    found = policies(conn, mapping, index, index + 1)
    return found[0].policy if found else None


def object_policy(conn: Connection, vma: Vma, page: int) -> int | None:
    """The row id of the policy that the object of an area of shared memory has at a page address."""
    return policy_at(conn, vma.mapping, page + vma.delta) if vma.kind == "shm" else None


def object_policies(conn: Connection, vma: Vma, start: int, end: int) -> list[tuple[int, int, int | None]]:
    """
    The row ids of the policies that decide in pages [start, end) of an area, as (start, end, policy or None).

    They are the area's own; of shared memory those of the object.
    """
    if vma.kind != "shm":
        return [(start, end, vma.policy)]
    parts: list[tuple[int, int, int | None]] = []
    at = start
    for own in policies(conn, vma.mapping, start + vma.delta, end + vma.delta):
        low, high = max(own.start - vma.delta, start), min(own.end - vma.delta, end)
        parts += [(at, low, None)] if at < low else []
        parts.append((low, high, own.policy))
        at = high
    return [*parts, (at, end, None)] if at < end else parts


def set_object_policy(conn: Connection, vma: Vma, policy: int | None) -> None:
    """Give the part of a shared memory object that an area maps a policy, or none; nothing for other areas."""
    if vma.kind == "shm":
        set_policy(conn, vma.mapping, (vma.start + vma.delta, vma.end + vma.delta), policy, vma)


def set_policy(conn: Connection, mapping: int, where: tuple[int, int], policy: int | None, through: Vma | None) -> None:
    """
    Give pages [start, end) of an object a policy, or none; what it had there goes, neighbours that are equal join.

    Args:
        conn: The connection of the transaction.
        mapping: The object.
        where: The page indexes, start and end.
        policy: The row id of the policy, or none.
        through: The area through which it is bound.

    Source:
        shared_policy_replace() of mm/mempolicy.c; semantics.md 3.3.
    """
    start, end = where
    near = policies(conn, mapping, max(start - 1, 0), end + 1)
    write_many(
        conn, "DELETE FROM shared_policies WHERE mapping = ? AND first = ?", [(mapping, old.start) for old in near]
    )
    kept: list[PolicyRange] = []
    for old in near:
        if old.start < start:
            kept.append(replace(old, end=min(old.end, start)))
        if old.end > end:
            kept.append(replace(old, start=max(old.start, end)))
    if policy is not None:
        mm, delta = (None, None) if through is None else (through.mm, through.delta)
        kept.append(PolicyRange(start, end, policy, mm, delta))
    joined: list[PolicyRange] = []
    for new in sorted(kept, key=lambda each: each.start):
        goes_on = bool(joined) and replace(joined[-1], start=new.start, end=new.end) == new
        same = goes_on and joined[-1].end == new.start
        joined.append(replace(new, start=joined.pop().start) if same else new)
    rows = [(mapping, new.start, new.end, new.policy, new.mm, new.delta) for new in joined]
    statement = 'INSERT INTO shared_policies(mapping, first, "end", policy, mm, delta) VALUES (?, ?, ?, ?, ?, ?)'
    write_many(conn, statement, rows)
