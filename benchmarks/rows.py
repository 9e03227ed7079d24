"""The benchmarks: one function for each figure to reach, by the name that ``python -m benchmarks`` takes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.measure import MIGRATECTL, ROOT, Bench, Row, Sample, copy_state, interleaved
from benchmarks.tree import make_tree

AREA: Final = "0x10000000"
SMALL: Final = f"{AREA}+16p"
HUGE: Final = f"{AREA}+64G"
MIDDLE: Final = "0x810000000+1p"
"""32 GiB behind AREA."""

OF_A_START: Final = 1.8
"""What a command may cost that touches little, or one run of however many pages: times floor S."""

SIXTEEN_NODES: Final = "init --nodes 16 --memory 64G"

RANDOM_PAGES: Final = 1_000_000
DOUBLED_PAGES: Final = 100_000
CROWD: Final = 2_000
NR_LINES: Final = 1_000
NR_TASKS: Final = 500
NR_AREAS: Final = 40
PER_LINES: Final = 100_000
MEBIBYTE: Final = 1024


def start(bench: Bench) -> Iterator[Row]:
    """Help, version and completion load click and nothing else."""
    python = [sys.executable, "-c", "import click"]
    words = {
        "COMP_WORDS": "migratectl migr",
        "COMP_CWORD": "1",
        "_MIGRATECTL_COMPLETE": "bash_complete",
    }
    found = interleaved(
        2 * bench.repeat,
        {
            "import click": lambda: bench.run(python),
            "--help": lambda: bench.run([*MIGRATECTL, "--help"]),
            "--version": lambda: bench.run([*MIGRATECTL, "--version"]),
            "completion": lambda: bench.run(MIGRATECTL, more=words),
        },
    )
    for name in ("--help", "--version", "completion"):
        yield Row("start", name, found[name], found["import click"], 1.35)


def small(bench: Bench) -> Iterator[Row]:
    """Small commands against floor S."""
    made, faulted = bench.folder / "made.db", bench.folder / "faulted.db"
    lines = ["init --nodes 4 --memory 1G", "task create --pid 100", f"mmap 100 16p --addr {AREA}"]
    bench.script_of_commands(made, lines)
    bench.script_of_commands(faulted, [*lines, f"fault 100 {SMALL} --write"])
    state = bench.folder / "small.db"

    def fresh(template: Path, *words: str) -> Sample:
        return bench.command(copy_state(template, state), *words)

    found = interleaved(
        bench.repeat,
        {
            "S": bench.floor_s,
            "task create": lambda: fresh(faulted, "task", "create", "--pid", "101"),
            "mmap of 16 pages": lambda: fresh(faulted, "mmap", "100", "16p"),
            "fault of 16 pages": lambda: fresh(made, "fault", "100", SMALL, "--write"),
            "migrate-pages of 16 pages": lambda: fresh(faulted, "migrate-pages", "100", "0", "1"),
            "move-pages of 1 page": lambda: fresh(faulted, "move-pages", "100", f"{AREA}=1"),
            "show pages": lambda: fresh(faulted, "show", "pages", "100"),
            "numa-maps": lambda: fresh(faulted, "numa-maps", "100"),
            "node list": lambda: fresh(faulted, "node", "list"),
            "show pages --json": lambda: fresh(faulted, "show", "pages", "100", "--json"),
        },
    )
    for name, sample in found.items():
        if name != "S":
            yield Row("small", name, sample, found["S"], OF_A_START)


def huge(bench: Bench) -> Iterator[Row]:
    """64 GiB in one run and interleaved over 8 nodes: building and moving them, against floor S."""
    one, eight = bench.folder / "one.db", bench.folder / "eight.db"
    lines = [SIXTEEN_NODES, "task create --pid 100", f"mmap 100 64G --addr {AREA}"]
    bench.script_of_commands(one, lines)
    bench.script_of_commands(eight, [*lines, "set-mempolicy 100 interleave 0-7"])
    states = {template: bench.folder / f"work-{template.name}" for template in (one, eight)}

    def build(template: Path) -> Sample:
        return bench.command(copy_state(template, states[template]), "fault", "100", HUGE, "--write")

    def move(template: Path, source: str, dest: str) -> Sample:
        return bench.command(states[template], "migrate-pages", "100", source, dest)

    found = interleaved(
        bench.repeat,
        {
            "S": bench.floor_s,
            "fault of 64 GiB in one run": partial(build, one),
            "migrate-pages of 64 GiB in one run": partial(move, one, "0", "8"),
            "fault of 64 GiB interleaved over 8 nodes": partial(build, eight),
            "migrate-pages of 64 GiB interleaved over 8 nodes": partial(move, eight, "0-7", "8-15"),
        },
    )
    for name, sample in found.items():
        if name != "S":
            yield Row("huge", name, sample, found["S"], OF_A_START)


def shared(bench: Bench) -> Iterator[Row]:
    """64 GiB on one node: spread by mbind over eight others, forked, and copied on write in the middle."""
    written, forked = bench.folder / "written.db", bench.folder / "forked.db"
    lines = [SIXTEEN_NODES, "task create --pid 100", f"mmap 100 64G --addr {AREA}", f"fault 100 {HUGE} --write"]
    bench.script_of_commands(written, lines)
    bench.script_of_commands(forked, [*lines, "fork 100 --pid 101"])
    state = bench.folder / "shared-work.db"

    def fresh(template: Path, *words: str) -> Sample:
        return bench.command(copy_state(template, state), *words)

    found = interleaved(
        bench.repeat,
        {
            "S": bench.floor_s,
            "mbind interleave of 64 GiB over 8 nodes": partial(
                fresh, written, "mbind", "100", HUGE, "interleave", "8-15", "--move"
            ),
            "fork of 64 GiB": partial(fresh, written, "fork", "100", "--pid", "101"),
            "copy on write in the middle of 64 GiB": partial(fresh, forked, "fault", "101", MIDDLE, "--write"),
        },
    )
    for name, sample in found.items():
        if name != "S":
            yield Row("shared", name, sample, found["S"], OF_A_START)


def cached(bench: Bench) -> Iterator[Row]:
    """A file of 1 M pages with buffers: written, mapped, touched, moved and synced, against floor S."""
    empty, written, mapped = (bench.folder / f"{name}.db" for name in ("empty", "written-file", "mapped-file"))
    lines = ["init --nodes 4 --memory 16G", "task create --pid 100", "file create /data 4G --fs ext3"]
    more = ["file write /data", f"mmap 100 4G --addr {AREA} --file /data --shared"]
    touch = f"fault 100 {AREA}+4G"
    bench.script_of_commands(empty, lines)
    bench.script_of_commands(written, [*lines, *more])
    bench.script_of_commands(mapped, [*lines, *more, touch])
    state = bench.folder / "cached-work.db"

    def fresh(template: Path, *words: str) -> Sample:
        return bench.command(copy_state(template, state), *words)

    found = interleaved(
        bench.repeat,
        {
            "S": bench.floor_s,
            "file write of 1 M pages": partial(fresh, empty, "file", "write", "/data"),
            "fault of 1 M pages of a file": partial(fresh, written, *touch.split()),
            "migrate-pages of 1 M pages with buffers": partial(fresh, mapped, "migrate-pages", "100", "0", "1"),
            "file sync of 1 M pages": partial(fresh, mapped, "file", "sync", "/data"),
        },
    )
    for name, sample in found.items():
        if name != "S":
            yield Row("cached", name, sample, found["S"], OF_A_START)


def scattered(bench: Bench) -> Iterator[Row]:
    """1 M pages on random nodes, 5 % of them in the way of a migration."""
    template, state = bench.folder / "random.db", bench.folder / "random-work.db"
    bench.script("states", "random", template, str(RANDOM_PAGES))
    for uid, name, limit in ((0, "MOVE_ALL", 4.0), (1, "MOVE", 4.0)):

        def inside(what: str, uid: int = uid) -> Sample:
            return bench.inside(what, copy_state(template, state), str(uid), "0-1", "2-3")

        def whole(uid: int = uid) -> Sample:
            copy_state(template, state)
            return bench.command(state, "--json", "--as", str(uid), "migrate-pages", "100", "0-1", "2-3", codes=(0, 3))

        found = interleaved(
            bench.few,
            {"update": partial(inside, "update"), "migrate": partial(inside, "migrate"), "whole": whole},
            warm_up=False,
        )
        told = found["migrate"].told
        sizes = f"{found['update'].told['rows']:,} rows, {told['moved']:,} pages moved, {told['failed']:,} failed"
        sizes += f", {told['skipped']:,} skipped"
        yield Row("scattered", f"1 M pages, {name}", found["migrate"], found["update"], limit, sizes)
        peak = f"whole process, peak {found['whole'].rss / MEBIBYTE:.0f} MiB"
        yield Row("scattered", f"1 M pages, {name}, the command", found["whole"], found["update"], None, peak)


def crowd(bench: Bench) -> Iterator[Row]:
    """One small task among 2,000 others with 4 M pages, against the same task alone."""
    alone, among = bench.folder / "alone.db", bench.folder / "crowd.db"
    bench.script("states", "crowd", alone, "0")
    bench.script("states", "crowd", among, str(CROWD))

    def there_and_back(state: Path) -> Sample:
        moved = [bench.command(state, "migrate-pages", "100", *pair) for pair in (("0", "1"), ("1", "0"))]
        return moved[0] + moved[1]

    steps: dict[str, Callable[[], Sample]] = {}
    for name, state in (("alone", alone), ("among", among)):
        steps |= {
            f"migrate-pages {name}": partial(there_and_back, state),
            f"fault {name}": partial(bench.command, state, "fault", "100", SMALL, "--write"),
            f"show pages {name}": partial(bench.command, state, "show", "pages", "100"),
            f"inside {name}": partial(bench.inside, "small", state),
        }
    found = interleaved(bench.repeat, steps)
    for what in ("migrate-pages", "fault", "show pages"):
        yield Row("crowd", f"{what} among 2,000 tasks", found[f"{what} among"], found[f"{what} alone"], 1.2)
    note = "migrate-pages, fault, show pages, numa-maps, without the start of the process"
    yield Row("crowd", "the same operations inside", found["inside among"], found["inside alone"], 1.2, note)


def doubling(bench: Bench) -> Iterator[Row]:
    """Twice the rows of the migrated task, at most 2.1 times the time."""
    templates = {nr: bench.folder / f"rows-{nr}.db" for nr in (DOUBLED_PAGES, 2 * DOUBLED_PAGES, 4 * DOUBLED_PAGES)}
    for nr, template in templates.items():
        bench.script("states", "random", template, str(nr))
    state = bench.folder / "rows-work.db"

    def inside(nr: int) -> Sample:
        return bench.inside("migrate", copy_state(templates[nr], state), "0", "0-1", "2-3")

    found = interleaved(bench.repeat, {str(nr): partial(inside, nr) for nr in templates})
    for nr in list(templates)[1:]:
        name = f"migrate-pages, {nr:,} against {nr // 2:,} pages"
        yield Row("doubling", name, found[str(nr)], found[str(nr // 2)], 2.1, "on random nodes")


def batch(bench: Bench) -> Iterator[Row]:
    """1,000 small commands in one process."""
    template, state = bench.folder / "batch.db", bench.folder / "batch-work.db"
    bench.script_of_commands(template, ["init --nodes 4 --memory 1G", "task create --pid 100"])
    turn = [
        f"mmap 100 16p --addr {AREA}",
        f"fault 100 {SMALL} --write",
        "migrate-pages 100 0 1",
        "show pages 100",
        f"munmap 100 {SMALL}",
    ]
    script = bench.folder / "thousand"
    script.write_text("".join(f"{line}\n" for line in turn * (NR_LINES // len(turn))))

    empty = [sys.executable, ROOT / "benchmarks" / "transactions.py"]
    found = interleaved(
        bench.few,
        {
            "empty": lambda: bench.run([*empty, copy_state(template, state), str(NR_LINES)]),
            "batch": lambda: bench.command(copy_state(template, state), "batch", script),
        },
    )
    note = f"{found['batch'].cpu * 1000 / NR_LINES:.2f} ms of processor time a command, with the start of the process"
    yield Row("batch", "batch of 1,000 small commands", found["batch"], found["empty"], 4.0, note)


def imports(bench: Bench) -> Iterator[Row]:
    """A 64-node machine with 500 tasks of 40 areas."""
    tree, state = bench.folder / "tree", bench.folder / "imported.db"
    nr_lines, origin = make_tree(tree, NR_TASKS, NR_AREAS)
    found = interleaved(
        bench.few,
        {
            "S": bench.floor_s,
            "lines": lambda: bench.run([sys.executable, ROOT / "benchmarks" / "lines.py", tree]),
            "import": lambda: bench.command(state, "-q", "import", tree, "--force"),
        },
    )
    whole, scale = found["import"], PER_LINES / nr_lines
    note = f"{nr_lines:,} lines on {origin}"
    yield _seconds("import, a 100,000 lines", whole.times(scale), f"{note}; the whole command times {scale:g}")
    rest = Sample(max(whole.wall - found["S"].wall, 0), max(whole.cpu - found["S"].cpu, 0)).times(scale)
    yield _seconds("import, a 100,000 lines, without start", rest, f"less S before it is multiplied by {scale:g}")
    yield Row("import", "import, the command", whole, found["lines"], None, "floor: reads and splits the lines")
    peak = whole.rss / MEBIBYTE
    yield Row("import", "import, peak memory", whole, None, 300.0, "", peak, "MiB")


def _seconds(what: str, sample: Sample, note: str) -> Row:
    return Row("import", what, sample, None, 5.0, note, min(sample.wall, sample.cpu), "s")


BENCHMARKS: Final[dict[str, Callable[[Bench], Iterator[Row]]]] = {
    "start": start,
    "small": small,
    "huge": huge,
    "shared": shared,
    "cached": cached,
    "scattered": scattered,
    "crowd": crowd,
    "doubling": doubling,
    "batch": batch,
    "import": imports,
}
