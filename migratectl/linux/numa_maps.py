"""
/proc/PID/numa_maps in the layouts of 2.6.16 and of today: text to lines, and lines to text.

A line is one area: its address, its policy, what it maps, and how many of its present pages have which property and
lie on which node. Counts are pages of the area's own size: huge pages in a huge area.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from migratectl.errors import InputFileError
from migratectl.nodemask import Nodemask
from migratectl.policy import Policy
from migratectl.uapi import MAX_NUMNODES, Mode, ModeFlag

Era = Literal["2.6.16", "modern"]

MAX_LINE: Final = 1 << 16
"""Longest line: an escaped path of PATH_MAX bytes and a count for each of 1024 nodes are shorter."""

MAX_DIGITS: Final = 15
"""Most digits of a count: beyond, no 64-bit address space has so many pages."""

_MODES: Final = {
    "default": Mode.DEFAULT,
    "local": Mode.LOCAL,
    "prefer": Mode.PREFERRED,
    "prefer (many)": Mode.PREFERRED_MANY,
    "bind": Mode.BIND,
    "interleave": Mode.INTERLEAVE,
    "weighted interleave": Mode.WEIGHTED_INTERLEAVE,
}
_MODE_NAMES: Final = {mode: name for name, mode in _MODES.items()}
_FLAGS: Final = {"static": ModeFlag.STATIC, "relative": ModeFlag.RELATIVE, "balancing": ModeFlag.BALANCING}
_FLAG_NAMES: Final = {flag: name for name, flag in _FLAGS.items()}
_WITHOUT_NODES: Final = frozenset({Mode.DEFAULT, Mode.LOCAL})
_TWO_WORDS: Final = frozenset({"prefer", "weighted"})

_ORDER: Final = ("anon", "dirty", "mapped", "mapmax", "swapcache", "active", "writeback")
_POLICY: Final = re.compile(r"([a-z]+(?: \(many\)| interleave)?)(?:=([a-z|]+))?(?:[:=]([0-9,-]+))?")
_NODE_LIST: Final = re.compile(r"[0-9]{1,4}(?:-[0-9]{1,4})?(?:,[0-9]{1,4}(?:-[0-9]{1,4})?)*")
_ADDRESS: Final = re.compile(r"[0-9a-f]{1,16}")
_RANGE: Final = re.compile(r"[0-9a-f]+-[0-9a-f]+")
_NODE: Final = re.compile(r"N([0-9]+)")
_ESCAPED: Final = re.compile(r"\\(040|011|012|075)")
_TO_ESCAPE: Final = re.compile(r"[ \t\n=]")

_KERNEL_LINE: Final = re.compile(
    r"([0-9a-f]{1,16}) ([^ ]+(?: \(many\)[^ ]*| interleave[^ ]*)?)(?: file=([^ ]+))?( heap)?( stack)?( huge)?"
    + "".join(f"(?: {name}=([0-9]{{1,{MAX_DIGITS}}}))?" for name in _ORDER)
    + rf"((?: N[0-9]{{1,4}}=[0-9]{{1,{MAX_DIGITS}}})*)(?: kernelpagesize_kB=([0-9]{{1,{MAX_DIGITS}}}))?"
)
_COUNTS: Final = frozenset(_ORDER)
_OLD_WORDS: Final = ("MaxRef=", "Pages=", "Mapped=", "maxref=", "pages=")


class NumaMapsLine(NamedTuple):
    """
    One area.

    Args:
        source: Name of the text, for messages.
        number: Line of the text, from 1.
        address: First byte of the area.
        policy: Effective policy at that address.
        file: Path of the mapped file, unescaped; None without one.
        heap: The line says ``heap``.
        stack: The line says ``stack``.
        huge: The line says ``huge``: the counts are huge pages.
        anon: Anonymous pages.
        dirty: Pages that are dirty, or that a dirty pte maps.
        mapmax: Most ptes that map one of the pages; 1 where the line does not say.
        swapcache: Pages in the swap cache.
        active: Active pages; None where the line does not say, which means all (of a huge area: unknown).
        writeback: Pages under writeback.
        nodes: (node, pages) in ascending order of the nodes, without zeros.
        kernel_page_kib: Size of the pages in KiB where the line says so.
    """

    source: str
    number: int
    address: int
    policy: Policy
    file: str | None = None
    heap: bool = False
    stack: bool = False
    huge: bool = False
    anon: int = 0
    dirty: int = 0
    mapmax: int = 1
    swapcache: int = 0
    active: int | None = None
    writeback: int = 0
    nodes: tuple[tuple[int, int], ...] = ()
    kernel_page_kib: int | None = None

    @property
    def pages(self) -> int:
        """Present pages: the sum of the counts by node."""
        total = 0
        for _, count in self.nodes:  # a generator would cost as much as the rest of the line
            total += count
        return total

    @property
    def mapped(self) -> int | None:
        """The count that the text shows as ``mapped``; None where it follows from anon or dirty."""
        pages = self.pages
        return pages if pages not in {0, self.anon, self.dirty} else None

    @property
    def where(self) -> str:
        """Text and line, as messages begin."""
        return f"{self.source}: line {self.number}"


class _Malformed(Exception):
    """What is wrong with a line; parse_numa_maps() adds the place."""


def parse_numa_maps(text: str, source: str) -> tuple[NumaMapsLine, ...]:
    """
    Read the text of /proc/PID/numa_maps.

    Args:
        text: The whole text.
        source: Name of the file, for messages.

    Returns:
        A line for each area, in the order of the text; repeated or unordered addresses are left as they are
        (plan_task() of placement.py decides on them).

    Raises:
        InputFileError: A line is malformed, contradicts itself, or is of the format before 2.6.16; names the line.

    Source:
        show_numa_map(), mm/mempolicy.c of 2.6.16 and fs/proc/task_mmu.c of today; semantics.md 7.1 b and c.
    """
    lines: list[NumaMapsLine] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line or line.isspace():
            continue
        try:
            lines.append(_parse_line(line, source, number))
        except _Malformed as error:
            raise InputFileError(f"{source}: line {number}: {error}") from None
    return tuple(lines)


def parse_policy(text: str) -> Policy:
    """
    Read a policy such as ``bind=static:0-1``, with ``=`` or ``:`` before the nodes.

    Raises:
        ValueError: Not a policy of numa_maps.

    Source:
        mpol_to_str(), mm/mempolicy.c.
    """
    match = _POLICY.fullmatch(text)
    if not match or match[1] not in _MODES:
        raise ValueError(f"{text[:60]!r} is no policy")
    mode, flags = _MODES[match[1]], match[2].split("|") if match[2] else []
    unknown = [flag for flag in flags if flag not in _FLAGS]
    if unknown or len(set(flags)) != len(flags):
        raise ValueError(f"{text[:60]!r} has mode flags other than static, relative, balancing, each once")
    nodes = _parse_nodes(match[3]) if match[3] else Nodemask()
    _check_nodes(mode, nodes, text[:60])
    return Policy(mode, nodes, tuple(_FLAGS[flag] for flag in flags))


def format_policy(policy: Policy, era: Era) -> str:
    """
    Text of a policy.

    Args:
        policy: The policy.
        era: ``2.6.16`` puts ``=`` before the nodes, ``modern`` ``:``.

    Source:
        mpol_to_str(), mm/mempolicy.c.
    """
    text = _MODE_NAMES[policy.mode]
    if policy.flags:
        text += "=" + "|".join(_FLAG_NAMES[flag] for flag in policy.flags)
    if policy.nodes:
        text += ("=" if era == "2.6.16" else ":") + str(policy.nodes)
    return text


def format_numa_maps(lines: Iterable[NumaMapsLine], era: Era) -> str:
    """
    The text that the kernel prints for some areas; the inverse of parse_numa_maps().

    Args:
        lines: Areas in the order to print.
        era: ``2.6.16`` (``=`` in policies, no page size) or ``modern`` (``:``, page size where a line has one).

    Returns:
        One line of text an area, each with its newline.

    Source:
        show_numa_map(); semantics.md 7.1 b and c.
    """
    return "".join(f"{_format_line(line, era)}\n" for line in lines)


def escape_path(path: str) -> str:
    """A path with blank, tab, newline and equal sign as a backslash and three octal digits, the backslash as it is."""
    return _TO_ESCAPE.sub(lambda match: f"\\{ord(match[0]):03o}", path)


def unescape_path(text: str) -> str:
    """The inverse of escape_path(); other backslashes stand for themselves."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text)


