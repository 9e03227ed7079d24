"""
A line of /proc/PID/numa_maps word by word: in any order and any layout, that of before 2.6.16 too; finds what is wrong.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from migratectl.linux.mpol import TWO_WORDS, parse_policy
from migratectl.linux.numa_maps import NumaMapsLine, is_thread_stack, unescape_path
from migratectl.policy import Policy
from migratectl.uapi import MAX_NUMNODES

MAX_LINE: Final = 1 << 16
"""Longest line: an escaped path of PATH_MAX bytes and a count for each of 1024 nodes are shorter."""

MAX_DIGITS: Final = 15
"""Most digits of a count: beyond, no 64-bit address space has so many pages."""

COUNTS: Final = ("anon", "dirty", "mapped", "mapmax", "swapcache", "active", "writeback")
"""What a line of 2.6.16 or later counts, in the order in which the kernel prints it."""

_BARE: Final = frozenset({"heap", "stack", "huge"})
_KEYS: Final = frozenset(COUNTS) | _BARE | {"file", "kernelpagesize_kB"}
_UNKNOWN: Final = re.compile(r"[A-Za-z_][!-~]*")

_OLD_WORDS: Final = {
    word: word.lower() for word in ("pages", "mapped", "maxref", "anon", "Pages", "Mapped", "MaxRef", "Anon")
}
_OLD_ONLY: Final = frozenset(_OLD_WORDS) - frozenset(COUNTS)
_OLD_ALWAYS: Final = ("pages", "mapped", "maxref")
_NODE: Final = re.compile(r"N([0-9]+)")

Place = tuple[str, int, int]
"""Name of the text, number of the line, address: the first fields of NumaMapsLine."""


class Malformed(Exception):
    """What is wrong with a line; parse_numa_maps() adds the place."""


def word_by_word(place: Place, text: str, strict: bool) -> tuple[NumaMapsLine, str]:
    """
    Read a line.

    Args:
        place: Where it is.
        text: What stands behind its address.
        strict: Refuse words that are not known; else they are kept.

    Returns:
        The line, and the text of its policy.

    Raises:
        Malformed: What is wrong.
    """
    if len(text) > MAX_LINE:
        raise Malformed(f"it is longer than {MAX_LINE} characters, which no line of numa_maps is")
    name, words = _policy_and_rest(text)
    try:
        policy = parse_policy(name)
    except ValueError as error:
        raise Malformed(f"{error}; a policy such as default or bind:0-1 must follow the address") from None
    if any(word.partition("=")[0] in _OLD_ONLY for word in words):
        return _old_layout(place, policy, words), name
    fields, nodes = _parse_words(words, strict)
    return _checked(place, policy, fields, nodes), name


class _Fields(NamedTuple):
    """Words without nodes: the path, the bare words, the numbers by name, and what is not known."""

    file: str | None
    bare: frozenset[str]
    numbers: dict[str, int]
    unknown: tuple[str, ...]


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
        elif key in COUNTS and key not in numbers and equal:
            numbers[key] = _count(word, value)
        elif key == "file" and file is None and value:
            file = unescape_path(value)
        elif key == "kernelpagesize_kB" and key not in numbers and equal:
            numbers[key] = page_size(word, value)
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


def page_size(word: str, value: str) -> int:
    """The page size in KiB that a word tells by its value. Raises Malformed."""
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


def _checked(place: Place, policy: Policy, fields: _Fields, nodes: dict[int, int]) -> NumaMapsLine:
    get = fields.numbers.get
    pages = sum(nodes.values())
    _check_sums(fields.numbers, pages)
    return NumaMapsLine(
        *place,
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


def _old_layout(place: Place, policy: Policy, words: list[str]) -> NumaMapsLine:
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
    return NumaMapsLine(*place, policy, anon=anon, mapmax=most, nodes=_ascending(nodes), old=True)


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
