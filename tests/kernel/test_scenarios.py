"""What a 6.1 kernel did: every step that can be told does the same under the profile ``modern``."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Runner
from tests.kernel.scenarios import Untold, scenarios, told

ALL = list(scenarios())
NR_TOLD = 596
"""Scenarios that the command line can say; more are welcome, fewer are not."""


@pytest.mark.parametrize(("topology", "scenario"), ALL, ids=[scenario["name"] for _, scenario in ALL])
def test_as_the_kernel(tool: Runner, tmp_path: Path, topology: dict[str, Any], scenario: dict[str, Any]) -> None:
    try:
        lines = told(topology, scenario, tmp_path)
    except Untold as reason:
        pytest.skip(f"not expressible: {reason}")
    script = "".join(shlex.join(map(str, line.words)) + "\n" for line in lines)
    printed = tool("batch", "-", "--keep-going", "--json", stdin=script).out.splitlines()
    assert len(printed) == len(lines)
    for number, (line, text) in enumerate(zip(lines, printed, strict=True)):
        wrong = line.answer(json.loads(text))
        so_far = "\n".join(script.splitlines()[: number + 1])
        assert wrong is None, f"{wrong}\n{so_far}"


def test_that_many_can_be_told(tmp_path: Path) -> None:
    def can_be(topology: dict[str, Any], scenario: dict[str, Any]) -> bool:
        try:
            told(topology, scenario, tmp_path)
        except Untold:
            return False
        return True

    assert sum(can_be(*one) for one in ALL) >= NR_TOLD