def _format_line(line: NumaMapsLine, era: Era) -> str:
    words = [f"{line.address:08x}", format_policy(line.policy, era)]
    if line.file:  # the pages of no file, such as the vdso, have none to name
        words.append(f"file={escape_path(line.file)}")
    words += [word for word in ("heap", "stack", "huge") if getattr(line, word)]
    if line.nodes:
        words += _format_counts(line, era)
    return " ".join(words)


def _format_counts(line: NumaMapsLine, era: Era) -> list[str]:
    pages = line.pages
    shown = {
        "anon": line.anon,
        "dirty": line.dirty,
        "mapped": line.mapped or 0,
        "mapmax": line.mapmax if line.mapmax > 1 else 0,
        "swapcache": line.swapcache,
    }
    words = [f"{name}={value}" for name, value in shown.items() if value]
    if line.active is not None and line.active < pages and not line.huge:
        words.append(f"active={line.active}")
    if line.writeback:
        words.append(f"writeback={line.writeback}")
    words += [f"N{node}={count}" for node, count in line.nodes]
    if era == "modern" and line.kernel_page_kib:
        words.append(f"kernelpagesize_kB={line.kernel_page_kib}")
    return words


def _parse_line(line: str, source: str, number: int) -> NumaMapsLine:
    """One line: by one expression if it looks as the kernel prints it, else word by word, which finds what is wrong."""
    if len(line) > MAX_LINE:
        raise _Malformed(f"it is longer than {MAX_LINE} characters, which no line of numa_maps is")
    match = _KERNEL_LINE.fullmatch(line)
    return (match and _from_match(match, source, number)) or _from_words(line, source, number)


