"""
Random scripts, told to the tool and to the naive model in the same words; every answer and every page must agree.

`MIGRATECTL_SCRIPTS=5000 pytest tests/test_stateful.py` runs so many new scripts; without it a fixed few hundred
commands. A failure prints a script for `migratectl batch --keep-going`.
"""

from __future__ import annotations

import io
import json
import os
import pathlib
import shlex
import tempfile
import unittest.mock

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from migratectl import uapi
from migratectl.cli import run
from tests.reference.compare import differences
from tests.reference.scripts import SEEDS, TEMPORARY, Script, script_of, smallest

MANY = int(os.environ.get("MIGRATECTL_SCRIPTS", "0"))
FEW = 32

sized = settings(
    max_examples=MANY or FEW,
    database=None,
    derandomize=not MANY,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def told(script: Script, folder: str) -> tuple[list[dict[str, object]], str]:
    """The documents of one `batch --json` on a new state file, and what it wrote to standard error."""
    path = pathlib.Path(folder, "script")
    path.write_text(script.text())
    out, err = io.StringIO(), io.StringIO()
    with unittest.mock.patch.object(uapi, "MIGRATE_CHUNK_SIZE", script.chunk):
        run(["--state", str(pathlib.Path(folder, "state.db")), "--json", "batch", str(path), "--keep-going"], out, err)
    return [json.loads(line) for line in out.getvalue().splitlines()], err.getvalue()


def first_difference(script: Script) -> tuple[int, str] | None:
    """The first line whose document is not what the model says, and in what."""
    with tempfile.TemporaryDirectory(prefix="migratectl-", dir=TEMPORARY) as folder:
        documents, errors = told(script, folder)
    hashes: dict[int, object] = {}
    for k, (argv, want) in enumerate(zip(script.lines, script.expected, strict=True)):
        if k >= len(documents):
            return k, f"no document for {argv}: {errors}"
        found = differences(want, documents[k])
        if "_version" in want and hashes.setdefault(want["_version"], documents[k]["hash"]) != documents[k]["hash"]:
            found.append("another hash, though nothing has changed the state since the last one")
        if found:
            return k, "\n  ".join([f"{shlex.join(argv)}  ({documents[k].get('message')})", *found])
    return None


def pasteable(script: Script) -> str:
    """A script for `migratectl batch`; distance files as comments."""
    lines = [f"# MIGRATE_CHUNK_SIZE {script.chunk}"]
    for word in script.lines[0]:
        if "/" in word:
            lines += [f"# {word}:", *(f"#   {row}" for row in pathlib.Path(word).read_text().splitlines())]
    return "\n".join(lines) + "\n" + script.text()


def agree(script: Script) -> None:
    """Fail with the smallest script that still shows a difference."""
    difference = first_difference(script)
    if difference is None:
        return
    script = Script(script.chunk, script.lines[: difference[0] + 1], script.expected[: difference[0] + 1])
    command = script.lines[-1][0]

    def same(shorter: Script) -> bool:
        """Whether it still goes wrong at a command of that name."""
        other = first_difference(shorter)
        return other is not None and shorter.lines[other[0]][0] == command

    script = smallest(script, same)
    found = first_difference(script)
    pytest.fail(f"{found[1] if found else 'not the same twice'}\n\n{pasteable(script)}", pytrace=False)


@sized
@given(seed=SEEDS)
def test_tool_and_model_agree_under_v9(seed: int) -> None:
    agree(script_of(seed, "v9"))


@sized
@given(seed=SEEDS)
def test_tool_and_model_agree_under_modern(seed: int) -> None:
    agree(script_of(seed, "modern"))


@sized
@given(seed=SEEDS)
def test_tool_and_model_agree_under_v9_posted(seed: int) -> None:
    agree(script_of(seed, "v9-posted"))
