"""How the commands tell what they touch: each declares one of these beside its decorator, over its own parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from migratectl.spans import Size, Span
from migratectl.touches import WHOLE_FILE, Manner, Touches

Telling = Callable[..., Touches]
"""Takes the parameters of a command by name."""


def anything(manner: Manner = Manner.PLAIN) -> Telling:
    """The command names neither task nor file: any page will do."""
    return lambda **_: Touches(manner=manner)


def of_task(manner: Manner = Manner.PLAIN) -> Telling:
    """The command is about the task ``pid`` and, where it has a ``span``, that range of it; without pid about any."""

    def tell(pid: int | None, span: Span | None = None, **_: Any) -> Touches:
        return Touches(pid=pid, spans=() if span is None else (span,), manner=manner)

    return tell


def of_file(path: str, part: tuple[Size, Size] | None = None, **_: Any) -> Touches:
    """The command is about the file ``path`` and, where it has a ``part``, that part of it."""
    return Touches(file=path, part=part or WHOLE_FILE)


def of_swap_area(name: str, **_: Any) -> Touches:
    """The command is about the swap area ``name``."""
    return Touches(swap_area=name)
