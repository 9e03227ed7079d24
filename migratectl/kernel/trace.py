"""
A migration told step by step: the references, ptes and swap slot of the old page and its target at each step.

The numbers follow the formula of semantics.md 1.6: a pte each, the tree, the ring, isolation, the fresh page's own,
and everybody else. What happens in a pass is what ``Rules`` say; nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from migratectl.kernel.migrate import Course
from migratectl.kernel.page import FIRST_EVICTING_PASS, Attempt, carried, ptes_taken
from migratectl.kernel.rules import Rules
from migratectl.kernel.vmscan import ring_droppable
from migratectl.page_state import PageState

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

CLEAN_FLAGS: Final = "flags copied, it is clean"
"""Step 15 of a page that is not dirty."""

LAST_STEP_BEFORE_UNMAPPING: Final = 4


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


class Met(NamedTuple):
    """
    A pass that backed out because another command met the page.

    Attributes:
        state: The page before that command ran, as pass 0 would find it.
        way: Its course without that command.
        nr_pass: The pass.
        step: The step at which the command ran.
        what: The command.
        pins: How many references others held until then, while it was pinned.
        swap_ptes: How many ptes of an anonymous page were swap ptes.
    """

    state: PageState
    way: Course
    nr_pass: int
    step: int
    what: str
    pins: int
    swap_ptes: int


def trace(
    state: PageState,
    way: Course,
    last_pass: int,
    *,
    rules: Rules,
    pins: int,
    swap_ptes: int = 0,
    met: Sequence[Met] = (),
) -> tuple[TracePass, ...]:
    """
    Tell the way of a page through the passes.

    Args:
        state: The page before the first pass.
        way: Its course.
        last_pass: The last pass that looked at it.
        rules: What gave it: they say whose pass it is.
        pins: How many references others hold while it is pinned.
        swap_ptes: How many ptes of an anonymous page were swap ptes before.
        met: Commands that met the page, by pass; what the page was until then.

    Returns:
        The passes in order; those that did the same one after another are one.

    Source:
        Documentation/vm/page_migration as the patch set adds it; semantics.md 2.5, 2.8, 5.
    """
    found: list[TracePass] = []
    first = 0
    for each in met:
        told = _Teller(each.state, each.way, each.pins, each.swap_ptes, rules)
        for nr_pass in range(min(each.nr_pass, last_pass) + 1):
            one = told.next(nr_pass, each if nr_pass == each.nr_pass else None)
            if nr_pass >= first:
                _append(found, one)
        first = each.nr_pass + 1
    told = _Teller(state, way, pins, swap_ptes, rules)
    for nr_pass in range(last_pass + 1):
        one = told.next(nr_pass, None)
        if nr_pass >= first:
            _append(found, one)
    return tuple(found)


def _append(found: list[TracePass], one: TracePass) -> None:
    """A pass that did what the one before it did makes that longer."""
    before = found[-1] if found else None
    if before is not None and replace(before, first=one.first, last=one.last) == one:
        found[-1] = replace(one, first=before.first)
    else:
        found.append(one)


class _Teller:
    """Goes through the passes of one page."""

    def __init__(self, state: PageState, way: Course, pins: int, swap_ptes: int, rules: Rules) -> None:
        self.state, self.way, self.pins, self.swap_ptes, self.rules = state, way, pins, swap_ptes, rules

    def next(self, nr_pass: int, met: Met | None) -> TracePass:
        """What a pass does; it finds what the one before has left."""
        state, found = self.state, self.way.at(nr_pass)
        if met is not None:
            held = replace(state, pin=max(state.pin or 0, nr_pass + 1), backed_out=True)
            found = self.rules.attempt(held, nr_pass)
        walk = _Walk(state, found, nr_pass, pins=self.pins, swap_ptes=self.swap_ptes, rules=self.rules, met=met)
        steps = walk.steps()
        self.swap_ptes, self.state = walk.swap_ptes, carried(state, found)
        return TracePass(nr_pass, nr_pass, steps, found.outcome, found.reason)


class _Walk:
    """One pass over one page."""

    def __init__(
        self,
        state: PageState,
        attempt: Attempt,
        nr_pass: int,
        *,
        pins: int,
        swap_ptes: int,
        rules: Rules,
        met: Met | None,
    ) -> None:
        self.state, self.attempt, self.nr_pass, self.met = state, attempt, nr_pass, met
        self.today, self.posted = rules.today, rules.posted
        self.anon = state.kind == "anon"
        self.extra = pins if state.pinned(nr_pass) else 0
        self.ptes, self.swap_ptes = state.mapcount, swap_ptes
        self.cached = (not self.anon and not state.truncated) or state.swapcache
        self.dirty = state.dirty
        self.ring = state.ring is not None
        self.slot = 1 + (swap_ptes if self.anon else 1) if state.swapcache else None  # tmpfs: its inode has a share
        self.fresh = None if rules.evict else Counts(1, 0)
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
        self._meet_before(step)
        self.rows.append(TraceStep(step, what, self._old(), new, self.slot))

    def _meet_before(self, step: int) -> None:
        """Meet whoever comes at a step before this one; who comes at step 5 waits for the ptes."""
        if self.met is not None and self.met.step < min(step, LAST_STEP_BEFORE_UNMAPPING + 1):
            self._meet()

    def _meet(self) -> None:
        """Here another command finds the page, and holds a reference on it."""
        if self.met is not None:
            met, self.met = self.met, None
            self.extra += 1
            target = self.fresh if met.step >= LAST_STEP_BEFORE_UNMAPPING else None
            what = f"meets '{met.what}', which holds it"
            self.rows.append(TraceStep(met.step, what, self._old(), target, self.slot))

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
        if not self.anon or self.today or self.attempt.step < 3:
            return
        if self.attempt.reason == "no-swap":
            self._note(3, f"{STEPS[3]}: no, no slot is free")
        elif self.slot is None:
            self._meet_before(3)
            self.cached, self.slot, self.dirty = True, 1, True
            self._note(3, STEPS[3])
        else:
            self._note(3, f"{STEPS[3]}: it has one")

    def _unmapped(self) -> None:
        """From the count test, or the ptes, to where the tree would be switched."""
        self._meet_before(5)
        reason = self.attempt.reason
        stops = {
            "truncated": (9, f"{STEPS[9]}: no"),
            "fs-refuses": (5, "the mapping's method refuses"),
            "busy-locked": (13, "a buffer of the ring is locked"),
        }
        if reason in stops:
            self._note(*stops[reason], self.fresh)
        elif self.today:
            self._unmapped_today()
        elif self._goes_by_itself():
            self._without_method()
        elif self._counted():
            self._taken_away()

    def _goes_by_itself(self) -> bool:
        """Whether no method decides: there is none (2.2 j to n), or the page is to leave memory."""
        method = "page" if self.state.swapcache or self.anon else self.state.method
        return method == "none" or self.fresh is None

    def _counted(self) -> bool:
        """The first reference test of a method, before step 5; whether it lets the page go on."""
        known = 1 + self.cached + (self.ring and (self.today or self.state.method == "buffer"))
        equal = self.ptes + known == self._old().refs
        ptes = "1 pte" if self.ptes == 1 else f"{self.ptes} ptes"
        test = f"{STEPS[7]}: {ptes} and {known} known, {self._old().refs} in all"
        self._note(7, f"{test}: {'equal' if equal else 'not equal'}", self.fresh)
        return equal

    def _taken_away(self) -> None:
        """Step 5 of a method, and the second reference test where somebody came in between."""
        if not self._blocked():
            self._ptes_gone()
            if self.met is not None:
                self._meet()
                self._note(7, f"{STEPS[7]}: somebody else holds one", self.fresh)

    def _blocked(self) -> bool:
        """Whether not all ptes go."""
        if self.attempt.reason == "mlocked":
            self._note(5, f"{STEPS[5]}: no, a mapping is locked in memory", self.fresh)
        elif self.attempt.reason == "unmap-incomplete" and self.attempt.left.aged:
            gone = ptes_taken(self.attempt.left.aged)
            self._lose(gone)
            self._note(5, f"{STEPS[5]}: {gone} are gone, each call stopped at a young one", self.fresh)
        elif self.attempt.reason == "unmap-incomplete":
            self._note(5, f"{STEPS[5]}: not all, a mapping is locked in memory", self.fresh)
        return self.attempt.reason in ("mlocked", "unmap-incomplete")

    def _lose(self, nr: int) -> None:
        """So many ptes become swap ptes, or go."""
        self.ptes -= nr
        if self.anon and not self.today:
            self.swap_ptes += nr
            self.slot = None if self.slot is None else self.slot + nr

    def _ptes_gone(self) -> None:
        """Step 5; a migration entry has no share in a swap slot."""
        how = "become migration entries" if self.today else "become swap ptes" if self.anon else "are dropped"
        self.dirty = self.dirty or self.state.dropped_dirty
        if self.ptes:
            self._lose(self.ptes)
            self._note(5, f"ptes {how}", self.fresh)

    def _unmapped_today(self) -> None:
        """A 6.x kernel: migration entries, then what a page without a method goes through; ptes come back."""
        words = {
            "pinned": (7, f"{STEPS[7]}: somebody else holds one"),
            "pageout-activate": (5, "dirty: nothing can write it"),
            "writeback-started": (5, "dirty: written"),
            "buffers-busy": (5, "buffers cannot be dropped"),
        }
        self._ptes_gone()
        if self.met is not None:
            self._meet()
        if self.attempt.left.released and self.ring:
            self._drop_ring()
        if self.attempt.reason in words:
            self._note(*words[self.attempt.reason], self.fresh)
        if not self.attempt.done and self.state.mapcount:
            self.ptes = self.state.mapcount
            self._note(18, "migration entries become ptes again", self.fresh)

    def _without_method(self) -> None:
        """V9: unmapped, written, rid of its ring, then as by migrate_page(); as posted unmapped last (B10)."""
        if not self.posted or self.fresh is None:
            if self._blocked():
                return
            self._ptes_gone()
        if self.met is not None:
            self._meet()
        if self.dirty:
            self._paged_out()
            return
        self._note(5, "clean: nothing for pageout to write, CLEAN", self.fresh)
        if not self._rid_of_ring():
            return
        if self.attempt.outcome == "evicted":
            self._out_of_memory()
        elif self.fresh is None:
            self._note(7, f"{STEPS[7]}: somebody else holds one", None)
        elif self._counted() and self.ptes:
            self._taken_away()

    def _paged_out(self) -> None:
        """What pageout() answers for a dirty page."""
        answers = {
            "pageout-keep": "KEEP, it is mapped" if self.ptes else "KEEP, somebody else holds it",
            "pageout-activate": "ACTIVATE, nothing can write it",
            "writeback-started": "SUCCESS, in the swap cache now" if self._stored() else "SUCCESS, written",
        }
        if self._stored():
            self.slot = 2
        self._note(5, f"dirty: pageout says {answers[self.attempt.reason]}", self.fresh)

    def _rid_of_ring(self) -> bool:
        """The first question for the ring, and swap_page()'s from pass 5 on; whether the page goes on without it."""
        ring = self.state.ring
        if ring is None:
            return True
        if ring_droppable(ring, self.nr_pass):
            self._drop_ring()
            return True
        self._note(5, "buffers cannot be dropped", self.fresh)
        if self.fresh is None or self.nr_pass < FIRST_EVICTING_PASS:
            return False
        if self.attempt.left.unmapped:
            self._ptes_gone()
        if self.dirty and self.attempt.reason != "buffers-busy":
            self._paged_out()
            return False
        if ring_droppable(ring, self.nr_pass, again=True):
            self._drop_ring("swap_page asks again: buffers dropped")
            if self.attempt.outcome != "evicted":
                self._note(7, f"{STEPS[7]}: somebody else holds one", self.fresh)
                return False
            return True
        self._note(5, "swap_page asks again: buffers cannot be dropped", self.fresh)
        return False

    def _drop_ring(self, what: str = "buffers dropped") -> None:
        self.ring = False
        self._note(5, what, self.fresh)

    def _out_of_memory(self) -> None:
        self.cached, self.slot = False, self.slot - 1 if self.slot is not None else None
        self._note(5, "out of memory: its content is in swap or on disk", self.fresh)

    def _stored(self) -> bool:
        """Whether this pass, not an earlier one, moves a page of tmpfs to the swap cache."""
        return self.attempt.left.stored and not self.state.swapcache

    def _moved(self) -> None:
        ptes, target = self.state.mapcount, Counts(1, 0)
        if self.today and self.anon and not self.cached:
            for step in (7, 10):  # it is in no tree: there is nothing to switch
                self._note(step, STEPS[step], target)
        else:
            target = self._switched(target)
        if self.ring:
            self.ring, target = False, Counts(3, 0)
            self._note(13, "buffers handed over", target)
        for step in (14, 15, 16, 17):
            what = STEPS[step] if step != 15 or self.dirty else CLEAN_FLAGS
            self._note(step, what, target)
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
        if self.today:
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
