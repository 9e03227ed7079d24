"""One file of somebody else's, read with a limit; what its bytes and names are as text."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

from migratectl.errors import InputFileError

MAX_FILE_BYTES: Final = 64 << 20
"""Longest file that is read; a numa_maps text of 500,000 lines is shorter."""

BLOCK: Final = 1 << 16
"""Bytes that are asked for at once; a buffer for the longest file costs more than most files have."""

STDIN: Final = "standard input"
"""What messages call a text that came from there."""

GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESRCH})
"""What opening a file that is not there says; ESRCH: a process that has ended."""

_AS_ROOT: Final = "; read it as its owner or as root"
_REMEDIES: Final = {
    errno.EACCES: _AS_ROOT,
    errno.EPERM: _AS_ROOT,
    errno.ELOOP: "; put the file in the place of the link",
    errno.EIO: "; copy the tree again",
}


def read_text(path: Path, *, pipes: bool = False) -> str:
    """
    Read one file that a user named, with the limits of a tree's files.

    Args:
        path: The file.
        pipes: Read a named pipe too, such as the shell makes of ``<(COMMAND)``, to its end.

    Raises:
        InputFileError: Missing, no regular file, unreadable or too long.
    """
    text = read_regular(path, str(path), follow=True, pipes=pipes)
    if text is None:
        raise InputFileError(f"{path}: no such file")
    return text


def storable(text: str) -> str:
    """
    A name that a tree tells, harmless in a state file, on a terminal and in a line of a table.

    Args:
        text: The name, bytes that are no UTF-8 as surrogates.

    Returns:
        The name with each byte of what is no text or cannot be printed as a backslash and three octal digits, as
        the kernel writes blanks in paths. Backslashes stay as they are.

    Source:
        seq_path(), mangle_path(), fs/seq_file.c.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else _octal(c) for c in text)


def _octal(character: str) -> str:
    """The bytes of a character; a surrogate from U+DC80 stands for one byte, any other for the three of its own."""
    errors = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", errors))


def decode(data: bytes) -> str:
    """Bytes of a file as text, without trailing NUL bytes, what is no UTF-8 as surrogates."""
    return data.rstrip(b"\0").decode("utf-8", "surrogateescape")


def read_regular(path: str | Path, where: str, *, follow: bool = False, pipes: bool = False) -> str | None:
    """
    Text of a file.

    Args:
        path: The file; a pipe is not waited for unless *pipes*.
        where: What messages call it.
        follow: Follow a link in the place of the file.
        pipes: Read a pipe as a file.

    Returns:
        The text, None where there is no file.

    Raises:
        InputFileError: Unreadable, no regular file, or too long.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY
    flags |= (0 if follow else os.O_NOFOLLOW) | (0 if pipes else os.O_NONBLOCK)
    try:
        handle = os.open(path, flags)
        try:
            mode = os.fstat(handle).st_mode
            regular = stat.S_ISREG(mode) or (pipes and stat.S_ISFIFO(mode))
            data = _read_bytes(handle) if regular else b""
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno in GONE:
            return None
        if error.errno != errno.ENXIO:  # that is a socket
            raise unreadable(where, error) from error
        regular, data = False, b""
    if not regular:
        raise InputFileError(f"{where}: not a regular file")
    if len(data) > MAX_FILE_BYTES:
        raise InputFileError(f"{where}: longer than {MAX_FILE_BYTES >> 20} MiB, which no such file is")
    return decode(data)


def _read_bytes(handle: int) -> bytes:
    """All bytes of a file, which may tell no size, or the first of them beyond MAX_FILE_BYTES."""
    parts: list[bytes] = []
    total = 0
    while total <= MAX_FILE_BYTES and (block := os.read(handle, BLOCK)):
        parts.append(block)
        total += len(block)
    return b"".join(parts)


def unreadable(where: str, error: OSError) -> InputFileError:
    """The error for a file that the system refuses, with what to do about it."""
    remedy = _REMEDIES.get(error.errno or 0, "")
    return InputFileError(f"{where}: cannot be read: {error.strerror or error}{remedy}")
