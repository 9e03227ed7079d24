"""Tables for a terminal, drawn by rich; never for a pipe."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from io import StringIO
from typing import Final, Literal

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from migratectl.render.parts import WORDS, Line, Part, Table, Verbatim
from migratectl.wording import cell_width

PLACES: Final = frozenset({"addr", "end", "errno", "kind", "state"})
"""Columns of words that are never folded."""

FOLDED: Final = 12
"""Words are not folded to fewer characters."""


def to_table(parts: Iterable[Part], *, colored: bool, width: int | None = None) -> str:
    """
    Lay out a report for a terminal.

    Args:
        parts: From top to bottom.
        colored: Colours are wanted.
        width: Columns of the terminal; None asks it.

    Returns:
        The text with its last newline; nothing is cut. Words that do not fit are folded, numbers and addresses never;
        a table that is too wide even so becomes one list of headings and cells a row.
    """
    buffer = StringIO()
    console = Console(
        file=buffer,
        width=width or shutil.get_terminal_size().columns,
        force_terminal=True,
        color_system="standard" if colored else None,
        no_color=not colored,
        highlight=False,
    )
    for part in parts:
        match part:
            case Verbatim(text):
                buffer.write(text)
            case Line(text, bad):
                console.print(Text(text, style="red" if bad else ""), soft_wrap=True)
            case Table() if _narrowest(part) <= console.width:
                console.print(_boxed(part))
            case Table():
                for row in part.rows:
                    console.print(_record(part, row))
    return buffer.getvalue()


def _folds(heading: str) -> bool:
    return heading in WORDS and heading not in PLACES


def _widths(table: Table) -> Iterable[int]:
    """The widest cell of each column."""
    return (max(map(cell_width, cells)) for cells in zip(table.headings, *table.rows, strict=True))


def _narrowest(table: Table) -> int:
    """Columns of a terminal that a table needs at least: the border, a blank on both sides of each cell, the cells."""
    columns = zip(table.headings, _widths(table), strict=True)
    return 1 + sum(3 + (min(width, FOLDED) if _folds(heading) else width) for heading, width in columns)


def _boxed(table: Table) -> RichTable:
    boxed = RichTable(box=box.ROUNDED, header_style="bold")
    for heading, width in zip(table.headings, _widths(table), strict=True):
        side: Literal["left", "right"] = "left" if heading in table.left else "right"
        folds = _folds(heading)
        least = min(width, FOLDED) if folds else width
        boxed.add_column(heading, justify=side, overflow="fold", no_wrap=not folds, min_width=least)
    for row in table.rows:
        boxed.add_row(*(Text(cell) for cell in row))
    return boxed


def _record(table: Table, row: tuple[str, ...]) -> RichTable:
    record = RichTable(box=box.ROUNDED, show_header=False)
    record.add_column(style="bold", no_wrap=True)
    record.add_column(overflow="fold")
    for heading, cell in zip(table.headings, row, strict=True):
        record.add_row(heading, Text(cell))
    return record
