"""Lines and aligned columns: the same bytes whatever the terminal, nothing cut, no blanks at the end of a line."""

from __future__ import annotations

from collections.abc import Iterable

from migratectl.render.parts import Line, Part, Table, Verbatim
from migratectl.wording import cell_width

_BOLD, _RED, _PLAIN = "\033[1m", "\033[31m", "\033[0m"


def to_plain(parts: Iterable[Part], *, colored: bool = False) -> str:
    """
    Lay out a report.

    Args:
        parts: From top to bottom.
        colored: Mark headings and what went wrong with escape sequences.

    Returns:
        The text with its last newline, empty without parts.
    """
    return "".join(_laid_out(part, colored) for part in parts)


def _laid_out(part: Part, colored: bool) -> str:
    match part:
        case Verbatim(text):
            return text
        case Line(text, bad):
            return f"{_RED}{text}{_PLAIN}\n" if colored and bad else f"{text}\n"
        case Table():
            heading, *rows = _columns(part)
            return "".join(f"{row}\n" for row in [f"{_BOLD}{heading}{_PLAIN}" if colored else heading, *rows])


def _columns(table: Table) -> list[str]:
    rows = [table.headings, *table.rows]
    widths = [max(cell_width(row[column]) for row in rows) for column in range(len(table.headings))]
    left = [heading in table.left for heading in table.headings]
    return [
        "  ".join(
            _aligned(cell, width, to_left) for cell, width, to_left in zip(row, widths, left, strict=True)
        ).rstrip()
        for row in rows
    ]


def _aligned(cell: str, width: int, to_left: bool) -> str:
    blanks = " " * (width - cell_width(cell))
    return cell + blanks if to_left else blanks + cell
