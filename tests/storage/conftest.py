"""A furnished state file for the module; every use is a transaction that is rolled back."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from migratectl.storage.engine import StateFile
from tests.storage import states

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@pytest.fixture(scope="session")
def furnished() -> Iterator[StateFile]:
    """Two nodes, two tasks of one family, a file; no pages."""
    with tempfile.TemporaryDirectory(prefix="migratectl-", dir=MEMORY) as folder:
        file = StateFile(Path(folder, "state.db"))
        with file.create(force=False) as conn:
            states.furnish(conn)
        yield file
        file.close()
