"""
Replays the transcripts of tests/golden: what stands there is what the program prints, byte for byte.

A transcript opens with ``#`` lines that tell the rule; more may stand before any command. ``$ migratectl …`` runs
in-process, all lines of a transcript on one state file in one folder; ``> `` lines under it are its standard input
(``$ cat > FILE`` writes them to a file).
Then come standard output, standard error, and ``[N]`` where the exit code is not 0.
"""

from __future__ import annotations

import difflib
import io
import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from migratectl.cli import run

GOLDEN = Path(__file__).parent / "golden"
TRANSCRIPTS = sorted(GOLDEN.glob("*.console"))


@dataclass
class Step:
    """One command of a transcript: its line, its input, and the lines that should follow."""

    line: str
    comments: list[str] = field(default_factory=list)
    stdin: list[str] = field(default_factory=list)
    output: list[str] = field(default_factory=list)


def read(text: str) -> tuple[list[str], list[Step]]:
    """The heading of a transcript and its steps."""
    comments: list[str] = []
    heading: list[str] = []
    steps: list[Step] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            steps.append(Step(line[2:], comments))
            comments = []
        elif not steps:
            heading.append(line)
        elif line.startswith("# "):
            comments.append(line)
        elif line.startswith("> ") and not steps[-1].output:
            steps[-1].stdin.append(line[2:])
        else:
            steps[-1].output.append(line)
    return heading, steps


def write(heading: list[str], steps: list[Step]) -> str:
    """The transcript as text."""
    lines = list(heading)
    for step in steps:
        lines += [*step.comments, f"$ {step.line}", *(f"> {line}" for line in step.stdin), *step.output]
    return "".join(f"{line}\n" for line in lines)


def answer(step: Step) -> list[str]:
    """What the program answers to a step; the exit code last."""
    words = shlex.split(step.line)
    stdin = "".join(f"{line}\n" for line in step.stdin)
    if words[:2] == ["cat", ">"]:
        Path(words[2]).write_text(stdin, encoding="utf-8")
        return []
    assert words[0] == "migratectl", f"a transcript runs migratectl, or cat > FILE: {step.line}"
    out, err = io.StringIO(), io.StringIO()
    code = run(words[1:], out, err, io.StringIO(stdin))
    return (out.getvalue() + err.getvalue()).splitlines() + ([f"[{code}]"] if code else [])


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """The program prints what the transcript says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIGRATECTL_STATE", "state.db")
    expected = path.read_text(encoding="utf-8")
    heading, steps = read(expected)
    assert heading, "a transcript opens with the rule that it pins down"
    assert heading[0].startswith("#"), "a transcript opens with the rule that it pins down"
    assert steps, "a transcript runs something"
    for step in steps:
        step.output = answer(step)
    seen = write(heading, steps)
    if seen != expected and request.config.getoption("--golden-update"):
        assert not os.environ.get("CI"), "transcripts are rewritten by a person, who reviews the change"
        path.write_text(seen, encoding="utf-8")
        return
    diff = "".join(
        difflib.unified_diff(*(text.splitlines(keepends=True) for text in (expected, seen)), path.name, "now")
    )
    assert seen == expected, f"{path.name} has changed (--golden-update rewrites it):\n{diff}"


def test_a_transcript_reads_back_as_it_was_written() -> None:
    """Input lines, output lines that look like them, and the heading keep their places."""
    text = "# rule\n$ migratectl batch -\n> check\n> # no\nok\n> not input\n[3]\n$ migratectl check\n"
    heading, steps = read(text)
    assert (heading, [step.line for step in steps]) == (["# rule"], ["migratectl batch -", "migratectl check"])
    assert steps[0].stdin == ["check", "# no"]
    assert steps[0].output == ["ok", "> not input", "[3]"]
    assert write(heading, steps) == text
