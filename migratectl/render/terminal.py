"""Whether a stream gets boxes and colours."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TextIO


@dataclass(frozen=True)
class Look:
    """
    How a stream is written to.

    Args:
        boxes: Tables are drawn by rich, as wide as the terminal.
        colors: Escape sequences mark what matters.
    """

    boxes: bool
    colors: bool


def looks(stream: TextIO, color: str) -> Look:
    """
    Decide by option, environment and stream, in this order.

    Args:
        stream: Where the text goes.
        color: The option: ``auto``, ``always`` or ``never``.

    Returns:
        Boxes only on a terminal. Colours where the option says ``always``; else only on a terminal, and there NO_COLOR
        forbids them and CLICOLOR_FORCE or FORCE_COLOR overrule TERM=dumb.
    """
    terminal = stream.isatty()
    dumb = os.environ.get("TERM") == "dumb"
    return Look(boxes=terminal and not dumb, colors=_colors(color, terminal, dumb))


def _colors(color: str, terminal: bool, dumb: bool) -> bool:
    if color != "auto":
        return color == "always"
    if not terminal or os.environ.get("NO_COLOR"):
        return False
    return not dumb or any(os.environ.get(name, "0") not in ("", "0") for name in ("CLICOLOR_FORCE", "FORCE_COLOR"))
