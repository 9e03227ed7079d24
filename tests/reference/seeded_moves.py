"""Bugs in how pages move, for test_power."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.reference import machine, migrate, moves, nodes, policies, races, scan
from tests.reference.areas import Page, Policy

Take = Callable[[], int | None]

Target = Callable[[Page], int | None]


def pages_freed_after_the_last_round(patch: pytest.MonkeyPatch) -> None:
    """Old pages of a round are not there for the next one."""
    one_scan, rounds = migrate.migrate_pages, migrate.migrate_pages_to
    kept: list[int] = []

    def wrong_scan(command: migrate.Command, from_: list[Page], targets: list[int], _left: Any) -> list[Page]:
        return one_scan(command, from_, targets, kept)

    def wrong_rounds(command: migrate.Command, pagelist: list[Page], take: Take) -> str | None:
        err = rounds(command, pagelist, take)
        for nid in kept:
            command.machine.nodes[nid].free += 1
        kept.clear()
        return err

    patch.setattr(migrate, "migrate_pages", wrong_scan)
    patch.setattr(migrate, "migrate_pages_to", wrong_rounds)


def no_targets_for_pages_that_stay(patch: pytest.MonkeyPatch) -> None:
    """A page that can never move gets no frame and no count."""
    right = migrate.migrate_pages_to

    def wrong(command: migrate.Command, pagelist: list[Page], take: Take) -> str | None:
        stuck = [page for page in pagelist if any(pin.release > 10 for pin in page.pins)]
        err = right(command, [page for page in pagelist if page not in stuck], take)
        command.stays(stuck)
        return err

    patch.setattr(migrate, "migrate_pages_to", wrong)


def cache_slot_not_given_back(patch: pytest.MonkeyPatch) -> None:
    """A page that was in the swap cache before keeps its slot when it moves."""
    right = migrate.Command.move

    def move(self: migrate.Command, page: Page, target: int) -> int:
        if page in self.cache_before and page.slot is not None:
            page.slot.used += 1
        return right(self, page, target)

    patch.setattr(migrate.Command, "move", move)


def ten_passes(patch: pytest.MonkeyPatch) -> None:
    """V9 scans ten times only."""
    patch.setattr(scan, "V9_LAST_PASS", 9)


def eleven_passes_under_modern(patch: pytest.MonkeyPatch) -> None:
    """`modern` scans eleven times."""
    patch.setattr(scan, "MODERN_LAST_PASS", 10)


def waits_from_pass_two(patch: pytest.MonkeyPatch) -> None:
    """The page lock blocks a pass too early."""
    patch.setattr(scan, "BLOCKING_PASS", 2)


def writeback_waited_from_pass_zero(patch: pytest.MonkeyPatch) -> None:
    """Writeback is waited for at first sight."""
    patch.setattr(scan, "V9_WRITEBACK_PASS", 0)


def holds_never_end(patch: pytest.MonkeyPatch) -> None:
    """A hold that was outlasted stays recorded."""
    patch.setattr(scan.Scan, "end_holds", lambda self: None)


def descending(patch: pytest.MonkeyPatch) -> None:
    """Pages are taken from the highest address on (B3)."""
    right = migrate.Command.collect
    patch.setattr(migrate.Command, "collect", lambda self, *words, **more: right(self, *words, **more)[::-1])


def one_chunk(patch: pytest.MonkeyPatch) -> None:
    """The chunk size has no effect."""
    right = migrate.Command.__init__
    patch.setattr(
        migrate.Command,
        "__init__",
        lambda self, hw, tasks, node, _, allowed=None: right(self, hw, tasks, node, 256, allowed),
    )


def pairs_ascending(patch: pytest.MonkeyPatch) -> None:
    """Node pairs in ascending order of the source."""
    right = nodes.node_pairs
    patch.setattr(moves, "node_pairs", lambda *words: sorted(right(*words)))


def plain_rotation(patch: pytest.MonkeyPatch) -> None:
    """Fallback by distance and number, without the shared load."""

    def wrong(distance: list[list[int]], _cpus: list[bool], absent: list[int], _modern: bool) -> list[list[int]]:
        order = [sorted(range(len(row)), key=lambda n: (n != i, row[n], n)) for i, row in enumerate(distance)]
        return [[n for n in one if n not in absent] for one in order]

    patch.setattr(machine, "fallback_lists", wrong)


def young_after_a_move(patch: pytest.MonkeyPatch) -> None:
    """Restored ptes keep a bit under v9."""
    right = migrate.Command.move

    def move(self: migrate.Command, page: Page, target: int) -> int:
        left = right(self, page, target)
        for pte in page.ptes.values():
            pte.young = True
        return left

    patch.setattr(migrate.Command, "move", move)


def only_one_pte_comes_back(patch: pytest.MonkeyPatch) -> None:
    """The ptes of other tasks stay as they were."""
    right = migrate.Command.move

    def move(self: migrate.Command, page: Page, target: int) -> int:
        others = {at: pte.young for at, pte in list(page.ptes.items())[1:]}
        left = right(self, page, target)
        for at, young in others.items():
            page.ptes[at].young = young
        return left

    patch.setattr(migrate.Command, "move", move)


def move_ignores_mapcount(patch: pytest.MonkeyPatch) -> None:
    """MOVE takes shared pages too (B5)."""
    right = migrate.Command.collect
    patch.setattr(migrate.Command, "collect", lambda self, wanted, _all, *rest, **more: right(
        self, wanted, True, *rest, **more))  # fmt: skip


def privilege_is_not_move_all(patch: pytest.MonkeyPatch) -> None:
    """Root moves unshared pages only (B7)."""
    right = migrate.Command.collect
    patch.setattr(migrate.Command, "collect", lambda self, wanted, _all, *rest, **more: right(
        self, wanted, False, *rest, **more))  # fmt: skip


def mlocked_elsewhere_retried(patch: pytest.MonkeyPatch) -> None:
    """Eleven useless passes (B8)."""
    patch.setattr(migrate, "PERMANENT", ("no-swap",))


def mlocked_elsewhere_moves(patch: pytest.MonkeyPatch) -> None:
    """LOCKED of another task is not looked at."""
    patch.setattr(migrate.Command, "in_locked_area", lambda self, page: False)


def mlocked_elsewhere_leaves_no_entry(patch: pytest.MonkeyPatch) -> None:
    """The swap entry of step 3 is given back."""
    patch.setattr(scan, "LEAVES_ENTRY", ("pinned",))


def parked_pages_move(patch: pytest.MonkeyPatch) -> None:
    """A page that is not on the LRU is taken."""
    right = migrate.Command.collect

    def collect(self: migrate.Command, *words: Any, **more: Any) -> list[Page]:
        parked = {page: page.park for _, mm in self.tasks for _, page in mm.pages() if page.park}
        for page in parked:
            page.park = None
        found = right(self, *words, **more)
        for page, hold in parked.items():
            page.park = hold
        return found

    patch.setattr(migrate.Command, "collect", collect)


def interleave_uncut(patch: pytest.MonkeyPatch) -> None:
    """The page number is not cut to 32 bits."""
    right = machine.Machine.take_by_policy

    def wrong(self: machine.Machine, policy: Policy | None, task: machine.Task | None, index: int) -> int | None:
        if policy is not None and policy.mode == "interleave" and task is not None:
            nid = policy.nodes[index % len(policy.nodes)]
            return self.take(self.lists[nid], self.node_of_cpu(task.cpu), True, self.allowed(task))
        return right(self, policy, task, index)

    patch.setattr(machine.Machine, "take_by_policy", wrong)


def with_targets(patch: pytest.MonkeyPatch, wrong: Callable[[migrate.Command, list[Page], Target], Target]) -> None:
    """Give mbind another way to find targets."""
    right = migrate.migrate_by_policy
    patch.setattr(policies, "migrate_by_policy", lambda command, pagelist, target: right(
        command, pagelist, wrong(command, pagelist, target)))  # fmt: skip


def targets_by_list_position(patch: pytest.MonkeyPatch) -> None:
    """The i-th page of the list goes where a page i pages behind the first one would (B2, 2.6.16)."""

    def wrong(command: migrate.Command, pagelist: list[Page], _target: Target) -> Target:
        pid, first = command.place[pagelist[0]] if pagelist else (0, 0)
        left = list(pagelist)
        task = command.machine.tasks.get(pid)

        def by_position(page: Page) -> int | None:
            assert task is not None
            policy = task.mm.slots[command.place[page][1]].area.policy if task.mm else None
            return command.machine.take_by_policy(policy or task.policy, task, first + left.index(page))

        return by_position

    with_targets(patch, wrong)


def mbind_targets_for_pages_that_stay(patch: pytest.MonkeyPatch) -> None:
    """A target is taken, counted and given back for each pinned page."""

    def wrong(command: migrate.Command, pagelist: list[Page], target: Target) -> Target:
        for page in pagelist:
            nid = target(page) if page.pins else None
            if nid is not None:
                command.machine.nodes[nid].free += 1
        return target

    with_targets(patch, wrong)


def mbind_frees_frames_at_its_end(patch: pytest.MonkeyPatch) -> None:
    """The frame that a page left is not there for the next page."""
    right = migrate.migrate_by_policy

    def wrong(command: migrate.Command, pagelist: list[Page], target: Target) -> str | None:
        before, kept = len(command.hops), [0] * len(command.machine.nodes)

        def late(page: Page) -> int | None:
            for _, left, _ in command.hops[before + sum(kept) :]:
                kept[left] += 1
                command.machine.nodes[left].free -= 1
            return target(page)

        err = right(command, pagelist, late)
        for nid, count in enumerate(kept):
            command.machine.nodes[nid].free += count
        return err

    patch.setattr(policies, "migrate_by_policy", wrong)


def drain_without_fallback(patch: pytest.MonkeyPatch) -> None:
    """A node's pages go to its nearest neighbour only."""
    right = migrate.migrate_pages_to
    patch.setattr(moves, "migrate_pages_to", lambda command, pagelist, take: right(
        command, pagelist, partial(take.func, take.args[0][:1], *take.args[1:])))  # fmt: skip


