"""
The words behind the address of a numa_maps line: by one expression where they look as the kernel of 2.6.16 or of today
prints them, else word by word, which reads the layout before 2.6.16 too and finds what is wrong.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final, NamedTuple

from migratectl.linux.mpol import TWO_WORDS, parse_policy
from migratectl.policy import Policy
from migratectl.uapi import MAX_NUMNODES

MAX_LINE: Final = 1 << 16
"""Longest line: an escaped path of PATH_MAX bytes and a count for each of 1024 nodes are shorter."""

MAX_DIGITS: Final = 15
"""Most digits of a count: beyond, no 64-bit address space has so many pages."""

KNOWN: Final = 1 << 13
"""Beginnings and ends of lines that are remembered: the libraries of one process are those of the next."""

FIRST, LATER, EQUAL, COLON = 1, 2, 4, 8
"""
Marks of a layout: before 2.6.16, from 2.6.16 on; ``=`` before the nodes of a policy; ``:`` there or a page size.
"""

_ORDER: Final = ("anon", "dirty", "mapped", "mapmax", "swapcache", "active", "writeback")
_COUNTS: Final = frozenset(_ORDER)
_BARE: Final = frozenset({"heap", "stack", "huge"})
_KEYS: Final = _COUNTS | _BARE | {"file", "kernelpagesize_kB"}
_UNKNOWN: Final = re.compile(r"[A-Za-z_][!-~]*")
_THREAD_STACK: Final = re.compile(r"stack:[0-9]+")
"""How kernels 3.4 to 4.4 name the stack of a thread; show_numa_map(), fs/proc/task_mmu.c."""

_OLD_WORDS: Final = {
    word: word.lower() for word in ("pages", "mapped", "maxref", "anon", "Pages", "Mapped", "MaxRef", "Anon")
}
_OLD_ONLY: Final = frozenset(_OLD_WORDS) - _COUNTS
_OLD_ALWAYS: Final = ("pages", "mapped", "maxref")
_NODE: Final = re.compile(r"N([0-9]+)")
_ESCAPED: Final = re.compile(r"\\(040|011|012|075)")

_BEGINNING: Final = re.compile(
    r"([^ ]+(?: \(many\)[^ ]*| interleave[^ ]*)?)(?: file=([^ ]+))?( heap)?( stack)?( huge)?"
    + "".join(f"(?: {name}=([0-9]{{1,{MAX_DIGITS}}}))?" for name in _ORDER)
)
_ENDING: Final = re.compile(
    rf"((?: N[0-9]{{1,4}}=[0-9]{{1,{MAX_DIGITS}}})+)(?: kernelpagesize_kB=([0-9]{{1,{MAX_DIGITS}}}))?"
)


class Malformed(Exception):
    """What is wrong with a line; parse_numa_maps() adds the place."""


class Words(NamedTuple):
    """What stands behind the address; the fields are those of NumaMapsLine."""

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


_ANON: Final = Words._fields.index("anon")
_DIRTY: Final = Words._fields.index("dirty")


def read_words(text: str, *, strict: bool = True) -> tuple[tuple[Any, ...], int]:
    """
    Read what stands behind the address of a line.

    Args:
        text: The line without its address.
        strict: Refuse words that are not known; else they are kept.

    Returns:
        Its fields in the order of Words, and the marks of the layout that they show.

    Raises:
        Malformed: What is wrong.
    """
    cut = text.find(" N")
    beginning, ending = (text, "") if cut < 0 else (text[:cut], text[cut:])
    begun, ended = _read_beginning(beginning), _read_ending(ending)
    if begun is not None and ended is not None:
        fields, most, mapped, marks = begun
        nodes, pages, size, more = ended
        if most <= pages and mapped in (None, pages):
            untold = mapped is None and pages not in (0, fields[_ANON], fields[_DIRTY])
            return (*fields, nodes, size, False, (), untold), marks | more
    words, name = _word_by_word(text, strict)
    marks = FIRST if words.old else LATER
    return words, marks | _policy_marks(words.policy, name) | (COLON if words.kernel_page_kib else 0)


def is_thread_stack(word: str) -> bool:
    """Whether a word names the stack of a thread by the thread's number."""
    return _THREAD_STACK.fullmatch(word) is not None


