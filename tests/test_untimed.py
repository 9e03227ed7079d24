"""No test fails on a busy machine: none has a deadline, none measures how long something took."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).resolve().parent
CLOCKS = re.compile(r"perf_counter|process_time|deadline=(?!None)|(?:communicate|wait|run)\([^)]*\btimeout=")


def test_hypothesis_has_no_deadline() -> None:
    assert settings().deadline is None
    assert HealthCheck.too_slow in settings().suppress_health_check


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_nothing_is_timed(path: Path) -> None:
    if path != Path(__file__).resolve():
        assert not CLOCKS.findall(path.read_text(encoding="utf-8"))
