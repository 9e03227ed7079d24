"""
How many pages of an address space are present on each node: counted where ptes and pages change, never anew.

Whoever makes ptes present, takes them away or gives their pages another node does so within counted(), which counts
what it is about before and after, or says what it knows already. ``check`` counts everything again. The count follows
from the ptes, so that no change of it is a change of the state.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from migratectl.storage.connection import Connection, Parameters

_PRESENT: Final = "ptes t CROSS JOIN pages p ON p.id = t.page WHERE t.present AND p.node IS NOT NULL"
_ADD: Final = "ON CONFLICT DO UPDATE SET pages = pages + excluded.pages"
_DROP_NONE: Final = "DELETE FROM resident WHERE pages = 0"
"""There are few at any time, and an index of them."""


def by_node(conn: Connection, mm: int) -> dict[int, int]:
    """Present pages of an address space on every node that has some."""
    query = "SELECT node, pages FROM resident WHERE mm = ? ORDER BY node"
    return {row[0]: row[1] for row in conn.execute(query, (mm,))}


def add(conn: Connection, mm: int, pages: Mapping[int, int]) -> None:
    """Count pages by node as present in an address space (negative: no longer)."""
    rows = [(mm, node, nr) for node, nr in pages.items() if nr]
    if rows:
        conn.execute_many(f"INSERT INTO resident(mm, node, pages) VALUES (?, ?, ?) {_ADD}", rows)
    if any(nr < 0 for _, _, nr in rows):
        conn.execute(_DROP_NONE)


def enter(conn: Connection, scope: str, values: Parameters) -> None:
    """Count the present ptes ``t`` of a scope, their pages being ``p``."""
    _count(conn, "", scope, values)


def leave(conn: Connection, scope: str, values: Parameters) -> None:
    """Count the present ptes ``t`` of a scope no longer; they are about to go."""
    _count(conn, "-", scope, values)
    conn.execute(_DROP_NONE)


def _count(conn: Connection, sign: str, scope: str, values: Parameters) -> None:
    found = f"SELECT t.mm, p.node, {sign}sum(p.count) FROM {_PRESENT} AND {scope} GROUP BY t.mm, p.node"
    conn.execute(f"INSERT INTO resident(mm, node, pages) {found} {_ADD}", values)


@contextmanager
def counted(conn: Connection, scope: str, values: Parameters = ()) -> Iterator[None]:
    """
    Count the ptes of a scope before and after what is done to them.

    Args:
        conn: The connection of the transaction.
        scope: A condition on ptes ``t`` and their pages ``p`` that means the same rows before and after.
        values: Its values, by position.
    """
    leave(conn, scope, values)
    yield
    enter(conn, scope, values)


def count_anew(conn: Connection, mms: Iterable[int]) -> None:
    """Count address spaces whose ptes were written in one go."""
    listed = "mm IN (SELECT value FROM json_each(?))"
    values = (json.dumps([*mms]),)
    conn.execute(f"DELETE FROM resident WHERE {listed}", values)
    enter(conn, f"t.{listed}", values)


def forget(conn: Connection, mm: int) -> None:
    """Forget an address space that is gone."""
    conn.execute("DELETE FROM resident WHERE mm = ?", (mm,))
