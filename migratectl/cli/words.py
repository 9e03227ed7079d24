"""The words of a line, quoted as in a shell: what shlex.split() gives, whose time grows with the square of a word."""

from __future__ import annotations

import re

_PART = r"""[^\s'"\\]+|\\.|'[^']*'|"(?:[^"\\]|\\.)*\""""
_BLANKS = " \t\r\n"


def split_words(text: str) -> list[str]:
    """
    The words of a line.

    Raises:
        ValueError: A quotation does not end, or nothing follows a backslash.
    """
    if not any(mark in text for mark in "'\"\\"):
        return [word for word in re.split(f"[{_BLANKS}]+", text) if word]
    words: list[str] = []
    at, end = 0, len(text)
    part = re.compile(_PART.replace(r"\s", _BLANKS), re.DOTALL)
    while True:
        while at < end and text[at] in _BLANKS:
            at += 1
        if at == end:
            return words
        pieces: list[str] = []
        while at < end and text[at] not in _BLANKS:
            found = part.match(text, at)
            if found is None:
                escapes = re.compile(r'\\|"(?:[^"\\]|\\.)*\\', re.DOTALL).fullmatch(text, at)
                raise ValueError("No escaped character" if escapes else "No closing quotation")
            pieces.append(_meant(found[0]))
            at = found.end()
        words.append("".join(pieces))


def _meant(part: str) -> str:
    """What a part of a word stands for: plain, behind a backslash, or quoted."""
    if part[0] == "\\":
        return part[1]
    if part[0] == "'":
        return part[1:-1]
    return re.sub(r'\\(["\\])', r"\1", part[1:-1]) if part[0] == '"' else part
