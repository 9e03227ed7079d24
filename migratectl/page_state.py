"""
What the rules read of a page, and how it is told in one integer.

The statement that gathers a list packs the state of each run into an integer, so that the database counts runs of equal
state together and a rule is asked once a state. Who wants the rules to read one more fact adds it to ``PageState`` and
to the layout here, and says where the list is gathered by which SQL expression it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from migratectl.uapi import NEVER


@dataclass(frozen=True, slots=True)
class Ring:
    """
    The buffers of a page; all of them are in one state.

    Attributes:
        dirty: They differ from what is on disk.
        locked: Pass from which their locks can be had; None: they are free.
        busy: Pass from which nobody uses them (a journal holds them until it is synced); None: nobody does.
        late: In that pass they are still in use when they are asked for the first time.
    """

    dirty: bool = False
    locked: int | None = None
    busy: int | None = None
    late: bool = False


@dataclass(frozen=True, slots=True)
class PageState:
    """
    What the rules read of a page; all pages of a run share it.

    Attributes:
        kind: ``anon``, ``zero``, ``file`` or ``shm``.
        method: The mapping's migratepage method: ``page``, ``buffer``, ``fail`` or ``none``.
        mapcount: Present ptes, over all tasks and mappers outside the state; 1 where nobody asked.
        swapcache: The page has a swap entry.
        lock: Pass from which the page lock can be had; None: it is free.
        writeback: Pass from which writeback is over; None: there is none.
        pin: Pass from which no reference is left that migration does not know; None: there is none.
        area: What kind of area maps it: ``''`` or the reason why its pages are not looked at, such as ``vma-locked``.
        mlocked: Another mapping of it is in a locked area.
        parked: Off the LRU, in a per-CPU batch.
        dirty: The page, or a pte of it, is dirty.
        ring: Its buffers, None where it has none.
        writepage: Where the mapping writes dirty pages to: ``disk``, ``swap`` (tmpfs) or ``none`` (ramfs).
        truncated: Its file was cut while it was held: it has no mapping any more.
        owned: Nobody else has areas of its file, or somebody has a writable shared one; asked by ``v9-posted`` only.
        dropped_dirty: A pte that goes when the page is unmapped, before the first of a locked area, is dirty; asked by
            ``v9-posted`` only.
        young: Ptes with the young bit, whole tens of them; asked by ``v9-posted`` only.
        backed_out: Until ``pin`` is over it is somebody's reference who met the migration of this page.
    """

    kind: str = "anon"
    method: str = "page"
    mapcount: int = 1
    swapcache: bool = False
    lock: int | None = None
    writeback: int | None = None
    pin: int | None = None
    area: str = ""
    mlocked: bool = False
    parked: bool = False
    dirty: bool = False
    ring: Ring | None = None
    writepage: str = "disk"
    truncated: bool = False
    owned: bool = True
    dropped_dirty: bool = False
    young: int = 0
    backed_out: bool = False

    def pinned(self, nr_pass: int) -> bool:
        """Whether somebody holds a reference in this pass that migration does not know."""
        return not over(self.pin, nr_pass)

    def met(self, nr_pass: int) -> bool:
        """Whether this pass, or one that did not come as far, is the one that somebody met: it found a swap entry."""
        return self.backed_out and self.pinned(nr_pass)

    @property
    def held(self) -> bool:
        """Whether somebody holds the page: its lock, a reference, or writeback, or the same of its buffers."""
        holds = [self.lock, self.pin, self.writeback]
        holds += [] if self.ring is None else [self.ring.locked, self.ring.busy]
        return any(hold is not None for hold in holds)


def over(release: int | None, nr_pass: int, *, waiting: bool = False) -> bool:
    """Whether a hold is over in a pass, or ends while it is waited for; one that never ends is not waited for."""
    return release is None or nr_pass >= release or (waiting and release < NEVER)


class _Code(NamedTuple):
    """How a fact is told in bits: how many, the SQL that makes them of an expression, and what reads them back."""

    bits: int
    sql: str
    read: Callable[[int], Any]


def _word(*words: str) -> _Code:
    """One of some words, by its position."""
    cases = " ".join(f"WHEN '{word}' THEN {number}" for number, word in enumerate(words))
    return _Code((len(words) - 1).bit_length(), f"CASE {{}} {cases} END", words.__getitem__)


def _number(bits: int) -> _Code:
    """A number; the highest stands for all above it too."""
    return _Code(bits, f"min({{}}, {(1 << bits) - 1})", int)


_FLAG: Final = _Code(1, "{}", bool)
_TENS: Final = _Code(4, "min({} / 10, 15)", lambda tens: tens * 10)
_RELEASE: Final = _Code(4, "coalesce({} + 1, 0)", lambda value: value - 1 if value else None)
"""The pass from which a hold is over, plus one; 0 where there is no such hold."""

LATE: Final = "late"
"""A fourth ``writepage``: ``disk`` with a ring that is late, which only a file of a disk has."""

_CODES: Final = {
    "lock": _RELEASE,
    "pin": _RELEASE,
    "writeback": _RELEASE,
    "swapcache": _FLAG,
    "mlocked": _FLAG,
    "parked": _FLAG,
    "area": _word("", "vma-locked", "vma-io", "vma-pfnmap", "vma-hugetlb", "vma-reserved"),
    "kind": _word("anon", "file", "shm", "zero"),
    "method": _word("page", "buffer", "fail", "none"),
    "dirty": _FLAG,
    "truncated": _FLAG,
    "mapcount": _number(7),
    "ring": _FLAG,
    "ring_dirty": _FLAG,
    "ring_locked": _RELEASE,
    "ring_busy": _RELEASE,
    "writepage": _word("disk", "swap", "none", LATE),
    "node": _number(10),
    "owned": _FLAG,
    "dropped_dirty": _FLAG,
    "young": _TENS,
    "apart": _number(4),
    "backed_out": _FLAG,
}
"""
The facts from the lowest bit on, 64 bits together: those of PageState and its Ring, the node, and a number by which the
list tells apart pages that the rules do not (``apart``).
"""


class _Field(NamedTuple):
    """Where a fact stands in the packed state: its lowest bit, and a mask of as many bits as it has."""

    at: int
    mask: int
    code: _Code

    def of(self, state: int) -> Any:
        """The fact in a state."""
        return self.code.read(state >> self.at & self.mask)


def _laid_out() -> dict[str, _Field]:
    found, at = {}, 0
    for name, code in _CODES.items():
        found[name] = _Field(at, (1 << code.bits) - 1, code)
        at += code.bits
    return found


_FIELDS: Final = _laid_out()


def pack(expressions: Mapping[str, str]) -> str:
    """
    The SQL expression of the packed state.

    Args:
        expressions: By fact the SQL expression of its value as PageState has it, ``ring`` whether there is one: a word,
            a number, NULL for no hold. A fact that is not there is the first word, 0, or no.
    """
    fields = ((_FIELDS[name], f"({value})") for name, value in expressions.items())
    return " | ".join(f"(({field.code.sql.format(value)}) << {field.at})" for field, value in fields)


def same(name: str, state: str) -> str:
    """The SQL expression of the bits that a fact has in another packed state, to be or-ed to those of pack()."""
    field = _FIELDS[name]
    return f"({state} & {field.mask << field.at})"


def unpack(state: int) -> PageState:
    """What the rules read of a packed state."""
    fact = {name: field.of(state) for name, field in _FIELDS.items()}
    late = fact["writepage"] == LATE
    ring = Ring(fact["ring_dirty"], fact["ring_locked"], fact["ring_busy"], late) if fact["ring"] else None
    told = {name: fact[name] for name in PageState.__slots__}
    return PageState(**told | {"ring": ring, "writepage": "disk" if late else fact["writepage"]})


def node_of(state: int) -> int:
    """The node of the pages of a packed state; 0 for zero pages."""
    return int(_FIELDS["node"].of(state))


def told_apart(state: int, number: int) -> int:
    """A packed state that is another one by *number*, 1 to 15; all that the rules read of it is the same."""
    field = _FIELDS["apart"]
    return state & ~(field.mask << field.at) | number << field.at
