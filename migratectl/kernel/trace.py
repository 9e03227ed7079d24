"""
A migration told step by step: the references, ptes and swap slot of the old page and its target at each step.

The numbers follow the formula of semantics.md 1.6: a pte each, the tree, the ring, isolation, the fresh page's own,
and everybody else. What happens in a pass is what ``course`` says; nothing is decided here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from migratectl.kernel.migrate import Course
from migratectl.kernel.page import Attempt, PageState, carried

STEPS: Final = {
    0: "not looked at",
    1: "old page locked",
    2: "writeback is over",
    3: "swap entry for the anonymous page",
    4: "target locked, not up to date",
    5: "ptes taken away",
    6: "tree lock taken",
    7: "references counted",
    8: "tree slot holds the old page",
    9: "the page has a mapping",
    10: "target gets index, mapping and flags of the slot",
    11: "tree points to the target",
    12: "old page loses the tree's reference",
    13: "tree lock released",
    14: "content copied",
    15: "flags copied, dirty set on the target",
    16: "old page cleared",
    17: "queued writeback on the target ended",
    18: "ptes point to the target",
    19: "both unlocked",
    20: "target on the LRU, old page freed",
}
"""The twenty steps of the documentation, in our words."""


class Counts(NamedTuple):
    """References and mappings of a page."""

    refs: int
    mapcount: int


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One step: its number and what it is, both pages after it, the use count of the swap slot (None: no slot)."""

    step: int
    what: str
    old: Counts
    new: Counts | None = None
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class TracePass:
    """Passes that went alike, first to last, and how they ended."""

    first: int
    last: int
    steps: tuple[TraceStep, ...]
    outcome: str
    reason: str


def trace(
    state: PageState,
    way: Course,
    last_pass: int,
    *,
    modern: bool,
    pins: int,
    swap_ptes: int = 0,
    evict: bool = False,
) -> tuple[TracePass, ...]:
    """
    Tell the way of a page through the passes.

    Args:
        state: The page before the first pass.
        way: Its course.
        last_pass: The last pass that looked at it.
        modern: A 6.x kernel's pass: migration entries instead of swap ptes.
        pins: How many references others hold while it is pinned.
        swap_ptes: How many ptes of an anonymous page were swap ptes before.
        evict: There is no target: the page is to leave memory.

    Returns:
        The passes in order; those that did the same one after another are one.

    Source:
        Documentation/vm/page_migration as the patch set adds it; semantics.md 2.5, 2.8.
    """
    found: list[TracePass] = []
    for nr_pass in range(last_pass + 1):
        attempt = way.at(nr_pass)
        walk = _Walk(state, attempt, nr_pass, modern=modern, pins=pins, swap_ptes=swap_ptes, evict=evict)
        steps = walk.steps()
        before = found[-1] if found else None
        if before is not None and (before.steps, before.reason) == (steps, attempt.reason):
            found[-1] = TracePass(before.first, nr_pass, steps, attempt.outcome, attempt.reason)
        else:
            found.append(TracePass(nr_pass, nr_pass, steps, attempt.outcome, attempt.reason))
        swap_ptes = walk.swap_ptes
        state = carried(state, attempt)
    return tuple(found)


