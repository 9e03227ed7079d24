"""Single commands for random scripts, drawn knowing the model's state, so that most of them do something."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import pathlib
import random
import shlex
import tempfile
from typing import Any

from .areas import Mm, Slot
from .base import Document
from .machine import PAGE, Machine
from .model import Model

PROFILES = ("v9", "v9", "modern", "v9-posted")
MODES = ("interleave", "bind", "preferred", "default")
CHUNKS = (1, 2, 3, 4, 5, 8, 256)
NEAR, FAR = 0x40000, 1 << 33  # page numbers of areas with a given address; FAR is beyond 32 bits
NO_SUCH_PID = 999
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


class Draws:
    """Draws commands."""

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

    def call_span(self, pid: int) -> str:
        """A range as mbind, mprotect and madvise take it: often within an area, rarely one that is not whole pages."""
        if self.chance(25):
            low = NEAR * PAGE + self.number(0, 9) * PAGE
            return str(
                self.one(f"{low:#x}+0p", f"{low + 0x800:#x}+2p", f"{low:#x}-{low + 0x1800:#x}", f"{low:#x}+900p")
            )
        return self.span(pid, short=self.chance(3))

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
        elif self.chance(6):
            words += self.one(["--shared"], ["--shm", self.one("a", "b")], ["--io"], ["--pfnmap"], ["--hugetlb"])
        return words

    def files_named(self) -> list[str]:
        """What `file` can name."""
        return sorted(file.path for file in self.machine.files.values() if not file.nameless)

    def file_create(self) -> list[str]:
        """A file of any kind, small."""
        fs = self.one("ext2", "ext2", "ext3", "ext3", "xfs", "tmpfs", "tmpfs", "ramfs", "xfs-buf")
        words = ["file", "create", f"/f{len(self.script.lines)}", f"{self.number(1, 24)}p", "--fs", fs]
        if fs == "ext3":
            words += self.one([], ["--journal", self.one("ordered", "writeback", "journalled")])
        if self.chance(4) or (self.machine.modern and fs in ("ramfs", "xfs-buf")):
            words += ["--method", self.one("none", "none", "page", "buffer", "fail")]
        return words

    def file_use(self, *kinds: str) -> list[str]:
        """A part of a file is read or written; or it is synced, or cut."""
        if not self.files_named():
            return self.file_create()
        path, kind = self.one(*self.files_named()), self.one(*kinds)
        if kind == "truncate":
            return ["file", kind, path, f"{self.number(1, 20)}p"]
        if kind == "sync":
            return ["file", kind, path]
        words = ["file", kind, path, *self.one([], [f"{self.number(1, 8)}p@{self.number(0, 12)}p"])]
        words += self.one([], ["--by", str(self.pid())])
        return words

    def file_map(self) -> list[str]:
        """An area of a file, shared or private, from the start of the file or later."""
        if not self.files_named():
            return self.file_create()
        words = ["mmap", str(self.pid()), f"{self.number(1, 24)}p"]
        if self.chance(5):
            return [*words, *self.one(["--shared"], ["--shm", self.one("a", "b")])]
        words += ["--file", self.one(*self.files_named()), *self.one([], ["--shared"], ["--shared"])]
        words += ["--offset", f"{self.number(1, 8)}p"] if self.chance(4) else []
        if self.chance(3):
            words += ["--addr", hex((NEAR + 2000 + self.number(0, 60)) * PAGE)]
        return [*words, "--prot", "r"] if self.chance(8) else words

    def mapped(self, pid: int) -> str:
        """A range of areas of files, if there are any."""
        mm = self.mm(pid)
        parts = [part for part, area in mm.areas() if area.file is not None] if mm else []
        if not parts:
            return self.span(pid)
        part = self.one(*parts)
        if self.chance(3):
            return f"{part.start * PAGE:#x}+{len(part)}p"
        low = self.number(part.start, part.stop - 1)
        return f"{low * PAGE:#x}+{self.number(1, part.stop - low)}p"

    def buffers(self) -> list[str]:
        """Rings in some state."""
        pid = self.pid()
        state = self.one("idle", "dirty", "busy", "locked")
        words = ["page", "buffers", str(pid), self.mapped(pid), "--state", state]
        if not self.chance(3):
            words += ["--passes", str(self.number(0, 10)), *self.late(state)]
        return words

    def late(self, state: str) -> list[str]:
        """Busy buffers are sometimes let go late."""
        return self.one([], ["--late"]) if state == "busy" else []  # type: ignore[no-any-return]

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
        if words[1] == "pin" and self.chance(3):
            argv += ["--read"]
        return argv

    def release(self, *words: str) -> list[str]:
        """The end of holds, of a range or all."""
        return [*words, str(self.pid())] if self.chance(3) else self.ranged(*words)

    def fault(self) -> list[str]:
        """Mostly writes."""
        pid = self.pid()
        words = ["fault", str(pid), self.swapped(pid) if self.chance(4) else self.span(pid)]
        return words if self.chance(4) else [*words, "--write"]

    def set_mempolicy(self) -> list[str]:
        """Each mode, good and bad sets."""
        mode = self.mode("interleave", "bind", "preferred", "default")
        words = ["set-mempolicy", str(self.pid()), mode]
        words += [] if mode in ("default", "local") and not self.chance(6) else [self.nodes(8)]
        return words + self.mode_flags()

    def mode(self, *usual: str) -> str:
        """One of these, under `modern` often a younger one, else rarely one that does not exist yet."""
        young = self.one("local", "preferred-many", "weighted-interleave", "preferred-many", "weighted-interleave")
        return str(young if self.chance(3 if self.machine.modern else 30) else self.one(*usual))

    def mode_flags(self) -> list[str]:
        """Under `modern` often one, else rarely."""
        if not self.chance(4 if self.machine.modern else 40):
            return []
        static, relative, balancing = "--static-nodes", "--relative-nodes", "--numa-balancing"
        return list(self.one([static], [relative], [static], [relative], [balancing], [static, balancing]))

    def weigh(self) -> list[str]:
        """A weight for weighted interleaving."""
        return ["node", "weight", str(self.number(0, len(self.machine.nodes))), str(self.one(1, 2, 3, 5, 0))]

    # ---- cpusets ---------------------------------------------------------------------------------------------

    def cpuset_name(self) -> str:
        """Mostly one that is there and is not the root."""
        names = sorted(set(self.machine.cpusets) - {"/"})
        return str(self.one(*names)) if names and not self.chance(15) else self.one("/", "/nosuch")

    def cpu_list(self) -> str:
        """Some of the CPUs of the machine."""
        cpus = sorted(self.machine.cpusets["/"].cpus)
        return ",".join(map(str, sorted(self.rng.sample(cpus, self.number(1, len(cpus))))))

    def cpuset_create(self) -> list[str]:
        """A new one, often below another."""
        names = sorted(self.machine.cpusets)
        parent = str(self.one(*names))
        name = (
            f"{parent.rstrip('/')}/c{len(self.script.lines)}" if not self.chance(15) else self.one(*names, "/no/such")
        )
        words = ["cpuset", "create", name, "--mems", self.nodes(20)]
        words += ["--cpus", self.cpu_list()] if self.chance(4) else []
        return words + self.one([], ["--memory-migrate"])

    def cpuset_set(self) -> list[str]:
        """Mostly other nodes."""
        words = ["cpuset", "set", self.cpuset_name()]
        if not self.chance(3):
            return [*words, "--mems", self.nodes(20)]
        switches = ("memory-migrate", "no-memory-migrate", "memory-migrate", "cpu-exclusive", "no-cpu-exclusive")
        if self.chance(3):
            return [*words, "--cpus", self.cpu_list()]
        return [*words, f"--{self.one(*switches, 'mem-exclusive', 'no-mem-exclusive')}"]

    def cpuset_move(self) -> list[str]:
        """A task joins one, rarely by somebody who may not."""
        words = ["cpuset", "move", str(self.pid()), self.cpuset_name()]
        return [*words, "--as", self.one("0", "1", "2")] if self.chance(10) else words

    def migrate_pages(self) -> list[str]:
        """Sets of any kind; sometimes a dry run."""
        pid = self.pid()
        held = sorted({slot.page.node for slot in self.slots(pid).values() if slot.page})
        source = str(self.one(*held)) if held and self.chance(3) else self.nodes()
        words = ["migrate-pages", str(pid), source, self.nodes(), *self.caller()]
        words += ["--via-swap"] if self.chance(8) else []
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

    def swap_out(self) -> list[str]:
        """Mostly a part of an area."""
        pid = self.pid()
        words = ["swap", "out", str(pid), self.span(pid, short=self.chance(2))]
        return [*words, "--dry-run"] if self.chance(12) else words

    def swap_on(self) -> list[str]:
        """One more area, or one that was switched off."""
        names = {area.name for area in self.machine.swap_areas}
        name = "swap0" if "swap0" not in names else f"more{len(self.script.lines)}"
        return ["swap", "on", name, f"{self.number(1, 6)}p"]

    def swap_off(self) -> list[str]:
        """An area, rarely one that is not there."""
        names = [area.name for area in self.machine.swap_areas]
        name = self.one(*names) if names and not self.chance(12) else "nosuch"
        return ["swap", "off", name, *(["--by", str(self.pid())] if self.chance(3) else [])]

    def swapped(self, pid: int) -> str:
        """A range with swap ptes, if there are any."""
        gone = sorted(vpn for vpn, slot in self.slots(pid).items() if slot.swapped)
        if not gone:
            return self.span(pid, short=True)
        return f"{self.one(*gone) * PAGE:#x}+{self.number(1, 4)}p"

    def fork(self) -> list[str]:
        """A child, rarely of nobody or with a pid that is taken."""
        pids = sorted(self.machine.tasks)
        child = self.one(*pids) if pids and self.chance(25) else max([100, *pids]) + 1
        return ["fork", str(self.pid()), "--pid", str(child)]

    def mprotect(self) -> list[str]:
        """Mostly to read-only and back."""
        pid = self.pid()
        return ["mprotect", str(pid), self.call_span(pid), self.one("r", "rw", "rw", "r", "none")]

    def madvise(self) -> list[str]:
        """MADV_DONTNEED, MADV_PAGEOUT."""
        pid = self.pid()
        return ["madvise", str(pid), self.call_span(pid), "pageout" if self.chance(4) else "dontneed"]

    def mbind(self) -> list[str]:
        """Each mode with every set of flags."""
        pid = self.pid()
        mode = self.mode(*MODES, "interleave", "bind")
        bare = mode in ("default", "local") or (mode == "preferred" and self.chance(3))
        words = ["mbind", str(pid), self.call_span(pid), mode]
        words += [] if bare and not self.chance(12) else [self.nodes(16)]
        words += self.mode_flags()
        words += self.one(
            ["--move"], ["--move-all"], ["--move", "--strict"], ["--move-all", "--strict"], [], ["--strict"]
        )
        return [*words, "--dry-run"] if self.chance(12) else words

    def get_mempolicy(self) -> list[str]:
        """The policy of a task or an address, or a node."""
        pid = self.pid()
        words = ["get-mempolicy", str(pid)]
        vpns = sorted(self.slots(pid))
        if vpns and not self.chance(3):
            vpn = self.one(*vpns) + (2000 if self.chance(15) else 0)
            words.append(hex(vpn * PAGE + self.one(0, 0, 0x123)))
        words += ["--node"] if self.chance(3) else []
        return [*words, "--mems-allowed"] if self.chance(12) else words
