"""The layers: imports point down only, and what may be imported where is kept."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "migratectl"

LEAVES = {path.stem for path in PACKAGE.glob("*.py")} - {"__main__"}
BELOW = {
    "cli": {"render", "operations", "linux", "kernel", "storage"},
    "render": set(),
    "operations": {"importing", "linux", "kernel", "storage"},
    "importing": {"linux", "kernel", "storage"},
    "linux": set(),
    "kernel": set(),
    "storage": set(),
    "__main__": {"cli"},
} | {leaf: set() for leaf in LEAVES}
HOMES = {"click": {"cli"}, "rich": {"render"}, "sqlalchemy": {"storage"}, "alembic": {"storage"}}
OF_THE_MACHINE = tuple(f"migratectl.operations.{name}" for name in ("cpuset_files", "machine", "mempolicy", "tasks"))
"""
What `importing` needs of the calls: what every call starts from. It belongs to a room `machine` below both, and is
named here until that is there.
"""
NO_DATABASE = {"kernel": {"sqlalchemy", "sqlite3", "alembic"}, "linux": {"sqlalchemy", "sqlite3", "alembic"}}

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if not {"migrations", "_migrations"} & set(path.parts))


def layer(path: Path) -> str:
    """The layer of a module: its folder in the package, or itself for a leaf."""
    inside = path.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def imports(tree: ast.AST) -> Iterator[str]:
    """Full names of what a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_layer(name: str) -> str | None:
    """The layer that an imported name of the package belongs to; None for others and for the package itself."""
    parts = name.split(".")
    if parts[0] != "migratectl" or len(parts) == 1:
        return None
    known = parts[1] in BELOW
    return parts[1] if known else None


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    """A module imports its own layer, lower ones and leaves."""
    mine = layer(path)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    allowed = BELOW[mine] | LEAVES | {mine}
    seen = set(imports(tree))
    upward = {name for name in seen if own_layer(name) not in allowed | {None}}
    if mine == "importing":
        upward = {name for name in upward if ".".join(name.split(".")[:3]) not in OF_THE_MACHINE}
    assert not upward, f"{mine} must not import {sorted(upward)}"
    for library, homes in HOMES.items():
        if mine not in homes:
            assert library not in {name.split(".")[0] for name in seen}, f"{library} belongs to {sorted(homes)}"
    assert not NO_DATABASE.get(mine, set()) & {name.split(".")[0] for name in seen}


def test_what_importing_needs_of_the_calls_does_not_need_importing() -> None:
    """Else the exception would be a circle."""
    ways = {
        "migratectl." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts): set(
            imports(ast.parse(path.read_text(encoding="utf-8")))
        )
        for path in MODULES
    }
    reached: set[str] = set()
    todo = set(OF_THE_MACHINE)
    while todo:
        reached |= todo
        todo = {name for each in todo for name in ways.get(each, ())} - reached
    assert not {name for name in reached if own_layer(name) == "importing"}


def test_the_arrows_are_tested() -> None:
    """An arrow that points up is found, whether a module or a name is imported."""
    tree = ast.parse("from migratectl import cli\nimport migratectl.storage.engine\n")
    assert {own_layer(name) for name in imports(tree)} == {None, "cli", "storage"}
    assert "cli" not in BELOW["kernel"] | LEAVES


READERS = {"parse_span", "parse_size", "parse_address", "parse_label"}
"""What reads a word of the command line, in a leaf; parse_nodes() reads the files of cpusets too."""

BELOW_CLI = [
    path for path in MODULES if layer(path) in ("operations", "importing", "kernel", "storage", "linux", "render")
]


def words_read(tree: ast.AST) -> set[str]:
    """
    Where a module reads words of a command line: by a reader, or by anything done to ``argv`` but to hand it on whole.

    To keep it, to print it and to join it is to tell it.
    """
    telling = {"list", "tuple", "join"}
    told = {
        id(word)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in telling
        for word in node.args
    }
    read = {name for name in imports(tree) if name.rpartition(".")[2] in READERS}
    for node in ast.walk(tree):
        name = getattr(node, "attr", getattr(node, "id", ""))
        if name == "argv" and isinstance(getattr(node, "ctx", None), ast.Load) and id(node) not in told:
            read.add(f"line {node.lineno}")  # type: ignore[attr-defined]  # a Name or an Attribute has one
    return read


@pytest.mark.parametrize("path", BELOW_CLI, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_words_are_read_by_the_command_line_alone(path: Path) -> None:
    """A command is read once: what the layers below have to know of its words comes to them as values."""
    assert not words_read(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "text",
    [
        "from migratectl.spans import Span, parse_span",
        "first = race.argv[0]",
        "for word in argv: pass",
        "found = [word for word in race.argv if word.isdigit()]",
        "words = own_words(race.argv)",
        "name, *rest = argv",
        "is_fork = 'fork' in race.argv",
    ],
)
def test_a_second_reader_is_found(text: str) -> None:
    assert words_read(ast.parse(text))
