"""Which areas smaps marks as locked, and what it tells of their sharing."""

from __future__ import annotations

import pytest

from migratectl.errors import InputFileError
from migratectl.linux.smaps import SmapsArea, parse_smaps

TODAY = """\
00400000-00402000 r-xp 00000000 08:01 77                         /bin/x: y
Size:                  8 kB
Locked:                8 kB
VmFlags: rd ex mr mw me dw
00600000-00604000 rw-p 00000000 00:00 0                          [heap]
Size:                 16 kB
Locked:                0 kB
THPeligible:    0
VmFlags: rd wr mr mw me ac lo sd
"""


def test_flags_decide_where_they_are_told() -> None:
    """An area that was just locked has no page yet, so that Locked is 0."""
    assert parse_smaps(TODAY, "smaps") == {0x400000: SmapsArea(8, False, 0), 0x600000: SmapsArea(16, True, 0)}


def test_locked_pages_decide_where_flags_are_not_told() -> None:
    older = "".join(line for line in TODAY.splitlines(keepends=True) if not line.startswith("VmFlags"))
    assert parse_smaps(older, "smaps") == {0x400000: SmapsArea(8, True, 0), 0x600000: SmapsArea(16, False, 0)}


def test_shared_pages_are_clean_dirty_or_huge() -> None:
    counts = "Shared_Clean: 4 kB\nShared_Dirty: 8 kB\nPrivate_Dirty: 16 kB\nShared_Hugetlb: 0 kB\n"
    text = TODAY.replace("Locked:                8 kB\n", counts).replace(
        "THPeligible:    0\n", "Shared_Hugetlb: 2048 kB\n"
    )
    assert [area.shared_kib for area in parse_smaps(text, "smaps").values()] == [12, 2048]


def test_nothing_locked() -> None:
    assert parse_smaps("", "smaps") == {}


@pytest.mark.parametrize("text", ["Size: 8 kB\n", "00400000-0040200", TODAY + "nonsense\n", TODAY + "\0\n"])
def test_malformed_line_is_named(text: str) -> None:
    number = len(text.splitlines())
    with pytest.raises(InputFileError, match=f"smaps: line {number}: .* is no line of /proc/PID/smaps"):
        parse_smaps(text, "smaps")
