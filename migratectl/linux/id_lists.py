"""Files that hold a set of ids of nodes or CPUs: a list such as ``0-2,5``, or a mask."""

from __future__ import annotations

import re
from typing import Final

from migratectl.errors import InputFileError
from migratectl.linux.tree import Tree
from migratectl.nodemask import Nodemask

MAX_CPUS: Final = 1 << 16
"""No id is as large."""

_LIST: Final = re.compile(r"(?:[0-9]{1,5}(?:-[0-9]{1,5})?(?:,[0-9]{1,5}(?:-[0-9]{1,5})?)*)?")


def read_list(tree: Tree, name: str) -> Nodemask | None:
    """
    The set of a file such as ``0-2,5``; None where the file is missing.

    Raises:
        InputFileError: It is no such list; names file and line.
    """
    text = tree.read(name)
    return None if text is None else parse_list(text, tree.where(name))


def parse_list(text: str, where: str) -> Nodemask:
    """The set of a text such as ``0-2,5``. Raises InputFileError, which *where* and its first line begin."""
    text = text.rstrip("\n\0 ")
    if not _LIST.fullmatch(text):
        raise InputFileError(f"{where}: line 1: {text[:60]!r} is no list such as 0-2,5")
    try:
        return _limited(Nodemask.parse(text))
    except ValueError as error:
        raise InputFileError(f"{where}: line 1: {error}") from None


def read_mask(tree: Tree, name: str) -> Nodemask | None:
    """
    The set of a file such as ``00000000,0000000f``; None where the file is missing.

    Raises:
        InputFileError: It is no such mask; names file and line.
    """
    text = tree.read(name)
    if text is None:
        return None
    try:
        return _limited(Nodemask.parse_mask(text.rstrip("\n\0 ")))
    except ValueError as error:
        raise InputFileError(f"{tree.where(name)}: line 1: {error}") from None


def _limited(ids: Nodemask) -> Nodemask:
    if ids.bits >> MAX_CPUS:
        raise ValueError(f"ids go beyond {MAX_CPUS - 1}")
    return ids
