"""
Scenarios that a 6.1 kernel ran, as commands for ``batch`` with what the kernel answered to each.

``results`` holds one file a topology and family: the topology, and scenarios of steps (``op``, its arguments, the
kernel's ``result``). What only a C program can say, such as a bad pointer, is left out where nothing depends on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.kernel import answers
from tests.kernel.answers import PAGE, Answer

RESULTS = Path(__file__).resolve().parent / "results"
FIRST_PID, KTHREADD = 101, 2
MOUNTS = {"tmpfs": "/mnt/tmpfs/", "ramfs": "/mnt/ramfs/", "ext2": "/mnt/ext/"}
SWAP = ("swap", "on", "ram0", "64M")
Step = dict[str, Any]


class Untold(Exception):
    """The command line cannot say it."""


@dataclass(frozen=True)
class Line:
    """A command, and what the kernel answered."""

    words: tuple[object, ...]
    answer: Answer = answers.done


def scenarios() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each (topology, scenario) that came out the same in all boots."""
    for path in sorted(RESULTS.glob("*.json")):
        found = json.loads(path.read_text())
        yield from ((found["topology"], scenario) for scenario in found["scenarios"] if scenario["deterministic"])


def node_list(ids: list[int]) -> str:
    """As the command line takes it."""
    return ",".join(map(str, ids)) or "none"


def flag(name: str) -> str:
    """A flag of a call as an option."""
    return "--" + name.replace("_", "-")


def machine(topology: dict[str, Any], folder: Path) -> list[Line]:
    """The lines that make the machine; the distances go to a file in *folder*."""

    def of_all(value: Any) -> list[int]:
        return value if isinstance(value, list) else [value] * topology["nodes"]

    distances = folder / "distances"
    distances.write_text("".join(" ".join(map(str, row)) + "\n" for row in topology["distances"]))
    memory = ",".join(f"{size}M" if size else "0" for size in of_all(topology["mb_per_node"]))
    cpus = ",".join(map(str, of_all(topology["cpus_per_node"])))
    words = ("--nodes", topology["nodes"], "--memory", memory, "--cpus", cpus, "--distance", distances)
    return [Line(("init", *words, "--profile", "modern")), Line(SWAP)]


def of_c_alone(step: Step) -> bool:
    """Whether a step has arguments that only a C program can give."""
    raw = any(isinstance(step.get(key), int) for key in ("flags", "mode"))
    half = step["op"] == "move_pages" and "byte_off" in step
    unflagged = step["op"] == "get_mempolicy" and ("vma" in step or "addr" in step) and not step.get("flags")
    return raw or half or unflagged or "nullmask" in step or "maxnode" in step


