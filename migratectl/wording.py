"""Words that messages and reports share: a number with its noun."""

from __future__ import annotations


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number with the word that goes with it, such as ``1 page``; the plural ends in s unless it is told."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def pages_text(count: int) -> str:
    """Such as ``1 page``."""
    return counted(count, "page")
