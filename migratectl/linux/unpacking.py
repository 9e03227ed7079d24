"""
The bytes of an archive, unpacked for tarfile with limits.

tarfile believes what headers tell, reads whatever size they announce, and of Python 3.11 takes the square of the length
of some; its filters look at a member when all of that has been done. LZMAFile has no limit of its memory.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import tarfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, cast

from migratectl.errors import InputFileError
from migratectl.linux.files import BLOCK, MAX_FILE_BYTES

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

MAX_HEADER_BYTES: Final = 1 << 20
"""Most bytes of what stands before one member's content; its names, of PATH_MAX bytes each, are shorter."""

XZ_MEMORY: Final = 128 << 20
"""Most memory for unpacking .xz; ``xz -9`` needs half of it."""

_RECORD: Final = re.compile(rb"([1-9][0-9]{0,6}) ")
_MANY_DIGITS: Final = re.compile(rb"[0-9]{100}")
_PAX_TYPES: Final = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_TYPE: Final = slice(156, 157)
"""Place of a member's type in its header."""


def unpacked(raw: IO[bytes]) -> IO[bytes]:
    """The stream behind the compression that the first bytes of a file show."""
    magic = raw.read(2)
    raw.seek(0)
    if magic == b"\x1f\x8b":
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    if magic == b"BZ":
        return cast(IO[bytes], bz2.BZ2File(raw))
    return io.BufferedReader(_Xz(raw)) if magic == b"\xfd7" else raw


class _Xz(io.RawIOBase):
    """Unpacked bytes of .xz; LZMAFile has no limit of its memory."""

    def __init__(self, raw: IO[bytes]) -> None:
        super().__init__()
        self.raw, self.engine = raw, _xz_engine()

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """The next bytes, at least one but at the end."""
        view = memoryview(buffer)
        data = b""
        while not data:
            packed = self.engine.unused_data if self.engine.eof else b""
            if not packed and (self.engine.eof or self.engine.needs_input):
                packed = self.raw.read(BLOCK)
                if not packed and not self.engine.eof:
                    raise EOFError("the compressed data ends too soon")
            if self.engine.eof:
                packed = packed.lstrip(b"\0")  # between two streams
                if not packed:
                    return 0
                self.engine = _xz_engine()
            data = self.engine.decompress(packed, len(view))
        view[: len(data)] = data
        return len(data)


def _xz_engine() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)


class LimitedStream:
    """
    Unpacked bytes of an archive, forward only, as a file for tarfile.

    Args:
        source: The bytes.
        path: The archive, for messages.
        most: How many there may be.
    """

    def __init__(self, source: IO[bytes], path: Path, most: int) -> None:
        self.source, self.path, self.most = source, path, most
        self.position, self.last = 0, b""
        self.allowed = MAX_HEADER_BYTES

    def tell(self) -> int:
        """Bytes so far."""
        return self.position

    def seek(self, position: int) -> int:
        """Skip bytes."""
        if position < self.position:
            raise tarfile.ReadError("a header leads back to what stands before it")
        while self.position < position:
            if not self._take(min(BLOCK, position - self.position)):
                raise tarfile.ReadError("unexpected end of data")
        return position

    def read(self, size: int = -1) -> bytes:
        """The next bytes; *allowed* counts what is asked for, so that asking at the end comes to an end too."""
        if not 0 <= size <= self.allowed:
            raise InputFileError(
                f"{self.path}: more than {MAX_HEADER_BYTES >> 20} MiB of headers before one member: too large;"
                " make the archive with plain names and without extended attributes"
            )
        self.allowed -= size
        above, self.last = self.last, self._take(size)
        if size > tarfile.BLOCKSIZE and above[_TYPE] in _PAX_TYPES:
            _check_records(self.last)
        return self.last

    def check_end(self, offset: int) -> None:
        """Behind the last member, at *offset*, are zeros only; tarfile takes a damaged header for the end."""
        self.seek(offset + len(self.last))  # the last that tarfile read is no header
        block, total = self.last, 0
        while block:
            total += len(block)
            if any(block) or total > MAX_FILE_BYTES:
                raise tarfile.ReadError("there is no member header where one should be")
            block = self.source.read(io.DEFAULT_BUFFER_SIZE)  # to the end, where compression checks its sums

    def _take(self, size: int) -> bytes:
        if self.position + size > self.most:
            raise InputFileError(f"{self.path}: unpacks to more than {self.most >> 20} MiB: too large")
        data = self.source.read(size)
        self.position += len(data)
        return data


def _check_records(data: bytes) -> None:
    """Refuse extended headers that cost tarfile of Python 3.11 the square of their length in time or memory."""
    at = 0
    while at < len(data) and data[at]:
        match = _RECORD.match(data, at)
        record = data[at : at + int(match[1])] if match else b""
        if not match or len(record) < int(match[1]) or record[-1:] != b"\n" or b"=" not in record:
            raise tarfile.ReadError("a malformed extended header")
        at += len(record)
    if _MANY_DIGITS.search(data):
        raise tarfile.ReadError("an extended header with a number of 100 digits")
