"""
An area remembers whether it has ever had an anonymous page: a fork copies the ptes of such areas only.

The table is made anew, since a column that ALTER TABLE adds stands behind the constraints in the schema's text. Areas
of an older file count as having had one where they have one now.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NAMES = 'mm, start, "end", mapping, delta, flags, policy, "order"'

STATEMENTS = (
    f"CREATE TEMP TABLE kept_vmas AS SELECT {NAMES} FROM vmas",
    "DROP TABLE vmas",
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
    PRIMARY KEY (mm, start),
    CHECK (start < "end" AND start >= 0),
    FOREIGN KEY(mm) REFERENCES mms (id),
    FOREIGN KEY(mapping) REFERENCES mappings (id),
    FOREIGN KEY(policy) REFERENCES policies (id)
)
 WITHOUT ROWID,
 STRICT""",
    f"""INSERT INTO vmas({NAMES}, anon_vma)
SELECT {NAMES}, EXISTS (SELECT 1 FROM ptes t JOIN pages p ON p.id = t.page JOIN mappings m ON m.id = p.mapping
 WHERE t.mm = k.mm AND t.addr >= k.start AND t.addr < k."end" AND m.kind = 'anon') FROM kept_vmas k""",
    "CREATE INDEX vmas_mapping ON vmas (mapping)",
    "DROP TABLE kept_vmas",
)


def upgrade() -> None:
    """Copy the areas into a table that has the column."""
    for statement in STATEMENTS:
        op.execute(statement)
