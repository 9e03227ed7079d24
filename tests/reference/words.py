"""Words of the command line to numbers and sets, and back (cli.md, Arguments)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .areas import Mm
from .machine import PAGE, Unmodelled

VALUE_OPTIONS = {
    "nodes", "memory", "cpus", "distance", "swap", "profile", "pid", "uid", "node", "cpu", "cap", "drop-cap",
    "thread-of", "name", "addr", "label", "prot", "passes", "count", "as", "by",
    "mems", "race", "fs", "journal", "method", "ino", "file", "offset", "state", "shm",
}  # fmt: skip

Words = dict[str, Any]


def parse_words(argv: list[str]) -> tuple[list[str], Words]:
    """Positional words and options of a command; every option of VALUE_OPTIONS takes the next word."""
    words: list[str] = []
    options: Words = {}
    rest = iter(argv)
    for word in rest:
        if word == "-n":
            options["dry-run"] = True
        elif word.startswith("--"):
            name = word[2:]
            if name not in VALUE_OPTIONS or (name, argv[0]) == ("node", "get-mempolicy"):
                options[name] = True
            elif name in ("cap", "drop-cap"):
                options.setdefault(name, []).append(next(rest))
            else:
                options[name] = next(rest)
        else:
            words.append(word)
    return words, options


def parse_nodes(text: str, known: int) -> set[int]:
    """A NODES argument: `all`, `none`, `!set` or ids and ranges."""
    if text == "none":
        return set()
    if text == "all":
        return set(range(known))
    if text.startswith("!"):
        return set(range(known)) - parse_nodes(text[1:], known)
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def written(nodes: Iterable[int]) -> str:
    """A set in range notation, `0-1,4`."""
    parts: list[list[int]] = []
    for nid in sorted(nodes):
        if parts and parts[-1][-1] == nid - 1:
            parts[-1].append(nid)
        else:
            parts.append([nid])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def parse_pages(text: str) -> int:
    """A size in whole pages, `12p`."""
    if not text.endswith("p"):
        raise Unmodelled(text)
    return int(text[:-1])


def parse_range(mm: Mm, text: str) -> tuple[int, int]:
    """A RANGE as first and last byte plus one: `ADDR+Np`, `ADDR-END`, `label` or `label+Np@Mp`."""
    if text.startswith("0x") and "-" in text:
        low, _, high = text.partition("-")
        return int(low, 16), int(high, 16)
    if text.startswith("0x"):
        address, _, length = text.partition("+")
        return int(address, 16), int(address, 16) + parse_pages(length) * PAGE
    label, plus, within = text.partition("+")
    owned = [vpn for vpn, slot in mm.slots.items() if slot.label == label]
    if not owned:
        raise Unmodelled(text)
    first, end = min(owned), max(owned) + 1
    if plus:
        length, _, offset = within.partition("@")
        first, end = first + parse_pages(offset), first + parse_pages(offset) + parse_pages(length)
    if end > max(owned) + 1 or first >= end:
        raise Unmodelled(text)
    return first * PAGE, end * PAGE
