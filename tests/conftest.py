"""What all tests share: the command line, in-process, on a state file of its own; the data of real machines."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, settings

from migratectl.cli import run
from migratectl.render.keys import HEAD, KEYS

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")  # a busy machine makes no test fail

SHARED_DATA = Path(__file__).resolve().parents[1] / "../shared/data"


@dataclass(frozen=True)
class Outcome:
    """What one command line did: exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document of standard output; its keys are those of its command, whatever became of it."""
        assert self.out.count("\n") == 1, f"not one line: {self.out!r}"
        found = json.loads(self.out)
        place = ("line", "argv") if "line" in found else ()
        assert tuple(found) == (*HEAD, *KEYS.get(found["command"], ()), *place)
        assert found["exit"] == self.code
        return found


class Runner(Protocol):
    """Runs a command line; words may be numbers."""

    def __call__(self, *words: object, stdin: str = "") -> Outcome: ...


Make = Callable[[str], Runner]
"""Builds a machine under a profile."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let golden transcripts be rewritten."""
    parser.addoption("--golden-update", action="store_true", help="rewrite the transcripts of tests/golden")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the user changes what a test sees."""
    own = ["MIGRATECTL_STATE", "MIGRATECTL_JSON", "MIGRATECTL_DEBUG"]
    for name in [*own, "NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "XDG_STATE_HOME"]:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Path of a state file that is not there yet."""
    return tmp_path / "state.db"


@pytest.fixture
def tool(state: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """The command line, on the state file of the test."""
    monkeypatch.setenv("MIGRATECTL_STATE", str(state))

    def runner(*words: object, stdin: str = "") -> Outcome:
        out, err = io.StringIO(), io.StringIO()
        code = run([str(word) for word in words], out, err, io.StringIO(stdin))
        return Outcome(code, out.getvalue(), err.getvalue())

    return runner


@pytest.fixture
def machine(tool: Runner) -> Runner:
    """The command line on two nodes of 1000 pages, with task 100 on node 0 and its 16 written pages labelled heap."""
    for words in (
        "init --nodes 2 --memory 1000p --swap 1000p",
        "task create --pid 100 --name db --node 0",
        "mmap 100 16p --label heap",
        "fault 100 heap --write",
    ):
        outcome = tool(*words.split())
        assert outcome.code == 0, outcome.err
    return tool


@pytest.fixture
def make(tool: Runner) -> Make:
    """A machine of four nodes with two CPUs each, under a profile."""

    def build(profile: str) -> Runner:
        words = "--nodes 4 --memory 64p --cpus 2 --distance 10,20 --swap 64p --profile"
        assert tool("init", *words.split(), profile).code == 0
        return tool

    return build


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of trees and texts of real machines."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no ../shared/data beside the repository")
    return SHARED_DATA
