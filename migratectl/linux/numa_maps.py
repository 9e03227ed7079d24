"""
/proc/PID/numa_maps in the layouts of before 2.6.16, of 2.6.16 and of today: text to lines, and lines to text.

A line is one area: its address, its policy, what it maps, and how many of its present pages have which property and
lie on which node. Counts are pages of the area's own size: huge pages in a huge area.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from migratectl.errors import InputFileError
from migratectl.linux.mpol import Era, format_policy, parse_policy
from migratectl.linux.numa_maps_words import (
    COLON,
    EQUAL,
    FIRST,
    LATER,
    Malformed,
    is_thread_stack,
    read_words,
    unescape_path,
)
from migratectl.policy import Policy

__all__ = (
    "Era",
    "NumaMapsLine",
    "escape_path",
    "format_numa_maps",
    "format_policy",
    "parse_numa_maps",
    "parse_policy",
    "unescape_path",
)

_ADDRESS_DIGITS: Final = 16
_HEX: Final = "0123456789abcdef"
_RANGE: Final = re.compile(r"[0-9a-f]+-[0-9a-f]+")
_TO_ESCAPE: Final = re.compile(r"[ \t\n=]")
_NUL: Final = "it has a NUL byte, which no line of numa_maps has; copy the file again"


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
        old: The line is of the layout before 2.6.16, which tells nothing of files and dirty pages.
        words: Words that are not known, as kernels add some; the stack of a thread is a stack all the same.
        untold: Its counts by node add up to neither anon nor dirty, and no ``mapped`` tells them, as the kernel would.
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
    old: bool = False
    words: tuple[str, ...] = ()
    untold: bool = False

    @property
    def pages(self) -> int:
        """Present pages: the sum of the counts by node."""
        nodes = self.nodes
        if len(nodes) == 1:
            return nodes[0][1]
        total = 0
        for _, count in nodes:  # a generator would cost as much as the rest of the line
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


def parse_numa_maps(text: str, source: str, *, strict: bool = True) -> tuple[NumaMapsLine, ...]:
    """
    Read the text of /proc/PID/numa_maps. Its layout is recognised by the words; all lines are of one.

    Args:
        text: The whole text.
        source: Name of the file, for messages.
        strict: Refuse words that are not known; else each line keeps its own.

    Returns:
        A line for each area, in the order of the text; repeated or unordered addresses are left as they are
        (plan_task() of placement.py decides on them).

    Raises:
        InputFileError: A line is malformed, contradicts itself, or is of another layout than those above it; names
            the line.

    Source:
        show_numa_map(), mm/mempolicy.c of 2.6.14 and 2.6.16, fs/proc/task_mmu.c of today; semantics.md 7.1.
    """
    lines: list[NumaMapsLine] = []
    make = NumaMapsLine._make
    seen = 0
    texts = text.split("\n")
    last = len(texts)  # where there is anything behind the last newline, that may be half a word
    for number, line in enumerate(texts, 1):
        address, _, rest = line.partition(" ")
        try:
            if address.strip(_HEX) or not 0 < len(address) <= _ADDRESS_DIGITS:
                if not line or line.isspace():
                    continue
                raise Malformed(_no_address(address))
            words, marks = read_words(rest, strict=strict or number == last)
            if marks & ~seen:
                _check_layout(marks, seen)
                seen |= marks
        except Malformed as error:
            why = _NUL if "\0" in line else error
            raise InputFileError(f"{source}: line {number}: {why}") from None
        lines.append(make((source, number, int(address, 16), *words)))
    if "\0" in text:  # in a path, where word by word does not look
        number = text.count("\n", 0, text.index("\0")) + 1
        raise InputFileError(f"{source}: line {number}: {_NUL}")
    return tuple(lines)


def format_numa_maps(lines: Iterable[NumaMapsLine], era: Era) -> str:
    """
    The text that the kernel prints for some areas; the inverse of parse_numa_maps().

    Args:
        lines: Areas in the order to print.
        era: ``2006-01`` (a line only for areas with pages, huge ones left out), ``2.6.16`` (``=`` in policies, no page
            size) or ``modern`` (``:``, page size where a line has one). The latter two show words that are not known
            behind the others, the number of a thread's stack in its place.

    Returns:
        One line of text an area, each with its newline.

    Source:
        show_numa_map(); semantics.md 7.1.
    """
    if era == "2006-01":
        return "".join(f"{_format_old_line(line)}\n" for line in lines if line.nodes and not line.huge)
    return "".join(f"{_format_line(line, era)}\n" for line in lines)


def escape_path(path: str) -> str:
    """A path with blank, tab, newline and equal sign as a backslash and three octal digits, the backslash as it is."""
    return _TO_ESCAPE.sub(lambda match: f"\\{ord(match[0]):03o}", path)


# ---- text to lines


def _no_address(word: str) -> str:
    if _RANGE.fullmatch(word):
        return (
            "it begins with a range, as maps and numa_vamaps do; numa_maps begins with one address;"
            " give the file numa_maps of the process"
        )
    return f"{word[:40]!r} is no address of at most {_ADDRESS_DIGITS} lower-case hexadecimal digits"


def _check_layout(marks: int, seen: int) -> None:
    """Refuse a line whose *marks* show another layout than those *seen* above it."""
    every = marks | seen
    if every & FIRST and every & LATER:
        names = "before 2.6.16", "from 2.6.16 on"
        own, others = names if marks & FIRST else names[::-1]
    elif every & COLON and every & (FIRST | EQUAL):
        names = "of today, with ':' before nodes and page sizes", "of 2006, with '=' before nodes"
        own, others = names if marks & COLON else names[::-1]
    else:
        return
    raise Malformed(f"its layout is that {own}, but lines above it have that {others}; give the text of one kernel")


# ---- lines to text


def _format_line(line: NumaMapsLine, era: Era) -> str:
    words = [f"{line.address:08x}", format_policy(line.policy, era)]
    if line.file:  # the pages of no file, such as the vdso, have none to name
        words.append(f"file={escape_path(line.file)}")
    thread = next(filter(is_thread_stack, line.words), None)
    shown = {"heap": line.heap, thread or "stack": line.stack, "huge": line.huge}
    words += [word for word, is_so in shown.items() if is_so]
    if line.nodes:
        words += _format_counts(line, era)
    return " ".join([*words, *(word for word in line.words if word != thread)])


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


def _format_old_line(line: NumaMapsLine) -> str:
    pages = line.pages
    words = [f"{line.address:08x}", format_policy(line.policy, "2006-01")]
    words += [f"pages={pages}", f"mapped={pages}", f"maxref={line.mapmax}"]
    if line.anon:
        words.append(f"anon={line.anon}")
    return " ".join(words + [f"N{node}={count}" for node, count in line.nodes])
