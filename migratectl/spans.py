"""Sizes, addresses, ranges and node lists as users write them; what they mean is said where a task is at hand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from migratectl.nodemask import Nodemask

ADDRESS_END: Final = 1 << 64
"""One past the highest address."""

MAX_PAGES: Final = 1 << 52
"""Pages of 4 KiB in the whole address space: no size in pages is larger."""

LARGEST_ID: Final = 1_000_000
"""Node ids above are taken as this one: every id from 1024 on is EINVAL, and a mask has a bit for each id."""

_UNITS: Final = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
# Not compiled here: that costs every start, and re keeps what it has compiled.
_SIZE = r"([0-9]+)p|([0-9]+)(?:\.([0-9]{1,12}))?(?:([KMGTkmgt])(?:i?[Bb]|i)?)?"
_LABEL = r"[A-Za-z_\[/][^\s+@=]*"
_MAX_DIGITS: Final = 20
_NO_NODES: Final = Nodemask()


@dataclass(frozen=True, slots=True)
class Size:
    """
    A length, in pages or in bytes.

    Args:
        amount: How many of the unit, 0 or more.
        unit: ``p`` for pages, ``B`` for bytes.
    """

    amount: int
    unit: Literal["p", "B"] = "B"

    def to_bytes(self, page_size: int) -> int:
        """Bytes of this size with pages of *page_size* bytes; not rounded."""
        return self.amount * page_size if self.unit == "p" else self.amount

    def __str__(self) -> str:
        return f"{self.amount}p" if self.unit == "p" else str(self.amount)


@dataclass(frozen=True, slots=True)
class Span:
    """
    A range of a task's addresses: from an address, or within a labelled area.

    Args:
        address: First byte; None where a label names the area.
        label: Name of the area; None where an address is given.
        length: How far it goes; None with an end, or for a whole area.
        end: One past the last byte, instead of a length.
        offset: Where it starts within a labelled area; None is its start.
    """

    address: int | None = None
    label: str | None = None
    length: Size | None = None
    end: int | None = None
    offset: Size | None = None

    def __str__(self) -> str:
        start = self.label if self.address is None else f"{self.address:#x}"
        if self.end is not None:
            return f"{start}-{self.end:#x}"
        length = "" if self.length is None else f"+{self.length}"
        return f"{start}{length}" + ("" if self.offset is None else f"@{self.offset}")


@dataclass(frozen=True, slots=True)
class Place:
    """
    An address within a labelled area.

    Args:
        label: Name of the area.
        offset: How far behind its start; None is the start.
    """

    label: str
    offset: Size | None = None

    def __str__(self) -> str:
        return self.label if self.offset is None else f"{self.label}@{self.offset}"


Address = int | Place
"""An address in bytes, or one that only a task's labels tell."""


@dataclass(frozen=True, slots=True)
class NodeList:
    """
    A set of nodes as numactl writes them; which nodes it names depends on the machine and the task.

    Args:
        mask: The ids listed; of no meaning with *all*.
        all: Every node.
        inverted: Every node but those listed.
        relative: The ids count within the task's cpuset.
    """

    mask: Nodemask = _NO_NODES
    all: bool = False
    inverted: bool = False
    relative: bool = False

    def __str__(self) -> str:
        if self.all:
            return "all"
        return ("!" if self.inverted else "+" if self.relative else "") + (str(self.mask) or "none")


def parse_size(text: str) -> Size:
    """
    Read a size: pages such as ``64p``, bytes such as ``4096``, ``256K``, ``1.5G`` or ``64MiB``; all units are powers
    of 1024, in either case.

    Raises:
        ValueError: The text is no size, no whole number of bytes, or larger than the address space.
    """
    match = re.fullmatch(_SIZE, text)
    if match is None or (match[3] and not match[4]):
        raise ValueError(f"'{text}' is not a size; write pages as 64p or bytes as 4096, 256K, 1.5G, 64MiB")
    pages, number, fraction, unit = match.groups()
    if pages:
        return Size(_within(_whole(pages, text), MAX_PAGES, text), "p")
    shift, digits = _UNITS[(unit or "").lower()], fraction or ""
    scaled, rest = divmod(_whole(number + digits, text) << shift, 10 ** len(digits))
    if rest:
        raise ValueError(f"'{text}' is no whole number of bytes; write fewer digits behind the point")
    return Size(_within(scaled, ADDRESS_END, text))


def _within(amount: int, limit: int, text: str) -> int:
    if amount > limit:
        raise ValueError(f"'{text}' is more than a 64-bit address space holds")
    return amount


def parse_address(text: str) -> Address:
    """
    Read an address: ``0x`` and up to 64 bits in hex, ``LABEL`` or ``LABEL@OFFSET``.

    Raises:
        ValueError: The text is no such address.
    """
    label, at, offset = text.partition("@")
    if re.fullmatch(_LABEL, label):
        return Place(label, parse_size(offset) if at else None)
    return _number(text)


