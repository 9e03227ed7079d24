"""Half-migrated pages: what a race needs to find one in the list, and to bring it to a step of its move."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from migratectl.runs import Run
from migratectl.storage import holds, pages, resident
from migratectl.storage.connection import Connection
from migratectl.storage.pagelist import Seen
from migratectl.storage.reach import covering_ptes
from migratectl.storage.work import pick, write
from migratectl.uapi import NEVER, PG


class Listed(NamedTuple):
    """A run of the list that a command can touch; ``seen`` are the addresses or indexes by which it would."""

    page: int
    run: Run
    seen: Run
    state: int


_COLUMNS: Final = "i.page, i.addr, i.step, i.count"


def _listed(rows: Iterable[Any]) -> list[Listed]:
    return [Listed(row[0], Run(*row[1:4]), Run(row[4], row[2], row[3]), row[5]) for row in rows]


def mapped_by(conn: Connection, mm: int) -> list[Listed]:
    """The runs of the list that an address space maps, by its own addresses, swap ptes included."""
    query = f"""SELECT {_COLUMNS}, t.addr, i.state FROM iso i CROSS JOIN ptes t ON t.page = i.page
WHERE t.mm = ? ORDER BY t.addr"""
    return _listed(conn.execute(query, (mm,)))


def cached_in(conn: Connection, mapping: int) -> list[Listed]:
    """The runs of the list that belong to a file, by index."""
    query = f"""SELECT {_COLUMNS}, p.first, i.state FROM iso i CROSS JOIN pages p ON p.id = i.page
WHERE p.mapping = ? ORDER BY p.first"""
    return _listed(conn.execute(query, (mapping,)))


def everything(conn: Connection) -> list[Listed]:
    """All runs of the list, by address."""
    return _listed(conn.execute(f"SELECT {_COLUMNS}, i.addr, i.state FROM iso i ORDER BY i.addr"))


def cut_page(conn: Connection, page: int, ordinal: int) -> int:
    """Cut one page out of a run of the state; its row. The list does not know of it and has to be gathered again."""
    count = conn.execute("SELECT count FROM pages WHERE id = ?", (page,)).scalar_one()
    if ordinal:
        (page,) = pages.split(conn, [(page, ordinal)])
    if count - ordinal > 1:
        pages.split(conn, [(page, 1)])
    return page


def enter_swap_cache(conn: Connection, page: int) -> bool:
    """Step 3 for an anonymous page: a slot of the first area that has one. Whether it owns a swap entry now."""
    if conn.execute("SELECT area FROM pages WHERE id = ?", (page,)).scalar() is not None:
        return True
    area = holds.area_with_room(conn)
    if area is not None:
        flags = int(PG.DIRTY | PG.UPTODATE)
        write(conn, "UPDATE pages SET area = ?, flags = flags | ? WHERE id = ?", (area.id, flags, page))
        write(conn, "UPDATE swap_areas SET used = used + 1 WHERE id = ?", (area.id,))
    return area is not None


def take_ptes(conn: Connection, page: int) -> None:
    """Step 5: ptes of an anonymous page become swap ptes, those of a file's go; page and ring keep their dirty bit."""
    dirty = f"UPDATE pages SET flags = flags | {int(PG.DIRTY)} WHERE id = ?1 AND EXISTS"
    write(conn, f"{dirty} (SELECT 1 FROM ptes WHERE page = ?1 AND dirty)", (page,))
    ring = "UPDATE buffers SET dirty = 1 WHERE page = ?1 AND NOT dirty AND EXISTS"
    write(conn, f"{ring} (SELECT 1 FROM ptes WHERE page = ?1 AND dirty)", (page,))
    anon = "SELECT m.kind FROM pages p JOIN mappings m ON m.id = p.mapping WHERE p.id = ?"
    resident.leave(conn, "t.page = ?", (page,))
    if conn.execute(anon, (page,)).scalar_one() == "anon":
        write(conn, "UPDATE ptes SET present = 0, young = 0, dirty = 0, writable = 0 WHERE page = ?", (page,))
    else:
        write(conn, "DELETE FROM ptes WHERE page = ?", (page,))
        write(conn, "UPDATE pages SET outside = 0 WHERE id = ?", (page,))


