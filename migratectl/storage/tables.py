"""
The tables of a state file, as SQLAlchemy Core metadata: the one truth for ``schema.sql`` and the migrations.

A row of ``pages`` is a run: ``count`` pages of one mapping at the indexes ``first + k*step`` that share every
column. A row of ``ptes`` maps a whole run at the addresses ``addr + k*step``. All indexes and addresses are page
numbers, never bytes.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    DDL,
    CheckConstraint,
    Column,
    Computed,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    event,
    text,
)

metadata = MetaData()
STRICT: dict[str, Any] = {"sqlite_strict": True}
KEYED: dict[str, Any] = {"sqlite_strict": True, "sqlite_with_rowid": False}
NEVER_REUSED: dict[str, Any] = {"sqlite_strict": True, "sqlite_autoincrement": True}


def _key(name: str = "id") -> Column[Any]:
    return Column(name, Integer, primary_key=True)


def _integer(name: str, *more: Any, null: bool = False, default: int | None = None) -> Column[Any]:
    return Column(name, Integer, *more, nullable=null, server_default=None if default is None else str(default))


def _text(name: str, *more: Any, null: bool = False, default: str | None = None) -> Column[Any]:
    return Column(name, Text, *more, nullable=null, server_default=default)


fact = Table(
    "facts",
    metadata,
    _key(),
    _text("format"),
    _integer("page_size"),
    _text("profile"),
    _text("possible", default=""),
    CheckConstraint("id = 1"),
    CheckConstraint("page_size >= 512 AND page_size & (page_size - 1) = 0"),
    CheckConstraint("profile IN ('v9', 'v9-posted', 'modern')"),
    **STRICT,
)

node = Table(
    "nodes",
    metadata,
    _key(),
    _integer("online", default=1),
    _text("cpus"),
    _text("zonelist"),
    _integer("capacity"),
    _integer("other", default=0),
    _integer("used", default=0),
    _integer("numa_hit", default=0),
    _integer("numa_miss", default=0),
    _integer("numa_foreign", default=0),
    _integer("interleave_hit", default=0),
    _integer("local_node", default=0),
    _integer("other_node", default=0),
    _integer("weight", CheckConstraint("weight BETWEEN 1 AND 255"), default=1),
    CheckConstraint("other >= 0 AND used >= 0 AND other + used <= capacity"),
    **STRICT,
)

distance = Table(
    "distances",
    metadata,
    _integer("source", ForeignKey("nodes.id")),
    _integer("dest", ForeignKey("nodes.id")),
    _integer("distance", CheckConstraint("distance > 0")),
    PrimaryKeyConstraint("source", "dest"),
    **KEYED,
)

cpuset = Table(
    "cpusets",
    metadata,
    _key(),
    _text("name"),
    _text("cpus"),
    _text("mems"),
    _integer("cpu_exclusive", default=0),
    _integer("mem_exclusive", default=0),
    _integer("memory_migrate", default=0),
    _text("kept", default=""),
    Index("cpusets_name", "name", unique=True),
    **STRICT,
)

policy = Table(
    "policies",
    metadata,
    _key(),
    _text("mode"),
    _text("nodes"),
    _text("flags"),
    _text("mems"),
    Index("policies_value", "mode", "nodes", "flags", "mems", unique=True),
    **STRICT,
)

mapping = Table(
    "mappings",
    metadata,
    _key(),
    _text("kind"),
    _text("name"),
    _text("fs", null=True),
    _text("journal", null=True),
    _text("method"),
    _integer("ino", null=True),
    _integer("size", null=True),
    _integer("ring", default=0),
    CheckConstraint("kind IN ('anon', 'zero', 'file', 'shm', 'none')"),
    CheckConstraint("method IN ('page', 'buffer', 'fail', 'none')"),
    CheckConstraint("ring BETWEEN 0 AND 8"),
    Index("mappings_name", "kind", "name"),
    **NEVER_REUSED,
)

shared_policy = Table(
    "shared_policies",
    metadata,
    _integer("mapping", ForeignKey("mappings.id")),
    _integer("first"),
    _integer("end"),
    _integer("policy", ForeignKey("policies.id")),
    _integer("mm", null=True),
    _integer("delta", null=True),
    PrimaryKeyConstraint("mapping", "first"),
    CheckConstraint('first < "end"'),
    **KEYED,
)

mm = Table(
    "mms",
    metadata,
    _key(),
    _integer("anon", ForeignKey("mappings.id")),
    Index("mms_anon", "anon"),
    **NEVER_REUSED,
)

task = Table(
    "tasks",
    metadata,
    _key("pid"),
    _text("name"),
    _integer("uid"),
    _integer("cpu"),
    _integer("cpuset", ForeignKey("cpusets.id")),
    _integer("mm", ForeignKey("mms.id"), null=True),
    _integer("caps"),
    _integer("dumpable", default=1),
    _integer("policy", ForeignKey("policies.id"), null=True),
    _integer("il_next", null=True),
    _integer("il_weight", default=0),
    _integer("tgid"),
    _text("affinity", default=""),
    _integer("memlock", null=True),
    Index("tasks_mm", "mm"),
    **STRICT,
)

vma = Table(
    "vmas",
    metadata,
    _integer("mm", ForeignKey("mms.id")),
    _integer("start"),
    _integer("end"),
    _integer("mapping", ForeignKey("mappings.id")),
    _integer("delta", default=0),
    _integer("flags"),
    _integer("policy", ForeignKey("policies.id"), null=True),
    _integer("order", default=0),
    _integer("anon_vma", default=0),
    _integer("forked", default=0),
    PrimaryKeyConstraint("mm", "start"),
    CheckConstraint('start < "end" AND start >= 0'),
    Index("vmas_mapping", "mapping"),
    **KEYED,
)

label = Table(
    "labels",
    metadata,
    _integer("mm", ForeignKey("mms.id")),
    _text("name"),
    _integer("start"),
    _integer("end"),
    PrimaryKeyConstraint("mm", "name"),
    CheckConstraint('start < "end"'),
    **KEYED,
)

word = Table(
    "words",
    metadata,
    _integer("mm", ForeignKey("mms.id")),
    _integer("start"),
    _text("text"),
    PrimaryKeyConstraint("mm", "start"),
    **KEYED,
)

swap_area = Table(
    "swap_areas",
    metadata,
    _key(),
    _text("name"),
    _integer("slots"),
    _integer("used", default=0),
    CheckConstraint("used >= 0 AND used <= slots"),
    Index("swap_areas_name", "name", unique=True),
    **STRICT,
)

page = Table(
    "pages",
    metadata,
    _key(),
    _integer("mapping", ForeignKey("mappings.id")),
    _integer("first"),
    _integer("count", CheckConstraint("count >= 1")),
    _integer("step", CheckConstraint("step >= 1")),
    _integer("node", ForeignKey("nodes.id"), null=True),
    _integer("area", ForeignKey("swap_areas.id"), null=True),
    _integer("flags", default=0),
    _integer("lock", null=True),
    _integer("pin", null=True),
    _integer("pins", default=0),
    _integer("writeback", null=True),
    _integer("parked", default=0),
    _integer("outside", default=0),
    _integer("origin"),
    _integer("origin_first"),
    Column("next", Integer, Computed("first + count * step", persisted=False)),
    CheckConstraint("count > 1 OR step = 1"),
    CheckConstraint("(pin IS NULL) = (pins = 0)"),
    Index("pages_first", "mapping", "first"),
    Index("pages_next", "mapping", "next"),
    Index(
        "pages_reach",
        "mapping",
        text("length(printf('%x', (count - 1) * step))"),
        "first",
        sqlite_where=text("count > 1"),
    ),
    Index("pages_isolated", "parked", sqlite_where=text("parked > 1")),
    **NEVER_REUSED,
)

pte = Table(
    "ptes",
    metadata,
    _integer("mm", ForeignKey("mms.id")),
    _integer("addr"),
    _integer("page", ForeignKey("pages.id")),
    _integer("present", default=1),
    _integer("young", default=0),
    _integer("dirty", default=0),
    _integer("writable", default=0),
    _integer("reach"),
    PrimaryKeyConstraint("mm", "addr"),
    CheckConstraint("present OR NOT (young OR dirty OR writable)"),
    Index("ptes_page", "page"),
    Index("ptes_reach", "mm", "reach", "addr", sqlite_where=text("reach > 0")),
    **KEYED,
)

resident = Table(
    "resident",
    metadata,
    _integer("mm", ForeignKey("mms.id")),
    _integer("node", ForeignKey("nodes.id")),
    _integer("pages"),
    PrimaryKeyConstraint("mm", "node"),
    Index("resident_none", "mm", sqlite_where=text("pages = 0")),
    **KEYED,
)

buffer = Table(
    "buffers",
    metadata,
    Column("page", Integer, ForeignKey("pages.id"), primary_key=True),
    _integer("ring", CheckConstraint("ring BETWEEN 1 AND 8")),
    _integer("dirty", default=0),
    _integer("locked", null=True),
    _integer("busy", null=True),
    _integer("late", default=0),
    **STRICT,
)
hold = Table(
    "holds",
    metadata,
    _key(),
    _integer("page", ForeignKey("pages.id")),
    _integer("pid", ForeignKey("tasks.pid")),
    _text("kind"),
    _integer("passes"),
    _integer("count", default=1),
    CheckConstraint("kind IN ('lock', 'pin', 'writeback', 'park')"),
    CheckConstraint("count >= 1"),
    Index("holds_page", "page", "kind", "pid"),
    Index("holds_pid", "pid"),
    **STRICT,
)

journal = Table(
    "journal",
    metadata,
    _key(),
    _text("argv"),
    _text("profile"),
    _integer("return", null=True),
    _text("errno", null=True),
    _text("summary"),
    _integer("time"),
    **NEVER_REUSED,
)

snapshot = Table(
    "snapshots",
    metadata,
    _key(),
    _text("name"),
    _integer("journal"),
    Index("snapshots_name", "name", unique=True),
    **STRICT,
)

VIEWS = (
    """CREATE VIEW task_nodes AS
SELECT t.pid AS pid, t.name AS name, p.node AS node, sum(p.count) AS pages
FROM tasks t CROSS JOIN ptes e ON e.mm = t.mm CROSS JOIN pages p ON p.id = e.page
WHERE e.present AND p.node IS NOT NULL
GROUP BY t.pid, p.node""",
    """CREATE VIEW task_vmas AS
SELECT t.pid AS pid, t.name AS name, printf('%x', v.start * f.page_size) AS start,
 printf('%x', v."end" * f.page_size) AS "end", v."end" - v.start AS pages, m.kind AS kind,
 m.name AS mapping, coalesce(o.mode, 'default') AS mode, coalesce(o.nodes, '') AS nodes
FROM tasks t CROSS JOIN facts f CROSS JOIN vmas v ON v.mm = t.mm CROSS JOIN mappings m ON m.id = v.mapping
LEFT JOIN policies o ON o.id = v.policy""",
)
"""Read-only views for an administrator who opens the file with sqlite3."""

for _statement in VIEWS:
    event.listen(metadata, "after_create", DDL(_statement.replace("%", "%%")))  # type: ignore[no-untyped-call]  # DDL has no types