def unescape_path(text: str) -> str:
    """A path with the octal numbers of blank, tab, newline and equal sign replaced; other backslashes stay."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text) if "\\" in text else text


# ---- as the kernel prints it


@lru_cache(maxsize=KNOWN)
def _read_beginning(text: str) -> tuple[tuple[Any, ...], int, int | None, int] | None:
    """
    The words before the counts by node.

    Returns:
        The fields of Words up to ``writeback``, the largest count that the pages must reach, the pages that ``mapped``
        tells, and marks of the layout; None where word by word has to read the line.
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
    return fields, most, int(mapped) if mapped else None, LATER | _policy_marks(policy, name)


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
    size = _page_size(f"kernelpagesize_kB={match[2]}", match[2]) if match[2] else None
    return tuple(found), pages, size, COLON if size else 0


def _policy_marks(policy: Policy, name: str) -> int:
    """Marks that the text *name* of a policy shows."""
    return 0 if not policy.nodes else COLON if ":" in name else EQUAL


# ---- word by word


class _Fields(NamedTuple):
    """Words without nodes: the path, the bare words, the numbers by name, and what is not known."""

    file: str | None
    bare: frozenset[str]
    numbers: dict[str, int]
    unknown: tuple[str, ...]


def _word_by_word(text: str, strict: bool) -> tuple[Words, str]:
    """The words, and the text of the policy."""
    if len(text) > MAX_LINE:
        raise Malformed(f"it is longer than {MAX_LINE} characters, which no line of numa_maps is")
    name, words = _policy_and_rest(text)
    try:
        policy = parse_policy(name)
    except ValueError as error:
        raise Malformed(f"{error}; a policy such as default or bind:0-1 must follow the address") from None
    if any(word.partition("=")[0] in _OLD_ONLY for word in words):
        return _old_layout(policy, words), name
    fields, nodes = _parse_words(words, strict)
    return _checked(policy, fields, nodes), name


def _policy_and_rest(text: str) -> tuple[str, list[str]]:
    """The policy, whose name may have a blank in it, and the words behind it."""
    words = text.rstrip(" ").split(" ")
    parts = 2 if words[0] in TWO_WORDS and len(words) > 1 and words[1].startswith(TWO_WORDS[words[0]]) else 1
    return " ".join(words[:parts]), words[parts:]


def _parse_words(words: list[str], strict: bool) -> tuple[_Fields, dict[int, int]]:
    file: str | None = None
    bare: set[str] = set()
    numbers: dict[str, int] = {}
    nodes: dict[int, int] = {}
    unknown: list[str] = []
    for word in words:
        key, equal, value = word.partition("=")
        if not equal and key in _BARE and key not in bare:
            bare.add(key)
        elif key in _COUNTS and key not in numbers and equal:
            numbers[key] = _count(word, value)
        elif key == "file" and file is None and value:
            file = unescape_path(value)
        elif key == "kernelpagesize_kB" and key not in numbers and equal:
            numbers[key] = _page_size(word, value)
        elif (match := _NODE.fullmatch(key)) and equal:
            _enter_node(nodes, match[1], word, value)
        elif key in _KEYS:
            raise Malformed(f"{word[:40]!r} stands there twice, or without a value")
        elif strict or not _UNKNOWN.fullmatch(word):
            raise Malformed(f"{word[:40]!r} is no word of numa_maps")
        else:
            unknown.append(word)
            if is_thread_stack(word):
                bare.add("stack")
    return _Fields(file, frozenset(bare), numbers, tuple(unknown)), nodes


