"""Sets of node ids: parse what numactl's users write, print what the kernel prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final


class Nodemask:
    """
    An immutable set of node ids, iterated in ascending order.

    Args:
        ids: Node ids, 0 or more each.

    Source:
        nodemask_t; the text form is that of bitmap_scnlistprintf().
    """

    __slots__ = ("bits",)

    def __init__(self, ids: Iterable[int] = ()) -> None:
        bits = 0
        for nid in ids:
            bits |= 1 << nid
        self.bits = bits

    @classmethod
    def of_bits(cls, bits: int) -> Nodemask:
        """The set whose members are the one bits of *bits*."""
        mask = cls()
        mask.bits = bits
        return mask

    @classmethod
    def parse(cls, text: str) -> Nodemask:
        """
        Read a list such as ``0-2,5``; the empty text is the empty set.

        Raises:
            ValueError: The text is no list of ids and ascending ranges.
        """
        ids: set[int] = set()
        for part in text.split(",") if text else ():
            first, dash, last = part.partition("-")
            if not (_is_number(first) and (not dash or _is_number(last))):
                raise ValueError(f"'{text}' is not a list such as 0-2,5")
            low, high = int(first), int(last if dash else first)
            if low > high:
                raise ValueError(f"the range '{part}' runs backwards; write it as {high}-{low}")
            if high > 1 << 20:
                raise ValueError(f"'{part}' is far beyond any node or CPU id")
            ids.update(range(low, high + 1))
        return cls(ids)

    def __iter__(self) -> Iterator[int]:
        bits, nid = self.bits, 0
        while bits:
            skip = (bits & -bits).bit_length() - 1
            nid += skip
            yield nid
            bits >>= skip + 1
            nid += 1

    def __len__(self) -> int:
        return self.bits.bit_count()

    def __bool__(self) -> bool:
        return self.bits != 0

    def __contains__(self, nid: int) -> bool:
        return nid >= 0 and bool(self.bits >> nid & 1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Nodemask) and self.bits == other.bits

    def __hash__(self) -> int:
        return hash(self.bits)

    def __and__(self, other: Nodemask) -> Nodemask:
        return Nodemask.of_bits(self.bits & other.bits)

    def __or__(self, other: Nodemask) -> Nodemask:
        return Nodemask.of_bits(self.bits | other.bits)

    def __sub__(self, other: Nodemask) -> Nodemask:
        return Nodemask.of_bits(self.bits & ~other.bits)

    def __le__(self, other: Nodemask) -> bool:
        return not self.bits & ~other.bits

    def __str__(self) -> str:
        parts: list[str] = []
        ids = list(self)
        start = 0
        for k in range(1, len(ids) + 1):
            if k == len(ids) or ids[k] != ids[k - 1] + 1:
                parts.append(str(ids[start]) if k - start == 1 else f"{ids[start]}-{ids[k - 1]}")
                start = k
        return ",".join(parts)

    def __repr__(self) -> str:
        return f"Nodemask.parse({str(self)!r})"


NO_NODES: Final = Nodemask()
"""The empty set."""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
