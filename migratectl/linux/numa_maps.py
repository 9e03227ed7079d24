"""
A line of /proc/PID/numa_maps, and its text in the layouts of before 2.6.16, of 2.6.16 and of today.

A line is one area: its address, its policy, what it maps, and how many of its present pages have which property and
lie on which node. Counts are pages of the area's own size: huge pages in a huge area.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from migratectl.linux.mpol import Era, format_policy
from migratectl.policy import Policy

_TO_ESCAPE: Final = re.compile(r"[ \t\n=]")
_ESCAPED: Final = re.compile(r"\\(040|011|012|075)")
_THREAD_STACK: Final = re.compile(r"stack:[0-9]+")
"""How kernels 3.4 to 4.4 name the stack of a thread; show_numa_map(), fs/proc/task_mmu.c."""


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


def is_thread_stack(word: str) -> bool:
    """Whether a word names the stack of a thread by the thread's number."""
    return _THREAD_STACK.fullmatch(word) is not None


def unescape_path(text: str) -> str:
    """A path with the octal numbers of blank, tab, newline and equal sign replaced; other backslashes stay."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text) if "\\" in text else text


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