def _from_match(match: re.Match[str], source: str, number: int) -> NumaMapsLine | None:
    """The line of a match; None where word by word has to say what is wrong."""
    address, policy, file, heap, stack, huge, anon, dirty, mapped, mapmax, cached, active, written, rest, size = (
        match.groups()
    )
    known = _known_policy(policy)
    nodes, pages = _read_nodes(rest) if rest else _NO_NODES
    counts = int(anon or 0), int(dirty or 0), int(cached or 0), int(active or 0)
    if written or known is None or max(counts) > pages or int(mapped or pages) != pages or int(mapmax or 1) < 1:
        return None
    return NumaMapsLine(
        source,
        number,
        int(address, 16),
        known,
        unescape_path(file) if file and "\\" in file else file,
        heap is not None,
        stack is not None,
        huge is not None,
        counts[0],
        counts[1],
        int(mapmax or 1),
        counts[2],
        counts[3] if active else None,
        0,
        nodes,
        _read_page_size(size) if size else None,
    )


@lru_cache(maxsize=1 << 10)
def _known_policy(text: str) -> Policy | None:
    """The policy of that text; None where word by word has to say what is wrong."""
    try:
        return parse_policy(text)
    except ValueError:
        return None


_NO_NODES: Final[tuple[tuple[tuple[int, int], ...], int]] = (), 0


@lru_cache(maxsize=1 << 14)
def _read_nodes(text: str) -> tuple[tuple[tuple[int, int], ...], int]:
    """The counts by node and their sum; the sum is -1 where word by word has to say what is wrong, or zeros go."""
    found = []
    above = pages = -1
    for word in text.split():
        node, _, count = word[1:].partition("=")
        nid, nr = int(node), int(count)
        if nid <= above or nid >= MAX_NUMNODES or not nr:
            return (), -1
        found.append((nid, nr))
        above, pages = nid, pages + nr
    return tuple(found), pages + 1


@lru_cache
def _read_page_size(size: str) -> int:
    return _parse_page_size(f"kernelpagesize_kB={size}", size)


def _from_words(line: str, source: str, number: int) -> NumaMapsLine:
    words = line.rstrip(" ").split(" ")
    if len(words) > 2 and words[1] in _TWO_WORDS:  # a policy with a blank in its name
        words[1:3] = [f"{words[1]} {words[2]}"]
    address = _parse_address(words[0])
    policy = _parse_policy_word(words)
    fields, nodes = _parse_words(words[2:])
    return _checked(source, number, address, policy, fields, nodes)


def _parse_address(word: str) -> int:
    if _ADDRESS.fullmatch(word):
        return int(word, 16)
    if _RANGE.fullmatch(word):
        raise _Malformed("it begins with a range, as maps and numa_vamaps do; numa_maps begins with one address")
    raise _Malformed(f"{word[:40]!r} is no address of at most 16 lower-case hexadecimal digits")


def _parse_policy_word(words: list[str]) -> Policy:
    try:
        return parse_policy(words[1] if len(words) > 1 else "")
    except ValueError as error:
        raise _Malformed(f"{error}; a policy such as default or bind:0-1 must follow the address") from None


class _Fields(NamedTuple):
    """Words without nodes: the path, the bare words, and the numbers by name."""

    file: str | None
    bare: frozenset[str]
    numbers: dict[str, int]


