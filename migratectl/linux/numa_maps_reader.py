"""
The text of /proc/PID/numa_maps, read: by one expression where a line looks as the kernel of 2.6.16 or of today prints
it, else word by word.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from migratectl.errors import InputFileError
from migratectl.linux.mpol import parse_policy
from migratectl.linux.numa_maps import NumaMapsLine, unescape_path
from migratectl.linux.numa_maps_words import COUNTS, MAX_DIGITS, MAX_LINE, Malformed, Place, page_size, word_by_word
from migratectl.policy import Policy
from migratectl.uapi import MAX_NUMNODES

KNOWN: Final = 1 << 13
"""Beginnings and ends of lines that are remembered: the libraries of one process are those of the next."""

FIRST, LATER, EQUAL, COLON = 1, 2, 4, 8
"""
Marks of a layout: before 2.6.16, from 2.6.16 on; ``=`` before the nodes of a policy; ``:`` there or a page size.
"""

_ADDRESS_DIGITS: Final = 16
_HEX: Final = "0123456789abcdef"
_RANGE: Final = re.compile(r"[0-9a-f]+-[0-9a-f]+")
_NUL: Final = "it has a NUL byte, which no line of numa_maps has; copy the file again"

_BEGINNING: Final = re.compile(
    r"([^ ]+(?: \(many\)[^ ]*| interleave[^ ]*)?)(?: file=([^ ]+))?( heap)?( stack)?( huge)?"
    + "".join(f"(?: {name}=([0-9]{{1,{MAX_DIGITS}}}))?" for name in COUNTS)
)
_ENDING: Final = re.compile(
    rf"((?: N[0-9]{{1,4}}=[0-9]{{1,{MAX_DIGITS}}})+)(?: kernelpagesize_kB=([0-9]{{1,{MAX_DIGITS}}}))?"
)


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
            read, marks = _read_line((source, number, int(address, 16)), rest, strict=strict or number == last)
            if marks & ~seen:
                _check_layout(marks, seen)
                seen |= marks
        except Malformed as error:
            why = _NUL if "\0" in line else error
            raise InputFileError(f"{source}: line {number}: {why}") from None
        lines.append(read)
    if "\0" in text:  # in a path, where word by word does not look
        number = text.count("\n", 0, text.index("\0")) + 1
        raise InputFileError(f"{source}: line {number}: {_NUL}")
    return tuple(lines)


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


# ---- a line as the kernel prints it


def _read_line(place: Place, text: str, *, strict: bool) -> tuple[NumaMapsLine, int]:
    """A line by its place and what stands behind its address, and the marks of its layout. Raises Malformed."""
    cut = text.find(" N")
    beginning, ending = (text, "") if cut < 0 else (text[:cut], text[cut:])
    begun, ended = _read_beginning(beginning), _read_ending(ending)
    if begun is not None and ended is not None:
        fields, most, sums, mapped, marks = begun
        nodes, pages, size, more = ended
        if most <= pages and mapped in (None, pages):
            untold = mapped is None and pages not in sums
            return NumaMapsLine._make((*place, *fields, nodes, size, False, (), untold)), marks | more
    line, name = word_by_word(place, text, strict)
    marks = FIRST if line.old else LATER
    return line, marks | _policy_marks(line.policy, name) | (COLON if line.kernel_page_kib else 0)


@lru_cache(maxsize=KNOWN)
def _read_beginning(text: str) -> tuple[tuple[Any, ...], int, tuple[int, ...], int | None, int] | None:
    """
    The words before the counts by node.

    Returns:
        The fields of NumaMapsLine from ``policy`` to ``writeback``, the largest count that the pages must reach, how
        many pages there can be without ``mapped``, how many that tells, and marks of the layout; None where word by
        word has to read the line.
    """
    match = _BEGINNING.fullmatch(text) if len(text) <= MAX_LINE else None
    if not match:
        return None
    name, file, heap, stack, huge, anon, dirty, mapped, mapmax, cached, active, written = match.groups()
    policy = _known_policy(name)
    if policy is None:
        return None
    nr_mapmax = int(mapmax or 1)
    if written or nr_mapmax < 1:
        return None
    counts = int(anon or 0), int(dirty or 0), nr_mapmax, int(cached or 0), int(active) if active else None
    path = unescape_path(file) if file else None
    fields = policy, path, heap is not None, stack is not None, huge is not None, *counts, 0
    most = max(counts[0], counts[1], counts[3], counts[4] or 0)
    sums = 0, counts[0], counts[1]
    return fields, most, sums, int(mapped) if mapped else None, LATER | _policy_marks(policy, name)


@lru_cache(maxsize=KNOWN)
def _known_policy(text: str) -> Policy | None:
    """The policy of that text, the same object each time; None where word by word has to say what is wrong."""
    try:
        return parse_policy(text)
    except ValueError:
        return None


@lru_cache(maxsize=KNOWN)
def _read_ending(text: str) -> tuple[tuple[tuple[int, int], ...], int, int | None, int] | None:
    """The counts by node, their sum, the page size, and marks of the layout; None as above, and with zeros."""
    if not text:
        return (), 0, None, 0
    match = _ENDING.fullmatch(text) if len(text) <= MAX_LINE else None
    if not match:
        return None
    found = []
    above, pages = -1, 0
    for word in match[1].split():
        node, _, count = word[1:].partition("=")
        nid, nr = int(node), int(count)
        if nid <= above or nid >= MAX_NUMNODES or not nr:
            return None
        found.append((nid, nr))
        above, pages = nid, pages + nr
    size = page_size(f"kernelpagesize_kB={match[2]}", match[2]) if match[2] else None
    return tuple(found), pages, size, COLON if size else 0


def _policy_marks(policy: Policy, name: str) -> int:
    """Marks that the text *name* of a policy shows."""
    return 0 if not policy.nodes else COLON if ":" in name else EQUAL
