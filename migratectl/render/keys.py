"""Which keys the document of each command has: the same ones whatever becomes of it, null where there is nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

HEAD: Final = ("format", "command", "profile", "exit", "return", "errno", "message", "committed", "dry_run")
"""Every document begins with these."""

_MIGRATION: Final = (
    *("moved", "moved_twice", "swapped", "failed", "skipped", "nodes", "moves", "failures", "skips", "passes"),
    *("residue", "io", "trace", "calls", "races", "notes"),
)
_TASK: Final = ("pid", "name", "uid", "cpu", "node", "cpuset", "cpus")
_SHORT: Final = ("at", "signal")
_FILE: Final = ("file", "fs", "journal", "method", "ino", "size", "ring", "cached", "dirty", "nodes")
_HOLD: Final = ("pid", "pages", "hold", "notes")

KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "init": ("nodes",),
    "import": ("nodes", "tasks", "assumptions"),
    "import-numa-maps": (*_TASK, "vmas", "pages", "nodes", "assumptions"),
    "check": ("ok", "checked", "violations"),
    "batch": (),
    "demo": ("steps",),
    "state hash": ("hash",),
    "log": ("entries",),
    "log show": ("entry", "argv", "time", "result"),
    "db current": ("revision", "newest", "current", "known"),
    "db upgrade": ("from", "to", "revisions"),
    "node list": ("nodes",),
    "node offline": ("node", *_MIGRATION, "assumptions"),
    "node online": ("node", "online"),
    "node weight": ("node", "weight"),
    "task create": _TASK,
    "task set": _TASK,
    "task list": ("tasks",),
    "task run-on": _TASK,
    "task exit": (*_TASK, "freed"),
    "fork": _TASK,
    "mmap": ("pid", "addr", "end", "pages", "label", "faults", *_SHORT),
    "munmap": ("pid", "pages", "freed"),
    "mlock": ("pid", "pages", "faults", *_SHORT),
    "munlock": ("pid", "pages"),
    "mprotect": ("pid", "pages", "faults", *_SHORT),
    "madvise": ("pid", "pages", "freed", "swapped", "dropped", "unmapped"),
    "fault": ("pid", "faults", "nodes", "major", *_SHORT),
    "page lock": _HOLD,
    "page unlock": _HOLD,
    "page pin": _HOLD,
    "page unpin": _HOLD,
    "page writeback": _HOLD,
    "page unwriteback": _HOLD,
    "page park": _HOLD,
    "page unpark": _HOLD,
    "page buffers": ("pid", "pages", "state"),
    "file create": _FILE,
    "file list": ("files",),
    "file read": ("file", "index", "pages", "read", "cached", "nodes"),
    "file write": ("file", "index", "pages", "read", "cached", "nodes"),
    "file truncate": (*_FILE, "freed", "orphaned"),
    "file sync": (*_FILE, "written"),
    "swap on": ("areas",),
    "swap out": ("pid", *_MIGRATION),
    "swap off": ("name", "read", "nodes"),
    "set-mempolicy": ("pid", "mode", "nodes"),
    "get-mempolicy": ("pid", "mode", "nodes", "flags", "scope", "node"),
    "mbind": ("pid", *_MIGRATION),
    "migrate-pages": ("pid", *_MIGRATION, "faults", "slots", *_SHORT),
    "move-pages": ("pid", "status", *_MIGRATION),
    "cpuset create": ("name", "mems", "cpus", "memory_migrate", "cpu_exclusive", "mem_exclusive", "tasks"),
    "cpuset set": ("cpuset", *_MIGRATION),
    "cpuset move": ("pid", "cpuset", *_MIGRATION),
    "cpuset read": ("cpuset", "file", "value"),
    "cpuset write": ("pid", "cpuset", "file", "value", *_MIGRATION),
    "cpuset list": ("cpusets",),
    "cpuset remove": ("cpuset",),
    "show nodes": ("nodes",),
    "show tasks": ("tasks",),
    "show vmas": ("pid", "vmas"),
    "show pages": ("pid", "vmas"),
    "show mappings": ("pid", "mappings"),
    "show buffers": ("pid", "buffers"),
    "show policies": ("pid", "policies"),
    "show cpusets": ("cpusets",),
    "show swap": ("pid", "areas", "pages"),
    "explain": ("pid", "flags", "from", "refused", "groups", "placed", "pages", "total"),
    "numa-maps": ("pid", "era", "lines"),
    "numastat": ("pid", "name", "nodes", "total"),
    "hardware": ("nodes",),
    "locality": ("pid", "tasks", "total"),
}
"""What the document of a command has besides; a test holds it against what the commands answer."""


def complete(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with every key of its command, in their order; the key ``text``, for readers, is left out."""
    known = (*HEAD, *KEYS.get(str(document["command"]), ()))
    more = (key for key in document if key not in known and key != "text")
    return {key: document.get(key) for key in (*known, *more)}
