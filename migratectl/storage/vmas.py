"""Areas of address spaces, labels of ranges, mappings. Addresses in pages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from migratectl.storage.connection import Connection
from migratectl.storage.work import write, write_many
from migratectl.uapi import VM

NOTHING: Final = VM(0)


@dataclass(frozen=True, slots=True)
class Vma:
    """
    An area [start, end) of an address space; page index = address + ``delta``.

    ``kind`` and ``name`` are its mapping's; ``policy`` is a row id or None, ``bound`` what of that policy another one
    must have to be equal; ``order`` its page order (0: base pages). ``anon_vma``: the number that areas of its address
    space share which merge again, 0 where it never had an anonymous page, so that a fork copies nothing of it;
    ``forked``: a fork made that number.
    """

    mm: int
    start: int
    end: int
    mapping: int
    delta: int
    flags: VM
    policy: int | None
    order: int
    kind: str
    name: str
    anon_vma: int = 0
    forked: bool = False
    bound: str | None = None

    @property
    def private_anonymous(self) -> bool:
        """Whether its absent pages are zero-filled on demand."""
        return self.kind == "anon"

    def continues(self, other: Vma, *, whatever: VM = NOTHING) -> bool:
        """
        Whether *other*, which starts where this ends, is the same area but for the border and the flags *whatever*.

        Areas of devices, raw frames and huge pages never are (VM_SPECIAL of mm/mmap.c).
        """
        differ = int(self.flags ^ other.flags) & ~int(whatever)
        special = self.flags & _SPECIAL
        return self.end == other.start and not differ and not special and self._what() == other._what()

    def _what(self) -> tuple[Any, ...]:
        return self.mapping, self.delta, self.bound, self.order


def area_of(pte: str, area: str = "v") -> str:
    """The SQL condition that *area*, of ``vmas``, is the one in which *pte*, of ``ptes``, lies."""
    return f"""{area}.mm = {pte}.mm
 AND {area}.start = (SELECT max(start) FROM vmas u WHERE u.mm = {pte}.mm AND u.start <= {pte}.addr)"""


def first_from(mm: str, at: str) -> str:
    """The SQL expression of where the first area begins that may reach an address; 0 where none begins before it."""
    return f"coalesce((SELECT max(start) FROM vmas u WHERE u.mm = {mm} AND u.start <= {at}), 0)"


def bound_by(conn: Connection, policy: int | None) -> str | None:
    """What areas with the policy of a row id have as ``bound``."""
    if policy is None:
        return None
    return str(conn.execute(f"SELECT {_BOUND} FROM policies o WHERE o.id = ?", (policy,)).scalar_one())


_SPECIAL: Final = VM.IO | VM.PFNMAP | VM.HUGETLB
_BOUND: Final = (
    "o.mode || ' ' || o.flags || ' ' || o.nodes"
    " || CASE WHEN o.flags LIKE '%static%' OR o.flags LIKE '%relative%' THEN ' ' || o.mems ELSE '' END"
)
"""What mpol_equal() compares of a policy: the allowed nodes that it was made with are no part of it."""

_SELECT: Final = (
    'SELECT v.mm, v.start, v."end", v.mapping, v.delta, v.flags, v.policy, v."order", m.kind, m.name, v.anon_vma,'
    f" v.forked, {_BOUND} FROM vmas v JOIN mappings m ON m.id = v.mapping LEFT JOIN policies o ON o.id = v.policy"
)


def _vma(row: Any) -> Vma:
    mm, start, end, mapping, delta, flags, policy, order, kind, name, anon_vma, forked, bound = row
    return Vma(mm, start, end, mapping, delta, VM(flags), policy, order, kind, name, anon_vma, bool(forked), bound)


def load(conn: Connection, mm: int) -> list[Vma]:
    """The areas of an address space, ascending."""
    return [_vma(row) for row in conn.execute(f"{_SELECT} WHERE v.mm = ? ORDER BY v.start", (mm,))]


def overlapping(conn: Connection, mm: int, start: int, end: int) -> list[Vma]:
    """The areas that share a page with [start, end), ascending."""
    within = f'v.start < ?3 AND v.start >= {first_from("?1", "?2")} AND v."end" > ?2'
    query = f"{_SELECT} WHERE v.mm = ?1 AND {within} ORDER BY v.start"
    return [_vma(row) for row in conn.execute(query, (mm, start, end))]


def ranges_from(conn: Connection, mm: int, at: int) -> Iterator[tuple[int, int]]:
    """The ranges [start, end) of the areas that end at an address or behind it, ascending, read one by one."""
    behind = f"""start >= {first_from("?1", "?2")} AND "end" >= ?2"""
    query = f'SELECT start, "end" FROM vmas WHERE mm = ?1 AND {behind} ORDER BY start'
    yield from conn.execute(query, (mm, at))


def insert(conn: Connection, vma: Vma) -> None:
    """Add an area."""
    insert_many(conn, [vma])


def insert_many(conn: Connection, vmas: Sequence[Vma]) -> None:
    """Add areas."""
    write_many(
        conn,
        'INSERT INTO vmas(mm, start, "end", mapping, delta, flags, policy, "order", anon_vma, forked)'
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (v.mm, v.start, v.end, v.mapping, v.delta, int(v.flags), v.policy, v.order, v.anon_vma, int(v.forked))
            for v in vmas
        ],
    )


def delete(conn: Connection, vma: Vma) -> None:
    """Remove an area; the ptes in it must be gone, or another area covers them by the end of the transaction."""
    write(conn, "DELETE FROM vmas WHERE mm = ? AND start = ?", (vma.mm, vma.start))
    write(conn, "DELETE FROM words WHERE mm = ? AND start = ?", (vma.mm, vma.start))


def words(conn: Connection, mm: int) -> dict[int, str]:
    """What numa_maps shows of areas that the model does not know, blanks between, by their first pages."""
    rows = conn.execute("SELECT start, text FROM words WHERE mm = ?", (mm,))
    return {int(row[0]): str(row[1]) for row in rows}


def split(conn: Connection, vma: Vma, at: int) -> tuple[Vma, Vma]:
    """Cut an area in two at page *at*; the ptes across it must have been cut before."""
    low, high = replace(vma, end=at), replace(vma, start=at)
    write(conn, 'UPDATE vmas SET "end" = ? WHERE mm = ? AND start = ?', (at, vma.mm, vma.start))
    insert(conn, high)
    both = "INSERT INTO words(mm, start, text) SELECT mm, ?, text FROM words WHERE mm = ? AND start = ?"
    write(conn, both, (at, vma.mm, vma.start))
    return low, high


def put(conn: Connection, vma: Vma) -> None:
    """Write flags and policy of an area that is there."""
    write(
        conn,
        "UPDATE vmas SET flags = ?, policy = ? WHERE mm = ? AND start = ?",
        (int(vma.flags), vma.policy, vma.mm, vma.start),
    )


def set_policy(conn: Connection, mm: int, start: int, end: int, policy: int | None) -> None:
    """Give the areas of [start, end), which were cut there, a policy row or none."""
    scope = "WHERE mm = ? AND start >= ? AND start < ? AND policy IS NOT ?"
    write(conn, f"UPDATE vmas SET policy = ? {scope}", (policy, mm, start, end, policy))


def with_policy_of_object(conn: Connection, mms: Sequence[int]) -> list[Vma]:
    """The areas of shared memory in some address spaces that have a policy."""
    listed = "v.mm IN (SELECT value FROM json_each(?))"
    of_policy = _SELECT.replace("FROM vmas v", "FROM vmas v INDEXED BY vmas_policy")
    query = f"{of_policy} WHERE {listed} AND m.kind = 'shm' AND v.policy IS NOT NULL ORDER BY v.mm, v.start"
    return [_vma(row) for row in conn.execute(query, (json.dumps(mms),))]


def policies_of(conn: Connection, mm: int) -> list[int]:
    """The policy rows that areas of an address space have."""
    query = "SELECT DISTINCT policy FROM vmas WHERE mm = ? AND policy IS NOT NULL ORDER BY policy"
    return [policy for (policy,) in conn.execute(query, (mm,))]


def replace_policies(conn: Connection, mm: int, new: Mapping[int, int]) -> None:
    """Give areas of an address space other policy rows, by the one that they have; all at once."""
    query = "SELECT start, policy FROM vmas WHERE mm = ? AND policy IS NOT NULL"
    old = {row[0]: row[1] for row in conn.execute(query, (mm,))}
    changes = [(new[policy], mm, start) for start, policy in old.items() if new.get(policy, policy) != policy]
    write_many(conn, "UPDATE vmas SET policy = ? WHERE mm = ? AND start = ?", changes)


def locked(conn: Connection, mm: int) -> list[tuple[int, int]]:
    """The ranges [start, end) of an address space that are locked in memory, ascending."""
    only = f"INDEXED BY vmas_locked WHERE mm = ? AND flags & {int(VM.LOCKED)}"
    query = f'SELECT start, "end" FROM vmas {only} ORDER BY start'
    return [(start, end) for start, end in conn.execute(query, (mm,))]


def all_of(conn: Connection, mm: int, mapping: int) -> bool:
    """Whether all areas of an address space are of one mapping."""
    other = "EXISTS (SELECT 1 FROM vmas WHERE mm = ?1 AND mapping {} ?2)"
    query = f"SELECT {other.format('<')} OR {other.format('>')}"
    return not conn.execute(query, (mm, mapping)).scalar_one()


def last_anon_vma(conn: Connection, mm: int) -> int:
    """The highest number of an anon_vma in an address space; 0 where it has none."""
    return int(conn.execute("SELECT coalesce(max(anon_vma), 0) FROM vmas WHERE mm = ?", (mm,)).scalar_one())


def set_anon_vma(conn: Connection, vma: Vma, number: int, *, forked: bool) -> None:
    """Give an area its anon_vma, where it has none yet."""
    write(
        conn,
        "UPDATE vmas SET anon_vma = ?, forked = ? WHERE mm = ? AND start = ? AND NOT anon_vma",
        (number, int(forked), vma.mm, vma.start),
    )


def neighbours(conn: Connection, vma: Vma) -> tuple[Vma | None, Vma | None]:
    """The areas that end where one starts, and start where it ends."""
    around = overlapping(conn, vma.mm, max(vma.start - 1, 0), vma.end + 1)
    before = next((other for other in around if other.end == vma.start), None)
    return before, next((other for other in around if other.start == vma.end), None)


def join(conn: Connection, parts: Sequence[Vma]) -> Vma:
    """Make one area of adjacent ones; it has the policy and the flags of the first, and whatever anon_vma there is."""
    owner = next((part for part in parts if part.anon_vma), parts[0])
    whole = replace(parts[0], end=parts[-1].end, anon_vma=owner.anon_vma, forked=owner.forked)
    for part in parts[1:]:
        delete(conn, part)
    write(
        conn,
        'UPDATE vmas SET "end" = ?, anon_vma = ?, forked = ? WHERE mm = ? AND start = ?',
        (whole.end, whole.anon_vma, int(whole.forked), whole.mm, whole.start),
    )
    return whole


def find_label(conn: Connection, mm: int, name: str) -> tuple[int, int] | None:
    """The range [start, end) that a label names."""
    row = conn.execute('SELECT start, "end" FROM labels WHERE mm = ? AND name = ?', (mm, name)).one_or_none()
    return None if row is None else (row[0], row[1])


def labels(conn: Connection, mm: int) -> list[tuple[str, int, int]]:
    """All labels of an address space as (name, start, end), by start."""
    query = 'SELECT name, start, "end" FROM labels WHERE mm = ? ORDER BY start, name'
    return [(name, start, end) for name, start, end in conn.execute(query, (mm,))]


def add_label(conn: Connection, mm: int, name: str, start: int, end: int) -> None:
    """Name a range."""
    write(conn, 'INSERT INTO labels(mm, name, start, "end") VALUES (?, ?, ?, ?)', (mm, name, start, end))


def trim_labels(conn: Connection, mm: int, start: int, end: int) -> None:
    """After [start, end) was unmapped: a label reaches from its lowest to its highest mapped page, or goes."""
    for name, low, high in labels(conn, mm):
        if high <= start or low >= end:
            continue
        areas = overlapping(conn, mm, low, high)
        write(conn, "DELETE FROM labels WHERE mm = ? AND name = ?", (mm, name))
        if areas:
            add_label(conn, mm, name, max(low, areas[0].start), min(high, areas[-1].end))


def new_mapping(conn: Connection, kind: str, name: str, *, method: str = "none", fs: str | None = None) -> int:
    """A new mapping's row id."""
    write(conn, "INSERT INTO mappings(kind, name, method, fs) VALUES (?, ?, ?, ?)", (kind, name, method, fs))
    return int(conn.execute("SELECT max(id) FROM mappings").scalar_one())


def find_mapping(conn: Connection, kind: str, name: str) -> int | None:
    """The mapping of that kind and name."""
    query = "SELECT id FROM mappings WHERE kind = ? AND name = ? ORDER BY id LIMIT 1"
    found = conn.execute(query, (kind, name)).scalar()
    return None if found is None else int(found)


def find_zero_mapping(conn: Connection, mm: int) -> int | None:
    """The mapping of an address space's zero pages, where it has had any."""
    return find_mapping(conn, "zero", f"zero:{mm}")


def zero_mapping(conn: Connection, mm: int) -> int:
    """The mapping of an address space's zero pages, made at first use: so neighbours are looked for in it alone."""
    found = find_zero_mapping(conn, mm)
    return new_mapping(conn, "zero", f"zero:{mm}") if found is None else found


def delete_mappings(conn: Connection, mm: int, anon: int) -> None:
    """Remove the mappings of an address space that is gone, unless pages or other address spaces refer to them."""
    for mapping in (anon, find_zero_mapping(conn, mm)):
        unused = """DELETE FROM mappings WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM pages WHERE mapping = ?1)
 AND NOT EXISTS (SELECT 1 FROM mms WHERE anon = ?1)"""
        if mapping is not None:
            write(conn, unused, (mapping,))
