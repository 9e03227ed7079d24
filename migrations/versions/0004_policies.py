"""
A node knows its weight for weighted interleaving, a task how many more pages its next node serves, a cpuset which of
the files are on that mean nothing to the model.

The tables are made anew, so that a file that was brought here has the same tables as a new one. All nodes of an older
revision weigh 1, as those of a kernel that was never told anything.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

NODES = (
    "id, online, cpus, zonelist, capacity, other, used, numa_hit, numa_miss, numa_foreign, interleave_hit, local_node,"
    " other_node"
)
CPUSETS = "id, name, cpus, mems, cpu_exclusive, mem_exclusive, memory_migrate"
TASKS = "pid, name, uid, cpu, cpuset, mm, caps, dumpable, policy, il_next"

STATEMENTS = (
    f"CREATE TEMP TABLE kept_nodes AS SELECT {NODES} FROM nodes",
    f"CREATE TEMP TABLE kept_tasks AS SELECT {TASKS} FROM tasks",
    f"CREATE TEMP TABLE kept_cpusets AS SELECT {CPUSETS} FROM cpusets",
    "DROP TABLE tasks",
    "DROP TABLE nodes",
    "DROP TABLE cpusets",
    """CREATE TABLE cpusets (
    id INTEGER NOT NULL,
    name TEXT NOT NULL,
    cpus TEXT NOT NULL,
    mems TEXT NOT NULL,
    cpu_exclusive INTEGER DEFAULT '0' NOT NULL,
    mem_exclusive INTEGER DEFAULT '0' NOT NULL,
    memory_migrate INTEGER DEFAULT '0' NOT NULL,
    kept TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (id)
)
 STRICT""",
    """CREATE TABLE nodes (
    id INTEGER NOT NULL,
    online INTEGER DEFAULT '1' NOT NULL,
    cpus TEXT NOT NULL,
    zonelist TEXT NOT NULL,
    capacity INTEGER NOT NULL,
    other INTEGER DEFAULT '0' NOT NULL,
    used INTEGER DEFAULT '0' NOT NULL,
    numa_hit INTEGER DEFAULT '0' NOT NULL,
    numa_miss INTEGER DEFAULT '0' NOT NULL,
    numa_foreign INTEGER DEFAULT '0' NOT NULL,
    interleave_hit INTEGER DEFAULT '0' NOT NULL,
    local_node INTEGER DEFAULT '0' NOT NULL,
    other_node INTEGER DEFAULT '0' NOT NULL,
    weight INTEGER DEFAULT '1' NOT NULL CHECK (weight BETWEEN 1 AND 255),
    PRIMARY KEY (id),
    CHECK (other >= 0 AND used >= 0 AND other + used <= capacity)
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
    PRIMARY KEY (pid),
    FOREIGN KEY(cpuset) REFERENCES cpusets (id),
    FOREIGN KEY(mm) REFERENCES mms (id),
    FOREIGN KEY(policy) REFERENCES policies (id)
)
 STRICT""",
    "CREATE UNIQUE INDEX cpusets_name ON cpusets (name)",
    "CREATE INDEX tasks_mm ON tasks (mm)",
    f"INSERT INTO cpusets({CPUSETS}) SELECT {CPUSETS} FROM kept_cpusets",
    f"INSERT INTO nodes({NODES}) SELECT {NODES} FROM kept_nodes",
    f"INSERT INTO tasks({TASKS}) SELECT {TASKS} FROM kept_tasks",
    "DROP TABLE kept_nodes",
    "DROP TABLE kept_tasks",
    "DROP TABLE kept_cpusets",
)


def upgrade() -> None:
    """Copy nodes, cpusets and tasks into tables that have the columns."""
    for statement in STATEMENTS:
        op.execute(statement)
