"""What a 6.1 kernel did, replayed through ``batch`` under the profile ``modern``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
REPLAY = ROOT / "../shared/conformance/replay.py"


@pytest.mark.skipif(not REPLAY.exists(), reason="../shared/conformance is not there: no kernel results to replay")
def test_every_expressible_scenario_agrees_with_the_kernel() -> None:
    program = f"{sys.executable} -m migratectl"
    words = [sys.executable, str(REPLAY), "--program", program, "-v"]
    replayed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    agreed = re.search(r"^(\d+) of \1 scenarios agree with the kernel", replayed.stdout, flags=re.MULTILINE)
    assert agreed is not None
    assert int(agreed[1]) >= 330, "the folder holds fewer scenarios than it did"
