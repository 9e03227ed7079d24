"""What would help a page that could not move: a sentence, and commands that work as printed."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from migratectl.operations.machine import Machine
from migratectl.runs import Run
from migratectl.storage import files, holds, tasks
from migratectl.storage.connection import Connection
from migratectl.storage.tasks import Task
from migratectl.storage.vmas import Vma
from migratectl.uapi import VM, Mode

BEYOND: Final = "beyond"
"""State of a page that lies behind the end of its file."""


class Verdict(NamedTuple):
    """
    What would become of a page.

    ``area`` is the first page of its area, so that pages of two areas never share one; ``step`` is the one of the
    documentation's twenty at which it ends, None where the page is not even collected; ``holders`` are (pid, kind,
    release pass), ``mappers`` pids, as far as they stand in its way; ``outside``: tasks that this state does not have
    map it too; ``locked``: a pid of each address space that has it in a locked area, and how many pages further on
    there; ``writepage``: what can write it, where that is asked.
    """

    area: int
    node: int | None
    state: str
    reason: str
    errno: str | None = None
    nr_pass: int | None = None
    step: int | None = None
    holders: tuple[tuple[int, str, int], ...] = ()
    mappers: tuple[int, ...] = ()
    outside: bool = False
    locked: tuple[tuple[int, int], ...] = ()
    writepage: str = ""


@dataclass(frozen=True, slots=True)
class Remedy:
    """
    What would help.

    Args:
        says: What it is.
        commands: Command lines without the program's name, each run after the one before; may be none.
    """

    says: str
    commands: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = " and ".join(f"'migratectl {command}'" for command in self.commands)
        return f"{self.says}: {told}" if told else self.says


@dataclass(frozen=True, slots=True)
class Remedies:
    """
    Finds what would help the pages of one task.

    Args:
        conn: The connection of the transaction.
        machine: The machine.
        task: The task.
        move: It is asked about pages that only this task maps, whoever calls.
    """

    conn: Connection
    machine: Machine
    task: Task
    move: bool

    def of(self, verdict: Verdict, vma: Vma, run: Run) -> Remedy | None:
        """What would help a run of one area; None where nothing does."""
        find = _FINDERS.get(verdict.reason)
        return find(self, verdict, vma, run) if find else None

    def _span(self, run: Run, shift: int = 0) -> str:
        return f"{(run.start + shift) * self.machine.facts.page_size:#x}+{run.last - run.start + 1}p"

    def _command(self, word: str, run: Run, *more: str) -> str:
        return " ".join((word, str(self.task.pid), self._span(run), *more))

    def not_present(self, verdict: Verdict, vma: Vma, run: Run) -> Remedy | None:
        """Touch it, after whatever forbids that."""
        if verdict.state == BEYOND:
            return self._longer(vma, run)
        write = vma.kind == "anon" and verdict.state == "absent"  # a read would get the zero page
        if not vma.flags & (VM.WRITE if write else VM.READ):
            return self._allow(run, write=write)
        return self._touch(vma, run, write=write)

    def zero_page(self, _verdict: Verdict, vma: Vma, run: Run) -> Remedy | None:
        """A write gives each its own."""
        if not vma.flags & VM.WRITE:
            return self._allow(run, write=True)
        return self._touch(vma, run, write=True, says="a write gives it a page of its own")

    def other_node(self, verdict: Verdict, _vma: Vma, run: Run) -> Remedy:
        """Ask about its node."""
        more = ("--from", str(verdict.node), *(("--move",) if self.move else ()))
        return Remedy("name its node among those to leave", (self._command("explain", run, *more),))

    def shared(self, verdict: Verdict, _vma: Vma, run: Run) -> Remedy:
        """Move it as who may move shared pages: what else stands in its way is then told."""
        others = ", ".join(map(str, verdict.mappers)) + (" and others outside this state" if verdict.outside else "")
        says = f"mapped by pid {others}; move it with --move-all, or as a caller with CAP_SYS_NICE"
        if self.machine.posted:
            return Remedy(says)
        return Remedy(f"{says}, and see what it meets then", (self._command("explain", run),))

    def locked_area(self, _verdict: Verdict, _vma: Vma, run: Run) -> Remedy:
        """Unlock it."""
        return Remedy("unlock it for the time of the move", (self._command("munlock", run),))

    def locked_elsewhere(self, verdict: Verdict, _vma: Vma, run: Run) -> Remedy | None:
        """Unlock it there."""
        commands = tuple(f"munlock {pid} {self._span(run, shift)}" for pid, shift in verdict.locked)
        return Remedy("unlock it there for the time of the move", commands) if commands else None

    def parked(self, verdict: Verdict, _vma: Vma, _run: Run) -> Remedy | None:
        """Empty the batch."""
        return _let_go(verdict, "take it out of the batch", "page unpark")

    def page_locked(self, verdict: Verdict, _vma: Vma, run: Run) -> Remedy | None:
        """Unlock the page, or its buffers."""
        return _let_go(verdict, "let the lock go", "page unlock") or self._idle(run, "let the locks of its buffers go")

    def written_back(self, verdict: Verdict, _vma: Vma, _run: Run) -> Remedy | None:
        """End the writeback."""
        return _let_go(verdict, "let it be over", "page unwriteback")

    def pinned(self, verdict: Verdict, _vma: Vma, _run: Run) -> Remedy | None:
        """Let go of it."""
        return _let_go(verdict, "let the references go", "page unpin")

    def no_swap(self, _verdict: Verdict, _vma: Vma, _run: Run) -> Remedy:
        """A slot."""
        return Remedy("one free slot is enough for any number of pages", (self._swap_on(),))

    def unwritable(self, verdict: Verdict, _vma: Vma, _run: Run) -> Remedy:
        """Swap, where swap is what could write it."""
        if verdict.writepage == "swap":
            return Remedy("swap space, which is where tmpfs writes", (self._swap_on("1M"),))
        return Remedy("nothing: its file system has nowhere to write")

    def written_late(self, _verdict: Verdict, vma: Vma, _run: Run) -> Remedy:
        """Write it before."""
        commands = (f"file sync {shlex.quote(vma.name)}",) if vma.kind == "file" else ()
        return Remedy("try once more, or write it first", commands)

    def buffers_busy(self, _verdict: Verdict, _vma: Vma, run: Run) -> Remedy | None:
        """Idle buffers."""
        return self._idle(run, "let its buffers be idle")

    def _idle(self, run: Run, says: str) -> Remedy:
        dense = run if run.step == 1 else Run(run.start, 1, 1)  # pages between may be absent, which have no buffers
        return Remedy(says, (self._command("page buffers", dense, "--state", "idle"),))

    def _allow(self, run: Run, *, write: bool) -> Remedy:
        says = "its protection forbids the touch; allow it"
        return Remedy(says, (self._command("mprotect", run, "rw" if write else "r"),))

    def _longer(self, vma: Vma, run: Run) -> Remedy:
        says = "it lies beyond the end of its file"
        if files.find(self.conn, vma.name) is None:
            return Remedy(says)
        return Remedy(says, (f"file truncate {shlex.quote(vma.name)} {run.last + vma.delta + 1}p",))

    def _touch(self, vma: Vma, run: Run, *, write: bool, says: str = "touch it first") -> Remedy:
        """Touch as many pages as there is room for."""
        room = self._room(vma)
        if not room:
            return Remedy(f"{says}, once pages are free where it may lie")
        fits = run if room >= run.nr_pages else Run(run.start, run.step, room)
        says += "" if fits is run else f" (no more than {room} pages are free for it)"
        return Remedy(says, (self._command("fault", fits, *(("--write",) if write else ())),))

    def _room(self, vma: Vma) -> int:
        """Free pages where the next page of an area may lie."""
        policy = self.task.policy
        if vma.policy is not None and vma.kind != "file":
            policy = tasks.find_policy(self.conn, vma.policy)
        allowed = self.machine.online & self.task.cpuset.mems
        if policy is not None and policy.mode is Mode.BIND and policy.nodes & allowed:
            allowed &= policy.nodes
        return sum(nr for nid, nr in self.machine.free.items() if nid in allowed)

    def _swap_on(self, size: str = "1p") -> str:
        taken = {area.name for area in holds.swap_areas(self.conn)}
        return f"swap on {next(name for k in range(len(taken) + 1) if (name := f'swap{k}') not in taken)} {size}"


def _let_go(verdict: Verdict, says: str, word: str) -> Remedy | None:
    """Let all who hold it let it go; None where nobody does."""
    pids = dict.fromkeys(pid for pid, _, _ in verdict.holders)
    return Remedy(says, tuple(f"{word} {pid}" for pid in pids)) if pids else None


_FINDERS: Final[dict[str, Callable[[Remedies, Verdict, Vma, Run], Remedy | None]]] = {
    "not-present": Remedies.not_present,
    "other-node": Remedies.other_node,
    "shared": Remedies.shared,
    "vma-locked": Remedies.locked_area,
    "reserved-page": Remedies.zero_page,
    "off-lru": Remedies.parked,
    "busy-locked": Remedies.page_locked,
    "busy-writeback": Remedies.written_back,
    "no-swap": Remedies.no_swap,
    "pinned": Remedies.pinned,
    "pageout-keep": Remedies.pinned,
    "mlocked": Remedies.locked_elsewhere,
    "pageout-activate": Remedies.unwritable,
    "writeback-started": Remedies.written_late,
    "buffers-busy": Remedies.buffers_busy,
}
"""For each word what would help, where something would."""
