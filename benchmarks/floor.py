"""Floor S: a process that imports click and SQLAlchemy Core and opens an SQLite file in WAL mode, and ends."""

import sys

import click  # noqa: F401 - the import is what is measured
import sqlalchemy

engine = sqlalchemy.create_engine(f"sqlite:///{sys.argv[1]}")
with engine.connect() as connection:
    connection.exec_driver_sql("PRAGMA journal_mode=WAL")
