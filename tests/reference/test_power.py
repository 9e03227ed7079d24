"""Would the random scripts notice? Each seeded bug of a model must show in one of a fixed number of scripts."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from tests.reference import machine, model, seeded_areas, seeded_cpusets, seeded_files, seeded_moves, seeded_swap
from tests.reference.scripts import Script, script_of

pytestmark = pytest.mark.power
NR_SCRIPTS = 300
BUGS: list[Callable[[pytest.MonkeyPatch], object]] = [
    *seeded_moves.BUGS, *seeded_areas.BUGS, *seeded_swap.BUGS, *seeded_files.BUGS,
    *seeded_cpusets.BUGS,
]  # fmt: skip


@functools.cache
def sample() -> list[Script]:
    """The same scripts in every run."""
    return [script_of(seed) for seed in range(NR_SCRIPTS)]


def shows(script: Script) -> bool:
    """Whether a model with a bug says anything else of this script."""
    wrong = model.Model(script.chunk)
    try:
        return any(wrong.run(argv) != want for argv, want in zip(script.lines, script.expected, strict=True))
    except (machine.Unmodelled, AssertionError, KeyError, IndexError, ValueError):
        return True


@pytest.fixture
def drawn() -> list[Script]:
    """Scripts drawn before anything is broken."""
    return sample()


@pytest.mark.parametrize("bug", BUGS, ids=[bug.__name__ for bug in BUGS])
def test_random_scripts_notice(bug: Callable[[pytest.MonkeyPatch], object], drawn: list[Script]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        bug(patch)
        assert any(shows(script) for script in drawn)


def test_nothing_shows_where_nothing_is_broken(drawn: list[Script]) -> None:
    assert not any(shows(script) for script in drawn)
