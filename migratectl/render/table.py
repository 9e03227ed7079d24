"""Tables for a terminal, drawn by rich; never for a pipe."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from io import StringIO

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from migratectl.render.parts import Line, Part, Table, Verbatim


def to_table(parts: Iterable[Part], *, colored: bool, width: int | None = None) -> str:
    """
    Lay out a report for a terminal.

    Args:
        parts: From top to bottom.
        colored: Colours are wanted.
        width: Columns of the terminal; None asks it.

    Returns:
        The text with its last newline; cells that do not fit are folded, not cut.
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
            case Table():
                console.print(_boxed(part))
    return buffer.getvalue()


def _boxed(table: Table) -> RichTable:
    boxed = RichTable(box=box.ROUNDED, header_style="bold")
    for heading in table.headings:
        boxed.add_column(heading, justify="left" if heading in table.left else "right", overflow="fold")
    for row in table.rows:
        boxed.add_row(*(Text(cell) for cell in row))
    return boxed
