"""A machine of 64 nodes with many tasks as a tree of /proc and /sys: the same bytes at every run."""

from __future__ import annotations

import random
import shutil
import tarfile
from pathlib import Path
from typing import Final

from benchmarks.measure import ROOT

NR_NODES: Final = 64
SEED: Final = 2
FIRST_PID: Final = 1000
PAGE: Final = 16 << 10
"""Bytes a page: an ia64."""

ARCHIVE: Final = ROOT.parent / "shared" / "data" / "topologies" / "256ia64-64n2s2c.tar.gz"
LIBRARIES: Final = 12
_HEADER: Final = ("default", "interleave=0-63", "bind=0-7", "prefer=5")


def make_tree(folder: Path, nr_tasks: int, nr_areas: int) -> tuple[int, str]:
    """
    Write the tree.

    Args:
        folder: A new directory.
        nr_tasks: Tasks.
        nr_areas: Areas, and so lines of numa_maps, of each.

    Returns:
        Lines in all, and where the machine comes from.
    """
    origin = _real_machine(folder) if ARCHIVE.exists() else _made_up_machine(folder)
    dice = random.Random(SEED)
    for number in range(nr_tasks):
        _task(folder / "proc" / str(FIRST_PID + number), number, nr_areas, nr_tasks, dice)
    return nr_tasks * nr_areas, origin


def _real_machine(folder: Path) -> str:
    unpacked = folder.with_name(f"{folder.name}.unpacked")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(unpacked, filter="data")
    (top,) = unpacked.iterdir()
    shutil.move(top, folder)
    unpacked.rmdir()
    return ARCHIVE.name


def _made_up_machine(folder: Path) -> str:
    for nid in range(NR_NODES):
        node = folder / "sys" / "devices" / "system" / "node" / f"node{nid}"
        node.mkdir(parents=True)
        (node / "cpulist").write_text(f"{4 * nid}-{4 * nid + 3}\n")
        (node / "meminfo").write_text(f"Node {nid} MemTotal: 8077312 kB\nNode {nid} MemFree: 7302576 kB\n")
        distances = (10 if other == nid else 20 + abs(other - nid) // 8 for other in range(NR_NODES))
        (node / "distance").write_text(" ".join(map(str, distances)) + "\n")
    (folder / "proc").mkdir()
    return "a machine that is made up"


def _task(folder: Path, number: int, nr_areas: int, nr_tasks: int, dice: random.Random) -> None:
    """The files of one process: libraries that all tasks map, private data of them, anonymous memory, heap, stack."""
    folder.mkdir()
    home = number % NR_NODES
    numa_maps: list[str] = []
    maps: list[str] = []
    at = 0x2000000000000000
    for k in range(nr_areas):
        pages = dice.choice((1, 2, 4, 8, 16, 64, 256, 1024))
        line, mapped = _area(k, at, pages, home, nr_areas, nr_tasks, dice)
        numa_maps.append(line)
        maps.append(mapped)
        at += (pages + dice.choice((0, 1, 16))) * PAGE
    pid = folder.name
    (folder / "numa_maps").write_text("".join(numa_maps))
    (folder / "maps").write_text("".join(maps))
    (folder / "status").write_text(
        f"Name:\tjob{number}\nState:\tS (sleeping)\nPid:\t{pid}\nUid:\t500\t500\t500\t500\nCapEff:\t0000000000000000\n"
    )
    (folder / "stat").write_text(f"{pid} (job{number}) S 1 " + " ".join(["0"] * 34) + f" {4 * home} 0 0\n")
    (folder / "cpuset").write_text("/\n")


def _area(k: int, at: int, pages: int, home: int, nr_areas: int, nr_tasks: int, dice: random.Random) -> tuple[str, str]:
    """A line of numa_maps and of maps."""
    end = at + pages * PAGE
    if k < LIBRARIES:
        name = f"/lib/lib{k}.so"
        words, rights, inode = f"default file={name} mapped=1 mapmax={nr_tasks} N{k}=1", "r-xp", 100 + k
    elif k < 2 * LIBRARIES:
        name = f"/lib/lib{k - LIBRARIES}.so"
        words, rights, inode = f"default file={name} anon={pages} dirty={pages} N{home}={pages}", "rw-p", 100 + k
        inode -= LIBRARIES
    else:
        name = {nr_areas - 1: "[stack]", nr_areas - 2: "[heap]"}.get(k, "")
        kind = f" {name.strip('[]')}" if name else ""
        where = _spread(pages, home, dice)
        words, rights, inode = f"{dice.choice(_HEADER)}{kind} anon={pages} dirty={pages} {where}", "rw-p", 0
    return f"{at:x} {words}\n", f"{at:x}-{end:x} {rights} 00000000 00:00 {inode} {name}".rstrip() + "\n"


def _spread(pages: int, home: int, dice: random.Random) -> str:
    """Counts by node: most at home, the rest on up to three others."""
    counts = {home: pages}
    for _ in range(dice.randrange(4)):
        other = dice.randrange(NR_NODES)
        part = counts[home] // 4
        if other != home and part:
            counts[home] -= part
            counts[other] = counts.get(other, 0) + part
    return " ".join(f"N{nid}={nr}" for nid, nr in sorted(counts.items()))
