"""
The schema's version: making a file of the newest one, refusing or upgrading others, and ``schema.sql``.

The tables are SQLAlchemy metadata (tables.py), the steps between versions Alembic revisions. Neither is on the way of a
command: a new file is made from ``schema.sql``, which ``python -m migratectl.storage.schema > schema.sql`` writes again
after a change of the tables.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from migratectl.errors import StateFileError
from migratectl.storage.connection import Connection

if TYPE_CHECKING:
    import sqlalchemy

REVISIONS: Final = ("0001", "0002", "0003", "0004", "0005", "0006")
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
    for statement in (
        *_packaged("schema.sql", "schema.sql").read_text(encoding="utf-8").split(";\n\n"),
        _VERSION_TABLE,
    ):
        conn.execute(statement)
    conn.execute("INSERT INTO alembic_version VALUES (?)", (REVISION,))


def revision(conn: Connection) -> str | None:
    """The revision that a file is stamped with, None where it has none."""
    try:
        found = conn.execute("SELECT version_num FROM alembic_version").scalar()
    except sqlite3.OperationalError as error:
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

    with _as_sqlalchemy(lambda: _Lent(conn.raw)) as connection:
        config = Config(attributes={"connection": connection, "target_metadata": metadata})
        config.set_main_option("script_location", str(script_location()).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        command.upgrade(config, target)


class _Lent:
    """A driver's connection that SQLAlchemy may use, but whose transaction its owner ends."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def commit(self) -> None:
        """Nothing: the owner commits."""

    rollback = close = commit


@contextmanager
def _as_sqlalchemy(creator: Callable[[], Any]) -> Iterator[sqlalchemy.Connection]:
    """A connection of the driver as one of SQLAlchemy."""
    import sqlalchemy  # noqa: PLC0415 -- costs each start, and only migrations and the text of the schema need it

    engine = sqlalchemy.create_engine("sqlite+pysqlite://", creator=creator, poolclass=sqlalchemy.pool.StaticPool)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


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
    broken = conn.execute("SELECT * FROM pragma_foreign_key_check ORDER BY 1, 2 LIMIT 1").first()
    if broken is not None:
        raise StateFileError(f"damaged, a row of {broken[0]} refers to none of {broken[2]}; restore it from a copy")
    conn.changed += 1  # the statements of a revision do not count themselves
    return list(steps)


def script_location() -> Path:
    """The Alembic environment: inside the installed package, or beside it in a source tree."""
    return _packaged("_migrations", "migrations")


def _packaged(inside: str, beside: str) -> Path:
    """What is shipped with the package: inside of it where it is installed, beside it in a source tree."""
    package = Path(__file__).resolve().parent.parent
    installed = package / inside
    return installed if installed.exists() else package.parent / beside


def ddl(conn: Connection) -> str:
    """The schema of an open database as SQL text, as ``schema.sql`` holds it: tables, indexes, views."""
    rows = conn.execute(
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
        " AND name <> 'alembic_version' ORDER BY type = 'view', type = 'index', tbl_name, name"
    )
    statements = ["\n".join(line.expandtabs(4).rstrip() for line in sql.strip().splitlines()) for (sql,) in rows]
    return "".join(f"{statement};\n\n" for statement in statements).rstrip("\n") + "\n"


def newest_ddl() -> str:
    """The text of ``schema.sql``, from the metadata."""
    from migratectl.storage.tables import metadata  # noqa: PLC0415

    raw = sqlite3.connect(":memory:")
    try:
        with _as_sqlalchemy(lambda: raw) as connection:
            metadata.create_all(connection, checkfirst=False)
            return ddl(Connection(raw))
    finally:
        raw.close()


if __name__ == "__main__":
    sys.stdout.write(newest_ddl())
