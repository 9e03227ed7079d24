"""Sets of node ids: parse what numactl's users write, print what the kernel prints."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

_BEYOND: Final = 1 << 20
"""No node and no CPU has an id as large as this."""

# Not compiled here: that costs every start, and re keeps what it has compiled.
_MASK: Final = "(?:[0-9a-fA-F]{1,8}(?:,[0-9a-fA-F]{8})*|[0-9a-fA-F]+)?"
_NO_LIST: Final = "[0-9a-fA-F]{1,8}(?:,[0-9a-fA-F]{8})+|[0-9a-fA-F]{8}"
_REGION: Final = "([0-9]+)(?:-([0-9]+)(?::([0-9]+)/([0-9]+))?)?"


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
            if high > _BEYOND:
                raise ValueError(f"'{part}' is far beyond any node or CPU id")
            ids.update(range(low, high + 1))
        return cls(ids)

    @staticmethod
    def is_mask(text: str) -> bool:
        """Whether a word is a mask where a list may stand too: several groups of digits, or one of eight."""
        return re.fullmatch(_NO_LIST, text) is not None

    @classmethod
    def parse_mask(cls, text: str) -> Nodemask:
        """
        Read a mask as the kernel prints one: hexadecimal groups of 32 bits, the highest first.

        ``00000000,00000003`` is the set 0-1. Groups behind the first have eight digits; one that stands alone may have
        any number of them. The empty text is the empty set.

        Raises:
            ValueError: The text is no such mask.

        Source:
            The format %*pb, Mems_allowed of /proc/PID/status, cpumap of /sys/devices/system/node.
        """
        if not re.fullmatch(_MASK, text):
            raise ValueError(f"{text[:60]!r} is no mask of hexadecimal words")
        return cls.of_bits(int(text.replace(",", "") or "0", 16))

    @classmethod
    def parse_file(cls, text: str) -> Nodemask:
        """
        Read a list as the kernel's files of lists take one.

        Items stand between commas or blanks, any number of them; ``0-7:2/4`` is the first two of each four.

        Raises:
            ValueError: The text is no such list.

        Source:
            bitmap_parselist() of lib/bitmap.c, 5.6 and later; rule 56 of what a 6.1 kernel does.
        """
        mask = 0
        for part in re.split(r"[\s,]+", text.strip(" \t\n\v\f\r,")) if text.strip(" \t\n\v\f\r,") else ():
            found = re.fullmatch(_REGION, part)
            if found is None:
                raise ValueError(f"'{part}' is no item of a list such as 0-2,5 or 0-7:2/4")
            low, high, used, group = (None if each is None else int(each) for each in found.groups())
            first, last, step = low or 0, high if high is not None else low or 0, group if group is not None else 1
            if first > last or not step or (used or 0) > step or last > _BEYOND:
                raise ValueError(f"'{part}' is no range of ids in a list such as 0-2,5 or 0-7:2/4")
            width = step if used is None else used
            for start in range(first, last + 1, step):
                mask |= ((1 << min(width, last + 1 - start)) - 1) << start
        return cls.of_bits(mask)

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