def who_waits_holds_nothing(patch: pytest.MonkeyPatch) -> None:
    """A race that looks a half-migrated page up does not make the pass back out."""
    right = races.Beside.half_migrated

    def wrong(self: races.Beside, pagelist: list[Page], page: Page, looks_up: bool) -> None:
        right(self, pagelist, page, looks_up)
        page.pins = [pin for pin in page.pins if pin.pid != races.RACER]

    patch.setattr(races.Beside, "half_migrated", wrong)


BUGS: list[Callable[[pytest.MonkeyPatch], object]] = [
    pages_freed_after_the_last_round, no_targets_for_pages_that_stay, cache_slot_not_given_back, ten_passes,
    eleven_passes_under_modern, waits_from_pass_two, writeback_waited_from_pass_zero, holds_never_end, descending,
    one_chunk, pairs_ascending, plain_rotation, young_after_a_move, only_one_pte_comes_back, move_ignores_mapcount,
    privilege_is_not_move_all, mlocked_elsewhere_retried, mlocked_elsewhere_moves, mlocked_elsewhere_leaves_no_entry,
    parked_pages_move, interleave_uncut, targets_by_list_position, mbind_targets_for_pages_that_stay,
    mbind_frees_frames_at_its_end, drain_without_fallback, who_waits_holds_nothing,
]  # fmt: skip
