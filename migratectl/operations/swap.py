"""Swap areas."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from migratectl.errors import Busy, InvalidArgument
from migratectl.operations.init import slots_of
from migratectl.spans import Size
from migratectl.storage import facts, holds


def swap_on(conn: Connection, name: str, size: Size) -> dict[str, Any]:
    """
    Add a swap area, used after those that are there.

    Raises:
        Busy: An area of that name is in use (as swapon(2) answers).
        InvalidArgument: It would have no slot.
    """
    if not name or not name.isprintable():
        raise InvalidArgument("swap area", "its name is empty or has characters that cannot be printed")
    slots = slots_of(size, facts.page_size(conn))
    if slots < 1:
        raise InvalidArgument(f"swap area '{name}'", f"{size} is less than a page")
    if any(area.name == name for area in holds.swap_areas(conn)):
        raise Busy(f"swap area '{name}'", "in use already; take another name")
    holds.add_swap_area(conn, name, slots)
    return {"return": 0, "errno": None, "areas": [swap_row(area) for area in holds.swap_areas(conn)]}


def swap_row(area: holds.SwapArea) -> dict[str, Any]:
    """A swap area as documents show it; in slots of a page each."""
    return {"name": area.name, "slots": area.slots, "used": area.used, "free": area.slots - area.used}