def _number(text: str) -> int:
    """An address of the 64-bit space, in hex."""
    address = _hex(text)
    if address >= ADDRESS_END:
        raise ValueError(f"'{text}' is beyond the 64-bit address space")
    return address


def parse_span(text: str) -> Span:
    """
    Read a range: ``ADDR+SIZE``, ``ADDR-ADDR``, ``LABEL``, ``LABEL+SIZE`` or ``LABEL+SIZE@OFFSET``.

    Raises:
        ValueError: The text is none of these, or runs backwards.
    """
    return _numeric_span(text) if text[:1].isdigit() else _labelled_span(text)


def parse_label(text: str) -> str:
    """
    Read the name of an area.

    Raises:
        ValueError: A range could not tell the text from an address or a length.
    """
    if not re.fullmatch(_LABEL, text):
        raise ValueError(f"'{text}' cannot name an area: start with a letter, leave out blanks and the signs + @ =")
    if not text.isprintable():
        raise ValueError(f"'{text}' cannot name an area: it has characters that cannot be printed")
    return text


def parse_nodes(text: str) -> NodeList:
    """
    Read a set of nodes: ``0-3,8``, ``all`` and ``none`` in any case, ``!0-1``, ``+0-1``, or a mask
    ``00000000,0000000f``.

    Returns:
        The set; ids above LARGEST_ID are taken as that one, the call refuses both.

    Raises:
        ValueError: The text is no list of ids and ascending ranges.
    """
    if text.lower() == "all":
        return NodeList(all=True)
    if text.lower() == "none":
        return NodeList()
    sign = text[:1] if text[:1] in ("!", "+") else ""
    word = text.removeprefix(sign)
    if Nodemask.is_mask(word):
        return NodeList(Nodemask.parse_mask(word), inverted=sign == "!", relative=sign == "+")
    bits = 0
    for part in word.split(","):
        low, high = _id_range(part, text)
        bits |= ((1 << (high - low + 1)) - 1) << low
    return NodeList(Nodemask.of_bits(bits), inverted=sign == "!", relative=sign == "+")


def _numeric_span(text: str) -> Span:
    start, sign, rest = re.fullmatch(r"([^+-]*)([+-]?)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]  # matches any text
    address = _number(start)
    if sign == "+":
        return Span(address=address, length=parse_size(rest))
    if sign == "-":
        end = _hex(rest)
        if end > ADDRESS_END:
            raise ValueError(f"'{rest}' is beyond the 64-bit address space")
        if end < address:
            raise ValueError(f"the range '{text}' runs backwards; write it as {rest}-{start}")
        return Span(address=address, end=end)
    raise ValueError(f"'{text}' has no length; write {text}+1p for one page, or {text}-0x… up to an address")


def _labelled_span(text: str) -> Span:
    start, plus, rest = text.partition("+")
    if not plus and "@" in text:
        raise ValueError(f"'{text}' has an offset and no length; write LABEL+LENGTH@OFFSET, such as heap+16p@8p")
    if not re.fullmatch(_LABEL, start):
        raise ValueError(
            f"'{text}' is not a range; write 0x10000000+64p, 0x10000000-0x10040000, or a label: heap, heap+16p@8p"
        )
    if not plus:
        return Span(label=start)
    length, at, offset = rest.partition("@")
    return Span(label=start, length=parse_size(length), offset=parse_size(offset) if at else None)


def _id_range(part: str, text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", part)
    if match is None:
        raise ValueError(f"'{text}' is not a node list; write 0-3,8 or all, none, !0-1, +0-1")
    low, high = (_clamped(number) for number in (match[1], match[2] or match[1]))
    if low > high or (match[2] and _longer(match[1], match[2])):
        raise ValueError(f"the range '{part}' runs backwards; write it as {match[2]}-{match[1]}")
    return low, high


def _clamped(number: str) -> int:
    significant = number.lstrip("0") or "0"
    return min(int(significant), LARGEST_ID) if len(significant) <= _MAX_DIGITS else LARGEST_ID


def _longer(left: str, right: str) -> bool:
    left, right = left.lstrip("0"), right.lstrip("0")
    return (len(left), left) > (len(right), right)


def _whole(number: str, text: str) -> int:
    significant = number.lstrip("0") or "0"
    if len(significant) > _MAX_DIGITS:
        raise ValueError(f"'{text[:_MAX_DIGITS]}…' is more than a 64-bit address space holds")
    return int(significant)


def _hex(text: str) -> int:
    if not re.fullmatch(r"0[xX][0-9a-fA-F]+", text):
        raise ValueError(
            f"'{text}' is not an address; write it in hex, such as 0x10000000, or as a label: heap, heap@2p"
        )
    return int(text, 16)