def _parse_words(words: list[str]) -> tuple[_Fields, dict[int, int]]:
    file: str | None = None
    bare: set[str] = set()
    numbers: dict[str, int] = {}
    nodes: dict[int, int] = {}
    for word in words:
        key, equal, value = word.partition("=")
        if not equal and key in {"heap", "stack", "huge"} and key not in bare:
            bare.add(key)
        elif key in _COUNTS and key not in numbers and equal:
            numbers[key] = _parse_count(word, value)
        elif key == "file" and file is None and value:
            file = unescape_path(value) if "\\" in value else value
        elif key == "kernelpagesize_kB" and key not in numbers and equal:
            numbers[key] = _parse_page_size(word, value)
        elif (match := _NODE.fullmatch(key)) and equal:
            _enter_node(nodes, match[1], word, value)
        else:
            raise _Malformed(_why_not(word))
    return _Fields(file, frozenset(bare), numbers), nodes


def _why_not(word: str) -> str:
    if word.startswith(_OLD_WORDS):
        return f"{word[:40]!r} is of the format before 2.6.16, which leaves areas out; it is not read"
    key = word.partition("=")[0]
    if key in _COUNTS or key in {"file", "heap", "stack", "huge", "kernelpagesize_kB"}:
        return f"{word[:40]!r} stands there twice, or without a value"
    return f"{word[:40]!r} is no word of numa_maps"


def _parse_count(word: str, value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise _Malformed(f"{word[:40]!r} has no number")
    if len(value) > MAX_DIGITS:
        raise _Malformed(f"{word[:40]!r} is more than any address space has")
    return int(value)


def _parse_page_size(word: str, value: str) -> int:
    size = _parse_count(word, value)
    if size.bit_count() != 1 or size.bit_length() > 32:
        raise _Malformed(f"{word[:40]!r} is no page size")
    return size


def _enter_node(nodes: dict[int, int], node: str, word: str, value: str) -> None:
    if len(node) > 4 or int(node) >= MAX_NUMNODES:
        raise _Malformed(f"{word[:40]!r}: node ids end at {MAX_NUMNODES - 1}")
    if int(node) in nodes:
        raise _Malformed(f"{word[:40]!r}: node {int(node)} stands there twice")
    nodes[int(node)] = _parse_count(word, value)


def _parse_nodes(text: str) -> Nodemask:
    if not _NODE_LIST.fullmatch(text):
        raise ValueError(f"{text[:60]!r} is no list of nodes such as 0-2,5")
    nodes = Nodemask.parse(text)
    if nodes.bits >> MAX_NUMNODES:
        raise ValueError(f"{text[:60]!r} goes beyond node {MAX_NUMNODES - 1}")
    return nodes


def _check_nodes(mode: Mode, nodes: Nodemask, text: str) -> None:
    if mode in _WITHOUT_NODES and nodes:
        raise ValueError(f"{text!r}: this policy takes no nodes")
    if mode not in _WITHOUT_NODES and not nodes:
        raise ValueError(f"{text!r}: this policy needs nodes")
    if mode is Mode.PREFERRED and len(nodes) != 1:
        raise ValueError(f"{text!r}: prefer takes one node")


def _checked(
    source: str, number: int, address: int, policy: Policy, fields: _Fields, nodes: dict[int, int]
) -> NumaMapsLine:
    numbers, get = fields.numbers, fields.numbers.get
    pages = sum(nodes.values())
    _check_sums(numbers, get, pages)
    return NumaMapsLine(
        source,
        number,
        address,
        policy,
        fields.file,
        "heap" in fields.bare,
        "stack" in fields.bare,
        "huge" in fields.bare,
        get("anon", 0),
        get("dirty", 0),
        get("mapmax", 1),
        get("swapcache", 0),
        get("active"),
        get("writeback", 0),
        tuple((node, nodes[node]) for node in sorted(nodes) if nodes[node]),
        get("kernelpagesize_kB"),
    )


def _check_sums(numbers: dict[str, int], get: Callable[[str, int], int], pages: int) -> None:
    for name, value in numbers.items():
        if name in {"mapmax", "kernelpagesize_kB"}:
            continue
        if value > pages or (name == "mapped" and value != pages):
            raise _Malformed(f"{name}={value}, but the counts by node add up to {pages}")
    if get("mapmax", 1) < 1:
        raise _Malformed("mapmax=0: a page that is present is mapped")
    if get("writeback", 0) > get("swapcache", 0) + pages - max(get("anon", 0), get("swapcache", 0)):
        raise _Malformed("writeback= is more than the pages in the swap cache or of the file")
