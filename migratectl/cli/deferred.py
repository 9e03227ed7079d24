"""The layers below, loaded when a command first needs one: help and completion do without SQLAlchemy."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from migratectl.operations import (
        caller,
        check,
        demo,
        fault,
        holds,
        import_tree,
        init,
        mempolicy,
        migrate_pages,
        mm,
        move_pages,
        numa_maps,
        show,
        state_hash,
        swap,
        tasks,
    )
    from migratectl.storage import engine, facts, journal

__all__ = [
    "caller",
    "check",
    "demo",
    "engine",
    "facts",
    "fault",
    "holds",
    "import_tree",
    "init",
    "journal",
    "mempolicy",
    "migrate_pages",
    "mm",
    "move_pages",
    "numa_maps",
    "show",
    "state_hash",
    "swap",
    "tasks",
]

_STORAGE = ("engine", "facts", "journal")


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(name)
    layer = "storage" if name in _STORAGE else "operations"
    module = importlib.import_module(f"migratectl.{layer}.{name}")
    globals()[name] = module
    return module
