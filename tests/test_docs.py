"""The README says what the program does: its generated parts are the program's output, every command is there."""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from migratectl.cli import COMMANDS, run
from migratectl.cli.group import Entry
from tests import test_golden as transcript

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"


def output(*argv: str) -> str:
    """What the program prints, messages after results."""
    both = io.StringIO()
    run(list(argv), stdout=both, stderr=both)
    return both.getvalue()


def commands(registry: Mapping[str, Entry], path: str = "") -> Iterator[tuple[str, Entry]]:
    """Every command, those of groups by their full name."""
    for name, entry in registry.items():
        if entry.module is not None:
            yield f"{path}{name}", entry
        yield from commands(entry.group or {}, f"{path}{name} ")


def generated() -> dict[str, str]:
    """The text between the markers of the README, by their name."""
    rows = "".join(f"| `{name}` | {entry.help} |\n" for name, entry in commands(COMMANDS))
    return {
        "demo": f"```console\n{output('demo')}```\n",
        "commands": f"| command | what it does |\n| --- | --- |\n{rows}",
        "help": f"```text\n{output('--help')}```\n",
    }


def rewritten(text: str) -> str:
    """The README with its generated parts brought up to date."""
    for name, body in generated().items():
        block = f"<!-- {name} -->\n{body}<!-- /{name} -->"
        text = re.sub(f"<!-- {name} -->.*?<!-- /{name} -->", lambda _, block=block: block, text, flags=re.DOTALL)
    return text


def test_the_generated_parts_of_the_readme_are_what_the_program_prints(request: pytest.FixtureRequest) -> None:
    text = README.read_text()
    fresh = rewritten(text)
    if request.config.getoption("--golden-update"):
        README.write_text(fresh)
        return
    assert text == fresh, "run pytest tests/test_docs.py --golden-update and look at what changed"


@pytest.mark.parametrize(
    ("name", "entry"), list(commands(COMMANDS)), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_has_help_with_examples_that_begin_with_its_name(name: str, entry: Entry) -> None:
    text = output(*name.split(), "--help")
    assert " ".join(text.splitlines()[2].split()) in entry.help
    examples = re.findall(r"^  migratectl (.+)$", text, flags=re.MULTILINE)
    assert examples or name in ("check", "demo", "state hash"), f"{name} has no example"
    assert all(example.startswith(name) or f" {name}" in example for example in examples)


def test_every_file_that_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


FENCE = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
STORIES: dict[str, str | None] = {
    "administrator.md": "32amd64-4s2n4c-cgroup2",
    "one-page.md": None,
    "swap-migration.md": None,
}
"""The pages of docs whose console blocks are one transcript, and the machine that they call ``machine``, if any."""


@pytest.mark.parametrize("name", STORIES)
def test_a_story_is_a_transcript(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """All console blocks of a page, one after another in one folder, byte for byte."""
    machine = STORIES[name]
    if machine is not None:
        shared_data: Path = request.getfixturevalue("shared_data")
        tree = shared_data / "topologies" / machine
        if not tree.exists():
            pytest.skip(f"no {tree}: the story is told on that machine")
        (tmp_path / "machine").symlink_to(tree.resolve())
    page = ROOT / "docs" / name
    text = page.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIGRATECTL_STATE", "state.db")

    def told(block: re.Match[str]) -> str:
        heading, steps = transcript.read(block[1])
        for step in steps:
            step.output = transcript.answer(step)
        return f"```console\n{transcript.write(heading, steps)}```"

    fresh = FENCE.sub(told, text)
    assert FENCE.search(text)
    if request.config.getoption("--golden-update"):
        page.write_text(fresh, encoding="utf-8")
        return
    assert fresh == text, "run pytest tests/test_docs.py --golden-update and look at what changed"


def defined(path: Path) -> set[str]:
    """What a module defines: functions, classes, and as `Class.name` their methods and fields; no imports."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        for child in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(child, ast.FunctionDef):
                found.add(f"{node.name}.{child.name}")
    return found


def test_patch_to_code_names_only_modules_functions_and_tests_that_exist() -> None:
    """A name counts where it is defined, not where it is imported."""
    text = (ROOT / "docs" / "patch-to-code.md").read_text(encoding="utf-8")
    named = re.findall(r"`([A-Za-z_/0-9.-]+\.(?:py|console|md))(?:::([A-Za-z_0-9.]+))?`", text)
    assert len(named) > 80
    for name, function in sorted(set(named)):
        path = ROOT / name if name.startswith(("tests/", "docs/")) else ROOT / "migratectl" / name
        assert path.is_file(), name
        assert not function or function in defined(path), (name, function)


def test_patch_to_code_has_a_module_and_a_test_in_every_row() -> None:
    """What has no effect in a model says so."""
    text = (ROOT / "docs" / "patch-to-code.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    rows = [row for row in rows if row[-1].strip() != "test"]
    assert len(rows) > 50
    for row in rows:
        modelled, test = row[-2].strip(), row[-1].strip()
        assert "`" in modelled or modelled.startswith(("as ", "no ", "nothing ")), row
        assert "`tests/" in test or test.startswith("as ") or not test, row
