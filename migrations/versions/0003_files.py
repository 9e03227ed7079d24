"""
A mapping knows how many buffers its pages have, there are mappings of pages that were cut off their file, and the root
cpuset is exclusive, as a kernel makes it.

The table is made anew, since SQLite cannot change a constraint. No file of an older revision has buffers. Row ids are
never given out twice, so the counter of the table is kept too.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NAMES = "id, kind, name, fs, journal, method, ino, size"

STATEMENTS = (
    f"CREATE TEMP TABLE kept_mappings AS SELECT {NAMES} FROM mappings",
    "CREATE TEMP TABLE kept_counter AS SELECT seq FROM sqlite_sequence WHERE name = 'mappings'",
    "DROP TABLE mappings",
    """CREATE TABLE mappings (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    fs TEXT,
    journal TEXT,
    method TEXT NOT NULL,
    ino INTEGER,
    size INTEGER,
    ring INTEGER DEFAULT '0' NOT NULL,
    CHECK (kind IN ('anon', 'zero', 'file', 'shm', 'none')),
    CHECK (method IN ('page', 'buffer', 'fail', 'none')),
    CHECK (ring BETWEEN 0 AND 8)
)
 STRICT""",
    f"INSERT INTO mappings({NAMES}) SELECT {NAMES} FROM kept_mappings",
    "CREATE INDEX mappings_name ON mappings (kind, name)",
    "UPDATE sqlite_sequence SET seq = (SELECT seq FROM kept_counter) WHERE name = 'mappings'"
    " AND EXISTS (SELECT 1 FROM kept_counter)",
    "DROP TABLE kept_mappings",
    "DROP TABLE kept_counter",
    "UPDATE cpusets SET cpu_exclusive = 1, mem_exclusive = 1 WHERE name = '/'",
)


def upgrade() -> None:
    """Copy the mappings into a table that has the column; mend the root cpuset."""
    for statement in STATEMENTS:
        op.execute(statement)
