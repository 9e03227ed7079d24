"""Processes that are run for their time: wall clock, processor time and peak memory, interleaved, as medians."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
MIGRATECTL: Final = (sys.executable, "-c", "import sys; from migratectl.cli import main; sys.exit(main())")
"""What the ``migratectl`` script of an installation does."""

_DROPPED: Final = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONSTARTUP", "NO_COLOR", "XDG_STATE_HOME")


class NotMeasuredError(Exception):
    """A command that was to be measured failed; says which and why."""


@dataclass(frozen=True, slots=True)
class Sample:
    """
    One measurement.

    Args:
        wall: Seconds that passed.
        cpu: Seconds of processor time, user and system.
        rss: Peak memory in KiB; 0 where it was not measured.
        told: What the measured process wrote as JSON; empty for the others.
    """

    wall: float
    cpu: float
    rss: int = 0
    told: Mapping[str, Any] = field(default_factory=dict)

    def __add__(self, other: Sample) -> Sample:
        return Sample(self.wall + other.wall, self.cpu + other.cpu, max(self.rss, other.rss))

    def times(self, factor: float) -> Sample:
        """The same with its times multiplied; a time below zero is zero."""
        return Sample(max(self.wall * factor, 0.0), max(self.cpu * factor, 0.0), self.rss, self.told)


@dataclass(frozen=True, slots=True)
class Row:
    """
    One line of the result.

    Args:
        name: The benchmark.
        what: What was measured.
        measured: Its median.
        floor: The median of the floor; None where the limit is absolute.
        limit: The largest ratio, or the largest value where there is no floor; None: told, not judged.
        note: Sizes that the numbers belong to.
        value: What is judged where there is no floor.
        unit: Unit of *value*.
        reason: Why there is no measurement.
    """

    name: str
    what: str
    measured: Sample | None = None
    floor: Sample | None = None
    limit: float | None = None
    note: str = ""
    value: float | None = None
    unit: str = ""
    reason: str = ""

    @property
    def ratios(self) -> tuple[float | None, float | None]:
        """Of wall and of processor time; None where either is missing."""
        if self.measured is None or self.floor is None:
            return None, None
        return _ratio(self.measured.wall, self.floor.wall), _ratio(self.measured.cpu, self.floor.cpu)

    @property
    def best(self) -> float | None:
        """What the limit is compared with: the better of the ratios, or the value."""
        ratios = [ratio for ratio in self.ratios if ratio is not None]
        return min(ratios) if ratios else self.value

    @property
    def verdict(self) -> str:
        """``ok``, ``over``, ``-`` without a limit, ``not measured``."""
        if self.reason:
            return "not measured"
        if self.limit is None or self.best is None:
            return "-"
        return "ok" if self.best <= self.limit else "over"


def _ratio(measured: float, floor: float) -> float | None:
    return measured / floor if floor > 0 else None


class Bench:
    """
    What all benchmarks of a run share.

    Args:
        folder: A directory for states and compiled modules, thrown away at the end.
        repeat: Rounds of a benchmark of small commands; the large ones take fewer.
    """

    def __init__(self, folder: Path, repeat: int) -> None:
        self.folder, self.repeat = folder, repeat
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MIGRATECTL")}
        for name in _DROPPED:
            kept.pop(name, None)
        kept |= {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(folder / "compiled"), "LC_ALL": "C.UTF-8"}
        self.environment = kept

    @property
    def few(self) -> int:
        """Rounds of a benchmark whose single measurement takes seconds."""
        return max(3, self.repeat // 2)

    def run(
        self, argv: Sequence[str | Path], *, codes: Sequence[int] = (0,), more: Mapping[str, str] | None = None
    ) -> Sample:
        """
        Run one process.

        Args:
            argv: Its words.
            codes: Exit codes that are expected.
            more: Further environment variables.

        Raises:
            NotMeasuredError: It ended with another code.
        """
        said = self.folder / "said"
        with said.open("w+b") as out, (self.folder / "complained").open("w+b") as complaints:
            start = time.perf_counter()
            child = subprocess.Popen(
                [str(word) for word in argv],
                cwd=self.folder,
                env={**self.environment, **(more or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=complaints,
            )
            _, status, usage = os.wait4(child.pid, 0)
            wall = time.perf_counter() - start
            child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode not in codes:
                complaints.seek(0)
                last = complaints.read().decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
                words = " ".join(str(word) for word in argv[len(MIGRATECTL) :])
                raise NotMeasuredError(f"'{words}' ended with {child.returncode}: {last[0]}")
        return Sample(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)

    def command(self, state: Path, *words: str | Path, codes: Sequence[int] = (0,)) -> Sample:
        """Run ``migratectl`` on a state file."""
        return self.run([*MIGRATECTL, "-s", state, *words], codes=codes)

    def script(self, name: str, *words: str | Path) -> Sample:
        """Run a module of this folder as a process."""
        return self.run([sys.executable, "-m", f"benchmarks.{name}", *words])

    def inside(self, *words: str | Path) -> Sample:
        """Measure inside of a process that has everything loaded; see inside.py."""
        self.script("inside", *words)
        told = json.loads((self.folder / "said").read_text())
        return Sample(told["wall"], told["cpu"], told=told)

    def floor_s(self) -> Sample:
        """Measure floor S once."""
        return self.run([sys.executable, ROOT / "benchmarks" / "floor.py", self.folder / "floor.db"])

    def script_of_commands(self, state: Path, lines: Sequence[str]) -> Sample:
        """Run a batch that makes or changes a state."""
        path = self.folder / "script"
        path.write_text("".join(f"{line}\n" for line in lines))
        return self.command(state, "batch", path)


def interleaved(rounds: int, steps: Mapping[str, Callable[[], Sample]], *, warm_up: bool = True) -> dict[str, Sample]:
    """
    Measure several things in turn, so that a slow minute of the machine meets all of them.

    Args:
        rounds: Measurements of each.
        steps: What to measure, in the order within a round.
        warm_up: One more round before them is thrown away.

    Returns:
        The medians.
    """
    found: dict[str, list[Sample]] = {name: [] for name in steps}
    for number in range(0 if warm_up else 1, rounds + 1):
        for name, step in steps.items():
            sample = step()
            if number:
                found[name].append(sample)
    return {name: median(samples) for name, samples in found.items()}


def median(samples: Sequence[Sample]) -> Sample:
    """The medians of both times, the highest peak; what the last one told."""
    return Sample(
        statistics.median(sample.wall for sample in samples),
        statistics.median(sample.cpu for sample in samples),
        max(sample.rss for sample in samples),
        samples[-1].told,
    )


def copy_state(source: Path, to: Path) -> Path:
    """A copy of a closed state file that is on the disk before it returns, so that no later sync pays for it."""
    for side in ("-wal", "-shm"):
        to.with_name(to.name + side).unlink(missing_ok=True)
    data = source.read_bytes()
    with to.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    return to
