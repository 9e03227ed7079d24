"""The small story of the README: a task whose CPU moved away from its memory."""

from __future__ import annotations

from typing import Final

STORY: Final[tuple[tuple[str, ...], ...]] = (
    ("init", "--nodes", "4", "--memory", "1G", "--distance", "10,20"),
    ("task", "create", "--pid", "4711", "--name", "db", "--node", "0"),
    ("mmap", "4711", "512M", "--label", "buffers"),
    ("fault", "4711", "buffers", "--write"),
    ("task", "run-on", "4711", "--node", "3"),
    ("numa-maps", "4711"),
    ("page", "pin", "4711", "buffers+16p@64p"),
    ("page", "lock", "4711", "buffers+2p@4096p", "--passes", "2"),
    ("migrate-pages", "4711", "0", "3", "--dry-run"),
    ("migrate-pages", "4711", "0", "3"),
    ("page", "unpin", "4711"),
    ("migrate-pages", "4711", "0", "3"),
    ("numa-maps", "4711"),
    ("check",),
)
"""The commands, run one after the other on a state file of their own."""
