"""What a migration did, page by page counted, and as the document of cli.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from migratectl.runs import Run, maximal_runs
from migratectl.uapi import errno_number


class Lists(NamedTuple):
    """
    The lists of a call of migrate_pages(), in pages.

    Attributes:
        listed: Pages that were collected.
        left: Those left on ``from`` that could be tried again.
        failed: Those on ``failed``.
        targets: Targets allocated, in all rounds together; None where there are none.
        used: Those that a page moved to.
    """

    listed: int
    left: int
    failed: int
    targets: int | None
    used: int

    def steps(self) -> dict[str, dict[str, int | None]]:
        """
        The sizes of the lists after each step of the use of migrate_pages().

        Source:
            Documentation/vm/page_migration, A, as the patch set adds it.
        """
        unused = None if self.targets is None else self.targets - self.used
        nothing = None if self.targets is None else 0
        gone = self.listed - self.left - self.failed
        rows = {
            "collect": (self.listed, nothing, 0, 0),
            "allocate": (self.listed, self.targets, 0, 0),
            "move": (self.left, unused, gone, self.failed),
            "put back": (0, nothing, 0, 0),
        }
        return {step: dict(zip(("from", "to", "moved", "failed"), sizes, strict=True)) for step, sizes in rows.items()}


@dataclass(frozen=True, slots=True)
class Stayed:
    """
    Pages of a task that did not move for one reason.

    ``pid`` is None where nobody maps them; ``errno`` and ``nr_pass`` are None for a skipped one.
    """

    pid: int | None
    node: int | None
    reason: str
    errno: str | None = None
    nr_pass: int | None = None


@dataclass(slots=True)
class MigrateResult:
    """
    The result of a migrating call.

    Attributes:
        before: Present pages of the tasks concerned by node, before the call.
        nids: Nodes that were asked for pages.
        moves: Moved pages by (from, to).
        after: The same after the call.
        moved_twice: Pages that moved twice.
        failures: Pages that were tried and stayed, by why.
        skips: Pages that were no candidates, by why.
        passes: Scans of the round that had most.
        swapped: Pages that left memory, their content is in swap or on disk.
        written: Pages that were written to swap or disk on the way, also those that moved then.
        unmapped: Failed pages that lost a pte.
        swapcache: Failed pages that are in the swap cache now and were not before.
        err: Errno name of the call, None where it succeeded.
    """

    before: dict[int, int] = field(default_factory=dict)
    nids: set[int] = field(default_factory=set)
    moves: dict[tuple[int, int], int] = field(default_factory=dict)
    after: dict[int, int] = field(default_factory=dict)
    moved_twice: int = 0
    failures: dict[Stayed, list[Run]] = field(default_factory=dict)
    skips: dict[Stayed, list[Run]] = field(default_factory=dict)
    passes: int = 0
    swapcache: int = 0
    swapped: int = 0
    written: int = 0
    unmapped: int = 0
    err: str | None = None

    @property
    def moved(self) -> int:
        """Moves: a page that moved twice counts twice."""
        return sum(self.moves.values())

    @property
    def failed(self) -> int:
        """Pages that were to move and stayed."""
        return sum(run.nr_pages for runs in self.failures.values() for run in runs)

    @property
    def gone_wrong(self) -> int:
        """Those of them that have failed for good: what migrate_pages() puts on its list ``failed``."""
        return sum(run.nr_pages for why, runs in self.failures.items() if _permanent(why) for run in runs)

    @property
    def left(self) -> int:
        """Those of them that could be tried again, or never were: what is left on its list ``from``."""
        return self.failed - self.gone_wrong

    def fail(self, why: Stayed, runs: Iterable[Run]) -> None:
        """Count pages that stayed."""
        _extend(self.failures, why, runs)

    def skip(self, why: Stayed, runs: Iterable[Run]) -> None:
        """List pages that were no candidates."""
        _extend(self.skips, why, runs)

    def document(self, page_size: int) -> dict[str, Any]:
        """The keys of cli.md for a migration; ``return`` is the pages that stayed, or minus the errno."""
        nr_failed = self.failed
        return {
            "return": -errno_number(self.err) if self.err else nr_failed,
            "errno": self.err,
            "committed": True,
            "moved": self.moved,
            "moved_twice": self.moved_twice,
            "swapped": self.swapped,
            "failed": nr_failed,
            "skipped": sum(run.nr_pages for runs in self.skips.values() for run in runs),
            "nodes": self._nodes(),
            "moves": [{"from": s, "to": d, "pages": nr} for (s, d), nr in sorted(self.moves.items())],
            "failures": _entries(self.failures, page_size, tried=True),
            "skips": _entries(self.skips, page_size, tried=False),
            "passes": self.passes,
            "residue": {"swapcache": self.swapcache, "unmapped": self.unmapped},
            "io": {"written": self.written, "read": 0},
        }

    def _nodes(self) -> list[dict[str, int]]:
        rows: dict[int, dict[str, int]] = {}

        def row(nid: int) -> dict[str, int]:
            fresh = {"node": nid, "before": 0, "after": 0, "in": 0, "out": 0, "failed": 0}
            return rows.setdefault(nid, fresh)

        for nid in self.nids:
            row(nid)
        for nid, nr in self.before.items():
            row(nid)["before"] = nr
        for nid, nr in self.after.items():
            row(nid)["after"] = nr
        for (source, dest), nr in self.moves.items():
            row(source)["out"] += nr
            row(dest)["in"] += nr
        for why, runs in self.failures.items():
            if why.node is not None:
                row(why.node)["failed"] += sum(run.nr_pages for run in runs)
        return [rows[nid] for nid in sorted(rows)]


def _permanent(why: Stayed) -> bool:
    return why.errno not in (None, "EAGAIN") and why.reason != "not-tried"


def _extend(found: dict[Stayed, list[Run]], why: Stayed, runs: Iterable[Run]) -> None:
    listed = list(runs)
    if listed:
        found.setdefault(why, []).extend(listed)


def _entries(stayed: Mapping[Stayed, list[Run]], page_size: int, *, tried: bool) -> list[dict[str, Any]]:
    """One entry a maximal run, by pid, node, address."""
    together: dict[Stayed, dict[int | None, list[Run]]] = {}
    for why, runs in stayed.items():
        together.setdefault(replace(why, nr_pass=None), {})[why.nr_pass] = runs
    entries = []
    for why, by_pass in together.items():
        for run in maximal_runs(run for runs in by_pass.values() for run in runs):
            entry: dict[str, Any] = {
                "pid": why.pid,
                "addr": hex(run.start * page_size),
                "pages": run.nr_pages,
                "node": why.node,
                "reason": why.reason,
            }
            if tried:
                entry |= {"errno": why.errno, "pass": _last_pass(run, by_pass)}
            if run.step > 1:
                entry["step"] = run.step
            entries.append((-1 if why.pid is None else why.pid, -1 if why.node is None else why.node, run.start, entry))
    return [entry for *_, entry in sorted(entries, key=lambda item: item[:3])]


def _last_pass(run: Run, by_pass: Mapping[int | None, list[Run]]) -> int | None:
    """The highest pass that saw a page of *run*."""
    if len(by_pass) == 1:
        return next(iter(by_pass))
    seen = [
        nr_pass
        for nr_pass, runs in by_pass.items()
        if nr_pass is not None and any(part.start <= run.last and part.last >= run.start for part in runs)
    ]
    return max(seen, default=None)
