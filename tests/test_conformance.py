"""What a 6.1 kernel did, replayed through ``batch`` under the profile ``modern``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
REPLAY = ROOT / "../shared/conformance/replay.py"
MODE_FLAGS = re.compile(r"--(static-nodes|relative-nodes|numa-balancing)|weighted-interleave")
"""What is not modelled yet: the scenarios that need it, and no others, disagree."""


@pytest.mark.skipif(not REPLAY.exists(), reason="../shared/conformance is not there: no kernel results to replay")
def test_every_expressible_scenario_agrees_with_the_kernel_but_for_mode_flags() -> None:
    program = f"{sys.executable} -m migratectl"
    words = [sys.executable, str(REPLAY), "--program", program, "--without", "cpuset_create", "-v"]
    replayed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    differing = [line for line in replayed.stdout.splitlines() if re.match(r"n\d\w*\.", line)]
    assert [line for line in differing if not MODE_FLAGS.search(line)] == []
    agreed = re.search(r"^(\d+) of (\d+) scenarios agree with the kernel", replayed.stdout, flags=re.MULTILINE)
    assert agreed is not None, replayed.stdout + replayed.stderr
    assert int(agreed[1]) >= 270, "the folder holds fewer scenarios than it did"
    assert int(agreed[1]) + len(differing) == int(agreed[2])
