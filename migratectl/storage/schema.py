"""
The schema's version: making a file of the newest one, refusing or upgrading others, and ``schema.sql``.

``python -m migratectl.storage.schema > schema.sql`` writes the text again after a change of the tables.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final, Literal

from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DatabaseError

from migratectl.errors import StateFileError

REVISIONS: Final = ("0001", "0002", "0003", "0004", "0005")
"""The Alembic revisions, oldest first; test_schema.py compares them with the scripts in ``migrations``."""

REVISION: Final = REVISIONS[-1]
"""The newest one."""

Accept = Literal["newest", "older", "any"]
"""Which revisions a command works on: the newest alone, those that an upgrade starts from too, or unknown ones too."""

_VERSION_TABLE: Final = """CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)"""


def create(conn: Connection) -> None:
    """Make all tables and views in an empty database and stamp it with the newest revision."""
    from migratectl.storage.tables import metadata  # noqa: PLC0415 -- costs each start, and only a new file needs it

    metadata.create_all(conn, checkfirst=False)
    conn.exec_driver_sql(_VERSION_TABLE)
    conn.exec_driver_sql("INSERT INTO alembic_version VALUES (?)", (REVISION,))


def revision(conn: Connection) -> str | None:
    """The revision that a file is stamped with, None where it has none."""
    try:
        found = conn.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    except DatabaseError as error:
        if "no such table" not in str(error):
            raise
        return None
    return None if found is None else str(found)


def check_revision(conn: Connection, path: Path, accept: Accept = "newest") -> None:
    """
    Refuse a file of another schema.

    Args:
        conn: A connection without a transaction.
        path: The file, for messages.
        accept: Revisions that are good enough.

    Raises:
        StateFileError: The file is of a newer version, of an older one, or carries no version.
    """
    found = revision(conn)
    conn.rollback()
    if found == REVISION:
        return
    if found is None:
        raise StateFileError(f"{path}: carries no schema version; damaged, restore it from a copy")
    if accept == "any" or (accept == "older" and found in REVISIONS):
        return
    remedy = "run 'migratectl db upgrade'" if found in REVISIONS else "use the version that wrote it"
    raise StateFileError(f"{path}: has schema {found}, this migratectl knows {REVISION}; {remedy}")


def upgrade(conn: Connection, target: str = REVISION) -> None:
    """
    Run the migrations that lead from a file's revision to *target*, within the caller's transaction.

    Args:
        conn: A connection with an open transaction; a database without tables counts as older than the first revision.
        target: The revision to reach.
    """
    # Imported here for the start-up time of every other command: a file of the newest revision needs no Alembic.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    from migratectl.storage.tables import metadata  # noqa: PLC0415

    config = Config(attributes={"connection": conn, "target_metadata": metadata})
    config.set_main_option("script_location", str(script_location()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, target)


def upgrade_file(conn: Connection) -> list[str]:
    """
    Bring a file up to date within the caller's transaction, which must not enforce foreign keys.

    A table that changes is made anew, and the rows that refer to it wait; so references are tested at the end.

    Returns:
        The revisions that were run, oldest first; empty where the file is of the newest one.

    Raises:
        StateFileError: The file is of an unknown revision, or a row of it refers to one that is not there.
    """
    found = revision(conn)
    if found not in REVISIONS:
        raise StateFileError(f"the file has schema {found} by now, unknown here; use the version that wrote it")
    steps = REVISIONS[REVISIONS.index(found) + 1 :]
    if not steps:
        return []
    upgrade(conn)
    broken = conn.exec_driver_sql("SELECT * FROM pragma_foreign_key_check ORDER BY 1, 2 LIMIT 1").first()
    if broken is not None:
        raise StateFileError(f"damaged, a row of {broken[0]} refers to none of {broken[2]}; restore it from a copy")
    conn.info["changed"] = conn.info.get("changed", 0) + 1  # the statements of a revision do not count themselves
    return list(steps)


def script_location() -> Path:
    """The Alembic environment: inside the installed package, or beside it in a source tree."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def ddl(conn: Connection) -> str:
    """The schema of an open database as SQL text, as ``schema.sql`` holds it: tables, indexes, views."""
    rows = conn.exec_driver_sql(
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
        " AND name <> 'alembic_version' ORDER BY type = 'view', type = 'index', tbl_name, name"
    )
    statements = ["\n".join(line.expandtabs(4).rstrip() for line in sql.strip().splitlines()) for (sql,) in rows]
    return "".join(f"{statement};\n\n" for statement in statements).rstrip("\n") + "\n"


def newest_ddl() -> str:
    """The text of ``schema.sql``, from the metadata."""
    engine = create_engine("sqlite+pysqlite://")
    with engine.begin() as conn:
        create(conn)
        text = ddl(conn)
    engine.dispose()
    return text


if __name__ == "__main__":
    sys.stdout.write(newest_ddl())
