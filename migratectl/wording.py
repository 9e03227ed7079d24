"""Words that messages and reports share: a number with its noun, what may be printed, how wide it is."""

from __future__ import annotations

from collections.abc import Sequence


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number with the word that goes with it, such as ``1 page``; the plural ends in s unless it is told."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def pages_text(count: int) -> str:
    """Such as ``1 page``."""
    return counted(count, "page")


def and_more(words: Sequence[str]) -> str:
    """The first of some words, and how many others there are, such as ``/a and 2 more``."""
    return words[0] if len(words) == 1 else f"{words[0]} and {len(words) - 1} more"


def printable(text: str, *, keeping: str = "") -> str:
    """
    A text that cannot steer a terminal: control and format characters, bidirectional ones among them, in octal.

    Args:
        text: Whatever a state file or a command line has.
        keeping: Characters to leave as they are.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keeping else f"\\{ord(c):03o}" for c in text)


def cell_width(text: str) -> int:
    """Columns that a printable text takes on a terminal: two for a wide character, none for one that combines."""
    if text.isascii():
        return len(text)
    return sum(_width(c) for c in text)


def _width(c: str) -> int:
    import unicodedata  # noqa: PLC0415 - costs every start, and only wide characters need it

    if unicodedata.category(c) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(c) in ("W", "F") else 1
