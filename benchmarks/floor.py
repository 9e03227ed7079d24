"""Floor S: a process that imports click and sqlite3 and opens a database file in WAL mode, and ends."""

import sqlite3
import sys

import click  # noqa: F401 - the import is what is measured

connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA journal_mode=WAL")
connection.close()
