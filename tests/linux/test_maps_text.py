"""Lines of /proc/PID/maps."""

from __future__ import annotations

import pytest

from migratectl.errors import InputFileError
from migratectl.linux.maps import parse_maps
from migratectl.uapi import VM

TEXT = """\
00400000-0041f000 r-xp 00002000 fe:00 260811                             /usr/bin/with blank
02b5e000-02c4c000 rw-p 00000000 00:00 0                                  [heap]
7fb13555a000-7fb13556a000 rw-s 00000000 00:01 2                          /SYSV00000000 (deleted)
7fb1355ca000-7fb1355cb000 ---p 00000000 00:00 0\x20
7fb135c5d000-7fb135c61000 r--p 00000000 00:00 0                          [vvar]
7ffee2cc2000-7ffee2ce3000 rw-p 00000000 00:00 0                          [stack]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
"""


def test_fields() -> None:
    text, heap, segment, gap, vvar, stack, vsyscall = parse_maps(TEXT, "maps")
    assert (text.start, text.end, text.offset, text.inode) == (0x400000, 0x41F000, 0x2000, 260811)
    assert (text.path, text.vm, text.shared) == ("/usr/bin/with blank", VM.READ | VM.EXEC, False)
    assert (heap.path, heap.vm) == ("[heap]", VM.READ | VM.WRITE | VM.HEAP)
    assert (segment.path, segment.shared) == ("/SYSV00000000 (deleted)", True)
    assert (gap.vm, gap.path) == (VM(0), "")
    assert vvar.vm == VM.READ | VM.PFNMAP
    assert stack.vm == VM.READ | VM.WRITE | VM.STACK
    assert (vsyscall.number, vsyscall.end) == (7, 0xFFFFFFFFFF601000)


def test_end_of_the_address_space() -> None:
    (last,) = parse_maps("fffffffffffff000-10000000000000000 r--p 00000000 00:00 0", "maps")
    assert last.end == 1 << 64


def test_line_without_the_blanks_before_a_missing_path() -> None:
    """As in a text of 2005, whose ends of line somebody stripped."""
    (area,) = parse_maps("2000000000040000-2000000000044000 rw-p 2000000000040000 00:00 0\n", "maps")
    assert (area.offset, area.path) == (0x2000000000040000, "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("00400000 default\n", "line 1: '00400000 default' is no line"),
        ("00001000-00002000 rwxz 0 00:00 0\n", "line 1"),
        ("00002000-00001000 rw-p 0 00:00 0\n", "line 1: .* no end above its start"),
        ("00001000-00001000 rw-p 0 00:00 0\n", "line 1: .* no end above its start"),
        ("00001000-20000000000000000 rw-p 0 00:00 0\n", "line 1: .* no end above"),
        ("00001000-00003000 rw-p 0 00:00 0\n00002000-00004000 rw-p 0 00:00 0\n", "line 2: .*before the one above"),
        ("x" * 1_000_000, "line 1: 'xxx"),
        ("00001000-00002000 rw-p 0 00:00 0\n00001000-00002000 rw-p 0 00:00 0\n", "line 2: .*before the one above"),
        ("00001000-00002000 rw-p 0 00:00 0 /a\0b\n", "line 1: .* is no line"),
        ("00001000-00002000 rw-p 0 00:00 -5 /a\n", "line 1: .* is no line"),
        ("00001000-00002000 rw-p 0 00:00 0\n00003000-000", "line 2: '00003000-000' is no line"),
        ("00001000-00002000 rw-p 0 00:00 0\n00003000-00004000 rw-", "line 2: .* is no line"),
    ],
)
def test_malformed_line_is_named(text: str, said: str) -> None:
    with pytest.raises(InputFileError, match=f"some/maps: {said}") as caught:
        parse_maps(text, "some/maps")
    assert len(str(caught.value)) < 200
