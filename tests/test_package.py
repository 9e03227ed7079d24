"""What is shipped: the wheel holds the migrations and the schema, and an installed package finds them."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "schema.sql", "migratectl", "migrations")

ASK = """
from pathlib import Path
from migratectl.storage import connection, schema
where = schema.script_location()
for name, make in (("upgraded", schema.upgrade), ("made", schema.create)):
    conn = connection.connect(Path(name), mode="rwc")
    with conn.transaction(write=True):
        make(conn)
        assert conn.execute("SELECT count(*) FROM pages").scalar() == 0
print(where)
print((Path(schema.__file__).parents[1] / "schema.sql").is_file())
"""

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("hatchling") is None or importlib.util.find_spec("pip") is None,
    reason="hatchling or pip is not installed, so no wheel can be built here",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources without the network."""
    work = tmp_path_factory.mktemp("wheel")
    source = work / "source"
    source.mkdir()
    for name in SOURCES:
        origin = ROOT / name
        if origin.is_dir():
            shutil.copytree(origin, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(origin, source / name)
    words = ["wheel", "--quiet", "--no-index", "--no-build-isolation", "--no-deps", "--wheel-dir", str(work)]
    built = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *words, str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (path,) = work.glob("*.whl")
    return path


def test_the_wheel_holds_migrations_and_schema(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert archive.read("migratectl/schema.sql") == (ROOT / "schema.sql").read_bytes()
    assert {
        "migratectl/_migrations/env.py",
        "migratectl/_migrations/script.py.mako",
        "migratectl/_migrations/versions/0001_first.py",
        "migratectl/_migrations/versions/0002_anon_vma.py",
        "migratectl/_migrations/versions/0003_files.py",
        "migratectl/py.typed",
    } <= names
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "migratectl").rglob("*.py")}
    assert modules <= names
    strangers = {name for name in names if not name.startswith(("migratectl/", "migratectl-"))}
    assert not strangers, f"installed beside the package: {sorted(strangers)}"


def test_an_installed_package_finds_its_migrations(wheel: Path, tmp_path: Path) -> None:
    """The revisions inside the package run, whatever the working directory."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=dict(os.environ) | {"PYTHONPATH": str(tmp_path / "site")},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / "site/migratectl/_migrations"), "True"]


def test_an_editable_install_finds_the_tree_beside_it(tmp_path: Path) -> None:
    """An editable install is the source tree on the path: there is no ``_migrations``, but ``../migrations``."""
    assert not (ROOT / "migratectl/_migrations").exists()
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=dict(os.environ) | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(ROOT / "migrations"), "False"]
