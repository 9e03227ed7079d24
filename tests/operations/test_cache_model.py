"""
Files, page cache and copies on write: random scripts against a machine of single pages, compared after every command.

``MIGRATECTL_SCRIPTS=2000 pytest tests/operations/test_cache_model.py`` runs so many scripts; without it a few.
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from tests.conftest import Runner
from tests.operations.cache_model import Area, File, Killed, Machine, NoMemory, Task

PAGE = 4096
BASE = 0x10000
PIDS = 100, 101, 102
SCRIPTS = int(os.environ.get("MIGRATECTL_SCRIPTS", "0")) or 16


class Script:
    """A script of random commands that both the program and the model run."""

    def __init__(self, tool: Runner, seed: int) -> None:
        self.tool, self.draw = tool, random.Random(seed)
        modern = self.draw.random() < 0.5
        # What is read ahead and what is copied meanwhile share the last free pages in an order of its own (design.md).
        sizes = [900] if modern else [8, 20, 60, 200]
        capacity = [self.draw.choice(sizes) for _ in range(self.draw.choice([2, 3, 3, 4]))]
        self.machine = Machine(capacity, modern=modern)
        self.lines: list[str] = []
        profile = "modern" if modern else "v9"
        memory = ",".join(f"{nr}p" for nr in capacity)
        self.run(f"init --nodes {len(capacity)} --memory {memory} --cpus 1 --swap 500p --profile {profile}")
        node = self.draw.randrange(len(capacity))
        self.run(f"task create --pid {PIDS[0]} --node {node}")
        self.machine.tasks[PIDS[0]] = Task(PIDS[0], node)
        self.create()

    def run(self, line: str) -> Any:
        """Run a command line; its document."""
        self.lines.append(line)
        outcome = self.tool(*line.split(), "--json")
        assert outcome.code in (0, 1), outcome.err
        return outcome.document

    def step(self) -> None:
        """One random command."""
        commands = (
            (self.fault, 40), (self.map, 15), (self.transfer, 10), (self.unmap, 7), (self.policy, 6), (self.bind, 5),
            (self.create, 4), (self.random, 3), (self.fork, 4), (self.truncate, 4), (self.sync, 3), (self.exit, 3),
        )  # fmt: skip
        self.draw.choices([command for command, _ in commands], [weight for _, weight in commands])[0]()

    def task(self) -> Task:
        """A task."""
        return self.draw.choice(list(self.machine.tasks.values()))

    def area(self) -> tuple[Task, Area] | None:
        """A task and an area of it."""
        task = self.task()
        return (task, self.draw.choice(task.areas)) if task.areas else None

    def nodes(self) -> list[int]:
        """Some nodes."""
        everyone = range(len(self.machine.capacity))
        return sorted(self.draw.sample(everyone, self.draw.randint(1, len(everyone))))

    # ---- commands

    def create(self) -> None:
        if len(self.machine.files) == 3:
            return
        fs, size = self.draw.choice(["ext2", "ext3", "tmpfs", "ramfs"]), self.draw.choice([5, 16, 40, 64, 100])
        ino = self.draw.randrange(1, 50)
        name = f"/f{len(self.machine.files)}"
        self.run(f"file create {name} {size}p --fs {fs} --ino {ino}")
        self.machine.files.append(File(name, fs, size, ino))

    def map(self) -> None:
        task, nr = self.task(), self.draw.choice([3, 8, 16, 20, 50, 70])
        start = max([area.end for area in task.areas], default=BASE) + self.draw.choice([0, 1, 30])
        prot = self.draw.choice(["rw", "rw", "r"])
        words = f"mmap {task.pid} {nr}p --addr {start * PAGE:#x} --prot {prot}"
        area = Area(start, start + nr, None, 0, False, prot == "rw")
        if self.draw.random() < 0.75:
            area.file, offset = self.draw.choice(self.machine.files), self.draw.choice([0, 0, 1, 4, 10, 30])
            area.delta, area.shared = offset - start, self.draw.random() < 0.5
            words += f" --file {area.file.name} --offset {offset}p" + (" --shared" if area.shared else "")
        self.run(words)
        task.areas.append(area)

    def fault(self) -> None:
        chosen = self.area()
        if chosen is None:
            return
        task, area = chosen
        start = self.draw.randrange(area.start, area.end)
        end = min(start + self.draw.choice([1, 1, 2, 5, 16, 40, 70]), area.end + self.draw.choice([0, 0, 3]))
        write = self.draw.random() < 0.5
        words = f"fault {task.pid} {start * PAGE:#x}+{end - start}p" + (" --write" if write else "")
        document = self.run(words)
        stopped = None
        for at in range(start, end):
            try:
                self.machine.touch(task, at, write=write)
            except (Killed, NoMemory) as error:
                stopped = (str(error) or "ENOMEM", hex(at * PAGE))
                break
        told = (document.get("signal") or document["errno"], document["at"]) if document["errno"] else None
        assert told == stopped

    def transfer(self) -> None:
        file, write, by = self.draw.choice(self.machine.files), self.draw.random() < 0.5, self.draw.random() < 0.6
        task = self.task() if by else None
        start = self.draw.randrange(file.size + 1)
        end = start + self.draw.choice([1, 4, 16, 33])
        words = f"file {'write' if write else 'read'} {file.name} {end - start}p@{start}p"
        document = self.run(words + (f" --by {task.pid}" if task else ""))
        limit = end if write else min(end, file.size)
        assert document.get("index") == self.machine.transfer(task, file, start, limit, write=write)

    def unmap(self) -> None:
        chosen = self.area()
        if chosen is None:
            return
        task, area = chosen
        start = self.draw.randrange(area.start, area.end)
        end = self.draw.randint(start + 1, area.end)
        span = f"{start * PAGE:#x}+{end - start}p"
        if self.draw.random() < 0.5:
            self.run(f"munmap {task.pid} {span}")
            self.machine.munmap(task, area, start, end)
        else:
            self.run(f"madvise {task.pid} {span} dontneed")
            self.machine.unmap(task, start, end)

    def policy(self) -> None:
        task, mode, nodes = self.task(), self.draw.choice(["default", "interleave", "bind", "preferred"]), self.nodes()
        listed = "none" if mode == "default" else ",".join(map(str, nodes))
        self.run(f"set-mempolicy {task.pid} {mode} {listed}")
        task.policy = None if mode == "default" else (mode, nodes)
        task.turn = nodes[0] if mode == "interleave" else None

    def bind(self) -> None:
        chosen = self.area()
        if chosen is None or (chosen[1].file is not None and chosen[1].file.fs == "tmpfs"):
            return
        (task, area), mode, nodes = chosen, self.draw.choice(["interleave", "bind", "preferred"]), self.nodes()
        span = f"{area.start * PAGE:#x}+{area.end - area.start}p"
        self.run(f"mbind {task.pid} {span} {mode} {','.join(map(str, nodes))}")
        area.policy = mode, nodes

    def random(self) -> None:
        chosen = self.area()
        if chosen is not None:
            task, area = chosen
            self.run(f"madvise {task.pid} {area.start * PAGE:#x}+{area.end - area.start}p random")
            area.random = True

    def fork(self) -> None:
        task, free = self.task(), [pid for pid in PIDS if pid not in self.machine.tasks]
        if not free:
            return
        self.run(f"fork {task.pid} --pid {free[0]}")
        areas = self.tool("show", "vmas", free[0], "--json").document["vmas"]
        spans = [(int(area["addr"], 16) // PAGE, int(area["end"], 16) // PAGE) for area in areas if area["anon_vma"]]
        self.machine.fork(task, free[0], {at for low, high in spans for at in range(low, high)})

    def truncate(self) -> None:
        file, size = self.draw.choice(self.machine.files), self.draw.choice([0, 3, 10, 30, 60, 100])
        self.run(f"file truncate {file.name} {size}p")
        self.machine.truncate(file, size)

    def sync(self) -> None:
        file = self.draw.choice(self.machine.files)
        self.run(f"file sync {file.name}")
        self.machine.sync(file)

    def exit(self) -> None:
        if len(self.machine.tasks) > 1:
            task = self.task()
            self.run(f"task exit {task.pid}")
            self.machine.exit(task)

    # ---- comparing

    def compare(self) -> None:
        """Every page of every task and file, what is dirty, the memory in use, whose turn it is; and the invariants."""
        for task in self.machine.tasks.values():
            shown = self.tool("show", "pages", task.pid, "--json").document
            assert dict(_present(shown)) == {at: self.look(task, at) for at in sorted(task.ptes)}
            row = self.tool("show", "tasks", task.pid, "--json").document["tasks"][0]
            assert row["il_next"] == task.turn
        listed = self.tool("file", "list", "--json").document["files"]
        assert {row["file"]: _told(row) for row in listed} == {file.name: _held(file) for file in self.machine.files}
        rings = self.tool("show", "buffers", "--json").document["buffers"]
        assert dict(_rings(rings)) == {
            (file.name, index): page.ring
            for file in self.machine.files
            for index, page in file.pages.items()
            if page.ring is not None
        }
        nodes = self.tool("node", "list", "--json").document["nodes"]
        assert [node["used"] for node in nodes] == self.machine.used
        assert self.tool("check").code == 0

    def look(self, task: Task, at: int) -> tuple[Any, ...]:
        """How ``show pages`` should tell a pte."""
        pte = task.ptes[at]
        if pte.page is None:
            return "zero", None, False, False, 1
        dirty = pte.dirty or pte.page.dirty
        return "present", pte.page.node, pte.writable, dirty, self.machine.mappers(pte.page)


def _present(document: Any) -> Any:
    for area in document["vmas"]:
        for row in area["pages"]:
            if row["state"] != "absent":
                flags = row["flags"]
                seen = row["state"], row["node"], "writable" in flags, "dirty" in flags, row["mapcount"]
                yield from ((int(row["addr"], 16) // PAGE + k, seen) for k in range(row["pages"]))


def _told(row: Any) -> tuple[Any, ...]:
    return row["size"], row["dirty"], row["nodes"]


def _held(file: File) -> tuple[Any, ...]:
    nodes: dict[str, int] = {}
    for page in file.pages.values():
        nodes[str(page.node)] = nodes.get(str(page.node), 0) + 1
    return file.size, sum(page.dirty for page in file.pages.values()), nodes


def _rings(rows: Any) -> Any:
    for row in rows:
        for k in range(row["pages"]):
            yield (row["file"], row["index"] + k * row.get("step", 1)), "dirty" in row["flags"]


@pytest.mark.parametrize("seed", range(SCRIPTS))
def test_a_random_script_does_what_the_model_does(tool: Runner, seed: int) -> None:
    script = Script(tool, seed)
    try:
        for _ in range(script.draw.randrange(10, 30)):
            script.step()
            script.compare()
    except AssertionError:
        print("\n".join(script.lines))
        raise