class _Walk:
    """One pass over one page."""

    def __init__(
        self,
        state: PageState,
        attempt: Attempt,
        nr_pass: int,
        *,
        modern: bool,
        pins: int,
        swap_ptes: int,
        evict: bool,
    ) -> None:
        self.state, self.attempt, self.modern = state, attempt, modern
        self.anon = state.kind == "anon"
        self.extra = pins if state.pinned(nr_pass) else 0
        self.ptes, self.swap_ptes = state.mapcount, swap_ptes
        self.cached = (not self.anon and not state.truncated) or state.swapcache
        self.ring = state.ring is not None
        self.slot = 1 + (swap_ptes if self.anon else 1) if state.swapcache else None  # tmpfs: its inode has a share
        self.fresh = None if evict else Counts(1, 0)
        self.rows: list[TraceStep] = []

    def steps(self) -> tuple[TraceStep, ...]:
        """The steps as far as the pass got."""
        self._note(0, "isolated from the LRU")
        if not self.attempt.step:
            return tuple(self.rows)
        self._until(1, "locked by somebody else")
        self._until(2, "under writeback")
        self._swap_entry()
        self._until(4, "")
        if self.attempt.outcome in ("moved", "evicted") or self.attempt.step > 4:
            self._unmapped()
        if self.attempt.outcome == "moved":
            self._moved()
        return tuple(self.rows)

    def _old(self) -> Counts:
        return Counts(self.ptes + self.cached + self.ring + 1 + self.extra, self.ptes)

    def _note(self, step: int, what: str, new: Counts | None = None) -> None:
        self.rows.append(TraceStep(step, what, self._old(), new, self.slot))

    def _until(self, step: int, refusal: str) -> None:
        """A step that may be the last one of this pass."""
        if self.attempt.step < step or (step == 4 and self.attempt.step <= step):
            return
        ends_here = self.attempt.step == step and not self.attempt.done
        if step == 4 and self.fresh is None:
            return
        target = self.fresh if step == 4 else None
        self._note(step, f"{STEPS[step]}: no, {refusal}" if ends_here and refusal else STEPS[step], target)

    def _swap_entry(self) -> None:
        if not self.anon or self.modern or self.attempt.step < 3:
            return
        if self.attempt.reason == "no-swap":
            self._note(3, f"{STEPS[3]}: no, no slot is free")
        elif self.slot is None:
            self.cached, self.slot = True, 1
            self._note(3, STEPS[3])
        else:
            self._note(3, f"{STEPS[3]}: it has one")

    def _unmapped(self) -> None:
        """The count test before step 5, then the ptes."""
        reason, fresh = self.attempt.reason, self.fresh
        if reason == "truncated":
            self._note(9, f"{STEPS[9]}: no", fresh)
            return
        if reason == "fs-refuses":
            self._note(5, "the mapping's method refuses", fresh)
            return
        if self.attempt.step == 13 and reason:
            self._note(13, "a buffer of the ring is locked", fresh)
            return
        known = 1 + self.cached + (self.ring and (self.modern or self.state.method == "buffer"))
        ptes = "1 pte" if self.ptes == 1 else f"{self.ptes} ptes"
        test = f"{STEPS[7]}: {ptes} and {known} known, {self._old().refs} in all"
        first_test = not (self.modern or self._goes_unmapped_first())
        if first_test:
            self._note(7, f"{test}: {'not equal' if reason == 'pinned' else 'equal'}", fresh)
        if reason == "mlocked":
            self._note(5, f"{STEPS[5]}: no, a mapping is locked in memory", fresh)
        if reason == "unmap-incomplete":
            why = "a mapping is locked in memory" if self.attempt.left.partly else "too many are young"
            self._note(5, f"{STEPS[5]}: not all, {why}", fresh)
        if reason in ("mlocked", "unmap-incomplete") or (reason == "pinned" and first_test):
            return
        if self.modern or self.attempt.done or self.attempt.left.unmapped:
            self._ptes_gone()
        self._written()
        if self.modern and not self.attempt.done and self.state.mapcount:
            self.ptes = self.state.mapcount
            self._note(18, "migration entries become ptes again", self.fresh)

    def _ptes_gone(self) -> None:
        """Step 5; a migration entry has no share in a swap slot."""
        how = "become migration entries" if self.modern else "become swap ptes" if self.anon else "are dropped"
        if self.anon and not self.modern and self.slot is not None:
            self.slot += self.ptes
            self.swap_ptes += self.ptes
        if self.ptes:
            self.ptes = 0
            self._note(5, f"ptes {how}", self.fresh)

    def _goes_unmapped_first(self) -> bool:
        """Whether the ptes go before anybody counts references: without a method (B10), and out of memory."""
        method = "page" if self.state.swapcache or self.anon else self.state.method
        return method == "none" or self.fresh is None

    def _written(self) -> None:
        """What a page without a method, or one that is to leave memory, goes through besides."""
        words = {
            "pinned": f"{STEPS[7]}: somebody else holds one",
            "pageout-keep": "dirty: it is mapped, cannot be written",
            "pageout-activate": "dirty: nothing can write it",
            "writeback-started": "dirty: to the swap cache" if self._stored() else "dirty: written",
            "buffers-busy": "buffers cannot be dropped",
        }
        if self.attempt.left.released and self.ring:
            self.ring = False
            self._note(5, "buffers dropped", self.fresh)
        if self._stored():
            self.slot = 2
        if self.attempt.reason in words:
            self._note(7 if self.attempt.reason == "pinned" else 5, words[self.attempt.reason], self.fresh)
        if self.attempt.outcome == "evicted":
            self.cached, self.slot = False, self.slot - 1 if self.slot is not None else None
            self._note(5, "out of memory: its content is in swap or on disk")

    def _stored(self) -> bool:
        """Whether this pass, not an earlier one, moves a page of tmpfs to the swap cache."""
        return self.attempt.left.stored and not self.state.swapcache

    def _moved(self) -> None:
        ptes, target = self.state.mapcount, Counts(1, 0)
        if self.modern and self.anon and not self.cached:
            for step in (7, 10):  # it is in no tree: there is nothing to switch
                self._note(step, STEPS[step], target)
        else:
            target = self._switched(target)
        if self.ring:
            self.ring, target = False, Counts(3, 0)
            self._note(13, "buffers handed over", target)
        for step in (14, 15, 16, 17):
            self._note(step, STEPS[step], target)
        target = self._restored(target, ptes)
        self._note(19, STEPS[19], target)
        self.rows.append(TraceStep(20, STEPS[20], Counts(0, 0), Counts(target.refs - 1, target.mapcount), self.slot))

    def _switched(self, target: Counts) -> Counts:
        """Steps 6 to 13: the tree gives up the old page for the target."""
        for step in (6, 7, 8, 9, 10):
            self._note(step, STEPS[step], target)
        target = Counts(2, 0)
        self._note(11, STEPS[11], target)
        self.cached = False
        self._note(12, STEPS[12], target)
        self._note(13, STEPS[13], target)
        return target

    def _restored(self, target: Counts, ptes: int) -> Counts:
        """Step 18."""
        if self.modern:
            target = Counts(target.refs + ptes, ptes)
            self._note(18, "migration entries become ptes", target)
        elif self.anon and self.attempt.swap_entry:  # as posted (B4)
            self._note(18, "nobody looks for the swap ptes: they stay, and so does the swap cache", target)
            return target
        elif self.anon:
            ptes = self.swap_ptes
            target, self.slot = Counts(1 + ptes, ptes), 0
            self._note(18, "swap ptes become ptes, old, clean and read-only; the swap cache is left", target)
        else:
            self._note(18, "a page of a file: its ptes stay away until the next fault", target)
        return target