def hold_back(conn: Connection, page: int, release: int) -> None:
    """A reference of somebody who waits: the count test fails until a pass."""
    write(conn, "UPDATE pages SET pin = max(coalesce(pin, 0), ?), pins = pins + 1 WHERE id = ?", (release, page))


def references(conn: Connection, page: int) -> Seen:
    """The references that tasks hold on a page row, and its ptes; none where it is gone."""
    query = "SELECT p.pins, (SELECT count(*) FROM ptes x WHERE x.page = p.id) + p.outside FROM pages p WHERE p.id = ?"
    row = conn.execute(query, (page,)).one_or_none()
    return Seen(0, 0) if row is None else Seen(*row)


def lock(conn: Connection, page: int) -> None:
    """The migration holds the page lock."""
    write(conn, "UPDATE pages SET lock = ? WHERE id = ?", (NEVER, page))


def release(conn: Connection, rows: Iterable[int]) -> None:
    """Locks and pins are again what the holds of tasks say."""
    pick(conn, rows)
    holds.refresh(conn)


def pick_vanished(conn: Connection) -> None:
    """Fill ``picked`` with the isolated pages that nobody maps any more; the migration holds them no longer."""
    conn.execute("DELETE FROM picked")
    conn.execute(
        """INSERT INTO picked SELECT p.id FROM pages p WHERE p.parked > 1 AND p.pins = 0
 AND NOT EXISTS (SELECT 1 FROM ptes t WHERE t.page = p.id) AND NOT EXISTS (SELECT 1 FROM buffers b WHERE b.page = p.id)
 AND (SELECT m.kind FROM mappings m WHERE m.id = p.mapping) IN ('anon', 'none')"""
    )
    write(conn, "UPDATE pages SET parked = parked & 1 WHERE id IN (SELECT page FROM picked)")


class Residue(NamedTuple):
    """Whether a page row is in the swap cache, and which (mm, address) map it."""

    cached: bool
    ptes: frozenset[tuple[int, int]]


def residue(conn: Connection, page: int) -> Residue:
    """What a page row has of that; nothing where it is gone."""
    area = conn.execute("SELECT area FROM pages WHERE id = ?", (page,)).scalar()
    ptes = conn.execute("SELECT mm, addr FROM ptes WHERE page = ? AND present", (page,))
    return Residue(area is not None, frozenset((mm, addr) for mm, addr in ptes))


def listed_state(conn: Connection, page: int) -> int | None:
    """The state of a page row in the list; None where it is not there."""
    found = conn.execute("SELECT state FROM iso WHERE page = ?", (page,)).scalar()
    return None if found is None else int(found)


def is_mapped(conn: Connection, mm: int, address: int) -> bool:
    """Whether an address space has a present pte at an address; it may lie within a run."""
    query = f"""SELECT present FROM ptes WHERE mm = ?1 AND addr = ?2 UNION ALL
SELECT t.present {covering_ptes("?1", "?2")} AND (?2 - t.addr) % p.step = 0"""
    return bool(conn.execute(query, (mm, address)).scalar())


def kept_tables(conn: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """What the work tables of a command remember over its lists, for restore_tables() after another command ran."""
    return {name: [tuple(row) for row in conn.execute(f"SELECT * FROM {name}")] for name in _REMEMBER}


def restore_tables(conn: Connection, kept: dict[str, list[tuple[Any, ...]]]) -> None:
    """Put back what kept_tables() gave."""
    for name, rows in kept.items():
        conn.execute(f"DELETE FROM {name}")
        if rows:
            marks = ", ".join("?" * len(rows[0]))
            conn.execute_many(f"INSERT INTO {name} VALUES ({marks})", rows)


_REMEMBER: Final = ("met", "travelled")