@dataclass
class Telling:
    """Tells the steps of one scenario, in order; remembers who and what its names are."""

    pids: dict[str, int] = field(default_factory=dict)
    areas: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    forked: bool = False

    def lines(self, step: Step) -> list[Line]:
        """
        What a step is on the command line.

        Raises:
            Untold: Nothing, and what follows depends on it.
        """
        op, result = step["op"], step["result"]
        if of_c_alone(step):
            if result.get("errno") or op == "get_mempolicy":
                return []
            raise Untold(f"{op} as only C has it")
        tell = getattr(self, f"_{op}", None)
        if tell is None:
            raise Untold(op)
        return list(tell(step, result))

    def _born(self, name: str) -> int:
        return self.pids.setdefault(name, FIRST_PID + len(self.pids))

    def _range(self, step: Step) -> str:
        start, pages = self.areas[step["task"], step["vma"]]
        at = start + step.get("start", 0) * PAGE + step.get("byte_off", 0)
        nr = step.get("count", pages - step.get("start", 0))
        return f"{at:#x}+{nr * PAGE + step.get('len_off', 0)}"

    def _policy(self, step: Step) -> list[str]:
        flags = [*step.get("mode_flags", ()), *step.get("flags", ())]
        return [step["mode"].replace("_", "-"), node_list(step["nodes"]), *map(flag, flags)]

    def _on_range(self, *words: str, step: Step, answer: Answer, more: tuple[str, ...] = ()) -> list[Line]:
        return [Line((*words, self.pids[step["task"]], self._range(step), *more), answer)]

    # ---- tasks ---------------------------------------------------------------------------------------------------

    def _task(self, step: Step, _: Step) -> Iterator[Line]:
        words = ["--node", step["cpu_node"], "--uid", step.get("uid", 0)]
        words += [word for cap in step.get("drop_caps", ()) for word in ("--drop-cap", cap)]
        words += [] if step.get("dumpable", 1) else ["--no-dumpable"]
        yield Line(("task", "create", "--pid", self._born(step["task"]), *words))

    def _fork(self, step: Step, _: Step) -> Iterator[Line]:
        self.forked = True
        own = {vma: place for (task, vma), place in self.areas.items() if task == step["task"]}
        self.areas |= {(step["child"], vma): place for vma, place in own.items()}
        yield Line(("fork", self.pids[step["task"]], "--pid", self._born(step["child"])))

    def _run_on(self, step: Step, result: Step) -> Iterator[Line]:
        words = ("task", "run-on", self.pids[step["task"]], "--node", step["node"])
        yield Line(words, answers.errno(result))

    def _exit(self, step: Step, _: Step) -> Iterator[Line]:
        yield Line(("task", "exit", self.pids[step["task"]]))

    # ---- address spaces ------------------------------------------------------------------------------------------

    def _mmap(self, step: Step, result: Step) -> Iterator[Line]:
        if step["kind"] == "hugetlb":
            raise Untold("huge pages")
        start, pages = result["start_pfn"] * PAGE, step["pages"]
        self.areas[step["task"], step["vma"]] = start, pages
        shared = step.get("shared", step["kind"] in ("shmem", "file"))
        number = ["--ino", result["ino"]] if "ino" in result else []
        words: list[object] = ["--shared"] if shared else []
        if step["kind"] == "file":
            path = MOUNTS[step.get("fs", "tmpfs")] + step.get("file", step["vma"])
            if path not in self.files:
                self.files.add(path)
                yield Line(("file", "create", path, "64p", "--fs", step.get("fs", "tmpfs"), *number))
            words += ["--file", path, *(["--offset", f"{step['offset']}p"] if step.get("offset") else [])]
        elif shared:
            words += number
        words += ["--locked"] if step.get("mlock") else []
        words += ["--prot", step["prot"] or "none"] if "prot" in step else []
        yield Line(("mmap", self.pids[step["task"]], f"{pages}p", "--addr", hex(start), *words))

    def _munmap(self, step: Step, result: Step) -> list[Line]:
        return self._on_range("munmap", step=step, answer=answers.errno(result))

    def _mlock(self, step: Step, result: Step) -> list[Line]:
        return self._on_range("mlock", step=step, answer=answers.errno(result))

    def _munlock(self, step: Step, result: Step) -> list[Line]:
        return self._on_range("munlock", step=step, answer=answers.errno(result))

    def _mprotect(self, step: Step, result: Step) -> list[Line]:
        return self._on_range("mprotect", step=step, answer=answers.errno(result), more=(step["prot"] or "none",))

    def _madvise(self, step: Step, result: Step) -> list[Line]:
        return self._on_range("madvise", step=step, answer=answers.errno(result), more=(step["advice"],))

    def _touch(self, step: Step, result: Step) -> list[Line]:
        more = ("--write",) if step["write"] else ()
        return self._on_range("fault", step=step, answer=answers.faulted(result), more=more)

    def _pin(self, step: Step, _: Step) -> list[Line]:
        more = ("--read",) if self.forked else ()  # a reference of the guest breaks no sharing
        return self._on_range("page", "pin", step=step, answer=answers.done, more=more)

    def _unpin(self, step: Step, _: Step) -> Iterator[Line]:
        yield Line(("page", "unpin", self.pids[step["task"]]))

    def _swapoff(self, _: Step, result: Step) -> Iterator[Line]:
        yield Line(("swap", "off", "ram0"), answers.errno(result))

    def _swapon(self, _: Step, result: Step) -> Iterator[Line]:
        yield Line(SWAP, answers.errno(result))

    # ---- policies and moves --------------------------------------------------------------------------------------

    def _set_mempolicy(self, step: Step, result: Step) -> Iterator[Line]:
        words = ("set-mempolicy", self.pids[step["task"]], *self._policy(step))
        yield Line(words, answers.errno(result))

    def _mbind(self, step: Step, result: Step) -> list[Line]:
        return self._on_range("mbind", step=step, answer=answers.value(result), more=tuple(self._policy(step)))

    def _get_mempolicy(self, step: Step, result: Step) -> Iterator[Line]:
        at = [step["addr"]] if "addr" in step else []
        if "vma" in step:
            at = [hex(self.areas[step["task"], step["vma"]][0] + step.get("page", 0) * PAGE)]
        asked = tuple(name for name in step.get("flags", ()) if name in ("node", "mems_allowed"))
        words = ("get-mempolicy", self.pids[step["task"]], *at, *map(flag, asked))
        yield Line(words, answers.policy(result, asked))

    def _migrate_pages(self, step: Step, result: Step) -> Iterator[Line]:
        caller = self.pids[step["caller"]]
        target = caller if step["target"] == "0" else self.pids.get(step["target"]) or int(step["target"])
        if target == KTHREADD and "kthreadd" not in self.pids:
            self.pids["kthreadd"] = KTHREADD
            yield Line(("task", "create", "--pid", KTHREADD, "--kernel-thread"))
        words = ("migrate-pages", target, node_list(step["from"]), node_list(step["to"]), "--by", caller)
        yield Line(words, answers.value(result))

    def _move_pages(self, step: Step, result: Step) -> Iterator[Line]:
        owner = step.get("target", step["caller"])
        places = [self.areas.get((task, step["vma"])) for task in (owner, step["caller"], *self.pids)]
        start = next(place[0] for place in places if place is not None)
        at = [hex(start + page * PAGE) for page in step["pages"]]
        nodes = step["nodes"]
        words = [f"{addr}={nodes[k % len(nodes)]}" for k, addr in enumerate(at)] if nodes else ["--query", *at]
        words += [flag(name) for name in step["flags"] if name == "move_all"]
        pid = self.pids.get(owner) or int(owner)
        yield Line(("move-pages", pid, *words, "--by", self.pids[step["caller"]]), answers.statuses(result))

    # ---- cpusets -------------------------------------------------------------------------------------------------

    def _cpuset_create(self, step: Step, result: Step) -> Iterator[Line]:
        refused = result.get("mems_errno")  # the kernel made it, and did not take the nodes
        name, mems = f"/{step['name']}", node_list(step["mems"])
        migrate = ["--memory-migrate"] if step["memory_migrate"] else []
        words = ("cpuset", "create", name, "--mems", "none" if refused else mems, *migrate)
        yield Line(words, answers.errno(result))
        if refused:
            yield Line(("cpuset", "set", name, "--mems", mems), answers.errno({"errno": refused}))

    def _cpuset_attach(self, step: Step, result: Step) -> Iterator[Line]:
        words = ("cpuset", "move", self.pids[step["task"]], f"/{step['name']}")
        yield Line(words, answers.errno(result))

    def _cpuset_set_mems(self, step: Step, result: Step) -> Iterator[Line]:
        words = ("cpuset", "set", f"/{step['name']}", "--mems", node_list(step["mems"]))
        yield Line(words, answers.errno(result))

    def _cpuset_set_migrate(self, step: Step, result: Step) -> Iterator[Line]:
        switch = "--memory-migrate" if step["value"] else "--no-memory-migrate"
        yield Line(("cpuset", "set", f"/{step['name']}", switch), answers.errno(result))

    def _cpuset_read(self, step: Step, result: Step) -> Iterator[Line]:
        yield Line(("cpuset", "read", f"/{step['name']}", step["file"]), answers.cpuset_file(result))

    def _cpuset_write(self, step: Step, result: Step) -> Iterator[Line]:
        words = ("cpuset", "write", f"/{step['name']}", step["file"], "--", step["value"])
        yield Line(words, answers.errno(result))

    def _cpuset_remove(self, step: Step, result: Step) -> Iterator[Line]:
        yield Line(("cpuset", "remove", f"/{step['name']}"), answers.errno(result))

    # ---- looking -------------------------------------------------------------------------------------------------

    def _observe(self, step: Step, result: Step) -> Iterator[Line]:
        areas = {name: place[0] for (task, name), place in self.areas.items() if task == step["task"]}
        if any(vma["vma"] not in areas for vma in result["vmas"]):
            raise Untold("an area that no step made")
        pid = self.pids[step["task"]]
        yield Line(("show", "pages", pid), answers.pages(areas, result["vmas"]))
        yield Line(("numa-maps", pid), answers.numa_maps(areas, result["vmas"]))

    def _verify(self, _: Step, __: Step) -> Iterator[Line]:
        yield Line(("check",), answers.sound)

    def _capture(self, _: Step, __: Step) -> list[Line]:
        return []

    _sync = _capture


def told(topology: dict[str, Any], scenario: dict[str, Any], folder: Path) -> list[Line]:
    """
    A scenario as lines.

    Raises:
        Untold: It cannot be told; why.
    """
    if scenario["family"] == "fallback":
        raise Untold("the free memory of that machine is not known")
    telling = Telling()
    lines = machine(topology, folder)
    for step in scenario["steps"]:
        lines += telling.lines(step)
    return lines
