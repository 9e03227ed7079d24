"""
Runs the revisions on a connection that the caller opened: ``config.attributes["connection"]``.

Everything happens in that connection's transaction, so a file has the old schema or the new one, never half of it.
A developer's ``alembic revision --autogenerate`` finds the metadata in ``config.attributes["target_metadata"]``.
"""

from __future__ import annotations

from alembic import context


def run() -> None:
    """Run the revisions asked for, SQLite's way: a table that changes is copied (batch mode)."""
    connection = context.config.attributes.get("connection")
    if connection is None:
        raise RuntimeError("no connection given; state files are upgraded by migratectl itself, see storage/schema.py")
    context.configure(
        connection=connection,
        target_metadata=context.config.attributes.get("target_metadata"),
        render_as_batch=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run()
