"""Random scripts for the tool and the model: commands are drawn knowing the model's state, so most do something."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import pathlib
import random
import shlex
import tempfile
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from .machine import PAGE, Machine, Mm, Slot, Unmodelled
from .model import Document, Model

PROFILES = ("v9", "v9", "modern")
CHUNKS = (1, 2, 3, 4, 5, 8, 256)
NEAR, FAR = 0x40000, 1 << 33  # page numbers of areas with a given address; FAR is beyond 32 bits
NO_SUCH_PID = 999
MAX_TASKS = 4
TEMPORARY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@dataclasses.dataclass
class Script:
    """A script and what the model says of every line."""

    chunk: int
    lines: list[list[str]]
    expected: list[Document]

    def text(self) -> str:
        """As `migratectl batch` reads it."""
        return "".join(shlex.join(argv) + "\n" for argv in self.lines)


@functools.cache
def matrix_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for distance files that lives as long as the test run."""
    return tempfile.TemporaryDirectory(prefix="migratectl-distance-", dir=TEMPORARY)


def matrix_file(rows: list[list[int]]) -> str:
    """The path of a distance file with these rows."""
    text = "\n".join(" ".join(map(str, row)) for row in rows) + "\n"
    path = pathlib.Path(matrix_folder().name, hashlib.sha256(text.encode()).hexdigest()[:12])
    path.write_text(text)
    return str(path)


