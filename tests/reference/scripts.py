"""Random scripts for the tool and the model, each from a seed, and how one that fails is made smaller."""

from __future__ import annotations

import random
from collections.abc import Callable

from hypothesis import strategies as st

from .draws import TEMPORARY, Script
from .machine import Unmodelled
from .model import Model
from .writer import Writer

__all__ = ["SEEDS", "TEMPORARY", "Script", "rewritten", "script_of", "smallest"]


def script_of(seed: int, profile: str | None = None, most: int = 36) -> Script:
    """The script of a seed: at least 5 commands, each followed by a look at what it left behind."""
    writer = Writer(random.Random(seed), profile)
    writer.write(most)
    return writer.script


SEEDS = st.integers(0, 2**63)
"""Scripts for hypothesis: it chooses seeds only. What fails is made smaller by `smallest`, line by line."""


def rewritten(chunk: int, lines: list[list[str]]) -> Script | None:
    """These lines with what the model says of them; None where it says nothing."""
    model = Model(chunk)
    try:
        return Script(chunk, lines, [model.run(argv) for argv in lines])
    except Unmodelled:
        return None


def smallest(script: Script, wrong: Callable[[Script], bool]) -> Script:
    """The script without all lines that `wrong` does not need, in pieces of half its length down to one line."""
    size = len(script.lines) // 2
    while size:
        start = 1
        while start < len(script.lines):
            lines = script.lines[:start] + script.lines[start + size :]
            shorter = rewritten(script.chunk, lines)
            if shorter is not None and wrong(shorter):
                script = shorter
            else:
                start += size
        size //= 2
    return script
