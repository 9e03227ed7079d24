"""Results to text: JSON, aligned columns for a pipe, a table of rich for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TextIO

from migratectl.render.json import to_json
from migratectl.render.parts import safe
from migratectl.render.plain import to_plain
from migratectl.render.report import failure, report
from migratectl.render.terminal import looks

__all__ = ["failure", "to_json", "to_text"]


def to_text(document: Mapping[str, Any], stream: TextIO, color: str) -> str:
    """
    What a reader sees of a result.

    Args:
        document: The result.
        stream: Where the text will go; decides between a table and plain columns.
        color: ``auto``, ``always`` or ``never``.

    Returns:
        The text with its last newline; empty where there is nothing to say.
    """
    look = looks(stream, color)
    parts = [safe(part, terminal=stream.isatty()) for part in report(document)]
    if look.boxes:
        from migratectl.render.table import to_table  # noqa: PLC0415 - loads rich, which a pipe does without

        return to_table(parts, colored=look.colors)
    return to_plain(parts, colored=look.colors)
