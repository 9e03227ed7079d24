"""
A pte knows how far its run reaches, so that the run which covers an address is found without reading those before it;
how many pages of an address space are present on each node is counted.

The table of ptes is made anew, so that a file that was brought here has the same tables as a new one. Page rows get two
indexes: by how far they reach, and of those that a migration has taken off the LRU.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

PTES = "mm, addr, page, present, young, dirty, writable"

STATEMENTS = (
    f"""CREATE TEMP TABLE kept_ptes AS SELECT {PTES}, coalesce((SELECT CASE p.count WHEN 1 THEN 0
 ELSE length(printf('%x', (p.count - 1) * p.step)) END FROM pages p WHERE p.id = ptes.page), 0) AS reach FROM ptes""",
    "DROP TABLE ptes",
    """CREATE TABLE ptes (
    mm INTEGER NOT NULL,
    addr INTEGER NOT NULL,
    page INTEGER NOT NULL,
    present INTEGER DEFAULT '1' NOT NULL,
    young INTEGER DEFAULT '0' NOT NULL,
    dirty INTEGER DEFAULT '0' NOT NULL,
    writable INTEGER DEFAULT '0' NOT NULL,
    reach INTEGER NOT NULL,
    PRIMARY KEY (mm, addr),
    CHECK (present OR NOT (young OR dirty OR writable)),
    FOREIGN KEY(mm) REFERENCES mms (id),
    FOREIGN KEY(page) REFERENCES pages (id)
)
 WITHOUT ROWID,
 STRICT""",
    f"INSERT INTO ptes({PTES}, reach) SELECT {PTES}, reach FROM kept_ptes ORDER BY mm, addr",
    "CREATE INDEX ptes_page ON ptes (page)",
    "CREATE INDEX ptes_reach ON ptes (mm, reach, addr) WHERE reach > 0",
    "CREATE INDEX pages_reach ON pages (mapping, length(printf('%x', (count - 1) * step)), first) WHERE count > 1",
    "CREATE INDEX pages_isolated ON pages (parked) WHERE parked > 1",
    "DROP TABLE kept_ptes",
    """CREATE TABLE resident (
    mm INTEGER NOT NULL,
    node INTEGER NOT NULL,
    pages INTEGER NOT NULL,
    PRIMARY KEY (mm, node),
    FOREIGN KEY(mm) REFERENCES mms (id),
    FOREIGN KEY(node) REFERENCES nodes (id)
)
 WITHOUT ROWID,
 STRICT""",
    "CREATE INDEX resident_none ON resident (mm) WHERE pages = 0",
    """INSERT INTO resident(mm, node, pages) SELECT t.mm, p.node, sum(p.count) FROM ptes t JOIN pages p ON p.id = t.page
WHERE t.present AND p.node IS NOT NULL GROUP BY t.mm, p.node""",
)


def upgrade() -> None:
    """Copy the ptes into a table that says how far each reaches, index what is looked for, count what is present."""
    for statement in STATEMENTS:
        op.execute(statement)
