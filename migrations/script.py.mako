"""
${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}
"""

from __future__ import annotations

from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """Lead a file of the revision before to this one; every row is kept."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """State files are not taken back to an older schema."""
    raise NotImplementedError("a state file is not taken back to an older schema; restore a copy")
