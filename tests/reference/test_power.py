"""Would the random scripts notice? Each seeded bug of a model must show in one of a fixed number of scripts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from tests.reference import machine, migrate, model
from tests.reference.scripts import Script, script_of

NR_SCRIPTS = 300


@functools.cache
def sample() -> list[Script]:
    """The same scripts in every run."""
    return [script_of(seed) for seed in range(NR_SCRIPTS)]


def shows(script: Script) -> bool:
    """Whether a model with a bug says anything else of this script."""
    wrong = model.Model(script.chunk)
    try:
        return any(wrong.run(argv) != want for argv, want in zip(script.lines, script.expected, strict=True))
    except (machine.Unmodelled, AssertionError, KeyError, IndexError, ValueError):
        return True


def pages_freed_after_the_last_round(patch: pytest.MonkeyPatch) -> None:
    """Old pages of a round are not there for the next one."""
    scan, rounds = migrate.migrate_pages, migrate.migrate_pages_to
    kept: list[machine.Page] = []

    def wrong_scan(command: migrate.Command, from_: list[int], targets: list[int], _moved: Any) -> list[int]:
        return scan(command, from_, targets, kept)

    def wrong_rounds(command: migrate.Command, pagelist: list[int], dest: int) -> str | None:
        err = rounds(command, pagelist, dest)
        for old in kept:
            command.machine.nodes[old.node].free += 1
        kept.clear()
        return err

    patch.setattr(migrate, "migrate_pages", wrong_scan)
    patch.setattr(migrate, "migrate_pages_to", wrong_rounds)


def no_targets_for_pages_that_stay(patch: pytest.MonkeyPatch) -> None:
    """A page that can never move gets no frame and no count."""
    right = migrate.migrate_pages_to

    def wrong(command: migrate.Command, pagelist: list[int], dest: int) -> str | None:
        stuck = [vpn for vpn in pagelist if any(pin.release > 10 for pin in page_at(command, vpn).pins)]
        err = right(command, [vpn for vpn in pagelist if vpn not in stuck], dest)
        command.stays(stuck)
        return err

    patch.setattr(migrate, "migrate_pages_to", wrong)


def page_at(command: migrate.Command, vpn: int) -> machine.Page:
    """The page at an address where one must be."""
    page = command.mm.slots[vpn].page
    assert page is not None
    return page


def cache_slot_not_given_back(patch: pytest.MonkeyPatch) -> None:
    """A page that was in the swap cache before keeps its slot when it moves."""
    right = migrate.Command.move

    def move(self: migrate.Command, vpn: int, target: int) -> machine.Page:
        if vpn in self.cache_before:
            self.machine.free_slots -= 1
        return right(self, vpn, target)

    patch.setattr(migrate.Command, "move", move)


def ten_passes(patch: pytest.MonkeyPatch) -> None:
    """V9 scans ten times only."""
    patch.setattr(migrate, "V9_LAST_PASS", 9)


def eleven_passes_under_modern(patch: pytest.MonkeyPatch) -> None:
    """`modern` scans eleven times."""
    patch.setattr(migrate, "MODERN_LAST_PASS", 10)


def waits_from_pass_two(patch: pytest.MonkeyPatch) -> None:
    """The page lock blocks a pass too early."""
    patch.setattr(migrate, "BLOCKING_PASS", 2)


def holds_never_end(patch: pytest.MonkeyPatch) -> None:
    """A hold that was outlasted stays recorded."""
    patch.setattr(migrate.Scan, "end_holds", lambda self, command: None)


def descending(patch: pytest.MonkeyPatch) -> None:
    """Pages are taken from the highest address on (B3)."""
    right = migrate.Command.collect
    patch.setattr(migrate.Command, "collect", lambda self, source: right(self, source)[::-1])


def one_chunk(patch: pytest.MonkeyPatch) -> None:
    """The chunk size has no effect."""
    right = migrate.Command.__init__

    def wrong(self: migrate.Command, hw: machine.Machine, mm: machine.Mm, node: int, chunk: int) -> None:
        right(self, hw, mm, node, 256)

    patch.setattr(migrate.Command, "__init__", wrong)


def pairs_ascending(patch: pytest.MonkeyPatch) -> None:
    """Node pairs in ascending order of the source."""
    right = machine.node_pairs
    patch.setattr(model, "node_pairs", lambda *words: sorted(right(*words)))


def plain_rotation(patch: pytest.MonkeyPatch) -> None:
    """Fallback by distance and number, without the shared load."""

    def wrong(distance: list[list[int]], _cpus: list[bool], absent: list[int]) -> list[list[int]]:
        order = [sorted(range(len(row)), key=lambda n: (n != i, row[n], n)) for i, row in enumerate(distance)]
        return [[n for n in one if n not in absent] for one in order]

    patch.setattr(machine, "fallback_lists", wrong)


def dirty_not_set(patch: pytest.MonkeyPatch) -> None:
    """Restored ptes keep their bits under v9."""
    right = migrate.Command.move

    def move(self: migrate.Command, vpn: int, target: int) -> machine.Page:
        old = right(self, vpn, target)
        for pte in old.ptes.values():
            pte.young = True
        return old

    patch.setattr(migrate.Command, "move", move)


def interleave_from_the_area(patch: pytest.MonkeyPatch) -> None:
    """The page number is not cut to 32 bits."""
    right = machine.Machine.take_for_task

    def wrong(self: machine.Machine, task: machine.Task, vpn: int) -> int | None:
        if task.mode == "interleave":
            nodes = sorted(task.nodes)
            return self.take(self.lists[nodes[vpn % len(nodes)]], self.node_of_cpu(task.cpu), interleaved=True)
        return right(self, task, vpn)

    patch.setattr(machine.Machine, "take_for_task", wrong)


def pins_go_with_the_pte(patch: pytest.MonkeyPatch) -> None:
    """A pinned page that loses its pte is freed."""
    right = machine.Machine.drop_pte

    def wrong(self: machine.Machine, mm: machine.Mm, vpn: int) -> None:
        page = mm.slots[vpn].page
        if page is not None:
            page.pins = []
        right(self, mm, vpn)

    patch.setattr(machine.Machine, "drop_pte", wrong)


BUGS: list[Callable[[pytest.MonkeyPatch], Any]] = [
    pages_freed_after_the_last_round,
    no_targets_for_pages_that_stay,
    cache_slot_not_given_back,
    ten_passes,
    eleven_passes_under_modern,
    waits_from_pass_two,
    holds_never_end,
    descending,
    one_chunk,
    pairs_ascending,
    plain_rotation,
    dirty_not_set,
    interleave_from_the_area,
    pins_go_with_the_pte,
]


@pytest.fixture
def drawn() -> list[Script]:
    """Scripts drawn before anything is broken."""
    return sample()


@pytest.mark.parametrize("bug", BUGS, ids=[bug.__name__ for bug in BUGS])
def test_random_scripts_notice(bug: Callable[[pytest.MonkeyPatch], Any], drawn: list[Script]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        bug(patch)
        assert any(shows(script) for script in drawn)
