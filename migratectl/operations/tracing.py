"""What ``--trace`` tells: one block for each distinct course that pages took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from migratectl.kernel.result import Lists
from migratectl.kernel.trace import Counts, Met, TracePass, trace
from migratectl.operations.line import Group
from migratectl.runs import Run
from migratectl.spans import Address
from migratectl.storage.pagelist import Seen


@dataclass(slots=True)
class Trace:
    """
    The courses of one migrating call.

    Attributes:
        address: Address of the one page that is wanted; None: all.
        only: Its page number in the address space at hand, once aim() was told.
        blocks: For each course that was taken the pages that took it: how many, and the first address.
        calls: For each list that was moved, what became of it.
    """

    address: Address | None = None
    only: int | None = None
    blocks: dict[tuple[TracePass, ...], tuple[int, int]] = field(default_factory=dict)
    calls: list[dict[str, Any]] = field(default_factory=list)

    def aim(self, page: int) -> None:
        """Learn which page is wanted in the address space at hand; a negative one is nowhere."""
        self.only = page

    def note(self, group: Group, nr_pass: int, runs: Iterable[Run], seen: Seen, met: Sequence[Met] = ()) -> None:
        """
        Count pages that went the way of a group.

        Args:
            group: The group.
            nr_pass: The last pass that looked at them.
            runs: The pages.
            seen: What they had before they were taken apart, or after they have moved.
            met: Commands that met them.
        """
        wanted = [run for run in runs if self.only is None or run.between(self.only, self.only + 1)]
        if not wanted:
            return
        way = trace(
            group.state,
            group.course,
            nr_pass,
            rules=group.rules,
            pins=seen.pins,
            swap_ptes=max(seen.ptes - group.state.mapcount, 0),
            met=met,
        )
        nr = sum(run.nr_pages for run in wanted) if self.only is None else 1
        first = min(run.start for run in wanted) if self.only is None else self.only
        pages, address = self.blocks.get(way, (0, first))
        self.blocks[way] = pages + nr, min(address, first)

    def call(self, pid: int | None, lists: Lists) -> None:
        """Tell what became of the lists of one call of migrate_pages(), for pages of a task or of nobody."""
        steps = [{"step": step, **sizes} for step, sizes in lists.steps().items()]
        self.calls.append({"pid": pid, "lists": steps})

    def document(self, page_size: int) -> dict[str, Any]:
        """The blocks by first address and the calls in their order, as the document of a command has them."""
        ordered = sorted(self.blocks.items(), key=lambda item: item[1][1])
        blocks = [
            {"addr": hex(first * page_size), "pages": nr, "passes": [_pass(each) for each in way]}
            for way, (nr, first) in ordered
        ]
        return {"trace": blocks, "calls": self.calls}


def _pass(one: TracePass) -> dict[str, Any]:
    return {
        "first": one.first,
        "last": one.last,
        "outcome": one.outcome,
        "reason": one.reason or None,
        "steps": [
            {
                "step": step.step,
                "what": step.what,
                "old": _counts(step.old),
                "new": None if step.new is None else _counts(step.new),
                "slot": step.slot,
            }
            for step in one.steps
        ],
    }


def _counts(counts: Counts) -> dict[str, int]:
    return {"count": counts.refs, "mapcount": counts.mapcount}