class Writer:
    """Draws one script."""

    def __init__(self, rng: random.Random, profile: str | None) -> None:
        self.rng = rng
        self.chunk = rng.choice(CHUNKS)
        self.model = Model(self.chunk)
        self.script = Script(self.chunk, [], [])
        self.labels = 0
        self.profile = profile or rng.choice(PROFILES)

    # ---- small choices ---------------------------------------------------------------------------------------

    def one(self, *choices: Any) -> Any:
        """One of these."""
        return self.rng.choice(choices)

    def number(self, low: int, high: int) -> int:
        """An integer, both ends included."""
        return self.rng.randint(low, high)

    def chance(self, part: int) -> bool:
        """True once in `part` draws."""
        return self.rng.randrange(part) == 0

    @property
    def machine(self) -> Machine:
        """The machine as it is now."""
        assert self.model.machine is not None
        return self.model.machine

    def pid(self) -> int:
        """A task, rarely one that is not there."""
        pids = sorted(self.machine.tasks)
        if not pids or self.chance(60):
            return NO_SUCH_PID
        busy = [pid for pid in pids if any(slot.page for slot in self.slots(pid).values())]
        return int(self.one(*(pids if not busy or self.chance(4) else busy)))

    def slots(self, pid: int) -> dict[int, Slot]:
        """The address space of a pid that may not exist or have none."""
        mm = self.mm(pid)
        return mm.slots if mm else {}

    def mm(self, pid: int) -> Mm | None:
        """The address space of a pid that may not exist."""
        task = self.machine.tasks.get(pid)
        return task.mm if task else None

    def span(self, pid: int, short: bool = False) -> str:
        """A range that meets an area: a label, a part, a part with holes."""
        mm = self.mm(pid)
        if mm is None or not mm.slots:
            return f"{NEAR * PAGE:#x}+4p"
        labels = sorted({slot.label for slot in mm.slots.values() if slot.label})
        starts = [vpn for vpn in sorted(mm.slots) if vpn - 1 not in mm.slots]
        present = [vpn for vpn, slot in sorted(mm.slots.items()) if slot.page]
        if short and present and not self.chance(6):
            return f"{self.one(*present) * PAGE:#x}+{self.number(1, 3)}p"
        if labels and not short and self.chance(3):
            label = self.one(*labels)
            return f"{label}+{self.number(1, 8)}p@{self.number(0, 12)}p" if self.chance(3) else str(label)
        start = self.one(*starts)
        end = start
        while end in mm.slots:
            end += 1
        if not short and self.chance(3):
            return f"{start * PAGE:#x}+{end - start}p"
        low = self.number(start, end - 1)
        if self.chance(20):
            low = max(start - 2, 0)
        length = self.number(1, 5 if short else end - low)
        if self.chance(20):
            length += 7
        return f"{low * PAGE:#x}+{length}p"

    def nodes(self, wild: int = 12) -> str:
        """A set of nodes, rarely an odd one."""
        count = len(self.machine.nodes)
        if self.chance(wild):
            return str(self.one("none", "all", "!0", f"0,{count}", f"{count}-{count + 1}", "1023", "1500"))
        if self.chance(3):
            return str(self.number(0, count - 1))
        chosen = self.rng.sample(range(count), self.number(1, count))
        return ",".join(map(str, sorted(chosen)))

    def caller(self) -> list[str]:
        """Mostly root."""
        if self.chance(6):
            return ["--as", self.one("0", "1", "2")]
        return ["--by", str(self.pid())] if self.chance(5) else []

    # ---- commands --------------------------------------------------------------------------------------------

    def init(self) -> list[str]:
        """A machine of 2 to 6 nodes with little memory."""
        count = self.number(3, 6) if self.one(False, True) else self.number(2, 4)
        memory = [self.one(20, 8, 12, 25, 40, 60, 200) for _ in range(count)]
        cpus = [self.one(1, 1, 2) for _ in range(count)]
        if self.chance(4):
            memory[self.number(0, count - 1)] = 0
        if self.chance(4):
            cpus[self.number(0, count - 1)] = 0
        words = ["init", "--nodes", str(count), "--memory", ",".join(f"{m}p" if m else "0" for m in memory)]
        words += ["--cpus", ",".join(map(str, cpus)), "--profile", self.profile]
        shape = self.one("none", "pair", "file")
        if shape == "pair":
            words += ["--distance", self.one("10,20", "10,15", "10,40")]
        if shape == "file":
            rows = [[10] * count for _ in range(count)]
            for i in range(count):
                for j in range(i):
                    rows[i][j] = rows[j][i] = self.one(20, 15, 30, 40)
            words += ["--distance", matrix_file(rows)]
        if not self.chance(3):
            words += ["--swap", self.one("3p", "1p", "2p", "5p", "64p", "none")]
        return words

    def task_create(self) -> list[str]:
        """A task, a thread, rarely a kernel thread or a pid that is taken."""
        pids = sorted(self.machine.tasks)
        pid = self.one(*pids) if pids and self.chance(20) else max([100, *pids]) + 1
        words = ["task", "create", "--pid", str(pid), *self.place()]
        if pids and self.chance(4):
            words += ["--thread-of", str(self.one(*pids))]
        elif self.chance(20):
            words += ["--kernel-thread"]
        if self.chance(2):
            words += ["--uid", self.one("1", "2", "0")]
        if self.chance(4):
            words += [self.one("--cap", "--drop-cap"), self.one("sys_nice", "sys_ptrace", "ipc_lock")]
        if self.chance(10):
            words += ["--no-dumpable"]
        return words

    def place(self) -> list[str]:
        """Where a task runs."""
        node = self.number(0, len(self.machine.nodes) - 1)
        return ["--node", str(node)] if self.chance(2) else ["--cpu", str(node)]

    def mmap(self) -> list[str]:
        """An area, with a label or near others."""
        words = ["mmap", str(self.pid()), f"{self.number(1, 60)}p"]
        if self.chance(2):
            words += ["--addr", hex((self.one(NEAR, FAR) + self.number(0, 90)) * PAGE)]
        if self.chance(2):
            self.labels += 0 if self.chance(10) else 1
            words += ["--label", f"area{self.labels}"]
        if self.chance(10):
            words += ["--prot", self.one("r", "none")]
        if self.chance(15):
            words += ["--locked"]
        return words

    def ranged(self, *words: str, short: bool = False) -> list[str]:
        """A command with a task and a range."""
        pid = self.pid()
        return [*words, str(pid), self.span(pid, short)]

    def hold(self, *words: str) -> list[str]:
        """A page lock or pin that ends at a pass or never."""
        argv = self.ranged(*words, short=not self.chance(6))
        if not self.chance(3):
            argv += ["--passes", str(self.number(0, 10))]
        if words[1] == "pin" and self.chance(4):
            argv += ["--count", str(self.number(1, 3))]
        return argv

    def release(self, *words: str) -> list[str]:
        """The end of holds, of a range or all."""
        return [*words, str(self.pid())] if self.chance(3) else self.ranged(*words)

    def fault(self) -> list[str]:
        """Mostly writes."""
        return self.ranged("fault") + ([] if self.chance(4) else ["--write"])

    def set_mempolicy(self) -> list[str]:
        """Each mode, good and bad sets."""
        mode = self.one("interleave", "bind", "preferred", "default")
        words = ["set-mempolicy", str(self.pid()), mode]
        return words if mode == "default" and not self.chance(6) else [*words, self.nodes(8)]

    def migrate_pages(self) -> list[str]:
        """Sets of any kind; sometimes a dry run."""
        pid = self.pid()
        held = sorted({slot.page.node for slot in self.slots(pid).values() if slot.page})
        source = str(self.one(*held)) if held and self.chance(3) else self.nodes()
        words = ["migrate-pages", str(pid), source, self.nodes(), *self.caller()]
        return [*words, "--dry-run"] if self.chance(10) else words

    def move_pages(self) -> list[str]:
        """Some pages of one task, mostly in address order; or a query."""
        pid = self.pid()
        mm = self.mm(pid)
        vpns = sorted(mm.slots) if mm else []
        count = self.number(1, 10)
        chosen = [self.one(*vpns) if vpns and not self.chance(15) else NEAR - 3 for _ in range(count)]
        if self.chance(2):
            chosen = sorted(set(chosen))
        if self.chance(5):
            return ["move-pages", str(pid), "--query", *(hex(vpn * PAGE) for vpn in chosen), *self.caller()]
        last = len(self.machine.nodes) - 1
        node = self.number(0, last)
        entries = []
        for vpn in chosen:
            if self.chance(4):
                node = last + 1 if self.chance(12) else self.number(0, last)
            entries.append(f"{vpn * PAGE:#x}={node}")
        extra = ["--move-all"] if self.chance(5) else []
        return ["move-pages", str(pid), *entries, *extra, *self.caller()]

    def command(self) -> list[str]:
        """Any command."""
        kinds: dict[str, tuple[int, Callable[[], list[str]]]] = {
            "fault": (7, self.fault),
            "migrate": (9, self.migrate_pages),
            "mmap": (3, self.mmap),
            "lock": (2, lambda: self.hold("page", "lock")),
            "pin": (2, lambda: self.hold("page", "pin")),
            "policy": (3, self.set_mempolicy),
            "move": (3, self.move_pages),
            "unlock": (1, lambda: self.release("page", "unlock")),
            "unpin": (2, lambda: self.release("page", "unpin")),
            "mlock": (1, lambda: self.ranged("mlock")),
            "munlock": (1, lambda: self.ranged("munlock")),
            "munmap": (1, lambda: self.ranged("munmap")),
            "run-on": (1, lambda: ["task", "run-on", str(self.pid()), *self.place()]),
            "exit": (1, lambda: ["task", "exit", str(self.pid())]),
            "create": (1, self.task_create),
            "swap": (1, lambda: ["swap", "on", f"more{len(self.script.lines)}", f"{self.number(1, 4)}p"]),
        }
        if len(self.machine.tasks) >= MAX_TASKS:
            del kinds["create"]
        if len(self.machine.tasks) < 2 and not self.chance(6):
            del kinds["exit"]
        names = [name for name, (weight, _) in kinds.items() for _ in range(weight)]
        return kinds[self.one(*names)][1]()

    def episode(self) -> tuple[Callable[[], list[str]], ...]:
        """What chance alone seldom brings together: residue of a migration, and what becomes of it."""
        pid, hold = self.pid(), self.one("pin", "lock")

        def migrate() -> list[str]:
            return ["migrate-pages", str(pid), "all", self.nodes()]

        return (
            lambda: ["page", hold, str(pid), self.span(pid, short=True)],
            migrate,
            self.one(lambda: ["page", "un" + hold, str(pid)], self.fault, lambda: ["page", "unpin", str(pid)]),
            self.one(migrate, self.migrate_pages, lambda: ["fault", str(pid), self.span(pid), "--write"]),
            migrate,
        )

    def add(self, argv: list[str]) -> bool:
        """Run a command in the model and write it down, unless the documents leave its outcome open."""
        try:
            document = self.model.run(argv)
        except Unmodelled:
            return False
        self.script.lines.append(argv)
        self.script.expected.append(document)
        return True

    def look(self, pids: list[int]) -> None:
        """Pages of these tasks and all nodes."""
        for pid in pids:
            if self.mm(pid) is not None:
                self.add(["show", "pages", str(pid)])
        self.add(["show", "nodes"])

    def write(self, most: int) -> Script:
        """The whole script."""
        while not self.add(self.init()):
            pass
        self.add(["task", "create", "--pid", "101", *self.place()])
        if not self.machine.tasks:
            self.add(["task", "create", "--pid", "101"])
        first = self.one([], ["--addr", hex(NEAR * PAGE)], ["--addr", hex(FAR * PAGE)])
        self.add(["mmap", "101", f"{self.number(4, 60)}p", "--label", "heap", *first])
        if self.chance(3):
            self.add(["set-mempolicy", "101", "interleave", self.nodes(20)])
        self.add(["fault", "101", "heap", "--write"])
        for _ in range(self.number(5, most)):
            for draw in self.episode() if self.chance(15) else (self.command,):
                argv = draw()
                if self.add(argv):
                    self.look([pid for pid in sorted(self.machine.tasks) if str(pid) in argv[1:4]])
        self.look(sorted(self.machine.tasks))
        self.add(["check"])
        return self.script


def script_of(seed: int, profile: str | None = None, most: int = 36) -> Script:
    """The script of a seed: 5 to 40 commands, each followed by a look at what it left behind."""
    return Writer(random.Random(seed), profile).write(most)


SEEDS = st.integers(0, 2**63)
"""Scripts for hypothesis: it chooses seeds only. What fails is made smaller by `smallest`, line by line."""


def rewritten(chunk: int, lines: list[list[str]]) -> Script | None:
    """These lines with what the model says of them; None where it says nothing."""
    model = Model(chunk)
    try:
        return Script(chunk, lines, [model.run(argv) for argv in lines])
    except Unmodelled:
        return None


def smallest(script: Script, wrong: Callable[[Script], bool]) -> Script:
    """The script without all lines that `wrong` does not need, in pieces of half its length down to one line."""
    size = len(script.lines) // 2
    while size:
        start = 1
        while start < len(script.lines):
            lines = script.lines[:start] + script.lines[start + size :]
            shorter = rewritten(script.chunk, lines)
            if shorter is not None and wrong(shorter):
                script = shorter
            else:
                start += size
        size //= 2
    return script
