"""Every expectation of the public suites that a model can answer has a test with its id in the name."""

from __future__ import annotations

import csv
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parent


def named() -> set[str]:
    """The ids in the names of the tests of this folder, functions and parameters."""
    found: set[str] = set()
    for path in TESTS.glob("test_*.py"):
        if path.name == Path(__file__).name:
            continue
        text = path.read_text()
        found |= set(re.findall(r'"([A-Z]+-\d\d)"', text))
        for function in re.findall(r"^def test_(\w+)", text, flags=re.MULTILINE):
            found |= {f"{family.upper()}-{nr}" for family, nr in re.findall(r"_([a-z]+)_(\d\d)(?!\d)", f"_{function}")}
    return found


def test_every_row_that_fits_has_a_test(shared_data: Path) -> None:
    with (shared_data / "conformance/public.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    fits = {row["id"] for row in rows if row["model_fit"] == "yes"}
    assert fits - named() == set()
    assert named() <= {row["id"] for row in rows}, "an id that no suite has"
