"""``python -m benchmarks [NAME...] [--json]``: measure, and print a table of ratios with their limits."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Bench, NotMeasuredError, Row, Sample
from benchmarks.rows import BENCHMARKS

HEADINGS = ("what", "wall", "cpu", "floor wall", "floor cpu", "ratio", "other", "limit", "")


def main(words: Sequence[str]) -> int:
    """Run the benchmarks that *words* name; 0 whatever they find: no program decides by a time."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ratios against floors of the same run.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--repeat", type=int, default=7, metavar="N", help="rounds of a small measurement (default 7)")
    asked = parser.parse_args(words)
    unknown = [name for name in asked.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark '{unknown[0]}'; there are {', '.join(BENCHMARKS)}")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="migratectl-benchmarks-") as folder:
        bench = Bench(Path(folder), max(asked.repeat, 1))
        for name in asked.names or BENCHMARKS:
            sys.stderr.write(f"{name} …\n")
            rows += measured(name, bench)
    sys.stdout.write(as_json(rows) if asked.json else as_table(rows))
    return 0


def measured(name: str, bench: Bench) -> Iterator[Row]:
    """The rows of a benchmark; where a command fails, one that says so."""
    try:
        yield from BENCHMARKS[name](bench)
    except NotMeasuredError as error:
        yield Row(name, name, reason=str(error))


def as_json(rows: Sequence[Row]) -> str:
    """The rows as one JSON document."""
    return json.dumps({"machine": machine(), "rows": [as_dict(row) for row in rows]}, indent=1) + "\n"


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
    }


def as_dict(row: Row) -> dict[str, Any]:
    """A row with its ratios."""
    wall, cpu = row.ratios
    return {
        "name": row.name,
        "what": row.what,
        "measured": _times(row.measured),
        "floor": _times(row.floor),
        "ratio_wall": wall,
        "ratio_cpu": cpu,
        "judged": row.best,
        "unit": row.unit or None,
        "limit": row.limit,
        "verdict": row.verdict,
        "note": row.note or None,
        "reason": row.reason or None,
    }


def _times(sample: Sample | None) -> dict[str, Any] | None:
    return None if sample is None else {"wall": sample.wall, "cpu": sample.cpu, "rss_kib": sample.rss or None}


def as_table(rows: Sequence[Row]) -> str:
    """The rows as aligned text, their notes below."""
    cells = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[k]) for line in cells) for k in range(len(HEADINGS))]
    lines = [_aligned(line, widths) for line in cells]
    lines.insert(1, "  ".join("-" * width for width in widths[:-1]))
    notes = [f"{row.what}: {row.reason or row.note}" for row in rows if row.reason or row.note]
    where = ", ".join(f"{key} {value}" for key, value in machine().items())
    told = f"Seconds, medians. ratio: the better of wall and cpu (w, c), other: the other one. {where}"
    return "\n".join([*lines, "", told, *notes]) + "\n"


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    numbers = (cell.rjust(width) for cell, width in zip(line[1:-1], widths[1:-1], strict=True))
    return "  ".join([line[0].ljust(widths[0]), *numbers, line[-1]]).rstrip()


def _cells(row: Row) -> tuple[str, ...]:
    pairs = [(ratio, letter) for ratio, letter in zip(row.ratios, "wc", strict=True) if ratio is not None]
    ratios = [f"{ratio:.2f} {letter}" for ratio, letter in sorted(pairs)]
    if row.value is not None:
        ratios = [f"{row.value:.1f} {row.unit}"]
    ratios += [""] * (2 - len(ratios))
    limit = "" if row.limit is None else f"{row.limit:g}"
    return (row.what, *_seconds(row.measured), *_seconds(row.floor), *ratios, limit, row.verdict)


def _seconds(sample: Sample | None) -> tuple[str, str]:
    return ("", "") if sample is None else (f"{sample.wall:.3f}", f"{sample.cpu:.3f}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
