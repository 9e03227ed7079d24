"""A task that touches memory: what its faults did so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from migratectl.kernel.memory import absent
from migratectl.operations.allocator import Allocator
from migratectl.operations.machine import Machine
from migratectl.policy import Policy
from migratectl.runs import Run
from migratectl.storage import cache, coalesce, pages, tasks
from migratectl.storage.connection import Connection
from migratectl.storage.files import object_policies
from migratectl.storage.pages import ProtectedRun
from migratectl.storage.vmas import Vma
from migratectl.uapi import VM, errno_number


@dataclass(slots=True)
class Faults:
    """
    What the faults of a range did, in pages, and the first page that could not be had.

    ``at`` is its page number, ``errno`` EFAULT or ENOMEM, ``signal`` SIGSEGV or SIGBUS where the task would be killed.
    ``major`` faults read from a disk; ``twice``: what of the counts is no page of its own: one
    that came back from swap and was copied at once, or for whose copy there was no memory.
    """

    anonymous: int = 0
    zero: int = 0
    cow: int = 0
    reuse: int = 0
    file: int = 0
    swapin: int = 0
    present: int = 0
    major: int = 0
    twice: int = 0
    errno: str | None = None
    signal: str | None = None
    at: int | None = None
    reason: str = ""

    def counts(self) -> dict[str, int]:
        """The numbers, as the document names them."""
        names = ("anonymous", "zero", "cow", "reuse", "file", "swapin", "present")
        return {name: getattr(self, name) for name in names}

    def stop(self, at: int, errno: str, reason: str, signal: str | None = None) -> None:
        """Remember the page that could not be had."""
        self.at, self.errno, self.reason, self.signal = at, errno, reason, signal

    def failure(self, subject: str, page_size: int) -> dict[str, Any]:
        """The keys that a document has when a page could not be had."""
        at = hex((self.at or 0) * page_size)
        keys: dict[str, Any] = {
            "return": -errno_number(self.errno or ""),
            "errno": self.errno,
            "message": f"{subject}: {self.errno}: {self.reason} at {at}; what came before it is done",
            "committed": True,
            "at": at,
        }
        return keys | ({"signal": self.signal} if self.signal else {})


@dataclass(slots=True)
class Toucher:
    """
    A task while it touches a range.

    Attributes:
        memory: What it takes memory by.
        pid: The task.
        mm: Its address space.
        anon: The mapping of its anonymous family.
        faults: What was done so far.
        cached: (mapping, first index, one past the last) of the page cache that was looked at.
    """

    memory: Allocator
    pid: int
    mm: int
    anon: int
    faults: Faults = field(default_factory=Faults)
    cached: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def conn(self) -> Connection:
        """The connection of the transaction."""
        return self.memory.conn

    @property
    def machine(self) -> Machine:
        """The machine."""
        return self.memory.machine

    @property
    def subject(self) -> str:
        """What an error is about."""
        return f"pid {self.pid}"

    def absent(self, start: int, end: int) -> list[Run]:
        """The addresses of [start, end), which was cut there, that have no pte."""
        mapped = pages.mapped_total(self.conn, self.mm, start, end)
        if mapped == end - start:
            return []
        return absent(start, end, pages.spans(self.conn, self.mm, start, end) if mapped else [])

    def policy_of(self, vma: Vma) -> Policy | None:
        """The area's own policy."""
        return None if vma.policy is None else tasks.find_policy(self.conn, vma.policy)

    def by_policy(self, vma: Vma, start: int, end: int) -> list[tuple[Vma, int, int]]:
        """
        The parts of [start, end) of an area in which one policy decides where private memory goes, cut and with it.

        It is the area's own; in a private mapping of tmpfs under ``modern`` that of the object at the page's index.

        Source:
            get_vma_policy() of mm/mempolicy.c; rule 52 of what a 6.1 kernel does.
        """
        if vma.kind != "shm" or vma.flags & VM.SHARED or not self.machine.modern:
            return [(vma, start, end)]
        parts = object_policies(self.conn, vma, start, end)
        for low, _, _ in parts[1:]:
            pages.cut_address(self.conn, self.mm, low)
        return [(replace(vma, policy=own), low, high) for low, high, own in parts]

    def finish(self, start: int, end: int, *, rejoin: bool) -> None:
        """Write the accounts, and join runs of [start, end) again."""
        self.memory.settle()
        if not rejoin:
            return
        limit = coalesce.LIMIT + 1
        rows = set(pages.rows_between(self.conn, self.mm, start, end, limit))
        for mapping, low, high in self.cached:
            rows.update(cache.neighbours(self.conn, mapping, low, high, limit))
        coalesce.coalesce(self.conn, rows)


def leaving(replaced: Iterable[ProtectedRun]) -> list[tuple[Run, int]]:
    """The anonymous pages that a copy leaves without mapper, by address, with their node: free for the next fault."""
    return [(row.run, row.node or 0) for row in replaced if row.last and row.kind == "anon"]
