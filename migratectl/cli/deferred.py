"""
The layers below, loaded when a command first needs one: help and completion do without them.

The imports are the list of them, for readers and the type checker; at run time a name is looked for where they are.
"""

# ruff: noqa: F401 - others use what is imported here
# mypy: implicit-reexport

from __future__ import annotations

from importlib import import_module
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

else:

    def __getattr__(name: str) -> ModuleType:
        for package in ("migratectl.operations", "migratectl.storage", "migratectl"):
            path = f"{package}.{name}"
            try:
                module = globals()[name] = import_module(path)
            except ModuleNotFoundError as error:
                if error.name != path:
                    raise
            else:
                return module
        raise AttributeError(name)
