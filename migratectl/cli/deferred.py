"""The layers below, loaded when a command first needs one: help and completion do without them."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from migratectl import render
    from migratectl.operations import (
        caller,
        check,
        cpuset,
        cpuset_files,
        db,
        demo,
        explain,
        fault,
        file,
        fork,
        get_mempolicy,
        hardware,
        holds,
        hotplug,
        import_numa_maps,
        import_tree,
        init,
        inventory,
        locality,
        log,
        madvise,
        mbind,
        mempolicy,
        migrate_pages,
        mm,
        move_pages,
        numa_maps,
        numastat,
        race,
        show,
        state_hash,
        swap,
        tasks,
        tracing,
        via_swap,
        watch,
        weights,
    )
    from migratectl.storage import engine, facts, journal

__all__ = [
    "caller",
    "check",
    "cpuset",
    "cpuset_files",
    "db",
    "demo",
    "engine",
    "explain",
    "facts",
    "fault",
    "file",
    "fork",
    "get_mempolicy",
    "hardware",
    "holds",
    "hotplug",
    "import_numa_maps",
    "import_tree",
    "init",
    "inventory",
    "journal",
    "locality",
    "log",
    "madvise",
    "mbind",
    "mempolicy",
    "migrate_pages",
    "mm",
    "move_pages",
    "numa_maps",
    "numastat",
    "race",
    "render",
    "show",
    "state_hash",
    "swap",
    "tasks",
    "tracing",
    "via_swap",
    "watch",
    "weights",
]

_HOMES = dict.fromkeys(("engine", "facts", "journal"), "migratectl.storage") | {"render": "migratectl"}


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(name)
    module = importlib.import_module(f"{_HOMES.get(name, 'migratectl.operations')}.{name}")
    globals()[name] = module
    return module