def _count(word: str, value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise Malformed(f"{word[:40]!r} has no number")
    if len(value) > MAX_DIGITS:
        raise Malformed(f"{word[:40]!r} is more than any address space has")
    return int(value)


def _page_size(word: str, value: str) -> int:
    size = _count(word, value)
    if size.bit_count() != 1 or size.bit_length() > 32:
        raise Malformed(f"{word[:40]!r} is no page size")
    return size


def _enter_node(nodes: dict[int, int], node: str, word: str, value: str) -> None:
    if len(node) > 4 or int(node) >= MAX_NUMNODES:
        raise Malformed(f"{word[:40]!r}: node ids end at {MAX_NUMNODES - 1}")
    if int(node) in nodes:
        raise Malformed(f"{word[:40]!r}: node {int(node)} stands there twice")
    nodes[int(node)] = _count(word, value)


def _checked(policy: Policy, fields: _Fields, nodes: dict[int, int]) -> Words:
    get = fields.numbers.get
    pages = sum(nodes.values())
    _check_sums(fields.numbers, pages)
    return Words(
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
        _ascending(nodes),
        get("kernelpagesize_kB"),
        words=fields.unknown,
        untold="mapped" not in fields.numbers and pages not in (0, get("anon", 0), get("dirty", 0)),
    )


def _ascending(nodes: dict[int, int]) -> tuple[tuple[int, int], ...]:
    return tuple((node, nodes[node]) for node in sorted(nodes) if nodes[node])


def _check_sums(numbers: dict[str, int], pages: int) -> None:
    for name, value in numbers.items():
        if name in {"mapmax", "kernelpagesize_kB"}:
            continue
        if value > pages or (name == "mapped" and value != pages):
            raise Malformed(f"{name}={value}, but the counts by node add up to {pages}")
    if numbers.get("mapmax", 1) < 1:
        raise Malformed("mapmax=0: a page that is present is mapped")
    written, cached = numbers.get("writeback", 0), numbers.get("swapcache", 0)
    if written > cached + pages - max(numbers.get("anon", 0), cached):
        raise Malformed("writeback= is more than the pages in the swap cache or of the file")


# ---- before 2.6.16


def _old_layout(policy: Policy, words: list[str]) -> Words:
    """``pages=P mapped=M maxref=R[ anon=A][ Nn=c]...``, of 2.6.13 with capital letters; semantics.md 7.1 a."""
    numbers: dict[str, int] = {}
    nodes: dict[int, int] = {}
    for word in words:
        key, equal, value = word.partition("=")
        name = _OLD_WORDS.get(key)
        if name is not None and equal and name not in numbers:
            numbers[name] = _count(word, value)
        elif (match := _NODE.fullmatch(key)) and equal:
            _enter_node(nodes, match[1], word, value)
        elif name is not None:
            raise Malformed(f"{word[:40]!r} stands there twice, or without a value")
        else:
            raise Malformed(f"{word[:40]!r} is no word of the layout before 2.6.16, in which the line begins")
    _check_old_sums(numbers, sum(nodes.values()))
    anon, most = numbers.get("anon", 0), max(numbers["maxref"], 1)
    return Words(policy, anon=anon, mapmax=most, nodes=_ascending(nodes), old=True)


def _check_old_sums(numbers: dict[str, int], pages: int) -> None:
    missing = [name for name in _OLD_ALWAYS if name not in numbers]
    if missing:
        raise Malformed(f"no {missing[0]}=, which stands in every line of the layout before 2.6.16")
    for name in ("pages", "mapped", "anon"):
        value = numbers.get(name, 0)
        if value > pages or (name != "anon" and value != pages):
            raise Malformed(f"{name}={value}, but the counts by node add up to {pages}")
    if pages and not numbers["maxref"]:
        raise Malformed("maxref=0: a page that is present is mapped")
