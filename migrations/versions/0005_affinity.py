"""
A task knows its thread group, the CPUs that it may run on and its limit of locked memory; a ring, whether it is let go
only after a first look; the facts, which nodes can exist; an area, whether its anon_vma came by a fork; the policy of a
shared memory object, through which area it was bound.

The tables are made anew, so that a file that was brought here has the same tables as a new one. The leader of a thread
group was not kept: it is the lowest pid of the address space. No task had narrower CPUs than its cpuset's, or a limit
of its own, and no ring was let go late. Areas with anonymous pages were one family in each address space, and stay so.
An object was bound through the first area that has its policy.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

FACTS = "id, format, page_size, profile"
TASKS = "pid, name, uid, cpu, cpuset, mm, caps, dumpable, policy, il_next, il_weight"
BUFFERS = "page, ring, dirty, locked, busy"
VMAS = 'mm, start, "end", mapping, delta, flags, policy, "order", anon_vma'
POLICIES = 'mapping, first, "end", policy'
AREA = """(SELECT v.{} FROM vmas v WHERE v.mapping = s.mapping AND v.policy = s.policy
 AND v.start + v.delta < s."end" AND v."end" + v.delta > s.first ORDER BY v.mm, v.start LIMIT 1)"""

STATEMENTS = (
    f"CREATE TEMP TABLE kept_facts AS SELECT {FACTS} FROM facts",
    f"CREATE TEMP TABLE kept_tasks AS SELECT {TASKS},"
    " coalesce((SELECT min(k.pid) FROM tasks k WHERE k.mm = t.mm), t.pid) AS tgid FROM tasks t",
    f"CREATE TEMP TABLE kept_buffers AS SELECT {BUFFERS} FROM buffers",
    f"CREATE TEMP TABLE kept_vmas AS SELECT {VMAS} FROM vmas",
    f"""CREATE TEMP TABLE kept_policies AS SELECT {POLICIES}, {AREA.format("mm")} AS mm, {AREA.format("delta")} AS delta
FROM shared_policies s""",
    "DROP TABLE facts",
    "DROP TABLE tasks",
    "DROP TABLE buffers",
    "DROP TABLE vmas",
    "DROP TABLE shared_policies",
    """CREATE TABLE facts (
    id INTEGER NOT NULL,
    format TEXT NOT NULL,
    page_size INTEGER NOT NULL,
    profile TEXT NOT NULL,
    possible TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (id),
    CHECK (id = 1),
    CHECK (page_size >= 512 AND page_size & (page_size - 1) = 0),
    CHECK (profile IN ('v9', 'v9-posted', 'modern'))
)
 STRICT""",
    """CREATE TABLE tasks (
    pid INTEGER NOT NULL,
    name TEXT NOT NULL,
    uid INTEGER NOT NULL,
    cpu INTEGER NOT NULL,
    cpuset INTEGER NOT NULL,
    mm INTEGER,
    caps INTEGER NOT NULL,
    dumpable INTEGER DEFAULT '1' NOT NULL,
    policy INTEGER,
    il_next INTEGER,
    il_weight INTEGER DEFAULT '0' NOT NULL,
    tgid INTEGER NOT NULL,
    affinity TEXT DEFAULT '' NOT NULL,
    memlock INTEGER,
    PRIMARY KEY (pid),
    FOREIGN KEY(cpuset) REFERENCES cpusets (id),
    FOREIGN KEY(mm) REFERENCES mms (id),
    FOREIGN KEY(policy) REFERENCES policies (id)
)
 STRICT""",
    """CREATE TABLE shared_policies (
    mapping INTEGER NOT NULL,
    first INTEGER NOT NULL,
    "end" INTEGER NOT NULL,
    policy INTEGER NOT NULL,
    mm INTEGER,
    delta INTEGER,
    PRIMARY KEY (mapping, first),
    CHECK (first < "end"),
    FOREIGN KEY(mapping) REFERENCES mappings (id),
    FOREIGN KEY(policy) REFERENCES policies (id)
)
 WITHOUT ROWID,
 STRICT""",
    """CREATE TABLE buffers (
    page INTEGER NOT NULL,
    ring INTEGER NOT NULL CHECK (ring BETWEEN 1 AND 8),
    dirty INTEGER DEFAULT '0' NOT NULL,
    locked INTEGER,
    busy INTEGER,
    late INTEGER DEFAULT '0' NOT NULL,
    PRIMARY KEY (page),
    FOREIGN KEY(page) REFERENCES pages (id)
)
 STRICT""",
    """CREATE TABLE vmas (
    mm INTEGER NOT NULL,
    start INTEGER NOT NULL,
    "end" INTEGER NOT NULL,
    mapping INTEGER NOT NULL,
    delta INTEGER DEFAULT '0' NOT NULL,
    flags INTEGER NOT NULL,
    policy INTEGER,
    "order" INTEGER DEFAULT '0' NOT NULL,
    anon_vma INTEGER DEFAULT '0' NOT NULL,
    forked INTEGER DEFAULT '0' NOT NULL,
    PRIMARY KEY (mm, start),
    CHECK (start < "end" AND start >= 0),
    FOREIGN KEY(mm) REFERENCES mms (id),
    FOREIGN KEY(mapping) REFERENCES mappings (id),
    FOREIGN KEY(policy) REFERENCES policies (id)
)
 WITHOUT ROWID,
 STRICT""",
    "CREATE INDEX tasks_mm ON tasks (mm)",
    "CREATE INDEX vmas_mapping ON vmas (mapping)",
    f"INSERT INTO facts({FACTS}) SELECT {FACTS} FROM kept_facts",
    f"INSERT INTO tasks({TASKS}, tgid) SELECT {TASKS}, tgid FROM kept_tasks",
    f"INSERT INTO buffers({BUFFERS}) SELECT {BUFFERS} FROM kept_buffers",
    f"INSERT INTO vmas({VMAS}) SELECT {VMAS} FROM kept_vmas",
    "DROP TABLE kept_facts",
    "DROP TABLE kept_tasks",
    f"INSERT INTO shared_policies({POLICIES}, mm, delta) SELECT {POLICIES}, mm, delta FROM kept_policies",
    "DROP TABLE kept_buffers",
    "DROP TABLE kept_vmas",
    "DROP TABLE kept_policies",
)


def upgrade() -> None:
    """Copy facts, tasks, rings, areas and policies of objects into tables that have the columns."""
    for statement in STATEMENTS:
        op.execute(statement)
