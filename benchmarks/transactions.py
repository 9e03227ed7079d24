"""Floor of a batch: so many transactions of one changed row on a state file, with the standard library alone."""

import sqlite3
import sys

connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA synchronous=FULL")
for number in range(int(sys.argv[2])):
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE tasks SET name = ?", (str(number),))
    connection.execute("COMMIT")
connection.close()
