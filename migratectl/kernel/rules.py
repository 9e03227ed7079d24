"""
The rule book of a profile: which pages are candidates, what each pass does to one, which holds are over then.

All that the profiles decide differently about pages that are to move is asked here; the steps that they share are in
migrate.py and vmscan.py, the defects of the patches as posted in posted.py. A rule sees the state of one page and
answers with what happens; it knows neither rows nor SQL, and is asked once for each distinct state of a list.

What asks the profile one thing only and knows no pages (node pairs, zonelists, policies, areas, cpusets) takes a
``modern`` of its own: commands that move nothing load no rule book.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from migratectl import uapi
from migratectl.kernel.migrate import (
    Course,
    buffer_migrate_page,
    lock_page,
    migrate_folio,
    migrate_page_remove_references,
    migrate_without_method,
    writeback_over,
)
from migratectl.kernel.page import (
    FIRST_BLOCKING_PASS,
    FIRST_WAITING_PASS,
    LAST_PASS,
    LAST_PASS_TODAY,
    Attempt,
    Left,
    carried,
)
from migratectl.kernel.posted import remove_references_posted, shared_posted, without_method_posted
from migratectl.kernel.vmscan import swap_page
from migratectl.page_state import PageState
from migratectl.uapi import MF, NEVER, Profile

LAST_STEP_BEFORE_SLOT: Final = 2
"""Step 3 gives an anonymous page its swap entry."""

UNSEEN: Final = "unseen"
"""Answer of skip_reason() for what is not even listed."""


class Over(NamedTuple):
    """For each kind of hold the highest release pass that a pass brings about; ``ring``: locks of buffers."""

    lock: int
    writeback: int
    pin: int
    ring: int


@dataclass(frozen=True, slots=True)
class Rules:
    """
    The rules of one list.

    Attributes:
        profile: The kernel that the state models.
        evict: There is no target list: the pages are to leave memory (the swap-only caller). That goes by V9's passes
            under every profile; who is a candidate is for the profile to say.
    """

    profile: Profile
    evict: bool = False

    @property
    def posted(self) -> bool:
        """Whether the defects of the patches as posted count."""
        return self.profile.posted

    @property
    def today(self) -> bool:
        """Whether the passes are those of a 6.x kernel: no swap entry, migration entries, ptes that come back."""
        return self.profile.modern and not self.evict

    @property
    def last_pass(self) -> int:
        """Number of the last scan."""
        return LAST_PASS_TODAY if self.today else LAST_PASS

    @property
    def restores_ptes(self) -> bool:
        """Whether an anonymous page that moved is mapped again and gives its swap slot back (B4)."""
        return not self.posted

    @property
    def targets_at_once(self) -> int:
        """How many targets V9 allocates for a round (B1)."""
        return 1 if self.posted else uapi.MIGRATE_CHUNK_SIZE

    @property
    def waits_for_writeback(self) -> int:
        """The first pass that waits for writeback."""
        return FIRST_BLOCKING_PASS if self.today else FIRST_WAITING_PASS

    def way(self, state: PageState, flags: MF | None, *, slot_from: int = 0) -> Course | str:
        """
        What becomes of a present page on a source node.

        Args:
            state: The page.
            flags: As skip_reason() takes them; None for a page that has been isolated already.
            slot_from: As course() takes it.

        Returns:
            Its course, or the word of skip_reason() why it is no candidate.
        """
        reason = None if flags is None else self.skip_reason(state, flags)
        return self.course(state, slot_from=slot_from) if reason is None else reason

    def skip_reason(self, state: PageState, flags: MF) -> str | None:
        """
        Why a present page on a source node is no candidate; None for a candidate.

        Args:
            state: The page.
            flags: MOVE takes pages mapped once, as posted shared ones too (B5), MOVE_ALL all; STRICT opens closed
                areas, but for huge ones.

        Returns:
            A word of cli.md's ``skips[].reason``; UNSEEN for a zero page of an area that is not looked into.

        Source:
            check_range(), migrate_page_add() and isolate_lru_page() (semantics.md 2.1, B5, B6, B20, B30).
        """
        closed = _area_closed(state, modern=self.profile.modern)
        opened = bool(flags & MF.STRICT) and state.area != "vma-hugetlb"
        if state.kind == "zero":
            return UNSEEN if closed and not opened else "reserved-page"
        if closed:
            return None if opened else state.area
        shared = not flags & MF.MOVE_ALL and state.mapcount != 1
        if shared_posted(state, flags) if self.posted else shared:
            return "shared"
        return "off-lru" if state.parked else None

    def course(self, state: PageState, *, slot_from: int = 0) -> Course:
        """
        Run a page through the passes.

        Args:
            state: The isolated page.
            slot_from: The first pass in which a swap slot is free when it is asked for; NEVER: there is none.

        Returns:
            The course; a failure for good ends it at once, a retry goes on with the next pass and finds what is left.

        Source:
            migrate_pages(), Direct Migration V9, 2/5.
        """
        act = slot_at = None
        attempts: list[Attempt] = []
        left = Left()
        for nr_pass in range(self.last_pass + 1):
            result = self.attempt(state, nr_pass, slot=nr_pass >= slot_from)
            if state.met(nr_pass) and not self.today:  # whoever was met may have taken the entry along
                result = replace(result, swap_entry=state.swapcache)
            got = result.done or result.step > LAST_STEP_BEFORE_SLOT
            act = nr_pass if act is None and got else act
            asks = got and nr_pass >= slot_from and not state.met(nr_pass)
            if slot_at is None and asks and self._asks_for_slot(state, result):
                slot_at = nr_pass
            left = left.plus(result.left)
            result = replace(result, left=left)
            attempts.append(result)
            if result.outcome != "retry":
                return Course(act, nr_pass, result, tuple(attempts), slot_at)
            state = carried(state, result)
        return Course(act, None, attempts[-1], tuple(attempts), slot_at)

    def _asks_for_slot(self, state: PageState, result: Attempt) -> bool:
        """Whether a pass asked for a swap slot: step 3 of an anonymous page, or tmpfs that writes to swap."""
        if self.today or state.swapcache:
            return False
        stores = state.writepage == "swap" and state.dirty
        stores = stores and result.reason in ("writeback-started", "pageout-activate")
        return state.kind == "anon" or (state.kind != "zero" and stores)

    def attempt(self, state: PageState, nr_pass: int, *, slot: bool = True) -> Attempt:
        """
        One page in one pass of migrate_pages().

        Args:
            state: The isolated page as this pass finds it.
            nr_pass: 0 to ``last_pass``.
            slot: Whether a swap slot is free; a 6.x kernel asks for none.

        Returns:
            What happens, and what stays behind when it is not a move.

        Source:
            migrate_pages(), Direct Migration V9, 2/5 and 5/5; semantics.md 2.2, 2.3.
        """
        held_up = self._held_up(state, nr_pass)
        if held_up is not None:
            return held_up
        if self.today:
            return migrate_folio(state, nr_pass)
        if state.kind == "anon" and not (state.swapcache or slot or state.met(nr_pass)):
            return Attempt("failed", "no-swap", "ENOMEM", step=3)
        if self.evict:
            return swap_page(state, nr_pass, slot=slot)
        return self._migrate_page(state, nr_pass, slot=slot)

    def _held_up(self, state: PageState, nr_pass: int) -> Attempt | None:
        """Steps 1 and 2, and what comes before them: why the page is not looked at further in this pass."""
        if _area_closed(state, modern=self.today):  # only STRICT collects it (B6)
            return Attempt("failed", "mlocked", "EPERM", step=0)
        if state.truncated and state.ring is None and not state.pinned(nr_pass):
            return Attempt("vanished", step=0)
        if not lock_page(state, nr_pass):
            return Attempt("retry", "busy-locked", "EAGAIN", step=1)
        if not writeback_over(state, nr_pass, self.waits_for_writeback):
            return Attempt("retry", "busy-writeback", "EAGAIN", step=2)
        return None

    def _migrate_page(self, state: PageState, nr_pass: int, *, slot: bool) -> Attempt:
        """V9's ways for a page that has its swap entry, by the method of its mapping."""
        if state.truncated:
            return Attempt("retry", "truncated", "EAGAIN", step=9)
        method = "page" if state.swapcache else state.method
        if method == "fail":
            return Attempt("failed", "fs-refuses", "EIO", step=5)
        if method == "none":
            without = without_method_posted if self.posted else migrate_without_method
            return without(state, nr_pass, slot=slot)
        remove = remove_references_posted if self.posted else migrate_page_remove_references
        if method == "buffer":
            return buffer_migrate_page(state, nr_pass, remove)
        return remove(state, nr_pass, 2)

    def holds_over(self, nr_pass: int, method: str = "page") -> Over:
        """
        Which holds on a page are over once a migration has looked at it in *nr_pass*.

        Those whose pass has come, and the locks and writeback that are waited for in that pass; the *method*
        ``buffer`` waits for the locks of buffers.

        Source:
            semantics.md 2.7, 9a.
        """
        waited = NEVER - 1
        return Over(
            lock=waited if nr_pass >= FIRST_BLOCKING_PASS else nr_pass,
            writeback=waited if nr_pass >= self.waits_for_writeback else nr_pass,
            pin=nr_pass,
            ring=waited if method == "buffer" else nr_pass,
        )


def _area_closed(state: PageState, *, modern: bool) -> bool:
    """Whether the area that maps a page is one whose pages do not move; today's kernel moves those of locked ones."""
    return bool(state.area) and not (modern and state.area == "vma-locked")
